"""The options of one call of a convolution, checked where the user gave them.

`conv`, its two gradients and `conv_transpose` share their options, and so the checks of them.
`ConvOptions` holds the options of one call. It brings operands to the library's own layout,
channels last, and results back to the user's layout, and it makes the `ConvSpec` of the call.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jax import export, lax

from .. import algorithms
from .._arguments import Padding, Size, convolution_geometry, integer, per_axis
from .._geometry import Geometry
from .._spec import ConvSpec, Slot
from .._typing import Array
from ._boundary import PaddingMode, check_sides
from ._checks import as_array, check_flag, check_precision, is_one_of
from ._operands import DimensionNumbers, Operand, canonical_dtype, channels_last, slot_dtypes

IMPLEMENTATIONS = (None, "textbook", "lax", *algorithms.ALGORITHMS)


@dataclass(frozen=True, kw_only=True)
class ConvOptions:
    """The options of one call of the public `function`, as the user gave them; see `conv`.

    With `may_be_empty` a window may be larger than the input, as in lax; the output is then empty.
    """

    function: str
    strides: Size = 1
    padding: Padding = "VALID"
    padding_mode: PaddingMode = "zeros"
    input_dilation: Size = 1
    kernel_dilation: Size = 1
    feature_group_count: int = 1
    dimension_numbers: DimensionNumbers = None
    flip_kernel: bool = False
    precision: lax.PrecisionLike = None
    preferred_element_type: Any = None
    kernel_dtype: Any = None
    impl: str | None = None
    may_be_empty: bool = False

    def __post_init__(self):
        check_flag(f"{self.function}: flip_kernel", self.flip_kernel)
        check_precision(self.function, self.precision)
        if isinstance(self.precision, list):  # lax takes a list, which has no hash
            object.__setattr__(self, "precision", tuple(self.precision))
        if not is_one_of(self.padding_mode, get_args(PaddingMode)):
            raise ValueError(
                f"{self.function}: padding_mode must be one of {get_args(PaddingMode)}, "
                f"got {self.padding_mode!r}."
            )
        if not is_one_of(self.impl, IMPLEMENTATIONS):
            raise ValueError(
                f"{self.function}: impl must be one of {IMPLEMENTATIONS}, got {self.impl!r}."
            )

    def operand(self, slot: Slot, name: str, value: Any) -> Operand:
        """The argument `name` of the call as the operand that fills `slot`, channels last.

        A kernel is reversed if the call asks for `flip_kernel`.
        """
        array = as_array(f"{self.function}: {name}", value)
        if array.ndim < 2:
            raise ValueError(
                f"{self.function}: {name} needs two axes besides the spatial ones, "
                f"got shape {array.shape}."
            )
        array = array.transpose(self._channels_last(slot, array.ndim))
        if slot is Slot.KERNEL and self.flip_kernel:
            array = _reversed(array)
        return Operand(slot, name, array)

    def result(self, slot: Slot, array: Array) -> Array:
        """The array of `slot` as the user lays it out: the inverse of `operand`."""
        if slot is Slot.KERNEL and self.flip_kernel:
            array = _reversed(array)
        return array.transpose(np.argsort(self._channels_last(slot, array.ndim)))

    def shape(self, slot: Slot, name: str, shape: Any) -> tuple[int, ...]:
        """The argument `name` of the call, the shape of `slot`, channels last."""
        rank = len(shape) if isinstance(shape, Sequence) else 0
        if rank < 2:
            raise ValueError(f"{self.function}: {name} must be a shape, got {shape!r}.")
        # The number of examples of an exported program may be a symbol.
        fixed = [0 if export.is_symbolic_dim(size) else size for size in shape]
        per_axis(fixed, rank, f"{self.function}: {name}", minimum=0)
        return tuple(shape[axis] for axis in self._channels_last(slot, rank))

    def spec(
        self, x_shape: Sequence[int], kernel_shape: Sequence[int], *operands: Operand
    ) -> ConvSpec:
        """The checked description of a convolution between shapes that are channels last.

        The two `operands` are those of the call. The third slot is the result's.

        Raises:
          ValueError: Shapes do not match, or an option is out of range.
          TypeError: Dtypes do not match, or an option has the wrong type.
        """
        first, second = operands
        geometry = self.geometry(x_shape, kernel_shape)
        expected = (x_shape[0], *geometry.output_size, kernel_shape[-1])
        for slot, name, array in operands:
            if slot is Slot.OUTPUT and array.shape != expected:
                raise ValueError(
                    f"{self.function}: {name} must have the shape of the convolution's output, "
                    f"{expected} channels last, got {array.shape}."
                )
        kernel_dtype = canonical_dtype(f"{self.function}: kernel_dtype", self.kernel_dtype)
        preferred = canonical_dtype(
            f"{self.function}: preferred_element_type", self.preferred_element_type
        )
        return ConvSpec(
            geometry=geometry,
            dtypes=slot_dtypes(self.function, (first, second), preferred, kernel_dtype),
            precision=self.precision,
            impl=self.impl,
            forward=Slot.INPUT if self.function == "conv_transpose" else Slot.OUTPUT,
            kernel_dtype=kernel_dtype,
        )

    def geometry(self, x_shape: Sequence[int], kernel_shape: Sequence[int]) -> Geometry:
        """The checked geometry of a convolution between shapes that are channels last."""
        if len(kernel_shape) != len(x_shape):
            raise ValueError(
                f"{self.function}: input and kernel must have the same rank, got an input of shape "
                f"{tuple(x_shape)} and a kernel of shape {tuple(kernel_shape)}, channels last."
            )
        groups = integer(self.feature_group_count, f"{self.function}: feature_group_count")
        _check_channels(self.function, x_shape, kernel_shape, groups)
        geometry = convolution_geometry(
            self.function,
            x_shape[1:-1],
            kernel_shape[:-2],
            self.strides,
            self.padding,
            self.input_dilation,
            self.kernel_dilation,
            groups,
            may_be_empty=self.may_be_empty,
        )
        check_sides(self.function, geometry, self.padding_mode)
        return geometry

    def _channels_last(self, slot: Slot, rank: int) -> tuple[int, ...]:
        return channels_last(self.function, slot, rank, self.dimension_numbers)


def _check_channels(
    function: str, x_shape: Sequence[int], kernel_shape: Sequence[int], groups: int
) -> None:
    c, c_in, c_out = x_shape[-1], kernel_shape[-2], kernel_shape[-1]
    if c != c_in * groups:
        each = f" for each of {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{function}: kernel takes c_in = {c_in} channels{each} but x has c = {c}; "
            f"x is (n, *spatial, c) = {tuple(x_shape)}, "
            f"kernel is (*window, c_in, c_out) = {tuple(kernel_shape)}."
        )
    if c_out % groups:
        raise ValueError(
            f"{function}: feature_group_count = {groups} must divide the kernel's "
            f"c_out = {c_out}; kernel is (*window, c_in, c_out) = {tuple(kernel_shape)}."
        )


def _reversed(kernel: Array) -> Array:
    """A kernel with its window reversed along all axes, as one axis of taps.

    XLA's GPU compiler takes a convolution whose kernel is reversed axis by axis for an input
    gradient.
    """
    *window, c, o = kernel.shape
    taps = kernel.reshape(math.prod(window), c, o)
    return lax.rev(taps, [0]).reshape(kernel.shape)
