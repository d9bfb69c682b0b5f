"""What a contraction compiles to: zeros, the textbook formula, or an algorithm for the platform."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp

from .. import algorithms
from .._spec import ConvSpec, Slot, operand_of, shape_of, with_operand
from .._typing import Array
from . import _textbook


def compiled_for(slot: Slot, platform: str) -> Callable[..., Array]:
    """The function that XLA compiles on a platform for the contraction that leaves `slot` empty."""

    def contraction(first: Array, second: Array, *, spec: ConvSpec) -> Array:
        if _is_empty(slot, first.shape, second.shape, spec):
            return _empty_sums(slot, first, second, spec)
        first, second = _with_rounded_kernel(slot, first, second, spec)
        if spec.impl == "textbook":
            return _textbook_result(slot, first, second, spec)
        return algorithms.run(slot, platform, spec, first, second)

    return contraction


def plain_lax(slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
    """The contraction as one operation of lax, with autodiff's derivatives."""
    if _is_empty(slot, first.shape, second.shape, spec):
        shape = shape_of(slot, first.shape, second.shape, spec.geometry)
        return jnp.zeros(shape, spec.dtypes.of(slot))
    first, second = _with_rounded_kernel(slot, first, second, spec)
    return algorithms.run_algorithm("direct", slot, spec, first, second)


def _is_empty(slot: Slot, first: Sequence[int], second: Sequence[int], spec: ConvSpec) -> bool:
    """Whether the sums of a contraction have no terms, or its result has no elements."""
    return 0 in (*first, *second, *shape_of(slot, first, second, spec.geometry))


def _empty_sums(slot: Slot, first: Array, second: Array, spec: ConvSpec) -> Array:
    """Zeros; in a forward pass the products of the kernel and the zeros of the padding, too."""
    shape = shape_of(slot, first.shape, second.shape, spec.geometry)
    zeros = jnp.zeros(shape, spec.dtypes.of(slot))
    if slot != spec.forward or slot is Slot.KERNEL:
        return zeros
    kernel = operand_of(Slot.KERNEL, slot, (first, second))
    return algorithms.with_zeros_multiplied(slot, zeros, kernel, spec.geometry.groups)


def _with_rounded_kernel(
    slot: Slot, first: Array, second: Array, spec: ConvSpec
) -> tuple[Array, ...]:
    """The operands, the kernel among them in the dtype that it has in products."""
    if spec.kernel_dtype is None or slot is Slot.KERNEL:
        return first, second
    return with_operand(Slot.KERNEL, slot, (first, second), lambda k: k.astype(spec.kernel_dtype))


def _textbook_result(slot: Slot, first: Array, second: Array, spec: ConvSpec) -> Array:
    dtype = spec.dtypes.of(slot)
    wide = algorithms.accumulator(algorithms.common_dtype(dtype, first.dtype, second.dtype))
    return _textbook.CONTRACTIONS[slot](
        first.astype(wide), second.astype(wide), geometry=spec.geometry, precision=spec.precision
    ).astype(dtype)
