"""Image files in folders: `folder:PATH`.

A folder a class, which gives the class its name, in either of two layouts:

    PATH/cat/1.png …  PATH/dog/a.jpg …       70 % train, 15 % validation, 15 % test of each class

    PATH/train/cat/1.png …                   the splits as they are; without `validation` (or
    PATH/validation/cat/7.png …              `val`), it is 15 % of each class of `train`
    PATH/test/cat/9.png …

Classes are sorted by name. Every file in a class's folder must be an image, see `read_images`.
Passed over are hidden files and folders, what archives, cameras and file systems leave beside them
(`__MACOSX`, `@eaDir`, `lost+found`, `Thumbs.db`), and what is no image beside the folders of the
classes, such as a README. Files in a class's folder whose names are of another kind, such as
notes.txt, and folders with nothing else, are passed over with a note. Links are followed.
"""

import hashlib
import mimetypes
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .._notes import note
from .._user_error import UserError
from . import cache
from .dataset import PARTS, Dataset, Split, stratified
from .images import read_images
from .part import WHOLE, Part

FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_EXPECTED = "expected PATH/CLASS/image files, or the same under PATH/train and PATH/test"
# In lower case: what programs and file systems leave, and no user put there.
_LEFT_BEHIND = frozenset(
    {
        *("__macosx", "icon\r"),  # macOS
        *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),  # Windows
        *("$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "#snapshot", "lost+found"),  # Synology, ext4
    }
)
_VERSION = 2  # of what `read_images` makes of a file: a change makes the cached arrays useless


class File(NamedTuple):
    """A file in a class's folder, and what changes when its content does."""

    path: Path
    bytes: int
    modified: int  # in nanoseconds


Classes = dict[str, list[File]]


def load(
    root: Path, *, cache_dir: Path, image_size: tuple[int, int] | None, part: Part = WHOLE
) -> Dataset:
    """Read a folder's images, once: from then on, until a file changes, the cache is read.

    Args:
      root: The folder.
      cache_dir: Where decoded arrays are kept.
      image_size: `(height, width)`, or None for the images' own, see `read_images`.
      part: Of which images are read.

    Raises:
      UserError: The folder is missing or in neither layout, a file is no image, or a class has too
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
    """For each of `PARTS` its files and their labels; what isn't listed is held out of train."""
    missing = [part for part in PARTS if part not in listed]
    dealt = {}
    for split, classes in listed.items():
        files = [file for of_class in classes.values() for file in of_class]
        labels = np.repeat(
            np.array([class_names.index(name) for name in classes], np.int32),
            [len(of_class) for of_class in classes.values()],
        )
        into = [split, *missing] if split == "train" else [split]
        # Shuffled even where nothing is held out, so that the first images are of many classes.
        rows = stratified(labels, len(into) - 1, class_names=class_names, source=root)
        for part, of_part in zip(into, rows, strict=True):
            dealt[part] = [files[row] for row in of_part], labels[of_part]
    return dealt


def _read_once(
    files: list[File], root: Path, cache_dir: Path, size: tuple[int, int] | None, part: Part
):
    of_part = "" if part == WHOLE else f" {part}"
    place = hashlib.sha256(f"{root.resolve()} {size}{of_part}".encode(errors="surrogateescape"))
    cached = cache_dir / f"folder-{place.hexdigest()[:16]}.npz"
    content = hashlib.sha256(str(_VERSION).encode())
    for file in files:
        name = os.fsencode(file.path.relative_to(root))
        content.update(b"%b\0%d %d\0" % (name, file.bytes, file.modified))
    fingerprint = np.frombuffer(content.digest(), np.uint8)

    arrays = cache.read(cached, {"images", "fingerprint"})
    is_cached = arrays is not None and np.array_equal(arrays["fingerprint"], fingerprint)
    if part.all_agree(is_cached) and arrays is not None:  # or all read, and find one size
        return arrays["images"]
    note(f"reading the {len(files):,} images of {root}, this once")
    images = read_images([file.path for file in files], size=size, part=part)
    cache.write(cached, {"images": images, "fingerprint": fingerprint})
    return images


