"""Measured choices of algorithms, switched on explicitly.

A `Tuning` says for some contractions on a CPU which algorithm is the fastest. It is frozen and
serialises to JSON. `python -m experiments.benchmark --tune` measures one. To use it, name its file
in the environment variable `JAXCONV_TUNING_FILE`, or open a context:

    with jaxconv.algorithms.tuning.using("tuning.json"):
        step(parameters, batch)

Nothing is read if neither is given. Algorithms round differently, so a tuning changes the last bits
of results. It does so in the same way on every machine that uses the same tuning. The context is
part of the key by which JAX caches compiled programs: a function that was compiled outside is
compiled again inside.
"""

import json
import os
import platform as host
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._geometry import Geometry
from .._spec import Slot
from ._problem import Problem

ENVIRONMENT_VARIABLE = "JAXCONV_TUNING_FILE"

_FORMAT = 3


class Key(NamedTuple):
    """One contraction, with everything that decides which algorithm is fast.

    Attributes:
      problem: The contraction, its sizes and its dtype.
      platform: Name of the platform.
    """

    problem: Problem
    platform: str


@dataclass(frozen=True)
class Machine:
    """Where a tuning was measured."""

    jaxlib: str
    processor: str
    cores: int | None

    @classmethod
    def here(cls) -> "Machine":
        """This machine, with the installed version of jaxlib."""
        return cls(metadata.version("jaxlib"), _processor(), os.cpu_count())


@dataclass(frozen=True)
class Tuning:
    """The fastest algorithms, as measured: immutable and hashable.

    Attributes:
      machine: Where they were measured. This is for information only.
      choices: Pairs of a contraction's key and the name of its fastest algorithm.
      onednn: Whether oneDNN's convolution was tried there with success. The library then calls it
        with that version of jaxlib, even if the version is newer than the library.
    """

    machine: Machine
    choices: tuple[tuple[Key, str], ...] = ()
    onednn: bool = False

    def __hash__(self) -> int:
        return self._hash  # JAX hashes the context at every call of a compiled function

    @cached_property
    def _hash(self) -> int:
        return hash((self.machine, self.choices, self.onednn))

    @cached_property
    def _by_key(self) -> dict[Key, str]:
        return dict(self.choices)

    def choice(self, key: Key) -> str | None:
        """The algorithm for a contraction; None if it was not measured."""
        return self._by_key.get(key)

    def updated(self, choices: Iterable[tuple[Key, str]]) -> "Tuning":
        """A tuning with some choices added, in place of older ones for the same contractions."""
        return replace(self, choices=tuple((self._by_key | dict(choices)).items()))

    def to_json(self) -> str:
        """The tuning as text."""
        content = {
            "format": _FORMAT,
            "machine": asdict(self.machine),
            "onednn": self.onednn,
            "choices": [_to_entry(key, name) for key, name in self.choices],
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Tuning":
        """The tuning that `to_json` wrote.

        Raises:
          ValueError: The text is no tuning, or one of another format.
        """
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {_FORMAT}")
            choices = tuple(_from_entry(entry) for entry in content["choices"])
            found = cls(Machine(**content["machine"]), choices, bool(content["onednn"]))
            hash(found)
            return found
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a tuning: {type(error).__name__}: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """Write the tuning to a file.

        Another process sees the old file or the new one, never a part.

        Raises:
          OSError: The file can't be written.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            draft.write_text(self.to_json(), encoding="utf-8")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Tuning":
        """Read a tuning from a file.

        Raises:
          OSError: The file can't be read.
          ValueError: It holds no tuning.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            return cls.from_json(text)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error


_NOT_SET = Tuning(Machine("", "", None))  # outside of `using`, where the environment decides
_context = jax.make_user_context(_NOT_SET)


@contextmanager
def using(tuning: Tuning | str | os.PathLike | None) -> Iterator[Tuning | None]:
    """Let convolutions that are compiled inside the context use a tuning.

    Args:
      tuning: A `Tuning`, the path of a file that holds one, or None for no tuning at all, whatever
        the environment says.

    Yields:
      The tuning.

    Raises:
      OSError: The file can't be read.
      ValueError: It holds no tuning.
    """
    if isinstance(tuning, str | os.PathLike):
        tuning = Tuning.load(tuning)
    with _context(tuning):
        yield tuning


def active() -> Tuning | None:
    """The tuning of the innermost `using`, else that of the file that the environment names.

    A file that can't be read is reported by a warning, once, and ignored.
    """
    tuning = _context.value
    if tuning is not _NOT_SET:
        return tuning
    path = os.environ.get(ENVIRONMENT_VARIABLE)
    return _of_environment(path) if path else None


def choice(problem: Problem, platform: str) -> str | None:
    """The algorithm that the active tuning names for a contraction; None if it names none.

    The name may be that of an algorithm that no longer exists or applies. The caller checks.
    """
    tuning = active()
    return tuning and tuning.choice(Key(problem, platform))


@lru_cache(maxsize=8)
def _of_environment(path: str) -> Tuning | None:
    try:
        return Tuning.load(path)
    except (OSError, ValueError) as error:
        warnings.warn(
            f"jaxconv: ignoring the tuning that {ENVIRONMENT_VARIABLE} names: {error}",
            stacklevel=2,
        )
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2] for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else host.processor() or host.machine()


def _to_entry(key: Key, name: str) -> dict[str, Any]:
    problem = key.problem._asdict() | {
        "geometry": asdict(key.problem.geometry),
        "dtype": str(key.problem.dtype),
    }
    return problem | {"platform": key.platform, "algorithm": name}


def _from_entry(entry: Mapping[str, Any]) -> tuple[Key, str]:
    numbers = entry["geometry"]
    geometry = Geometry(**{field.name: _tuple(numbers[field.name]) for field in fields(Geometry)})
    names = [entry[name] for name in ("dtype", "platform", "algorithm")]
    n, c, o = sizes = [entry[name] for name in ("n", "c", "o")]
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"not all of {names} are names")
    if not all(isinstance(size, int) for size in sizes):
        raise TypeError(f"not all of {sizes} are sizes")
    dtype, platform, algorithm = names
    problem = Problem(Slot(entry["slot"]), geometry, n, c, o, jnp.dtype(dtype))
    return Key(problem, platform), algorithm


def _tuple(value: Any) -> Any:
    """JSON's lists as the tuples that they were."""
    return tuple(map(_tuple, value)) if isinstance(value, list) else value
