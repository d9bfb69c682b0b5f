"""Label image files, or reconstruct them, with a model that one of the experiments trained.

    python -m experiments.predict --run runs/classifier-001/standard a.png b.jpg
    python -m experiments.predict --run runs/autoencoder-001 --output-dir seen *.png
    python -m experiments.predict --checkpoint runs/classifier-001/standard/checkpoints/2400 a.png
    python -m experiments.predict --artifact forward.stablehlo a.png

Images become as large as those that the model was trained on, and grey if those were. MNIST and the
like are white on black: photographs of ink on paper need `--invert`. A classifier prints the three
most probable classes of each image. An autoencoder writes what it makes of each image, and a figure
of all. Without `--step`, a run's checkpoint of the lowest validation loss is used.
"""

import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from . import data
from ._command_line import make_output_dir, require, run
from ._user_error import UserError
from .records import write_atomically, write_figure
from .trained import Trained, from_artifact, from_run

_BATCH = 256  # images at once
_ROWS = 16  # of the figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """Label images, or reconstruct them, with a trained model."""

    images: tyro.conf.Positional[tuple[Path, ...]] = ()  # files of any format that Pillow reads
    run: Path | None = None  # a run's folder, such as runs/classifier-001/standard
    checkpoint: Path | None = None  # one of its checkpoints, RUN/checkpoints/STEP
    artifact: Path | None = (
        None  # or a forward.stablehlo, which is a program: run none of strangers
    )
    step: int | None = None  # of the run's checkpoint; default: of the lowest validation loss
    seed_index: int = 0  # which of the seeds that were trained at once, from 0
    invert: bool = False  # black on white becomes white on black
    output_dir: Path = Path("runs/predict")  # of reconstructions


def main(config: Config) -> np.ndarray:
    """Print or write what the model makes of the images; returns it, of all images.

    Raises:
      UserError: There is no such model, or a file can't be read.
    """
    require(bool(config.images), "expected image files: predict --run FOLDER image.png …")
    trained = find(config)
    h, w, c = trained.image_shape
    # A dataset of one's own in npz may have any number of channels; files have 1 or 3.
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
    folder, step = config.run, config.step
    if config.checkpoint is not None:
        require(
            step is None, "--step goes with --run: a checkpoint's folder is named for its step."
        )
        checkpoint = config.checkpoint.absolute()
        if not (checkpoint.name.isdecimal() and checkpoint.parent.name == "checkpoints"):
            raise UserError(f"--checkpoint must be RUN/checkpoints/STEP, got {config.checkpoint}.")
        folder, step = config.checkpoint.parent.parent, int(checkpoint.name)
    assert folder is not None
    return from_run(folder, step=step, seed_index=config.seed_index)


def print_labels(files, probabilities: np.ndarray, class_names: tuple[str, ...]) -> None:
    """A line an image: its three most probable classes, the first one first."""
    from ._tables import print_table, table

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
    """A PNG an image, as the images came: ink on paper if they did; and a figure of the first."""
    from .figures import reconstructions

    make_output_dir(config.output_dir)
    stems: Counter[str] = Counter()
    for file, image in zip(config.images, reconstructed, strict=True):
        stems[file.stem] += 1  # files of two folders may be named alike
        number = f"-{stems[file.stem]}" if stems[file.stem] > 1 else ""
        written = config.output_dir / f"{file.stem}-reconstructed{number}.png"
        pixels = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        pixels = 255 - pixels if config.invert else pixels
        shown = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        content = io.BytesIO()
        Image.fromarray(shown).save(content, format="png")
        write_atomically(written, content.getvalue())
        print(f"{file} -> {written}")
    few = slice(0, _ROWS)
    figure = reconstructions(images[few] / 255, {"reconstructed": reconstructed[few]})
    write_figure(config.output_dir / "reconstructions.png", figure)
    print(
        f"the first {min(_ROWS, len(images))} side by side: {config.output_dir}/reconstructions.png"
    )


if __name__ == "__main__":
    run(main, Config)
