"""NumPy arrays in one file: `npz:PATH`, as `np.savez(PATH, images=…, labels=…)` writes it.

The arrays have one of these sets of names. Those in brackets may be missing:

    images, labels                                               to be split 70 : 15 : 15
    x_train, y_train, x_test, y_test [, x_val, y_val]            as in Keras' mnist.npz
    train_images, train_labels, test_images, … [, val_images, …] as in MedMNIST

Images are `(n, h, w)` or `(n, h, w, c)`, either uint8 or floating point in [0, 1]. Labels are
integers or strings, `(n,)` or `(n, 1)`; the classes are the values that occur, sorted. A missing
validation split is 15 % of each training class. Other arrays in the file are ignored.

Nothing is unpickled, so reading a file executes no code from it.
"""

import zipfile
from collections.abc import Set
from pathlib import Path

import numpy as np

from ..command_line import UserError, require
from ..command_line.notes import first_line
from .cache import UNREADABLE
from .dataset import PARTS, Dataset, Split, stratified

_SCHEMES = (
    {"train": ("images", "labels")},
    {
        "train": ("x_train", "y_train"),
        "validation": ("x_val", "y_val"),
        "test": ("x_test", "y_test"),
    },
    {
        "train": ("train_images", "train_labels"),
        "validation": ("val_images", "val_labels"),
        "test": ("test_images", "test_labels"),
    },
)


def load(path: Path) -> Dataset:
    """Read the images and labels of an `.npz` file.

    Raises:
      UserError: The file is missing or damaged, or its arrays are not as described above.
    """
    images, labels = {}, {}
    for part, (for_images, for_labels) in _read(path).items():
        images[part] = _images(f"{path}: {for_images[0]}", for_images[1])
        labels[part] = _labels(f"{path}: {for_labels[0]}", for_labels[1])
        require(
            len(images[part]) == len(labels[part]),
            f"{path}: {for_images[0]} has {len(images[part]):,} images, but {for_labels[0]} "
            f"has {len(labels[part]):,} labels.",
        )
    shapes = {part: of_part.shape[1:] for part, of_part in images.items()}
    listed = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
    require(len(set(shapes.values())) == 1, f"{path}: images of different shapes: {listed}.")
    class_names, labels = _number_classes(path, labels)
    splits = {part: Split(images[part], labels[part]) for part in images}
    if missing := [part for part in PARTS if part not in splits]:
        whole = splits["train"]
        dealt = stratified(whole.labels, len(missing), class_names=class_names, source=path)
        for part, rows in zip(["train", *missing], dealt, strict=True):
            splits[part] = Split(whole.images[rows], whole.labels[rows])
    return Dataset(**splits, class_names=class_names)


# ---- the file --------------------------------------------------------------------------------


def _read(path: Path):
    """The name and the array of the images and of the labels, for each part in the file."""
    found = "is no file" if path.exists() else "does not exist"
    require(path.is_file(), f"dataset npz:{path}: this path {found}, expected an .npz file.")
    try:
        with path.open("rb") as opened:
            # NumPy would report a file that begins otherwise as a pickle.
            if opened.read(2) != b"PK" or not zipfile.is_zipfile(opened):
                raise UserError(f"{path} is no .npz file, or is incomplete.")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as archive:  # a pickle could execute code
                names = _names(path, set(archive.files))
                return {
                    part: [(name, _array(path, archive, name)) for name in of_part]
                    for part, of_part in names.items()
                }
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from error


def _names(path: Path, held: Set[str]) -> dict[str, tuple[str, str]]:
    holds = f"it holds {', '.join(sorted(held)) or 'nothing'}"
    begun = [s for s in _SCHEMES if any(name in held for names in s.values() for name in names)]
    require(
        len(begun) > 0,
        f"{path} has no images and labels: expected arrays images and labels, or x_train, "
        f"y_train, x_test, y_test, or train_images and so on; {holds}.",
    )
    require(len(begun) == 1, f"{path} names its arrays in two ways, and one was expected; {holds}.")
    found = {
        part: names
        for part, names in begun[0].items()
        if part != "validation" or any(name in held for name in names)
    }
    lacking = [name for names in found.values() for name in names if name not in held]
    require(not lacking, f"{path} lacks {', '.join(lacking)}; {holds}.")
    return found


def _array(path: Path, archive, name: str) -> np.ndarray:
    try:
        array = archive[name]
    except UNREADABLE as error:
        if "pickle" in str(error):  # an array of Python objects
            raise UserError(
                f"{path}: {name} is pickled, and reading it could run code from the file: save it "
                "as an array of numbers or strings."
            ) from error
        raise UserError(f"cannot read {name} in {path}: {_reason(error)}") from error
    require(isinstance(array, np.ndarray), f"{path}: {name} is no array.")  # but bytes
    return array


def _reason(error: BaseException) -> str:
    return first_line(error).rstrip(".") + "."


# ---- its arrays ------------------------------------------------------------------------------


def _images(name: str, images: np.ndarray) -> np.ndarray:
    """uint8 `(n, h, w, c)`."""
    require(
        images.ndim in (3, 4) and images.size > 0,
        f"{name} has shape {images.shape}: expected (n, h, w) or (n, h, w, c), none of them 0.",
    )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    require(
        not images.shape[1] <= 4 < min(images.shape[2:]),
        f"{name} has shape {images.shape}: expected the channels on the last axis.",
    )
    if images.dtype == np.uint8:
        return images
    came = f"{name} is {images.dtype}"
    if images.dtype.kind in "iuf":
        came += f" between {images.min():g} and {images.max():g}"
    is_fine = images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1  # false of NaN
    require(is_fine, f"{came}: expected uint8, or floating point between 0 and 1.")
    return np.rint(np.multiply(images, 255, dtype=np.float32)).astype(np.uint8)


def _labels(name: str, labels: np.ndarray) -> np.ndarray:
    """int64 or str `(n,)`, as they are in the file."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    shape = labels.shape
    require(labels.ndim == 1, f"{name} has shape {shape}: expected one label an image, (n,).")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", errors="backslashreplace")
    if labels.dtype.kind == "U":
        return labels
    is_fine = labels.dtype.kind in "iub"
    require(is_fine, f"{name} is {labels.dtype}: expected integers or strings.")
    labels = labels.astype(np.int64)
    least = labels.min(initial=0)
    require(least >= 0, f"{name} has the label {least}: expected none below 0.")
    return labels


def _number_classes(path: Path, labels: dict[str, np.ndarray]):
    """The names of the classes, and each part's labels as int32 indices into them."""
    require(
        len({of_part.dtype.kind for of_part in labels.values()}) == 1,
        f"{path}: labels are integers in one split and strings in another.",
    )
    classes = np.unique(np.concatenate(list(labels.values())))
    only = f"{path} has one class only, {classes[0]}: expected at least 2."
    require(len(classes) >= 2, only)
    for name in np.setdiff1d(classes, labels["train"]):
        raise UserError(f"{path}: class {name} is in test or validation, but not in train.")
    numbered = {
        part: np.searchsorted(classes, of_part).astype(np.int32) for part, of_part in labels.items()
    }
    return tuple(map(str, classes)), numbered
