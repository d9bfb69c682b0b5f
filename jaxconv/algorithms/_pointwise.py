"""A product with many rows on a CPU, as the convolution that meets one pixel at a time.

    y[p,o] = Σ_c x[p,c] k[c,o]    is (T) with rows as pixels of one example, and a window of 1   (1)

XLA for CPUs has separate routines for products and for convolutions. From some thousand rows on the
second are a tenth to a third faster, a pointwise convolution's among them, unless it has few output
channels. The input gradient is (1) with the exchanged kernel.

Cost: 2·n·c·o operations, and for the input gradient a copy of the kernel.
"""

from jax import lax

from .._geometry import Geometry
from .._typing import Input, Kernel, Output
from ._arrays import Dtypes, rotate_kernel, to_accumulator
from ._problem import Problem


def why_not(problem: Problem) -> str:
    """What keeps a corner from being such a product; empty if nothing does."""
    if problem.geometry.rank:
        return "there are spatial axes"
    return "there are feature groups" if problem.geometry.groups > 1 else ""


def pointwise_forward(
    x: Input, kernel: Kernel, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Output:
    """∂T/∂y: (1)."""
    x, kernel = to_accumulator(dtypes[2], x, kernel)
    y = lax.conv_general_dilated(
        x[None],
        kernel[None],
        (1,),
        "VALID",
        dimension_numbers=("NWC", "WIO", "NWC"),
        precision=precision,
    )
    return y[0].astype(dtypes[2])


def pointwise_input_vjp(
    kernel: Kernel, y: Output, *, geometry: Geometry, dtypes: Dtypes, precision: lax.PrecisionLike
) -> Input:
    """∂T/∂x: (1) of the error."""
    back = {"geometry": geometry, "dtypes": dtypes[::-1], "precision": precision}
    return pointwise_forward(y, rotate_kernel(kernel), **back)
