"""Rules that are independent of what an operation computes: batching and explicit sharding.

How vmap puts a batch into the leading axis, and how a result is sharded over a mesh with explicit
axes. A form takes one of them where it is right and saves work: `batch=broadcast_batch`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
from jax.sharding import NamedSharding, PartitionSpec

from .._typing import AnyArray, Array

# For each axis of an array, the mesh axes that the array is sharded over, or None.
Partition: TypeAlias = tuple[Any, ...]


# How vmap puts a batch into the leading axis.


def with_leading_batch(operands: Sequence[AnyArray], axes: Sequence[int | None]) -> list[Array]:
    """The operands as arrays of JAX, each batched one with its batch as the leading axis."""
    return [
        jax.numpy.asarray(operand) if axis is None else jax.numpy.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    ]


def broadcast_batch(
    contractions: Mapping[str, Callable[..., Any]],
    slot: str,
    operands: Sequence[Any],
    batched: Sequence[bool],
    **params: Any,
) -> Any:
    """Batching rule of a map that acts on each element alone, and so takes any leading axes.

    Args:
      contractions: For each slot of the form, the operation that leaves it empty.
      slot: The slot that is empty here.
      operands: The operands. Those of a batch have it as the leading axis of their shape.
      batched: For each operand, whether it has a batch.
      **params: The static parameters.

    Returns:
      The result, with the batch as its leading axis.

    Raises:
      ValueError: The batches differ in size.

    >>> from jaxconv import forms
    >>> import jax, jax.numpy as jnp
    >>> double, _ = forms.linear_pair(
    ...     lambda x: 2 * x, lambda y: 2 * y, batch=forms.broadcast_batch
    ... )
    >>> jax.vmap(double)(jnp.ones((2, 1)))
    Array([[2.],
           [2.]], dtype=float32)
    """
    return contractions[slot](*in_every_member(operands, batched), **params)


def merge_leading_axes(
    contractions: Mapping[str, Callable[..., Any]],
    slot: str,
    operands: Sequence[Any],
    batched: Sequence[bool],
    **params: Any,
) -> Any:
    """Batching rule of a map whose operands' leading axes count independent examples.

    A batch of batches is then one longer batch.

    Args:
      contractions: As in `broadcast_batch`.
      slot: As in `broadcast_batch`.
      operands: As in `broadcast_batch`, of shape `(examples, ...)` without the batch.
      batched: As in `broadcast_batch`.
      **params: The static parameters.

    Returns:
      The result, with the batch as its leading axis.

    Raises:
      ValueError: The batches differ in size.

    >>> from jaxconv import forms
    >>> import jax, jax.numpy as jnp
    >>> spread, total = forms.linear_pair(
    ...     lambda x: jnp.repeat(x, 2, 1),
    ...     lambda y: y.reshape(len(y), -1, 2).sum(2),
    ...     batch=forms.merge_leading_axes,
    ... )
    >>> jax.vmap(total)(jnp.ones((3, 1, 4)))[0]
    Array([[2., 2.]], dtype=float32)
    """
    operands = in_every_member(operands, batched)
    size, examples, *_ = operands[0].shape
    merged = (a.reshape(size * examples, *a.shape[2:]) for a in operands)
    out = contractions[slot](*merged, **params)
    return jax.tree.map(lambda a: a.reshape(size, examples, *a.shape[1:]), out)


def in_every_member(operands: Sequence[Array], batched: Sequence[bool]) -> list[Array]:
    """The operands, all with the leading batch axis that some of them have."""
    (size,) = {operand.shape[0] for operand, b in zip(operands, batched, strict=True) if b}
    return [
        operand if b else jax.numpy.broadcast_to(operand, (size, *operand.shape))
        for operand, b in zip(operands, batched, strict=True)
    ]


# How a result is sharded.


def vary_alike(operands: Sequence[Any]) -> Sequence[Any]:
    """Bring operands to the same varying axes, as `shard_map` with its replication check requires.

    An operand that is replicated over a mesh axis counts as varying where another operand varies
    over the axis. The transpose of that step sums over the axis, as a shared parameter needs.
    """
    varying = [jax.typeof(operand).manual_axis_type.varying for operand in operands]
    together = frozenset().union(*varying)
    return [
        jax.lax.pcast(a, tuple(together - axes), to="varying") if together - axes else a
        for a, axes in zip(operands, varying, strict=True)
    ]


def aval_like(avals: Sequence[Any], out: Any, sharding: Partition | NamedSharding) -> Any:
    """The abstract value of a result of the shape and dtype of `out`, on the operands' mesh."""
    if not isinstance(sharding, NamedSharding):
        # An array that was made outside a mesh is not sharded on any mesh.
        meshes = [aval.sharding.mesh for aval in avals]
        mesh = next((mesh for mesh in meshes if not mesh.empty), meshes[0])
        sharding = NamedSharding(mesh, PartitionSpec(*sharding))
    # All operands vary over the same axes of a `shard_map`, and so does the result.
    return avals[0].update(shape=out.shape, dtype=out.dtype, weak_type=False, sharding=sharding)


def nothing_sharded(slot: str, shape: tuple[int, ...], *operands: Any, **params: Any) -> Partition:
    """Sharding rule of a map whose operands must not be sharded over a mesh with explicit axes.

    Args:
      slot: The slot that is empty.
      shape: The shape of the result.
      *operands: The operands' abstract values.
      **params: The static parameters.

    Returns:
      For each axis of the result, the mesh axes that it is sharded over: None.

    Raises:
      ValueError: An operand is sharded.

    >>> import jax, jax.numpy as jnp
    >>> nothing_sharded("out", (2, 3), jax.typeof(jnp.ones(3)))
    (None, None)
    """
    if any(axes is not None for operand in operands for axes in operand.sharding.spec):
        raise ValueError(
            "This operation takes arrays that are not sharded, see jax.sharding.reshard."
        )
    return (None,) * len(shape)


def axis_by_axis(
    slot: str, shape: tuple[int, ...], operand: Any, *others: Any, **params: Any
) -> Partition:
    """Sharding rule of a map that keeps its operand's axes: axes of the same size stay sharded.

    Args:
      slot: The slot that is empty.
      shape: The shape of the result.
      operand: The first operand's abstract value.
      *others: Those of the other operands.
      **params: The static parameters.

    Returns:
      For each axis of the result, the mesh axes that it is sharded over, or None.

    Raises:
      ValueError: An axis that changes its size is sharded.

    >>> import jax, jax.numpy as jnp
    >>> axis_by_axis("out", (2, 3), jax.typeof(jnp.ones((2, 6))))
    (None, None)
    """
    spec = tuple(operand.sharding.spec)
    for axis, (mesh_axes, size, new) in enumerate(zip(spec, operand.shape, shape, strict=True)):
        if mesh_axes is not None and size != new:
            raise ValueError(
                f"Axis {axis}, of size {size}, is sharded over mesh axes {mesh_axes} and its size "
                f"becomes {new}. Spatial axes must not be sharded, see jax.sharding.reshard."
            )
    return spec
