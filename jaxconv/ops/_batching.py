"""How a batch of convolutions becomes one convolution: the batching rule of the trilinear form.

In T(x, k, y) each pair of slots shares one letter: x and y the example n, x and k the input channel
c, k and y the output channel o. Let one operand of a contraction carry a batch axis. The result
carries it, too. The batch may therefore be counted with the letter that these two share, and the
third slot never sees it:

    x batched, y wanted: n        k batched, y wanted: o        y batched, k wanted: o
    y batched, x wanted: n        k batched, x wanted: c        x batched, k wanted: c

If both operands carry a batch axis, all three slots do, and the batch becomes a feature group. It
also becomes a feature group where it is sharded over a mesh and there are groups already.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .._spec import ConvSpec, Slot
from .._typing import Array

_X, _K, _Y = Slot
_SHARED_LETTER = {frozenset((_X, _Y)): "n", frozenset((_X, _K)): "c", frozenset((_K, _Y)): "o"}
_AXIS = {(_X, "n"): 0, (_Y, "n"): 0, (_X, "c"): -1, (_K, "c"): -2, (_K, "o"): -1, (_Y, "o"): -1}


def fold_batch(
    contractions: Mapping[Slot, Callable[..., Array]],
    slot: Slot,
    operands: Sequence[Array],
    batched: Sequence[bool],
    *,
    spec: ConvSpec,
) -> Array:
    """Evaluate a contraction for operands with a leading batch axis; see `multilinear_form`."""
    groups = spec.geometry.groups
    (size,) = {a.shape[0] for a, b in zip(operands, batched, strict=True) if b}
    if not size:  # The result of an empty batch is a slice of the result of a batch of one.
        one = [
            jnp.zeros((1, *a.shape[1:]), a.dtype) if b else a
            for a, b in zip(operands, batched, strict=True)
        ]
        return fold_batch(contractions, slot, one, batched, spec=spec)[:0]
    carrier = slot.others[batched.index(True)]
    letter = _SHARED_LETTER[frozenset((carrier, slot))]
    layout = jax.typeof(operands[batched.index(True)]).sharding
    if layout.spec[0] is not None and letter != "n" and groups > 1:
        # A mesh can't shard an axis that counts groups outside and the batch inside.
        operands = [
            a if b else _repeated(a, size, layout) for a, b in zip(operands, batched, strict=True)
        ]
        batched = [True, True]
    if all(batched):
        grouped = spec.replace(geometry=spec.geometry.with_groups(size * groups))
        folded = [_fold(a, -1, 1) for a in operands]
        return _unfold(contractions[slot](*folded, spec=grouped), -1, 1, size)
    folded = [
        _fold(a, *_axis_and_groups(carrier, letter, groups)) if b else a
        for a, b in zip(operands, batched, strict=True)
    ]
    out = contractions[slot](*folded, spec=spec)
    return _unfold(out, *_axis_and_groups(slot, letter, groups), size)


def _repeated(a: Array, size: int, layout: NamedSharding) -> Array:
    """An array repeated for each member of a batch that is sharded as in `layout`."""
    spec = PartitionSpec(layout.spec[0], *jax.typeof(a).sharding.spec)
    return jax.sharding.reshard(jnp.broadcast_to(a, (size, *a.shape)), layout.update(spec=spec))


def _axis_and_groups(slot: Slot, letter: str, groups: int) -> tuple[int, int]:
    """The axis that counts a letter, and the number of feature groups that the axis falls into."""
    # A kernel's input channels are those of one group.
    in_groups = letter != "n" and (slot, letter) != (Slot.KERNEL, "c")
    return _AXIS[slot, letter], groups if in_groups else 1


def _fold(a: Array, axis: int, groups: int) -> Array:
    """Move the leading batch axis into `axis`, between the groups and what is inside a group."""
    size, *shape = a.shape
    axis %= len(shape)
    counted = (groups,) if groups > 1 else ()  # An axis of 1 would hide how the batch is sharded.
    split = a.reshape(size, *shape[:axis], *counted, shape[axis] // groups, *shape[axis + 1 :])
    shape[axis] *= size
    return jnp.moveaxis(split, 0, axis + len(counted)).reshape(shape)


def _unfold(a: Array, axis: int, groups: int, size: int) -> Array:
    """The inverse of `_fold`."""
    shape = list(a.shape)
    axis %= len(shape)
    counted = (groups,) if groups > 1 else ()
    shape[axis] //= size
    split = a.reshape(*shape[:axis], *counted, size, shape[axis] // groups, *shape[axis + 1 :])
    return jnp.moveaxis(split, axis + len(counted), 0).reshape(size, *shape)