# ---- what the folder holds -------------------------------------------------------------------


def _list_splits(root: Path) -> dict[str, Classes]:
    """The files of each class of each split; all in `train`, unless PATH has a train and a test."""
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        raise UserError(f"dataset folder:{root}: this path {found}, expected a folder of images.")
    names = {folder.name for folder in _folders(root)}
    if {"train", "test"} <= names or (names and names <= FOLDERS.keys()):
        if wrong := _what_is_wrong(names):
            raise UserError(
                f"{root} {wrong}: expected a folder for each class, or train, test and perhaps "
                "validation (or val) with such folders inside."
            )
        listed = {FOLDERS[name]: _list_classes(root / name) for name in sorted(names)}
    else:
        listed = {"train": _list_classes(root)}
    if len(listed["train"]) < 2:
        (only,) = listed["train"]
        raise UserError(f"{root} has one class only, {only}: expected at least 2.")
    for split, classes in listed.items():
        if unknown := classes.keys() - listed["train"].keys():
            raise UserError(f"{root}: class {min(unknown)} is in {split}, but not in train.")
    return listed


def _what_is_wrong(names: set[str]) -> str | None:
    """With folders that are to be splits."""
    if lacking := {"train", "test"} - names:
        return f"has {' and '.join(sorted(names))}, but no {max(lacking)}"
    if {"val", "validation"} <= names:
        return "has both val and validation"
    if others := names - FOLDERS.keys():
        return f"has train and test, and beside them {min(others)}"
    return None


def _list_classes(folder: Path) -> Classes:
    listed = {inner: _list_files(inner) for inner in _folders(folder)}
    if not listed:
        raise UserError(f"{folder} holds no folders: {_EXPECTED}.")
    passed_over = [path for _, others in listed.values() for path in others]
    if passed_over:
        note(
            f"passed over in {folder}: {len(passed_over):,} file{'s' * (len(passed_over) != 1)} "
            f"whose names are not those of images, such as {passed_over[0].relative_to(folder)}"
        )
    for inner, (files, others) in listed.items():
        if not files and not others:
            raise UserError(f"class folder {inner} holds no image.")
    classes = {inner.name: files for inner, (files, _) in listed.items() if files}
    if not classes:
        raise UserError(f"{folder} holds no folder with an image: {_EXPECTED}.")
    return classes


def _list_files(folder: Path) -> tuple[list[File], list[Path]]:
    """The images in a class's folder, and the files whose names say that they are none."""
    files, others = [], []
    for path in _visible(folder):
        try:
            status = path.stat()
        except OSError as error:
            raise UserError(f"cannot read the image {path}: {error.strerror}.") from error
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"class folder {folder} holds the folder {path.name}: {_EXPECTED}.")
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise UserError(f"{path} is no file: {_EXPECTED}.")
        if _is_named_as_an_image(path, otherwise=True):
            files.append(File(path, status.st_size, status.st_mtime_ns))
        else:
            others.append(path)
    return files, others


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder that is to hold nothing else but, say, a README."""
    folders = []
    for path in _visible(folder):
        if path.is_dir():
            folders.append(path)
        elif not path.exists():
            raise UserError(f"link {path} leads nowhere.")
        elif _is_named_as_an_image(path, otherwise=False):
            raise UserError(f"image {path} lies in no class's folder: {_EXPECTED}.")
    return folders


def _is_named_as_an_image(path: Path, *, otherwise: bool) -> bool:
    """Whether a file's name is an image's; `otherwise` where it does not tell."""
    kind, packed = mimetypes.guess_type(path.name)
    if packed is not None:  # x.png.gz
        return False
    return otherwise if kind is None else kind.startswith("image/")


def _visible(folder: Path) -> list[Path]:
    """What a user put into a folder, sorted by name."""
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}.") from error
    return [
        path
        for path in paths
        if not path.name.startswith(".") and path.name.lower() not in _LEFT_BEHIND
    ]
