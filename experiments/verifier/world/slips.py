"""Slips that any rule can have, applied to the right reverse rule.

A slip that changes nothing, such as a transposition of a symmetric gradient, does not count.
`changes` compares it with the right gradient in float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import functions as F

# A slip must change the gradient by more than this share of its largest element.
LEAST = 1e-4

# One slip drops cotangents below the first value, another clips those above the second.
SMALL, LARGE = 1e-3, 1e3


def _sign(f, args, bars, w, _):
    return [-bar for bar in bars]


def _factor(f, args, bars, w, _):
    return [1.01 * bar for bar in bars]


def _transposed(f, args, bars, w, _):
    """Exchange two axes of equal size, or two arguments of equal shape, or reverse the elements."""
    for i, bar in enumerate(bars):
        for b in range(bar.ndim):
            for a in range(b):
                if 1 < bar.shape[a] == bar.shape[b]:
                    return [*bars[:i], jnp.swapaxes(bar, a, b), *bars[i + 1 :]]
    for j in range(len(bars)):
        for i in range(j):
            if bars[i].shape == bars[j].shape:
                changed = list(bars)
                changed[i], changed[j] = bars[j], bars[i]
                return changed
    return [bar.ravel()[::-1].reshape(bar.shape) for bar in bars]


def _one_element(f, args, bars, w, place):
    """1 % in one element, whose position is given."""
    argument, element = place
    flat = jnp.ravel(bars[argument])
    changed = flat.at[element].multiply(1.01).reshape(bars[argument].shape)
    return [*bars[:argument], changed, *bars[argument + 1 :]]


def _dropped_term(f, args, bars, w, _):
    """Without the contribution of the last element of each result."""
    kept = jax.tree.map(lambda a: jnp.ravel(a).at[-1].set(0).reshape(a.shape), w)
    return jax.vjp(f, *args)[1](kept)


def _wrong_point(f, args, bars, w, _):
    return jax.vjp(f, *(0.99 * a for a in args))[1](w)


def _small_dropped(f, args, bars, w, _):
    return jax.vjp(f, *args)[1](jax.tree.map(lambda a: jnp.where(abs(a) < SMALL, 0, a), w))


def _large_clipped(f, args, bars, w, _):
    return jax.vjp(f, *args)[1](jax.tree.map(lambda a: jnp.clip(a, -LARGE, LARGE), w))


def _value_doubled(f, args, bars, w, _):
    return bars


# From the function, its arguments, their right cotangents, the cotangent of the result, and the
# argument and position of the largest cotangent.
Rule = Callable[[Callable[..., Any], tuple, list, Any, tuple[int, int]], Any]
SLIPS: dict[str, Rule] = {
    "sign": _sign,
    "factor of 1.01": _factor,
    "transposed": _transposed,
    "one element": _one_element,
    "dropped term": _dropped_term,
    "wrong point": _wrong_point,
    "value doubled": _value_doubled,
    "small cotangents dropped": _small_dropped,
    "large cotangents clipped": _large_clipped,
}
# The factor on the cotangents for which a slip shows.
_SCALES = {"small cotangents dropped": SMALL / 100, "large cotangents clipped": 100 * LARGE}


def with_slip(f: Callable[..., Any], args: tuple, slip: str) -> Callable[..., Any]:
    """The function with a reverse rule that has a slip.

    Args:
      f: The function.
      args: The arguments of the check, which decide which element is wrong.
      slip: One of `SLIPS`.
    """
    place = _largest(_right(f, args, 1.0)[1])

    def rule(true, args, w):
        bars = SLIPS[slip](f, args, list(true), w, place)
        return [jnp.asarray(bar, a.dtype) for bar, a in zip(bars, args, strict=True)]

    wrong = F.with_vjp(f, rule)
    if slip == "value doubled":  # the value is right if nothing is differentiated
        wrong.defvjp(
            lambda *args: (jax.tree.map(lambda y: 2 * y, f(*args)), args),
            lambda args, w: tuple(jax.vjp(f, *args)[1](w)),
        )
    return wrong


def changes(f: Callable[..., Any], args: tuple, slip: str) -> bool:
    """Whether a slip changes the gradient of this function at these float64 arguments."""
    w, right = _right(f, args, _SCALES.get(slip, 1.0))
    if slip == "value doubled":
        return any(float(abs(y).max()) > 0 for y in jax.tree.leaves(f(*args)))
    wrong = SLIPS[slip](f, args, list(right), w, _largest(right))
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(right, wrong, strict=True)]
    largest = max(np.abs(a).max(initial=0.0) for a, _ in pairs)
    return any(np.abs(a - b).max(initial=0.0) > LEAST * largest for a, b in pairs)


def _right(f, args, scale):
    """A cotangent of the result, and the right cotangents of the arguments."""
    values, pull_back = jax.vjp(f, *args)
    rng = np.random.default_rng(0)
    w = jax.tree.map(lambda y: jnp.asarray(scale * rng.normal(size=y.shape), y.dtype), values)
    return w, pull_back(w)


def _largest(bars):
    """The argument and the position of the largest cotangent."""
    argument = int(np.argmax([float(jnp.abs(bar).max(initial=0.0)) for bar in bars]))
    return argument, int(jnp.argmax(jnp.abs(bars[argument])))
