"""Options that several functions take, checked at their doors."""

from numbers import Real
from typing import Any

import numpy as np
from jax import lax

from .._geometry import listed


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False; `name` is `function: argument`."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a bool, got {value!r}.")


def checked_rate(name: str, value: Any) -> float:
    """A probability below 1; `name` is `function: argument`."""
    value = listed(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    rate = float(value)
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return rate


def check_precision(function: str, value: lax.PrecisionLike) -> None:
    """Refuse what lax takes for no precision of products."""
    if value is None or isinstance(value, lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return
    if isinstance(value, str) and value in lax.DotAlgorithmPreset.__members__:
        return
    each = value if isinstance(value, tuple | list) and len(value) == 2 else (value,)
    kinds = {type(one) for one in each}
    if kinds in ({str}, {lax.Precision}) and all(map(_is_precision, each)):
        return
    wrong = ValueError if kinds <= {str, lax.Precision} else TypeError
    raise wrong(
        f"{function}: precision must be None, a jax.lax.Precision or its name, such as 'highest', "
        f"a pair of either, or a jax.lax.DotAlgorithmPreset, got {value!r}."
    )


def _is_precision(value: Any) -> bool:
    try:
        lax.Precision(value)
    except ValueError:
        return False
    return True
