"""An operation of JAX out of a function: a primitive, with the rules by which JAX handles it.

`Operation` makes the primitive and says what it compiles to on each platform. The author of the
operation passes the other rules to `define`. `_forms.py` derives them for linear maps.

Two kinds of rules are independent of what an operation computes. They are written here: how vmap
puts a batch into the leading axis, and how a result is sharded over a mesh with explicit axes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ._compilation import of_program
from ._typing import AnyArray, Array

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # The same class. Importing jax.extend takes half as long as importing this library.
    Primitive = type(jax.lax.add_p)

# A function of arrays, the operands in slot order, and of static keyword parameters.
Map: TypeAlias = Callable[..., Any]
# For each axis of an array, the mesh axes that the array is sharded over, or None.
Partition: TypeAlias = tuple[Any, ...]


class Operation:
    """A map that JAX can differentiate, batch, shard and compile. It is called as the map is.

    Parameters are static and hashable.

    Args:
      name: Name of the primitive.
      default: The map, as it is compiled where `lowerings` has no other one.
      lowerings: `{platform: map}`, for the platforms "cpu", "cuda", "rocm" and "tpu".
      multiple_results: Whether the map returns a sequence of arrays.
    """

    def __init__(
        self,
        name: str,
        default: Map,
        lowerings: Mapping[str, Map],
        *,
        multiple_results: bool = False,
    ):
        self.name = name
        self.primitive = Primitive(name)
        self.primitive.multiple_results = multiple_results
        self.primitive.def_impl(self._run_now)
        mlir.register_lowering(self.primitive, _lowering_rule(default, multiple_results))
        for platform, lowering in lowerings.items():
            rule = _lowering_rule(lowering, multiple_results)
            mlir.register_lowering(self.primitive, rule, platform=platform)

    def define(
        self,
        *,
        abstract: Callable[..., Any],
        jvp: Callable[..., Any],
        batch: Callable[..., Any],
        transpose: Callable[..., Any] | None = None,
    ) -> None:
        """Register the rules, each as JAX calls it, with the parameters as keywords.

        Args:
          abstract: From the abstract values of the operands to that of the result.
          jvp: From primals and tangents to the result and its tangent.
          batch: From operands and their batched axes to the result and its batched axis.
          transpose: From the result's cotangent and the operands to a cotangent for each operand.
        """
        self.primitive.def_abstract_eval(abstract)
        ad.primitive_jvps[self.primitive] = jvp
        batching.primitive_batchers[self.primitive] = batch
        if transpose is not None:
            ad.primitive_transposes[self.primitive] = transpose

    def __call__(self, *operands: AnyArray, **params: Any) -> Any:
        return self.primitive.bind(*_vary_alike(operands), **params)

    def __repr__(self) -> str:
        return f"<jaxconv operation {self.name}>"

    def _run_now(self, *operands: AnyArray, **params: Any) -> Any:
        # Outside jit this one operation is compiled, for the device that its operands are on.
        # Under `disable_jit` the primitive would call this function again.
        with jax.disable_jit(False):
            return _compiled(self.primitive, tuple(sorted(params.items())))(*operands)


def _lowering_rule(lowering: Map, multiple_results: bool) -> Callable[..., Any]:
    """A map as a lowering rule of JAX, under whatever mesh it is traced."""

    def rule(ctx, *operands, **params):
        def run(*operands):
            # A user's settings are for the user's code.
            with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
                return lowering(*operands, **params)

        f: Any = run
        shardings = [out.sharding for out in ctx.avals_out]
        if AxisType.Explicit in shardings[0].mesh.axis_types:
            # XLA lays out the arrays inside. The sharding rule says how the result is laid out.
            out = tuple(shardings) if multiple_results else shardings[0]
            f = jax.sharding.auto_axes(f, out_sharding=out)
        with of_program(ctx.module_context):
            return mlir.lower_fun(f, multiple_results=multiple_results)(ctx, *operands)

    return rule


@lru_cache(maxsize=4096)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(partial(primitive.bind, **dict(params)))


def _vary_alike(operands: Sequence[AnyArray]) -> Sequence[AnyArray]:
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


# How vmap puts a batch into the leading axis.


def with_leading_batch(operands: Sequence[AnyArray], axes: Sequence[int | None]) -> list[Array]:
    """The operands as arrays of JAX, each batched one with its batch as the leading axis."""
    return [
        jax.numpy.asarray(operand) if axis is None else jax.numpy.moveaxis(operand, axis, 0)
        for operand, axis in zip(operands, axes, strict=True)
    ]


def broadcast_batch(
    contractions: Mapping[str, Operation],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    **params: Any,
) -> Array:
    """Batching rule of a map that acts on each element alone: it takes any leading axes."""
    return contractions[slot](*_broadcast(operands, batched), **params)


def merge_leading_axes(
    contractions: Mapping[str, Operation],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    **params: Any,
) -> Array:
    """Batching rule of a map whose operands' leading axes count independent examples."""
    return in_one_batch(contractions[slot], _broadcast(operands, batched), **params)


