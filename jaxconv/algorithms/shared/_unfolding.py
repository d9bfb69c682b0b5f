"""Patches side by side, and their sum: im2col and its transpose, axis by axis.

An axis adds one slice for each of its taps, so the program grows with the sum of the window's
sizes and not with their product.
"""

import math

import jax.numpy as jnp

from ..._geometry import Geometry
from ..._typing import Array
from ._dtypes import accumulator
from ._taps import place_taps, taps


def unfold_windows(x: Array, *, geometry: Geometry) -> Array:
    """patches[p, r·c + channel] = x[s·p + d·r - lo, channel], with r row-major in the window."""
    *_, c = x.shape
    for axis in range(geometry.rank):
        x = jnp.stack(taps(x, axis, geometry), -2)
    return x.reshape(*x.shape[: geometry.rank + 1], math.prod(geometry.window) * c)


def fold_windows(patches: Array, *, geometry: Geometry) -> Array:
    """The transpose of `unfold_windows`: each position adds up what the patches hold for it."""
    *outer, length = patches.shape
    total = patches.reshape(*outer, *geometry.window, length // math.prod(geometry.window))
    total = total.astype(accumulator(patches.dtype))
    for axis in reversed(range(geometry.rank)):
        total = place_taps(lambda r, total=total: total[..., r, :], axis, geometry)
    return total.astype(patches.dtype)
