"""Where a kernel written by hand may run, and the plain form that runs everywhere else.

`_compilation.py` says which programs may hold a kernel. That is known only when a program is
compiled, so the choice is a primitive.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from jax.core import ShapedArray
from jax.interpreters import mlir
from jax.sharding import NamedSharding, PartitionSpec

from ..._compilation import may_hold_opaque_calls
from ..._spec import ConvSpec
from ..._typing import Array

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # The same class. Importing jax.extend takes half as long as importing this library.
    Primitive = type(jax.lax.add_p)

# A contraction of two operands, given the keyword `spec`.
Contraction: TypeAlias = Callable[..., Array]

# JAXCONV_KERNELS=0 compiles the plain forms. It is read whenever a program is compiled.
ENVIRONMENT_VARIABLE = "JAXCONV_KERNELS"

# What Pallas raises where it is missing, has changed, or finds no device to compile for.
_UNAVAILABLE = (ImportError, AttributeError, TypeError, NotImplementedError, RuntimeError)


def kernel_or_plain(
    platform: str,
    kernel: Contraction,
    plain: Contraction,
    like: jax.ShapeDtypeStruct,
    first: Array,
    second: Array,
    spec: ConvSpec,
) -> Array:
    """A contraction by `kernel` where one device of `platform` computes it, otherwise by `plain`.

    Args:
      platform: The platform that the kernel is written for.
      kernel: The contraction as a kernel. Only its shapes are static.
      plain: The same contraction without a kernel.
      like: Shape and dtype of the result.
      first: The first operand.
      second: The second operand.
      spec: The convolution.

    Returns:
      The contraction.
    """
    if not all(isinstance(size, int) for size in (*first.shape, *second.shape)):
        return plain(first, second, spec=spec)
    static = {"shape": tuple(like.shape), "dtype": like.dtype, "spec": spec}
    return _contraction.bind(first, second, platform=platform, kernel=kernel, plain=plain, **static)


def result_of(operand: Array, shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a kernel's result.

    It varies over the axes of a `shard_map` as `operand` does. Pallas asks for that.
    """
    return jax.eval_shape(lambda a: a, operand).update(shape=tuple(shape), dtype=dtype)


def _result(first, second, *, shape, dtype, **_):
    sharding = NamedSharding(first.sharding.mesh, PartitionSpec(*(None,) * len(shape)))
    return first.update(shape=shape, dtype=dtype, weak_type=False, sharding=sharding)


def _lower(ctx, *operands, platform, kernel, plain, spec, **_):
    if _kernel_may_run(ctx, platform):
        # Inside a `shard_map` the arrays are those of one device. Pallas need not know its axes.
        bare = ctx.replace(avals_in=[_without_mesh(aval) for aval in ctx.avals_in])
        try:
            with warnings.catch_warnings():  # of backends that a later version will not have
                warnings.simplefilter("ignore", DeprecationWarning)
                return _lowering_of(kernel, spec)(bare, *operands)
        except _UNAVAILABLE:
            pass
    return _lowering_of(plain, spec)(ctx, *operands)


def _lowering_of(contraction: Contraction, spec: ConvSpec) -> Callable[..., Any]:
    return mlir.lower_fun(lambda *a: contraction(*a, spec=spec), multiple_results=False)


def _kernel_may_run(ctx: Any, platform: str) -> bool:
    module = ctx.module_context
    platforms = tuple(ctx.platforms or module.platforms)
    wanted = os.environ.get(ENVIRONMENT_VARIABLE) != "0"
    return wanted and platforms == (platform,) and may_hold_opaque_calls(module)


def _without_mesh(aval: Any) -> Any:
    return ShapedArray(aval.shape, aval.dtype)


_contraction = Primitive("jaxconv_kernel")
_contraction.def_abstract_eval(_result)
_contraction.def_impl(lambda *a, **static: jax.jit(lambda *a: _contraction.bind(*a, **static))(*a))
mlir.register_lowering(_contraction, _lower)
