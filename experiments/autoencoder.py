"""Convolutional autoencoders: plain, denoising and variational, through jaxconv's derivatives.

    python -m experiments.autoencoder
    python -m experiments.autoencoder --dataset mnist --data-dir FOLDER --decoder both
    python -m experiments.autoencoder --preset best --dataset mnist
    python -m experiments.autoencoder --preset denoising --noise salt_and_pepper
    python -m experiments.autoencoder --preset variational --dataset mnist --code-size 2

The original is that of G. Gwardys, "Convolutional Autoencoder for Dummies", 2016, in Lasagne.

The decoder's transposed convolutions are the adjoints of the encoder's convolutions: tied, they
share its kernels. Prints errors on the test images beside those of a classical method in the same
run: principal component analysis (PCA) with a code of the same size, or the best of three noise
filters. Saves figures: reconstructions, and of the variational one samples and its codes.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from . import processes, rivals, runs
from ._command_line import require, run
from .autoencoders import (
    NOISES,
    Autoencoder,
    denoising_score,
    importance_weighted_nats,
    posterior,
    score,
    variational_score,
)
from .data import Dataset, Split
from .options import TrainingOptions, as_json
from .records import Entry, write_json
from .steps import to_unit_interval


@dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """Train autoencoders and print their table. Presets: original, best, denoising, variational."""

    experiment = "autoencoder"

    kind: Literal["plain", "denoising", "variational"] = "plain"  # repeat, clean, or generate
    decoder: Literal["tied", "untied", "both"] = "tied"  # its kernels: the encoder's or its own
    batch_size: int | None = None  # images of a step; default 100, or 1/48 of few
    learning_rate: float = 0.001  # of an error summed over pixels; see also clip_norm
    clip_norm: float | None = 30.0  # of the gradient: the first ones are hundreds, and one step
    # along them takes the last relu below zero at every pixel, where no gradient comes back
    code_size: int = 256  # width of the innermost dense layer, the original's
    hidden: int = 0  # width of one more dense layer on each side of the code; 0: none, as there
    dropout: float = 0.5  # before the dense layers on each side, the original's; 0: none
    noise: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian"  # of denoising
    noise_level: float = 0.5  # its standard deviation, or the fraction of pixels hit
    beta: float = 1.0  # weight of the divergence in the variational loss
    binarise: bool = False  # variational: draw black or white pixels anew in each step
    draws: int = 50  # of the importance-weighted bound, evaluated after training


_TUNED = {"optimiser": "adam", "schedule": "one_cycle", "clip_norm": None, "learning_rate": 0.002}
_TUNED |= {"decoder": "untied", "hidden": 1024, "dropout": 0.0}
PRESETS: dict[str, dict[str, Any]] = {
    "original": {},  # the published network and protocol
    "best": _TUNED | {"code_size": 32, "epochs": 6},
    "denoising": _TUNED | {"kind": "denoising", "epochs": 6},
    "variational": _TUNED | {"kind": "variational", "code_size": 32, "epochs": 10},
}


def main(config: Config) -> dict[str, Any]:
    """Train, print errors beside a rival's, write `autoencoder.json` and figures; the metrics.

    Raises:
      UserError: An option can't be followed.
    """
    check(config)
    folder, dataset = runs.prepare(config)
    names = ["tied", "untied"] if config.decoder == "both" else [config.decoder]
    histories, models = {}, {}
    for name in names:
        own = folder and folder / name
        histories[name], models[name] = train(name, config, dataset, folder=own)
    metrics = {"config": as_json(config), "histories": histories}
    if folder is None:  # another process's part
        return metrics
    if processes.is_joined():  # it is a part, and what follows is of all images
        dataset = runs.load(config)
    shown = one_of_each_class(dataset.test)
    rival = rival_of(config, dataset, shown)
    metrics |= rival.metrics
    if config.kind == "variational":
        metrics["importance_weighted_nats"] = {
            name: evaluate_bound(model, dataset.test, config) for name, model in models.items()
        }
    print(table(metrics, rival.rows))
    save(metrics, models, shown, rival, dataset, folder)
    return metrics


def check(config: Config) -> None:
    """See that the options make sense before anything slow starts."""
    config.check()
    require(config.code_size >= 1, f"--code-size must be at least 1, got {config.code_size}.")
    require(config.hidden >= 0, f"--hidden must not be negative, got {config.hidden}.")
    require(config.draws >= 1, f"--draws must be at least 1, got {config.draws}.")
    require(0 <= config.dropout < 1, f"--dropout must be in [0, 1), got {config.dropout}.")
    require(config.beta >= 0, f"--beta must not be negative, got {config.beta}.")
    highest = float("inf") if config.noise == "gaussian" else 1
    require(
        0 < config.noise_level <= highest,
        "--noise-level must be positive, and at most 1 where it is a fraction of the pixels, got "
        f"{config.noise_level}.",
    )


def score_of(config: Config):
    """What the kind of autoencoder is trained and evaluated by."""
    if config.kind == "denoising":
        corrupt = partial(NOISES[config.noise], level=config.noise_level)
        return partial(denoising_score, corrupt=corrupt)
    if config.kind == "variational":
        return partial(variational_score, beta=config.beta, binarise=config.binarise)
    return score


def rival_of(config: Config, dataset: Dataset, shown: Split) -> rivals.Rival:
    """What the kind of autoencoder is compared with."""
    if config.kind == "denoising":
        corrupt = partial(NOISES[config.noise], level=config.noise_level)
        return rivals.filters(dataset, shown, corrupt)
    if config.kind == "plain":
        return rivals.pca(dataset, shown, config.code_size)
    return rivals.Rival(shown.images / 255)


def build(name: str, config: Config, *, shape, brightness=0.5, seed: int = 0) -> Autoencoder:
    """A network before training, from the options and what it takes from the dataset."""
    return Autoencoder(
        code_size=config.code_size,
        hidden=config.hidden,
        dropout=config.dropout,
        tied=name == "tied",
        brightness=brightness,
        rngs=nnx.Rngs(seed),
        shape=shape,
        variational=config.kind == "variational",
    )


def train(name, config, dataset: Dataset, folder=None) -> tuple[list[list[Entry]], Any]:
    """Train from each seed; for each seed an entry an epoch, and the first trained model."""
    images = dataset.train.images
    sums = processes.from_all((int(images.sum(dtype=np.int64)), images.size))
    brightness = np.divide(*np.sum(sums, axis=0)).item() / 255
    facts = {"shape": dataset.image_shape, "brightness": brightness}
    return runs.train(
        name,
        config,
        dataset,
        build=lambda seed: build(name, config, **facts, seed=seed),
        score=score_of(config),
        batch_size=100,
        folder=folder,
        answer=reconstruct,
    )


def evaluate_bound(model, split: Split, config: Config) -> float:
    """The importance-weighted bound on the test images, in nats."""

    @nnx.jit
    def bound(model, images, key):
        images = to_unit_interval(images)
        return importance_weighted_nats(
            model, images, key=key, draws=config.draws, binarise=config.binarise
        ).sum()

    key, total = jax.random.key(config.seed), 0.0
    for start in range(0, split.size, 500):
        images = jnp.asarray(split.images[start : start + 500])
        total += float(bound(model, images, jax.random.fold_in(key, start)))
    return total / split.size


def one_of_each_class(split: Split) -> Split:
    """The first image of each class: chosen by no one."""
    labels = np.asarray(split.labels)
    rows = np.array([np.flatnonzero(labels == label)[0] for label in np.unique(labels)])
    return Split(split.images[rows], split.labels[rows])


# ---- what is printed and saved ---------------------------------------------------------------


def table(metrics, rivals_rows) -> str:
    """Test error of each method."""
    variational = metrics["config"]["kind"] == "variational"
    measure, title = ("nats", "Nats per image") if variational else ("mse", "MSE per pixel")
    digits, code_size = (2 if variational else 5), metrics["config"]["code_size"]
    lines = [f"{'Method':<12} | {'Code':>4} | {'Epoch':>5} | {title:>18} | {'Time':>9}"]

    def add(method, code, epoch, values, seconds=""):
        shown = f"{np.mean(values):.{digits}f}"
        if len(values) > 1:
            shown += f" ± {np.std(values, ddof=1):.{digits}f}"
        lines.append(f"{method:<12} | {code:>4} | {epoch:>5} | {shown:>18} | {seconds:>9}".rstrip())

    for name, of_seeds in metrics["histories"].items():
        seconds = np.median([entry["seconds"] for run in of_seeds for entry in run])
        for index in dict.fromkeys((0, len(of_seeds[0]) - 1)):
            values = [run[index][f"test_{measure}"] for run in of_seeds]
            add(name, code_size, of_seeds[0][index]["epoch"], values, f"{seconds:.2f} s")
        if variational:
            bound = metrics["importance_weighted_nats"][name]
            add(f"{name}, IW-{metrics['config']['draws']}", code_size, len(of_seeds[0]), [bound])
    for name, code, error in rivals_rows:
        add(name, code, "", [error])
    return "\n".join(lines)


def save(
    metrics, models, shown: Split, rival: rivals.Rival, dataset: Dataset, folder: Path
) -> None:
    from . import figures  # matplotlib is slow to import

    clean, kind = shown.images / 255, metrics["config"]["kind"]
    write_json(folder / "autoencoder.json", metrics)
    columns = {"noisy": rival.inputs} if kind == "denoising" else {}
    for name, model in models.items():
        columns[name] = np.asarray(reconstruct(model, jnp.asarray(rival.inputs, jnp.float32)))
    drawn = figures.reconstructions(clean, columns | rival.columns)
    drawn.savefig(folder / "autoencoder.png", dpi=150)
    for name, model in models.items():
        figures.filters(np.asarray(model.encode.layers[0].kernel[...])).savefig(
            folder / f"filters-{name}.png", dpi=150
        )
        if kind == "variational":
            _save_codes(model, shown, dataset, folder, name)


def _save_codes(model, shown, dataset, folder: Path, name):
    from . import figures

    size = model.code_size
    decode = jax.jit(lambda z: jax.nn.sigmoid(model.decode(z)))
    z = jax.random.normal(jax.random.key(0), (64, size))
    figures.grid(np.asarray(decode(z)), columns=8).savefig(folder / f"samples-{name}.png", dpi=150)

    images = to_unit_interval(jnp.asarray(shown.images))
    ends, _ = posterior(model, images)
    between = jnp.linspace(0, 1, 9)[:, None, None]
    line = (1 - between) * ends + between * jnp.roll(ends, -1, axis=0)  # (9, n, code)
    pictures = decode(line.swapaxes(0, 1).reshape(-1, size))
    figures.grid(np.asarray(pictures), columns=9).savefig(
        folder / f"interpolation-{name}.png", dpi=150
    )

    few = slice(0, 2_000)
    codes, _ = jax.jit(partial(posterior, model))(
        to_unit_interval(jnp.asarray(dataset.test.images[few]))
    )
    figures.latent_map(
        np.asarray(codes), np.asarray(dataset.test.labels[few]), dataset.class_names
    ).savefig(folder / f"codes-{name}.png", dpi=150)
    if size == 2:
        side = jnp.linspace(-2.5, 2.5, 15)
        places = jnp.stack(jnp.meshgrid(side, -side), axis=-1).reshape(-1, 2)
        figures.grid(np.asarray(decode(places)), columns=15).savefig(
            folder / f"latent-plane-{name}.png", dpi=150
        )


@nnx.jit
def reconstruct(model: Autoencoder, images: jax.Array) -> jax.Array:
    """What an autoencoder of any kind makes of images in [0, 1]."""
    if model.is_variational:
        mean, _ = posterior(model, images)
        return jax.nn.sigmoid(model.decode(mean.astype(images.dtype)))
    return model(images)


if __name__ == "__main__":
    run(main, Config, presets=PRESETS)
