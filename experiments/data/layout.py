"""The layout of a folder of images: which are its splits and its classes. See `folder`."""

from pathlib import Path

from ..command_line import UserError, note, require
from . import labels
from .dataset import SPLITS, UNLABELLED
from .labels import Classes
from .tree import Bad, Tree, walk

_EXPECTED = (
    "expected PATH/CLASS/image files, the same under PATH/train and PATH/test, or a labels.csv"
)


def find(root: Path, *, needs_labels: bool = True, bad: Bad | None = None) -> dict[str, Classes]:
    """The images of a folder by split and class; without splits, all are in "train".

    Args:
      root: The folder.
      needs_labels: Whether the images must have classes. Otherwise images in any folders will do,
        and have the class `UNLABELLED` if the folders are not those of classes.
      bad: Receives the files that can't be read. By default that is an error.

    Raises:
      UserError: The folder is missing or has another layout.
    """
    found = "does not exist" if not root.exists() else "is a file"
    require(
        root.is_dir(), f"dataset folder:{root}: this path {found}, expected a folder of images."
    )
    tree = _unwrapped(walk(root, bad), but=SPLITS)
    splits = {split: _unwrapped(of_split) for split, of_split in _splits(tree).items()}
    has_classes = _have_classes(splits)
    if needs_labels and (table := _table(tree, has_classes)):
        return labels.read(table, tree, bad)
    if needs_labels or has_classes:
        return {split: _classes(of_split, bad) for split, of_split in splits.items()}
    require(bool(splits["train"].all_images()), f"{splits['train'].path} holds no images.")
    for of_split in splits.values():
        of_split.say_ignored(of_split.all_others())
    return {split: {UNLABELLED: of_split.all_images()} for split, of_split in splits.items()}


def _unwrapped(tree: Tree, but=()) -> Tree:
    """The folder that holds everything, if an archive was unpacked into a folder of its own."""
    holding = [folder for folder in tree.folders if folder.all_images()]
    if tree.images or len(holding) != 1 or _table(tree) or holding[0].path.name.lower() in but:
        return tree
    (inner,) = holding
    if inner.images and not _table(inner):  # a class
        return tree
    note(f"reading {inner.path}, the only folder with images in {tree.path}")
    return _unwrapped(inner, but)


def _splits(tree: Tree) -> dict[str, Tree]:
    """The folders of the splits; if there are none, the whole folder as "train"."""
    splits: dict[str, Tree] = {}
    others = []
    for folder in tree.folders:
        if folder.all_images():
            name = SPLITS.get(folder.path.name.lower())
            if name is None:
                others.append(folder.path.name)
            elif name in splits:
                both = f"{splits[name].path.name} and {folder.path.name}"
                raise UserError(f"{tree.path} has both {both}: expected one {name} split.")
            else:
                splits[name] = folder
    if not splits or (others and (len(splits) == 1 or "train" not in splits)):
        return {"train": tree}  # a class may have the name of a split
    has = " and ".join(sorted(folder.path.name for folder in splits.values()))
    require("train" in splits, f"{tree.path} has {has}, but no train: expected one.")
    if others:
        note(f"ignored in {tree.path} beside {has}: {', '.join(others)}")
    return splits


def _table(tree: Tree, has_classes: bool = True) -> Path | None:
    """The folder's labels.csv, or the only table if nothing else tells the classes."""
    tables = [path for path in tree.others if path.suffix.lower() in (".csv", ".tsv")]
    named = [path for path in tables if path.stem.lower() == "labels"]
    if named:
        return named[0]
    return tables[0] if len(tables) == 1 and not has_classes else None


def _have_classes(splits: dict[str, Tree]) -> bool:
    """Whether all images lie in the folders of two or more classes, which "train" has."""

    def names(tree):
        return {folder.path.name for folder in tree.folders if folder.images}

    known = names(splits["train"])
    is_fine = all(
        names(tree) <= known and not tree.images and not _too_deep(tree) for tree in splits.values()
    )
    return is_fine and len(known) > 1


def _too_deep(tree: Tree) -> list[Path]:
    """The folders with images in the folders of classes."""
    deeper = [inner for folder in tree.folders for inner in folder.folders]
    return [inner.path for inner in deeper if inner.all_images()]


def _classes(tree: Tree, bad: Bad | None) -> Classes:
    if table := _table(tree):
        return labels.read(table, tree, bad)["train"]
    for file in tree.images:
        raise UserError(f"image {file.path} lies in no class's folder: {_EXPECTED}.")
    for inner in _too_deep(tree):
        raise UserError(f"class folder {inner.parent} holds the folder {inner.name}: {_EXPECTED}.")
    classes = {folder.path.name: folder.images for folder in tree.folders if folder.images}
    others = [path.name for path in (*tree.others, *(folder.path for folder in tree.folders))]
    holds = ", ".join(others[:3]) or "nothing"
    require(bool(classes), f"{tree.path} holds no folder with an image, but {holds}: {_EXPECTED}.")
    tree.say_ignored([path for folder in tree.folders for path in folder.all_others()])
    if empty := [folder.path.name for folder in tree.folders if not folder.images]:
        note(f"ignored in {tree.path}: no image in {', '.join(empty)}")
    return classes
