"""Modules that only rearrange: flattening, and branches that meet again."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from .._typing import Array


class Flatten(nnx.Module):
    """Turn each feature map into one vector, row by row.

    Called with `(n, *spatial, c)`, returns `(n, features)` with the product of the sizes as
    features. A permutation of numbers, so its derivative is the reverse one.

    Source: NumPy's `reshape`, in row-major order.

    >>> Flatten()(jnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    def __call__(self, x: Array) -> Array:
        n, *sizes = x.shape
        return x.reshape(n, math.prod(sizes))


class Concat(nnx.Module):
    """Send one input through several branches and join their outputs, channels behind channels.

    Args:
      *branches: Modules or functions of one array; their outputs differ in the last axis at most.

    Called with an array, returns the concatenation along the last axis. The errors are split
    accordingly on the way back, and add up where the branches part.

    Raises:
      ValueError: There is no branch.

    Source: GoogLeNet's joined branches, Szegedy et al., "Going deeper with convolutions", CVPR
    2015.

    >>> branches = Concat(Flatten(), lambda x: x.sum(axis=(1, 2)))
    >>> branches(jnp.ones((2, 4, 4, 3))).shape
    (2, 51)
    """

    def __init__(self, *branches: Callable[[Array], Array]):
        if not branches:
            raise ValueError("Concat: needs at least one branch.")
        self.branches = nnx.List(branches)

    def __call__(self, x: Array) -> Array:
        return jnp.concatenate([branch(x) for branch in self.branches], axis=-1)
