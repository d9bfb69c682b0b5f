"""The static description of one convolution, which its three contractions share.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                        (T)

A contraction of T is named for the slot that it leaves empty. ∂T/∂y is the convolution, ∂T/∂x is
the gradient of its input and ∂T/∂k is the gradient of its kernel. The operands of a contraction
are the arrays of the other two slots, in the order x, k, y.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ._geometry import Geometry

# What lax takes as `precision`: None, a name, a `lax.Precision`, an algorithm of dot products, or a
# pair of these.
Precision: TypeAlias = Any


class Slot(StrEnum):
    """An argument of T."""

    INPUT = "x"
    KERNEL = "k"
    OUTPUT = "y"

    @property
    def others(self) -> "tuple[Slot, Slot]":
        """The operands' slots, in order, of the contraction that leaves this slot empty."""
        first, second = (slot for slot in Slot if slot is not self)
        return first, second


class Dtypes(NamedTuple):
    """The dtypes of the three slots. A contraction rounds its result to that of the empty slot."""

    x: np.dtype
    k: np.dtype
    y: np.dtype

    def of(self, slot: Slot) -> np.dtype:
        """The dtype of one slot."""
        return getattr(self, slot.value)

    def transposed(self) -> "Dtypes":
        """The dtypes of the transposed convolution, whose input is the output."""
        return Dtypes(self.y, self.k, self.x)


@dataclass(frozen=True)
class ConvSpec:
    """Everything about a convolution that is static: hashable, and a parameter of its primitives.

    Attributes:
      geometry: Sizes, spacings and padding of the spatial axes, and the feature groups.
      dtypes: The dtypes of the three slots.
      precision: Precision of the products, as lax takes it.
      impl: Name of the algorithm that the call asks for; None leaves the choice to the library.
      forward: The slot that the forward pass leaves empty: x for a transposed convolution, else y.
        The other two contractions are its derivatives.
      kernel_dtype: The dtype that the kernel is rounded to before products; None keeps its own.
    """

    geometry: Geometry
    dtypes: Dtypes
    precision: Precision = None
    impl: str | None = None
    forward: Slot = Slot.OUTPUT
    kernel_dtype: np.dtype | None = None

    def replace(self, **changes: Any) -> "ConvSpec":
        """The same description with some attributes changed."""
        return replace(self, **changes)

    def transposed(self) -> "ConvSpec":
        """The convolution that exchanges input and output; its kernel is the rotated one."""
        forward = {Slot.INPUT: Slot.OUTPUT, Slot.OUTPUT: Slot.INPUT}.get(self.forward, self.forward)
        return self.replace(
            geometry=self.geometry.transposed(), dtypes=self.dtypes.transposed(), forward=forward
        )

    def shape_of(self, slot: Slot, first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
        """The shape of the contraction that leaves `slot` empty, for operands of these shapes."""
        return shape_of(slot, first, second, self.geometry)


def shape_of(
    slot: Slot, first: Sequence[int], second: Sequence[int], geometry: Geometry
) -> tuple[int, ...]:
    """The shape of the contraction that leaves `slot` empty, for operands of these shapes."""
    if slot == Slot.INPUT:
        return (second[0], *geometry.input_size, first[-2] * geometry.groups)
    if slot == Slot.KERNEL:
        return (*geometry.window, first[-1] // geometry.groups, second[-1])
    return (first[0], *geometry.output_size, second[-1])


def operand_of(slot: Slot, empty: Slot, operands: Sequence[Any]) -> Any:
    """The operand in `slot`, among those of the contraction that leaves `empty` empty."""
    return operands[empty.others.index(slot)]


def with_operand(
    slot: Slot, empty: Slot, operands: Sequence[Any], change: Callable[[Any], Any]
) -> tuple[Any, ...]:
    """The operands of a contraction, with `change` applied to the one in `slot`."""
    return tuple(change(a) if s == slot else a for s, a in zip(empty.others, operands, strict=True))
