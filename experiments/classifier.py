"""Train convolutional classifiers with jaxconv's gradients.

    python -m experiments.classifier
    python -m experiments.classifier --preset fast --dataset mnist --data-dir FOLDER
    python -m experiments.classifier --dataset folder:PATH --seeds 3 --output-dir runs/mine
    python -m experiments.classifier --resume runs/mine --epochs 60

The first needs no download. The program prints the accuracy on the test images after the first and
the last epoch, and that of each class. The output folder receives tables, learning curves,
confusion matrices and, for each network, metrics and checkpoints.

The standard and the modified network are those of an experiment of G. Gwardys, published on his
blog in May 2016. He added a branch of large windows to the network of Lasagne's MNIST example, from
the image straight to the last layer, and found that it helps in the first epoch and then learns
more slowly. For images of one's own, the default is a network that needs few of them, `--preset
photo`; the other networks then get standardised pixels.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from flax import nnx
from rich.markup import escape

from . import data
from .command_line import attempt, run, write_figure, write_json, write_whole
from .command_line.tables import print_table
from .command_line.tables import table as rich_table
from .data import Dataset, Split
from .networks import classifiers, plain
from .training import messages, preparation, processes, runs
from .training.augmentation import AUGMENTATIONS
from .training.export import Forward
from .training.options import TrainingOptions, as_json
from .training.records import Entry

_LISTED = 20  # classes in the printed table


@dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """Train classifiers and print their table.

    Without --preset, the defaults are those of original, or for images of your own those of photo.
    """

    experiment = "classifier"

    # auto: photo for your own images, otherwise both, which compares standard and modified
    model: Literal["auto", "both", "standard", "modified", "small", "large", "photo"] = "auto"
    batch_size: int | None = None  # images of a step; default 500, or 1/48 of fewer images
    augment: Literal["none", "shift", "affine"] = "none"  # random change of the training images
    # balanced: rare classes count as much in the loss as frequent ones
    class_weights: Literal["none", "balanced"] = "none"
    gradients: Literal["jaxconv", "autodiff"] = "jaxconv"  # autodiff: plain Flax, to compare times

    @property
    def networks(self) -> list[str]:
        """The names of the networks that `--model` stands for."""
        model = self.model
        if model == "auto":
            model = "photo" if self.is_own else "both"
        return ["standard", "modified"] if model == "both" else [model]

    @property
    def is_own(self) -> bool:
        """Whether the images are the user's own."""
        return self.dataset not in data.DATASETS

    def to_resume(self, preset: Mapping[str, Any]) -> Self | None:
        """See `TrainingOptions`; for images of one's own, the options of `--preset photo`."""
        if self.resume or preset or self.model != "auto" or not self.is_own:
            return super().to_resume(preset)
        return replace(type(self)(), **PRESETS["photo"] | {"model": "auto"})


PRESETS: dict[str, dict[str, Any]] = {
    # the published protocol: 30 epochs of 500 images, Nesterov, a constant rate
    "original": {"model": "both"},
    "fast": {"model": "small", "dataset": "mnist", "epochs": 2, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.005},
    "best": {"model": "large", "dataset": "mnist", "epochs": 30, "batch_size": 100}
    | {"schedule": "one_cycle", "optimiser": "adamw", "learning_rate": 0.003}
    | {"augment": "affine", "average": 0.999, "weight_decay": 0.02},
    "photo": {"model": "photo", "schedule": "one_cycle", "optimiser": "adamw"}
    | {"learning_rate": 0.003, "weight_decay": 0.02},
}


def main(config: Config) -> dict[str, Any]:
    """Train, print tables, write `classifier.json` and figures; return the metrics.

    Raises:
      UserError: The options cannot be followed.
    """
    config.check()
    histories, models = {}, {}
    with preparation.prepared(config) as (folder, dataset):
        for name in config.networks:
            own = folder and folder / name
            histories[name], models[name] = fit(name, config, dataset, folder=own)
        metrics = {"config": as_json(config), "histories": histories}
        if folder is not None:  # in the first process
            note_what_was_not_learned(histories, config, dataset)
            print(table(histories))
            if len(histories) == 2:
                print(finding(histories, dataset))
            save(metrics, folder)
            with attempt("compare the classes"):
                if processes.is_joined():  # what follows needs all test images
                    dataset = preparation.load(config)
                compare_classes(metrics, models, dataset, config, folder)
            messages.print_place(folder, histories, dataset.image_shape[-1])
    return metrics


