"""`python -m tests.experiments.training.tiny_classifier`: the classifier with tiny networks."""

from experiments import classifier
from experiments.command_line import run
from experiments.networks import classifiers
from tests.experiments.conftest import tiny_network

if __name__ == "__main__":
    for name in classifiers.NETWORKS:
        classifiers.NETWORKS[name] = tiny_network
    run(classifier.main, classifier.Config, presets=classifier.PRESETS)
