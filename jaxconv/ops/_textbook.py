"""The three contractions as the derivations write them: what `impl="textbook"` computes.

The equation numbers are those of the docstrings of `conv`, `conv_input_vjp` and `conv_kernel_vjp`.
Each function ends in one valid convolution, which lax computes.
"""

from dataclasses import replace

import jax.numpy as jnp
from jax import lax

from .._geometry import Geometry
from .._spec import Precision, Slot
from .._typing import Array
from ._rotation import rotate_kernel


def forward(x: Array, kernel: Array, *, geometry: Geometry, precision: Precision = None) -> Array:
    """∂T/∂y: the valid convolution of the padded input, `conv` (1)."""
    return _valid(_dilate_and_pad(x, geometry), kernel, geometry, precision)


def input_vjp(kernel: Array, y: Array, *, geometry: Geometry, precision: Precision = None) -> Array:
    """∂T/∂x: the full convolution with the rotated kernel, `conv_input_vjp` (3)."""
    back = geometry.transposed()
    y_pad = _dilate_and_pad(y, back)
    groups = jnp.split(kernel, geometry.groups, axis=-1)
    k_rot = jnp.concatenate([rotate_kernel(group) for group in groups], axis=-1)
    return _valid(y_pad, k_rot, back, precision)


def kernel_vjp(x: Array, y: Array, *, geometry: Geometry, precision: Precision = None) -> Array:
    """∂T/∂k: the input convolved with the output's cotangent, `conv_kernel_vjp` (1)."""
    across = replace(geometry.correlated(), groups=1)
    inputs = jnp.split(_dilate_and_pad(x, across), geometry.groups, axis=-1)
    cotangents = jnp.split(y, geometry.groups, axis=-1)
    gradients = []
    for x_pad, y_bar in zip(inputs, cotangents, strict=True):
        # The sum over examples takes the place of the sum over channels.
        k = _valid(jnp.swapaxes(x_pad, 0, -1), jnp.moveaxis(y_bar, 0, -2), across, precision)
        gradients.append(jnp.moveaxis(k, 0, -2))
    return jnp.concatenate(gradients, axis=-1)


CONTRACTIONS = {Slot.INPUT: input_vjp, Slot.KERNEL: kernel_vjp, Slot.OUTPUT: forward}


def _dilate_and_pad(x: Array, geometry: Geometry) -> Array:
    """Put e-1 zeros between the elements of the input, and `lo` and `hi` zeros around them."""
    spatial = zip(geometry.padding, geometry.input_dilation, strict=True)
    sides = [(0, 0, 0), *((lo, hi, e - 1) for (lo, hi), e in spatial), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _valid(x: Array, kernel: Array, geometry: Geometry, precision: Precision) -> Array:
    """The valid convolution Σ_r x[s·p + d·r] k[r]."""
    axes = "".join(str(axis) for axis in range(geometry.rank))
    return lax.conv_general_dilated(
        x,
        kernel,
        geometry.strides,
        "VALID",
        rhs_dilation=geometry.kernel_dilation,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        feature_group_count=geometry.groups,
        precision=precision,
    )
