"""Train convolutional autoencoders with jaxconv's gradients: plain, denoising and variational.

    python -m experiments.autoencoder
    python -m experiments.autoencoder --dataset mnist --data-dir FOLDER --decoder both
    python -m experiments.autoencoder --preset best --dataset mnist
    python -m experiments.autoencoder --preset denoising --noise salt_and_pepper
    python -m experiments.autoencoder --preset variational --dataset mnist --code-size 2

The network is that of G. Gwardys, "Convolutional Autoencoder for Dummies", 2016, in Lasagne. The
decoder's transposed convolutions are the adjoints of the encoder's convolutions; tied decoders
share the encoder's kernels.

The program prints errors on the test images, beside those of the mean training image and of a
classical method: principal component analysis (PCA) with a code of the same size, or the best of
three noise filters. Figures show reconstructions, and for a variational autoencoder samples and
codes.

The table of the network and `autoencoder.json` are written first. If the classical method or a
figure fails afterwards, a note says so.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .command_line import attempt, note, require, run, write_figure, write_json
from .command_line.tables import number
from .data import Dataset, Split
from .networks import autoencoders, classical
from .networks.autoencoders import importance_weighted_nats, noise_of, posterior, reconstruct
from .training import messages, preparation, processes, runs
from .training.options import TrainingOptions, as_json
from .training.records import Entry
from .training.steps import to_unit_interval

_SHOWN, _LEAST = 20, 8  # classes in a figure, and images, if there are fewer classes


@dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """Train autoencoders and print their table."""

    experiment = "autoencoder"
    needs_labels = False

    kind: Literal["plain", "denoising", "variational"] = "plain"  # reconstruct, clean or generate
    decoder: Literal["tied", "untied", "both"] = "tied"  # tied shares the encoder's kernels
    batch_size: int | None = None  # images of a step; default 100, or 1/48 of fewer images
    learning_rate: float = 0.001  # the loss is a sum over pixels; see also clip_norm
    # of the gradient, whose norm begins in the hundreds; an unclipped first step makes the last
    # relu zero at every pixel, where its gradient vanishes
    clip_norm: float | None = 30.0
    code_size: int = 256  # width of the innermost dense layer
    hidden: int = 0  # width of one more dense layer on each side of the code; 0: none
    dropout: float = 0.5  # before the dense layers of encoder and decoder; 0: none
    noise: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian"  # for denoising
    noise_level: float = 0.5  # its standard deviation, or the fraction of pixels that it changes
    beta: float = 1.0  # weight of the divergence in the variational loss
    output: Literal["relu", "sigmoid"] = "relu"  # last activation; a relu may die, a sigmoid cannot
    binarise: bool = False  # variational: draw black or white pixels in each step
    draws: int = 50  # of the importance-weighted bound after training

    def check(self) -> None:
        super().check()
        require(self.code_size >= 1, f"--code-size must be at least 1, got {self.code_size}.")
        require(self.hidden >= 0, f"--hidden must not be negative, got {self.hidden}.")
        require(self.draws >= 1, f"--draws must be at least 1, got {self.draws}.")
        require(0 <= self.dropout < 1, f"--dropout must be in [0, 1), got {self.dropout}.")
        require(self.beta >= 0, f"--beta must not be negative, got {self.beta}.")
        require(
            0 < self.noise_level <= (float("inf") if self.noise == "gaussian" else 1),
            "--noise-level must be positive, and at most 1 where it is a fraction of the pixels, "
            f"got {self.noise_level}.",
        )


_TUNED = {"optimiser": "adam", "schedule": "one_cycle", "clip_norm": None, "learning_rate": 0.002}
_TUNED |= {"decoder": "untied", "hidden": 1024, "dropout": 0.0}
PRESETS: dict[str, dict[str, Any]] = {
    "original": {},  # the published network and protocol
    "best": _TUNED | {"code_size": 32, "epochs": 6},
    "denoising": _TUNED | {"kind": "denoising", "epochs": 6},
    "variational": _TUNED | {"kind": "variational", "code_size": 32, "epochs": 10},
}


def main(config: Config) -> dict[str, Any]:
    """Train, print errors, write `autoencoder.json` and figures; return the metrics.

    Raises:
      UserError: The options cannot be followed.
    """
    config.check()
    names = ["tied", "untied"] if config.decoder == "both" else [config.decoder]
    histories, models = {}, {}
    with preparation.prepared(config) as (folder, dataset):
        for name in names:
            own = folder and folder / name
            histories[name], models[name] = train(name, config, dataset, folder=own)
        metrics = {"config": as_json(config), "histories": histories}
        if folder is not None:  # in the first process
            print(table(metrics))
            save_metrics(metrics, folder)
            with attempt("compare and draw"):
                if processes.is_joined():  # what follows needs all images
                    dataset = preparation.load(config)
                compare(metrics, models, dataset, config, folder)
            messages.print_place(folder, histories, dataset.image_shape[-1])
    return metrics


def train(name, config, dataset: Dataset, folder=None) -> tuple[list[list[Entry]], list[Any]]:
    """Train from all seeds; for each seed an entry an epoch, and for each seed the model."""
    options, (means, _) = as_json(config), processes.moments(dataset.train.images)
    facts = {"shape": dataset.image_shape, "brightness": float(np.mean(means))}
    return runs.train(
        name,
        config,
        dataset,
        build=lambda seed, steps: autoencoders.build(name, options, **facts, seed=seed),
        score=autoencoders.score_of(options),
        batch_size=100,
        folder=folder,
        answer=reconstruct,
    )


# ---- after training --------------------------------------------------------------------------


def compare(metrics, models, dataset: Dataset, config: Config, folder: Path) -> None:
    """Add other methods and a tighter bound to table and metrics, and draw figures."""
    measure, _, _ = _measure(config.kind)
    with attempt("measure the mean image"):
        error = classical.mean_image(dataset, variational=config.kind == "variational")
        add(metrics, {f"mean_image_{measure}": error}, [("mean image", "", error)], folder)
        advice = "Another --learning-rate or --seed, or more --epochs may help."
        for name, of_seeds in metrics["histories"].items():
            for title, history, model in zip(
                messages.titles(name, config), of_seeds, models[name], strict=True
            ):
                if not note_if_constant(title, model, dataset.test.images[:100]):
                    messages.note_if_nothing_was_learned(title, history, measure, error, advice)
    models = {name: of_seeds[0] for name, of_seeds in models.items()}
    shown = one_of_each_class(dataset.test)
    rival = classical.Rival(shown.images / 255)
    if config.kind != "variational":
        with attempt("measure " + ("noise filters" if config.kind == "denoising" else "PCA")):
            if config.kind == "denoising":
                rival = classical.filters(dataset, shown, noise_of(as_json(config)))
            else:
                rival = classical.pca(dataset, shown, config.code_size)
        add(metrics, rival.metrics, rival.rows, folder)
    else:
        for name, model in models.items():
            with attempt(f"evaluate the importance-weighted bound of {name}"):
                nats = evaluate_bound(model, dataset.test, config)
                bounds = metrics.get("importance_weighted_nats", {}) | {name: nats}
                row = f"{name}, IW-{config.draws}", str(config.code_size), nats
                add(metrics, {"importance_weighted_nats": bounds}, [row], folder)
    save_figures(config.kind, models, shown, rival, dataset, folder)


def note_if_constant(title: str, model, images: np.ndarray) -> bool:
    """Warn if different images get the same reconstruction, in all channels or in some."""
    differ = np.ptp(images, axis=0).max(axis=(0, 1)) > 0
    answers = np.asarray(reconstruct(model, jnp.asarray(images / np.float32(255))))
    same = differ & (np.ptp(answers, axis=0).max(axis=(0, 1)) < 1 / 510)  # by half a grey level
    if not same.any():
        return False
    where = "" if same.all() else f" in channel {', '.join(map(str, np.flatnonzero(same)))}"
    is_dead = not np.any(answers[..., same]) and not model.is_variational
    note(
        f"{title} reconstructs all images as the same one{where}. "
        + ("Its last relu is dead, which --output sigmoid cannot be; a" if is_dead else "A")
        + " lower --learning-rate or another --seed may help."
    )
    return True


def add(metrics, more, rows, folder: Path) -> None:
    """Add the results of another method to table and metrics."""
    metrics.update(more)
    digits = _measure(metrics["config"]["kind"])[2]
    for method, code, error in rows:
        print(_row(method, code, "", number(error, digits)))
    if more:
        save_metrics(metrics, folder)


def save_metrics(metrics, folder: Path) -> None:
    with attempt(f"write {folder / 'autoencoder.json'}"):
        write_json(folder / "autoencoder.json", metrics)


def evaluate_bound(model, split: Split, config: Config) -> float:
    """The mean of the importance-weighted bound over a split, in nats."""

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
    """The first images of each class: at least one of the first 20 classes, and 8 in all."""
    labels = np.asarray(split.labels)
    classes = np.unique(labels)[:_SHOWN]
    each = -(-_LEAST // len(classes))
    rows = np.concatenate([np.flatnonzero(labels == label)[:each] for label in classes])
    return Split(split.images[rows], split.labels[rows])


def table(metrics) -> str:
    """The test error after the first and the last epoch, and the time of an epoch."""
    measure, title, digits = _measure(metrics["config"]["kind"])
    lines = [_row("Method", "Code", "Epoch", title, "Time")]
    for name, of_seeds in metrics["histories"].items():
        seconds = np.median([entry["seconds"] for run in of_seeds for entry in run])
        for index in dict.fromkeys((0, len(of_seeds[0]) - 1)):
            values = [run[index][f"test_{measure}"] for run in of_seeds]
            shown = number(np.mean(values), digits)
            if len(values) > 1:
                shown += f" ± {number(np.std(values, ddof=1), digits)}"
            code_size, epoch = metrics["config"]["code_size"], of_seeds[0][index]["epoch"]
            lines.append(_row(name, code_size, epoch, shown, f"{seconds:.2f} s"))
    return "\n".join(lines)


def _measure(kind) -> tuple[str, str, int]:
    """The metric of a kind, the heading of its column, and the number of decimals."""
    if kind == "variational":
        return "nats", "Test nats per image", 2
    return "mse", "Test MSE per pixel", 5


def _row(method, code, epoch, error, seconds="") -> str:
    return f"{method:<12} | {code:>4} | {epoch:>5} | {error:>19} | {seconds:>9}".rstrip()


# ---- figures ---------------------------------------------------------------------------------


def save_figures(
    kind, models, shown: Split, rival: classical.Rival, dataset: Dataset, folder: Path
) -> None:
    from .pictures import images as pictures  # Matplotlib takes a second to import
    from .pictures import layers

    if said := pictures.channels_drawn(shown.images.shape[-1]):
        note(f"figures show {said}")

    def draw(name, of_what):
        with attempt(f"draw {folder / name}"):
            write_figure(folder / name, of_what())

    def reconstructed():
        columns = {"noisy": rival.inputs} if kind == "denoising" else {}
        for name, model in models.items():
            columns[name] = np.asarray(reconstruct(model, jnp.asarray(rival.inputs, jnp.float32)))
        return pictures.reconstructions(shown.images / 255, columns | dict(rival.columns))

    draw("autoencoder.png", reconstructed)
    for name, model in models.items():
        kernel = model.encode.conv1.kernel
        draw(f"filters-{name}.png", lambda kernel=kernel: layers.filters(np.asarray(kernel[...])))
        if kind == "variational":
            for figure, of_what in _figures_of_codes(model, shown, dataset).items():
                draw(f"{figure}-{name}.png", of_what)


def _figures_of_codes(model, shown: Split, dataset: Dataset):
    """Functions that draw the figures of a variational autoencoder, by the figures' names."""
    from .pictures import curves, images

    size = model.code_size
    decode = jax.jit(lambda z: jax.nn.sigmoid(model.decode(z)))

    def samples():
        z = jax.random.normal(jax.random.key(0), (64, size))
        return images.grid(np.asarray(decode(z)), columns=8)

    def interpolation():
        ends, _ = posterior(model, to_unit_interval(jnp.asarray(shown.images)))
        between = jnp.linspace(0, 1, 9)[:, None, None]
        line = (1 - between) * ends + between * jnp.roll(ends, -1, axis=0)  # (9, n, code)
        return images.grid(np.asarray(decode(line.swapaxes(0, 1).reshape(-1, size))), columns=9)

    def codes():
        few = slice(0, 2_000)
        inputs = to_unit_interval(jnp.asarray(dataset.test.images[few]))
        found, _ = jax.jit(partial(posterior, model))(inputs)
        labels = np.asarray(dataset.test.labels[few])
        return curves.latent_map(np.asarray(found), labels, dataset.class_names)

    def plane():
        side = jnp.linspace(-2.5, 2.5, 15)
        places = jnp.stack(jnp.meshgrid(side, -side), axis=-1).reshape(-1, 2)
        return images.grid(np.asarray(decode(places)), columns=15)

    found = {"samples": samples, "interpolation": interpolation, "codes": codes}
    return found | ({"latent-plane": plane} if size == 2 else {})


if __name__ == "__main__":
    run(main, Config, presets=PRESETS, leave=processes.leave)
