"""What every source of images gives: three splits and the names of the classes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .._user_error import UserError

PARTS = ("train", "validation", "test")
DIGITS = tuple("0123456789")

_NAMED = 10  # classes that are named, and the last one
_DARK = 64  # as bright as 14 bits are in a file of 16
_HELD_OUT = 0.15  # of each class, for validation and as much again for testing


class Split(NamedTuple):
    """Labelled images: `images` is uint8 `(n, h, w, c)`, `labels` is int32 `(n,)`.

    All splits of a dataset have the same h, w and c; c is 1 for grey and 3 for red, green, blue.
    A label is an index into the dataset's `class_names`. Of several processes, each has all labels
    and a part of the images.
    """

    images: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        return len(self.labels)


class Dataset(NamedTuple):
    """Three splits, which don't depend on a run's seed, and the names that the labels stand for.

    Each class has images in `train`. Where the splits come from its maker, a class may have none
    in `validation` or `test`.
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

    def describe(self) -> str:
        """What was understood: images, their shape and channels, the classes and their sizes."""
        sizes = [f"{split.size:,}" for split in self.splits]
        h, w, c = self.image_shape
        channels = "1 channel" if c == 1 else f"{c} channels"
        said = f"{', '.join(sizes)} images ({', '.join(PARTS)}) of {h}×{w} pixels, {channels}"
        if c > 4:  # volumes may be meant
            said += f" (the last axis of {h}×{w}×{c})"
        labels = np.concatenate([split.labels for split in self.splits])
        counts = np.bincount(labels, minlength=self.num_classes)
        named = [f"{name} {count:,}" for name, count in zip(self.class_names, counts, strict=True)]
        if len(named) > 2 * _NAMED:
            named[_NAMED:-1] = ["…"]
        said += f"; {self.num_classes} classes: {', '.join(named)}"
        brightest = int(self.train.images.max(initial=0))
        if brightest < _DARK and len(self.train.images) == self.train.size:
            said += f"; no training pixel is above {brightest} of 255"
        return said

    def map_splits(self, function: Callable[[Split], Split]) -> "Dataset":
        """The dataset with `function` applied to each split, such as to move it to a device."""
        return self._replace(**{part: function(getattr(self, part)) for part in PARTS})


def stratified(
    labels: np.ndarray, held_out: int, *, class_names: tuple[str, ...], source: object
) -> list[np.ndarray]:
    """Deal the rows out: into training rows, and `held_out` more parts of 15 % of each class.

    A part gets at least one row of each class. The rows come shuffled, and the same ones each
    time: they depend on `labels` alone. (scikit-learn's stratified splits leave classes of few
    images out of a part, or refuse them, and may change with its version.)

    Args:
      labels: Integers `(n,)`, indices into `class_names`.
      held_out: How many parts to hold out: 2 for validation and test, 1 for validation, or 0.
      class_names: The classes' names, for the error.
      source: Where the images are from, for the error.

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
