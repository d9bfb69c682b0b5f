"""How far rounding can move each element of a result, estimated by perturbed evaluations.

An operation in a dtype with unit roundoff `eps` returns its exact result with an error of at most

    eps · terms · scale                                                                        (1)

where `terms` is the number of products that one element sums, and `scale` is the same sum with the
magnitude of each product: |a|·|b| for a·b. The effect of such an error depends on all later
operations. The function is therefore evaluated several times in float64, with each result moved by
(1) with a random sign per element. The *rounding* of an element of the end result is the root mean
square of its deviations. Most true errors are smaller than (1), and they have either sign.

Source: the running error analysis of Wilkinson, "Error analysis revisited", 1986, with the random
perturbations of Vignes, "A stochastic arithmetic for reliable scientific computation", 1993,
doi:10.1016/0378-4754(93)90003-D.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import _constants
from ..program._program import Program
from ..program._wide import equations
from ._operations import EXACT, FINE, Arithmetic, error, is_float, unit

# From this many elements on, evaluations run in parallel, in so many threads.
_LARGE, _THREADS = 1 << 17, min(4, os.cpu_count() or 1)
# The random signs are integers; this one stands for 1.
_UNIT_SIGN = 64.0


@dataclass(frozen=True)
class Measured:
    """Values, and how far rounding can have moved each of them."""

    value: np.ndarray
    rounding: np.ndarray

    @property
    def explained(self) -> np.ndarray:
        """How far from the values rounding explains others. It makes none infinite."""
        return np.where(np.isinf(self.value), 0.0, self.rounding)


class Measurement:
    """Evaluates traced functions together with their rounding.

    Args:
      traces: The jaxpr of each function, by name.
      formulas: The arithmetic that formulas are judged by.
      seed: The seed of the perturbations.
      samples: The number of perturbed evaluations.
      pairs: For each name, the name of the trace that it is compared with. The constants that both
        have move together. None stands for a trace whose constants are exact.
    """

    def __init__(
        self,
        traces: Mapping[str, Any],
        formulas: Arithmetic,
        seed: int,
        samples: int,
        pairs: Mapping[str, str | None],
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

        self._pairs, self._formulas = pairs, formulas
        self._constants: dict[float, float] = {}
        for trace in traces.values():
            self._constants |= _literals(trace)
        self._programs = {name: Program(trace) for name, trace in traces.items()}

    def values(self, args: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The flat results in float64 of the functions in `args`."""
        return self._run(args, None, None)

    def __call__(
        self, args: Mapping[str, Any], is_own: bool = False, more: int = 0, coarser: bool = False
    ) -> dict[str, Measured]:
        """The results with their rounding.

        The constants of a formula keep the rounding of the dtype that they are written in.

        Args:
          args: The arguments of each function, by name.
          is_own: Whether operations round in the traced dtypes and not as formulas.
          more: The number of perturbed evaluations; 0 is the usual number.
          coarser: Whether all errors are COARSER times as large.
        """
        values = self.values(args)
        how = self._formulas.own() if is_own else self._formulas
        if coarser:
            how = replace(how, larger=_constants.COARSER)
        samples = self._perturbed(args, how, more or self._samples)
        rounding = {n: _root_mean_square([s[n] - v for s in samples]) for n, v in values.items()}
        for name, value in values.items():
            # A perturbed integer order or table index may have no result. The rounding is then a
            # few units.
            size = np.abs(value).max(initial=0.0, where=np.isfinite(value))
            unknown = np.isinf(rounding[name]) & np.isfinite(value)
            few = _constants.UNITS_OF_REFERENCE * (how.unit or how.coarsest) * size
            rounding[name] = np.where(unknown, few, rounding[name])
        if not is_own and self._constants:
            for name, moved in self._of_constants(args, values).items():
                rounding[name] = rounding[name] + moved / _constants.MARGIN
        return {name: Measured(value, rounding[name]) for name, value in values.items()}

    def _perturbed(self, args, how, count):
        """The results of `count` evaluations with perturbed operations."""
        sizes: dict[str, dict] = {name: {} for name in args}

        def run(signs):
            with np.errstate(all="ignore"):
                return self._run(args, signs, how, sizes)

        draws = (self._draw() for _ in range(count))
        samples = [run(next(draws))]  # the first one fills `sizes`
        if self._length < _LARGE:
            return samples + [run(signs) for signs in draws]
        with ThreadPoolExecutor(_THREADS) as pool:  # NumPy uses one core
            return samples + list(pool.map(run, draws))

    def _of_constants(self, args, values):
        """How far the results move at most if each constant moves by half a unit."""
        most = {name: np.zeros_like(value) for name, value in values.items()}
        with jax.enable_x64(True), np.errstate(all="ignore"):
            for _ in range(self._samples):
                signs = np.sign(self._draw()).astype(np.float64)
                gaps = {
                    name: _flat(self._programs[name](given, self._moved, "constants", signs))
                    - values[name]
                    for name, given in args.items()
                }
                for name, gap in gaps.items():
                    pair = self._pairs.get(name, "")
                    if pair is not None:
                        gap = np.abs(gap - gaps[pair] if pair in gaps else gap)
                        most[name] = np.fmax(most[name], gap)
        return {name: _constants.ROUNDED_CONSTANTS * moved for name, moved in most.items()}

    def _moved(self, signs):
        """Changes that move each constant by half a unit, in the direction of its sign."""
        places = {key: place for place, key in enumerate(self._constants)}

        def moved(atom, literal):
            key = abs(float(atom.val))
            if places.get(key, len(signs)) >= len(signs):
                return literal
            return literal * (1 + signs[places[key]] * self._constants[key] / 2)

        return None, moved

    def _draw(self):
        """Random signs times factors of about 1.

        Without the factors two errors of the same size would cancel in half of the samples.
        """
        signs = self._rng.integers(0, 2, self._length, dtype=np.int8) * np.int8(2) - np.int8(1)
        return signs * self._rng.integers(32, 97, self._length, dtype=np.int8)

    def _run(self, args, signs, how, sizes=None):
        with jax.enable_x64(True):
            return {
                name: _flat(self._evaluated(name, given, signs, how, sizes and sizes[name]))
                for name, given in args.items()
            }

    def _evaluated(self, name, args, signs, how, sizes):
        """A program's results, its operations perturbed if signs are given."""
        if signs is None:
            return self._programs[name](args)

        def changes(signs):
            # A compiled program can't store sizes.
            kept = None if isinstance(signs, Tracer) else sizes
            return _Perturbation(signs, how, kept), None

        return self._programs[name](args, changes, how, signs)


