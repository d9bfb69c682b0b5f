"""Image files in folders: `folder:PATH`.

A folder for each class, which has the class's name, in one of two layouts:

    PATH/cat/1.png …  PATH/dog/a.jpg …       70 % train, 15 % validation, 15 % test of each class

    PATH/train/cat/1.png …                   the given splits; without `validation` (or `val`), it
    PATH/validation/cat/7.png …              is 15 % of each class of `train`
    PATH/test/cat/9.png …

Classes are sorted by name. Every file in a class's folder must be an image, see `read_images`.
These are ignored: hidden files and folders, what archives, cameras and file systems leave behind
(`__MACOSX`, `@eaDir`, `lost+found`, `Thumbs.db`), and files beside the folders of the classes that
are not images, such as a README. Files in a class's folder whose names are not those of images,
such as notes.txt, and folders without others, are ignored with a note. Links are followed.

The folder readers of TensorFlow Datasets and torchvision need TensorFlow and PyTorch.
"""

import hashlib
import mimetypes
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..command_line import UserError, note, require
from . import cache
from .dataset import PARTS, Dataset, Split, stratified
from .images import read_images
from .part import WHOLE, Part

FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_EXPECTED = "expected PATH/CLASS/image files, or the same under PATH/train and PATH/test"
# Names, in lower case, of files and folders that programs and file systems leave behind.
_LEFT_BEHIND = frozenset(
    {
        *("__macosx", "icon\r"),  # macOS
        *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),  # Windows
        *("$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "#snapshot", "lost+found"),  # Synology, ext4
    }
)
_VERSION = 2  # of `read_images`: another version invalidates the cached arrays


class File(NamedTuple):
    """An image file. Size or time changes if the content does."""

    path: Path
    bytes: int
    modified: int  # in nanoseconds


Classes = dict[str, list[File]]


def load(
    root: Path, *, cache_dir: Path, image_size: tuple[int, int] | None, part: Part = WHOLE
) -> Dataset:
    """Read the images of a folder. The cache is used until a file changes.

    Args:
      root: The folder.
      cache_dir: The folder for decoded arrays.
      image_size: `(height, width)`, or None for no resizing; see `read_images`.
      part: The images to read.

    Raises:
      UserError: The folder is missing or has another layout, a file is no image, or a class has too
        few images.
    """
    listed = _list_splits(root)
    class_names = tuple(listed["train"])
    dealt = _deal(listed, class_names, root)
    files = [dealt[split][0][part.rows(len(dealt[split][0]))] for split in PARTS]
    images = _read_once([file for of in files for file in of], root, cache_dir, image_size, part)
    stops = np.cumsum([len(of) for of in files])[:-1]
    train, validation, test = (
        Split(of, dealt[split][1]) for split, of in zip(PARTS, np.split(images, stops), strict=True)
    )
    return Dataset(train, validation, test, class_names)


def _deal(listed: dict[str, Classes], class_names: tuple[str, ...], root: Path):
    """The files and labels of each split. A missing split is held out of train."""
    missing = [part for part in PARTS if part not in listed]
    dealt = {}
    for split, classes in listed.items():
        files = [file for of_class in classes.values() for file in of_class]
        labels = np.repeat(
            np.array([class_names.index(name) for name in classes], np.int32),
            [len(of_class) for of_class in classes.values()],
        )
        into = [split, *missing] if split == "train" else [split]
        # Shuffled even if nothing is held out, so that the first images have various classes.
        rows = stratified(labels, len(into) - 1, class_names=class_names, source=root)
        for part, of_part in zip(into, rows, strict=True):
            dealt[part] = [files[row] for row in of_part], labels[of_part]
    return dealt


def _read_once(
    files: list[File], root: Path, cache_dir: Path, size: tuple[int, int] | None, part: Part
):
    place = f"{root.resolve()} {size}{part.suffix}".encode(errors="surrogateescape")
    cached = cache_dir / f"folder-{hashlib.sha256(place).hexdigest()[:16]}.npz"
    content = hashlib.sha256(str(_VERSION).encode())
    for file in files:
        name = os.fsencode(file.path.relative_to(root))
        content.update(b"%b\0%d %d\0" % (name, file.bytes, file.modified))
    fingerprint = np.frombuffer(content.digest(), np.uint8)

    arrays = cache.read(cached, {"images", "fingerprint"})
    is_cached = arrays is not None and np.array_equal(arrays["fingerprint"], fingerprint)
    # Either no process reads files, or all do: they agree on one image size.
    if part.all_agree(is_cached) and arrays is not None:
        return arrays["images"]
    note(f"reading the {len(files):,} images of {root}; later runs use the cache")
    images = read_images([file.path for file in files], size=size, part=part)
    cache.write(cached, {"images": images, "fingerprint": fingerprint})
    return images


