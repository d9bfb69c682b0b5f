"""Where a kernel written by hand may run, and the plain form that runs everywhere else.

`_compilation.py` says which programs may hold a kernel. That is known only when a program is
compiled, so the choice is a primitive.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jax import lax
from jax.core import ShapedArray
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

from ..._compilation import may_hold_opaque_calls
from ..._typing import Array

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # The same class. Importing jax.extend takes half as long as importing this library.
    Primitive = type(jax.lax.add_p)

# A map of arrays to an array or several, given static keywords such as `spec` or `geometry`.
Map: TypeAlias = Callable[..., Any]

# JAXCONV_KERNELS=0 compiles the plain forms. It is read whenever a program is compiled.
ENVIRONMENT_VARIABLE = "JAXCONV_KERNELS"

# What Pallas raises where it is missing, has changed, or finds no device to compile for.
_UNAVAILABLE = (ImportError, AttributeError, TypeError, NotImplementedError, RuntimeError)


def kernel_or_plain(
    platform: str, kernel: Map, plain: Map, like: Any, *operands: Array, **static: Any
) -> Any:
    """A map by `kernel` where one device of `platform` computes it, otherwise by `plain`.

    Args:
      platform: The platform that the kernel is written for.
      kernel: The map as a kernel. Only its shapes are static.
      plain: The same map without a kernel.
      like: Shape and dtype of the result, as a `jax.ShapeDtypeStruct`; or a tuple of several.
      operands: The operands.
      static: Keywords of both maps. They must be hashable.

    Returns:
      The result of the map.
    """
    if not all(isinstance(size, int) for operand in operands for size in operand.shape):
        return plain(*operands, **static)
    first, *others = operands
    results, tree = jax.tree.flatten(like)
    found = _map.bind(
        varying_like(first, *others),  # The results will vary as it does.
        *others,
        platform=platform,
        kernel=kernel,
        plain=plain,
        results=tuple((tuple(result.shape), result.dtype) for result in results),
        static=tuple(static.items()),
    )
    return jax.tree.unflatten(tree, found)


def result_of(operand: Array, shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a kernel's result.

    It varies over the axes of a `shard_map` as `operand` does. Pallas asks for that.
    """
    return jax.eval_shape(lambda a: a, operand).update(shape=tuple(shape), dtype=dtype)


def varying_like(a: Array, *others: Array) -> Array:
    """An array that varies also over the axes of a `shard_map` that others vary over."""
    kinds = [jax.typeof(other).manual_axis_type for other in others]
    axes = frozenset().union(*(kind.varying for kind in kinds if kind))
    missing = axes - jax.typeof(a).manual_axis_type.varying if axes else axes
    return lax.pcast(a, tuple(missing), to="varying") if missing else a


def _results(first, *_, results, **__):
    return [
        first.update(
            shape=shape,
            dtype=dtype,
            weak_type=False,
            sharding=NamedSharding(first.sharding.mesh, PartitionSpec(*(None,) * len(shape))),
        )
        for shape, dtype in results
    ]


def _lower(ctx, *operands, platform, kernel, plain, static, **_):
    if _kernel_may_run(ctx, platform):
        # Inside a `shard_map` the arrays are those of one device. Pallas need not know its axes.
        bare = ctx.replace(avals_in=[_without_mesh(aval) for aval in ctx.avals_in])
        try:
            with warnings.catch_warnings():  # of backends that a later version will not have
                warnings.simplefilter("ignore", DeprecationWarning)
                return _lowering_of(kernel, static)(bare, *operands)
        except _UNAVAILABLE:
            pass
    return _lowering_of(plain, static)(ctx, *operands)


def _lowering_of(map_: Map, static: Any) -> Callable[..., Any]:
    def leaves(*operands):
        return tuple(jax.tree.leaves(map_(*operands, **dict(static))))

    return mlir.lower_fun(leaves, multiple_results=True)


def _kernel_may_run(ctx: Any, platform: str) -> bool:
    module = ctx.module_context
    platforms = tuple(ctx.platforms or module.platforms)
    wanted = os.environ.get(ENVIRONMENT_VARIABLE) != "0"
    return wanted and platforms == (platform,) and may_hold_opaque_calls(module)


def _without_mesh(aval: Any) -> Any:
    return ShapedArray(aval.shape, aval.dtype)


_map = Primitive("jaxconv_kernel")
_map.multiple_results = True
_map.def_abstract_eval(_results)
_map.def_impl(lambda *a, **static: jax.jit(lambda *a: _map.bind(*a, **static))(*a))
mlir.register_lowering(_map, _lower)
