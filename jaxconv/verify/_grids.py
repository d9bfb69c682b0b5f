"""The sizes and spacings of a kernel that slides over a feature map, and of its two transposes.

Input position i, tap r and output position p meet where

    e·i + lo = s·p + d·r                                                                   (1)

on each axis. The high padding is whatever the sizes need. The verifier shares no code with the
operations that it is asked of, so this is written anew here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """(1) for each spatial axis.

    Attributes:
      input_size, window, output_size: How many i, r and p there are.
      strides, low, input_dilation, kernel_dilation: s, lo, e and d.
      groups: Groups of channels.
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
        """i, r, p, s, lo, e and d, one axis after the other."""
        sizes = self.input_size, self.window, self.output_size
        spacings = self.strides, self.low, self.input_dilation, self.kernel_dilation
        return zip(*sizes, *spacings, strict=True)

    def transposed(self) -> "Grid":
        """From output to input, the taps counted from the other end; its own inverse."""
        return replace(
            self,
            input_size=self.output_size,
            output_size=self.input_size,
            strides=self.input_dilation,
            input_dilation=self.strides,
            low=tuple(d * (r - 1) - lo for _, r, _, _, lo, _, d in self.axes()),
        )

    def correlated(self) -> "Grid":
        """From input and output to the kernel, the output sliding; its own inverse."""
        return replace(
            self,
            window=self.output_size,
            output_size=self.window,
            strides=self.kernel_dilation,
            kernel_dilation=self.strides,
        )

    def same(self, is_lower: bool) -> Sizes:
        """The low padding that "SAME" means, or "SAME_LOWER"."""
        totals = []
        for i, r, _, s, _, e, d in self.axes():
            size, reach = extent(i, e), extent(r, d)
            totals.append(max((-(-size // s) - 1) * s + reach - size, 0))
        return tuple(-(-total // 2) if is_lower else total // 2 for total in totals)


def extent(size: int, dilation: int) -> int:
    """The length that some points cover which lie that far apart."""
    return dilation * (size - 1) + 1