def train(name, config: Config, dataset: Dataset, folder=None) -> list[list[Entry]]:
    """Train a network from all seeds at once; for each seed an entry an epoch."""
    return fit(name, config, dataset, folder)[0]


def fit(name, config: Config, dataset: Dataset, folder=None):
    """Train a network. Returns for each seed an entry an epoch, and for each seed the model."""
    facts = {"shape": dataset.image_shape, "classes": dataset.num_classes, "pixels": None}
    facts["gradients"] = config.gradients
    if config.is_own:
        mean, deviation = processes.moments(dataset.train.images)
        # Of images that are all alike, the deviation is 0; half a grey level is as small.
        facts["pixels"] = [mean, [max(each, 1 / 510) for each in deviation]]
    score = classifiers.score
    score = score if config.gradients == "jaxconv" else plain.with_optax_loss(score)
    if config.class_weights == "balanced":
        score = partial(score, weights=tuple(1 / (dataset.num_classes * shares(dataset.train))))
    return runs.train(
        name,
        config,
        dataset,
        build=lambda seed, steps: classifiers.build(name, **facts, steps=steps, seed=seed),
        score=score,
        batch_size=500,
        augment=AUGMENTATIONS[config.augment],
        folder=folder,
        answer=classifiers.probabilities,
        facts={"pixels": facts["pixels"]},
    )


def shares(split: Split) -> np.ndarray:
    """The fraction of the images that each class has. Each class has one."""
    return np.bincount(split.labels) / split.size


def note_what_was_not_learned(histories, config: Config, dataset: Dataset) -> None:
    """Warn of networks that do no better than the shares of the classes."""
    share = shares(dataset.train)
    is_balanced = config.class_weights == "balanced"
    constant = np.log(len(share)) if is_balanced else -np.sum(share * np.log(share))
    advice = "Another --learning-rate, more --epochs or --preset photo may help."
    for name, of_seeds in histories.items():
        for title, history in zip(messages.titles(name, config), of_seeds, strict=True):
            messages.note_if_nothing_was_learned(title, history, "loss", float(constant), advice)


def table(histories: dict[str, list[list[Entry]]]) -> str:
    """The test accuracy after the first and the last epoch, and the time of an epoch."""
    lines = [f"{'Type':<10} | {'Epoch':>5} | {'Test accuracy':>16} | {'Time':>9}"]
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
    """The effect of the branch, in points of test accuracy, and how far chance reaches."""
    size, seeds = dataset.test.size, len(histories["standard"])
    epochs = len(histories["standard"][0])

    def effect(index):
        """The difference of the networks, and the half width of its 95 % interval."""
        means, variance = [], 0.0
        for name in ("standard", "modified"):
            values = [run[index]["test_accuracy"] for run in histories[name]]
            means.append(np.mean(values))
            p = (means[-1] * size + 1) / (size + 2)  # so that no error among few images is not none
            variance += p * (1 - p) / size
            variance += np.var(values, ddof=1) / seeds if seeds > 1 else 0
        return 100 * (means[1] - means[0]), 196 * np.sqrt(variance)

    effects = {epoch: effect(epoch - 1) for epoch in dict.fromkeys((1, epochs))}
    said = " and ".join(
        f"{gain:+.2f} ± {width:.2f} points after epoch {epoch}"
        for epoch, (gain, width) in effects.items()
    )
    is_chance = all(abs(gain) <= width for gain, width in effects.values())
    return (
        f"{'No finding, because chance explains it: the' if is_chance else 'The'} branch changes "
        f"test accuracy by {said} (95 % intervals of {size:,} test images and {seeds} "
        f"seed{'s' if seeds > 1 else ', which does not show how much seeds differ'})."
    )


def save(metrics, folder: Path) -> None:
    save_metrics(metrics, folder)
    errors = {
        name: [[1 - entry["test_accuracy"] for entry in run] for run in of_seeds]
        for name, of_seeds in metrics["histories"].items()
    }
    with attempt(f"draw {folder / 'classifier.png'}"):
        from .pictures import curves  # Matplotlib takes a second to import

        write_figure(folder / "classifier.png", curves.learning_curves(errors, "test error"))


