"""The integers of a convolution: which input, kernel and output positions meet.

On every spatial axis three grids meet on one line: the input at `e·i + lo`, the kernel at `d·r` and
the output at `s·p`, with

    e  input dilation        d  kernel dilation        s  stride        lo  low padding

and input i, tap r and output p meet where

    e·i + lo = s·p + d·r                                                                       (G)

All sizes and paddings that the library computes follow from (G). This module needs neither arrays
nor jax. `_arguments.py` turns the options that users write into a `Geometry`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple


def extent(size: int, dilation: int) -> int:
    """Length covered by `size` points that lie `dilation` apart; zero points cover nothing."""
    return dilation * (size - 1) + 1 if size else 0


@dataclass(frozen=True)
class Geometry:
    """One (G) for each spatial axis, and the number of feature groups.

    A Geometry is static, hashable and checked. The three contractions of T share it, so their sizes
    cannot disagree.

    Attributes:
      input_size: Spatial shape of the input.
      window: Spatial shape of the kernel.
      output_size: Spatial shape of the output.
      strides: Spacing s of the output's grid, for each axis.
      padding: `(lo, hi)` for each axis. Negative values crop.
      input_dilation: Spacing e of the input's grid, for each axis.
      kernel_dilation: Spacing d of the kernel's grid, for each axis.
      groups: `feature_group_count`.
    """

    input_size: tuple[int, ...]
    window: tuple[int, ...]
    output_size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]
    groups: int = 1

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.window)

    @property
    def crops_all(self) -> bool:
        """Whether negative padding leaves nothing of an axis, so that windows see only padding."""
        axes = zip(self.input_size, self.input_dilation, self.padding, strict=True)
        return any(i > 0 and -min(pads) >= e * (i - 1) + 1 for i, e, pads in axes)

    def with_groups(self, groups: int) -> "Geometry":
        """The same geometry with another number of feature groups."""
        return replace(self, groups=groups)

    def spatial(self, start: int, stop: int | None = None) -> "Geometry":
        """The geometry of the spatial axes from `start` to before `stop`."""
        of_axes = {name: value for name, value in vars(self).items() if name != "groups"}
        return replace(self, **{name: value[start:stop] for name, value in of_axes.items()})

    def padded(self) -> "Geometry":
        """The geometry of an input that contains its padding, and needs none."""
        dilated = map(extent, self.input_size, self.input_dilation)
        size = tuple(i + lo + hi for i, (lo, hi) in zip(dilated, self.padding, strict=True))
        none, once = ((0, 0),) * self.rank, (1,) * self.rank
        return replace(self, input_size=size, padding=none, input_dilation=once)

    def transposed(self) -> "Geometry":
        """The convolution that carries the cotangent of the output back to the input.

        Let the taps be counted from the other end, r = R-1-r'. Then (G) reads

            s·p + lo' = e·i + d·r'    with    lo' = d·(R-1) - lo                               (G')

        which is (G) with input and output exchanged, and with them stride and input dilation. The
        kernel of (G') is rotated by 180°: its tap r' is tap R-1-r' of (G).
        """
        padding = tuple(
            padding_that_ends_at(
                lo=d * (r - 1) - lo, last=e * (i - 1) + d * (r - 1), grid=s, points=p
            )
            for i, r, p, s, lo, e, d in self.axes()
        )
        return replace(
            self,
            input_size=self.output_size,
            output_size=self.input_size,
            strides=self.input_dilation,
            input_dilation=self.strides,
            padding=padding,
        )

    def correlated(self) -> "Geometry":
        """The convolution of the input with the cotangent of the output, which gives the kernel's.

        It exchanges tap and output position in (G). The cotangent is the window, dilated by the
        stride, and the kernel is the output, whose stride is the kernel dilation.
        """
        padding = tuple(
            padding_that_ends_at(lo=lo, last=d * (r - 1) + s * (p - 1), grid=e, points=i)
            for i, r, p, s, lo, e, d in self.axes()
        )
        return replace(
            self,
            window=self.output_size,
            output_size=self.window,
            strides=self.kernel_dilation,
            kernel_dilation=self.strides,
            padding=padding,
        )

    def axes(self) -> Iterator["Axis"]:
        """The sizes and spacings of (G) for each spatial axis."""
        return map(
            Axis,
            self.input_size,
            self.window,
            self.output_size,
            self.strides,
            (lo for lo, _ in self.padding),
            self.input_dilation,
            self.kernel_dilation,
        )


class Axis(NamedTuple):
    """The integers of (G) on one spatial axis: sizes i, r and p, and s, lo, e and d."""

    i: int
    r: int
    p: int
    s: int
    lo: int
    e: int
    d: int


def padding_that_ends_at(*, lo: int, last: int, grid: int, points: int) -> tuple[int, int]:
    """The padding `(lo, hi)` of `points` that lie `grid` apart, such that it ends at `last`."""
    return lo, last + 1 - lo - extent(points, grid)
