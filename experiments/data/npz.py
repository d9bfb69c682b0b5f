"""NumPy arrays in one file: `npz:PATH`, as `np.savez(PATH, images=…, labels=…)` writes it.

The arrays have one of these sets of names, in any case. Those in brackets may be missing. So may
the labels where none are needed, and then a single array may have any name.

    images, labels  or  x, y  or  data, target                   to be split 70 : 15 : 15
    x_train, y_train [, x_test, y_test] [, x_val, y_val]         as in Keras' mnist.npz
    train_images, train_labels [, test_images, …] [, val_…]      as in MedMNIST

Images are `(n, h, w)`, `(n, h, w, c)` or, where that is plain, `(n, c, h, w)`. They are uint8 or
other integers of 0 to 255, uint16 of 0 to 65,535, bool, or floating point in [0, 1]. Labels are
integers or strings, `(n,)` or `(n, 1)`; the classes are the values that occur, sorted. A missing
validation or test split is 15 % of each training class. Other arrays in the file are ignored.

Nothing is unpickled, so reading a file executes no code from it.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..command_line import UserError, note, require
from ..command_line.notes import first_line
from .cache import UNREADABLE
from .dataset import PARTS, SPLITS, UNLABELLED, Dataset, Split, stratified
from .images import round_to_8_bits, say_if_dark

# The names of the images and of the labels; {} is one of `SPLITS`.
_SCHEMES = (
    *(("images", "labels"), ("x", "y"), ("data", "target")),
    *(("x_{}", "y_{}"), ("{}_images", "{}_labels")),
)


def load(path: Path, *, needs_labels: bool = True) -> Dataset:
    """Read the images and labels of an `.npz` file.

    Args:
      path: The file.
      needs_labels: Whether images without labels, or of one class, are an error.

    Raises:
      UserError: The file is missing or damaged, or its arrays are not as described above.
    """
    arrays = _read(path, needs_labels)
    images = {
        part: _images(f"{path}: {name}", array) for part, ((name, array), _) in arrays.items()
    }
    shapes = {part: of_part.shape[1:] for part, of_part in images.items()}
    listed = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
    require(len(set(shapes.values())) == 1, f"{path}: images of different shapes: {listed}.")
    try:
        labels = {}
        for part, ((of_images, _), (name, array)) in arrays.items():
            labels[part] = _labels(f"{path}: {name}", array)
            require(
                len(images[part]) == len(labels[part]),
                f"{path}: {of_images} has {len(images[part]):,} images, but {name} "
                f"has {len(labels[part]):,} labels.",
            )
        class_names, labels = _number_classes(path, labels)
    except UserError:
        if needs_labels:
            raise
        class_names = (UNLABELLED,)
        labels = {part: np.zeros(len(of_part), np.int32) for part, of_part in images.items()}
    splits = {part: Split(images[part], labels[part]) for part in images}
    if missing := [part for part in PARTS if part not in splits]:
        whole = splits["train"]
        dealt = stratified(whole.labels, len(missing), class_names=class_names, source=path)
        for part, rows in zip(["train", *missing], dealt, strict=True):
            splits[part] = Split(whole.images[rows], whole.labels[rows])
    return Dataset(**splits, class_names=class_names)


# ---- the file --------------------------------------------------------------------------------


def _read(path: Path, needs_labels: bool):
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
                return {
                    part: [(name, _array(path, archive, name)) for name in names]
                    for part, names in _names(path, archive.files, needs_labels).items()
                }
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"cannot read {path}: {_reason(error)}") from error


def _names(path: Path, held: Sequence[str], needs_labels: bool) -> dict[str, tuple[str, str]]:
    """The names of the images and of the labels of each part."""
    known = {name.lower(): name for name in held}
    holds = f"it holds {', '.join(sorted(held)) or 'nothing'}"
    begun = []
    for for_images, for_labels in _SCHEMES:
        words = SPLITS if "{}" in for_images else {"train": "train"}
        pairs = {word: (for_images.format(word), for_labels.format(word)) for word in words}
        found: dict[str, tuple[str, str]] = {}
        for word, pair in pairs.items():
            if known.keys() & set(pair):
                found.setdefault(words[word], pair)
        if found:
            begun.append({"train": pairs["train"]} | found)
    if len(held) == 1 and not begun and not needs_labels:
        return {"train": (held[0], "")}
    require(
        len(begun) > 0,
        f"{path} has no images and labels: expected arrays images and labels, or x_train, "
        f"y_train, x_test, y_test, or train_images and so on; {holds}.",
    )
    require(len(begun) == 1, f"{path} names its arrays in two ways, and one was expected; {holds}.")
    needed = [name for pair in begun[0].values() for name in pair[: 1 + needs_labels]]
    lacking = [name for name in needed if name not in known]
    require(not lacking, f"{path} lacks {', '.join(lacking)}; {holds}.")
    return {part: (known[a], known.get(b, "")) for part, (a, b) in begun[0].items()}


def _array(path: Path, archive, name: str) -> np.ndarray:
    if not name:
        return np.array([])
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
        f"{name} has shape {images.shape}: expected (n, h, w) or (n, h, w, c), none of them 0"
        f"{'; volumes and videos are no images' if images.ndim == 5 else ''}.",
    )
    images = _channels_last(name, images) if images.ndim == 4 else images[..., np.newaxis]
    if images.dtype == np.bool:
        return images * np.uint8(255)
    came = f"{name} is {images.dtype}"
    if images.dtype.kind in "iuf":
        least, most = images.min(), images.max()
        came += f" between {least:g} and {most:g}"
        if images.dtype.kind in "iu" and 0 <= least and most <= 255:
            return images.astype(np.uint8, copy=False)
        if images.dtype == np.uint16:
            say_if_dark(most, f"{name}, which has 16 bits")
            return round_to_8_bits(images)
        if images.dtype.kind == "f" and 0 <= least and most <= 1:  # false of NaN
            return np.rint(np.multiply(images, 255, dtype=np.float32)).astype(np.uint8)
    raise UserError(f"{came}: expected uint8, or floating point between 0 and 1.")


def _channels_last(name: str, images: np.ndarray) -> np.ndarray:
    """`(n, h, w, c)`. A note says how shapes were read that could mean something else."""
    came, (h, w, c) = images.shape, images.shape[1:]
    if is_first := h <= 4 < min(w, c) or (h != w == c > 4):
        images = np.moveaxis(images, 1, -1)
        h, w, c = images.shape[1:]
    if is_first or c > 4:
        order = "first" if is_first else "last"
        said = f"{h}×{w} pixels with {c} channel{'s' * (c != 1)}, channels {order}"
        note(f"{name} has shape {came}: read as {said}" + (", not as volumes" if c > 4 else ""))
    return images


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
