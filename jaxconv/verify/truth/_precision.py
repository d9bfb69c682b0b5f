"""How exact the values of a function are. Its derivative can be no more exact."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import _constants
from .._problem import join, split
from ..program._loops import stops_when_close
from ..program._wide import equations
from ._operations import FINE, Arithmetic, is_float, unit
from ._truth import Primal

# Points on a line, in units of the distance between them.
_POINTS = np.arange(-4, 5)
# Primitives that run foreign code, whose rounding is unknown.
_FOREIGN = frozenset(["pure_callback", "io_callback", "ffi_call", "custom_call"])


def set_precision(primal: Primal, tolerance: float | None, direction: np.ndarray) -> None:
    """Find out how exact the values of a function are, and store it in `primal`.

    Args:
      primal: The values of the function.
      tolerance: The relative error of the values according to the caller; None to estimate it.
      direction: A flat direction along which to look for noise.
    """
    coarsest = coarsest_unit(primal)
    noise, found = _noise_and_tolerance(primal, direction)
    tolerance = found if tolerance is None else tolerance
    # Formulas of half precision are computed in single precision.
    narrow = min(coarsest, unit(jnp.float32))
    if found and narrow > FINE:  # the loop stops at the precision of its dtype
        noise = max(noise, narrow)
    primal.unit = max(primal.unit, noise)
    primal.arithmetic = Arithmetic(max(narrow, tolerance), coarsest, tolerance)


def coarsest_unit(primal: Primal) -> float:
    """The unit roundoff of the coarsest dtype in which the function computes."""
    dtypes = [leaf.dtype for leaf in primal.problem.point]
    dtypes += [
        v.aval.dtype for e in equations(primal.traced) for v in e.outvars if is_float(v.aval)
    ]
    return max(unit(dtype) for dtype in dtypes)


def _noise_and_tolerance(primal, direction):
    """The size of the jumps in the values, and their error if a loop stops when close."""
    found = list(equations(primal.traced))
    stops = any(e.primitive.name == "while" and stops_when_close(e) for e in found)
    if not stops and not any(e.primitive.name in _FOREIGN for e in found):
        return 0.0, 0.0
    noise = min(_noise(primal, direction), _constants.MOST_NOISE)
    if not stops:
        return noise, noise
    moved = min(_constants.ROUNDS * _one_more_round(primal), _constants.MOST_NOISE)
    return noise, max(noise, moved, _constants.STOPPING)


def _one_more_round(primal):
    """The relative change of the values if each loop runs one more iteration."""
    if primal.is_as_it_is:  # its loops are not evaluated by the interpreter
        return 0.0
    leaves = split(primal.problem.leaves, primal.point)
    with jax.enable_x64(True):
        once, twice = (join(primal.function64(*leaves, visit=v)) for v in (None, _OneMoreRound()))
    gap = np.abs(twice - once)
    size = np.abs(once).max(initial=0.0)
    return float(np.max(gap / size, initial=0.0, where=np.isfinite(gap))) if size else 0.0


class _OneMoreRound:
    """A `visit` that makes the interpreter run each loop one iteration longer."""

    extra_rounds = 1

    def __call__(self, equation, operands, results, is_narrow):
        return results


def _noise(primal, direction):
    """The size of the jumps in the values between neighbouring points, relative to the values.

    High differences of equidistant values that don't decrease with the distance show noise or a
    kink. At a kink the jump decreases as the points come closer; noise stays.
    """
    most = 0.0
    for distance in (_constants.DISTANCE * 1e-3**i for i in range(3)):
        values = primal.many(primal.point + distance * _POINTS[:, None] * direction)
        size = np.abs(values).max(initial=0.0)
        if not np.isfinite(values).all() or not size:
            continue
        high = np.abs(np.diff(values, 4, axis=0))
        element = int(high.max(axis=0).argmax())
        first = int(np.abs(np.diff(values[:, element], 2)).argmax())
        low, high = (distance * _POINTS[first + i] for i in (0, 2))
        most = max(most, _jump(primal, direction, element, low, high) / size)
    return most


def _jump(primal, direction, element, low, high):
    """The largest step of one result between two points on a line, found by bisection."""

    def value(t):
        return primal(primal.point + t * direction)[element]

    at_low, at_high = value(low), value(high)
    while high - low > 1e-14:
        middle = (low + high) / 2
        if not low < middle < high:
            break
        at_middle = value(middle)
        if abs(at_middle - at_low) >= abs(at_high - at_middle):
            high, at_high = middle, at_middle
        else:
            low, at_low = middle, at_middle
    jump = abs(at_high - at_low)
    return jump if jump > _constants.JUMP * FINE * max(abs(at_low), abs(at_high)) else 0.0
