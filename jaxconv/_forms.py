"""From a multilinear map and its transposes to a JAX operation. Nothing here knows of convolution.

A *form* is a function that is linear in each of its slots, say T(a, b, c), summed to a scalar.
Leave one slot out, contract the others, and the form becomes a map, one of its *corners*:

    corner_c(a, b) = ∂T(a, b, c)/∂c,       so that       <corner_c(a, b), c> = T(a, b, c)        (1)

Every corner is linear in each operand, and (1) hands us its transpose: the cotangent of a corner's
output takes the empty slot, and the operand's slot becomes the empty one.

    <corner_c(a, b), c_bar> = T(a, b, c_bar) = <a, corner_a(b, c_bar)>                           (2)

So the transpose of a corner is always another corner of the same form, and no derivative of any
order leaves the form. A form with two slots is a linear map and its transpose; one with three is a
bilinear map and its two. That reverse mode is forward mode, linearised and transposed, is how JAX
works: Radul et al., "You Only Linearize Once", POPL 2023, arXiv:2204.10923; on adjoints in general
Griewank & Walther, "Evaluating Derivatives", 2008.

A corner becomes a `jax.extend.core.Primitive` with
  - a JVP: a sum with one term for each operand that has a tangent, by linearity;
  - a transpose: (2);
  - a batching rule, which the form's author states once for all corners;
  - a sharding rule, for meshes whose axes are explicit: how the result is laid out over devices;
  - lowerings: functions of the same signature, one for each platform, chosen when XLA compiles.

Each operand list may end in *constants*, such as the argmax of a max pool: arrays that the map
depends on without being linear in them and for which no derivative is defined.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ._typing import AnyArray, Array

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # the same class; importing jax.extend would take half as long as importing this library
    Primitive = type(jax.lax.add_p)

# A corner's definition or one of its lowerings: operands in slot order, static keyword parameters.
Map: TypeAlias = Callable[..., Array]
# For each axis of an array, the mesh axes that it is split over, or None.
Partition: TypeAlias = tuple[Any, ...]


class Operation:
    """A corner that JAX can differentiate, batch, partition and compile; called like its map.

    Parameters are static and hashable. Made by `multilinear_form`, not by hand.
    """

    def __init__(self, name: str, default: Map, lowerings: Mapping[str, Map]):
        self.name = name
        self.primitive = Primitive(name)
        self.primitive.def_impl(self._run_now)
        mlir.register_lowering(self.primitive, _lowering_rule(default))
        for platform, lowering in lowerings.items():
            mlir.register_lowering(self.primitive, _lowering_rule(lowering), platform=platform)

    def __call__(self, *operands: AnyArray, **params: Any) -> Array:
        return self.primitive.bind(*_vary_alike(operands), **params)

    def __repr__(self) -> str:
        return f"<jaxconv operation {self.name}>"

    def _run_now(self, *operands: AnyArray, **params: Any) -> Array:
        # Outside jit: compile this one operation, for whatever device its operands are on.
        with jax.disable_jit(False):  # under which a primitive would be run by itself, again
            return _compiled(self.primitive, tuple(sorted(params.items())))(*operands)


def _lowering_rule(lowering: Map) -> Callable[..., Any]:
    """A map as JAX lowers it, whatever mesh it is traced under."""

    def rule(ctx, *operands, **params):
        (out,) = ctx.avals_out

        def run(*operands):
            # A user's settings are for the user's code.
            with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
                return lowering(*operands, **params)

        f: Any = run
        if AxisType.Explicit in out.sharding.mesh.axis_types:
            # How arrays inside are laid out is left to XLA; the rule says how the result is.
            f = jax.sharding.auto_axes(f, out_sharding=out.sharding)
        return mlir.lower_fun(f, multiple_results=False)(ctx, *operands)

    return rule


@lru_cache(maxsize=4096)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
    return jax.jit(partial(primitive.bind, **dict(params)))


def multilinear_form(
    name: str,
    maps: Mapping[str, Map],
    *,
    result: Callable[..., jax.ShapeDtypeStruct],
    batch: Callable[..., Array],
    shard: Callable[..., Partition | NamedSharding] | None = None,
    lowerings: Mapping[str, Mapping[str, Map]] | None = None,
) -> tuple[Operation, ...]:
    """Make the corners of a form into operations, each with the others as its transposes.

    Args:
      name: Name of the form; a corner's primitive is called `{name}_{slot}`.
      maps: The corner that leaves a slot out, for each slot, in slot order. Its operands are the
        other slots in the same order, then the constants, then static keyword parameters.
      result: `result(slot, *avals, **params)` gives shape and dtype of that corner's output.
      batch: `batch(corners, slot, operands, batched, **params)` evaluates a corner for operands
        that carry a leading batch axis where `batched` says so; the output carries one, too.
      shard: `shard(slot, shape, *avals, **params)` gives the mesh axes over which each axis of a
        corner's output, of that shape, is split; by default it is whole, and so must operands be.
        The mesh is the operands'; a rule that knows of another returns a `NamedSharding`.
      lowerings: For a slot, `{platform: map}`: the map to compile on that platform ("cpu", "cuda",
        "rocm", "tpu") in place of the definition.

    Returns:
      One `Operation` for each slot, in order.
    """
    slots = tuple(maps)
    corners: dict[str, Operation] = {}
    for slot in slots:
        corners[slot] = Operation(f"{name}_{slot}", maps[slot], (lowerings or {}).get(slot, {}))
    for slot in slots:
        _define_rules(corners, slot, result, batch, shard or _all_whole)
    return tuple(corners.values())


def linear_pair(
    name: str,
    forward: Map,
    backward: Map,
    *,
    result: Callable[..., jax.ShapeDtypeStruct],
    batch: Callable[..., Array] | None = None,
    shard: Callable[..., Partition | NamedSharding] | None = None,
) -> tuple[Operation, Operation]:
    """Make a linear map and its transpose into two operations, each the other's derivative.

    `forward` and `backward` take one linear operand, then the same constants and parameters.
    By default the leading axis of every operand counts independent examples, so that a batch of
    batches is one longer batch, and axes that keep their size may be split over a mesh.

    Returns:
      `(forward, backward)` as operations.
    """
    # With slots (in, out) the corner that leaves `out` empty takes `in`: that is the forward map.
    in_corner, out_corner = multilinear_form(
        name,
        {"in": backward, "out": forward},
        result=result,
        batch=batch or merge_leading_axes,
        shard=shard or axis_by_axis,
    )
    return out_corner, in_corner


def broadcast_batch(
    corners: Mapping[str, Operation],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    **params: Any,
) -> Array:
    """Batching rule of a map that acts on each element alone: any leading axes will do."""
    return corners[slot](*_broadcast(operands, batched), **params)


def merge_leading_axes(
    corners: Mapping[str, Operation],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    **params: Any,
) -> Array:
    """Batching rule of a map whose operands' leading axes count independent examples."""
    full = _broadcast(operands, batched)
    size, examples, *_ = full[0].shape
    out = corners[slot](*(a.reshape(size * examples, *a.shape[2:]) for a in full), **params)
    return out.reshape(size, examples, *out.shape[1:])


