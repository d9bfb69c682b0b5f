"""Feature groups one after another: each is a convolution without groups.

    T(x, k, y) = Σ_g T_g(x_g, k_g, y_g)    over the groups g of the channels      (1)

The groups share nothing, so a contraction of T consists of those of the T_g. Libraries of
convolutions are slow at feature groups. A loop over them can use any algorithm for one group. A
batch of kernels (an ensemble under `jax.vmap`, or the kernel gradients of single examples) arrives
as feature groups, too, and its members are contiguous again after (1).

Takes the time of each group's contraction, and of a loop's turn for it. Channels are laid out group
by group. It is the fastest where a group has work enough to keep the cores busy.
"""

import math

import jax.numpy as jnp
from jax import lax

from ..._spec import ConvSpec, Slot
from ..._typing import Array
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ._rates import LAUNCH, REGROUPED

# Operations in the time that a direct convolution spends on each position of a group, however few
# channels the group has.
_POSITION = 1.1e4


class GroupByGroup(Algorithm):
    """(1) as a loop, whose body is left to another algorithm."""

    name = "group_by_group"
    remainder = Remainder.GROUP

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """A loop over the groups."""
        groups = spec.geometry.groups
        one = spec.replace(geometry=spec.geometry.with_groups(1))
        by_group = _groups_first(first, groups), _groups_first(second, groups)
        return _groups_joined(lax.map(lambda pair: solve(slot, one, *pair), by_group))  # (1)

    def why_not(self, problem: Problem) -> str:
        """Why there is no loop; empty if there is one."""
        return "" if problem.geometry.groups > 1 else "there is one feature group"

    def cost(self, problem: Problem) -> float:
        """Laying out channels group by group."""
        slot, geometry, n, c, o, _ = problem
        inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
        positions = {Slot.KERNEL: 0, Slot.OUTPUT: outputs, Slot.INPUT: inputs}[slot]
        copied = REGROUPED * n * (inputs * c + outputs * o)
        return LAUNCH + copied + _POSITION * n * geometry.groups * positions

    def leaves(self, problem: Problem) -> Problem:
        """The contraction of one group."""
        groups = problem.geometry.groups
        return problem._replace(
            geometry=problem.geometry.with_groups(1), c=problem.c // groups, o=problem.o // groups
        )

    def repeats(self, problem: Problem) -> int:
        """Once for each group."""
        return problem.geometry.groups


def _groups_first(a: Array, groups: int) -> Array:
    """`(…, g·channels)` as `(g, …, channels)`. The c of a kernel is that of one group already."""
    return jnp.moveaxis(a.reshape(*a.shape[:-1], groups, -1), -2, 0)


def _groups_joined(a: Array) -> Array:
    """The inverse of `_groups_first`."""
    a = jnp.moveaxis(a, 0, -2)
    return a.reshape(*a.shape[:-2], -1)
