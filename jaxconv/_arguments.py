"""Sizes, strides and paddings as users write them, checked and turned into a `Geometry`.

The errors name the public function and its argument.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias, TypeGuard

from ._geometry import Geometry, extent

# What a user may write for an option with one integer for each axis, and for a padding.
Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]

PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL")


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
    """Check the options of a convolution and compute its output size.

    `function` is the public function that the errors name. A window that is larger than the padded
    input is an error, unless the input is empty or the output `may_be_empty`. The output is then
    empty.

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
    """The number of positions at which a window that covers `reach` fits in the padded `size`."""
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
    """The input sizes that a convolution maps to `output_size`, and the padding.

    `reach` is what the dilated window covers. A strided convolution has the same output size for up
    to `strides` input sizes i, those with

        A <= e·(i-1) < A + s    where    A = s·(p-1) + reach - lo - hi - 1

    and A = s·(p-1) for "SAME" and "SAME_LOWER", which have ceil(size / s) outputs. The sizes
    include those below 1. `output_padding` is subtracted from the high padding, which makes all
    sizes larger.
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
        sizes.append(found if p else range(1))  # Only an empty input has no windows.
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
    """The size of a transposed convolution's result, and the padding.

    It is the smallest of the `transposed_input_sizes`. For "SAME" and "SAME_LOWER" it is the
    largest, `stride · output`, as in other libraries.
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
    """Turn a padding as users write it into `(lo, hi)` for each axis.

    A padding is a name of PADDING_NAMES, one integer for every side, or one integer or `(lo, hi)`
    pair for each axis.
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
    if not _is_listing(padding):
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
    """Padding for `ceil(size / stride)` outputs; the odd rest is high, or low if `lower`."""
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def _pair(function: str, side: Any) -> tuple[int, int]:
    side = listed(side)
    if _is_integer(side):
        return int(side), int(side)
    if _is_listing(side) and len(side) == 2 and all(map(_is_integer, side)):
        return int(side[0]), int(side[1])
    raise TypeError(f"{function}: padding must hold (lo, hi) pairs of integers, got {side!r}.")


def per_axis(value: Any, rank: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """One integer for each spatial axis, at least `minimum`. A single integer stands for all axes.

    Raises:
      TypeError: `value` is neither an integer nor a sequence of integers.
      ValueError: The count is not `rank`, or a value is below `minimum`.
    """
    value = listed(value)
    if _is_integer(value):
        values = (int(value),) * rank
    elif _is_listing(value) and all(map(_is_integer, value)):
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


def integer(value: Any, name: str, *, minimum: int | None = 1) -> int:
    """One integer, at least `minimum` unless that is None.

    Raises:
      TypeError: `value` is not an integer.
      ValueError: It is below `minimum`.
    """
    value = listed(value)
    if not _is_integer(value):
        raise TypeError(f"{name} must be an integer, got {value!r}.")
    if minimum is not None and int(value) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}.")
    return int(value)


def listed(value: Any) -> Any:
    """An array as nested lists; anything else as it is, an array that JAX is tracing too."""
    try:
        return value.tolist() if hasattr(value, "tolist") else value
    except TypeError:  # a traced array has no values yet; the checks refuse it by its name
        return value


def _is_listing(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a sequence, and not text: the elements of bytes are integers."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)


def _is_integer(value: Any) -> TypeGuard[Integral]:
    return isinstance(value, Integral) and not isinstance(value, bool)
