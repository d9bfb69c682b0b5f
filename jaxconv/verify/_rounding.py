"""How far rounding can move each element of a result, from the arithmetic that computes it.

An operation in a dtype of unit `eps` returns its exact result moved by at most

    eps · terms · scale                                                                        (1)

where `terms` is the number of products that one element sums, and `scale` the same sum with every
product's magnitude in it: |a|·|b| where the operation is a·b. What becomes of such an error depends
on all that follows, so it is followed: the function is evaluated again in float64, each operation's
result moved by (1) with a random sign for each element, several times over. The root mean square of
how far an element of the end result moves is its *rounding*. True errors are smaller than (1) in
nearly every operation, and of either sign.

Source: the running error analysis of Wilkinson, "Error analysis revisited", 1986, by the random
perturbations of Vignes, "A stochastic arithmetic for reliable scientific computation", 1993,
doi:10.1016/0378-4754(93)90003-D.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._interpreter import bind, equations, evaluate, has_loops

# Evaluations with perturbed operations; the root mean square of so few is low at times, and MARGIN
# makes that good.
SAMPLES = 6
# What differs by more than this many times its rounding is wrong.
MARGIN = 8.0

# What stands for 1 in the random signs.
_UNIT_SIGN = 64.0
# Of the largest that rounded constants do over the samples, which try a few of all combinations.
_CONSTANTS = 1.5

FINE = float(np.finfo(np.float64).eps)

_EXACT = frozenset(
    [
        "abs",
        "and",
        "argmax",
        "argmin",
        "broadcast_in_dim",
        "ceil",
        "clamp",
        "concatenate",
        "conj",
        "copy",
        "copy_p",
        "device_put",
        "dynamic_slice",
        "dynamic_update_slice",
        "eq",
        "expand_dims",
        "floor",
        "gather",
        "ge",
        "gt",
        "imag",
        "iota",
        "is_finite",
        "le",
        "lt",
        "max",
        "min",
        "ne",
        "neg",
        "not",
        "optimization_barrier",
        "or",
        "pad",
        "pmax",
        "pmin",
        "pvary",
        "real",
        "reduce_and",
        "reduce_max",
        "reduce_min",
        "reduce_or",
        "reduce_window_max",
        "reduce_window_min",
        "reshape",
        "rev",
        "round",
        "scatter",
        "select_n",
        "sign",
        "slice",
        "sort",
        "split",
        "squeeze",
        "stop_gradient",
        "transpose",
        "xor",
        "select_and_gather_add",
        "tie_in",
        "reduce_window_max",
        "reduce_precision",
        "bitcast_convert_type",
        "squeeze",
        "copy_start",
    ]
)
# Rounded once, to the nearest.
_ROUNDED_ONCE = frozenset(
    ["add", "sub", "mul", "div", "sqrt", "add_any", "convert_element_type", "square"]
)
# Good to a few units: eps times this many.
_UNITS_OF_FUNCTIONS = 4


@dataclass(frozen=True)
class Measured:
    """Numbers, and how far rounding can have moved each of them."""

    value: np.ndarray
    rounding: np.ndarray


class Measurement:
    """Traced functions whose results are computed together with their rounding, as one program.

    Args:
      traces: Names, and what `jax.make_jaxpr` returns for each.
      coarsest: The unit of the coarsest dtype that the arithmetic may have; where a function rounds
        more than that, it is judged as if it didn't.
      seed: Of the signs of the perturbations.
      samples: How often to perturb.
    """

    def __init__(
        self, traces: Mapping[str, Any], coarsest: float, seed: int, samples: int = SAMPLES
    ):
        longest = max(
            (
                v.aval.size
                for t in traces.values()
                for e in equations(t)
                for v in e.outvars
                if hasattr(v.aval, "size")
            ),
            default=1,
        )
        self._length, self._samples = longest + _Perturbation.OFFSETS, samples
        self._rng = np.random.default_rng([seed, 1])

        self._traces = traces
        # A function may be called with numbers that its derivative has, too: those are exact.
        known = {key for name in ("value",) if name in traces for key in _constants(traces[name])}
        self._constants = {
            name: [key for key in _constants(trace) if key not in known]
            for name, trace in traces.items()
        }
        self._programs = {name: _program(trace, coarsest) for name, trace in traces.items()}

    def values(self, args: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The flat results in float64 of the functions that arguments are given for."""
        return self._run(args, None, True)

    def __call__(
        self, args: Mapping[str, Any], fine: bool = True, more: int = 0
    ) -> dict[str, Measured]:
        """The results with the rounding of float64, or (`fine=False`) of the traced dtypes.

        In float64 the constants keep the rounding of the dtype that they are written in.

        `more` asks for so many perturbed evaluations in place of the usual.
        """
        values = self.values(args)
        with np.errstate(all="ignore"):
            samples = [self._run(args, self._draw(), fine) for _ in range(more or self._samples)]
        found = {}
        for name, value in values.items():
            rounding = _root_mean_square([s[name] - value for s in samples])
            if fine and self._constants[name]:
                rounding = rounding + self._of_constants(name, args[name], value) / MARGIN
            found[name] = Measured(value, rounding)
        return found

    def _of_constants(self, name, args, value):
        """What half a unit in each of the constants moves, at most."""
        trace, constants = self._traces[name], self._constants[name]
        most = np.zeros_like(value)
        with jax.enable_x64(True):
            for _ in range(self._samples):
                signs = dict(zip(constants, np.sign(self._draw()), strict=False))

                def moved(atom, literal, signs=signs):
                    return literal * (1 + signs.get(_key(atom), 0) * unit(atom.aval.dtype) / 2)

                with np.errstate(invalid="ignore"):
                    gap = np.abs(_flat(evaluate(trace, list(args), None, moved)) - value)
                most = np.fmax(most, gap)
        return _CONSTANTS * most

    def _draw(self):
        """Random signs, times sizes about 1: two errors of one size would cancel in every other."""
        signs = self._rng.integers(0, 2, self._length, dtype=np.int8) * np.int8(2) - np.int8(1)
        return signs * self._rng.integers(32, 97, self._length, dtype=np.int8)

    def _run(self, args, signs, is_fine):
        with jax.enable_x64(True):
            return {
                name: _flat(self._programs[name](given, signs, is_fine))
                for name, given in args.items()
            }


