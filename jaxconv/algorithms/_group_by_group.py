"""Feature groups one after another: each is a convolution without groups.

    T(x, k, y) = Σ_g T_g(x_g, k_g, y_g)    over the groups g of the channels      (1)

The groups share nothing, so a corner of T is the corners of the T_g side by side. Libraries of
convolutions do groups last and slowly; a loop over them has the whole choice of algorithms for what
is left. A batch of kernels (an ensemble under `jax.vmap`, or the kernel gradients of single
examples) arrives as feature groups, too, and its members are contiguous again after (1).

Cost: that of each group's corner, and a loop's turn for it; channels are laid out group by group.
It wins where a group has work enough to keep the cores busy.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Array
from ._arrays import Dtypes
from ._problem import Problem


def group_by_group(
    slot: str, *operands: Array, geometry: Geometry, dtypes: Dtypes, solve: Callable[..., Array]
) -> Array:
    """A corner as a loop over its groups; `solve` computes that of one group."""
    one = geometry.with_groups(1)

    def corner(group: tuple[Array, ...]) -> Array:
        return solve(slot, *group, geometry=one, dtypes=dtypes)

    groups = tuple(_split(operand, geometry.groups) for operand in operands)
    return _join(lax.map(corner, groups))  # (1)


def why_not(problem: Problem) -> str:
    """What keeps a corner from being computed so; empty if nothing does."""
    return "" if problem.geometry.groups > 1 else "there is one feature group"


def leaves(problem: Problem) -> Problem:
    """The corner of one group."""
    slot, geometry, n, c, o = problem
    groups = geometry.groups
    return Problem(slot, geometry.with_groups(1), n, c // groups, o // groups)


def _split(a: Array, groups: int) -> Array:
    """`(…, g·channels)` becomes `(g, …, channels)`; of a kernel, too, whose c is a group's."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, -1), -2, 0)


def _join(a: Array) -> Array:
    """The inverse of `_split`."""
    a = jnp.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], -1)
