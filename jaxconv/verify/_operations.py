"""How far each primitive's result may be from exact: `eps · terms · scale`, see `_rounding.py`."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from . import _constants
from ._interpreter import bind

FINE = float(np.finfo(np.float64).eps)

# Primitives that only choose, move or compare.
EXACT = frozenset({
    *("abs", "and", "argmax", "argmin", "broadcast_in_dim", "ceil", "clamp", "concatenate"),
    *("conj", "copy", "copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "eq"),
    *("expand_dims", "floor", "gather", "ge", "gt", "imag", "iota", "is_finite", "le", "lt"),
    *("max", "min", "ne", "neg", "not", "optimization_barrier", "or", "pad", "pmax", "pmin"),
    *("pvary", "real", "reduce_and", "reduce_max", "reduce_min", "reduce_or"),
    *("reduce_window_max", "reduce_window_min", "reshape", "rev", "round", "scatter"),
    *("select_n", "sign", "slice", "sort", "split", "squeeze", "stop_gradient", "transpose"),
    *("xor", "select_and_gather_add", "tie_in", "reduce_precision", "bitcast_convert_type"),
    *("copy_start"),
})  # fmt: skip
# Rounded once, to the nearest.
_ROUNDED_ONCE = frozenset(
    ["add", "sub", "mul", "div", "sqrt", "add_any", "convert_element_type", "square"]
)


def unit(dtype: Any) -> float:
    """The distance from 1 to the next number of a floating dtype."""
    return float(jnp.finfo(dtype).eps)


def error(
    equation: Any, operands: Sequence, result: Any, aval: Any, is_fine: bool, coarsest: float
) -> tuple:
    """(1) for one operation: a contraction's scale, factors of result and scale, and a least.

    Where the scale is the result's own size, its factor is None.
    """
    if is_fine or not is_float(aval):
        own, tiny = FINE, 0.0
    else:
        # What is smaller than the smallest normal number is flushed to zero.
        own, tiny = min(unit(aval.dtype), coarsest), float(jnp.finfo(aval.dtype).tiny)
    name = equation.primitive.name
    if name == "convert_element_type":
        source = equation.invars[0].aval
        is_rounded = not is_fine and is_float(source) and unit(source.dtype) < own
        return result, own * is_rounded, None, 0.0
    if name in _ROUNDED_ONCE:
        rounded = _is_rounded(name, operands)
        return result, own * rounded, None, tiny * rounded
    if name in _FUNCTIONS:
        return result, _constants.UNITS_OF_FUNCTIONS * own, None, tiny
    if name in _SUMS:
        # The first addition of two numbers that are not zero is the first that rounds.
        terms = _on_sums(equation, operands, lambda a: (a != 0) * 1.0, result) - 1
        terms = (terms > 0) * terms
        scale = _on_sums(equation, operands, abs, result)
        return scale, 0.0, terms * own, terms * tiny
    terms = _terms(equation)
    inner = FINE if is_fine else _unit_of_sums(equation, own)
    return _on_sums(equation, operands, abs, result), own, terms * inner, terms * tiny


def _is_rounded(name, operands):
    """Where an operation isn't exact: nothing is added, or a power of two multiplied, exactly."""
    if any(isinstance(a, Tracer) for a in operands):
        return 1.0
    a, *b = (np.asarray(a) for a in operands)
    if name in ("add", "sub", "add_any"):
        return ((a != 0) & (b[0] != 0)) * 1.0
    if name in ("mul", "div"):
        exact = _is_power_of_two(b[0])
        return 1.0 - (exact | _is_power_of_two(a) if name == "mul" else exact)
    return np.ones(a.shape)


def _is_power_of_two(a):
    return (
        (np.frexp(np.abs(a))[0] == 0.5) | (a == 0)
        if a.dtype == np.float64
        else np.zeros(a.shape, bool)
    )


