"""A kernel gradient without spatial axes: a product of two tall matrices, as two products at once.

    k_bar = Xᵀ Y = X₁ᵀ Y₁ + X₂ᵀ Y₂    for x and y cut in two along the examples                  (1)

What patches, strips and tiles leave of a kernel gradient is such a product: hundreds of thousands
of rows to sum over, for a result of a few hundred elements a side. XLA divides a product among the
cores by its result, and each core gets a sliver of a small one. The two products of (1) start at
once and each is divided less. It is also up to twice as fast to put the narrower matrix first, so
that the result has long rows. It is transposed afterwards where the other order is asked for.

Takes 2·n·c·o operations, without copies, and the sum of two results.
"""

import jax.numpy as jnp
from jax import lax

from ..._spec import ConvSpec, Slot
from ..._typing import Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._dtypes import to_accumulator
from ._jax_0_10 import SHORTEST_SUM_TO_CUT
from ._rates import CACHED_KERNEL, LAUNCH, thin

# By how much the product is slower if its result does not fit in the cache of a core.
_BEYOND_CACHE = 1.3


class TwoProducts(Algorithm):
    """(1)."""

    name = "two_products"
    slots = (Slot.KERNEL,)
    finishes = frozenset({Remainder.FOLDED})

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k: (1), or one product where the number of examples is odd, open or small."""
        x, y = to_accumulator(spec.dtypes.k, x, y)
        if x.shape[-1] > y.shape[-1]:
            return self.kernel_vjp(spec, y, x, solve).T
        n = x.shape[0]
        count = 2 if isinstance(n, int) and n >= SHORTEST_SUM_TO_CUT and n % 2 == 0 else 1
        x, y = (a.reshape(count, n // count, -1) for a in (x, y))
        over_examples = (((1,), (1,)), ((0,), (0,)))
        k = lax.dot_general(x, y, over_examples, precision=spec.precision)
        return jnp.sum(k, axis=0).astype(spec.dtypes.k)

    def why_not(self, problem: Problem) -> str:
        """Why it is no such product; empty if it is."""
        if problem.geometry.rank:
            return "it is no product of two tall matrices"
        return "there are feature groups" if problem.geometry.groups > 1 else ""

    def cost(self, problem: Problem) -> float:
        """The products, the narrower matrix first."""
        *_, n, c, o, _ = problem
        slow = thin(min(c, o), 32) * thin(max(c, o)) * thin(n, 128)
        slow *= _BEYOND_CACHE if c * o > CACHED_KERNEL else 1.0
        return LAUNCH + slow * problem.operations
