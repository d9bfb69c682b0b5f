"""Modules that rearrange features. Flax has none, and `nnx.Sequential` needs them as modules."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx

from .._typing import Array


class Flatten(nnx.Module):
    """Turn each feature map into one vector, in row-major order.

    Called with `(n, *spatial, c)`, it returns `(n, features)`, where `features` is the product of
    the sizes. Channels vary fastest. The derivative is the reverse reshape.

    >>> Flatten()(jnp.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    def __call__(self, x: Array) -> Array:
        n, *sizes = x.shape
        return x.reshape(n, math.prod(sizes))


class Concat(nnx.Module):
    """Send one input through several branches and concatenate their outputs along the channels.

    Called with an array, it returns the outputs of the branches in order, concatenated along the
    last axis. In the reverse pass the cotangent is split in the same way, and the branches'
    cotangents of the input are added up.

    Args:
      *branches: Modules or functions of one array. The shapes of their outputs may differ in the
        last axis only.

    Raises:
      ValueError: There is no branch.

    Source: the inception module of Szegedy et al., "Going deeper with convolutions", CVPR 2015.

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
