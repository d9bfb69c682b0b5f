"""Datasets of labelled images: three well-known ones, and the user's own.

digits          1,200 train /    297 validation /    300 test, from scikit-learn, no download
mnist          50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets
fashion_mnist  50,000 train / 10,000 validation / 10,000 test, from TensorFlow Datasets
folder:PATH    image files, in folders of classes or with a labels.csv: see `folder`
npz:PATH       NumPy arrays: see `npz`
"""

import difflib
from pathlib import Path

from ..command_line import UserError
from . import digits, folder, npz, tfds
from .cache import default_cache_dir as default_cache_dir
from .dataset import DIGITS as DIGITS
from .dataset import UNLABELLED as UNLABELLED
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .dataset import background as background
from .digits import enlarge_digits as enlarge_digits
from .images import BadFile as BadFile
from .images import read_images as read_images
from .images import resize
from .images import unreadable as unreadable
from .part import WHOLE as WHOLE
from .part import Part as Part
from .tree import walk as walk

DATASETS = ("digits", "mnist", "fashion_mnist")
NUM_CLASSES = 10  # of each of DATASETS
ABOUT = {  # what a model that is trained on them knows
    "digits": "scans of 8×8 pixels, enlarged; each a digit, light on dark, that fills the image",
    "mnist": "scans of 28×28 pixels; each a digit, light on dark and centred",
    "fashion_mnist": "photographs of 28×28 grey pixels; each a piece of clothing, light on dark",
}


def load(
    name: str,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    image_size: tuple[int, int] | None = None,
    part: Part = WHOLE,
    needs_labels: bool = True,
    skip_bad_files: bool = False,
) -> Dataset:
    """Load a dataset as uint8 arrays.

    Args:
      name: One of `DATASETS`, `folder:PATH` or `npz:PATH`.
      data_dir: The folder of TFDS's datasets. By default the environment variable TFDS_DATA_DIR, or
        else `~/tensorflow_datasets`. Used for mnist and fashion_mnist only.
      cache_dir: The folder for decoded arrays, by default `default_cache_dir()`.
      image_size: `(height, width)` to resize every image to, bilinearly and each axis by its own
        factor. By default images are not resized, except that those of a folder get their median
        size if they differ.
      part: The rows of each split whose images are read. The labels are always complete.
      needs_labels: Whether images without labels, or of one class, are an error. Otherwise they
        have the class `UNLABELLED`.
      skip_bad_files: Leave out the files of a folder that cannot be read, and list them in notes.

    Raises:
      UserError: The name is unknown, or the dataset is missing or damaged.
    """
    if image_size is not None and min(image_size) < 1:
        raise UserError(f"--image-size must be at least 1 by 1, got {image_size}.")
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir

    def part_of_images(split):
        return Split(split.images[part.rows(split.size)], split.labels)

    kind, _, path = name.partition(":")
    if kind in ("folder", "npz") and not path:
        raise UserError(f"dataset {name!r} names no path: expected {kind}:PATH.")
    if kind == "folder":
        return folder.load(
            Path(path).expanduser(),
            cache_dir=cache_dir,
            image_size=image_size,  # while reading: as they are, the images may not fit into memory
            part=part,
            needs_labels=needs_labels,
            skip_bad_files=skip_bad_files,
        )
    if kind == "npz":
        dataset = npz.load(Path(path).expanduser(), needs_labels=needs_labels)
        dataset = dataset.map_splits(part_of_images)
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
