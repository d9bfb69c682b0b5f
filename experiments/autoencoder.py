"""A convolutional autoencoder of 28×28 images, trained through jaxconv's own derivatives.

    python -m experiments.autoencoder
    python -m experiments.autoencoder --dataset mnist --data-dir FOLDER
    python -m experiments.autoencoder --dataset mnist --data-dir FOLDER --untied

The decoder's transposed convolutions are the adjoints of the encoder's convolutions: they share its
kernels. `--untied` also trains one whose decoder has kernels of its own. Prints the reconstruction
error per pixel on the test images beside that of principal component analysis (PCA) with a code of
the same size, and saves a figure: the original left, its reconstructions right.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import nnx

from jaxconv import nn, relu, squared_error, tanh

from . import _malloc, data
from ._command_line import make_output_dir, require, require_training_options, run
from .data import NUM_CLASSES, Dataset, Split
from .training import Metrics, Trainer, progress_bar, to_device, to_unit_interval


@dataclass(frozen=True)
class Config:
    """Train the autoencoder and compare its reconstructions with those of PCA."""

    untied: bool = False  # also train a decoder with kernels of its own, for comparison
    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"  # needs no download
    data_dir: Path | None = None  # folder of TFDS; default: TFDS_DATA_DIR, ~/tensorflow_datasets
    cache_dir: Path | None = None  # of decoded images; default: the platform's cache folder
    output_dir: Path = Path("results")  # for autoencoder.json and autoencoder.png
    epochs: int = 30  # as many as the classifier
    batch_size: int | None = None  # default 100; 25 on digits, for more steps from few images
    learning_rate: float = 0.001  # of an error summed over pixels; see also clip_norm
    momentum: float = 0.9  # Nesterov's, as in the original
    clip_norm: float = 30.0  # of the gradient: the first ones are hundreds, and one step along them
    # takes the last relu below zero at every pixel, where it has no gradient to come back by
    code_size: int = 256  # width of the innermost dense layer, the original's
    dropout: float = 0.5  # before each of the two inner dense layers, the original's; 0: none
    seed: int = 0  # of the initial parameters, the order of images and dropout
    seeds: int = 1  # runs, from --seed upwards; the table has their mean and standard deviation
    malloc_tuning: bool = True  # keep freed memory, which spares page faults; see _malloc.py


class Autoencoder(nnx.Module):
    """28×28×1 -> 4×4×32 = 512 -> code -> 512 = 4×4×32 -> 28×28×1.

    Args:
      code_size: Width of the innermost dense layer.
      dropout: Rate before each of the two inner dense layers.
      tied: The decoder's transposed convolutions share the encoder's kernels.
      brightness: Mean pixel of the training images. The output's bias starts there: the last relu
        starts alive at every pixel, whatever the sign of the first kernels' contribution.
      rngs: Streams `params` and `dropout`.
      nn, relu, tanh: Where the layers come from: jaxconv, or the plain Flax of baseline.py, which
        has tied ones only.
    """

    def __init__(
        self,
        *,
        code_size: int,
        dropout: float,
        tied: bool,
        brightness: float,
        rngs: nnx.Rngs,
        nn=nn,
        relu=relu,
        tanh=tanh,
    ):
        options = {"flip_kernel": True, "rngs": rngs}  # true convolution, the original's default
        pooled = {"activation": "tanh", "window_shape": (2, 2)}
        first = nn.ConvBlock(1, 32, (5, 5), **pooled, **options)
        second = nn.ConvBlock(32, 32, (5, 5), **pooled, **options)
        to_brightness = nnx.initializers.constant(brightness)
        if tied:
            second_transposed = nn.ConvTranspose.tied(second)
            first_transposed = nn.ConvTranspose.tied(first, bias_init=to_brightness)
        else:
            second_transposed = nn.ConvTranspose(32, 32, (5, 5), **options)
            first_transposed = nn.ConvTranspose(32, 1, (5, 5), bias_init=to_brightness, **options)
        self.encode = nnx.Sequential(
            first,  # 28 -> 24 -> 12
            second,  # 12 -> 8 -> 4
            nn.Flatten(),
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(512, code_size, rngs=rngs),
            tanh,
        )
        self.decode = nnx.Sequential(
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(code_size, 512, rngs=rngs),
            tanh,
            unflatten,
            nn.Upscale((2, 2)),  # 4 -> 8
            second_transposed,  # -> 12
            relu,
            nn.Upscale((2, 2)),  # -> 24
            first_transposed,  # -> 28
            relu,
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.decode(self.encode(images))


def unflatten(x: jax.Array) -> jax.Array:
    return x.reshape(-1, 4, 4, 32)


def score(model, images, labels, squared_error=squared_error):
    """Squared error summed over an image's pixels, which training minimises, and its mean."""
    errors = squared_error(model(images), images)
    return {"loss": errors.sum(axis=(1, 2, 3)), "mse": errors.mean(axis=(1, 2, 3))}


