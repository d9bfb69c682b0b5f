"""A table beside the images that names the class of each: `labels.csv`.

    file,label               one column has the images' names, with or without folder and suffix;
    images/1.png,cat         one is called label, class or the like, or is the only other;
    images/2.png,dog         one may be called split, and says train, validation or test

Commas, semicolons, tabs or bars separate the columns. The row of titles may be missing.
"""

import csv
from pathlib import Path, PurePosixPath

from ..command_line import UserError, note, require
from .dataset import SPLITS
from .tree import Bad, File, Tree, refuse

Classes = dict[str, list[File]]
Names = dict[str, File | None]  # None if several files have the name

_LABEL = ("label", "labels", "class", "class_name", "classname", "category", "target")
_SPLIT = ("split", "set", "subset", "partition")


def read(table: Path, tree: Tree, bad: Bad | None = None) -> dict[str, Classes]:
    """The images that a table names, by split and class; without splits, all are in "train".

    Args:
      table: The file.
      tree: The folder that holds the images.
      bad: Receives the files that the table names and the folder lacks. By default that is an
        error.

    Raises:
      UserError: The table cannot be read or understood, or a file is not there.
    """
    rows = _rows(table)
    files, place = _file_column(rows, table, tree)
    suffixes = {file.path.suffix for file in tree.all_images()}
    has_titles = files[0] is None and PurePosixPath(rows[0][place]).suffix not in suffixes
    titles = [title.strip().lower() for title in rows[0]] if has_titles else [""] * len(rows[0])
    label, split = _other_columns(titles, place, table)
    chosen: dict[File, tuple[str, str]] = {}
    for row, file in list(zip(rows, files, strict=True))[has_titles:]:
        named, name = row[place], row[label].strip()
        part = "train" if split is None else SPLITS.get(row[split].strip().lower())
        if file is None:
            refuse(
                tree.path / named, f"{table} names {named}, which is not one of its images.", bad
            )
            continue
        if part is None:
            expected = "expected train, validation or test"
            raise UserError(f"{table}: {named} is in the split {row[split]!r}, {expected}.")
        require(bool(name), f"{table}: {named} has no label.")
        is_same = chosen.setdefault(file, (part, name)) == (part, name)
        require(is_same, f"{table} has two rows for {named}, which differ.")
    if others := len(tree.all_images()) - len(chosen):
        note(f"ignored: {others:,} of the images in {tree.path}, which {table.name} does not name")
    classes: dict[str, Classes] = {}
    for file, (part, name) in sorted(chosen.items(), key=lambda item: (item[1], item[0])):
        classes.setdefault(part, {}).setdefault(name, []).append(file)
    require("train" in classes, f"{table} names no image to train with.")
    return classes


def _rows(table: Path) -> list[list[str]]:
    try:
        text = table.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot read {table} as text in UTF-8: {error}.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    require(bool(lines), f"{table} is empty.")
    rows = list(csv.reader(lines, delimiter=max(",;\t|", key=lines[0].count)))
    expected = "expected the file and the label of one image in each row"
    require(len(rows[0]) > 1, f"{table} has one column: {expected}.")
    for row in rows:
        is_fine = len(row) == len(rows[0])
        require(is_fine, f"{table} has {len(rows[0])} columns, but not in {row}: {expected}.")
    return rows


def _file_column(rows: list[list[str]], table: Path, tree: Tree) -> tuple[list[File | None], int]:
    """The file that each row names, and the column."""
    images = tree.all_images()
    by_path: Names = {file.path.relative_to(tree.path).as_posix(): file for file in images}
    by_name, by_stem = Names(), Names()
    for file in images:
        for names, name in ((by_name, file.path.name), (by_stem, file.path.stem)):
            names[name] = None if name in names else file

    def found(cell: str, *known: Names) -> File | None:
        path = PurePosixPath(cell.strip().replace("\\", "/"))
        keys = path.as_posix(), path.name
        return next((names[key] for names in known for key in keys if key in names), None)

    for known in ((by_path, by_name), (by_stem,)):
        columns = [[found(cell, *known) for cell in column] for column in zip(*rows, strict=True)]
        # Classes may agree with the names of a few files: 1 with 1.png.
        counts = [len(set(column) - {None}) for column in columns]
        if max(counts):
            place = counts.index(max(counts))
            return columns[place], place
    raise UserError(f"{table} has no column that names images in {tree.path}.")


def _other_columns(titles: list[str], files: int, table: Path) -> tuple[int, int | None]:
    """The columns of the labels and of the splits."""
    split = next((titles.index(name) for name in _SPLIT if name in titles), None)
    label = next((titles.index(name) for name in _LABEL if name in titles), None)
    others = [place for place in range(len(titles)) if place not in (files, split)]
    if label is None and len(others) > 1:
        shown = ", ".join(titles) if any(titles) else "no titles"
        raise UserError(f"{table} has several columns ({shown}): call one of them label.")
    return others[0] if label is None else label, split
