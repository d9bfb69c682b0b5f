"""A kernel gradient without spatial axes on a CPU: the product of two tall matrices, in halves.

    k_bar = Xᵀ Y = X₁ᵀ Y₁ + X₂ᵀ Y₂    for x and y cut in two along the examples                  (1)

What patches, strips and tiles leave of a kernel gradient is such a product: hundreds of thousands
of rows to sum over, for a result of a few hundred numbers a side. XLA divides a product among the
cores by its result, and of a small one each core gets a sliver; the two products of (1) start at
once and each is divided less. It is also up to twice as fast for the narrower matrix to come first:
the result has long rows, and is turned afterwards if it is wanted the other way.

Cost: 2·n·c·o operations, without copies, and two results to add up.
"""

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._typing import Input, Kernel, Output
from ._arrays import IS_JAX_0_10, Dtypes, to_accumulator
from ._problem import Problem

# Examples to cut in two. XLA of JAX 0.10 takes up to three times as long for two short products.
_MANY = 4096 if IS_JAX_0_10 else 2


def why_not(problem: Problem) -> str:
    """What keeps a corner from being such a product; empty if nothing does."""
    slot, geometry, *_ = problem
    if slot != "k" or geometry.rank:
        return "it is no product of two tall matrices"
    return "there are feature groups" if geometry.groups > 1 else ""


def halves_kernel_vjp(
    x: Input, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Kernel:
    """∂T/∂k: (1), or one product where the number of examples is odd, open or small."""
    x, y = to_accumulator(dtypes[1], x, y)
    if x.shape[-1] > y.shape[-1]:
        turned = halves_kernel_vjp(y, x, geometry=geometry, dtypes=dtypes, precision=precision)
        return turned.T
    n = x.shape[0]
    count = 2 if isinstance(n, int) and n >= _MANY and n % 2 == 0 else 1
    x, y = (a.reshape(count, n // count, -1) for a in (x, y))
    over_examples = (((1,), (1,)), ((0,), (0,)))
    k = lax.dot_general(x, y, over_examples, precision=precision)
    return jnp.sum(k, axis=0).astype(dtypes[1])
