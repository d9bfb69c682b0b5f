"""An array that is written as it is: the reshape that follows stays out of the loop that writes it.

XLA's CPU compiler fuses a loop that rearranges an array with a reshape of the result. The loop then
runs over the axes of the reshaped array. For each element it finds out by divisions where that came
from, and takes up to four times as long as a loop over the rearranged axes. Asking for the
row-major layout of the rearranged array, which it has anyway, ends the loop before the reshape. The
reshape is then free.

An exported program must not ask for layouts, since later versions may read the request differently.
On a mesh, XLA of JAX 0.10 would gather the whole array for it. Neither asks. Without the request a
rearrangement in one loop can be slower than slices, so a `Rearrangement` has both forms.

The primitive of this file exists only while a program is lowered, after differentiation and
batching. So it has no rules for them. Its parameters are hashable and compare by value.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.interpreters import mlir

from ..._typing import Array
from ._jax_0_10 import ASKS_FOR_LAYOUT

if TYPE_CHECKING:
    from jax.extend.core import Primitive
else:  # the same class; importing jax.extend is slow
    Primitive = type(jax.lax.add_p)


@runtime_checkable
class Rearrangement(Protocol):
    """Two ways to rearrange an array, with the same elements in the same row-major order.

    Their shapes may differ by axes that a reshape joins. Instances must be hashable.
    """

    def in_one_loop(self, a: Array) -> Array:
        """The rearranged array, by one loop: fast where the layout is asked for."""
        ...

    def by_slices(self, a: Array) -> Array:
        """The rearranged array, by slices: faster where it isn't. The result has this shape."""
        ...


class _AsItIs:
    """No rearrangement."""

    def in_one_loop(self, a: Array) -> Array:
        return a

    def by_slices(self, a: Array) -> Array:
        return a


_AS_IT_IS = _AsItIs()
_row_major = Primitive("jaxconv_row_major")


def row_major(a: Array, rearrangement: Rearrangement = _AS_IT_IS) -> Array:
    """An array, rearranged, that is written before it is reshaped."""
    if not ASKS_FOR_LAYOUT:
        return rearrangement.by_slices(a)
    return _row_major.bind(a, rearrangement=rearrangement)


def _result(a: Any, *, rearrangement: Rearrangement) -> Any:
    return a.update(shape=jax.eval_shape(rearrangement.by_slices, a).shape)


def _lowering(*, asks: bool) -> Callable[..., Any]:
    def rule(ctx, a, *, rearrangement):
        (out,) = ctx.avals_out

        def asked(a):
            rearranged = rearrangement.in_one_loop(a)
            layout = Layout(tuple(range(rearranged.ndim)))
            return with_layout_constraint(rearranged, layout).reshape(out.shape)

        exports = ctx.module_context.lowering_parameters.for_export
        rearrange = asked if asks and not exports else rearrangement.by_slices
        return mlir.lower_fun(rearrange, multiple_results=False)(ctx, a)

    return rule


_row_major.def_impl(lambda a, *, rearrangement: rearrangement.by_slices(a))
_row_major.def_abstract_eval(_result)
mlir.register_lowering(_row_major, _lowering(asks=False))
mlir.register_lowering(_row_major, _lowering(asks=True), platform="cpu")