# ---- the folders -----------------------------------------------------------------------------


def _list_splits(root: Path) -> dict[str, Classes]:
    """The classes and files of each split in the folder; if there are no splits, of "train"."""
    found = "does not exist" if not root.exists() else "is a file"
    require(
        root.is_dir(), f"dataset folder:{root}: this path {found}, expected a folder of images."
    )
    names = {folder.name for folder in _folders(root)}
    if {"train", "test"} <= names or (names and names <= FOLDERS.keys()):
        wrong = _what_is_wrong(names)
        require(
            wrong is None,
            f"{root} {wrong}: expected a folder for each class, or train, test and perhaps "
            "validation (or val) with such folders inside.",
        )
        listed = {FOLDERS[name]: _list_classes(root / name) for name in sorted(names)}
    else:
        listed = {"train": _list_classes(root)}
    only = f"{root} has one class only, {min(listed['train'])}: expected at least 2."
    require(len(listed["train"]) >= 2, only)
    for split, classes in listed.items():
        for name in sorted(classes.keys() - listed["train"].keys()):
            raise UserError(f"{root}: class {name} is in {split}, but not in train.")
    return listed


def _what_is_wrong(names: set[str]) -> str | None:
    """What is wrong with folders that should be splits."""
    if lacking := {"train", "test"} - names:
        return f"has {' and '.join(sorted(names))}, but no {max(lacking)}"
    if {"val", "validation"} <= names:
        return "has both val and validation"
    if others := names - FOLDERS.keys():
        return f"has train and test, and beside them {min(others)}"
    return None


def _list_classes(folder: Path) -> Classes:
    listed = {inner: _list_files(inner) for inner in _folders(folder)}
    require(bool(listed), f"{folder} holds no folders: {_EXPECTED}.")
    if ignored := [path for _, others in listed.values() for path in others]:
        note(
            f"ignored in {folder}: {len(ignored):,} file{'s' * (len(ignored) != 1)} "
            f"whose names are not those of images, such as {ignored[0].relative_to(folder)}"
        )
    for inner, (files, others) in listed.items():
        require(bool(files or others), f"class folder {inner} holds no image.")
    classes = {inner.name: files for inner, (files, _) in listed.items() if files}
    require(bool(classes), f"{folder} holds no folder with an image: {_EXPECTED}.")
    return classes


def _list_files(folder: Path) -> tuple[list[File], list[Path]]:
    """The images in a class's folder, and the files whose names are not those of images."""
    files, others = [], []
    for path in _visible(folder):
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"cannot read the image {path}: {error.strerror}.") from error
        is_folder = stat.S_ISDIR(status.st_mode)
        require(not is_folder, f"class folder {folder} holds the folder {path.name}: {_EXPECTED}.")
        # Reading a pipe would wait for ever.
        require(stat.S_ISREG(status.st_mode), f"{path} is no file: {_EXPECTED}.")
        if _has_image_name(path, otherwise=True):
            files.append(File(path, status.st_size, status.st_mtime_ns))
        else:
            others.append(path)
    return files, others


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder that may also hold files, but no images."""
    folders = []
    for path in _visible(folder):
        if path.is_dir():
            folders.append(path)
            continue
        require(path.exists(), f"link {path} leads nowhere.")
        is_image = _has_image_name(path, otherwise=False)
        require(not is_image, f"image {path} lies in no class's folder: {_EXPECTED}.")
    return folders


def _has_image_name(path: Path, *, otherwise: bool) -> bool:
    """Whether a file's name is that of an image; `otherwise` if the name does not tell."""
    kind, packed = mimetypes.guess_type(path.name)
    if packed is not None:  # x.png.gz
        return False
    return otherwise if kind is None else kind.startswith("image/")


def _visible(folder: Path) -> list[Path]:
    """The files and folders that a user put into a folder, sorted by name."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}.") from error
    return [
        path
        for path in paths
        if not path.name.startswith(".") and path.name.lower() not in _LEFT_BEHIND
    ]
