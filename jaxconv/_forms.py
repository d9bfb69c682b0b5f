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

`multilinear_form` and `linear_pair` make an `Operation` (`_operation.py`) of each contraction, with
  - a JVP: one term for each operand that has a tangent, by linearity;
  - a transpose: (2);
  - a batching rule, which the author of the form states once for all contractions;
  - a sharding rule for meshes with explicit axes: how the result is laid out over devices;
  - a map for each platform, from which XLA compiles.

The operands of a contraction may be followed by *constants*, such as the argmax of a max pool. The
map depends on constants without being linear in them, and they have no derivative.

`choice` makes an operation of a function that first chooses, which has no derivative, and is linear
once it has chosen. Max pooling is the example.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.interpreters import ad
from jax.sharding import NamedSharding

from ._operation import (
    Map,
    Operation,
    Partition,
    aval_like,
    axis_by_axis,
    in_one_batch,
    merge_leading_axes,
    nothing_sharded,
    with_leading_batch,
)
from ._typing import Array


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
        _define_rules(contractions, slot, result, batch, shard or nothing_sharded)
    return tuple(contractions.values())


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
        return aval_like(avals, out, shard(slot, out.shape, *avals, **params))

    def jvp(primals, tangents, **params):
        assert all(
            isinstance(t, ad.Zero) or t.dtype == jax.dtypes.float0 for t in tangents[linear:]
        )
        out, out_dot = contraction(*primals, **params), None
        for i, x_dot in enumerate(tangents[:linear]):
            if not isinstance(x_dot, ad.Zero):
                term = contraction(*primals[:i], x_dot, *primals[i + 1 :], **params)
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
        leading, batched = with_leading_batch(operands, axes), [axis is not None for axis in axes]
        return batch(contractions, slot, leading, batched, **params), 0

    contraction.define(abstract=abstract, jvp=jvp, batch=batching_rule, transpose=transpose)


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
            aval_like([x], out, axis_by_axis("out", out.shape, x)) for out in result(x, **params)
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
            out = in_one_batch(operation, with_leading_batch(operands, axes), **params)
            return out, jax.tree.map(lambda _: 0, out)

        return rule

    values.define(
        abstract=lambda x, **params: abstract(x, **params)[0],
        jvp=jvp_of_value,
        batch=batching_rule(values),
    )
    choices.define(abstract=abstract, jvp=jvp_of_choice, batch=batching_rule(choices))
    return values, choices


def _zero_tangent(out: Array) -> ad.Zero:
    return ad.Zero(jax.typeof(out).to_tangent_aval())
