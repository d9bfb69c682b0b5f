"""From a multilinear map and its transposes to a JAX operation. Nothing here knows of convolution.

A *multilinear form* is a function that is linear in each of its slots, say T(a, b, c), and whose
value is a number. Leave one slot empty and contract the others, and the form becomes a map, here
called a *contraction*:

    f_c(a, b) = ∂T(a, b, c)/∂c,       so that       <f_c(a, b), c> = T(a, b, c)                  (1)

Every contraction is linear in each operand, and its transposes follow from (1). The cotangent of
the result takes the empty slot, and the slot of the operand becomes the empty one:

    <f_c(a, b), c_bar> = T(a, b, c_bar) = <a, f_a(b, c_bar)>                                     (2)

The transpose of a contraction is therefore another contraction of the same form, and derivatives of
every order stay inside the form. A form with two slots is a linear map and its transpose. A form
with three slots is a bilinear map and its two transposes. That reverse mode is forward mode,
linearised and transposed, is how JAX works: Radul et al., "You Only Linearize Once", POPL 2023,
arXiv:2204.10923. On adjoints in general see Griewank & Walther, "Evaluating Derivatives", 2008.

`multilinear_form` and `linear_pair` make a `jax.extend.core.Primitive` of each contraction, with
  - a JVP: one term for each operand that has a tangent, by linearity;
  - a transpose: (2);
  - a batching rule, which the author of the form states once for all contractions;
  - a sharding rule for meshes with explicit axes: how the result is laid out over devices;
  - a map for each platform, from which XLA compiles.

The operands of a contraction may be followed by *constants*, such as the argmax of a max pool. The
map depends on constants without being linear in them, and they have no derivative.

`choice` makes a primitive of a function that first chooses, which has no derivative, and is linear
once it has chosen. Max pooling is the example.
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
else:  # The same class. Importing jax.extend takes half as long as importing this library.
    Primitive = type(jax.lax.add_p)

# A function of arrays, the operands in slot order, and of static keyword parameters.
Map: TypeAlias = Callable[..., Any]
# For each axis of an array, the mesh axes that the array is sharded over, or None.
Partition: TypeAlias = tuple[Any, ...]


class Operation:
    """A map that JAX can differentiate, batch, shard and compile. It is called as the map is.

    Parameters are static and hashable. The functions of this module make operations.
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
        return mlir.lower_fun(f, multiple_results=multiple_results)(ctx, *operands)

    return rule


@lru_cache(maxsize=4096)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
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
    """Make the contractions of a form into operations, each with the others as its transposes.

    Args:
      name: Name of the form. The primitive of a contraction is called `{name}_{slot}`.
      maps: For each slot, in order, the contraction that leaves the slot empty. Its operands are
        the other slots in the same order, then the constants, then static keyword parameters.
      result: `result(slot, *avals, **params)` gives shape and dtype of that contraction's result.
      batch: `batch(contractions, slot, operands, batched, **params)` evaluates a contraction for
        operands that carry a leading batch axis where `batched` says so. The result carries a
        leading batch axis, too.
      shard: `shard(slot, shape, *avals, **params)` gives the mesh axes over which each axis of a
        result of that shape is sharded. By default nothing is sharded, and operands must not be
        either. The mesh is that of the operands; a rule that knows another mesh returns a
        `NamedSharding`.
      lowerings: For a slot, `{platform: map}`: the map to compile on that platform ("cpu", "cuda",
        "rocm", "tpu") in place of the one in `maps`.

    Returns:
      One `Operation` for each slot, in order.
    """
    contractions = {
        slot: Operation(f"{name}_{slot}", contraction, (lowerings or {}).get(slot, {}))
        for slot, contraction in maps.items()
    }
    for slot in contractions:
        _define_rules(contractions, slot, result, batch, shard or _nothing_sharded)
    return tuple(contractions.values())


def linear_pair(
    name: str,
    forward: Map,
    backward: Map,
    *,
    result: Callable[..., jax.ShapeDtypeStruct],
    batch: Callable[..., Array] | None = None,
    shard: Callable[..., Partition | NamedSharding] | None = None,
    lowerings: Mapping[str, tuple[Map, Map]] | None = None,
) -> tuple[Operation, Operation]:
    """Make a linear map and its transpose into two operations, each the other's derivative.

    `forward` and `backward` take one linear operand, then the same constants and parameters.

    Args:
      name: Name of the pair.
      forward: The linear map.
      backward: Its transpose.
      result: As for `multilinear_form`, with the slot "out" for the result of `forward` and "in"
        for that of `backward`.
      batch: As for `multilinear_form`. By default the leading axis of every operand counts
        independent examples, so that a batch of batches is one longer batch.
      shard: As for `multilinear_form`. By default axes that keep their size may be sharded.
      lowerings: `{platform: (forward, backward)}`: the maps to compile on that platform.

    Returns:
      `(forward, backward)` as operations.
    """
    # The contraction that leaves "out" empty takes "in" as its operand: it is the forward map.
    backward_operation, forward_operation = multilinear_form(
        name,
        {"in": backward, "out": forward},
        result=result,
        batch=batch or merge_leading_axes,
        shard=shard or axis_by_axis,
        lowerings={
            "in": {platform: maps[1] for platform, maps in (lowerings or {}).items()},
            "out": {platform: maps[0] for platform, maps in (lowerings or {}).items()},
        },
    )
    return forward_operation, backward_operation


