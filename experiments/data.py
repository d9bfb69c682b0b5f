"""Images of 28×28 pixels: digits (no download), mnist and fashion_mnist.

    digits          1,200 train /    297 validation /    300 test, from scikit-learn
    mnist          50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets
    fashion_mnist  50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets

TensorFlow Datasets (TFDS) is only read, without TensorFlow, and only once: the decoded arrays are
kept in a cache folder, and from then on neither TFDS nor the prepared files are touched.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._user_error import UserError

DATASETS = ("digits", "mnist", "fashion_mnist")
SIDE = 28
NUM_CLASSES = 10


class Split(NamedTuple):
    """Examples: `images` is uint8 `(n, 28, 28, 1)`, `labels` is int32 `(n,)`."""

    images: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.labels)


class Dataset(NamedTuple):
    """The three splits of a dataset. They share no image, and don't depend on a run's seed."""

    train: Split
    validation: Split
    test: Split


def load(name: str, *, data_dir: Path | None = None, cache_dir: Path | None = None) -> Dataset:
    """Load a dataset as uint8 arrays.

    Args:
      name: One of `DATASETS`.
      data_dir: The folder in which TFDS keeps its datasets. By default the environment variable
        TFDS_DATA_DIR, or else `~/tensorflow_datasets`. Not used by digits.
      cache_dir: Where decoded arrays are kept, by default `default_cache_dir()`.

    Raises:
      UserError: Unknown name, or the dataset has not been prepared for TFDS.
    """
    if name == "digits":
        return _digits()
    if name not in DATASETS:
        raise UserError(f"unknown dataset {name!r}: expected one of {', '.join(DATASETS)}.")
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir
    prepared = _find_prepared(name, data_dir)
    if prepared is None:
        cached = _newest(cache_dir.glob(f"{name}-*.npz"), version=lambda file: file.stem)
        arrays = None if cached is None else _read_cache(cached)
        if data_dir is not None or arrays is None:
            raise UserError(_how_to_prepare(name, data_dir))
    else:
        cached = cache_dir / f"{name}-{prepared.name}.npz"
        arrays = _read_cache(cached)
        if arrays is None:
            arrays = _decode(prepared)
            _write_cache(cached, arrays)
    # As in the original's protocol, the validation images are the last 10,000 of the train file.
    images, labels = arrays["train_images"], arrays["train_labels"].astype(np.int32)
    held_out = len(labels) - 10_000
    return Dataset(
        Split(images[:held_out], labels[:held_out]),
        Split(images[held_out:], labels[held_out:]),
        Split(arrays["test_images"], arrays["test_labels"].astype(np.int32)),
    )


def default_cache_dir() -> Path:
    """The platform's folder for files that a program can make again."""
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        root = Path(xdg)
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        root = Path.home() / ".cache"
    return root / "jaxconv"


# ---- digits ----------------------------------------------------------------------------------


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # a second to import, and only this dataset needs it

    digits: Any = load_digits()
    images = enlarge_digits(digits.images.astype(np.int64))[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    # scikit-learn's rows come in runs of one writer; a fixed shuffle spreads the writers.
    order = np.random.default_rng(0).permutation(len(labels))
    splits = np.split(order, [1_200, 1_497])
    return Dataset(*(Split(images[rows], labels[rows]) for rows in splits))


def enlarge_digits(images: np.ndarray) -> np.ndarray:
    """Bring 8×8 images of 0..16 to 28×28 images of 0..255.

    Bilinear by a factor of 3 about the pixels' centres, black outside, then a border of 2 black
    pixels. Along an axis, block i of three output pixels is

        (p[i-1] + 2 p[i]) / 3,   p[i],   (2 p[i] + p[i+1]) / 3,

    so in ninths and sixteenths everything is an integer, and the result is the same everywhere.

    Args:
      images: Integers `(n, 8, 8)` in 0..16.

    Returns:
      uint8 `(n, 28, 28)`.
    """
    thirds = np.zeros((24, 10), np.int64)  # columns 0 and 9 see the black outside
    for i in range(8):
        thirds[3 * i : 3 * i + 3, i : i + 3] = [[1, 2, 0], [0, 3, 0], [0, 2, 1]]
    interpolate = thirds[:, 1:9]
    ninths = interpolate @ images @ interpolate.T
    pixels = (255 * ninths + 72) // 144  # 144 = 9·16, and 72 is its half: rounds to nearest
    return np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)


# ---- TFDS ------------------------------------------------------------------------------------


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


# ---- cache -----------------------------------------------------------------------------------

_KEYS = {"train_images", "train_labels", "test_images", "test_labels"}


def _read_cache(file: Path) -> dict[str, np.ndarray] | None:
    """The cached arrays, or None where there are none or they are damaged."""
    try:
        with file.open("rb") as opened, np.load(opened) as archive:  # checks the CRC as it reads
            return {key: archive[key] for key in _KEYS}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _write_cache(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=file.parent))
        try:
            np.savez(folder / file.name, allow_pickle=False, **arrays)
            (folder / file.name).replace(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:  # only time is lost
        print(f"note: decoded images not kept: {error}", file=sys.stderr)
