"""A product with many rows as a convolution with a window of one element.

    y[p,o] = Σ_c x[p,c] k[c,o]    is (T) with rows as positions, and a window of one element    (1)

XLA for CPUs has separate routines for products and for convolutions. From some thousand rows on the
convolution is a tenth to a third faster, unless it has few output channels. The input gradient is
(1) with the transposed kernel.

Takes 2·n·c·o operations, and for the input gradient a copy of the kernel.
"""

from jax import lax

from ..._spec import ConvSpec, Slot
from ..._typing import Input, Kernel, Output
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._arrays import rotate_kernel
from ..shared._dtypes import to_accumulator
from ._direct import product_cost
from ._hints import HINTS
from ._jax_0_10 import CONVOLUTIONS_BEAT_PRODUCTS
from ._rates import LAUNCH

# From so many rows and columns on the convolution takes this much of the product's time, below
# them more.
_ROWS, _COLUMNS = 4000, 32
_FASTER, _SLOWER = 0.88, 1.2


class Pointwise(Algorithm):
    """(1)."""

    name = "pointwise"
    slots = (Slot.INPUT, Slot.OUTPUT)
    finishes = frozenset({Remainder.FOLDED})
    hints = HINTS

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y: (1)."""
        x, kernel = to_accumulator(spec.dtypes.y, x, kernel)
        y = lax.conv_general_dilated(
            x[None],
            kernel[None],
            (1,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
            precision=spec.precision,
        )
        return y[0].astype(spec.dtypes.y)

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x: (1) of y."""
        return self.forward(spec.transposed(), y, rotate_kernel(kernel, hints=self.hints), solve)

    def why_not(self, problem: Problem) -> str:
        """Why it is no such product; empty if it is."""
        if problem.geometry.rank:
            return "there are spatial axes"
        return "there are feature groups" if problem.geometry.groups > 1 else ""

    def cost(self, problem: Problem) -> float:
        """A product's, or less for many rows and columns."""
        slot, _, n, c, o, _ = problem
        many = n >= _ROWS and (o if slot == Slot.OUTPUT else c) >= _COLUMNS
        factor = _FASTER if many and CONVOLUTIONS_BEAT_PRODUCTS else _SLOWER
        return LAUNCH + factor * product_cost(problem)
