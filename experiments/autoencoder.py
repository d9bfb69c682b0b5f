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

The table and `autoencoder.json` come before all that training does not need: where a rival or a
figure can't be had, a line says so.
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
from ._notes import attempt, note
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
from .records import Entry, write_figure, write_json
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
    print(table(metrics))
    save_metrics(metrics, folder)
    with attempt("compare and draw"):
        if processes.is_joined():  # it is a part, and what follows is of all images
            dataset = runs.load(config)
        compare(metrics, models, dataset, config, folder)
    return metrics


def compare(metrics, models, dataset: Dataset, config: Config, folder: Path) -> None:
    """What follows training: a rival, a tighter bound, figures; each adds to table and metrics."""
    shown = one_of_each_class(dataset.test)
    rival = rivals.Rival(shown.images / 255)
    with attempt("measure " + ("noise filters" if config.kind == "denoising" else "PCA")):
        seconds = sum(
            e["seconds"] for of_seeds in metrics["histories"].values() for e in of_seeds[0]
        )
        rival = rival_of(config, dataset, shown, seconds)
    add(metrics, rival.metrics, rival.rows, folder)
    if config.kind == "variational":
        for name, model in models.items():
            with attempt(f"evaluate the importance-weighted bound of {name}"):
                nats = evaluate_bound(model, dataset.test, config)
                bounds = metrics.get("importance_weighted_nats", {}) | {name: nats}
                row = f"{name}, IW-{config.draws}", str(config.code_size), nats
                add(metrics, {"importance_weighted_nats": bounds}, [row], folder)
    save_figures(config.kind, models, shown, rival, dataset, folder)


def add(metrics, more, rows, folder: Path) -> None:
    """Complete the table and the metrics by what another method reaches."""
    metrics.update(more)
    digits = _measure(metrics["config"]["kind"])[2]
    for method, code, error in rows:
        print(_row(method, code, "", f"{error:.{digits}f}"))
    if more:
        save_metrics(metrics, folder)


def save_metrics(metrics, folder: Path) -> None:
    with attempt(f"write {folder / 'autoencoder.json'}"):
        write_json(folder / "autoencoder.json", metrics)


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


def rival_of(config: Config, dataset: Dataset, shown: Split, seconds: float) -> rivals.Rival:
    """What the kind of autoencoder is compared with; it may take as long as training did."""
    if config.kind == "denoising":
        corrupt = partial(NOISES[config.noise], level=config.noise_level)
        return rivals.filters(dataset, shown, corrupt, seconds=seconds)
    if config.kind == "plain":
        return rivals.pca(dataset, shown, config.code_size, seconds=seconds)
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
    # As many pixels at once as 500 images of 28×28 have.
    batch = max(1, min(500, 500 * 28 * 28 // split.images[0].size))
    for start in range(0, split.size, batch):
        images = jnp.asarray(split.images[start : start + batch])
        total += float(bound(model, images, jax.random.fold_in(key, start)))
    return total / split.size


def one_of_each_class(split: Split) -> Split:
    """The first image of each class: chosen by no one."""
    labels = np.asarray(split.labels)
    rows = np.array([np.flatnonzero(labels == label)[0] for label in np.unique(labels)])
    return Split(split.images[rows], split.labels[rows])


# ---- what is printed and saved ---------------------------------------------------------------


def table(metrics) -> str:
    """Test error after the first and the last epoch, and the time of an epoch."""
    measure, title, digits = _measure(metrics["config"]["kind"])
    lines = [_row("Method", "Code", "Epoch", title, "Time")]
    for name, of_seeds in metrics["histories"].items():
        seconds = np.median([entry["seconds"] for run in of_seeds for entry in run])
        for index in dict.fromkeys((0, len(of_seeds[0]) - 1)):
            values = [run[index][f"test_{measure}"] for run in of_seeds]
            shown = f"{np.mean(values):.{digits}f}"
            if len(values) > 1:
                shown += f" ± {np.std(values, ddof=1):.{digits}f}"
            code_size, epoch = metrics["config"]["code_size"], of_seeds[0][index]["epoch"]
            lines.append(_row(name, code_size, epoch, shown, f"{seconds:.2f} s"))
    return "\n".join(lines)


def _measure(kind) -> tuple[str, str, int]:
    """What a kind is measured by: the metric, the heading of its column, digits."""
    return ("nats", "Nats per image", 2) if kind == "variational" else ("mse", "MSE per pixel", 5)


def _row(method, code, epoch, error, seconds="") -> str:
    return f"{method:<12} | {code:>4} | {epoch:>5} | {error:>18} | {seconds:>9}".rstrip()


def save_figures(
    kind, models, shown: Split, rival: rivals.Rival, dataset: Dataset, folder: Path
) -> None:
    from . import figures  # matplotlib is slow to import

    if said := figures.channels_drawn(shown.images.shape[-1]):
        note(f"figures show {said}")

    def draw(name, of_what):
        with attempt(f"draw {folder / name}"):
            write_figure(folder / name, of_what())

    def reconstructed():
        columns = {"noisy": rival.inputs} if kind == "denoising" else {}
        for name, model in models.items():
            columns[name] = np.asarray(reconstruct(model, jnp.asarray(rival.inputs, jnp.float32)))
        return figures.reconstructions(shown.images / 255, columns | dict(rival.columns))

    draw("autoencoder.png", reconstructed)
    for name, model in models.items():
        kernel = model.encode.layers[0].kernel
        draw(f"filters-{name}.png", lambda kernel=kernel: figures.filters(np.asarray(kernel[...])))
        if kind == "variational":
            for figure, of_what in _figures_of_codes(model, shown, dataset).items():
                draw(f"{figure}-{name}.png", of_what)


def _figures_of_codes(model, shown: Split, dataset: Dataset):
    """Of a variational autoencoder, by their names, functions that draw them."""
    from . import figures

    size = model.code_size
    decode = jax.jit(lambda z: jax.nn.sigmoid(model.decode(z)))

    def samples():
        z = jax.random.normal(jax.random.key(0), (64, size))
        return figures.grid(np.asarray(decode(z)), columns=8)

    def interpolation():
        ends, _ = posterior(model, to_unit_interval(jnp.asarray(shown.images)))
        between = jnp.linspace(0, 1, 9)[:, None, None]
        line = (1 - between) * ends + between * jnp.roll(ends, -1, axis=0)  # (9, n, code)
        pictures = decode(line.swapaxes(0, 1).reshape(-1, size))
        return figures.grid(np.asarray(pictures), columns=9)

    def codes():
        few = slice(0, 2_000)
        images = to_unit_interval(jnp.asarray(dataset.test.images[few]))
        found, _ = jax.jit(partial(posterior, model))(images)
        labels = np.asarray(dataset.test.labels[few])
        return figures.latent_map(np.asarray(found), labels, dataset.class_names)

    def plane():
        side = jnp.linspace(-2.5, 2.5, 15)
        places = jnp.stack(jnp.meshgrid(side, -side), axis=-1).reshape(-1, 2)
        return figures.grid(np.asarray(decode(places)), columns=15)

    found = {"samples": samples, "interpolation": interpolation, "codes": codes}
    return found | ({"latent-plane": plane} if size == 2 else {})


@nnx.jit
def reconstruct(model: Autoencoder, images: jax.Array) -> jax.Array:
    """What an autoencoder of any kind makes of images in [0, 1]."""
    if model.is_variational:
        mean, _ = posterior(model, images)
        return jax.nn.sigmoid(model.decode(mean.astype(images.dtype)))
    return model(images)


if __name__ == "__main__":
    run(main, Config, presets=PRESETS)
