"""Functions that choose elements of their operand, as a max pool does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding

from ._arguments import check_function, check_lowerings, default_name, remember
from ._contraction import has_tangent, is_nonzero, plain, zero_tangent
from ._multilinear import verified
from ._operation import LEAF, PAIR, Call, Level, Map, Operation
from ._rules import Partition, in_every_member


def chosen(
    choose: Map,
    gather: Operation,
    *,
    value: Map | None = None,
    name: str | None = None,
    result: Callable[..., Any] | None = None,
    batch: Callable[..., Any] | None = None,
    shard: Callable[..., Partition | NamedSharding] | None = None,
    lowerings: Mapping[str, tuple[Map, Map]] | None = None,
    verify: Sequence[Any] | None = None,
) -> tuple[Operation, Operation]:
    """Make a function that chooses elements of its operand into an operation.

        y, m = choose(x)        y = gather(x, m)        value(x) = y                           (1)

    The choice m is locally constant, so it has no derivative, and for a fixed m the value is linear
    in x. So the JVP of both operations is

        y_dot = gather(x_dot, m)                                                               (2)

    and everything else follows from `gather`, a map of a `linear_pair`: the VJP is its transpose,
    and since (2) contains no other function of x than m, second derivatives of y vanish. Max pools,
    sorting, the top k, the median and the lookup of the nearest entry are such functions.

    Args:
      choose: `choose(x, *constants, **params)` gives y and m, arrays or pytrees of any shape.
      gather: `gather(x, m, **params)`, an operation that is linear in x. m is a constant of it, or
        several, if m is a tuple.
      value: `value(x, *constants, **params)` gives y alone. It runs where nothing is
        differentiated. None takes y from `choose`.
      name: Name of the operation; the other one is called `{name}_and_choice`. None takes that of
        `choose`.
      result: `result(x, **params)` gives shapes and dtypes of y and m, both arrays. None traces
        `choose`.
      batch: As for `multilinear_form`, with the slots "value" and "value_and_choice".
      shard: As for `multilinear_form`, for y and m alike.
      lowerings: `{platform: (value, choose)}`: the maps to compile on that platform.
      verify: Operands for which `check` is called at once.

    Returns:
      `value` and `choose` as operations. The latter returns `(y, m)`.

    Raises:
      ValueError: The check fails, or a platform is unknown.
      TypeError: `choose` or `value` is not a function, or `gather` is not an operation.

    Source: derived here; for the maximum it is Danskin, "The Theory of Max-Min", 1967.

    >>> import jax, jax.numpy as jnp
    >>> from jaxconv import forms
    >>> gather, _ = forms.linear_pair(
    ...     lambda x, m: x[m], lambda y, m: jnp.zeros(4).at[m].add(y), name="entries"
    ... )
    >>> top, _ = chosen(lambda x: jax.lax.top_k(x, 2), gather, name="top")
    >>> jax.grad(lambda x: top(x).sum())(jnp.array([3.0, 1.0, 4.0, 1.0]))
    Array([1., 0., 1., 0.], dtype=float32)
    """
    check_function("chosen: choose", choose)
    if not isinstance(gather, Operation):
        raise TypeError(f"chosen: gather must be an operation, got {type(gather).__name__}.")
    check_lowerings("chosen", lowerings or {})
    name = name or default_name(choose)
    given = dict(lowerings or {})

    def first(*operands, **params):
        return choose(*operands, **params)[0]

    if value is None:
        first.__doc__ = choose.__doc__
    shapes: Any = result
    layout: Any = shard
    values, choices = (
        Operation(
            own,
            map_,
            {platform: maps[i] for platform, maps in given.items()},
            result=shapes and of_shapes,
            result_tree=tree,
            shard=layout and (lambda shape, /, *a, **p: layout("out", shape, *a, **p)),
        )
        for i, (own, map_, tree, of_shapes) in enumerate(
            (
                (name, value or first, LEAF, lambda *a, **p: shapes(*a, **p)[0]),
                (f"{name}_and_choice", choose, PAIR, shapes),
            )
        )
    )
    operations = {"value": values, "value_and_choice": choices}
    rules = _Rules(operations, gather, batch)
    values.define(jvp=rules.jvp_of_value, batch=rules.batch_of("value"))
    choices.define(jvp=rules.jvp, batch=rules.batch_of("value_and_choice"))
    options = {
        "value": value,
        "name": name,
        "result": result,
        "batch": batch,
        "shard": shard,
        "lowerings": lowerings,
    }
    remember(chosen, (choose, gather), options, (values, choices))
    verified(values, verify)
    return values, choices


class _Rules:
    """The rules of a choice. All flat operands and results have the batch of a level."""

    def __init__(self, operations: dict[str, Operation], gather: Operation, batch: Any):
        self.operations, self.gather, self.batch = operations, gather, batch

    def jvp_of_value(self, primals, tangents, call, params):
        """As that of both results, if there is a tangent."""
        if not any(map(is_nonzero, tangents)):
            out, _ = self.operations["value"].bind(primals, call, params)
            return out, list(map(zero_tangent, out))
        out, dots, count = self._differentiated(primals, tangents, call, params)
        return out[:count], dots

    def jvp(self, primals, tangents, call, params):
        """(2), and no derivative of the choice."""
        if not any(map(is_nonzero, tangents)):
            out, _ = self.operations["value_and_choice"].bind(primals, call, params)
            return out, list(map(zero_tangent, out))
        out, dots, count = self._differentiated(primals, tangents, call, params)
        return out, [*dots, *map(zero_tangent, out[count:])]

    def _differentiated(self, primals, tangents, call, params):
        operation, call_ = self.operations["value_and_choice"], call or plain(len(primals))
        if any(map(is_nonzero, tangents[call_.trees[0].num_leaves :])):
            raise TypeError(
                f"{self.operations['value'].name}: a constant has no derivative, since the value "
                "is linear only in the first operand; see jax.lax.stop_gradient."
            )
        out, tree = operation.bind(primals, call, params)
        y_tree, m_tree = tree.children()
        count = y_tree.num_leaves
        choice_trees = m_tree.children() if _is_tuple(m_tree) else [m_tree]
        x = primals[: call_.trees[0].num_leaves]
        x_dot = [
            dot if is_nonzero(dot) else jax.numpy.zeros_like(a)
            for a, dot in zip(x, tangents, strict=False)
        ]
        m = out[count:]
        levels = tuple(Level((True, True), (True,) * len(m)) for _ in call_.levels)
        new = Call((call_.trees[0], *choice_trees), levels)
        y_dot, dot_tree = self.gather.bind([*x_dot, *m], None if new.is_plain() else new, params)
        y = out[:count]
        if dot_tree != y_tree or [a.shape for a in y_dot] != [a.shape for a in y]:
            raise TypeError(
                f"{self.operations['value'].name}: {self.gather.name} must return the shapes of "
                f"the value, {[a.shape for a in y]}, got {[a.shape for a in y_dot]}."
            )
        dots = [dot if has_tangent(a) else zero_tangent(a) for a, dot in zip(y, y_dot, strict=True)]
        return out, dots, count

    def batch_of(self, slot):
        """The batching rule of one of the two operations."""

        def rule(operands, batched, call, params):
            leaves, call_ = in_every_member(operands, batched), call or plain(len(operands))
            if self.batch is not None:
                joined = call_.join(leaves)
                out = self.batch(self.operations, slot, joined, [True] * len(joined), **params)
                return jax.tree.leaves(out)
            constants = len(leaves) - call_.trees[0].num_leaves
            level = Level((True, True), (True,) * constants)
            new = call_._replace(levels=(*call_.levels, level))
            return self.operations[slot].bind(leaves, new, params)[0]

        return rule


def _is_tuple(tree: Any) -> bool:
    return tree.node_data() is not None and tree.node_data()[0] is tuple
