"""An operation of JAX out of a function: a primitive, with the rules by which JAX handles it.

`Operation` makes the primitive and says what it compiles to on each platform. The author of the
operation passes the other rules to `define`. `_multilinear.py` derives them for linear maps.

JAX's primitives take and return flat arrays. An operation takes and returns pytrees. Its rules
therefore get the flat operands with a `Call`, which says how they make up the pytrees, and over
which batches the map is applied. `Call` is None for plain arrays without batches. The program then
shows the primitive with the parameters of the user, and with the kinds of those numbers that are
equal to others, as 1.0 is to 1.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, partial, update_wrapper
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jax.interpreters import ad, batching, mlir
from jax.sharding import AxisType, NamedSharding

from .._compilation import of_program
from .._keys import Key, as_key, from_key, kinds_of
from .._typing import AnyArray
from ._arguments import hashable
from ._rules import Partition, aval_like, nothing_sharded, vary_alike, with_leading_batch

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # The same class. Importing jax.extend takes half as long as importing this library.
    Primitive = type(jax.lax.add_p)

# A function of operands in slot order, then constants, and of static keyword parameters.
Map: TypeAlias = Callable[..., Any]
LEAF = jax.tree.structure(0)
PAIR = jax.tree.structure((0, 0))
NUMBERS = (bool, int, float, complex, np.generic)


class Level(NamedTuple):
    """A batch over which vmap applies a map.

    Attributes:
      slots: For each linear operand, then for the result, whether it has the batch. A result
        without it is summed over the batch.
      constants: For each array of the constants, whether it has the batch.
    """

    slots: tuple[bool, ...]
    constants: tuple[bool, ...]


class Call(NamedTuple):
    """What is static about a call of an operation, its parameters aside.

    Attributes:
      trees: The structure of each operand.
      levels: The batches, the innermost one first.
    """

    trees: tuple[Any, ...]
    levels: tuple[Level, ...] = ()

    def split(self, leaves: Sequence[Any]) -> list[list[Any]]:
        """The flat operands, grouped by operand."""
        ends = accumulate((tree.num_leaves for tree in self.trees), initial=0)
        return [list(leaves[start:end]) for start, end in pairwise(ends)]

    def join(self, leaves: Sequence[Any]) -> list[Any]:
        """The operands as pytrees."""
        groups = zip(self.trees, self.split(leaves), strict=True)
        return [jax.tree.unflatten(tree, group) for tree, group in groups]

    def is_plain(self) -> bool:
        """Whether all operands are arrays, without a batch."""
        return not self.levels and all(tree == LEAF for tree in self.trees)

    def flags(self, level: Level) -> list[bool]:
        """For each flat operand, whether it has the batch of a level."""
        linear = zip(self.trees, level.slots[:-1], strict=False)
        return [b for tree, b in linear for _ in range(tree.num_leaves)] + list(level.constants)


class Operation:
    """A map that JAX can differentiate, batch, shard and compile. It is called as the map is.

    The functions of `jaxconv.forms` make operations. Operands are arrays of any shape, or pytrees
    of them. Keyword parameters are static and must be hashable.

    JAX keeps the rules of a primitive as long as the process runs, and with them the maps and the
    arrays that these close over. So an operation is made once, and not in every step.

    Args:
      name: Name of the primitive.
      definition: The map, as it is compiled where `lowerings` has no other one.
      lowerings: `{platform: map}`, for the platforms "cpu", "cuda", "rocm" and "tpu".
      linear: The number of linear operands; the others are constants.
      result: `result(*avals, **params)`: the `jax.ShapeDtypeStruct` of the result, or None to find
        it by tracing the definition.
      result_tree: The structure of the result, where `result` is given.
      shard: `shard(shape, *avals, **params)`: how a result of that shape is sharded over a mesh
        with explicit axes. By default it is sharded as that of the traced definition.

    Raises:
      TypeError: The definition is not a function, or a platform is unknown.

    >>> from jaxconv import forms
    >>> import jax.numpy as jnp
    >>> flip, _ = forms.linear_pair(jnp.flip, jnp.flip)
    >>> flip
    <jaxconv.forms operation flip>
    """

    def __init__(
        self,
        name: str,
        definition: Map,
        lowerings: Mapping[str, Map],
        *,
        linear: int = 1,
        result: Callable[..., Any] | None = None,
        result_tree: Any = LEAF,
        shard: Callable[..., Partition | NamedSharding] | None = None,
    ):
        update_wrapper(self, definition)
        self.name: str = name
        self.definition: Map = hashable(definition)
        self.lowerings: dict[str, Map] = {key: hashable(map_) for key, map_ in lowerings.items()}
        self.linear: int = linear
        self._result, self._shard = result, shard
        self._result_tree = None if result is None else result_tree
        self._rules: dict[str, Any] = {}
        self.origin: Any = None  # how `pickle` makes the operation again; see `_arguments.py`
        self._traced_results = lru_cache(maxsize=1024)(self._trace_results)
        self._function = lru_cache(maxsize=1024)(self._make_function)

    @property
    def linear_slots(self) -> Sequence[int]:
        """The positions of the operands in which the map itself is linear."""
        return ()

    @property
    def differentiable(self) -> Sequence[int]:
        """The positions of the operands that have a derivative."""
        return range(self.linear)

    def transposes(self) -> Sequence[tuple["Operation", list[int]]]:
        """For each linear operand, the transpose with respect to it and the operands it takes.

        The number after the last operand is the result.
        """
        return ()

    @cached_property
    def primitive(self) -> Primitive:
        """The primitive whose result is one array."""
        return self._primitive(multiple_results=False)

    @cached_property
    def tree_primitive(self) -> Primitive:
        """The primitive whose result is the flat arrays of a pytree."""
        return self._primitive(multiple_results=True)

    def define(
        self,
        *,
        jvp: Callable[..., Any],
        batch: Callable[..., Any],
        transpose: Callable[..., Any] | None = None,
    ) -> None:
        """Give the operation its rules. Each takes flat operands, the `Call` and the parameters.

        Args:
          jvp: `jvp(primals, tangents, call, params)`: the flat results and their tangents.
          batch: `batch(operands, batched, call, params)`: the flat results. The batch is the
            leading axis of the operands that `batched` marks, and of the results.
          transpose: `transpose(cotangents, operands, call, params)`: a cotangent, or None, for each
            operand.
        """
        self._rules = {"jvp": jvp, "batch": batch, "transpose": transpose}

    # Calls.

    def __call__(self, /, *operands: Any, **params: Any) -> Any:
        leaves, tree = jax.tree.flatten(operands)
        for i, leaf in enumerate(leaves):
            if not isinstance(leaf, jax.Array | np.ndarray):
                leaves[i] = self._as_array(leaf)
        if len(operands) < self.linear:
            raise TypeError(
                f"{self.name}: it takes {self.linear} linear operands, got {len(operands)}."
            )
        call = None
        if tree != _of_arrays(len(operands)):
            call = Call(tuple(tree.children()))
        results, tree = self.bind(leaves, call, params)
        return results[0] if tree is LEAF else jax.tree.unflatten(tree, results)

    def bind(self, leaves: Sequence[Any], call: Call | None, params: Mapping[str, Any]):
        """Apply the operation to flat operands; returns the flat results and their structure."""
        leaves, tree = vary_alike(leaves), self._result_tree
        if tree is None or call is not None:
            key = self._checked(params)
            tree, _ = self._traced_results(tuple(map(jax.typeof, leaves)), call, key, _context())
        extra: dict[str, Any] = {} if call is None else {"_call": call}
        if kinds := kinds_of(params):  # JAX's caches compare parameters, and 1 is equal to 1.0
            extra["_kinds"] = kinds
        if call is None and tree == LEAF:
            return [self.primitive.bind(*leaves, **extra, **params)], LEAF
        return self.tree_primitive.bind(*leaves, **extra, **params), tree

    def _as_array(self, leaf: Any) -> AnyArray:
        if isinstance(leaf, NUMBERS):
            return jax.numpy.asarray(leaf)
        raise TypeError(
            f"{self.name}: an operand must be an array or a pytree of arrays, got "
            f"{type(leaf).__name__}; what is static is passed by keyword."
        )

    def _checked(self, params: Mapping[str, Any]) -> Key:
        """The parameters as a key, if they are hashable."""
        for name, value in params.items():
            try:
                hash(value)
            except TypeError:
                raise TypeError(
                    f"{self.name}: the parameter {name} is static and must be hashable, got "
                    f"{type(value).__name__}; arrays are passed by position."
                ) from None
        return as_key(params)

    def __repr__(self) -> str:
        return f"<jaxconv.forms operation {self.name}>"

    def __reduce__(self):
        return self.origin or super().__reduce__()

    # What JAX calls, the same for both primitives.

    def _primitive(self, *, multiple_results: bool) -> Primitive:
        primitive = Primitive(self.name)
        primitive.multiple_results = multiple_results
        rules = self._rules

        def pack(results):
            return results if multiple_results else results[0]

        def unpack(results):
            return results if multiple_results else [results]

        def abstract(*avals, _call=None, _kinds=None, **params):
            return pack(self.results(avals, _call, params)[1])

        def jvp(primals, tangents, /, *, _call=None, _kinds=None, **params):
            # `jax.jvp` passes numbers of Python on as they are.
            primals, tangents = map(_numbers_as_arrays, (primals, tangents))
            out, out_dot = rules["jvp"](primals, tangents, _call, params)
            return pack(out), pack(out_dot)

        def batch(operands, axes, /, *, _call=None, _kinds=None, **params):
            batched = [axis is not None for axis in axes]
            leading = with_leading_batch(operands, axes)
            out = rules["batch"](leading, batched, _call, params)
            return pack(out), pack([0] * len(out))

        def transpose(cotangents, /, *operands, _call=None, _kinds=None, **params):
            return rules["transpose"](unpack(cotangents), operands, _call, params)

        primitive.def_impl(partial(_run_now, primitive))
        primitive.def_abstract_eval(abstract)
        ad.primitive_jvps[primitive] = jvp
        batching.primitive_batchers[primitive] = batch
        if rules["transpose"] is not None:
            ad.primitive_transposes[primitive] = transpose
        mlir.register_lowering(primitive, self._lowering_rule(None, multiple_results))
        for platform in self.lowerings:
            rule = self._lowering_rule(platform, multiple_results)
            mlir.register_lowering(primitive, rule, platform=platform)
        return primitive

    def results(
        self, avals: Sequence[Any], call: Call | None, params: Mapping[str, Any]
    ) -> tuple[Any, Sequence[Any]]:
        """The structure of the result and the abstract values of its arrays."""
        if self._result is None or call is not None:
            tree, found = self._traced_results(
                tuple(avals), call, self._checked(params), _context()
            )
            if self._shard is None or call is not None:
                return tree, found
        else:
            given: Any = self._result(*avals, **params)
            tree, found = self._result_tree, jax.tree.leaves(given)
        shard = self._shard or _nothing_sharded
        return tree, [aval_like(avals, out, shard(out.shape, *avals, **params)) for out in found]

    def _trace_results(self, avals, call, params, context) -> tuple[Any, Any]:
        """Structure and abstract values of the result, from the definition."""
        function = self._function(self.definition, call, params)
        traced = function.trace(*avals)
        closed, tree = traced.jaxpr, jax.tree.structure(traced.out_info)
        if len(closed.in_avals) > len(avals):  # JAX has made operands of them
            raise TypeError(
                f"{self.name}: the map must not close over arrays that JAX is tracing; pass them "
                "as constants, after the linear operands."
            )
        of_mesh = jax.sharding.get_abstract_mesh().axis_names
        for name in (getattr(effect, "name", None) for effect in closed.effects):
            if name is not None and name not in of_mesh:
                raise TypeError(
                    f"{self.name}: the map must not communicate over {name!r}, an axis of vmap; "
                    "over the axes of shard_map it may."
                )
        return (LEAF if tree == LEAF else tree), closed.out_avals

    def _make_function(self, map_: Map, call: Call | None, params: Key):
        """The map of flat operands. JAX traces it once for its shapes and for all that follows."""
        return jax.jit(self._flat(map_, call, from_key(params)), inline=True)

    def _flat(self, map_: Map, call: Call | None, params: dict[str, Any]) -> Callable[..., Any]:
        def run(*leaves):
            operands = leaves if call is None else call.join(leaves)
            return map_(*operands, **params)

        run.__name__ = self.name
        if call is not None:
            for level in call.levels:
                run = _over(run, call.flags(level), is_summed=not level.slots[-1])
        return run

    def _lowering_rule(self, platform: str | None, multiple_results: bool) -> Callable[..., Any]:
        """A map as a lowering rule of JAX, under whatever mesh it is traced."""

        def rule(ctx, /, *operands, _call=None, _kinds=None, **params):
            if platform is None and self._result is None:
                f: Any = self._function(self.definition, _call, self._checked(params))
            else:
                map_ = self.definition if platform is None else self.lowerings[platform]
                f = self._flat(map_, _call, params)
            if multiple_results:
                f = _then(f, lambda out: tuple(jax.tree.leaves(out)))
            if self._result is not None:
                f = _with_settings_of_ours(f)
            shardings = [out.sharding for out in ctx.avals_out]
            if any(AxisType.Explicit in layout.mesh.axis_types for layout in shardings):
                # XLA lays out the arrays inside. The sharding rule says how the result is laid out.
                out = tuple(shardings) if multiple_results else shardings[0]
                f = jax.sharding.auto_axes(f, out_sharding=out)
            with of_program(ctx.module_context):
                return mlir.lower_fun(f, multiple_results=multiple_results)(ctx, *operands)

        return rule


def _numbers_as_arrays(values: Sequence[Any]) -> list[Any]:
    return [jax.numpy.asarray(v) if isinstance(v, NUMBERS) else v for v in values]


def _then(f: Callable[..., Any], g: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: g(f(*operands))


def _with_settings_of_ours(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is traced with JAX's defaults, whatever the user's settings are."""

    def run(*operands):
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            return f(*operands)

    return run