# Sums of numbers of which many may be zero.
_SUMS = frozenset(
    [
        "reduce_sum",
        "cumsum",
        "reduce_window_sum",
        "select_and_scatter_add",
        "scatter-add",
        "scatter_add",
    ]
)
# Each contraction: how many products an element of its result sums.
_TERMS: dict[str, Callable[[Any], int]] = {
    "dot_general": lambda e: math.prod(
        e.invars[0].aval.shape[axis] for axis in e.params["dimension_numbers"][0][0]
    ),
    "conv_general_dilated": lambda e: (
        e.invars[1].aval.size // e.invars[1].aval.shape[e.params["dimension_numbers"].rhs_spec[0]]
    ),
}
# Primitives that round each element of their result a few times, whatever their operands are.
_FUNCTIONS = frozenset({
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh"),
    *("cumlogsumexp", "cumprod", "cummax", "cummin", "digamma", "erf", "erf_inv", "erfc"),
    *("exp", "exp2", "expm1", "igamma", "igammac", "lgamma", "log", "log1p", "logistic"),
    *("pow", "rem", "rsqrt", "sin", "sinh", "tan", "tanh", "reduce_prod", "nextafter"),
    *("complex", "random_bits", "integer_pow", "pure_callback", "io_callback", "polygamma"),
    *("reciprocal", "psum", "all_gather", "all_to_all", "ppermute", "cholesky", "eig"),
    *("eigh", "lu", "qr", "svd", "triangular_solve", "fft", "tridiagonal_solve", "schur"),
    *("householder_product"),
})  # fmt: skip


def _terms(equation):
    """How many products an element sums."""
    name = equation.primitive.name
    if name in _TERMS:
        return max(_TERMS[name](equation), 1)
    # A primitive of somebody's own: a contraction, as far as anyone knows, as long as can be.
    sizes = [v.aval.size for v in equation.invars if is_float(v.aval)]
    return max(min(sizes, default=1), 1)


def _on_sums(equation, operands, change, result):
    """The operation on changed operands: their magnitudes, or 1 for each that isn't zero."""
    changed = [change(a) if jnp.issubdtype(a.dtype, jnp.inexact) else a for a in operands]
    if equation.primitive.name == "select_and_scatter_add":  # the second says where to
        changed[1] = operands[1]
    try:
        found = abs(bind(equation, changed)[0][0])
    except Exception:  # a primitive of somebody's own, which may do anything
        return abs(result)
    found = found if isinstance(found, Tracer) else np.asarray(found)
    return found if found.shape == result.shape else abs(result)


def _unit_of_sums(equation, own):
    """The unit in which a contraction adds up.

    Products of half-precision matrices are summed in float32 on every platform. Accelerators
    multiply float32 with fewer digits unless asked for all of them.
    """
    name = equation.primitive.name
    if name not in ("dot_general", "conv_general_dilated"):
        return own
    single = unit(jnp.float32)
    if own > single:
        return single
    precision = str(equation.params.get("precision")).upper()
    platform = jax.default_backend()
    if own == single and platform != "cpu" and "HIGHEST" not in precision:
        return 2.0**-7 if platform == "tpu" else 2.0**-10  # bfloat16, TF32
    return own


def is_float(aval: Any) -> bool:
    """Whether an array is of floating-point numbers."""
    return jnp.issubdtype(getattr(aval, "dtype", np.dtype(bool)), jnp.floating)


# Primitives whose result moves smoothly with their operands, wherever it is finite.
_SMOOTH = frozenset({
    *("add", "add_any", "sub", "mul", "neg", "div", "square", "integer_pow", "rsqrt"),
    *("exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "sin", "cos", "erf", "erfc"),
    *("dot_general", "conv_general_dilated", "reduce_sum", "cumsum", "reduce_window_sum"),
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "pad"),
    *("concatenate", "rev", "copy", "copy_p", "convert_element_type", "stop_gradient"),
})  # fmt: skip


def is_smooth(equations: Iterable[Any]) -> bool:
    """Whether equations have no kinks: False where it isn't known."""
    return all(
        e.primitive.name in _SMOOTH and all(is_float(v.aval) for v in e.outvars) for e in equations
    )
