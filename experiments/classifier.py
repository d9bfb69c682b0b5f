"""Convolutional classifiers, trained through jaxconv's own derivatives.

    python -m experiments.classifier
    python -m experiments.classifier --preset fast --dataset mnist --data-dir FOLDER
    python -m experiments.classifier --dataset folder:PATH --seeds 3 --output-dir runs/mine
    python -m experiments.classifier --resume --output-dir runs/mine

The first and the last need no download. Prints `Type | Epoch | Accuracy | Time`, and leaves in the
output folder a table, learning curves and, for each network, its metrics and checkpoints.

The original is an experiment of G. Gwardys, on his blog in May 2016. He gave the network of
Lasagne's MNIST example a branch of large windows, from the image straight to the last layer, and
found that it helps in the first epoch and then learns slower. Run both to see whether that holds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv.nn as ours
from jaxconv import relu, softmax_cross_entropy

from . import baseline, runs
from ._command_line import run
from ._notes import attempt
from ._user_error import UserError
from .augmentation import AUGMENTATIONS
from .data import Dataset
from .options import TrainingOptions, as_json
from .records import Entry, write_figure, write_json
from .steps import at_least_float32


@dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """Train classifiers and print their table. Presets: original, fast, best."""

    experiment = "classifier"

    model: Literal["standard", "modified", "both", "small", "large"] = "both"  # to compare the two
    batch_size: int | None = None  # images of a step; default 500, or 1/48 of few
    augment: Literal["none", "shift", "affine"] = "none"  # of the training images, anew each time
    gradients: Literal["jaxconv", "autodiff"] = "jaxconv"  # autodiff: plain Flax, to compare times


PRESETS: dict[str, dict[str, Any]] = {
    "original": {},  # the published protocol: 30 epochs of 500 images, Nesterov, a constant rate
    "fast": {"model": "small", "dataset": "mnist", "epochs": 2, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.005},
    "best": {"model": "large", "dataset": "mnist", "epochs": 30, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.003}
    | {"augment": "affine", "average": 0.999, "weight_decay": 0.02},
}


# ---- the networks ----------------------------------------------------------------------------
# `nn` is where the layers come from: jaxconv.nn, or the plain Flax of baseline.py. Convolutions are
# true ones (the kernel flipped) in the original's two, Lasagne's default, then relu and max pool.


def pooled_by(window):
    return {"flip_kernel": True, "window_shape": (window, window)}


def trunk(rngs, nn, relu, shape):
    return nnx.Sequential(
        nn.ConvBlock(shape[-1], 32, (5, 5), **pooled_by(2), rngs=rngs),  # 28 -> 24 -> 12
        nn.ConvBlock(32, 32, (5, 5), **pooled_by(2), rngs=rngs),  # 12 -> 8 -> 4
        nn.Flatten(),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(flat(shape, 32, (5, 2), (5, 2)), 256, rngs=rngs),
        relu,
    )


def standard(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10):
    return nnx.Sequential(
        trunk(rngs, nn, relu, shape),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(256, classes, rngs=rngs),
    )


def modified(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10):
    branch = nnx.Sequential(
        # 28 -> 19 -> 3: the last 4 rows and columns fill no window
        nn.ConvBlock(shape[-1], 32, (10, 10), **pooled_by(5), rngs=rngs),
        nn.Flatten(),
    )
    return nnx.Sequential(
        nn.Concat(trunk(rngs, nn, relu, shape), branch),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(256 + flat(shape, 32, (10, 5)), classes, rngs=rngs),
    )


def small(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10):
    """For little time: half of the standard network's operations, and no dropout."""
    return nnx.Sequential(
        nn.ConvBlock(shape[-1], 16, (5, 5), window_shape=(2, 2), rngs=rngs),  # 28 -> 24 -> 12
        nn.ConvBlock(16, 48, (3, 3), window_shape=(2, 2), rngs=rngs),  # 12 -> 10 -> 5
        nn.Flatten(),
        nn.Linear(flat(shape, 48, (5, 2), (3, 2)), 96, rngs=rngs),
        relu,
        nn.Linear(96, classes, rngs=rngs),
    )


def large(rngs, nn=ours, relu=relu, shape=(28, 28, 1), classes=10):
    """For accuracy: four convolutions, each followed by normalisation over the batch."""
    return nnx.Sequential(
        nn.ConvBlock(shape[-1], 32, (5, 5), window_shape=(2, 2), rngs=rngs),  # 28 -> 24 -> 12
        nnx.BatchNorm(32, rngs=rngs),
        nn.Conv(32, 64, (3, 3), rngs=rngs),  # -> 10
        nnx.BatchNorm(64, rngs=rngs),
        relu,
        nn.Conv(64, 64, (3, 3), rngs=rngs),  # -> 8
        nnx.BatchNorm(64, rngs=rngs),
        relu,
        nn.ConvBlock(64, 128, (3, 3), window_shape=(2, 2), rngs=rngs),  # -> 6 -> 3
        nnx.BatchNorm(128, rngs=rngs),
        nn.Flatten(),
        nn.Dropout(0.3, rngs=rngs),
        nn.Linear(flat(shape, 128, (5, 2), (3, 1), (3, 1), (3, 2)), 128, rngs=rngs),
        relu,
        nn.Dropout(0.3, rngs=rngs),
        nn.Linear(128, classes, rngs=rngs),
    )


