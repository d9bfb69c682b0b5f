"""The triangle: the three maps as the derivations write them, made into operations of JAX.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                        (T)

The corners are named for the slot that they leave empty: "y" is the forward pass, "x" the gradient
of the input, "k" that of the kernel. The derivations are in `_convolution.py`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import lax

from .. import lowering
from .._geometry import Geometry
from .._linear import Map, multilinear_form
from .._typing import Array
from ._call import Call
from ._folding import fold_batch
from ._rotation import rotate_kernel

# Equation numbers are those of the docstrings of `conv`, `conv_input_vjp` and `conv_kernel_vjp`.


def _forward(x, kernel, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    return _valid(_dilate_and_pad(x, geometry), kernel, geometry, precision)  # conv (1)


def _input_vjp(kernel, y, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    back = geometry.transposed()
    y_pad = _dilate_and_pad(y, back)
    groups = jnp.split(kernel, geometry.groups, axis=-1)
    k_rot = jnp.concatenate([rotate_kernel(group) for group in groups], axis=-1)
    return _valid(y_pad, k_rot, back, precision)  # conv_input_vjp (3)


def _kernel_vjp(x, y, *, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    across = replace(geometry.correlated(), groups=1)
    inputs = jnp.split(_dilate_and_pad(x, across), geometry.groups, axis=-1)
    errors = jnp.split(y, geometry.groups, axis=-1)
    gradients = []
    for x_pad, y_bar in zip(inputs, errors, strict=True):
        # Examples take the place of the channels that are summed over.
        k = _valid(jnp.swapaxes(x_pad, 0, -1), jnp.moveaxis(y_bar, 0, -2), across, precision)
        gradients.append(jnp.moveaxis(k, 0, -2))  # conv_kernel_vjp (1)
    return jnp.concatenate(gradients, axis=-1)


def _dilate_and_pad(x: Array, geometry: Geometry) -> Array:
    """Place the input on the line of (G): e-1 zeros between pixels, `lo` and `hi` around them."""
    spatial = zip(geometry.padding, geometry.input_dilation, strict=True)
    sides = [(0, 0, 0), *((lo, hi, e - 1) for (lo, hi), e in spatial), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), sides)


def _valid(x: Array, kernel: Array, geometry: Geometry, precision: lax.PrecisionLike) -> Array:
    """The valid convolution Σ_r x[s·p + d·r] k[r], the one step that is left to lax."""
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


# The triangle: three primitives, and with them all six transposes.


def _result(slot, *operands, geometry: Geometry, dtypes, **_) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the slot that a corner leaves empty."""
    first, second = (operand.shape for operand in operands)
    x_dtype, k_dtype, y_dtype = dtypes
    if slot == "x":
        k, y = first, second
        shape = (y[0], *geometry.input_size, k[-2] * geometry.groups)
        return jax.ShapeDtypeStruct(shape, x_dtype)
    if slot == "k":
        x, y = first, second
        return jax.ShapeDtypeStruct((*geometry.window, x[-1] // geometry.groups, y[-1]), k_dtype)
    x, k = first, second
    return jax.ShapeDtypeStruct((x[0], *geometry.output_size, k[-1]), y_dtype)


_DEFINITIONS = {"x": _input_vjp, "k": _kernel_vjp, "y": _forward}


def _compiled_to(slot: str, platform: str) -> Map:
    """What a corner compiles to: its definition where the call asks for it, else an algorithm."""

    def lowered(*operands, geometry, dtypes, precision, impl):
        if impl != "textbook":
            return lowering.run(
                slot,
                platform,
                *operands,
                geometry=geometry,
                dtypes=dtypes,
                precision=precision,
                impl=impl,
            )
        dtype = dtypes["xky".index(slot)]
        wide = lowering.accumulator(jnp.result_type(*operands, dtype))
        operands = [operand.astype(wide) for operand in operands]
        return _DEFINITIONS[slot](*operands, geometry=geometry, precision=precision).astype(dtype)

    return lowered


_TRIANGLE = multilinear_form(
    "jaxconv",
    {slot: _compiled_to(slot, "any") for slot in "xky"},
    result=_result,
    batch=fold_batch,
    lowerings={
        slot: {name: _compiled_to(slot, name) for name in ("cpu", *lowering.GPU_PLATFORMS)}
        for slot in "xky"
    },
)


# Which slot a primitive leaves empty.
SLOT_OF = {corner.primitive: slot for slot, corner in zip("xky", _TRIANGLE, strict=True)}


def contract(
    call: Call, slot: str, *operands: Array, geometry: Geometry, dtypes: lowering.Dtypes
) -> Array:
    """Contract (T) with two slots, the empty one named, by the operation or by plain lax."""
    params = {"geometry": geometry, "dtypes": dtypes, "precision": call.precision}
    if call.impl in lowering.ALGORITHMS:
        shapes = (operand.shape for operand in operands)
        why_not = lowering.why_not(call.impl, lowering.problem_of(slot, *shapes, geometry=geometry))
        if why_not:
            raise ValueError(
                f"{call.function}: impl={call.impl!r} does not apply to this call: {why_not}."
            )
    if call.impl == "lax":
        return lowering.ALGORITHMS["direct"][slot](*operands, **params)
    return _TRIANGLE["xky".index(slot)](*operands, **params, impl=call.impl)
