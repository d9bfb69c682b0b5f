"""MNIST and Fashion-MNIST as prepared by TensorFlow Datasets (TFDS).

TFDS reads the prepared files without TensorFlow. The decoded arrays are cached, and later runs need
neither TFDS nor the prepared files.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..command_line import UserError
from ..command_line.notes import first_line
from . import cache
from .dataset import DIGITS, PARTS, Dataset, Split
from .part import WHOLE, Part

CLASS_NAMES = {
    "mnist": DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
_HELD_OUT = 10_000  # the last training images are for validation, as in Lasagne's example
_KEYS = {f"{part}_{what}" for part in PARTS for what in ("images", "labels")}


def load(name: str, *, data_dir: Path | None, cache_dir: Path, part: Part = WHOLE) -> Dataset:
    """50,000 train, 10,000 validation and 10,000 test images of 28×28 grey pixels.

    Args:
      name: One of `CLASS_NAMES`.
      data_dir: TFDS's folder, or None for its default.
      cache_dir: The folder for decoded arrays. Each part has a file of its own.
      part: The images to read.

    Raises:
      UserError: The dataset has not been prepared by TFDS, or cannot be read.
    """
    prepared = _find_prepared(name, data_dir)
    if prepared is None:
        files = cache_dir.glob(f"{name}-*{part.suffix}.npz")
        cached = _newest(files, version=lambda file: file.stem.removesuffix(part.suffix))
        arrays = None if cached is None else cache.read(cached, _KEYS)
        if data_dir is not None or arrays is None:
            raise UserError(_how_to_prepare(name, data_dir))
    else:
        cached = cache_dir / f"{name}-{prepared.name}{part.suffix}.npz"
        arrays = cache.read(cached, _KEYS)
        if arrays is None:
            arrays = _decode(prepared, part)
            cache.write(cached, arrays)
    train, validation, test = (
        Split(arrays[f"{split}_images"], part.gather(arrays[f"{split}_labels"]).astype(np.int32))
        for split in PARTS
    )
    return Dataset(train, validation, test, CLASS_NAMES[name])


def _find_prepared(name: str, data_dir: Path | None) -> Path | None:
    """The folder of the newest prepared version, found without importing TFDS."""
    folders = (file.parent for file in (_tfds_root(data_dir) / name).glob("*/dataset_info.json"))
    return _newest(folders, version=lambda folder: folder.name)


def _tfds_root(data_dir: Path | None) -> Path:
    if data_dir is not None:
        return data_dir.expanduser()
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _newest(paths, *, version) -> Path | None:
    """The path of the highest version. `version(path)` ends in `major.minor.patch`."""

    def number(path):
        return tuple(int(part) for part in version(path).rpartition("-")[2].split("."))

    found = {}
    for path in paths:
        with contextlib.suppress(ValueError):  # "incomplete.…" is an interrupted preparation
            found[number(path)] = path
    return found[max(found)] if found else None


def _how_to_prepare(name: str, data_dir: Path | None) -> str:
    root = _tfds_root(data_dir)
    return (
        f"{name} is not prepared under {root}: set --data-dir or TFDS_DATA_DIR, or prepare it once "
        f"(preparing needs TensorFlow, reading does not): pip install tensorflow && "
        f"tfds build {name} --file_format=array_record --data_dir={root}"
    )


def _decode(prepared: Path, part: Part) -> dict[str, np.ndarray]:
    """The images and labels of a part of each split."""
    try:
        import tensorflow_datasets as tfds
        from PIL import Image
    except ImportError as error:
        raise UserError(
            f"reading {prepared.parent.name} needs tensorflow-datasets, importlib_resources and "
            f'pillow (pip install "jaxconv[experiments]"): {error}'
        ) from error
    arrays = {}
    try:
        # This builder is read-only. tfds.builder(name) could start a download.
        builder: Any = tfds.builder_from_directory(prepared)
        source = {
            split: builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
            for split in ("train", "test")
        }
        held_out = len(source["train"]) - _HELD_OUT
        of_split = {
            "train": ("train", range(held_out)),
            "validation": ("train", range(held_out, len(source["train"]))),
            "test": ("test", range(len(source["test"]))),
        }
        for split, (held_by, rows) in of_split.items():
            records = source[held_by].__getitems__(rows[part.rows(len(rows))])
            # Pillow is three times as fast as TFDS's decoder, which checks each image.
            images = [np.asarray(Image.open(io.BytesIO(row["image"]))) for row in records]
            shape = builder.info.features["image"].shape
            arrays[f"{split}_images"] = np.reshape(np.array(images, np.uint8), (-1, *shape))
            arrays[f"{split}_labels"] = np.array([row["label"] for row in records], np.uint8)
    except Exception as error:  # TFDS and array_record raise various errors for damaged files
        message = f"cannot read {prepared} as array_record files: {first_line(error)}"
        raise UserError(message) from error
    return arrays