def _broadcast(operands: Sequence[Array], batched: Sequence[bool]) -> list[Array]:
    """Give every operand the leading batch axis that some of them have."""
    (size,) = {operand.shape[0] for operand, b in zip(operands, batched, strict=True) if b}
    return [
        operand if b else jax.numpy.broadcast_to(operand, (size, *operand.shape))
        for operand, b in zip(operands, batched, strict=True)
    ]


def _all_whole(slot: str, shape: tuple[int, ...], *operands: Any, **_: Any) -> Partition:
    if any(axes is not None for operand in operands for axes in operand.sharding.spec):
        raise ValueError(
            "This operation takes arrays that are not split, see jax.sharding.reshard."
        )
    return (None,) * len(shape)


def axis_by_axis(
    slot: str, shape: tuple[int, ...], operand: Any, *others: Any, **_: Any
) -> Partition:
    """Sharding rule of a map that keeps its operand's axes: those that it leaves alone stay split.

    Raises:
      ValueError: An axis that changes its size is split.
    """
    split = tuple(operand.sharding.spec)
    for axis, (mesh_axes, size, new) in enumerate(zip(split, operand.shape, shape, strict=True)):
        if mesh_axes is not None and size != new:
            raise ValueError(
                f"Axis {axis}, of size {size}, is split over mesh axes {mesh_axes} and becomes "
                f"{new}; spatial axes must be whole, see jax.sharding.reshard."
            )
    return split


