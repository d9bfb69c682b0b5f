"""Experiments on real images whose every gradient is one of jaxconv's.

    python -m experiments.classifier     the two classifiers of G. Gwardys, 2016
    python -m experiments.autoencoder    a convolutional autoencoder beside PCA
    python -m experiments.benchmark      how fast all of it is, beside autodiff and PyTorch

Each has a `Config` that is its command line and a `main(config)` that returns its metrics.
"""
