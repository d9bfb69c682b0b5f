"""How a batch of convolutions becomes one convolution: the batching rule of the triangle.

In T(x, k, y) each pair of slots shares one letter: x and y the example n, x and k the input channel
c, k and y the output channel o. Let one operand of a corner carry a batch axis. The result carries
it, too, so it may be counted with the letter that these two share, and the third slot never sees
it:

    x batched, y wanted: n        k batched, y wanted: o        y batched, k wanted: o
    y batched, x wanted: n        k batched, x wanted: c        x batched, k wanted: c

If both operands carry it, all three slots do: the batch becomes a feature group. So it does where
it is split over a mesh and there are groups.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .._geometry import Geometry
from .._typing import Array

_SHARED_LETTER = {frozenset("xy"): "n", frozenset("xk"): "c", frozenset("ky"): "o"}
_AXIS = {
    ("x", "n"): 0,
    ("y", "n"): 0,
    ("x", "c"): -1,
    ("k", "c"): -2,
    ("k", "o"): -1,
    ("y", "o"): -1,
}


def fold_batch(
    corners: Mapping[str, Callable[..., Array]],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    *,
    geometry: Geometry,
    **params,
) -> Array:
    """Evaluate a corner for operands with a leading batch axis; see `multilinear_form`."""
    operand_slots = [s for s in corners if s != slot]
    (size,) = {a.shape[0] for a, b in zip(operands, batched, strict=True) if b}
    if not size:  # of no members, the shape of one is all that there is to know
        one = [
            jnp.zeros((1, *a.shape[1:]), a.dtype) if b else a
            for a, b in zip(operands, batched, strict=True)
        ]
        return fold_batch(corners, slot, one, batched, geometry=geometry, **params)[:0]
    carrier = operand_slots[batched.index(True)]
    letter = _SHARED_LETTER[frozenset((carrier, slot))]
    layout = jax.typeof(operands[batched.index(True)]).sharding
    if layout.spec[0] is not None and letter != "n" and geometry.groups > 1:
        # An axis cannot be split over devices between its groups and what is inside them.
        operands = [
            a if b else _repeated(a, size, layout) for a, b in zip(operands, batched, strict=True)
        ]
        batched = [True, True]
    if all(batched):
        grouped = replace(geometry, groups=size * geometry.groups)
        folded = [_fold(a, -1, 1) for a in operands]
        out = corners[slot](*folded, geometry=grouped, **params)
        return _unfold(out, -1, 1, size)
    folded = [
        _fold(a, *_place(carrier, letter, geometry)) if b else a
        for a, b in zip(operands, batched, strict=True)
    ]
    out = corners[slot](*folded, geometry=geometry, **params)
    return _unfold(out, *_place(slot, letter, geometry), size)


def _repeated(a: Array, size: int, layout: NamedSharding) -> Array:
    """An array for each member of a batch, where the batch is split as in the other `layout`."""
    spec = PartitionSpec(layout.spec[0], *jax.typeof(a).sharding.spec)
    return jax.sharding.reshard(jnp.broadcast_to(a, (size, *a.shape)), layout.update(spec=spec))


def _place(slot: str, letter: str, geometry: Geometry) -> tuple[int, int]:
    """The axis that counts a letter, and the number of feature groups it falls into."""
    # A kernel's own input channels are those of one group.
    grouped = letter != "n" and (slot, letter) != ("k", "c")
    return _AXIS[slot, letter], geometry.groups if grouped else 1


def _fold(a: Array, axis: int, groups: int) -> Array:
    """Move the leading batch axis into `axis`, between its groups and what is inside them."""
    size, *shape = a.shape
    axis %= len(shape)
    counted = (groups,) if groups > 1 else ()  # an axis of 1 would hide how the batch is split
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
