"""Two convolutional classifiers of 28×28 images, trained through jaxconv's own derivatives.

    python -m experiments.classifier
    python -m experiments.classifier --dataset mnist --data-dir FOLDER --seeds 3
    python -m experiments.classifier --model standard --epochs 3 --gradients autodiff

The first and the last need no download. Prints `Type | Epoch | Accuracy | Time`,
saves metrics and learning curves.

The original study found that a branch of large windows, from the image straight to the last layer,
helps in the first epoch and then learns slower. Run both networks to see whether that holds.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxconv.nn as ours
from jaxconv import relu, softmax_cross_entropy

from . import _malloc, baseline, data
from ._command_line import make_output_dir, require, require_training_options, run
from .data import Dataset
from .training import Metrics, Trainer, progress_bar, to_device


@dataclass(frozen=True)
class Config:
    """Train the standard and the modified classifier and print their table."""

    model: Literal["standard", "modified", "both"] = "both"  # the point is to compare them
    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"  # needs no download
    data_dir: Path | None = None  # folder of TFDS; default: TFDS_DATA_DIR, ~/tensorflow_datasets
    cache_dir: Path | None = None  # of decoded images; default: the platform's cache folder
    output_dir: Path = Path("results")  # for classifier.json and classifier.png
    epochs: int = 30  # the original's protocol, as are the next three
    batch_size: int | None = None  # default 500; 25 on digits, whose epoch would have 2 steps
    learning_rate: float = 0.01
    momentum: float = 0.9  # Nesterov's
    seed: int = 0  # of the initial parameters, the order of images and dropout
    seeds: int = 1  # runs, from --seed upwards; the table has their mean and standard deviation
    gradients: Literal["jaxconv", "autodiff"] = "jaxconv"  # autodiff: plain Flax, to compare times
    malloc_tuning: bool = True  # keep freed memory, which spares page faults; see _malloc.py


# ---- the two networks ------------------------------------------------------------------------
# `nn` is where the layers come from: jaxconv.nn, or the plain Flax of baseline.py. Convolutions are
# true ones (the kernel flipped), the original's default, and followed by a relu and a max pool.


def pooled_by(window):
    return {"flip_kernel": True, "window_shape": (window, window)}


def trunk(rngs, nn, relu):
    return nnx.Sequential(
        nn.ConvBlock(1, 32, (5, 5), **pooled_by(2), rngs=rngs),  # 28 -> 24 -> 12
        nn.ConvBlock(32, 32, (5, 5), **pooled_by(2), rngs=rngs),  # 12 -> 8 -> 4
        nn.Flatten(),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(512, 256, rngs=rngs),
        relu,
    )


def standard(rngs, nn=ours, relu=relu):
    return nnx.Sequential(
        trunk(rngs, nn, relu),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(256, 10, rngs=rngs),
    )


def modified(rngs, nn=ours, relu=relu):
    branch = nnx.Sequential(
        # 28 -> 19 -> 3: the last 4 rows and columns fill no window
        nn.ConvBlock(1, 32, (10, 10), **pooled_by(5), rngs=rngs),
        nn.Flatten(),
    )
    return nnx.Sequential(
        nn.Concat(trunk(rngs, nn, relu), branch),
        nn.Dropout(0.5, rngs=rngs),
        nn.Linear(256 + 288, 10, rngs=rngs),
    )


NETWORKS: dict[str, Callable[..., nnx.Module]] = {"standard": standard, "modified": modified}


def score(model, images, labels, cross_entropy=softmax_cross_entropy):
    logits = model(images)
    correct = jnp.argmax(logits, axis=-1) == labels
    return {"loss": cross_entropy(logits, labels), "accuracy": correct.astype(jnp.float32)}


# ---- the experiment --------------------------------------------------------------------------


def main(config: Config) -> dict[str, Any]:
    """Train, print the table, write `classifier.json` and `classifier.png`; returns the metrics.

    Raises:
      UserError: An option can't be followed.
    """
    require_training_options(config)
    make_output_dir(config.output_dir)
    if config.malloc_tuning:
        _malloc.keep_freed_memory()
    dataset = data.load(config.dataset, data_dir=config.data_dir, cache_dir=config.cache_dir)
    batch_size = config.batch_size or (25 if config.dataset == "digits" else 500)
    require(
        batch_size <= dataset.train.size,
        f"--batch-size {batch_size} exceeds the {dataset.train.size} training images of "
        f"{config.dataset}.",
    )
    dataset = Dataset(*map(to_device, dataset))

    names = list(NETWORKS) if config.model == "both" else [config.model]
    seeds = range(config.seed, config.seed + config.seeds)
    histories = {name: train(name, config, dataset, batch_size, seeds) for name in names}
    metrics = {"config": asdict(config) | {"batch_size": batch_size}, "histories": histories}
    print(table(histories))
    if len(names) == 2:
        print(finding(histories))
    save(metrics, config.output_dir)
    return metrics


def train(name, config, dataset, batch_size, seeds) -> list[list[Metrics]]:
    """Train a network from each seed; for each seed an entry an epoch."""
    if config.gradients == "jaxconv":
        network, network_score = NETWORKS[name], score
    else:
        network = partial(NETWORKS[name], nn=baseline, relu=baseline.relu)
        network_score = baseline.with_optax_loss(score)
    optimiser = optax.sgd(config.learning_rate, config.momentum, nesterov=True)
    trainer = Trainer(network_score, optimiser, dataset.train, batch_size=batch_size)
    histories = []
    for seed in seeds:
        history = []
        with progress_bar(f"{name}, seed {seed}", config.epochs) as report:
            trainer.start(network(nnx.Rngs(seed)), seed=seed)
            for epoch in range(1, config.epochs + 1):
                training = trainer.epoch()
                validation = trainer.evaluate(dataset.validation)
                test = trainer.evaluate(dataset.test)
                history.append(
                    {
                        "epoch": epoch,
                        "seconds": training["seconds"],
                        "train_loss": training["loss"],
                        "train_accuracy": training["accuracy"],
                        "validation_loss": validation["loss"],
                        "validation_accuracy": validation["accuracy"],
                        "test_loss": test["loss"],
                        "test_accuracy": test["accuracy"],
                    }
                )
                report(
                    {
                        "loss": training["loss"],
                        "accuracy": validation["accuracy"],
                        "images/s": trainer.images_per_epoch / training["seconds"],
                    }
                )
        histories.append(history)
    return histories


def table(histories: dict[str, list[list[Metrics]]]) -> str:
    """Test accuracy after the first and the last epoch, and the time of an epoch."""
    lines = [f"{'Type':<10} | {'Epoch':>5} | {'Accuracy':>16} | {'Time':>9}"]
    for name, runs in histories.items():
        # The median: on a shared machine single epochs take much longer for reasons of their own.
        seconds = np.median([entry["seconds"] for run in runs for entry in run])
        for index in dict.fromkeys((0, len(runs[0]) - 1)):
            epoch, accuracy = runs[0][index]["epoch"], spread(runs, index)
            lines.append(f"{name:<10} | {epoch:>5} | {accuracy:>16} | {seconds:>7.2f} s")
    return "\n".join(lines)


def spread(runs, index) -> str:
    values = [run[index]["test_accuracy"] for run in runs]
    mean = f"{np.mean(values):.2%}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.2f}"


def finding(histories) -> str:
    """What the branch changed, in points of test accuracy."""

    def gain(index):
        accuracy = {
            name: [run[index]["test_accuracy"] for run in runs] for name, runs in histories.items()
        }
        return 100 * (np.mean(accuracy["modified"]) - np.mean(accuracy["standard"]))

    epochs = len(histories["standard"][0])
    later = f" and by {gain(-1):+.2f} after epoch {epochs}" if epochs > 1 else ""
    return f"The branch changes accuracy by {gain(0):+.2f} points after epoch 1{later}."


def save(metrics, folder: Path) -> None:
    from .figures import learning_curves  # matplotlib is slow to import

    text = json.dumps(metrics, indent=2, default=str)
    (folder / "classifier.json").write_text(text + "\n", encoding="utf-8")
    curves = {
        name: [[1 - entry["test_accuracy"] for entry in run] for run in runs]
        for name, runs in metrics["histories"].items()
    }
    learning_curves(curves, "test error").savefig(folder / "classifier.png", dpi=150)


if __name__ == "__main__":
    run(main, Config)
