"""Checks of the functions that forms are made of, and how `pickle` makes operations again."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def check_function(name: str, value: Any) -> None:
    """Raise a TypeError unless the value is a function."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value).__name__}.")


def check_lowerings(function: str, lowerings: Any) -> None:
    """Check `{platform: ...}`.

    Raises:
      TypeError: It is no mapping.
      ValueError: A platform is unknown.
    """
    if not isinstance(lowerings, Mapping):
        raise TypeError(
            f"{function}: lowerings must be a mapping from platforms, got "
            f"{type(lowerings).__name__}."
        )
    for platform in lowerings:
        if platform not in PLATFORMS:
            raise ValueError(
                f"{function}: a platform must be one of {', '.join(PLATFORMS)}, got {platform!r}."
            )


def hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function, or an object that acts as one and can't be hashed, as a key of a cache."""
    return function if getattr(function, "__hash__", None) else partial(function)


def default_name(function: Callable[..., Any]) -> str:
    """The name of an operation that is made of a function."""
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W", "", name.lstrip("_")) or "map"


def described(array: Any) -> str:
    """Dtype and shape of an array, or of what has both, for an error message."""
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def positional_count(function: Callable[..., Any]) -> int:
    """The number of positional parameters of a function.

    Raises:
      TypeError: It is not fixed.
    """
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        parameters = ()
    found = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    if not found or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise TypeError(f"{default_name(function)}: give the number of slots of the form.")
    return len(found)


# How `pickle` makes operations again: by the functions that they were made of.

_MADE: dict[Any, tuple[Any, ...]] = {}


def remember(
    maker: Callable[..., Any],
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
    made: Sequence[Any],
) -> None:
    """Remember that `maker(*arguments, **options)` made these operations, for `pickle`.

    A copy in the same process is the operation itself.
    """
    given = {name: value for name, value in options.items() if value is not None}
    recipe = maker, _frozen(arguments), _frozen(given)
    try:
        _MADE.setdefault(recipe, tuple(made))
    except TypeError:  # a function that can't be hashed
        return
    for index, operation in enumerate(made):
        operation.origin = again, (*recipe, index)


def again(maker: Callable[..., Any], arguments: Any, options: Any, index: int) -> Any:
    """The operation that was pickled."""
    recipe = maker, arguments, options
    if recipe not in _MADE:
        maker(*_thawed(arguments), **_thawed(options))
    return _MADE[recipe][index]


class _Frozen(tuple):
    """The items of a mapping, hashable."""


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _Frozen((key, _frozen(inner)) for key, inner in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, tuple | list) else value


def _thawed(value: Any) -> Any:
    if isinstance(value, _Frozen):
        return {key: _thawed(inner) for key, inner in value}
    return tuple(map(_thawed, value)) if isinstance(value, tuple) else value
