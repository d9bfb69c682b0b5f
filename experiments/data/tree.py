"""What a user put into a folder: images, other files, folders."""

import mimetypes
import stat
from pathlib import Path
from typing import NamedTuple

from ..command_line import UserError, note, require
from .images import is_image

# Names, in lower case, of files and folders that programs and file systems leave behind.
_LEFT_BEHIND = frozenset(
    {
        *("__macosx", "icon\r"),  # macOS
        *("desktop.ini", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db"),  # Windows
        *("$recycle.bin", "system volume information"),
        *("@eadir", "#recycle", "#snapshot", "lost+found"),  # Synology, ext4
    }
)

Bad = dict[Path, str]  # files that were left out, and the reasons
SKIP = "--skip-bad-files leaves such files out."


class File(NamedTuple):
    """An image file. Size or time changes if the content does."""

    path: Path
    bytes: int
    modified: int  # in nanoseconds


class Tree(NamedTuple):
    """A folder with all that is in it, sorted by name."""

    path: Path
    images: list[File]
    others: list[Path]  # files that are no images
    folders: list["Tree"]

    def all_images(self) -> list[File]:
        """The images in this folder and in the folders below it."""
        return [*self.images, *(file for inner in self.folders for file in inner.all_images())]

    def all_others(self) -> list[Path]:
        """The files that are no images, in this folder and in the folders below it."""
        return [*self.others, *(path for inner in self.folders for path in inner.all_others())]

    def say_ignored(self, others: list[Path]) -> None:
        """Print a note on files that are not used, if there are any."""
        if others:
            plural, example = "s" * (len(others) != 1), others[0].relative_to(self.path)
            note(f"ignored in {self.path}: {len(others):,} other file{plural}, such as {example}")


def walk(folder: Path, bad: Bad | None = None, above: frozenset[Path] = frozenset()) -> Tree:
    """List a folder. Links are followed; hidden files and what programs leave behind are ignored.

    Args:
      folder: The folder.
      bad: Receives what can't be read. By default that is an error.
      above: The folders on the way to this one.

    Raises:
      UserError: A folder or file cannot be read, or a link leads back to a folder above it.
    """
    above |= {folder.resolve()}
    tree = Tree(folder, [], [], [])
    for path in _visible(folder):
        try:
            status = path.stat()
        except OSError as error:
            refuse(path, f"cannot read {path}: {error.strerror}.", bad)
            continue
        if stat.S_ISDIR(status.st_mode):
            require(path.resolve() not in above, f"{path} is a link to a folder above it.")
            tree.folders.append(walk(path, bad, above))
        elif not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            refuse(path, f"{path} is neither a file nor a folder.", bad)
        elif _is_image(path):
            tree.images.append(File(path, status.st_size, status.st_mtime_ns))
        else:
            tree.others.append(path)
    return tree


def refuse(path: Path, message: str, bad: Bad | None) -> None:
    """Leave a file out, or raise the error if nothing may be left out."""
    if bad is None:
        raise UserError(f"{message} {SKIP}")
    bad[path] = message


def _is_image(path: Path) -> bool:
    """Whether a file's name, or else its content, is that of an image."""
    kind, packed = mimetypes.guess_type(path.name)
    if packed is not None:  # x.png.gz
        return False
    return is_image(path) if kind is None else kind.startswith("image/")


def _visible(folder: Path) -> list[Path]:
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise UserError(f"cannot read the folder {folder}: {error.strerror}.") from error
    return [
        path
        for path in paths
        if not path.name.startswith(".") and path.name.lower() not in _LEFT_BEHIND
    ]
