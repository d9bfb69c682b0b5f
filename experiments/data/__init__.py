"""Labelled images: three datasets that are known by name, and one's own.

digits          1,200 train /    297 validation /    300 test, from scikit-learn, no download
mnist          50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets
fashion_mnist  50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets
folder:PATH    image files, a folder a class: see `folder`
npz:PATH       NumPy arrays: see `npz`
"""

import difflib
from pathlib import Path

from .._user_error import UserError
from . import digits, folder, npz, tfds
from .cache import default_cache_dir as default_cache_dir
from .dataset import DIGITS as DIGITS
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .digits import enlarge_digits as enlarge_digits
from .images import read_images as read_images
from .images import resize
from .part import WHOLE as WHOLE
from .part import Part as Part

DATASETS = ("digits", "mnist", "fashion_mnist")
NUM_CLASSES = 10  # of each of DATASETS; of any other, `Dataset.num_classes`


def load(
    name: str,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    part: Part = WHOLE,
) -> Dataset:
    """Load a dataset as uint8 arrays.

    Args:
      name: One of `DATASETS`, `folder:PATH` or `npz:PATH`.
      data_dir: The folder in which TFDS keeps its datasets. By default the environment variable
        TFDS_DATA_DIR, or else `~/tensorflow_datasets`. Used by mnist and fashion_mnist only.
      cache_dir: Where decoded arrays are kept, by default `default_cache_dir()`.
      image_size: `(height, width)` that every image is resized to: bilinear, averaging where it
        shrinks, each axis by its own factor. By default images stay as they are; those of a folder
        that differ in size become as large as their median.
      part: The rows whose images to read, of each split; the labels are always all of them.

    Raises:
      UserError: Unknown name, or what it names is missing, damaged, or no dataset of images.
    """
    if image_size is not None and min(image_size) < 1:
        raise UserError(f"--image-size must be at least 1 by 1, got {image_size}.")
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir

    def part_of_images(split):
        return Split(split.images[part.rows(split.size)], split.labels)

    kind, _, path = name.partition(":")
    if kind in ("folder", "npz") and not path:
        raise UserError(f"dataset {name!r} names no path: expected {kind}:PATH.")
    if kind == "folder":  # resizes each image as it is read: they need not fit into memory before
        return folder.load(
            Path(path).expanduser(), cache_dir=cache_dir, image_size=image_size, part=part
        )
    if kind == "npz":
        dataset = npz.load(Path(path).expanduser()).map_splits(part_of_images)
    elif name == "digits":
        dataset = digits.load().map_splits(part_of_images)
    elif name in DATASETS:
        dataset = tfds.load(name, data_dir=data_dir, cache_dir=cache_dir, part=part)
    else:
        raise UserError(_unknown(name))
    if image_size is None:
        return dataset
    return dataset.map_splits(lambda split: Split(resize(split.images, image_size), split.labels))


def _unknown(name: str) -> str:
    meant = _nearest(name)
    return (
        f"unknown dataset {name!r}: expected one of {', '.join(DATASETS)}, folder:PATH, npz:PATH"
        + (f" (did you mean {meant}?)" if meant else ".")
    )


def _nearest(name: str) -> str | None:
    if Path(name).expanduser().exists():
        return f"folder:{name}" if Path(name).expanduser().is_dir() else f"npz:{name}"
    kind, colon, path = name.partition(":")
    known = ("folder", "npz") if colon else DATASETS
    near = difflib.get_close_matches(kind.lower(), known, n=1)
    return near[0] + colon + path if near else None
