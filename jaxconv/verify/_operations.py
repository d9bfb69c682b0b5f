"""How far each primitive's result may be from exact: `eps · terms · scale`, see `_rounding.py`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from . import _constants
from ._wide import bind, is_inexact

FINE = float(np.finfo(np.float64).eps)

# Primitives that only choose, move or compare.
EXACT = frozenset({
    *("abs", "and", "argmax", "argmin", "broadcast_in_dim", "ceil", "clamp", "concatenate"),
    *("conj", "copy", "copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "eq"),
    *("expand_dims", "floor", "gather", "ge", "gt", "imag", "iota", "is_finite", "le", "lt"),
    *("max", "min", "ne", "neg", "not", "optimization_barrier", "or", "pad", "pmax", "pmin"),
    *("pvary", "real", "reduce_and", "reduce_max", "reduce_min", "reduce_or"),
    *("reduce_window_max", "reduce_window_min", "reshape", "rev", "round", "scatter"),
    *("scatter_min", "scatter_max", "scatter-min", "scatter-max", "cummax", "cummin", "top_k"),
    *("approx_top_k", "all_gather", "all_to_all", "ppermute"),
    *("select_n", "sign", "slice", "sort", "split", "squeeze", "stop_gradient", "transpose"),
    *("xor", "select_and_gather_add", "tie_in", "reduce_precision", "bitcast_convert_type"),
    *("copy_start"),
})  # fmt: skip
# The largest whole number up to which bfloat16 has all of them.
_WHOLE = 256
# Rounded once, to the nearest.
_ROUNDED_ONCE = frozenset(
    ["add", "sub", "mul", "div", "sqrt", "add_any", "convert_element_type", "square"]
)


def unit(dtype: Any) -> float:
    """The distance from 1 to the next number of a floating dtype."""
    return float(jnp.finfo(dtype).eps)


@dataclass(frozen=True)
class Arithmetic:
    """How operations round.

    Attributes:
      unit: Every result is exact to this share of itself; sums are those of float64. None is the
        arithmetic that the function was traced in, each operation in its own dtype.
      coarsest: The unit of the coarsest dtype of that, which none exceeds.
      tolerance: A share of each result that it may be off by all the same.
      larger: How many times as large errors are as in that arithmetic.
    """

    unit: float | None = None
    coarsest: float = 1.0
    tolerance: float = 0.0
    larger: float = 1.0

    def own(self) -> "Arithmetic":
        """The arithmetic of the traced dtypes."""
        return replace(self, unit=None)


def error(equation: Any, operands: Sequence, result: Any, which: int, how: Arithmetic) -> tuple:
    """(1) for one operation: a contraction's scale, factors of result and scale, and a least.

    Where the scale is the result's own size, its factor is None. `which` is the result's position
    among those of the equation.
    """
    aval = equation.outvars[which].aval
    if how.unit is not None or not is_inexact(aval.dtype):
        own, sums, tiny = how.unit or FINE, FINE, 0.0
    else:
        # What is smaller than the smallest normal number is flushed to zero.
        own, tiny = min(unit(aval.dtype), how.coarsest), float(jnp.finfo(aval.dtype).tiny)
        sums = own
    own = max(own, how.tolerance)
    name = equation.primitive.name
    if name == "convert_element_type":
        source = equation.invars[0].aval
        is_rounded = how.unit is None and is_inexact(source.dtype) and unit(source.dtype) < own
        return result, own * is_rounded, None, 0.0
    if name in _ROUNDED_ONCE:
        rounded = _is_rounded(name, operands)
        return result, own * rounded, None, tiny * rounded
    if name in _STABLE:
        units = _constants.UNITS_OF_FUNCTIONS * own
        return _moved_operands(equation, operands, result, which, own) / own, units, own, tiny
    if name in _FUNCTIONS:
        return result, _constants.UNITS_OF_FUNCTIONS * own, None, tiny
    if name in _SUMS:
        # The first addition of two numbers that are not zero is the first that rounds.
        terms = _on_sums(equation, operands, lambda a: (a != 0) * 1.0, result) - 1
        terms = (terms > 0) * terms
        scale = _on_sums(equation, operands, abs, result)
        return scale, 0.0, terms * sums, terms * tiny
    terms = _terms(equation)
    inner = FINE if how.unit is not None else _unit_of_sums(equation, own)
    return _on_sums(equation, operands, abs, result), own, terms * inner, terms * tiny


def _moved_operands(equation, operands, result, which, own):
    """How far the result moves as the operands do by their own rounding.

    A backward stable algorithm returns the exact result of operands that are off by a few units:
    of each element for a function of numbers, of the largest of a matrix or of what is transformed.
    """
    name, found = equation.primitive.name, 0.0
    # How many of the last axes are a matrix, or are transformed.
    axes = len(equation.params["fft_lengths"]) if name == "fft" else 2
    axes = 0 if name in _ILL_CONDITIONED else axes
    for seed in range(2):
        rng, moved = np.random.default_rng(seed), []
        for operand in operands:
            if not jnp.issubdtype(operand.dtype, jnp.inexact):
                moved.append(operand)
                continue
            numpy = jnp if isinstance(operand, Tracer) else np
            size = abs(operand)
            together = tuple(range(operand.ndim))[-axes:] if axes else ()
            if together:
                size = numpy.max(size, together, keepdims=True, initial=0.0)
            size = numpy.where(numpy.isfinite(size), size, 0.0)
            moved.append(operand + own * size * rng.choice([-1.0, 1.0], operand.shape))
        try:
            other = bind(equation, moved)[0][which]
        except Exception:  # what is near may be outside of what it takes
            return abs(result)
        numpy = jnp if isinstance(other, Tracer) else np
        gap = abs(other - result)
        found = numpy.maximum(found, numpy.where(numpy.isfinite(gap), gap, 0.0))
    return found


def _is_rounded(name, operands):
    """Where an operation isn't exact: nothing is added, or a power of two multiplied, exactly."""
    if any(isinstance(a, Tracer) for a in operands):
        return 1.0
    a, *b = (np.asarray(a) for a in operands)
    if name in ("add", "sub", "add_any", "mul") and _is_whole(a) and _is_whole(b[0]):
        return np.zeros(np.broadcast_shapes(a.shape, b[0].shape))
    if name in ("add", "sub", "add_any"):
        return ((a != 0) & (b[0] != 0)) * 1.0
    if name in ("mul", "div"):
        exact = _is_power_of_two(b[0])
        return 1.0 - (exact | _is_power_of_two(a) if name == "mul" else exact)
    return np.ones(a.shape)


