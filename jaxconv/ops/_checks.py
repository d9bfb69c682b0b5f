"""Checks of the arguments that several public functions take.

A `name` is always "function: argument". Error messages start with it.
"""

from collections.abc import Container, Iterable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._arguments import listed
from .._typing import Array

# JAX can store these. XLA computes nothing with them, and some operations end the process.
_WITHOUT_ARITHMETIC = ("float6_e2m3fn", "float6_e3m2fn", "int1", "uint1")
# The longest axis of the maps that read each element from a place of its own.
_LISTED = 2**24


def as_array(name: str, value: Any) -> Array:
    """The operand of a user as a JAX array of numbers."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}.")
    dtype = value.dtype
    if not jnp.issubdtype(dtype, jnp.number) or str(dtype) in _WITHOUT_ARITHMETIC:
        raise TypeError(f"{name} must hold numbers, got dtype {dtype}.")
    try:
        return jnp.asarray(value)
    except TypeError:  # NumPy has more dtypes of numbers than JAX
        raise TypeError(f"{name} must hold numbers that JAX has, got dtype {dtype}.") from None


def numeric_map(function: str, x: Any, name: str = "x") -> Array:
    """A feature map as a JAX array. Its dtype has a zero, so that its elements can be summed."""
    x = as_array(f"{function}: {name}", x)
    if x.dtype == jnp.float8_e8m0fnu:
        raise TypeError(
            f"{function}: {name} must have a dtype with a zero and a sign, got {x.dtype}."
        )
    return x


def real_map(function: str, x: Any) -> Array:
    """A feature map as a JAX array whose elements can be compared."""
    x = numeric_map(function, x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(
            f"{function}: x must be real because complex numbers have no order, got {x.dtype}."
        )
    return x


def inexact_map(function: str, x: Any) -> Array:
    """A feature map as a JAX array whose elements can be divided."""
    x = numeric_map(function, x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{function}: x must be floating point, got dtype {x.dtype}.")
    return x


def spatial_rank(function: str, x: Array, name: str = "x") -> int:
    """The number of spatial axes of a feature map, at least one."""
    if x.ndim < 3:
        raise ValueError(f"{function}: {name} must be (n, *spatial, c), got shape {x.shape}.")
    return x.ndim - 2


def check_mixed_sizes(name: str, sizes: Iterable[int]) -> None:
    """Raise a ValueError for an axis whose elements are more than can be listed one by one."""
    largest = max(sizes)
    if largest > _LISTED:
        raise ValueError(
            f"{name} gives the result an axis of {largest} elements, more than {_LISTED}."
        )


def check_flag(name: str, value: Any) -> None:
    """Raise a TypeError unless the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a bool, got {value!r}.")


def is_one_of(value: Any, names: Container[str | None]) -> bool:
    """Whether an option is one of these names. `in` would compare an array element by element."""
    return (value is None or isinstance(value, str)) and value in names


def checked_rate(name: str, value: Any) -> float:
    """A probability below 1, as a float."""
    value = listed(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    rate = float(value)
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}.")
    return rate


def check_precision(function: str, value: lax.PrecisionLike) -> None:
    """Raise a ValueError or TypeError for a precision that lax does not take."""
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
