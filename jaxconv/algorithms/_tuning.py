"""Which algorithm was the fastest on this machine: a small file, read once, never in the way.

`python -m experiments.benchmark --tune` measures and writes it; the selection asks `choice`. The
file is JSON, one list entry a corner that was measured:

    {"format": 1,
     "machine": {"jaxlib": "0.12.0", "processor": "…", "cores": 2},
     "choices": [{"slot": "x", "geometry": {…}, "sizes": [500, 32, 32], "dtype": "float32",
                  "platform": "cpu", "algorithm": "strips"}]}

An entry holds all that decides which algorithm is fast, and the header what the entries hold for: a
file of another machine or another jaxlib is as good as none. Nothing that stands in the file, or
that the file system says, can break a convolution.
"""

import json
import os
import platform as host
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict, fields
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .._geometry import Geometry

_FORMAT = 1

Sizes: TypeAlias = tuple[int, int, int]  # n, c and o


class Key(NamedTuple):
    """One corner of one convolution: everything that decides which algorithm is fast."""

    slot: str
    geometry: Geometry
    sizes: Sizes
    dtype: str
    platform: str


def choice(slot: str, geometry: Geometry, sizes: Sizes, dtype: str, platform: str) -> str | None:
    """The algorithm that was measured to be the fastest; None where nothing was measured.

    Reads the file at the first call of a process. A name in it may be that of an algorithm which no
    longer exists or applies: the caller checks.
    """
    return _choices().get(Key(slot, geometry, sizes, dtype, platform))


def remember(entries: Iterable[tuple[Key, str]]) -> Path:
    """Add names of algorithms to the file, in place of older ones for the same corner.

    Entries of another machine or jaxlib are dropped. Other processes see the old file or the new
    one, never half of one; this process knows the new entries at once.

    Returns:
      The file's path.

    Raises:
      OSError: It can't be written.
    """
    file = path()
    choices = _read(file) | dict(entries)
    content = {
        "format": _FORMAT,
        "machine": machine(),
        "choices": [_to_json(key, name) for key, name in choices.items()],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=file.parent, prefix=file.name, encoding="utf-8", delete=False
    ) as draft:
        try:
            json.dump(content, draft)
            draft.close()
            os.replace(draft.name, file)
        except BaseException:
            os.unlink(draft.name)
            raise
    forget()
    return file


def forget() -> None:
    """Have the next `choice` read the file again."""
    _choices.cache_clear()


def path() -> Path:
    """`JAXCONV_TUNING_FILE`, by default jaxconv/tuning.json in the user's cache folder."""
    named = os.environ.get("JAXCONV_TUNING_FILE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "jaxconv" / "tuning.json"


@lru_cache(maxsize=1)
def machine() -> dict[str, Any]:
    """What the entries of a file hold for."""
    return {
        "jaxlib": metadata.version("jaxlib"),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else host.processor() or host.machine()


@lru_cache(maxsize=1)
def _choices() -> dict[Key, str]:
    return _read(path())


def _read(file: Path) -> dict[Key, str]:
    """The entries of a file that hold here; none, and a warning, where it can't be read."""
    try:
        if not file.exists():
            return {}
        content = json.loads(file.read_text(encoding="utf-8"))
        if (content["format"], content["machine"]) != (_FORMAT, machine()):
            return {}
        return dict(_from_json(entry) for entry in content["choices"])
    except Exception as error:  # whatever is wrong with it, convolutions go on
        warnings.warn(
            f"jaxconv: ignoring the tuning file {file}, which can't be read "
            f"({type(error).__name__}: {error}); python -m experiments.benchmark --tune writes it.",
            stacklevel=2,
        )
        return {}


def _to_json(key: Key, name: str) -> dict[str, Any]:
    return key._asdict() | {"geometry": asdict(key.geometry), "algorithm": name}


def _from_json(entry: dict[str, Any]) -> tuple[Key, str]:
    numbers = entry["geometry"]
    geometry = Geometry(**{field.name: _tuple(numbers[field.name]) for field in fields(Geometry)})
    n, c, o = entry["sizes"]
    strings = [entry[name] for name in ("slot", "dtype", "platform", "algorithm")]
    if not all(isinstance(value, str) for value in strings):
        raise TypeError(f"not all of {strings} are names")
    slot, dtype, platform, algorithm = strings
    return Key(slot, geometry, (n, c, o), dtype, platform), algorithm


def _tuple(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
