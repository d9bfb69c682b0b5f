"""MNIST and Fashion-MNIST as TensorFlow Datasets (TFDS) prepares them.

TFDS is only read, without TensorFlow, and only once: the decoded arrays are kept in a cache folder,
and from then on neither TFDS nor the prepared files are touched.
"""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from .._user_error import UserError
from . import cache
from .dataset import DIGITS, Dataset, Split

CLASS_NAMES = {
    "mnist": DIGITS,
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
_KEYS = {"train_images", "train_labels", "test_images", "test_labels"}


def load(name: str, *, data_dir: Path | None, cache_dir: Path) -> Dataset:
    """50,000 train, 10,000 validation and 10,000 test images of 28×28 grey pixels.

    Args:
      name: One of `CLASS_NAMES`.
      data_dir: TFDS's folder, or None for its own default.
      cache_dir: Where decoded arrays are kept.

    Raises:
      UserError: The dataset has not been prepared for TFDS, or can't be read.
    """
    prepared = _find_prepared(name, data_dir)
    if prepared is None:
        cached = _newest(cache_dir.glob(f"{name}-*.npz"), version=lambda file: file.stem)
        arrays = None if cached is None else cache.read(cached, _KEYS)
        if data_dir is not None or arrays is None:
            raise UserError(_how_to_prepare(name, data_dir))
    else:
        cached = cache_dir / f"{name}-{prepared.name}.npz"
        arrays = cache.read(cached, _KEYS)
        if arrays is None:
            arrays = _decode(prepared)
            cache.write(cached, arrays)
    # As in the original's protocol, the validation images are the last 10,000 of the train file.
    images, labels = arrays["train_images"], arrays["train_labels"].astype(np.int32)
    held_out = len(labels) - 10_000
    return Dataset(
        Split(images[:held_out], labels[:held_out]),
        Split(images[held_out:], labels[held_out:]),
        Split(arrays["test_images"], arrays["test_labels"].astype(np.int32)),
        CLASS_NAMES[name],
    )


def _find_prepared(name: str, data_dir: Path | None) -> Path | None:
    """The folder of the newest prepared version, found without importing TFDS."""
    folders = (file.parent for file in (_tfds_root(data_dir) / name).glob("*/dataset_info.json"))
    return _newest(folders, version=lambda folder: folder.name)


def _tfds_root(data_dir: Path | None) -> Path:
    if data_dir is not None:
        return data_dir.expanduser()
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _newest(paths, *, version) -> Path | None:
    """The path of the highest version, where `version(path)` ends in `major.minor.patch`."""

    def number(path):
        return tuple(int(part) for part in version(path).rpartition("-")[2].split("."))

    found = {}
    for path in paths:
        with contextlib.suppress(ValueError):  # "incomplete.…", a folder of a preparation cut short
            found[number(path)] = path
    return found[max(found)] if found else None


def _how_to_prepare(name: str, data_dir: Path | None) -> str:
    root = _tfds_root(data_dir)
    return (
        f"{name} is not prepared under {root}: set --data-dir or TFDS_DATA_DIR, or prepare it once "
        f"(preparing needs TensorFlow, reading does not): pip install tensorflow && "
        f"tfds build {name} --file_format=array_record --data_dir={root}"
    )


def _decode(prepared: Path) -> dict[str, np.ndarray]:
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
        # A read-only builder: unlike tfds.builder(name) it can't start a download.
        builder: Any = tfds.builder_from_directory(prepared)
        for split in ("train", "test"):
            source = builder.as_data_source(
                split=split, decoders={"image": tfds.decode.SkipDecoding()}
            )
            rows = source.__getitems__(range(len(source)))  # one read, not one a row
            # Pillow itself, without TFDS's checks around each image, is three times as fast.
            images = np.stack([Image.open(io.BytesIO(row["image"])) for row in rows])
            arrays[f"{split}_images"] = images[..., np.newaxis]
            arrays[f"{split}_labels"] = np.array([row["label"] for row in rows], np.uint8)
    except Exception as error:  # TFDS and array_record raise many kinds; all mean: unreadable
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot read {prepared} as array_record files: {reason}") from error
    return arrays
