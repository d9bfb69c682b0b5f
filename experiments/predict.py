"""Classify or reconstruct image files with a model that one of the experiments trained.

    python -m experiments.predict --run runs/classifier-001/standard a.png b.jpg photos/
    python -m experiments.predict --run runs/classifier-001/standard photos/ --output classes.csv
    python -m experiments.predict --run runs/autoencoder-001 --output-dir seen *.png
    python -m experiments.predict --checkpoint runs/classifier-001/standard/checkpoints/2400 a.png
    python -m experiments.predict --artifact forward.stablehlo a.png

Of a folder, all images in it and in the folders below are read. Files that cannot be read are
reported, and the exit status is then 1; the others are answered.

Images are resized to the size of the training images, and converted to grey if those were grey.
MNIST and similar datasets are white on black; photographs of ink on paper need `--invert`. A
classifier prints the three most probable classes of each image. An autoencoder writes the
reconstruction of each image, and a figure of the first. By default, a run's checkpoint with the
lowest validation loss is used, which `--export` also writes.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from . import data
from .command_line import UserError, make_output_dir, require, run
from .command_line.files import write_figure, write_json, write_whole
from .command_line.notes import note, settle
from .command_line.tables import print_table, table
from .training.trained import Trained, from_artifact, from_run

_BATCH = 256  # images at once
_ROWS = 16  # images in the figure
_DARK, _LIGHT = 64, 192  # a background below or above is dark or light


@dataclass(frozen=True, kw_only=True)
class Config:
    """Classify or reconstruct images with a trained model."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()  # files that Pillow reads, or folders
    run: Path | None = None  # folder of a run, such as runs/classifier-001/standard
    checkpoint: Path | None = None  # one of its checkpoints, RUN/checkpoints/STEP
    artifact: Path | None = None  # a forward.stablehlo; it is a program, so trust its source
    step: int | None = None  # of the run's checkpoint; default: of the lowest validation loss
    seed_index: int = 0  # which of the seeds that were trained at once, from 0
    invert: bool = False  # black on white becomes white on black
    output: Path | None = None  # a .csv or .json file for all answers
    output_dir: Path = Path("runs/predict")  # for reconstructions


def main(config: Config) -> np.ndarray:
    """Print or write the model's answers; return the answers to all images that can be read.

    Raises:
      UserError: There is no such model, no file can be read, or the answers cannot be written.
    """
    require(bool(config.images), "expected images: predict --run FOLDER image.png folder …")
    if (output := config.output) is not None:
        is_fine = output.suffix.lower() in (".csv", ".json") and output.parent.is_dir()
        require(is_fine, f"--output must be a .csv or .json file in a folder, got {output}.")
    trained = find(config)
    h, w, c = trained.image_shape
    require(c in (1, 3), f"{trained.title} takes images of {c} channels, files have 1 or 3.")
    bad: dict[Path, str] = {}
    files = [file for path in config.images for file in list_images(path, bad)]
    answers, few, backgrounds = [], [], []
    for start in range(0, len(files), _BATCH):
        images = read(files[start : start + _BATCH], trained.image_shape, bad)
        if config.invert:
            images = 255 - images
        if not len(images):
            continue
        answers.append(trained.answer(images))
        few.append(images[: max(0, _ROWS - start)])
        backgrounds.append(data.background(images))
    if not answers:
        raise UserError(next(iter(bad.values())))
    for file, reason in bad.items():
        settle(f"read {file}", reason)
    good = [file for file in files if file not in bad]
    answered = np.concatenate(answers)
    print(f"{trained.title}: {len(good)} image{'s' * (len(good) != 1)} of {h}×{w}×{c}")
    say_what_it_knows(trained, np.concatenate(backgrounds), config.invert)
    if answered.ndim == 2:
        print_labels(good, answered, trained.class_names)
        rows = [classes_of(probabilities, trained.class_names) for probabilities in answered]
    else:
        written = save_images(config, good, np.concatenate(few), answered)
        rows = [{"reconstruction": _name(file)} for file in written]
    if output is not None:
        row_of = {file: {"error": reason} for file, reason in bad.items()}
        row_of |= dict(zip(good, rows, strict=True))
        write_answers(output, [{"image": _name(file)} | row_of[file] for file in sorted(row_of)])
        print(f"all answers: {output}")
    return answered


