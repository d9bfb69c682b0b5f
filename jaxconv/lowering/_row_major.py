"""An array written as it is: the reshape that follows stays out of the loop that writes it.

What rearranges an array is fused, by XLA's CPU compiler, with a reshape of the result, and the loop
then runs over the axes of the reshaped array: it finds out with divisions, for each number, where
that came from, and takes up to four times as long as a loop over the rearranged axes. Asking for
the row-major layout of the rearranged array, which it has anyway, ends the loop before the reshape;
that one is then free.

An exported program may not ask for layouts, as nobody promises what later versions make of it. On a
mesh, XLA of JAX 0.10 would gather the whole array for it. Both do without.
"""

from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from .._typing import Array
from ._arrays import IS_JAX_0_10

_row_major = Primitive("jaxconv_row_major")


def row_major(rearranged: Array) -> Array:
    """The array itself, for a reshape to follow."""
    return _row_major.bind(rearranged)


def _in_loop_order(a: Array) -> Array:
    return with_layout_constraint(a, Layout(tuple(range(a.ndim))))


def _as_it_is(ctx, a):
    return [a]


def _for_cpu(ctx, a):
    if IS_JAX_0_10 or ctx.module_context.lowering_parameters.for_export:
        return [a]
    return mlir.lower_fun(_in_loop_order, multiple_results=False)(ctx, a)


_row_major.def_impl(lambda a: a)
_row_major.def_abstract_eval(lambda aval: aval)
batching.defvectorized(_row_major)
mlir.register_lowering(_row_major, _as_it_is)
mlir.register_lowering(_row_major, _for_cpu, platform="cpu")
