"""Train convolutional classifiers with jaxconv's gradients.

    python -m experiments.classifier
    python -m experiments.classifier --preset fast --dataset mnist --data-dir FOLDER
    python -m experiments.classifier --dataset folder:PATH --seeds 3 --output-dir runs/mine
    python -m experiments.classifier --resume --output-dir runs/mine

The first and the last need no download. The program prints `Type | Epoch | Accuracy | Time`. The
output folder receives a table, learning curves and, for each network, metrics and checkpoints.

The networks are those of an experiment of G. Gwardys, published on his blog in May 2016. He added a
branch of large windows to the network of Lasagne's MNIST example, from the image straight to the
last layer, and found that it helps in the first epoch and then learns more slowly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .command_line import attempt, run, write_figure, write_json
from .data import Dataset
from .networks import classifiers, plain
from .training import processes, runs
from .training.augmentation import AUGMENTATIONS
from .training.options import TrainingOptions, as_json
from .training.records import Entry


@dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """Train classifiers and print their table. --preset original, fast or best sets defaults."""

    experiment = "classifier"

    model: Literal["standard", "modified", "both", "small", "large"] = "both"  # both: to compare
    batch_size: int | None = None  # images of a step; default 500, or 1/48 of fewer images
    augment: Literal["none", "shift", "affine"] = "none"  # random change of the training images
    gradients: Literal["jaxconv", "autodiff"] = "jaxconv"  # autodiff: plain Flax, to compare times


PRESETS: dict[str, dict[str, Any]] = {
    "original": {},  # the published protocol: 30 epochs of 500 images, Nesterov, a constant rate
    "fast": {"model": "small", "dataset": "mnist", "epochs": 2, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.005},
    "best": {"model": "large", "dataset": "mnist", "epochs": 30, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.003}
    | {"augment": "affine", "average": 0.999, "weight_decay": 0.02},
}


def main(config: Config) -> dict[str, Any]:
    """Train, print the table, write `classifier.json` and `classifier.png`; return the metrics.

    Raises:
      UserError: The options cannot be followed.
    """
    config.check()
    names = ["standard", "modified"] if config.model == "both" else [config.model]
    with runs.prepared(config) as (folder, dataset):
        histories = {
            name: train(name, config, dataset, folder=folder and folder / name) for name in names
        }
        metrics = {"config": as_json(config), "histories": histories}
        if folder is not None:  # in the first process
            print(table(histories))
            if len(names) == 2:
                print(finding(histories, dataset))
            save(metrics, folder)
    return metrics


def train(name, config, dataset: Dataset, folder=None) -> list[list[Entry]]:
    """Train a network from all seeds at once; for each seed an entry an epoch."""
    facts = {"shape": dataset.image_shape, "classes": dataset.num_classes}
    facts["gradients"] = config.gradients
    ours, score = config.gradients == "jaxconv", classifiers.score
    histories, _ = runs.train(
        name,
        config,
        dataset,
        build=lambda seed, steps: classifiers.build(name, **facts, steps=steps, seed=seed),
        score=score if ours else plain.with_optax_loss(score),
        batch_size=500,
        augment=AUGMENTATIONS[config.augment],
        folder=folder,
        answer=classifiers.probabilities,
    )
    return histories


def table(histories: dict[str, list[list[Entry]]]) -> str:
    """The test accuracy after the first and the last epoch, and the time of an epoch."""
    lines = [f"{'Type':<10} | {'Epoch':>5} | {'Accuracy':>16} | {'Time':>9}"]
    for name, of_seeds in histories.items():
        # The median, because other programs may slow down single epochs.
        seconds = np.median([entry["seconds"] for run in of_seeds for entry in run])
        for index in dict.fromkeys((0, len(of_seeds[0]) - 1)):
            epoch, accuracy = of_seeds[0][index]["epoch"], spread(of_seeds, index)
            lines.append(f"{name:<10} | {epoch:>5} | {accuracy:>16} | {seconds:>7.2f} s")
    return "\n".join(lines)


def spread(of_seeds, index) -> str:
    values = [run[index]["test_accuracy"] for run in of_seeds]
    mean = f"{np.mean(values):.2%}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.2f}"


def finding(histories, dataset: Dataset) -> str:
    """The effect of the branch, in points of test accuracy."""

    def gain(index):
        means = [
            np.mean([run[index]["test_accuracy"] for run in histories[name]])
            for name in ("standard", "modified")
        ]
        return 100 * (means[1] - means[0])

    epochs, seeds = len(histories["standard"][0]), len(histories["standard"])
    later = f" and by {gain(-1):+.2f} after epoch {epochs}" if epochs > 1 else ""
    return (
        f"The branch changes test accuracy by {gain(0):+.2f} points after epoch 1{later} "
        f"({seeds} seed{'s' * (seeds != 1)}, {dataset.test.size:,} test images)."
    )


def save(metrics, folder: Path) -> None:
    with attempt(f"write {folder / 'classifier.json'}"):
        write_json(folder / "classifier.json", metrics)
    errors = {
        name: [[1 - entry["test_accuracy"] for entry in run] for run in of_seeds]
        for name, of_seeds in metrics["histories"].items()
    }
    with attempt(f"draw {folder / 'classifier.png'}"):
        from .pictures import curves  # Matplotlib takes a second to import

        write_figure(folder / "classifier.png", curves.learning_curves(errors, "test error"))


if __name__ == "__main__":
    run(main, Config, presets=PRESETS, leave=processes.leave)
