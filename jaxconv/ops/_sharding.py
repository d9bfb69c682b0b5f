"""How the result of a contraction is sharded over a mesh with explicit axes.

In T(x, k, y) each letter of an outer axis stands in two slots: n in x and y, c in x and k, o in k
and y. The result of a contraction is sharded along a letter as the operand that has the letter is.
The letter that both operands have is summed over. They must be sharded alike along it, and the sum
then runs over devices, too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .._spec import ConvSpec, Slot

# The letters of the first and last of a slot's outer axes. With feature groups, one axis of each
# slot counts the groups, "g", and the kernel's other axis the channels, "i", of one group.
_LETTERS = {Slot.INPUT: ("n", "c"), Slot.KERNEL: ("c", "o"), Slot.OUTPUT: ("n", "o")}
_LETTERS_IN_GROUPS = {Slot.INPUT: ("n", "g"), Slot.KERNEL: ("i", "g"), Slot.OUTPUT: ("n", "g")}


def shard(slot: Slot, shape: Any, *operands: Any, spec: ConvSpec) -> tuple[Any, ...]:
    """The mesh axes over which each axis of a result is sharded; see `multilinear_form`.

    Raises:
      ValueError: A spatial axis is sharded, or the operands do not agree.
    """
    groups, rank = spec.geometry.groups, spec.geometry.rank
    letters = _LETTERS if groups == 1 else _LETTERS_IN_GROUPS
    mesh_axes: dict[str, list[Any]] = {"i": [None]}  # the channels of a group are not sharded
    for operand_slot, operand in zip(slot.others, operands, strict=True):
        outer = _outer_axes(operand_slot, operand)
        for letter, axes in zip(letters[operand_slot], outer, strict=True):
            mesh_axes.setdefault(letter, []).append(axes)
    _check_agreement(mesh_axes)
    _check_whole_groups(groups, mesh_axes.get("g", ()), operands)
    first, last = (mesh_axes[letter][0] for letter in letters[slot])
    spatial = (None,) * rank
    return (*spatial, first, last) if slot is Slot.KERNEL else (first, *spatial, last)


def _outer_axes(slot: Slot, operand: Any) -> tuple[Any, Any]:
    """The mesh axes of an operand's two outer axes."""
    spec = list(operand.sharding.spec)
    outer = spec.pop(-2 if slot is Slot.KERNEL else 0), spec.pop()
    if any(axes is not None for axes in spec):
        raise ValueError(
            f"The spatial axes of a convolution must not be sharded over a mesh, got {slot} as "
            f"{operand.sharding.spec}; see jax.sharding.reshard."
        )
    return outer


def _check_agreement(mesh_axes: Mapping[str, Sequence[Any]]) -> None:
    for letter, axes in mesh_axes.items():
        if len(set(axes)) > 1:
            raise ValueError(f"{_MUST_MATCH[letter]}, got {axes}; see jax.sharding.reshard.")


_MUST_MATCH = {
    letter: f"Both operands of a convolution must be sharded alike along the axis {letter!r} that "
    "they share"
    for letter in "nco"
} | {
    "g": "Both operands of a convolution with feature groups must be sharded alike along the "
    "channels that count the groups",
    "i": "The channels of one feature group must not be sharded over a mesh",
}


def _check_whole_groups(groups: int, mesh_axes: Sequence[Any], operands: Sequence[Any]) -> None:
    for axes in set(mesh_axes) - {None}:
        mesh = next(a.sharding.mesh for a in operands if not a.sharding.mesh.empty)
        names = axes if isinstance(axes, tuple) else (axes,)
        devices = math.prod(mesh.shape[name] for name in names)
        if groups % devices:
            raise ValueError(
                f"The channels of a convolution with feature groups must be sharded so that every "
                f"device gets whole groups, got {groups} groups for the {devices} devices of "
                f"mesh axes {axes}; see jax.sharding.reshard."
            )
