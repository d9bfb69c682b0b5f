"""The sizes and spacings of a kernel that slides over a feature map, and its two transposes.

Input position i, tap r and output position p meet where

    e·i + lo = s·p + d·r                                                                   (1)

on each axis. The high padding follows from the sizes. This repeats a part of `jaxconv._geometry` on
purpose: a verifier that shared the geometry of the operations could not find a mistake in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """Equation (1) for each spatial axis.

    Attributes:
      input_size: The number of positions i.
      window: The number of taps r.
      output_size: The number of positions p.
      strides: s.
      low: The low padding lo.
      input_dilation: e.
      kernel_dilation: d.
      groups: The number of feature groups.
    """

    input_size: Sizes
    window: Sizes
    output_size: Sizes
    strides: Sizes
    low: Sizes
    input_dilation: Sizes
    kernel_dilation: Sizes
    groups: int = 1

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.window)

    def axes(self) -> Iterator[tuple[int, int, int, int, int, int, int]]:
        """The values of i, r, p, s, lo, e and d for each axis."""
        sizes = self.input_size, self.window, self.output_size
        spacings = self.strides, self.low, self.input_dilation, self.kernel_dilation
        return zip(*sizes, *spacings, strict=True)

    def transposed(self) -> "Grid":
        """The grid from output to input, with the taps in reverse order. Its own inverse."""
        return replace(
            self,
            input_size=self.output_size,
            output_size=self.input_size,
            strides=self.input_dilation,
            input_dilation=self.strides,
            low=tuple(d * (r - 1) - lo for _, r, _, _, lo, _, d in self.axes()),
        )

    def correlated(self) -> "Grid":
        """The grid to the kernel, where the output slides over the input. Its own inverse."""
        return replace(
            self,
            window=self.output_size,
            output_size=self.window,
            strides=self.kernel_dilation,
            kernel_dilation=self.strides,
        )

    def same(self, is_lower: bool) -> Sizes:
        """The low padding of "SAME" or "SAME_LOWER"."""
        totals = []
        for i, r, _, s, _, e, d in self.axes():
            size, reach = extent(i, e), extent(r, d)
            totals.append(max((-(-size // s) - 1) * s + reach - size, 0))
        return tuple(-(-total // 2) if is_lower else total // 2 for total in totals)


def extent(size: int, dilation: int) -> int:
    """The length that points at this distance cover."""
    return dilation * (size - 1) + 1