def choice(
    name: str,
    value: Map,
    choose: Map,
    gather: Operation,
    *,
    result: Callable[..., tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]],
    lowerings: Mapping[str, tuple[Map, Map]] | None = None,
) -> tuple[Operation, Operation]:
    """Make a function that chooses elements of its operand into an operation.

        y, m = choose(x)        y = gather(x, m)        value(x) = y

    The choice m is locally constant, so it has no derivative, and for a fixed m the value is linear
    in x. So the JVP of both operations is

        y_dot = gather(x_dot, m)                                                               (3)

    and everything else follows from `gather`, a map of a `linear_pair`: the VJP is its transpose,
    and since (3) contains no other function of x than m, second derivatives of y vanish.

    Args:
      name: Name of the operation.
      value: `value(x, **params)` gives y alone. It runs where nothing is differentiated.
      choose: `choose(x, **params)` gives y and m. Their leading axes count independent examples.
      gather: `gather(x, m, **params)`, linear in x.
      result: `result(x, **params)` gives shapes and dtypes of y and m.
      lowerings: `{platform: (value, choose)}`: the maps to compile on that platform.

    Returns:
      `value` and `choose` as operations. The latter returns `(y, m)`.
    """
    of_value = {platform: maps[0] for platform, maps in (lowerings or {}).items()}
    of_choice = {platform: maps[1] for platform, maps in (lowerings or {}).items()}
    values = Operation(name, value, of_value)
    choices = Operation(f"{name}_and_choice", choose, of_choice, multiple_results=True)

    def abstract(x, **params):
        return [
            _aval_like([x], out, axis_by_axis("out", out.shape, x)) for out in result(x, **params)
        ]

    def jvp_of_value(primals, tangents, **params):
        (y, _), (y_dot, _) = jvp_of_choice(primals, tangents, **params)
        return y, y_dot

    def jvp_of_choice(primals, tangents, **params):
        (x,), (x_dot,) = primals, tangents
        y, m = choices(x, **params)
        is_zero = isinstance(x_dot, ad.Zero)
        y_dot = _zero_tangent(y) if is_zero else gather(x_dot, m, **params)  # (3)
        return [y, m], [y_dot, _zero_tangent(m)]

    def batching_rule(operation):
        def rule(operands, axes, **params):
            x = jax.numpy.moveaxis(operands[0], axes[0], 0)
            size, examples, *_ = x.shape
            out = operation(x.reshape(size * examples, *x.shape[2:]), **params)
            split = jax.tree.map(lambda a: a.reshape(size, examples, *a.shape[1:]), out)
            return split, jax.tree.map(lambda _: 0, out)

        return rule

    values.primitive.def_abstract_eval(lambda x, **params: abstract(x, **params)[0])
    choices.primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[values.primitive] = jvp_of_value
    ad.primitive_jvps[choices.primitive] = jvp_of_choice
    for operation in (values, choices):
        batching.primitive_batchers[operation.primitive] = batching_rule(operation)
    return values, choices


# Batching rules.


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
    full = _broadcast(operands, batched)
    size, examples, *_ = full[0].shape
    out = contractions[slot](*(a.reshape(size * examples, *a.shape[2:]) for a in full), **params)
    return out.reshape(size, examples, *out.shape[1:])


def _broadcast(operands: Sequence[Array], batched: Sequence[bool]) -> list[Array]:
    """The operands, all with the leading batch axis that some of them have."""
    (size,) = {operand.shape[0] for operand, b in zip(operands, batched, strict=True) if b}
    return [
        operand if b else jax.numpy.broadcast_to(operand, (size, *operand.shape))
        for operand, b in zip(operands, batched, strict=True)
    ]


# Sharding rules.


def _nothing_sharded(slot: str, shape: tuple[int, ...], *operands: Any, **_: Any) -> Partition:
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


# The rules of a contraction.


def _define_rules(
    contractions: Mapping[str, Operation],
    slot: str,
    result: Callable[..., jax.ShapeDtypeStruct],
    batch: Callable[..., Array],
    shard: Callable[..., Partition | NamedSharding],
) -> None:
    """Give the contraction that leaves `slot` empty its rules for tracing, JVP, VJP and vmap."""
    contraction = contractions[slot]
    operand_slots = tuple(s for s in contractions if s != slot)
    linear = len(operand_slots)

    def abstract(*avals, **params):
        out = result(slot, *avals, **params)
        return _aval_like(avals, out, shard(slot, out.shape, *avals, **params))

    def tangent_in(position):
        def term(x_dot, *primals, **params):
            return contraction(*primals[:position], x_dot, *primals[position + 1 :], **params)

        return term

    def jvp(primals, tangents, **params):
        assert all(
            isinstance(t, ad.Zero) or t.dtype == jax.dtypes.float0 for t in tangents[linear:]
        )
        out, out_dot = contraction(*primals, **params), None
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
        filled = [known[s] for s in contractions if s != empty]
        bars[wanted] = contractions[empty](*filled, *operands[linear:], **params)  # (2)
        return bars

    def batching_rule(operands, axes, **params):
        batched = [axis is not None for axis in axes]
        leading = [
            jax.numpy.moveaxis(operand, axis, 0) if b else operand
            for operand, axis, b in zip(operands, axes, batched, strict=True)
        ]
        return batch(contractions, slot, leading, batched, **params), 0

    contraction.primitive.def_abstract_eval(abstract)
    ad.primitive_jvps[contraction.primitive] = jvp
    ad.primitive_transposes[contraction.primitive] = transpose
    batching.primitive_batchers[contraction.primitive] = batching_rule


def _aval_like(
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


def _zero_tangent(out: Array) -> ad.Zero:
    return ad.Zero(jax.typeof(out).to_tangent_aval())


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