def save_metrics(metrics, folder: Path) -> None:
    with attempt(f"write {folder / 'classifier.json'}"):
        write_json(folder / "classifier.json", metrics)


# ---- class by class --------------------------------------------------------------------------


def compare_classes(metrics, models, dataset: Dataset, config: Config, folder: Path) -> None:
    """Print the test accuracy of each class, and write confusion matrices as tables and figures.

    The weights are those after the last epoch, as in the table; seeds are added up.
    """
    names, confused = dataset.class_names, {}
    for network, of_seeds in models.items():
        matrix = sum(confusion(model, dataset.test, len(names), config) for model in of_seeds)
        confused[network] = matrix
        right = accuracies(matrix)
        metrics.setdefault("balanced_test_accuracy", {})[network] = float(np.nanmean(right))
        of_classes = dict(zip(names, right.tolist(), strict=True))
        metrics.setdefault("test_accuracy_of_classes", {})[network] = of_classes
    print_classes(confused, names, len(next(iter(models.values()))))
    share = shares(dataset.train)
    if share.max() > 3 * share.min() and config.class_weights == "none":
        print(
            f"The classes are unbalanced: {names[share.argmax()]} for every image would be right "
            f"in {np.mean(dataset.test.labels == share.argmax()):.2%} of the test images. "
            "--class-weights balanced lets rare classes count as much."
        )
    save_metrics(metrics, folder)
    for network, matrix in confused.items():
        file = folder / f"confusion-{network}.csv"
        with attempt(f"write {file}"):
            text = io.StringIO(newline="")
            rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
            csv.writer(text).writerows([["class \\ taken for", *names], *rows])
            write_whole(file, text.getvalue())
        with attempt(f"draw {file.with_suffix('.png')}"):
            from .pictures.confusion import confusion_matrix

            write_figure(file.with_suffix(".png"), confusion_matrix(matrix, names, network))


def confusion(model: nnx.Module, split: Split, classes: int, config: Config) -> np.ndarray:
    """How many images of each class (rows) the model takes for each class (columns)."""
    from sklearn.metrics import confusion_matrix  # takes a second to import

    forward = Forward(classifiers.probabilities, model, config.dtype)
    batch = max(1, min(500, 500 * 28 * 28 // split.images[0].size))
    starts = range(0, split.size, batch)
    answers = [forward(split.images[at : at + batch]).argmax(axis=-1) for at in starts]
    return confusion_matrix(split.labels, np.concatenate(answers), labels=range(classes))


def accuracies(matrix: np.ndarray) -> np.ndarray:
    """The accuracy of each class; NaN where there are no images."""
    counts = matrix.sum(axis=1)
    return np.where(counts, matrix.diagonal(), np.nan) / np.maximum(counts, 1)


def print_classes(confused: dict[str, np.ndarray], names: Sequence[str], seeds: int) -> None:
    """Print the accuracy of each class, or of the 20 worst, and what it is most taken for."""
    right = {network: accuracies(matrix) for network, matrix in confused.items()}
    counts = next(iter(confused.values())).sum(axis=1) // seeds
    mean = np.mean(list(right.values()), axis=0)
    worst = np.argsort(mean, kind="stable")[:_LISTED]  # NaN at the end
    found = rich_table("class")
    for heading in ("test images", *confused):
        found.add_column(heading, justify="right" if heading == "test images" else "left")
    for label in sorted(worst):
        cells = []
        for network, matrix in confused.items():
            others = np.where(np.arange(len(names)) == label, 0, matrix[label])
            taken = f", {others.max()} as {escape(names[others.argmax()])}" if others.any() else ""
            cells.append(f"{right[network][label]:.2%}{taken}" if counts[label] else "-")
        found.add_row(escape(names[label]), f"{counts[label]:,}", *cells)
    if len(names) > _LISTED:
        found.add_row(f"({len(names) - _LISTED} better ones)", "", *[""] * len(confused))
    means = (f"{np.nanmean(values):.2%}" for values in right.values())
    found.add_row("mean: balanced accuracy", "", *means)
    print_table(found)


if __name__ == "__main__":
    run(main, Config, presets=PRESETS, leave=processes.leave)