def _program(trace, coarsest):
    """Evaluates a jaxpr, its operations perturbed if signs are given."""

    def plain(args):
        return evaluate(trace, args)

    def perturbed(args, signs, is_fine):
        return evaluate(trace, args, _Perturbation(signs, is_fine, coarsest))

    if has_loops(trace):
        # Compiled to be run a few times: quickly rather than well.
        hurry = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
        plain = jax.jit(plain, compiler_options=hurry)
        perturbed = jax.jit(perturbed, static_argnums=2, compiler_options=hurry)
    return lambda args, signs, is_fine: (
        plain(list(args)) if signs is None else perturbed(list(args), signs, is_fine)
    )


def _flat(results):
    return np.concatenate([np.zeros(0)] + [np.asarray(r, np.float64).ravel() for r in results])


def _constants(trace):
    """The constants of a program, written in less than float64, that rounding may have moved."""
    found = {}
    for equation in equations(trace):
        for atom in equation.invars:
            if hasattr(atom, "val") and _is_float(atom.aval) and unit(atom.aval.dtype) > FINE:
                value = abs(float(atom.val))
                # Whole numbers and powers of two are what they look like.
                if np.isfinite(value) and value != round(value) and np.frexp(value)[0] != 0.5:
                    found[_key(atom)] = None
    return list(found)


def _key(atom):
    return abs(float(atom.val)), str(atom.aval.dtype)


def _root_mean_square(deviations):
    """Of each element, over the samples in which it is a number; where it never is, infinity."""
    squares, count = 0.0, 0
    with np.errstate(invalid="ignore", over="ignore"):
        for deviation in deviations:
            seen = np.isfinite(deviation)
            squares = squares + np.where(seen, deviation, 0.0) ** 2
            count = count + seen
        return np.where(count > 0, np.sqrt(squares / np.maximum(count, 1)), np.inf)


def coarsest_unit(traced: Any, leaves: Sequence[Any]) -> float:
    """The unit of the coarsest dtype in which a function computes."""
    dtypes = [leaf.dtype for leaf in leaves]
    dtypes += [v.aval.dtype for e in equations(traced) for v in e.outvars if _is_float(v.aval)]
    return max(unit(dtype) for dtype in dtypes)


