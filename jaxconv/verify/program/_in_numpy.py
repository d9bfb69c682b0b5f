"""Primitives of small arrays in NumPy, which dispatches ten times as fast as JAX.

A check evaluates the function some hundred times, one primitive after the other. For arrays of a
few hundred elements nearly all of that time is JAX's dispatch, and JAX also compiles each primitive
for each new shape. NumPy and JAX round alike in float64, or differ by fewer units than
`truth/_operations.py` allows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from scipy import special

from ._numpy_moves import MOVES
from ._numpy_sums import SUMS

# Arrays of up to this many elements are small. For larger ones the threads of JAX are worth its
# dispatch.
SMALL = 1 << 14


def _rsqrt(x):
    return 1 / np.sqrt(x)


def _one_minus_square(x):
    return (1 + x) * (1 - x)


def _identity(x):
    return x


def _complex(real, imag):
    found = np.empty(np.broadcast_shapes(np.shape(real), np.shape(imag)), np.complex128)
    found.real, found.imag = real, imag
    return found


def _conj(x):
    return np.conj(x).astype(np.complex128)


def _clamp(low, x, high):
    return np.minimum(np.maximum(x, low), high)


def _digamma(x):
    if np.any(x == 0):  # versions of JAX disagree at 0
        return None
    # The poles have no value: the two one-sided limits have opposite signs.
    return np.where((x < 0) & (x == np.floor(x)), np.nan, special.psi(x))


def _polynomial(x, *coefficients):
    total = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


# Functions of floating-point and of complex arrays.
_ANY: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"div": np.divide, "neg": np.negative, "abs": np.abs, "square": np.square},
    **{"eq": np.equal, "ne": np.not_equal, "one_minus_square": _one_minus_square},
    **{"polynomial": _polynomial, "real": np.real, "imag": np.imag, "conj": _conj},
    **{"exp": np.exp, "cos": np.cos, "sin": np.sin},
}
# Functions of floating-point arrays only.
_FLOATING: dict[str, Callable[..., Any]] = {
    **{"max": np.maximum, "min": np.minimum, "pow": np.power, "sign": np.sign},
    **{"sqrt": np.sqrt, "rsqrt": _rsqrt, "cbrt": np.cbrt, "exp2": np.exp2, "expm1": np.expm1},
    **{"log": np.log, "log1p": np.log1p, "log2": np.log2, "logistic": special.expit},
    **{"tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan},
    **{"sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh},
    **{"acosh": np.arccosh, "atanh": np.arctanh, "atan2": np.arctan2, "rem": np.fmod},
    **{"floor": np.floor, "ceil": np.ceil, "is_finite": np.isfinite, "clamp": _clamp},
    **{"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal},
    **{"complex": _complex, "erf": special.erf, "erfc": special.erfc},
    **{"erf_inv": special.erfinv, "bessel_i0e": special.i0e, "bessel_i1e": special.i1e},
    **{
        "lgamma": special.gammaln,
        "digamma": _digamma,
        "zeta": special.zeta,
        "igamma": special.gammainc,
    },
    **{"igammac": special.gammaincc, "regularized_incomplete_beta": special.betainc},
}


def _int_div(a, b):
    # Division rounds towards zero. Division by zero gives a value with all bits set, as XLA does.
    quotient = np.floor_divide(a, b)
    quotient = quotient + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0))).astype(a.dtype)
    return np.where(b == 0, np.invert(np.zeros_like(quotient)), quotient)


def _int_rem(a, b):
    return np.where(b == 0, a, np.fmod(a, b))


def _shift(function):
    def shifted(x, by):
        bits = np.iinfo(x.dtype).bits
        is_out = (by < 0) | (by >= bits)
        found = function(x, np.where(is_out, by.dtype.type(0), by))
        return np.where(is_out, x.dtype.type(0), found)

    return shifted


def _shift_right_logical(x, by):
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    found = _shift(np.right_shift)(x.astype(unsigned), by.astype(unsigned))
    return found.astype(x.dtype)


def _shift_right_arithmetic(x, by):
    bits, signed = np.iinfo(x.dtype).bits, np.dtype(f"i{x.dtype.itemsize}")
    by = np.where((by < 0) | (by >= bits), bits - 1, by).astype(signed)
    return np.right_shift(x.astype(signed), by).astype(x.dtype)


def _population_count(x):
    return np.bitwise_count(x if x.dtype.kind == "u" else x.astype(f"u{x.dtype.itemsize}")).astype(
        x.dtype
    )


# Functions of integers and booleans.
_INTEGERS: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply},
    **{"div": _int_div, "rem": _int_rem, "neg": np.negative, "abs": np.abs, "sign": np.sign},
    **{"max": np.maximum, "min": np.minimum, "eq": np.equal, "ne": np.not_equal},
    **{"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert},
    **{"clamp": _clamp, "square": np.square, "shift_left": _shift(np.left_shift)},
    **{"shift_right_logical": _shift_right_logical, "population_count": _population_count},
    **{"shift_right_arithmetic": _shift_right_arithmetic},
}
# Functions of arrays of any dtype.
_IDENTITIES = {
    *("copy", "copy_p", "stop_gradient", "name", "pvary", "sharding_constraint", "reshard"),
    *("layout_constraint", "pbroadcast", "reduced_vary_cast", "vary_unreduced_cast"),
}
_IDENTITIES_OF_MANY = {"optimization_barrier", "device_put"}

# The dtypes that NumPy operators support. JAX has others, such as int4.
_DTYPES = frozenset("?bhilqBHILQdD")


def _integer_pow(equation):
    y = equation.params["y"]
    kind = _kind(equation.invars[0])
    if kind == "f":
        return lambda x: np.power(x, float(y))
    if kind == "i" and y >= 0:
        return lambda x: np.power(x, np.asarray(y, x.dtype))
    return None


def _round(equation):
    if int(equation.params["rounding_method"]) == int(lax.RoundingMethod.TO_NEAREST_EVEN):
        return np.rint

    def away(x):
        whole = np.trunc(x)
        return np.where(np.abs(x - whole) >= 0.5, whole + np.copysign(1.0, x), whole)

    return away


def _select(equation):
    count = len(equation.invars) - 1
    if count == 2:
        return lambda which, a, b: np.where(which, b, a)

    def select(which, *cases):
        index = np.broadcast_to(np.clip(which, 0, count - 1), np.shape(cases[0]))
        stacked = np.stack(cases)
        return np.take_along_axis(stacked, index[None].astype(np.int64), axis=0)[0]

    return select


def _convert(equation):
    source, target = (np.dtype(a.aval.dtype) for a in (equation.invars[0], equation.outvars[0]))
    source_kind = _kind(equation.invars[0])
    if jnp.issubdtype(target, jnp.floating):
        if source_kind == "c":
            return lambda x: np.real(x)
        return _identity if source_kind == "f" else lambda x: np.asarray(x, np.float64)
    if jnp.issubdtype(target, jnp.complexfloating):
        return _identity if source_kind == "c" else lambda x: np.asarray(x, np.complex128)
    if target.char not in _DTYPES or source_kind == "c":
        return None
    if target.kind == "b":
        return lambda x: np.asarray(x != 0)
    if source_kind == "i":
        return lambda x: np.asarray(x).astype(target)
    info = np.iinfo(target)
    # XLA converts NaN to 0 and saturates at the ends of the range. The largest integer may not be
    # representable as a float.
    least, most = float(info.min), float(info.max)

    def convert(x):
        x = np.where(np.isnan(x), 0.0, np.trunc(x))
        inside = np.where((x > least) & (x < most), x, 0.0).astype(target)
        found = np.where(x >= most, target.type(info.max), inside)
        return np.where(x <= least, target.type(info.min), found)

    return convert


def _iota(equation):
    params = equation.params
    shape, axis, dtype = params["shape"], params["dimension"], equation.outvars[0].aval.dtype
    along = [-1 if i == axis else 1 for i in range(len(shape))]
    dtype = np.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype
    found = np.broadcast_to(np.arange(shape[axis]).astype(dtype).reshape(along), shape)
    return lambda: found


def _empty(equation):
    aval = equation.outvars[0].aval
    dtype = {"f": np.float64, "c": np.complex128}.get(_kind(equation.outvars[0]), aval.dtype)
    found = np.zeros(aval.shape, dtype)
    return lambda: found


def _power(equation):
    kinds = [_kind(a) for a in equation.invars]
    return np.power if kinds in (["f", "f"], ["f", "i"]) else None


# Functions that take an equation and return its NumPy function, or None.
_MADE: dict[str, Callable[[Any], Any]] = {
    "integer_pow": _integer_pow,
    "pow": _power,
    "round": _round,
    "select_n": _select,
    "convert_element_type": _convert,
    "iota": _iota,
    "empty": _empty,
    "empty2": _empty,
    **MOVES,
    **SUMS,
}
# Primitives whose NumPy function returns a list.
_OF_MANY = {"split", "sort", "top_k", "unstack", "lu"}


NAMES = frozenset({*_ANY, *_FLOATING, *_INTEGERS, *_IDENTITIES, *_IDENTITIES_OF_MANY, *_MADE})


def _kind(atom: Any) -> str:
    """The kind of an array: "f" floating, "c" complex, "i" integer or boolean, "" other."""
    dtype = getattr(atom.aval, "dtype", None)
    if dtype is None or jnp.issubdtype(dtype, jnp.floating):
        return "" if dtype is None else "f"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "c"
    return "i" if getattr(dtype, "char", "") in _DTYPES else ""


def quick_function(equation: Any) -> tuple[Callable[..., Any] | None, bool]:
    """The NumPy function of an equation, or None, and whether it returns a list.

    The function returns None for operands that NumPy treats differently from JAX.
    """
    name = equation.primitive.name
    kinds = {_kind(atom) for atom in (*equation.invars, *equation.outvars)}
    if "" in kinds:
        return None, False
    if name in _MADE:
        return _MADE[name](equation), name in _OF_MANY
    if name in _IDENTITIES:
        return _identity, False
    if name in _IDENTITIES_OF_MANY:
        return lambda *xs: list(xs), True
    kinds = {_kind(atom) for atom in equation.invars}
    if kinds == {"i"}:
        is_bool = any(np.dtype(a.aval.dtype) == bool for a in equation.invars)
        if is_bool and name in ("sub", "neg", "abs", "sign", "square"):
            return None, False
        return _INTEGERS.get(name), False
    if kinds == {"f"}:
        return _FLOATING.get(name) or _ANY.get(name), False
    return (_ANY.get(name) if kinds == {"c"} else None), False


def in_numpy(equation: Any, operands: Sequence[Any]) -> list | None:
    """The results of an equation on float64 operands, or None if JAX must compute them."""
    for value in operands:
        if isinstance(value, Tracer) or getattr(value, "size", SMALL) > SMALL:
            return None
    atoms = (*equation.invars, *equation.outvars)
    if any(getattr(atom.aval, "size", 0) > SMALL for atom in atoms):
        return None
    function, has_many = quick_function(equation)
    if function is None:
        return None
    with np.errstate(all="ignore"):
        found = function(*(np.asarray(value) for value in operands))
    if found is None:
        return None
    return [np.asarray(value) for value in found] if has_many else [np.asarray(found)]
