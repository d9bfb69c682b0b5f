"""The options of one call of a pool, checked where the user gave them.

All pools with windows share these options. `PoolOptions` holds the options of one call and makes
the `Geometry` of the windows from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .._arguments import (
    Padding,
    Size,
    convolution_geometry,
    explicit_padding,
    per_axis,
    transposed_input_size,
)
from .._geometry import Axis, Geometry, extent
from .._typing import Array
from ._checks import check_flag, spatial_rank


@dataclass(frozen=True)
class PoolOptions:
    """The options of one call of the public `function`, as the user gave them; see `max_pool`."""

    function: str
    window_shape: Size
    strides: Size | None = None
    padding: Padding = "VALID"
    window_dilation: Size = 1
    ceil_mode: bool = False

    def __post_init__(self):
        check_flag(f"{self.function}: ceil_mode", self.ceil_mode)

    def geometry_of(self, x: Array) -> Geometry:
        """The checked geometry of the windows on the feature map `x`."""
        spatial_rank(self.function, x)
        return self.geometry(x.shape[1:-1])

    def geometry(self, size: tuple[int, ...]) -> Geometry:
        """The checked geometry of the windows on a feature map of spatial shape `size`.

        It is the geometry of a convolution with the same windows. A window that `ceil_mode` adds
        may reach beyond the padded input. The high padding of the geometry is then larger than the
        user's, so that it covers the whole window.

        Raises:
          TypeError: An option is not an integer, or not one per spatial axis.
          ValueError: An option is out of range, or a window is larger than the padded input.
        """
        window, strides, dilation = self.spacings(len(size))
        reach = tuple(map(extent, window, dilation))
        sides = explicit_padding(self.function, self.padding, size, reach, strides)
        if any(side < 0 for pads in sides for side in pads):
            raise ValueError(
                f"{self.function}: padding must not be negative, got {self.padding!r}."
            )
        if self.ceil_mode:
            axes = zip(size, reach, strides, sides, strict=True)
            sides = tuple(
                (lo, hi + _beyond_the_end(n, covered, step, lo, hi))
                for n, covered, step, (lo, hi) in axes
            )
        return convolution_geometry(self.function, size, window, strides, sides, 1, dilation, 1)

    def geometry_before(
        self, pooled: tuple[int, ...], output_size: Sequence[int] | None, operand: str, done: str
    ) -> Geometry:
        """The geometry of the windows that make a map of the spatial shape `pooled`.

        Args:
          pooled: That shape.
          output_size: The spatial shape of the feature map that has the windows. None means the
            size that the windows cover exactly; for "SAME" and "SAME_LOWER" stride · pooled.
          operand: The user's name of the map of that shape, for the error.
          done: What was done to the feature map, for the error.

        Raises:
          ValueError: A map of `output_size` has other windows, or an option is out of range.
          TypeError: An option has the wrong type.
        """
        name, rank = self.function, len(pooled)
        window, strides, dilation = self.spacings(rank)
        if output_size is None:
            reach = tuple(map(extent, window, dilation))
            ones, zeros = (1,) * rank, (0,) * rank
            size, _ = transposed_input_size(name, pooled, reach, strides, self.padding, ones, zeros)
        else:
            size = per_axis(output_size, rank, f"{name}: output_size", minimum=0)
        geometry = self.geometry(size)
        if geometry.output_size != pooled:
            raise ValueError(
                f"{name}: a map of output_size {size} would be {done} to {geometry.output_size}, "
                f"but {operand} has {pooled}; ceil_mode is {self.ceil_mode}."
            )
        return geometry

    def spacings(self, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Window, strides and dilation, checked, with one integer for each of `rank` axes."""
        name = self.function
        window = per_axis(self.window_shape, rank, f"{name}: window_shape")
        strides = window if self.strides is None else self.strides
        strides = per_axis(strides, rank, f"{name}: strides")
        return window, strides, per_axis(self.window_dilation, rank, f"{name}: window_dilation")

    def given_padding(self, geometry: Geometry) -> tuple[tuple[int, int], ...]:
        """The user's `(lo, hi)` on each axis, without the padding that `ceil_mode` adds."""
        reach = tuple(map(extent, geometry.window, geometry.kernel_dilation))
        return explicit_padding(
            self.function, self.padding, geometry.input_size, reach, geometry.strides
        )


def _beyond_the_end(size: int, reach: int, stride: int, lo: int, hi: int) -> int:
    """How far the window that `ceil_mode` adds reaches beyond the high end of the padded input.

    The result is 0 where no window is added: the windows fit exactly, or the next one would start
    beyond the input and its low padding.
    """
    room = size + lo + hi - reach
    start = -(-room // stride) * stride  # of the first window that ends at or beyond the high end
    return start - room if 0 <= start < size + lo else 0


def input_positions(axis: Axis) -> np.ndarray:
    """The input position at each tap of each window along one axis, `(p, r)`.

    A position below 0, or not below `axis.i`, lies in the padding.
    """
    return axis.s * np.arange(axis.p)[:, None] + axis.d * np.arange(axis.r) - axis.lo
