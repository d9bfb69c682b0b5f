"""Checks of arguments that several public functions take.

`name` is always `function: argument`, the start of the error's message.
"""

from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import listed
from .._typing import Array


def as_array(name: str, value: Any) -> Array:
    """A user's operand as a JAX array of numbers."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}.")
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.bool_):
        raise TypeError(f"{name} must hold numbers, got dtype bool.")
    return array


def check_flag(name: str, value: Any) -> None:
    """Refuse a value that is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a bool, got {value!r}.")


def checked_rate(name: str, value: Any) -> float:
    """A probability below 1."""
    value = listed(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    rate = float(value)
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return rate


def check_precision(function: str, value: lax.PrecisionLike) -> None:
    """Refuse a precision that lax does not take."""
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