def _flat(results):
    return np.concatenate([np.zeros(0)] + [np.asarray(r, np.float64).ravel() for r in results])


def _literals(trace):
    """The constants that may have been rounded to less than float64, and their unit roundoff."""
    found = {}
    for equation in equations(trace):
        for atom in equation.invars:
            if hasattr(atom, "val") and is_float(atom.aval) and unit(atom.aval.dtype) > FINE:
                value = abs(float(atom.val))
                # Integers and powers of two are exact.
                if np.isfinite(value) and value != round(value) and np.frexp(value)[0] != 0.5:
                    found[value] = unit(atom.aval.dtype)
    return found


def _root_mean_square(deviations):
    """The root mean square of each element over the finite samples; infinity if there are none."""
    with np.errstate(invalid="ignore", over="ignore"):
        # Relative to the largest, since the square of a very small value would underflow.
        largest = np.fmax.reduce([np.abs(deviation) for deviation in deviations])
        size = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
        shares = [deviation / size for deviation in deviations]
        plain = sum(share * share for share in shares)
        if np.isfinite(plain).all():
            return size * np.sqrt(plain / len(shares))
        squares, count = 0.0, 0
        for share in shares:
            seen = np.isfinite(share)
            squares = squares + np.where(seen, share, 0.0) ** 2
            count = count + seen
        return np.where(count > 0, size * np.sqrt(squares / np.maximum(count, 1)), np.inf)


def of_comparison(
    expected: np.ndarray, unit: float = FINE, dtype: Any = None, most: Any = 1.0
) -> np.ndarray:
    """How far the expected values themselves may be off.

    Args:
      expected: The expected values.
      unit: Their relative precision.
      dtype: The dtype in which derivatives below the smallest normal number are flushed to zero.
      most: The factor by which a flushed derivative is multiplied.
    """
    tiny = 0.0 if dtype is None else float(jnp.finfo(dtype).tiny) * most
    return _constants.UNITS_OF_COMPARISON * unit * np.nan_to_num(np.abs(expected)) + tiny


class _Perturbation:
    """Moves the results of each equation by (1), with given random signs.

    The size of (1) hardly differs between samples, and computing it takes longer than all else. The
    first sample stores it in `sizes`, by equation and by the number of times the equation has run;
    later samples read it.
    """

    OFFSETS = 4096  # each equation starts at another offset of the signs

    def __init__(self, signs: Any, how: Arithmetic, sizes: dict | None):
        self.signs, self.how = signs, how
        self.sizes, self.count = sizes if sizes is not None else {}, 0
        self.came: dict[int, int] = {}

    def __call__(self, equation, operands, results, is_narrow):
        if equation.primitive.name in EXACT:
            return results
        key = id(equation)
        self.came[key] = came = self.came.get(key, 0) + 1
        sizes = self.sizes.get((key, came))
        if sizes is None:
            how = self.how.own() if is_narrow else self.how
            sizes = [
                how.larger * _size(result, *error(equation, operands, result, which, how))
                if jnp.issubdtype(result.dtype, jnp.inexact)
                else None
                for which, result in enumerate(results)
            ]
            self.sizes[key, came] = sizes
        return [
            result if size is None else self._moved(result, size)
            for result, size in zip(results, sizes, strict=True)
        ]

    def _moved(self, result, size):
        self.count += 1
        signs = self._signs(1499 * self.count, result)
        if jnp.issubdtype(result.dtype, jnp.complexfloating):
            signs = signs + 1j * self._signs(1499 * self.count + 750, result)
        # NumPy is ten times as fast for the usual small arrays.
        if not isinstance(result, Tracer):
            result = np.asarray(result)
        return result + size * signs

    def _signs(self, offset, result):
        start = offset % self.OFFSETS
        return self.signs[start : start + result.size].reshape(result.shape)


def _size(result, scale, of_result, of_scale, least):
    """The size of (1) for a sign of 1, from the result and from the scale of a contraction."""
    numpy = jnp if isinstance(result, Tracer) else np
    magnitude = abs(numpy.asarray(result))
    size = of_result * magnitude + least
    if of_scale is not None:  # the magnitude also where the scale is NaN
        size = size + of_scale * numpy.where(scale > magnitude, scale, magnitude)
    # Infinite values are not moved: 0·inf is NaN.
    return numpy.where(numpy.isfinite(size), size, 0) / _UNIT_SIGN
