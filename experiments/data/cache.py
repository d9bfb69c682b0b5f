"""Decoded images, kept as uncompressed `.npz` files that may be deleted at any time."""

import zipfile
import zlib
from collections.abc import Set
from pathlib import Path

import numpy as np
import platformdirs

from ..command_line import note
from ..command_line.files import written_whole

# The errors that NumPy raises for a damaged file, depending on the position of the damage.
UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def default_cache_dir() -> Path:
    """The user's cache folder, such as `~/.cache/jaxconv`."""
    return platformdirs.user_cache_path("jaxconv", appauthor=False)


def read(file: Path, keys: Set[str] | None = None) -> dict[str, np.ndarray] | None:
    """The cached arrays, all or those of `keys`; None if there are none or they are damaged."""
    try:
        with file.open("rb") as opened, np.load(opened) as archive:  # zipfile checks the CRC
            return {key: archive[key] for key in (archive.files if keys is None else keys)}
    except UNREADABLE:
        return None


def write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays. A failure is a note, because it only costs time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as opened:
            np.savez(opened, allow_pickle=False, **arrays)
    except OSError as error:
        note(f"decoded images not kept: {error}")