def _over(run: Callable[..., Any], flags: Sequence[bool], *, is_summed: bool):
    """A function of flat operands applied to a batch of them."""

    def applied(*leaves):
        out = jax.vmap(run, in_axes=tuple(0 if b else None for b in flags))(*leaves)
        return jax.tree.map(lambda a: a.sum(0, dtype=a.dtype), out) if is_summed else out

    return applied


def _run_now(primitive: Primitive, /, *operands: Any, **params: Any) -> Any:
    # Outside jit this one operation is compiled, for the device that its operands are on.
    # Under `disable_jit` the primitive would call this function again.
    with jax.disable_jit(False):
        return _compiled(primitive, tuple(sorted(params.items())))(*operands)


@lru_cache(maxsize=4096)
def _compiled(primitive: Primitive, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    return jax.jit(partial(primitive.bind, **dict(params)))


def _nothing_sharded(shape: tuple[int, ...], /, *avals: Any, **params: Any) -> Partition:
    return nothing_sharded("", shape, *avals)


@lru_cache(maxsize=64)
def _of_arrays(count: int) -> Any:
    return jax.tree.structure((0,) * count)


def _context() -> tuple[Any, ...]:
    """The settings that a traced shape depends on, besides the operands."""
    return jax.config.read("jax_enable_x64"), jax.sharding.get_abstract_mesh()