def flat(shape, features, *layers):
    """How many numbers layers of (window, pool) leave of an image."""
    sides = shape[:-1]
    for window, pool in layers:
        sides = [(side - window + 1) // pool for side in sides]
    if min(sides) < 1:
        raise UserError("the images are too small for the network's windows; see --image-size.")
    return features * math.prod(sides)


NETWORKS: dict[str, Callable[..., nnx.Module]] = {
    "standard": standard,
    "modified": modified,
    "small": small,
    "large": large,
}


def score(model, images, labels, cross_entropy=softmax_cross_entropy):
    logits = at_least_float32(model(images))
    correct = jnp.argmax(logits, axis=-1) == labels
    return {"loss": cross_entropy(logits, labels), "accuracy": correct.astype(jnp.float32)}


def build(name: str, config: Config, *, shape, classes, seed: int = 0) -> nnx.Module:
    """A network before training, from the options and what it takes from the dataset."""
    layers = {} if config.gradients == "jaxconv" else {"nn": baseline, "relu": baseline.relu}
    return NETWORKS[name](nnx.Rngs(seed), shape=shape, classes=classes, **layers)


def probabilities(model, images: jax.Array) -> jax.Array:
    """Of each class, for each image in [0, 1]."""
    return jax.nn.softmax(at_least_float32(model(images)))


# ---- the experiment --------------------------------------------------------------------------


def main(config: Config) -> dict[str, Any]:
    """Train, print the table, write `classifier.json` and `classifier.png`; returns the metrics.

    Raises:
      UserError: An option can't be followed.
    """
    config.check()
    folder, dataset = runs.prepare(config)
    names = ["standard", "modified"] if config.model == "both" else [config.model]
    histories = {
        name: train(name, config, dataset, folder=folder and folder / name) for name in names
    }
    metrics = {"config": as_json(config), "histories": histories}
    if folder is None:  # another process's part
        return metrics
    print(table(histories))
    if len(names) == 2:
        print(finding(histories))
    save(metrics, folder)
    return metrics


def train(name, config, dataset: Dataset, folder=None) -> list[list[Entry]]:
    """Train a network from each seed, all at once; for each seed an entry an epoch."""
    facts = {"shape": dataset.image_shape, "classes": dataset.num_classes}
    histories, _ = runs.train(
        name,
        config,
        dataset,
        build=lambda seed: build(name, config, **facts, seed=seed),
        score=score if config.gradients == "jaxconv" else baseline.with_optax_loss(score),
        batch_size=500,
        augment=AUGMENTATIONS[config.augment],
        folder=folder,
        answer=probabilities,
    )
    return histories


def table(histories: dict[str, list[list[Entry]]]) -> str:
    """Test accuracy after the first and the last epoch, and the time of an epoch."""
    lines = [f"{'Type':<10} | {'Epoch':>5} | {'Accuracy':>16} | {'Time':>9}"]
    for name, of_seeds in histories.items():
        # The median: on a shared machine single epochs take much longer for reasons of their own.
        seconds = np.median([entry["seconds"] for run in of_seeds for entry in run])
        for index in dict.fromkeys((0, len(of_seeds[0]) - 1)):
            epoch, accuracy = of_seeds[0][index]["epoch"], spread(of_seeds, index)
            lines.append(f"{name:<10} | {epoch:>5} | {accuracy:>16} | {seconds:>7.2f} s")
    return "\n".join(lines)


def spread(of_seeds, index) -> str:
    values = [run[index]["test_accuracy"] for run in of_seeds]
    mean = f"{np.mean(values):.2%}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.2f}"


def finding(histories) -> str:
    """What the branch changed, in points of test accuracy."""

    def gain(index):
        accuracy = {
            name: [run[index]["test_accuracy"] for run in of_seeds]
            for name, of_seeds in histories.items()
        }
        return 100 * (np.mean(accuracy["modified"]) - np.mean(accuracy["standard"]))

    epochs = len(histories["standard"][0])
    later = f" and by {gain(-1):+.2f} after epoch {epochs}" if epochs > 1 else ""
    return f"The branch changes accuracy by {gain(0):+.2f} points after epoch 1{later}."


def save(metrics, folder: Path) -> None:
    with attempt(f"write {folder / 'classifier.json'}"):
        write_json(folder / "classifier.json", metrics)
    curves = {
        name: [[1 - entry["test_accuracy"] for entry in run] for run in of_seeds]
        for name, of_seeds in metrics["histories"].items()
    }
    with attempt(f"draw {folder / 'classifier.png'}"):
        from .figures import learning_curves  # matplotlib is slow to import

        write_figure(folder / "classifier.png", learning_curves(curves, "test error"))


if __name__ == "__main__":
    run(main, Config, presets=PRESETS)
