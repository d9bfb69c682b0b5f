"""The rounding error of each primitive, `eps · terms · scale`, see `_rounding.py`."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import _constants
from ..program._interpreter import bind
from ..program._wide import is_inexact

FINE = float(np.finfo(np.float64).eps)

# Primitives that only select, move or compare elements.
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
# bfloat16 represents all integers up to this one.
_WHOLE = 256
# Primitives whose result is the exact result rounded once.
_ROUNDED_ONCE = frozenset(
    ["add", "sub", "mul", "div", "sqrt", "add_any", "convert_element_type", "square"]
)


def unit(dtype: Any) -> float:
    """The unit roundoff of a floating-point dtype: the distance from 1 to the next value."""
    return float(jnp.finfo(dtype).eps)


@dataclass(frozen=True)
class Arithmetic:
    """How operations round.

    Attributes:
      unit: The relative error of each result; sums are those of float64. None stands for the
        arithmetic of the trace, in which each operation rounds to its own dtype.
      coarsest: The unit roundoff of the coarsest dtype of the trace, which no error exceeds.
      tolerance: A relative error that each result may have in addition.
      larger: A factor on all errors.
    """

    unit: float | None = None
    coarsest: float = 1.0
    tolerance: float = 0.0
    larger: float = 1.0

    def own(self) -> "Arithmetic":
        """The arithmetic of the traced dtypes."""
        return replace(self, unit=None)


def error(equation: Any, operands: Sequence, result: Any, which: int, how: Arithmetic) -> tuple:
    """The error of one operation, equation (1) of `_rounding.py`.

    Args:
      equation: The operation.
      operands: Its operands.
      result: One of its results.
      which: The position of that result.
      how: The arithmetic.

    Returns:
      The scale, the error relative to the result, the error relative to the scale (None if the
      scale is the result itself) and an absolute error.
    """
    aval = equation.outvars[which].aval
    if how.unit is not None or not is_inexact(aval.dtype):
        own, sums, tiny = how.unit or FINE, FINE, 0.0
    else:
        # Values below the smallest normal number are flushed to zero.
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
        # Only an addition of two nonzero values rounds.
        terms = _on_sums(equation, operands, lambda a: (a != 0) * 1.0, result, which) - 1
        terms = (terms > 0) * terms
        scale = _on_sums(equation, operands, abs, result, which)
        return scale, 0.0, terms * sums, terms * tiny
    terms = _terms(equation)
    inner = FINE if how.unit is not None else _unit_of_sums(equation, own)
    return _on_sums(equation, operands, abs, result, which), own, terms * inner, terms * tiny


def _moved_operands(equation, operands, result, which, own):
    """How far the result moves if the operands move by their own rounding.

    A backward stable algorithm returns the exact result of operands that are off by a few units:
    relative to each element for an elementwise function, relative to the largest element for a
    matrix or a transform.
    """
    name, found = equation.primitive.name, 0.0
    # The number of trailing axes that form a matrix or are transformed.
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
        except Exception:  # a neighbouring operand may be outside the domain
            return abs(result)
        numpy = jnp if isinstance(other, Tracer) else np
        gap = abs(other - result)
        found = numpy.maximum(found, numpy.where(numpy.isfinite(gap), gap, 0.0))
    return found


def _is_rounded(name, operands):
    """Where an operation rounds. Adding zero and multiplying by a power of two don't."""
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
    """Whether all values are small integers, such as counts, whose sums no dtype rounds."""
    return np.isrealobj(a) and bool(np.all((np.abs(a) <= _WHOLE) & (a == np.rint(a))))


def _is_power_of_two(a):
    return (
        (np.frexp(np.abs(a))[0] == 0.5) | (a == 0)
        if a.dtype == np.float64
        else np.zeros(a.shape, bool)
    )