def _is_whole(a):
    """Whether all numbers are whole and small: orders and counts, whose sums no dtype rounds."""
    return np.isrealobj(a) and bool(np.all((np.abs(a) <= _WHOLE) & (a == np.rint(a))))


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
    *("cumlogsumexp", "cumprod", "erf", "erfc"),
    *("exp", "exp2", "expm1", "log", "log1p", "logistic"),
    *("pow", "rem", "rsqrt", "sin", "sinh", "tan", "tanh", "reduce_prod", "nextafter"),
    *("complex", "random_bits", "integer_pow", "pure_callback", "io_callback"),
    *("reciprocal", "psum"),
    *("custom_linear_solve", "while", "scan", "cond", "shard_map"),
})  # fmt: skip
# Functions that are small between larger values, near a zero of theirs, where those tell the error.
_ILL_CONDITIONED = frozenset({
    *("lgamma", "digamma", "polygamma", "zeta", "igamma", "igammac", "igamma_grad_a"),
    *("random_gamma_grad", "regularized_incomplete_beta", "bessel_i0e", "bessel_i1e", "erf_inv"),
})  # fmt: skip
# Decompositions of matrices, which are not unique where eigenvalues or pivots tie.
DECOMPOSITIONS = frozenset({
    *("cholesky", "cholesky_update", "eig", "eigh", "lu", "qr", "geqrf", "svd", "schur"),
    *("householder_product", "tridiagonal", "hessenberg"),
})  # fmt: skip
# Primitives that are known to be backward stable.
_STABLE = _ILL_CONDITIONED | DECOMPOSITIONS | {"fft", "triangular_solve", "tridiagonal_solve"}


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
