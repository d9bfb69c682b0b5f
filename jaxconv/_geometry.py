"""The integers of a convolution: which input, kernel and output positions meet. No arrays, no jax.

On every spatial axis three grids meet on one line: the input at `e·i + lo`, the kernel at `d·r` and
the output at `s·p`, with

    e  input dilation        d  kernel dilation        s  stride        lo  low padding

and input i, tap r and output p meet where

    e·i + lo = s·p + d·r                                                                       (G)

Everything the library computes about sizes and paddings is a consequence of (G).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias, TypeGuard

# What a user may write for a per-axis option, and for a padding.
Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]

PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL")


def extent(size: int, dilation: int) -> int:
    """Length covered by `size` points that lie `dilation` apart; zero points cover nothing."""
    return dilation * (size - 1) + 1 if size else 0


@dataclass(frozen=True)
class Geometry:
    """One (G) per spatial axis, and the number of feature groups: static, hashable, checked.

    The three corners of the triangle share one Geometry, so their sizes cannot disagree.

    Attributes:
      input_size: Spatial shape of the input.
      window: Spatial shape of the kernel.
      output_size: Spatial shape of the output.
      strides, input_dilation, kernel_dilation: Spacings s, e and d of the grids.
      padding: `(lo, hi)` per axis; negative values crop.
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
        """Whether negative padding leaves nothing of an axis: windows see padding alone."""
        axes = zip(self.input_size, self.input_dilation, self.padding, strict=True)
        return any(i > 0 and -min(pads) >= e * (i - 1) + 1 for i, e, pads in axes)

    def with_groups(self, groups: int) -> "Geometry":
        """The same geometry with another number of feature groups."""
        return replace(self, groups=groups)

    def spatial(self, start: int, stop: int | None = None) -> "Geometry":
        """The geometry of some spatial axes alone, from `start` to before `stop`."""
        of_axes = {name: value for name, value in vars(self).items() if name != "groups"}
        return replace(self, **{name: value[start:stop] for name, value in of_axes.items()})

    def padded(self) -> "Geometry":
        """The geometry of an input that has its padding written around it, and needs none."""
        dilated = map(extent, self.input_size, self.input_dilation)
        size = tuple(i + lo + hi for i, (lo, hi) in zip(dilated, self.padding, strict=True))
        none, once = ((0, 0),) * self.rank, (1,) * self.rank
        return replace(self, input_size=size, padding=none, input_dilation=once)

    def transposed(self) -> "Geometry":
        """The convolution that carries the output's cotangent back to the input.

        Count the taps from the other end, r = R-1-r', and (G) reads

            s·p + lo' = e·i + d·r'    with    lo' = d·(R-1) - lo                               (G')

        which is (G) with input and output, and so stride and input dilation, exchanged. The kernel
        meets it rotated by 180°: tap r' of (G') is tap R-1-r' of (G).
        """
        padding = tuple(
            _padding_that_ends_at(
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
        """The convolution of the input with the output's cotangent that gives the kernel's.

        Exchange the roles of tap and output position in (G): the cotangent is now the window,
        spaced by the stride, and the kernel the output, spaced by the kernel dilation.
        """
        padding = tuple(
            _padding_that_ends_at(lo=lo, last=d * (r - 1) + s * (p - 1), grid=e, points=i)
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
        """The sizes and spacings of (G), one spatial axis after the other."""
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


def _padding_that_ends_at(*, lo: int, last: int, grid: int, points: int) -> tuple[int, int]:
    """Padding `(lo, hi)` for which `last`, the last position looked at, is the padded end."""
    return lo, last + 1 - lo - extent(points, grid)


def convolution_geometry(
    function: str,
    input_size: Sequence[int],
    window: Sequence[int],
    strides: Size,
    padding: Padding,
    input_dilation: Size,
    kernel_dilation: Size,
    groups: int,
    *,
    may_be_empty: bool = False,
) -> Geometry:
    """Check the options of a convolution and work out its output size.

    `function` names the public function in the messages. Where the window is larger than the padded
    input, the output is empty if the input is or if the output `may_be_empty`; else that is an
    error.

    Raises:
      TypeError: An option is not an integer, or not one per spatial axis.
      ValueError: An option is out of range, or the window does not fit the padded input.
    """
    rank = len(window)
    strides = per_axis(strides, rank, f"{function}: strides")
    input_dilation = per_axis(input_dilation, rank, f"{function}: input_dilation")
    kernel_dilation = per_axis(kernel_dilation, rank, f"{function}: kernel_dilation")
    dilated_input = [extent(i, e) for i, e in zip(input_size, input_dilation, strict=True)]
    dilated_window = [extent(r, d) for r, d in zip(window, kernel_dilation, strict=True)]
    padding = explicit_padding(function, padding, dilated_input, dilated_window, strides)
    output_size = tuple(
        _count_positions(function, axis, size, reach, stride, pads, may_be_empty)
        for axis, (size, reach, stride, pads) in enumerate(
            zip(dilated_input, dilated_window, strides, padding, strict=True)
        )
    )
    return Geometry(
        tuple(input_size),
        tuple(window),
        output_size,
        strides,
        padding,
        input_dilation,
        kernel_dilation,
        groups,
    )


def _count_positions(
    function: str,
    axis: int,
    size: int,
    reach: int,
    stride: int,
    pads: tuple[int, int],
    may_be_empty: bool,
) -> int:
    """Number of places where a window that covers `reach` fits into the padded `size`."""
    room = size + sum(pads) - reach
    if reach < 1:
        raise ValueError(f"{function}: the window is empty along spatial axis {axis}.")
    if size + sum(pads) < 0:
        raise ValueError(
            f"{function}: padding {pads} crops more along spatial axis {axis} than the {size} "
            "positions that there are, dilation included."
        )
    if room < 0 and (may_be_empty or not size):
        return 0
    if room < 0:
        raise ValueError(
            f"{function}: the window covers {reach} positions along spatial axis {axis}, dilation "
            f"included, but the input has {size + sum(pads)}, dilation and padding {pads} included."
        )
    return room // stride + 1


def transposed_input_sizes(
    function: str,
    output_size: Sequence[int],
    reach: Sequence[int],
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    output_padding: tuple[int, ...],
) -> tuple[tuple[range, ...], Padding]:
    """The input sizes that a convolution maps to `output_size`, and the padding that goes with it.

    `output_size` is the convolution's, `reach` what its dilated window covers. A strided
    convolution has the same output size for up to `strides` input sizes i, those with

        A <= e·(i-1) < A + s    where    A = s·(p-1) + reach - lo - hi - 1

    and A = s·(p-1) for "SAME" and "SAME_LOWER", which have ceil(size / s) outputs. Sizes below 1
    are listed, too. `output_padding` takes from the high padding, which makes all sizes larger.
    """
    if _keeps_size(padding):
        if any(output_padding):
            raise ValueError(
                f"{function}: output_padding does not go with padding {padding!r}; "
                f"give output_shape instead, got output_padding={output_padding}."
            )
        pads = tuple((r - 1, 0) for r in reach)
    else:
        pads = explicit_padding(function, padding, [0] * len(reach), reach, strides)
        padding = pads = tuple(
            (lo, hi - e * extra)
            for (lo, hi), e, extra in zip(pads, input_dilation, output_padding, strict=True)
        )
    sizes = []
    for axis, (p, r, s, (lo, hi), e) in enumerate(
        zip(output_size, reach, strides, pads, input_dilation, strict=True)
    ):
        a = s * (p - 1) + r - lo - hi - 1
        found = range(-(-a // e) + 1, (a + s - 1) // e + 2)
        if p and not found:
            raise ValueError(
                f"{function}: no size along spatial axis {axis} becomes {p} by a convolution with "
                f"strides {strides}, input_dilation {input_dilation} and padding {padding}."
            )
        sizes.append(found if p else range(1))  # only of nothing there are no windows
    return tuple(sizes), padding


def transposed_input_size(
    function: str,
    output_size: Sequence[int],
    reach: Sequence[int],
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    output_padding: tuple[int, ...],
) -> tuple[tuple[int, ...], Padding]:
    """The input size that a transposed convolution gives back, and the padding that goes with it.

    Of the `transposed_input_sizes` it is the smallest. For "SAME" and "SAME_LOWER" it is the
    largest, `stride · output`, as elsewhere in the field.
    """
    sizes, padding = transposed_input_sizes(
        function, output_size, reach, strides, padding, input_dilation, output_padding
    )
    size = tuple(found[-1 if _keeps_size(padding) else 0] for found in sizes)
    if any(i < min(p, 1) for i, p in zip(size, output_size, strict=True)):
        raise ValueError(f"{function}: padding {padding!r} leaves no output, sizes {size}.")
    return size, padding


def _keeps_size(padding: Padding) -> bool:
    return isinstance(padding, str) and padding.upper() in ("SAME", "SAME_LOWER")


def explicit_padding(
    function: str,
    padding: Padding,
    dilated_input: Sequence[int],
    dilated_window: Sequence[int],
    strides: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Turn a padding as users write it into `(lo, hi)` per axis.

    Accepts a name of PADDING_NAMES; one integer for every side; one integer or one `(lo, hi)` pair
    per axis.
    """
    rank = len(dilated_window)
    if isinstance(padding, str):
        name = padding.upper()
        if name == "VALID":
            return ((0, 0),) * rank
        if name == "FULL":
            return tuple((r - 1, r - 1) for r in dilated_window)
        if name == "CAUSAL":
            return tuple((r - 1, 0) for r in dilated_window)
        if name in ("SAME", "SAME_LOWER"):
            sides = zip(dilated_input, dilated_window, strides, strict=True)
            return tuple(_same(i, r, s, lower=name == "SAME_LOWER") for i, r, s in sides)
        raise ValueError(
            f"{function}: padding must be one of {', '.join(PADDING_NAMES)} or explicit (lo, hi) "
            f"pairs, got {padding!r}."
        )
    if _is_integer(padding):
        return ((int(padding), int(padding)),) * rank
    padding = listed(padding)
    if not isinstance(padding, Sequence):
        raise TypeError(
            f"{function}: padding must be a name, an int or a sequence, got {padding!r}."
        )
    if len(padding) != rank:
        raise ValueError(
            f"{function}: padding needs one (lo, hi) pair for each of {rank} spatial axes, "
            f"got {padding!r}."
        )
    return tuple(_pair(function, side) for side in padding)


def _same(size: int, reach: int, stride: int, *, lower: bool) -> tuple[int, int]:
    """Padding for `ceil(size / stride)` outputs; an odd rest goes high, or low where `lower`."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def _pair(function: str, side: Any) -> tuple[int, int]:
    side = listed(side)
    if _is_integer(side):
        return int(side), int(side)
    if isinstance(side, Sequence) and len(side) == 2 and all(map(_is_integer, side)):
        return int(side[0]), int(side[1])
    raise TypeError(f"{function}: padding must hold (lo, hi) pairs of integers, got {side!r}.")


def per_axis(value: Any, rank: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """One integer per spatial axis, each at least `minimum`; a single one stands for all.

    Raises:
      TypeError: `value` is neither an integer nor a sequence of integers.
      ValueError: The count is not `rank`, or a value is below `minimum`.
    """
    value = listed(value)
    if _is_integer(value):
        values = (int(value),) * rank
    elif (
        isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_integer, value))
    ):
        values = tuple(map(int, value))
    else:
        raise TypeError(
            f"{name} must be an integer or one integer per spatial axis, got {value!r}."
        )
    if len(values) != rank:
        raise ValueError(f"{name} needs {rank} values, one per spatial axis, got {value!r}.")
    if any(v < minimum for v in values):
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}.")
    return values


def listed(value: Any) -> Any:
    """An array, such as numpy's, as the list that it stands for; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_integer(value: Any) -> TypeGuard[Integral]:
    return isinstance(value, Integral) and not isinstance(value, bool)
