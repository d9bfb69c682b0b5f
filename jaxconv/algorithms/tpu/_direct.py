"""Each contraction as autodiff of lax writes it, for XLA's TPU compiler.

`shared/_direct.py` brings the operands of a gradient to the layout of a forward pass. Here they
stay as they are, and the axes exchange names instead:

    x_bar   the kernel's window is reversed, and its channels exchange names;
    k_bar   the examples of x and y_bar are called channels, the channels of x examples; feature
            groups become groups of examples.

A TPU adds up products in float32 and rounds where it writes. A result in half precision is asked
for as such, because a float32 one would be a map more to copy where layouts change.

XLA's TPU compiler chooses the layout of every operand itself, and recognises these forms: its
estimate for the kernel gradient of a depthwise layer is a tenth of that for the form in `shared/`.
"""

import jax.numpy as jnp
from jax import lax

from ..._spec import ConvSpec
from ..._typing import Input, Kernel, Output
from ..shared._arrays import split_groups
from ..shared._direct import Direct, convolve


class TpuDirect(Direct):
    """XLA's own convolution, with gradients as those of lax.

    Args:
      rounds_once: As in `convolve`.
    """

    def __init__(self, *, rounds_once: bool = True):
        self.rounds_once = rounds_once

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve) -> Output:
        """∂T/∂y: the convolution itself."""
        if not spec.geometry.rank:
            return super().forward(spec, x, kernel, solve)
        return convolve(
            x,
            kernel,
            spec.geometry,
            spec.precision,
            spec.dtypes.y,
            rounds_once=self.rounds_once,
        )

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve) -> Input:
        """∂T/∂x: the full convolution with the rotated kernel."""
        geometry = spec.geometry
        if not geometry.rank:
            return super().input_vjp(spec, kernel, y, solve)
        *window, c, _ = kernel.shape
        by_group = jnp.moveaxis(split_groups(kernel, geometry.groups), -2, -3)
        rotated = lax.rev(by_group, range(geometry.rank))
        return convolve(
            y,
            rotated.reshape(*window, geometry.groups * c, -1),
            geometry.transposed(),
            spec.precision,
            spec.dtypes.x,
            axes=("N{}C", "{}OI", "N{}C"),
            rounds_once=self.rounds_once,
        )

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve) -> Kernel:
        """∂T/∂k: the input convolved with y, with a sum over examples."""
        if not spec.geometry.rank:
            return super().kernel_vjp(spec, x, y, solve)
        return convolve(
            x,
            y,
            spec.geometry.correlated(),
            spec.precision,
            spec.dtypes.k,
            axes=("C{}N", "I{}O", "{}NC"),
            by_examples=True,
            rounds_once=self.rounds_once,
        )
