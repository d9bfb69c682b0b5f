"""Image files in folders: `folder:PATH`.

A folder for each class, which has the class's name, or a table, in one of these layouts:

    PATH/cat/1.png …  PATH/dog/a.jpg …       70 % train, 15 % validation, 15 % test of each class

    PATH/train/cat/1.png …                   the given splits; a missing `validation` or `test` is
    PATH/validation/cat/7.png …              15 % of each class of `train`. The names may be those
    PATH/test/cat/9.png …                    of `SPLITS`, in any case

    PATH/labels.csv  PATH/any/1.png …        see `labels`

Where no labels are needed, any folders will do. Classes are sorted by name. All of this may lie in
one more folder, as after unpacking an archive twice. Links are followed.

These are ignored: hidden files and folders, what archives, cameras and file systems leave behind
(`__MACOSX`, `@eaDir`, `lost+found`, `Thumbs.db`), and files beside the folders of the classes that
are not images, such as a README. Files in a class's folder that are not images, such as notes.txt,
folders without images, and folders beside those of the splits are ignored with a note.

The folder readers of TensorFlow Datasets and torchvision need TensorFlow and PyTorch.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..command_line import UserError, note, require
from . import cache, layout
from .dataset import PARTS, Dataset, Split, stratified
from .images import BadFile, read_images, unreadable
from .labels import Classes
from .part import WHOLE, Part
from .tree import SKIP, Bad, File

_VERSION = 3  # of `read_images`: another version invalidates the cached arrays


class _Place(NamedTuple):
    root: Path
    cache_dir: Path
    part: Part


def load(
    root: Path,
    *,
    cache_dir: Path,
    image_size: tuple[int, int] | None,
    part: Part = WHOLE,
    needs_labels: bool = True,
    skip_bad_files: bool = False,
) -> Dataset:
    """Read the images of a folder. The cache is used until a file changes.

    Args:
      root: The folder.
      cache_dir: The folder for decoded arrays.
      image_size: `(height, width)`, or None for no resizing; see `read_images`.
      part: The images to read.
      needs_labels: Whether images without classes, or of one class, are an error.
      skip_bad_files: Leave out files that cannot be read, and list them in notes.

    Raises:
      UserError: The folder is missing or has another layout, a file is no image, or a class has too
        few images.
    """
    bad: Bad | None = {} if skip_bad_files else None
    listed = layout.find(root, needs_labels=needs_labels, bad=bad)
    at = _Place(root, cache_dir, part)
    if bad is not None:
        listed = _without_bad(listed, bad, at)
    class_names = tuple(listed["train"])
    if needs_labels:
        only = f"{root} has one class only, {class_names[0]}: expected at least 2."
        require(len(class_names) >= 2, only)
    for split, classes in listed.items():
        for name in sorted(classes.keys() - listed["train"].keys()):
            raise UserError(f"{root}: class {name} is in {split}, but not in train.")
    dealt = _deal(listed, class_names, root)
    files = [dealt[split][0][part.rows(len(dealt[split][0]))] for split in PARTS]
    images = _read([file for of in files for file in of], at, image_size)
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


def _read(files: list[File], at: _Place, size: tuple[int, int] | None) -> np.ndarray:
    def read():
        note(f"reading the {len(files):,} images of {at.root}; later runs use the cache")
        try:
            return {"images": read_images([file.path for file in files], size=size, part=at.part)}
        except BadFile as error:
            raise UserError(f"{error} {SKIP}") from error

    return _once(str(size), files, at, read)["images"]


def _once(
    what: str, files: list[File], at: _Place, compute: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays that `compute` returns, or returned when it last saw these files."""
    place = f"{at.root.resolve()} {what}{at.part.suffix}".encode(errors="surrogateescape")
    cached = at.cache_dir / f"folder-{hashlib.sha256(place).hexdigest()[:16]}.npz"
    content = hashlib.sha256(str(_VERSION).encode())
    for file in files:
        name = os.fsencode(file.path.relative_to(at.root))
        content.update(b"%b\0%d %d\0" % (name, file.bytes, file.modified))
    fingerprint = np.frombuffer(content.digest(), np.uint8)

    arrays = cache.read(cached)
    is_cached = arrays is not None and np.array_equal(arrays.get("fingerprint"), fingerprint)
    # Either no process computes, or all do: they exchange arrays.
    if at.part.all_agree(is_cached) and arrays is not None:
        return arrays
    arrays = compute()
    cache.write(cached, arrays | {"fingerprint": fingerprint})
    return arrays


def _without_bad(listed: dict[str, Classes], bad: Bad, at: _Place) -> dict[str, Classes]:
    """The files that can be read. The others are listed in notes, those of `bad` with them."""
    files = [file for classes in listed.values() for of in classes.values() for file in of]
    share = files[at.part.rows(len(files))]

    def check():
        note(f"checking the {len(files):,} images of {at.root}")
        found = unreadable([file.path for file in share])
        reasons = np.array([found.get(file.path, "") for file in share], np.str_)
        return {"reasons": reasons, "is_bad": at.part.gather(reasons != "")}

    checked = _once("check", files, at, check)
    for reason in (*bad.values(), *filter(None, checked["reasons"].tolist())):
        note(f"left out: {reason}")
    is_bad = {files[row] for row in np.flatnonzero(checked["is_bad"])}
    kept: dict[str, Classes] = {}
    for split, classes in listed.items():
        for name, of_class in classes.items():
            if good := [file for file in of_class if file not in is_bad]:
                kept.setdefault(split, {})[name] = good
    require("train" in kept, f"{at.root} has no training image that can be read.")
    return kept
