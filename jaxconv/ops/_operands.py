"""The operands of a convolution: where their axes are, and which dtypes go together."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import algorithms
from .._spec import Dtypes, Slot
from .._typing import Array

DimensionNumbers: TypeAlias = tuple[str, str, str] | lax.ConvDimensionNumbers | None


class Operand(NamedTuple):
    """An array that fills a slot of T, channels last, and its name in the user's call."""

    slot: Slot
    name: str
    array: Array


# Layouts.


def layouts(
    function: str, x_shape: Sequence[int], k_shape: Sequence[int], numbers: DimensionNumbers
) -> lax.ConvDimensionNumbers:
    """The layouts of a convolution as lax understands them, or an error that names the function."""
    try:
        return lax.conv_dimension_numbers(tuple(x_shape), tuple(k_shape), numbers)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: dimension_numbers: {error}") from None


def channels_last(
    function: str, slot: Slot, rank: int, numbers: DimensionNumbers
) -> tuple[int, ...]:
    """The axes of an array in the user's layout, in the order of the library's own layout.

    The library's layout is `(n, *spatial, c)` for feature maps and `(*window, c, o)` for kernels.
    """
    if numbers is None:
        return tuple(range(rank))
    ones = (1,) * rank
    found = layouts(function, ones, ones, numbers)
    if slot is Slot.KERNEL:
        out_features, in_features, *window = found.rhs_spec
        return (*window, in_features, out_features)
    batch, features, *spatial = found.lhs_spec if slot is Slot.INPUT else found.out_spec
    return (batch, *spatial, features)


# Dtypes.

_KINDS = (jnp.signedinteger, jnp.floating, jnp.complexfloating)


def is_as_wide(dtype: np.dtype, other: np.dtype) -> bool:
    """Whether the first of two dtypes holds numbers of the other's kind, and is no narrower."""
    alike = any(jnp.issubdtype(dtype, kind) and jnp.issubdtype(other, kind) for kind in _KINDS)
    alike |= jnp.issubdtype(other, jnp.unsignedinteger) and jnp.issubdtype(dtype, jnp.integer)
    return alike and dtype.itemsize >= other.itemsize


def canonical_dtype(name: str, value: Any) -> np.dtype | None:
    """A dtype that a user asked for, as JAX has it; None stays None. `name` starts the error."""
    if value is None:
        return None
    try:
        return np.dtype(jax.dtypes.canonicalize_dtype(value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a dtype, got {value!r}: {error}") from None


def slot_dtypes(
    function: str,
    operands: tuple[Operand, Operand],
    preferred: np.dtype | None,
    kernel_dtype: np.dtype | None,
) -> Dtypes:
    """The dtypes of the three slots, of which two operands fill two.

    The operands have one dtype. The exceptions are a kernel that is rounded to `kernel_dtype`, and
    the array in the slot of the output, which may be wider than the other operand, because a
    convolution's result may have been preferred wider.

    Raises:
      TypeError: The dtypes do not go together.
    """
    arrays = {operand.slot: operand for operand in operands}
    own = {slot: operand.array.dtype for slot, operand in arrays.items()}
    in_products, names = dict(own), {operand.slot: operand.name for operand in operands}
    if kernel_dtype is not None and Slot.KERNEL in own:
        if not is_as_wide(own[Slot.KERNEL], kernel_dtype):
            raise TypeError(
                f"{function}: kernel_dtype must not be wider than the kernel or of another kind, "
                f"got {kernel_dtype} for a kernel of dtype {own[Slot.KERNEL]}."
            )
        in_products[Slot.KERNEL], names[Slot.KERNEL] = kernel_dtype, "kernel_dtype"
    (empty,) = set(Slot) - set(own)
    dtype, other = (in_products[slot] for slot in empty.others)
    is_wider = (
        empty is not Slot.OUTPUT
        and is_as_wide(other, dtype)
        and algorithms.common_dtype(other, dtype) == other
    )
    if other != dtype and not is_wider:
        found = ", ".join(f"{names[slot]} has {in_products[slot]}" for slot in arrays)
        raise TypeError(f"{function}: operands must have one dtype, but {found}.")
    default = other if empty is Slot.INPUT else dtype
    result = default if preferred is None else _checked_preferred(function, preferred, dtype)
    by_slot = {slot: np.dtype(of_slot) for slot, of_slot in (own | {empty: result}).items()}
    return Dtypes(*(by_slot[slot] for slot in Slot))


def _checked_preferred(function: str, preferred: np.dtype, dtype: np.dtype) -> np.dtype:
    """The dtype that a user prefers for sums of products of numbers of `dtype`."""
    # lax allows integers to be added up as floating-point numbers of their width.
    from_integers = jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(preferred, jnp.floating)
    wide_enough = preferred.itemsize >= dtype.itemsize
    if not (wide_enough if from_integers else is_as_wide(preferred, dtype)):
        raise TypeError(
            f"{function}: preferred_element_type must not be narrower than the operands or of "
            f"another kind, got {preferred} for operands of dtype {dtype}."
        )
    return preferred
