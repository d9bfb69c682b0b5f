"""Classify or reconstruct image files with a model that one of the experiments trained.

    python -m experiments.predict --run runs/classifier-001/standard a.png b.jpg
    python -m experiments.predict --run runs/autoencoder-001 --output-dir seen *.png
    python -m experiments.predict --checkpoint runs/classifier-001/standard/checkpoints/2400 a.png
    python -m experiments.predict --artifact forward.stablehlo a.png

Images are resized to the size of the training images, and converted to grey if those were grey.
MNIST and similar datasets are white on black; photographs of ink on paper need `--invert`. A
classifier prints the three most probable classes of each image. An autoencoder writes the
reconstruction of each image, and a figure of all. By default, a run's checkpoint with the lowest
validation loss is used, which `--export` also writes.
"""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from . import data
from .command_line import UserError, make_output_dir, require, run, write_figure, write_whole
from .command_line.tables import print_table, table
from .training.trained import Trained, from_artifact, from_run

_BATCH = 256  # images at once
_ROWS = 16  # images in the figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """Classify or reconstruct images with a trained model."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()  # files of any format that Pillow reads
    run: Path | None = None  # folder of a run, such as runs/classifier-001/standard
    checkpoint: Path | None = None  # one of its checkpoints, RUN/checkpoints/STEP
    artifact: Path | None = None  # a forward.stablehlo; it is a program, so trust its source
    step: int | None = None  # of the run's checkpoint; default: of the lowest validation loss
    seed_index: int = 0  # which of the seeds that were trained at once, from 0
    invert: bool = False  # black on white becomes white on black
    output_dir: Path = Path("runs/predict")  # for reconstructions


def main(config: Config) -> np.ndarray:
    """Print or write the model's answers; return the answers to all images.

    Raises:
      UserError: There is no such model, or a file cannot be read.
    """
    require(bool(config.images), "expected image files: predict --run FOLDER image.png …")
    trained = find(config)
    h, w, c = trained.image_shape
    require(c in (1, 3), f"{trained.title} takes images of {c} channels, files have 1 or 3.")
    images = data.read_images(config.images, size=(h, w), channels=c)
    if config.invert:
        images = 255 - images
    batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    answers = np.concatenate([trained.answer(batch) for batch in batches])
    print(f"{trained.title}: {len(images)} image{'s' * (len(images) != 1)} of {h}×{w}×{c}")
    if answers.ndim == 2:
        print_labels(config.images, answers, trained.class_names)
    else:
        save_images(config, images, answers)
    return answers


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


def print_labels(files, probabilities: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Print the three most probable classes of each image."""
    count = min(3, probabilities.shape[1])
    found = table("image", *("class", "second", "third")[:count])
    for file, row in zip(files, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:count]
        names = [class_names[label] if class_names else str(label) for label in best]
        found.add_row(
            str(file), *(f"{name} {row[i]:.1%}" for name, i in zip(names, best, strict=True))
        )
    print_table(found)


def save_images(config: Config, images: np.ndarray, reconstructed: np.ndarray) -> None:
    """Write a PNG for each image, inverted back if `--invert` is set, and a figure of the first."""
    from .pictures.images import reconstructions

    make_output_dir(config.output_dir)
    stems: Counter[str] = Counter()
    for file, image in zip(config.images, reconstructed, strict=True):
        stems[file.stem] += 1  # files in two folders may have one name
        suffix = f"-{stems[file.stem]}" if stems[file.stem] > 1 else ""
        written = config.output_dir / f"{file.stem}-reconstructed{suffix}.png"
        pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        pixels = 255 - pixels if config.invert else pixels
        content = io.BytesIO()
        grey = pixels.shape[-1] == 1
        Image.fromarray(pixels[..., 0] if grey else pixels).save(content, format="png")
        write_whole(written, content.getvalue())
        print(f"{file} -> {written}")
    few, figure = slice(0, _ROWS), config.output_dir / "reconstructions.png"
    columns = {"reconstructed": reconstructed[few]}
    write_figure(figure, reconstructions(images[few] / 255, columns))
    print(f"the first {min(_ROWS, len(images))} side by side: {figure}")


if __name__ == "__main__":
    run(main, Config)
