"""A trained model, found again: in its run's folder, or in the file of `--export`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from . import autoencoder, classifier, forward
from ._user_error import UserError
from .checkpoints import Checkpoints, as_dict, from_dict
from .forward import Answer, Forward, Shape
from .options import TrainingOptions, from_json
from .records import read_config, runs_in


class Trained(NamedTuple):
    """What takes images and answers.

    The answer to uint8 images `(n, *image_shape)` is either the probabilities `(n, classes)` of
    the classes, or images `(n, h, w, c)` in [0, 1].
    """

    answer: Callable[[np.ndarray], np.ndarray]
    image_shape: Shape
    class_names: tuple[str, ...]  # empty where nothing tells them
    title: str  # where it is from


def from_run(folder: Path, *, step: int | None = None, seed_index: int = 0) -> Trained:
    """The model of a run, as its evaluations saw it: the average of the weights where one was kept.

    Args:
      folder: The run's, or one with a single run in it.
      step: Of the checkpoint; by default that of the lowest validation loss.
      seed_index: Which of the seeds that were trained at once, from 0.

    Raises:
      UserError: There is no such run, checkpoint or seed, or it can't be read.
    """
    folder = _only_run(folder)
    config = read_config(folder)
    model, answer, options = _rebuild(config, folder)
    if not 0 <= seed_index < options.seeds:
        raise UserError(
            f"--seed-index must be in 0..{options.seeds - 1} for {folder}, got {seed_index}."
        )
    step, arrays = _load(folder, step)
    definition, params, others = nnx.split(model, nnx.Param, ...)
    # Of State's parts; the rest matters to training alone.
    part = "average" if any(name.startswith("average.") for name in arrays) else "params"
    like = {part: params, "others": others}
    chosen = {
        name: array[seed_index] if options.seeds > 1 else array
        for name, array in arrays.items()
        if name.startswith((f"{part}.", "others."))
    }
    if _shapes(chosen) != _shapes(as_dict(like)):
        raise UserError(f"checkpoint {step} of {folder} does not fit its config.json.")
    found = from_dict(chosen, like)
    model = nnx.merge(definition, found[part], found["others"])
    model.eval()
    return Trained(
        Forward(answer, model, options.dtype),
        tuple(config["image_shape"]),
        tuple(config["class_names"]),
        f"{folder}, step {step}",
    )


def from_artifact(file: Path) -> Trained:
    """The forward pass in a file of `--export`; class names are those of the run around it.

    Raises:
      UserError: The file can't be read or run.
    """
    call, image_shape = forward.read(file)
    try:
        class_names = tuple(read_config(file.parent).get("class_names", ()))
    except UserError:  # the file has been taken elsewhere
        class_names = ()
    return Trained(call, image_shape, class_names, str(file))


def _rebuild(config: dict[str, Any], folder: Path) -> tuple[nnx.Module, Answer, TrainingOptions]:
    try:
        experiment, name = config["experiment"], config["name"]
        shape, classes = tuple(config["image_shape"]), len(config["class_names"])
        if experiment == "classifier":
            options = from_json(classifier.Config, config["options"])
            model = classifier.build(name, options, shape=shape, classes=classes)
            return model, classifier.probabilities, options
        if experiment == "autoencoder":
            options = from_json(autoencoder.Config, config["options"])
            return autoencoder.build(name, options, shape=shape), autoencoder.reconstruct, options
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} does not tell the model: {error!r}.") from error
    raise UserError(f"{folder / 'config.json'} is of an unknown experiment, {experiment!r}.")


def _load(folder: Path, step: int | None) -> tuple[int, dict[str, Any]]:
    checkpoints = folder / "checkpoints"
    if not checkpoints.is_dir():
        raise UserError(f"{folder} has no checkpoints.")
    opened = Checkpoints(checkpoints, read_only=True)
    there = ", ".join(map(str, opened.steps))
    if step is not None and step not in opened.steps:
        raise UserError(f"{folder} has no checkpoint of step {step}, but of: {there or 'none'}.")
    found = opened.load(step)
    if found is None:
        raise UserError(f"{folder} has no whole checkpoint (there are: {there or 'none'}).")
    return found[0], found[1]


def _only_run(folder: Path) -> Path:
    runs = runs_in(folder)
    if not runs:
        raise UserError(f"{folder} holds no run: expected config.json and checkpoints/ there.")
    if len(runs) > 1:
        names = ", ".join(map(str, runs))
        raise UserError(f"{folder} holds {len(runs)} runs; choose one: {names}.")
    return runs[0]


def _shapes(arrays):
    return {name: array.shape for name, array in arrays.items()}
