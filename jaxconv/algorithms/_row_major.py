"""An array written as it is: the reshape that follows stays out of the loop that writes it.

What rearranges an array is fused, by XLA's CPU compiler, with a reshape of the result, and the loop
then runs over the axes of the reshaped array: it finds out with divisions, for each number, where
that came from, and takes up to four times as long as a loop over the rearranged axes. Asking for
the row-major layout of the rearranged array, which it has anyway, ends the loop before the reshape;
that one is then free.

An exported program may not ask for layouts, as nobody promises what later versions make of it. On a
mesh, XLA of JAX 0.10 would gather the whole array for it. Both do without, and rearrange in another
way where it is more axes that the loop would have to find out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jax.interpreters import ad, batching, mlir

from .._forms import Primitive
from .._typing import Array
from ._arrays import IS_JAX_0_10

_row_major = Primitive("jaxconv_row_major")


def row_major(
    a: Array,
    rearranged: Callable[[Array], Array] = lambda a: a,
    otherwise: Callable[[Array], Array] = lambda a: a,
) -> Array:
    """`rearranged(a)` as it is written, for a reshape to follow; else `otherwise(a)`.

    Both have the same numbers in the same order, and what comes back has the shape of the latter.
    Both are linear; so are they in forward mode, and the transpose is that of the latter.
    """
    return _row_major.bind(a, rearranged=rearranged, otherwise=otherwise)


def _in_loop_order(a: Array) -> Array:
    return with_layout_constraint(a, Layout(tuple(range(a.ndim))))


def _result(aval: Any, *, otherwise: Callable[[Array], Array], **_: Any) -> Any:
    return aval.update(shape=jax.eval_shape(otherwise, aval).shape)


def _transposed(out_bar: Any, a: Any, *, otherwise: Callable[[Array], Array], **_: Any) -> Any:
    return jax.linear_transpose(otherwise, a.aval)(out_bar)  # either way, the same numbers move


def _batched(operands: Any, axes: Any, **ways: Callable[[Array], Array]) -> Any:
    (a,), (axis,) = operands, axes
    each = {name: jax.vmap(way) for name, way in ways.items()}
    return _row_major.bind(jnp.moveaxis(a, axis, 0), **each), 0


def _lowering(*, asks: bool) -> Callable[..., Any]:
    def rule(ctx, a, *, rearranged, otherwise):
        if not asks or IS_JAX_0_10 or ctx.module_context.lowering_parameters.for_export:
            return mlir.lower_fun(otherwise, multiple_results=False)(ctx, a)

        def asked(a):
            return _in_loop_order(rearranged(a)).reshape(ctx.avals_out[0].shape)

        return mlir.lower_fun(asked, multiple_results=False)(ctx, a)

    return rule


_row_major.def_impl(lambda a, rearranged, otherwise: otherwise(a))
_row_major.def_abstract_eval(_result)
ad.deflinear2(_row_major, _transposed)
batching.primitive_batchers[_row_major] = _batched
mlir.register_lowering(_row_major, _lowering(asks=False))
mlir.register_lowering(_row_major, _lowering(asks=True), platform="cpu")
