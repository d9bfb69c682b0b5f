"""How exact the values of a function are, which is what its derivative can be held to."""

import jax
import jax.numpy as jnp
import numpy as np

from . import _constants
from ._interpreter import equations
from ._loops import stops_when_close
from ._operations import FINE, Arithmetic, is_float, unit
from ._problem import join, split
from ._truth import Primal

# Points on a line.
_POINTS = np.arange(-4, 5)
# Primitives that compute what no rule of arithmetic tells.
_FOREIGN = frozenset(["pure_callback", "io_callback", "ffi_call", "custom_call"])


def set_precision(primal: Primal, tolerance: float | None, direction: np.ndarray) -> None:
    """Tell a function's values how exact they are.

    Args:
      primal: The values.
      tolerance: What the caller says; None is what the function itself says.
      direction: A flat direction to look for noise along.
    """
    coarsest = coarsest_unit(primal)
    noise, found = _noise_and_tolerance(primal, direction)
    tolerance = found if tolerance is None else tolerance
    # Single precision is what half precision's formulas are computed in.
    narrow = min(coarsest, unit(jnp.float32))
    if found and narrow > FINE:  # such a loop stops at the precision of its dtype
        noise = max(noise, narrow)
    primal.unit = max(primal.unit, noise)
    primal.arithmetic = Arithmetic(max(narrow, tolerance), coarsest, tolerance)


def coarsest_unit(primal: Primal) -> float:
    """The unit of the coarsest dtype in which a function computes."""
    dtypes = [leaf.dtype for leaf in primal.problem.point]
    dtypes += [
        v.aval.dtype for e in equations(primal.traced) for v in e.outvars if is_float(v.aval)
    ]
    return max(unit(dtype) for dtype in dtypes)


def _noise_and_tolerance(primal, direction):
    """By how much values jump, and what a function is off by that stops when it is close."""
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
    """How far the values move, as a share of them, if each loop goes on after it would stop."""
    if primal.is_as_it_is:  # its loops aren't seen
        return 0.0
    leaves = split(primal.problem.leaves, primal.point)
    with jax.enable_x64(True):
        once, twice = (join(primal.function64(*leaves, visit=v)) for v in (None, _OneMoreRound()))
    gap = np.abs(twice - once)
    size = np.abs(once).max(initial=0.0)
    return float(np.max(gap / size, initial=0.0, where=np.isfinite(gap))) if size else 0.0


class _OneMoreRound:
    """Tells the interpreter to run the body of a loop once more after its condition is false."""

    extra_rounds = 1

    def __call__(self, equation, operands, results, is_narrow):
        return results


def _noise(primal, direction):
    """By how much values jump between points near each other, as a share of them.

    Where high differences of equidistant values don't fall, the values are noisy. So they are at a
    kink, too: but there the jump falls as the points come closer, and at a jump it stays.
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
    """The largest step of one result on a line between two places, as these come together."""

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