def _define_rules(
    corners: Mapping[str, Operation],
    slot: str,
    result: Callable[..., jax.ShapeDtypeStruct],
    batch: Callable[..., Array],
    shard: Callable[..., Partition | NamedSharding],
) -> None:
    """Attach abstract evaluation, JVP, transpose and batching to the corner without `slot`."""
    corner = corners[slot]
    operand_slots = tuple(s for s in corners if s != slot)
    linear = len(operand_slots)

    def abstract(*avals, **params):
        out = result(slot, *avals, **params)
        split = shard(slot, out.shape, *avals, **params)
        if not isinstance(split, NamedSharding):
            split = NamedSharding(_mesh_of(avals), PartitionSpec(*split))
        # The operands vary alike over the axes of a `shard_map`, and the result with them.
        return avals[0].update(
            shape=out.shape,
            dtype=out.dtype,
            weak_type=False,
            sharding=split,
        )

    def tangent_in(position):
        def term(x_dot, *primals, **params):
            return corner(*primals[:position], x_dot, *primals[position + 1 :], **params)

        return term

    def jvp(primals, tangents, **params):
        assert all(
            isinstance(t, ad.Zero) or t.dtype == jax.dtypes.float0 for t in tangents[linear:]
        )
        out, out_dot = corner(*primals, **params), None
        for i, x_dot in enumerate(tangents[:linear]):
            if not isinstance(x_dot, ad.Zero):
                term = tangent_in(i)(x_dot, *primals, **params)
                out_dot = term if out_dot is None else ad.add_jaxvals(out_dot, term)
        return out, _zero_tangent(out) if out_dot is None else out_dot

    def transpose(out_bar, *operands, **params):
        (wanted,) = [i for i, a in enumerate(operands[:linear]) if ad.is_undefined_primal(a)]
        bars: list[Any] = [None] * len(operands)
        if isinstance(out_bar, ad.Zero):
            bars[wanted] = ad.Zero(operands[wanted].aval.to_ct_aval())
            return bars
        known = dict(zip(operand_slots, operands[:linear], strict=True)) | {slot: out_bar}
        empty = operand_slots[wanted]
        filled = [known[s] for s in corners if s != empty]
        bars[wanted] = corners[empty](*filled, *operands[linear:], **params)  # (2)
        return bars

    def batching_rule(operands, axes, **params):
        batched = [axis is not None for axis in axes]
        leading = [
            jax.numpy.moveaxis(operand, axis, 0) if b else operand
            for operand, axis, b in zip(operands, axes, batched, strict=True)
        ]
        return batch(corners, slot, leading, batched, **params), 0

    corner.primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[corner.primitive] = jvp
    ad.primitive_transposes[corner.primitive] = transpose
    batching.primitive_batchers[corner.primitive] = batching_rule


def _mesh_of(avals: Sequence[Any]) -> Any:
    """The mesh of the operands that are on one; an array made outside a mesh is whole on any."""
    meshes = [aval.sharding.mesh for aval in avals]
    return next((mesh for mesh in meshes if not mesh.empty), meshes[0])


def _zero_tangent(out: Array) -> ad.Zero:
    return ad.Zero(jax.typeof(out).to_tangent_aval())


def _vary_alike(operands: Sequence[AnyArray]) -> Sequence[AnyArray]:
    """Bring operands to the same varying axes, as `shard_map` with its replication check asks.

    An operand that is replicated over a mesh axis, met by one that varies over it, counts as
    varying; the transpose of that step is the sum over the axis that a shared parameter needs.
    """
    varying = [jax.typeof(operand).manual_axis_type.varying for operand in operands]
    together = frozenset().union(*varying)
    return [
        jax.lax.pcast(a, tuple(together - axes), to="varying") if together - axes else a
        for a, axes in zip(operands, varying, strict=True)
    ]
