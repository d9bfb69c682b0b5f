"""NumPy arrays in one file: `npz:PATH`, as `np.savez(PATH, images=…, labels=…)` writes it.

The arrays are named in one of these ways; what stands in brackets may be missing:

    images, labels                                               to be split 70 : 15 : 15
    x_train, y_train, x_test, y_test [, x_val, y_val]            as in Keras' mnist.npz
    train_images, train_labels, test_images, … [, val_images, …] as in MedMNIST

Images are `(n, h, w)` or `(n, h, w, c)`, either uint8 or floating point in [0, 1]. Labels are
integers or strings, `(n,)` or `(n, 1)`; the classes are the values that occur, sorted. A missing
validation split is 15 % of each training class. Other arrays in the file are not looked at.

Nothing is unpickled, so reading a file runs no code from it.
"""

import zipfile
from collections.abc import Set
from pathlib import Path

import numpy as np

from .._user_error import UserError
from .cache import UNREADABLE
from .dataset import PARTS, Dataset, Split, stratified

_UNSPLIT = {"train": ("images", "labels")}
_KERAS = {
    "train": ("x_train", "y_train"),
    "validation": ("x_val", "y_val"),
    "test": ("x_test", "y_test"),
}
_MEDMNIST = {
    "train": ("train_images", "train_labels"),
    "validation": ("val_images", "val_labels"),
    "test": ("test_images", "test_labels"),
}


def load(path: Path) -> Dataset:
    """Read the images and labels of an `.npz` file.

    Raises:
      UserError: The file is missing or damaged, or its arrays are not as described above.
    """
    images, labels = {}, {}
    for part, (for_images, for_labels) in _read(path).items():
        images[part] = _images(f"{path}: {for_images[0]}", for_images[1])
        labels[part] = _labels(f"{path}: {for_labels[0]}", for_labels[1])
        if len(images[part]) != len(labels[part]):
            raise UserError(
                f"{path}: {for_images[0]} has {len(images[part]):,} images, but {for_labels[0]} "
                f"has {len(labels[part]):,} labels."
            )
    shapes = {part: of_part.shape[1:] for part, of_part in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        raise UserError(f"{path}: images of different shapes: {listed}.")
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
    """For each part in the file, `(name, array)` of its images and of its labels."""
    if not path.is_file():
        found = "is no file" if path.exists() else "does not exist"
        raise UserError(f"dataset npz:{path}: this path {found}, expected an .npz file.")
    try:
        with path.open("rb") as opened:
            # NumPy takes whatever begins otherwise for a pickle, and says so.
            if opened.read(2) != b"PK" or not zipfile.is_zipfile(opened):
                raise UserError(f"{path} is no .npz file, or is cut short.")
            opened.seek(0)
            with np.load(opened, allow_pickle=False) as archive:  # a pickle could run any code
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
    begun = [
        scheme
        for scheme in (_UNSPLIT, _KERAS, _MEDMNIST)
        if any(name in held for names in scheme.values() for name in names)
    ]
    if not begun:
        raise UserError(
            f"{path} has no images and labels: expected arrays images and labels, or x_train, "
            f"y_train, x_test, y_test, or train_images and so on; {holds}."
        )
    if len(begun) > 1:
        raise UserError(f"{path} names its arrays in two ways, and one was expected; {holds}.")
    (scheme,) = begun
    found = {
        part: names
        for part, names in scheme.items()
        if part != "validation" or any(name in held for name in names)
    }
    if lacking := [name for names in found.values() for name in names if name not in held]:
        raise UserError(f"{path} lacks {', '.join(lacking)}; {holds}.")
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
    if not isinstance(array, np.ndarray):  # any other file in the archive, as bytes
        raise UserError(f"{path}: {name} is no array.")
    return array


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."


# ---- its arrays ------------------------------------------------------------------------------


def _images(name: str, images: np.ndarray) -> np.ndarray:
    """uint8 `(n, h, w, c)`."""
    if images.ndim not in (3, 4) or images.size == 0:
        raise UserError(
            f"{name} has shape {images.shape}: expected (n, h, w) or (n, h, w, c), none of them 0."
        )
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[1] <= 4 < min(images.shape[2:]):
        raise UserError(f"{name} has shape {images.shape}: expected the channels on the last axis.")
    if images.dtype == np.uint8:
        return images
    came = f"{name} is {images.dtype}"
    if images.dtype.kind in "iuf":
        came += f" between {images.min():g} and {images.max():g}"
    # Written so that NaN fails.
    if not (images.dtype.kind == "f" and images.min() >= 0 and images.max() <= 1):
        raise UserError(f"{came}: expected uint8, or floating point between 0 and 1.")
    return np.rint(np.multiply(images, 255, dtype=np.float32)).astype(np.uint8)


def _labels(name: str, labels: np.ndarray) -> np.ndarray:
    """int64 or str `(n,)`, as they are in the file."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{name} has shape {labels.shape}: expected one label an image, (n,).")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", errors="backslashreplace")
    if labels.dtype.kind == "U":
        return labels
    if labels.dtype.kind not in "iub":
        raise UserError(f"{name} is {labels.dtype}: expected integers or strings.")
    labels = labels.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise UserError(f"{name} has the label {labels.min()}: expected none below 0.")
    return labels


def _number_classes(path: Path, labels: dict[str, np.ndarray]):
    """The names of the classes, and each part's labels as int32 indices into them."""
    if len({of_part.dtype.kind for of_part in labels.values()}) > 1:
        raise UserError(f"{path}: labels are integers in one split and strings in another.")
    classes = np.unique(np.concatenate(list(labels.values())))
    if len(classes) < 2:
        raise UserError(f"{path} has one class only, {classes[0]}: expected at least 2.")
    untrained = np.setdiff1d(classes, labels["train"])
    if len(untrained):
        raise UserError(f"{path}: class {untrained[0]} is in test or validation, but not in train.")
    numbered = {
        part: np.searchsorted(classes, of_part).astype(np.int32) for part, of_part in labels.items()
    }
    return tuple(map(str, classes)), numbered
