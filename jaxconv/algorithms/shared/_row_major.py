"""An array in row-major order, where a compiler would read or write it in another one.

XLA's CPU compiler fuses a loop that rearranges an array with a reshape of the result. The loop then
runs over the axes of the reshaped array. For each element it finds out by divisions where that came
from, and takes up to four times as long as a loop over the rearranged axes. Asking for the
row-major layout of the rearranged array, which it has anyway, ends the loop before the reshape. The
reshape is then free.

XLA's GPU compiler takes the order of a map from the library calls around it. Where there are none,
it leaves the maps of channels-first programs as they are, and exchanges the axes of what each tap
sees. Asking for the row-major layout of the map copies it once.

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
from .._algorithm import GPU_PLATFORMS

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


# XLA of JAX 0.10 gathers a whole array that is split over a mesh for it.
ASKS_FOR_LAYOUT = jax.__version_info__ >= (0, 11)

_AS_IT_IS = _AsItIs()
_row_major = Primitive("jaxconv_row_major")


def row_major(
    a: Array, rearrangement: Rearrangement = _AS_IT_IS, platforms: tuple[str, ...] = ("cpu",)
) -> Array:
    """An array, rearranged, whose row-major layout is asked for on some platforms."""
    if not ASKS_FOR_LAYOUT:
        return rearrangement.by_slices(a)
    return _row_major.bind(a, rearrangement=rearrangement, platforms=platforms)


def _result(a: Any, *, rearrangement: Rearrangement, platforms: tuple[str, ...]) -> Any:
    return a.update(shape=jax.eval_shape(rearrangement.by_slices, a).shape)


def _lowering(platform: str | None) -> Callable[..., Any]:
    def rule(ctx, a, *, rearrangement, platforms):
        (out,) = ctx.avals_out

        def asked(a):
            rearranged = rearrangement.in_one_loop(a)
            layout = Layout(tuple(range(rearranged.ndim)))
            return with_layout_constraint(rearranged, layout).reshape(out.shape)

        exports = ctx.module_context.lowering_parameters.for_export
        asks = platform in platforms and not exports
        rearrange = asked if asks else rearrangement.by_slices
        return mlir.lower_fun(rearrange, multiple_results=False)(ctx, a)

    return rule


_row_major.def_impl(lambda a, *, rearrangement, platforms: rearrangement.by_slices(a))
_row_major.def_abstract_eval(_result)
mlir.register_lowering(_row_major, _lowering(None))
for _platform in ("cpu", *GPU_PLATFORMS):
    mlir.register_lowering(_row_major, _lowering(_platform), platform=_platform)
