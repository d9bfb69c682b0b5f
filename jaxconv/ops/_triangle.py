"""The triangle: the three maps as the derivations write them, made into operations of JAX.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                        (T)

The corners are named for the slot that they leave empty: "y" is the forward pass, "x" the gradient
of the input, "k" that of the kernel. The derivations are in `_convolution.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .. import algorithms
from .._forms import Map, multilinear_form
from .._geometry import Geometry
from .._typing import Array
from ._boundary import fold_boundary, pad_boundary
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
    shape = algorithms.result_shape(
        slot, *(operand.shape for operand in operands), geometry=geometry
    )
    return jax.ShapeDtypeStruct(shape, dtypes["xky".index(slot)])


# The letters of a slot's outer axes. In groups, one axis of each slot counts the groups, "g", and
# the kernel's other one only the channels, "i", of one group.
_AXES = {"x": ("n", "c"), "k": ("c", "o"), "y": ("n", "o")}
_AXES_IN_GROUPS = {"x": ("n", "g"), "k": ("i", "g"), "y": ("n", "g")}


def _split(slot: str, shape, *operands: Any, geometry: Geometry, **_: Any) -> tuple[Any, ...]:
    """How a corner's result is split over a mesh: as the operand that shares the letter.

    In (T) each letter stands in two slots: n in x and y, c in x and k, o in k and y. Two operands
    that are split along the letter that is summed over must be so alike; the sum is then one over
    devices, too. Groups may be split where every device gets whole ones. Spatial axes are whole.
    """
    letters = _AXES if geometry.groups == 1 else _AXES_IN_GROUPS
    split: dict[str, list[Any]] = {"i": [None]}
    for name, operand in zip("xky".replace(slot, ""), operands, strict=True):
        spec = list(operand.sharding.spec)
        outer = [spec.pop(-2 if name == "k" else 0), spec.pop()]
        if any(spatial is not None for spatial in spec):
            raise ValueError(
                f"The spatial axes of a convolution must not be split over a mesh, got {name} as "
                f"{operand.sharding.spec}; see jax.sharding.reshard."
            )
        for letter, axes in zip(letters[name], outer, strict=True):
            split.setdefault(letter, []).append(axes)
    for letter, axes in split.items():
        if len(set(axes)) > 1:
            raise ValueError(f"{_MUST_MATCH[letter]}, got {axes}; see jax.sharding.reshard.")
    for axes in set(split.get("g", ())) - {None}:
        mesh = next(a.sharding.mesh for a in operands if not a.sharding.mesh.empty)
        devices = math.prod(mesh.shape[axis] for axis in _as_tuple(axes))
        if geometry.groups % devices:
            raise ValueError(
                f"The channels of a convolution with groups must be split so that every device "
                f"gets whole groups, got {geometry.groups} groups for the {devices} devices of "
                f"mesh axes {axes}; see jax.sharding.reshard."
            )
    first, last = (split[letter][0] for letter in letters[slot])
    whole = (None,) * geometry.rank
    return (*whole, first, last) if slot == "k" else (first, *whole, last)


_MUST_MATCH = {
    letter: f"Both operands of a convolution must be split alike along the axis {letter!r} that "
    "they share"
    for letter in "nco"
} | {
    "g": "Both operands of a convolution with groups must be split alike along the channels that "
    "count the groups",
    "i": "The channels of one group must not be split over a mesh",
}


def _as_tuple(axes: Any) -> tuple[str, ...]:
    return axes if isinstance(axes, tuple) else (axes,)


_DEFINITIONS = {"x": _input_vjp, "k": _kernel_vjp, "y": _forward}


def _of_nothing(
    slot: str, *operands: Array, geometry: Geometry, dtypes: algorithms.Dtypes
) -> jax.ShapeDtypeStruct | None:
    """The zeros that a corner is where it has sums without terms, or no elements; else None."""
    result = _result(slot, *operands, geometry=geometry, dtypes=dtypes)
    sizes = (*result.shape, *(size for operand in operands for size in operand.shape))
    return result if 0 in sizes else None


def _compiled_to(slot: str, platform: str) -> Map:
    """What a corner compiles to: its definition where the call asks for it, else an algorithm."""

    def lowered(*operands, geometry, dtypes, precision, impl, kernel_dtype, forward):
        dtype = dtypes["xky".index(slot)]
        if nothing := _of_nothing(slot, *operands, geometry=geometry, dtypes=dtypes):
            zeros = jnp.zeros(nothing.shape, dtype)
            if slot != forward or slot == "k":
                return zeros
            kernel = operands["xky".replace(slot, "").index("k")]
            return algorithms.with_zeros_multiplied(slot, zeros, kernel, geometry.groups)
        operands = _rounded(slot, operands, kernel_dtype)
        if impl != "textbook":
            return algorithms.run(
                slot,
                platform,
                *operands,
                geometry=geometry,
                dtypes=dtypes,
                precision=precision,
                impl=impl,
                forward=forward,
            )
        wide = algorithms.accumulator(algorithms.common_dtype(dtype, *(a.dtype for a in operands)))
        operands = [operand.astype(wide) for operand in operands]
        return _DEFINITIONS[slot](*operands, geometry=geometry, precision=precision).astype(dtype)

    return lowered


def _rounded(slot: str, operands: Sequence[Array], kernel_dtype: Any) -> tuple[Array, ...]:
    """The operands of a corner, the kernel among them in the dtype that it has in products."""
    if kernel_dtype is None or slot == "k":
        return tuple(operands)
    k = "xky".replace(slot, "").index("k")
    return tuple(a.astype(kernel_dtype) if i == k else a for i, a in enumerate(operands))


_TRIANGLE = multilinear_form(
    "jaxconv",
    {slot: _compiled_to(slot, "any") for slot in "xky"},
    result=_result,
    batch=fold_batch,
    shard=_split,
    lowerings={
        slot: {name: _compiled_to(slot, name) for name in ("cpu", *algorithms.GPU_PLATFORMS)}
        for slot in "xky"
    },
)


# Which slot a primitive leaves empty.
SLOT_OF = {corner.primitive: slot for slot, corner in zip("xky", _TRIANGLE, strict=True)}


def contract(
    call: Call, slot: str, *operands: Array, geometry: Geometry, dtypes: algorithms.Dtypes
) -> Array:
    """Contract (T) with two slots, the empty one named, by the operation or by plain lax."""
    if call.padding_mode != "zeros":
        return _contract_in_mode(call, slot, operands, geometry, dtypes)
    params = {"geometry": geometry, "dtypes": dtypes, "precision": call.precision}
    if call.impl in algorithms.ALGORITHMS:
        shapes = (operand.shape for operand in operands)
        problem = algorithms.problem_of(slot, *shapes, geometry=geometry)
        why_not = algorithms.why_not(call.impl, problem, dtypes)
        if why_not:
            raise ValueError(
                f"{call.function}: impl={call.impl!r} does not apply to this call: {why_not}."
            )
    kernel_dtype = call.dtype_of_products()
    if call.impl == "lax":
        if zeros := _of_nothing(slot, *operands, geometry=geometry, dtypes=dtypes):
            return jnp.zeros(zeros.shape, zeros.dtype)
        operands = _rounded(slot, operands, kernel_dtype)
        return algorithms.ALGORITHMS["direct"][slot](*operands, **params)
    corner = _TRIANGLE["xky".index(slot)]
    params |= {"impl": call.impl, "kernel_dtype": kernel_dtype, "forward": call.forward}
    return corner(*operands, **params)


def _contract_in_mode(call, slot, operands, geometry, dtypes) -> Array:
    """A corner whose input goes on beyond its border: one of the padded input, without padding."""
    mode, inner = call.padding_mode, replace(call, padding_mode="zeros")
    if slot == "x":
        x_bar = contract(inner, "x", *operands, geometry=geometry.padded(), dtypes=dtypes)
        return fold_boundary(x_bar, geometry, mode)
    x, other = operands
    x, geometry = pad_boundary(x, geometry, mode)
    return contract(inner, slot, x, other, geometry=geometry, dtypes=dtypes)
