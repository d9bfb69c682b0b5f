"""What a contraction compiles to: zeros, the textbook formula, or an algorithm for the platform."""

from collections.abc import Sequence

import jax.numpy as jnp

from .. import algorithms
from .._forms import Map
from .._spec import ConvSpec, Slot, operand_of, shape_of, with_operand
from .._typing import Array
from . import _textbook


def compiled_for(slot: Slot, platform: str) -> Map:
    """The function that XLA compiles, on one platform, for the contraction that leaves `slot`."""

    def contraction(*operands: Array, spec: ConvSpec) -> Array:
        if _has_no_terms(slot, operands, spec):
            return _zeros(slot, operands, spec)
        operands = _with_rounded_kernel(slot, operands, spec)
        if spec.impl == "textbook":
            return _textbook_result(slot, operands, spec)
        first, second = operands
        return algorithms.run(slot, platform, spec, first, second)

    return contraction


def plain_lax(slot: Slot, spec: ConvSpec, *operands: Array) -> Array:
    """The contraction as one operation of lax, with autodiff's derivatives."""
    if _has_no_terms(slot, operands, spec):
        return jnp.zeros(_shape(slot, operands, spec), spec.dtypes.of(slot))
    first, second = _with_rounded_kernel(slot, operands, spec)
    return algorithms.run_algorithm("direct", slot, spec, first, second)


def _has_no_terms(slot: Slot, operands: Sequence[Array], spec: ConvSpec) -> bool:
    """Whether the sums have no terms, or the result has no elements."""
    shapes = [_shape(slot, operands, spec), *(operand.shape for operand in operands)]
    return any(0 in shape for shape in shapes)


def _zeros(slot: Slot, operands: Sequence[Array], spec: ConvSpec) -> Array:
    """The result of sums without terms. A forward pass multiplies the zeros of its padding, too."""
    zeros = jnp.zeros(_shape(slot, operands, spec), spec.dtypes.of(slot))
    if slot != spec.forward or slot is Slot.KERNEL:
        return zeros
    kernel = operand_of(Slot.KERNEL, slot, operands)
    return algorithms.with_zeros_multiplied(slot, zeros, kernel, spec.geometry.groups)


def _with_rounded_kernel(
    slot: Slot, operands: Sequence[Array], spec: ConvSpec
) -> tuple[Array, ...]:
    """The operands, the kernel among them in the dtype that it has in products."""
    if spec.kernel_dtype is None or slot is Slot.KERNEL:
        return tuple(operands)
    return with_operand(Slot.KERNEL, slot, operands, lambda k: k.astype(spec.kernel_dtype))


def _textbook_result(slot: Slot, operands: Sequence[Array], spec: ConvSpec) -> Array:
    dtype = spec.dtypes.of(slot)
    common = algorithms.common_dtype(dtype, *(operand.dtype for operand in operands))
    first, second = (operand.astype(algorithms.accumulator(common)) for operand in operands)
    formula = _textbook.CONTRACTIONS[slot]
    return formula(first, second, geometry=spec.geometry, precision=spec.precision).astype(dtype)


def _shape(slot: Slot, operands: Sequence[Array], spec: ConvSpec) -> tuple[int, ...]:
    first, second = (operand.shape for operand in operands)
    return shape_of(slot, first, second, spec.geometry)