def unit(dtype: Any) -> float:
    """The distance from 1 to the next number of a floating dtype."""
    return float(jnp.finfo(dtype).eps)


class _Perturbation:
    """Moves the results of each equation by (1), with signs drawn beforehand."""

    OFFSETS = 4096  # each equation starts elsewhere in the signs, so that none has another's

    def __init__(self, signs: Any, is_fine: Any, coarsest: float):
        self.signs, self.is_fine, self.coarsest, self.count = signs, is_fine, coarsest, 0

    def __call__(self, equation, operands, results, is_narrow):
        if equation.primitive.name in _EXACT:
            return results
        is_fine = self.is_fine and not is_narrow
        return [
            self._moved(
                result,
                error(equation, operands, result, variable.aval, is_fine, self.coarsest),
            )
            if jnp.issubdtype(result.dtype, jnp.inexact)
            else result
            for result, variable in zip(results, equation.outvars, strict=True)
        ]

    def _moved(self, result, error):
        start = (1499 * self.count) % self.OFFSETS
        self.count += 1
        signs = self.signs[start : start + result.size].reshape(result.shape)
        # NumPy takes a tenth of the time for arrays as small as these usually are.
        numpy = jnp if isinstance(result, Tracer) else np
        scale, of_result, of_scale, least = error
        return _moved(numpy, result, scale, of_result, of_scale, least, signs)


def _moved(numpy, result, scale, of_result, of_scale, least, signs):
    """The result, moved by what (1) makes of its own size and of that of a contraction."""
    magnitude = abs(numpy.asarray(result))
    scale = numpy.where(scale > magnitude, scale, magnitude)  # also where it is NaN
    size = of_result * magnitude + of_scale * scale + least
    # What is not finite is not moved, lest 0·inf makes a NaN.
    return result + numpy.where(numpy.isfinite(size), size, 0) * (signs / _UNIT_SIGN)


def error(
    equation: Any, operands: Sequence, result: Any, aval: Any, is_fine: bool, coarsest: float
) -> tuple:
    """(1) for one operation: a contraction's scale, the factors of result and scale, and a least."""
    if is_fine or not _is_float(aval):
        own, tiny = FINE, 0.0
    else:
        # What is smaller than the smallest normal number is flushed to zero.
        own, tiny = min(unit(aval.dtype), coarsest), float(jnp.finfo(aval.dtype).tiny)
    name = equation.primitive.name
    if name == "convert_element_type":
        source = equation.invars[0].aval
        is_rounded = not is_fine and _is_float(source) and unit(source.dtype) < own
        return result, own * is_rounded, 0.0, 0.0
    if name in _ROUNDED_ONCE:
        rounded = _is_rounded(name, operands)
        return result, own * rounded, 0.0, tiny * rounded
    if name in _FUNCTIONS:
        return result, _UNITS_OF_FUNCTIONS * own, 0.0, tiny
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
_FUNCTIONS = frozenset(
    [
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atan2",
        "atanh",
        "cbrt",
        "cos",
        "cosh",
        "cumlogsumexp",
        "cumprod",
        "cummax",
        "cummin",
        "digamma",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "igamma",
        "igammac",
        "lgamma",
        "log",
        "log1p",
        "logistic",
        "pow",
        "rem",
        "rsqrt",
        "sin",
        "sinh",
        "tan",
        "tanh",
        "reduce_prod",
        "nextafter",
        "complex",
        "random_bits",
        "integer_pow",
        "pure_callback",
        "io_callback",
        "polygamma",
        "reciprocal",
        "psum",
        "all_gather",
        "all_to_all",
        "ppermute",
        "cholesky",
        "eig",
        "eigh",
        "lu",
        "qr",
        "svd",
        "triangular_solve",
        "fft",
        "tridiagonal_solve",
        "schur",
        "householder_product",
    ]
)


def _terms(equation):
    """How many products an element sums."""
    name = equation.primitive.name
    if name in _TERMS:
        return max(_TERMS[name](equation), 1)
    # A primitive of somebody's own: a contraction, as far as anyone knows, as long as can be.
    sizes = [v.aval.size for v in equation.invars if _is_float(v.aval)]
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


def _is_float(aval: Any) -> bool:
    return jnp.issubdtype(getattr(aval, "dtype", np.dtype(bool)), jnp.floating)