def main(config: Config) -> dict[str, Any]:
    """Train, print errors beside PCA's, write `autoencoder.json` and `.png`; returns the metrics.

    Raises:
      UserError: An option can't be followed.
    """
    require_training_options(config)
    require(config.code_size >= 1, f"--code-size must be at least 1, got {config.code_size}.")
    require(config.clip_norm > 0, f"--clip-norm must be positive, got {config.clip_norm}.")
    require(0 <= config.dropout < 1, f"--dropout must be in [0, 1), got {config.dropout}.")
    make_output_dir(config.output_dir)
    if config.malloc_tuning:
        _malloc.keep_freed_memory()
    dataset = data.load(config.dataset, data_dir=config.data_dir, cache_dir=config.cache_dir)
    batch_size = config.batch_size or (25 if config.dataset == "digits" else 100)
    require(
        batch_size <= dataset.train.size,
        f"--batch-size {batch_size} exceeds the {dataset.train.size} training images of "
        f"{config.dataset}.",
    )
    shown = one_of_each_class(dataset.test)
    pca_errors, pca_images = pca(dataset, sorted({32, 64, config.code_size}), shown)
    on_device = Dataset(*map(to_device, dataset))

    histories, columns = {}, {}
    seeds = range(config.seed, config.seed + config.seeds)
    for name in ["tied", "untied"] if config.untied else ["tied"]:
        histories[name], model = train(name, config, on_device, batch_size, seeds)
        columns[name] = np.asarray(autoencode(model, shown.images))[..., 0]
    metrics = {
        "config": asdict(config) | {"batch_size": batch_size},
        "histories": histories,
        "pca_mse": pca_errors,
    }
    print(table(metrics))
    columns[f"PCA {config.code_size}"] = pca_images
    save(metrics, shown.images[..., 0] / 255, columns, config.output_dir)
    return metrics


def train(name, config, dataset, batch_size, seeds) -> tuple[list[list[Metrics]], nnx.Module]:
    """Train from each seed; for each seed an entry an epoch, and the last trained model."""
    optimiser = optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.sgd(config.learning_rate, config.momentum, nesterov=True),
    )
    trainer = Trainer(score, optimiser, dataset.train, batch_size=batch_size)
    brightness = float(to_unit_interval(dataset.train.images).mean())
    histories = []
    for seed in seeds:
        model = Autoencoder(
            code_size=config.code_size,
            dropout=config.dropout,
            tied=name == "tied",
            brightness=brightness,
            rngs=nnx.Rngs(seed),
        )
        history = []
        with progress_bar(f"{name}, seed {seed}", config.epochs) as report:
            trainer.start(model, seed=seed)
            for epoch in range(1, config.epochs + 1):
                training = trainer.epoch()
                history.append(
                    {
                        "epoch": epoch,
                        "seconds": training["seconds"],
                        "train_mse": training["mse"],
                        "validation_mse": trainer.evaluate(dataset.validation)["mse"],
                        "test_mse": trainer.evaluate(dataset.test)["mse"],
                    }
                )
                report(
                    {
                        "loss": training["loss"],
                        "mse": history[-1]["validation_mse"],
                        "images/s": trainer.images_per_epoch / training["seconds"],
                    }
                )
        histories.append(history)
    return histories, trainer.model


@nnx.jit
def autoencode(model: Autoencoder, images: jax.Array) -> jax.Array:
    return model(to_unit_interval(images))


def pca(dataset: Dataset, sizes: list[int], shown: Split) -> tuple[dict[int, float], np.ndarray]:
    """PCA fitted to the training images: the best *linear* code of each size.

    Returns:
      For each size the mean squared error per pixel on the test images, and the reconstructions
      `(n, 28, 28)` of the shown images from a code of the last size.
    """
    from sklearn.decomposition import PCA  # slow to import

    train, test, few = (
        split.images.reshape(split.size, -1).astype(np.float64) / 255
        for split in (dataset.train, dataset.test, shown)
    )
    # No code can be larger than the images, nor than the number of them.
    largest = min(max(sizes), *train.shape)
    fitted: Any = PCA(largest, svd_solver="covariance_eigh").fit(train)

    def reconstruct(images, size):
        axes = fitted.components_[:size]
        centred = images - fitted.mean_
        return centred @ axes.T @ axes + fitted.mean_

    errors = {size: float(np.mean((test - reconstruct(test, size)) ** 2)) for size in sizes}
    return errors, reconstruct(few, sizes[-1]).reshape(-1, 28, 28)


def one_of_each_class(split: Split) -> Split:
    """The first image of each class: chosen by no one."""
    labels = np.asarray(split.labels)
    rows = np.array([np.flatnonzero(labels == label)[0] for label in range(NUM_CLASSES)])
    return Split(split.images[rows], split.labels[rows])


def table(metrics) -> str:
    """Test error per pixel of each method."""
    code_size = metrics["config"]["code_size"]
    lines = [f"{'Method':<11} | {'Code':>4} | {'Epoch':>5} | {'MSE per pixel':>18} | {'Time':>9}"]
    for name, runs in metrics["histories"].items():
        seconds = np.median([entry["seconds"] for run in runs for entry in run])
        for index in dict.fromkeys((0, len(runs[0]) - 1)):
            values = [run[index]["test_mse"] for run in runs]
            error = f"{np.mean(values):.5f}"
            if len(values) > 1:
                error += f" ± {np.std(values, ddof=1):.5f}"
            epoch = runs[0][index]["epoch"]
            lines.append(
                f"{name:<11} | {code_size:>4} | {epoch:>5} | {error:>18} | {seconds:>7.2f} s"
            )
    for size, error in metrics["pca_mse"].items():
        lines.append(f"{'PCA':<11} | {size:>4} | {'':>5} | {error:>18.5f} |")
    return "\n".join(lines)


def save(metrics, originals: np.ndarray, columns: dict[str, np.ndarray], folder: Path) -> None:
    from .figures import reconstructions  # matplotlib is slow to import

    text = json.dumps(metrics, indent=2, default=str)
    (folder / "autoencoder.json").write_text(text + "\n", encoding="utf-8")
    reconstructions(originals, columns).savefig(folder / "autoencoder.png", dpi=150)


if __name__ == "__main__":
    run(main, Config)