def in_one_batch(operation: Operation, operands: Sequence[Array], **params: Any) -> Any:
    """Apply an operation on independent examples to a batch of batches `(size, examples, ...)`."""
    size, examples, *_ = operands[0].shape
    merged = (a.reshape(size * examples, *a.shape[2:]) for a in operands)
    out = operation(*merged, **params)
    return jax.tree.map(lambda a: a.reshape(size, examples, *a.shape[1:]), out)


def _broadcast(operands: Sequence[Array], batched: Sequence[bool]) -> list[Array]:
    """The operands, all with the leading batch axis that some of them have."""
    (size,) = {operand.shape[0] for operand, b in zip(operands, batched, strict=True) if b}
    return [
        operand if b else jax.numpy.broadcast_to(operand, (size, *operand.shape))
        for operand, b in zip(operands, batched, strict=True)
    ]


# How a result is sharded.


def aval_like(
    avals: Sequence[Any], out: jax.ShapeDtypeStruct, sharding: Partition | NamedSharding
) -> Any:
    """The abstract value of a result, on the mesh of the operands."""
    if not isinstance(sharding, NamedSharding):
        # An array that was made outside a mesh is not sharded on any mesh.
        meshes = [aval.sharding.mesh for aval in avals]
        mesh = next((mesh for mesh in meshes if not mesh.empty), meshes[0])
        sharding = NamedSharding(mesh, PartitionSpec(*sharding))
    # All operands vary over the same axes of a `shard_map`, and so does the result.
    return avals[0].update(shape=out.shape, dtype=out.dtype, weak_type=False, sharding=sharding)


def nothing_sharded(slot: str, shape: tuple[int, ...], *operands: Any, **_: Any) -> Partition:
    """Sharding rule of a map whose operands must not be sharded.

    Raises:
      ValueError: An operand is sharded.
    """
    if any(axes is not None for operand in operands for axes in operand.sharding.spec):
        raise ValueError(
            "This operation takes arrays that are not sharded, see jax.sharding.reshard."
        )
    return (None,) * len(shape)


def axis_by_axis(
    slot: str, shape: tuple[int, ...], operand: Any, *others: Any, **_: Any
) -> Partition:
    """Sharding rule of a map that keeps its operand's axes: axes of the same size stay sharded.

    Raises:
      ValueError: An axis that changes its size is sharded.
    """
    spec = tuple(operand.sharding.spec)
    for axis, (mesh_axes, size, new) in enumerate(zip(spec, operand.shape, shape, strict=True)):
        if mesh_axes is not None and size != new:
            raise ValueError(
                f"Axis {axis}, of size {size}, is sharded over mesh axes {mesh_axes} and its size "
                f"becomes {new}. Spatial axes must not be sharded, see jax.sharding.reshard."
            )
    return spec
