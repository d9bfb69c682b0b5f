"""Arrays that took long to decode, kept as uncompressed `.npz` files that anyone may delete."""

import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Set
from pathlib import Path

import numpy as np

# What NumPy raises, depending on the place of the damage, at a file that is not what it was.
UNREADABLE = (
    *(OSError, EOFError, KeyError, ValueError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def default_cache_dir() -> Path:
    """The platform's folder for files that a program can make again."""
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        root = Path(xdg)
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        root = Path.home() / ".cache"
    return root / "jaxconv"


def read(file: Path, keys: Set[str]) -> dict[str, np.ndarray] | None:
    """The cached arrays, or None where there are none or they are damaged."""
    try:
        with file.open("rb") as opened, np.load(opened) as archive:  # checks the CRC as it reads
            return {key: archive[key] for key in keys}
    except UNREADABLE:
        return None


def write(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write beside the target and rename, so that no reader ever sees half a file."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=file.parent))
        try:
            np.savez(folder / file.name, allow_pickle=False, **arrays)
            (folder / file.name).replace(file)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:  # only time is lost
        print(f"note: decoded images not kept: {error}", file=sys.stderr)
