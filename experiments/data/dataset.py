"""A dataset: three splits of labelled images, and the names of the classes."""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..command_line import UserError

PARTS = ("train", "validation", "test")
DIGITS = tuple("0123456789")
UNLABELLED = "unlabelled"  # the class of images without labels

# The split that a name means, in folders, tables and archives.
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_NAMED = 10  # classes named in a description, beside the last one
_DARK = 64  # the brightest pixel of images with 14 of 16 bits, after conversion to 8 bits
_HELD_OUT = 0.15  # fraction of each class for validation, and as much for testing


class Split(NamedTuple):
    """Labelled images: `images` is uint8 `(n, h, w, c)`, `labels` is int32 `(n,)`.

    All splits of a dataset have the same h, w and c; c is 1 for grey and 3 for red, green, blue.
    A label is an index into the dataset's `class_names`. If several processes train together, each
    has all labels and a part of the images.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.labels)


class Dataset(NamedTuple):
    """Three splits, which do not depend on a run's seed, and the names of the classes.

    Each class has images in `train`. If the splits were given, a class may have none in
    `validation` or `test`.
    """

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...] = DIGITS

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.validation, self.test

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(h, w, c)` of every image."""
        h, w, c = self.train.images.shape[1:]
        return h, w, c

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def identity(self) -> dict[str, Any]:
        """What must stay the same while a run is resumed, as JSON holds it.

        Digest and background are those of the first image of each split, which the first of
        several processes has, however many they are; the digest is that of all labels, too.
        """
        digest = 0
        for split in self.splits:
            for array in (split.labels, split.images[:1]):
                digest = zlib.crc32(np.ascontiguousarray(array).tobytes(), digest)
        return {
            "class names": list(self.class_names),
            "image shape": list(self.image_shape),
            "sizes": [split.size for split in self.splits],
            "digest": digest,
            "background": [
                level for split in self.splits for level in background(split.images[:1]).tolist()
            ],
        }

    def describe(self) -> str:
        """The sizes, the image shape, and the classes with their numbers of images."""
        sizes = [f"{split.size:,}" for split in self.splits]
        h, w, c = self.image_shape
        channels = "1 channel" if c == 1 else f"{c} channels"
        said = f"{', '.join(sizes)} images ({', '.join(PARTS)}) of {h}×{w} pixels, {channels}"
        labels = np.concatenate([split.labels for split in self.splits])
        counts = np.bincount(labels, minlength=self.num_classes)
        named = [f"{name} {count:,}" for name, count in zip(self.class_names, counts, strict=True)]
        if len(named) > 2 * _NAMED:
            named[_NAMED:-1] = ["…"]
        plural = "class" if self.num_classes == 1 else "classes"
        said += f"; {self.num_classes} {plural}: {', '.join(named)}"
        brightest = int(self.train.images.max(initial=0))
        if brightest < _DARK and len(self.train.images) == self.train.size:
            said += f"; no training pixel is above {brightest} of 255"
        return said

    def map_splits(self, function: Callable[[Split], Split]) -> "Dataset":
        """The dataset with `function` applied to each split."""
        return self._replace(**{part: function(getattr(self, part)) for part in PARTS})


def background(images: np.ndarray) -> np.ndarray:
    """The median of the outermost pixels of each image `(n, h, w, c)`, from 0 to 255."""
    sides = images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]
    return np.median(np.concatenate(sides, axis=1), axis=(1, 2))


def stratified(
    labels: np.ndarray, held_out: int, *, class_names: tuple[str, ...], source: object
) -> list[np.ndarray]:
    """Divide rows into training rows and `held_out` more parts with 15 % of each class.

    A part gets at least one row of each class. The rows are shuffled, and depend on `labels` alone.
    scikit-learn's stratified splits leave out or refuse classes of few images, and may change with
    its version.

    Args:
      labels: Integers `(n,)`, indices into `class_names`.
      held_out: The number of parts to hold out: 2 for validation and test, 1 for validation, or 0.
      class_names: The names of the classes, for the error.
      source: The origin of the images, for the error.

    Returns:
      `held_out + 1` arrays of rows, those for training first.

    Raises:
      UserError: A class has too few images to be in every part.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    part = np.zeros(len(labels), np.int64)
    for label, name in enumerate(class_names):
        rows = order[labels[order] == label]
        if 0 < held_out >= len(rows):
            parts = "training and validation" if held_out == 1 else "training, validation and test"
            raise UserError(
                f"{source}: class {name} has {len(rows)} image{'s' * (len(rows) != 1)}, and "
                f"{parts} need one each: add {held_out + 1 - len(rows)}."
            )
        share = max(1, round(_HELD_OUT * len(rows)))
        for number in range(held_out):
            part[rows[number * share : (number + 1) * share]] = number + 1
    return [order[part[order] == number] for number in range(held_out + 1)]