def find(config: Config) -> Trained:
    """The model that the options name."""
    named = [name for name in ("run", "checkpoint", "artifact") if getattr(config, name)]
    require(len(named) == 1, "expected one of --run, --checkpoint and --artifact.")
    if config.artifact is not None:
        return from_artifact(config.artifact)
    if config.run is not None:
        return from_run(config.run, step=config.step, seed_index=config.seed_index)
    message = "--step goes with --run: a checkpoint's folder is named after its step."
    require(config.step is None, message)
    checkpoint = config.checkpoint
    assert checkpoint is not None
    absolute = checkpoint.absolute()
    if not (absolute.name.isdecimal() and absolute.parent.name == "checkpoints"):
        raise UserError(f"--checkpoint must be RUN/checkpoints/STEP, got {checkpoint}.")
    return from_run(checkpoint.parent.parent, step=int(absolute.name), seed_index=config.seed_index)


def list_images(path: Path, bad: dict[Path, str]) -> list[Path]:
    """The file itself, or the images in a folder and below it. What is no file goes to `bad`."""
    if not path.is_dir():
        return [path]
    tree = data.walk(path, bad)
    tree.say_ignored(tree.all_others())
    require(bool(tree.all_images()), f"{path} holds no images.")
    return [file.path for file in tree.all_images()]


def read(files: Sequence[Path], shape, bad: dict[Path, str]) -> np.ndarray:
    """The images `(n, *shape)` that can be read. The other files are added to `bad`."""
    h, w, c = shape
    try:
        return data.read_images(files, size=(h, w), channels=c)
    except data.BadFile:
        bad |= data.unreadable(files)
        good = [file for file in files if file not in bad]
        return (
            data.read_images(good, size=(h, w), channels=c)
            if good
            else np.empty((0, *shape), np.uint8)
        )


def say_what_it_knows(trained: Trained, backgrounds: np.ndarray, is_inverted: bool) -> None:
    """Notes on the training images, and on others to which these images look unlike."""
    name = trained.config.get("options", {}).get("dataset")
    if about := data.ABOUT.get(name):
        note(f"trained on {name}: {about}. Other images may get wrong answers of high probability")
    known = np.array(trained.config.get("data", {}).get("background", [128]))
    this = np.median(backgrounds)
    if (known.max() < _DARK and this > _LIGHT) or (known.min() > _LIGHT and this < _DARK):
        note(
            f"the background of these images is {this:.0f} of 255{' after --invert' * is_inverted}"
            f", and that of the training images {np.median(known):.0f}: "
            f"try {'without' if is_inverted else 'with'} --invert"
        )


# ---- the answers -----------------------------------------------------------------------------


def print_labels(files, probabilities: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Print the three most probable classes of each image."""
    count = min(3, probabilities.shape[1])
    found = table("image", *("class", "second", "third")[:count])
    for file, row in zip(files, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:count]
        names = [class_names[label] if class_names else str(label) for label in best]
        found.add_row(
            _name(file), *(f"{name} {row[i]:.1%}" for name, i in zip(names, best, strict=True))
        )
    print_table(found)


def classes_of(probabilities: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """The most probable class of an image, and the probabilities of all."""
    names = class_names or tuple(map(str, range(len(probabilities))))
    best = int(probabilities.argmax())
    row = {"class": names[best], "probability": float(probabilities[best])}
    return row | {f"p({name})": float(p) for name, p in zip(names, probabilities, strict=True)}


def write_answers(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write a row for each image, as JSON or CSV."""
    if file.suffix.lower() == ".json":
        return write_json(file, rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(name for row in rows for name in row))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(file, text.getvalue())


def save_images(config: Config, files, images: np.ndarray, reconstructed: np.ndarray) -> list[Path]:
    """Write a PNG for each image, inverted back if `--invert` is set, and a figure of the first."""
    from .pictures.images import reconstructions

    make_output_dir(config.output_dir)
    stems: Counter[str] = Counter()
    every = []
    for file, image in zip(files, reconstructed, strict=True):
        stems[file.stem] += 1  # files in two folders may have one name
        suffix = f"-{stems[file.stem]}" if stems[file.stem] > 1 else ""
        written = config.output_dir / f"{file.stem}-reconstructed{suffix}.png"
        pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        pixels = 255 - pixels if config.invert else pixels
        content = io.BytesIO()
        grey = pixels.shape[-1] == 1
        Image.fromarray(pixels[..., 0] if grey else pixels).save(content, format="png")
        write_whole(written, content.getvalue())
        print(f"{_name(file)} -> {_name(written)}")
        every.append(written)
    figure = config.output_dir / "reconstructions.png"
    columns = {"reconstructed": reconstructed[: len(images)]}
    write_figure(figure, reconstructions(images / 255, columns))
    print(f"the first {len(images)} side by side: {figure}")
    return every


def _name(file: Path) -> str:
    """The file's name as text, whatever its bytes are."""
    return os.fsencode(file).decode(errors="replace")


if __name__ == "__main__":
    run(main, Config)