# Sums whose terms may be mostly zero.
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
# The number of products that one element of a contraction sums.
_TERMS: dict[str, Callable[[Any], int]] = {
    "dot_general": lambda e: math.prod(
        e.invars[0].aval.shape[axis] for axis in e.params["dimension_numbers"][0][0]
    ),
    "conv_general_dilated": lambda e: (
        e.invars[1].aval.size // e.invars[1].aval.shape[e.params["dimension_numbers"].rhs_spec[0]]
    ),
}
# Primitives that round each element of their result a few times, whatever the operands.
_FUNCTIONS = frozenset({
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh"),
    *("cumlogsumexp", "cumprod", "erf", "erfc"),
    *("exp", "exp2", "expm1", "log", "log1p", "logistic"),
    *("pow", "rem", "rsqrt", "sin", "sinh", "tan", "tanh", "reduce_prod", "nextafter"),
    *("complex", "random_bits", "integer_pow", "pure_callback", "io_callback"),
    *("reciprocal", "psum"),
    *("custom_linear_solve", "while", "scan", "cond", "shard_map"),
})  # fmt: skip
# Functions that are ill-conditioned near their zeros: the neighbouring larger values determine the
# error there.
_ILL_CONDITIONED = frozenset({
    *("lgamma", "digamma", "polygamma", "zeta", "igamma", "igammac", "igamma_grad_a"),
    *("random_gamma_grad", "regularized_incomplete_beta", "bessel_i0e", "bessel_i1e", "erf_inv"),
})  # fmt: skip
# Matrix decompositions, which are not unique if eigenvalues or pivots tie.
DECOMPOSITIONS = frozenset({
    *("cholesky", "cholesky_update", "eig", "eigh", "lu", "qr", "geqrf", "svd", "schur"),
    *("householder_product", "tridiagonal", "hessenberg"),
})  # fmt: skip
# Backward stable primitives.
_STABLE = _ILL_CONDITIONED | DECOMPOSITIONS | {"fft", "triangular_solve", "tridiagonal_solve"}


def _terms(equation):
    """The number of products that an element sums."""
    name = equation.primitive.name
    if name in _TERMS:
        return max(_TERMS[name](equation), 1)
    # A user-defined primitive is taken to be a contraction that is as long as its operands allow.
    sizes = [v.aval.size for v in equation.invars if is_float(v.aval)]
    return max(min(sizes, default=1), 1)


def _on_sums(equation, operands, change, result, which):
    """The operation on changed operands: their magnitudes, or 1 for each nonzero element."""
    changed = [change(a) if jnp.issubdtype(a.dtype, jnp.inexact) else a for a in operands]
    if equation.primitive.name == "select_and_scatter_add":  # the second operand selects positions
        changed[1] = operands[1]
    try:
        found = abs(bind(equation, changed)[0][which])
    except Exception:  # a user-defined primitive may raise anything
        return abs(result)
    found = found if isinstance(found, Tracer) else np.asarray(found)
    return found if found.shape == result.shape else abs(result)


def _unit_of_sums(equation, own):
    """The unit roundoff in which a contraction accumulates.

    Products of half precision are accumulated in float32 on every platform. Accelerators multiply
    float32 with fewer bits unless the precision is HIGHEST.
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
    """Whether an array is floating point."""
    return jnp.issubdtype(getattr(aval, "dtype", np.dtype(bool)), jnp.floating)


# Primitives that are smooth wherever their result is finite.
_SMOOTH = frozenset({
    *("add", "add_any", "sub", "mul", "neg", "div", "square", "integer_pow", "rsqrt"),
    *("exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "sin", "cos", "erf", "erfc"),
    *("dot_general", "conv_general_dilated", "reduce_sum", "cumsum", "reduce_window_sum"),
    *("broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "slice", "pad"),
    *("concatenate", "rev", "copy", "copy_p", "convert_element_type", "stop_gradient"),
    *("jaxconv_y", "jaxconv_x", "jaxconv_k", "jaxconv_window_sum_out", "jaxconv_window_sum_in"),
})  # fmt: skip


def is_smooth(equations: Iterable[Any]) -> bool:
    """Whether the equations are known to have no kinks."""
    return all(
        e.primitive.name in _SMOOTH and all(is_float(v.aval) for v in e.outvars) for e in equations
    )
