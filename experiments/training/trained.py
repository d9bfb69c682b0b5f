"""A trained model, restored from its run or from the file of `--export`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ..command_line import UserError, require
from ..networks import autoencoders, classifiers
from . import export
from .checkpoints import Checkpoints, as_dict, from_dict
from .export import Answer, Forward, Shape
from .records import read_config, runs_in


class Trained(NamedTuple):
    """A trained model as a function of uint8 images `(n, *image_shape)`.

    It returns the probabilities `(n, classes)` of the classes, or images `(n, h, w, c)` in [0, 1].
    """

    answer: Callable[[np.ndarray], np.ndarray]
    image_shape: Shape
    class_names: tuple[str, ...]  # empty if they are unknown
    title: str  # the model's origin
    config: dict[str, Any]  # the run's config.json; empty if it is not there


def from_run(folder: Path, *, step: int | None = None, seed_index: int = 0) -> Trained:
    """The model of a run, with the weights that its evaluations used.

    Args:
      folder: The folder of the run, or one with a single run in it.
      step: The step of the checkpoint; by default the one with the lowest validation loss.
      seed_index: The position of the seed among those that were trained at once.

    Raises:
      UserError: There is no such run, checkpoint or seed, or it cannot be read.
    """
    folder = _only_run(folder)
    config = read_config(folder)
    model, answer = _rebuild(config, folder)
    seeds = config["options"].get("seeds", 1)
    require(
        0 <= seed_index < seeds,
        f"--seed-index must be in 0..{seeds - 1} for {folder}, got {seed_index}.",
    )
    step, arrays = _load(folder, step)
    load_into(model, arrays, seed_index if seeds > 1 else None, f"checkpoint {step} of {folder}")
    model.eval()
    return Trained(
        Forward(answer, model, jnp.dtype(config["options"].get("precision", "float32"))),
        tuple(config["image_shape"]),
        tuple(config["class_names"]),
        f"{folder}, step {step}",
        config,
    )


def load_into(model: nnx.Module, arrays: dict[str, Any], seed_index: int | None, what: str) -> None:
    """Give a model the weights of a checkpoint: the averaged ones if there are any.

    Raises:
      UserError: Names or shapes differ.
    """
    _, params, others = nnx.split(model, nnx.Param, ...)
    part = "average" if any(name.startswith("average.") for name in arrays) else "params"
    like = {part: params, "others": others}
    chosen = {
        name: array if seed_index is None else array[seed_index]
        for name, array in arrays.items()
        if name.startswith((f"{part}.", "others."))
    }
    is_fine = _shapes(chosen) == _shapes(as_dict(like))
    require(is_fine, f"{what} does not fit its config.json.")
    found = from_dict(chosen, like)
    nnx.update(model, found[part], found["others"])


def from_artifact(file: Path) -> Trained:
    """The forward pass in a file of `--export`. Its run's folder names the classes, if it is there.

    Raises:
      UserError: The file cannot be read or run.
    """
    call, image_shape = export.read(file)
    try:
        config = read_config(file.parent)
    except UserError:  # the file has been moved
        config = {}
    return Trained(call, image_shape, tuple(config.get("class_names", ())), str(file), config)


def _rebuild(config: dict[str, Any], folder: Path) -> tuple[nnx.Module, Answer]:
    file, options = folder / "config.json", config["options"]
    try:
        experiment, name, shape = config["experiment"], config["name"], tuple(config["image_shape"])
        if experiment == "classifier":
            classes, gradients = len(config["class_names"]), options["gradients"]
            images = {"shape": shape, "pixels": config.get("pixels")}
            model = classifiers.build(name, classes=classes, gradients=gradients, **images)
            return model, classifiers.probabilities
        if experiment == "autoencoder":
            model = autoencoders.build(name, options, shape=shape)
            return model, autoencoders.reconstruct
    except (KeyError, TypeError) as error:
        raise UserError(f"{file} does not describe the model: {error!r}.") from error
    raise UserError(f"{file} is of an unknown experiment, {experiment!r}.")


def _load(folder: Path, step: int | None) -> tuple[int, dict[str, Any]]:
    checkpoints = folder / "checkpoints"
    require(checkpoints.is_dir(), f"{folder} has no checkpoints.")
    opened = Checkpoints(checkpoints, read_only=True)
    there = ", ".join(map(str, opened.steps)) or "none"
    require(
        step is None or step in opened.steps,
        f"{folder} has no checkpoint of step {step}. There are: {there}.",
    )
    found = opened.load(step)
    if found is None:
        raise UserError(f"{folder} has no intact checkpoint (there are: {there}).")
    return found[0], found[1]


def _only_run(folder: Path) -> Path:
    runs = runs_in(folder)
    require(bool(runs), f"{folder} holds no run: expected config.json and checkpoints/ there.")
    names = ", ".join(map(str, runs))
    require(len(runs) == 1, f"{folder} holds {len(runs)} runs; choose one: {names}.")
    return runs[0]


def _shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}
