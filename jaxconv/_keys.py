"""Keys of caches: a cache must not take one number for another that it is only equal to.

`1`, `1.0`, `True` and `np.float32(1)` are equal and have one hash, and so have `0.0` and `-0.0`. A
program that is made for one of them is wrong for the others.
"""

from collections.abc import Mapping
from numbers import Number
from typing import Any, TypeAlias

import numpy as np

# For each option its name, its value and its kind.
Key: TypeAlias = tuple[tuple[str, Any, Any], ...]


def kind_of(value: Any) -> Any:
    """What tells a number from others that it is equal to; None for plain integers and no numbers.

    Of a tuple, the kinds of what it holds, or None if each is None.
    """
    if isinstance(value, tuple):
        kinds = tuple(map(kind_of, value))
        return kinds if any(kind is not None for kind in kinds) else None
    if not isinstance(value, Number | np.generic) or type(value) is int:
        return None
    if type(value) is float and not value.is_integer():  # equal to no integer
        return None
    return f"{type(value).__name__} {value}"  # text has the sign of a zero


def kinds_of(options: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The kinds of those options that have one, by name."""
    found = ((name, kind_of(options[name])) for name in sorted(options))
    return tuple((name, kind) for name, kind in found if kind is not None)


def as_key(options: Mapping[str, Any]) -> Key:
    """Options as a key, in the order of their names."""
    return tuple((name, options[name], kind_of(options[name])) for name in sorted(options))


def from_key(key: Key) -> dict[str, Any]:
    """The options that became a key."""
    return {name: value for name, value, _ in key}
