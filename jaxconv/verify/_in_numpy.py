"""Primitives of small arrays in NumPy, which takes a tenth of JAX's time to call them.

A function is evaluated some hundred times, one primitive after the other. Of a few hundred numbers
each, nearly all of that time goes into handing them over. In float64 both round alike, or within
the few units that `_operations.py` allows a function.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.core import Tracer

# Above that JAX's several threads are worth the call.
_MOST_NUMBERS = 1 << 14

_Array = np.ndarray


def _rsqrt(x: _Array) -> _Array:
    return 1 / np.sqrt(x)


# Of floating arrays alone: some mean something else for integers.
_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"div": np.divide, "max": np.maximum, "min": np.minimum, "pow": np.power},
    **{"neg": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square},
    **{"sqrt": np.sqrt, "rsqrt": _rsqrt, "exp": np.exp, "expm1": np.expm1, "log": np.log},
    **{"log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "floor": np.floor},
    **{"ceil": np.ceil, "is_finite": np.isfinite, "eq": np.equal, "ne": np.not_equal},
    **{"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal},
}


def _broadcast(x: _Array, params: Mapping[str, Any]) -> _Array:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def _reshape(x: _Array, params: Mapping[str, Any]) -> _Array:
    order = params["dimensions"]  # None is the order that there is, which NumPy means otherwise
    return (x if order is None else x.transpose(order)).reshape(params["new_sizes"])


def _product(a: _Array, b: _Array, params: Mapping[str, Any]) -> _Array:
    (over_a, over_b), (batch_a, batch_b) = params["dimension_numbers"]
    free_a, free_b = _others(a, over_a, batch_a), _others(b, over_b, batch_b)
    sizes = [a.shape[axis] for axis in batch_a]
    inner = math.prod(a.shape[axis] for axis in over_a)
    rows = [a.shape[axis] for axis in free_a]
    columns = [b.shape[axis] for axis in free_b]
    left = a.transpose(*batch_a, *free_a, *over_a).reshape(*sizes, math.prod(rows), inner)
    right = b.transpose(*batch_b, *over_b, *free_b).reshape(*sizes, inner, math.prod(columns))
    return (left @ right).reshape([*sizes, *rows, *columns])


def _others(x: _Array, *taken: Sequence[int]) -> list[int]:
    return [axis for axis in range(x.ndim) if not any(axis in axes for axes in taken)]


# Of floating arrays and the parameters of the equation.
_WITH_PARAMETERS: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "dot_general": _product,
    "integer_pow": lambda x, params: np.power(x, float(params["y"])),
    "reduce_max": lambda x, params: x.max(params["axes"]),
    "reduce_min": lambda x, params: x.min(params["axes"]),
    "reduce_sum": lambda x, params: x.sum(params["axes"]),
    "reshape": _reshape,
    "squeeze": lambda x, params: np.squeeze(x, params["dimensions"]),
    "transpose": lambda x, params: x.transpose(params["permutation"]),
}


def in_numpy(equation: Any, operands: Sequence[Any]) -> _Array | None:
    """The result of an equation on wide operands, None where it is left to JAX."""
    name, params = equation.primitive.name, equation.params
    function = _ELEMENTWISE.get(name) or _WITH_PARAMETERS.get(name)
    if function is None:
        return None
    for value in operands:
        if isinstance(value, Tracer) or value.dtype != np.float64:
            return None
        if not 0 < value.size <= _MOST_NUMBERS:  # of nothing NumPy knows no largest
            return None
    arrays = [np.asarray(value) for value in operands]
    options = (params,) if name in _WITH_PARAMETERS else ()
    with np.errstate(all="ignore"):
        return np.asarray(function(*arrays, *options))
