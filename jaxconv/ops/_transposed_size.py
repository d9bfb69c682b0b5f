"""The size and padding of a transposed convolution, in the words of several libraries.

All options are those of the forward convolution, which maps the result's size to the operand's.
Several sizes may be mapped to one: `output_padding` or `output_shape` chooses among them. The
padding has three names, of which a call uses one.
"""

from collections.abc import Sequence

from .._arguments import (
    Padding,
    Size,
    explicit_padding,
    listed,
    per_axis,
    transposed_input_size,
    transposed_input_sizes,
)
from .._geometry import extent

_FUNCTION = "conv_transpose"


def transposed_size(
    size: tuple[int, ...],
    window: tuple[int, ...],
    *,
    strides: Size,
    input_dilation: Size,
    kernel_dilation: Size,
    padding: Padding,
    crop: Padding | None,
    input_padding: Padding | None,
    output_padding: Size,
    output_shape: Size | None,
) -> tuple[tuple[int, ...], Padding]:
    """The spatial shape of the result, and the padding of the forward convolution.

    `size` is the spatial shape of the operand, `window` that of the kernel. The options are those
    of `conv_transpose`.

    Raises:
      ValueError: An option is out of range, or two options disagree.
      TypeError: An option has the wrong type.
    """
    rank = len(size)
    s = per_axis(strides, rank, f"{_FUNCTION}: strides")
    d = per_axis(kernel_dilation, rank, f"{_FUNCTION}: kernel_dilation")
    e = per_axis(input_dilation, rank, f"{_FUNCTION}: input_dilation")
    extra = per_axis(output_padding, rank, f"{_FUNCTION}: output_padding", minimum=0)
    if any(a >= max(step, apart) for a, step, apart in zip(extra, s, d, strict=True)):
        raise ValueError(
            f"{_FUNCTION}: output_padding must be below the stride or the kernel dilation, got "
            f"{extra} for strides {s} and kernel_dilation {d}."
        )
    reach = tuple(map(extent, window, d))
    padding = _agreed_padding(size, window, reach, s, padding, crop, input_padding)
    spacing = reach, s, padding, e, extra
    if output_shape is None:
        return transposed_input_size(_FUNCTION, size, *spacing)
    return _requested_size(output_shape, size, *spacing)


def _requested_size(
    output_shape: Size,
    size: tuple[int, ...],
    reach: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    output_padding: tuple[int, ...],
) -> tuple[tuple[int, ...], Padding]:
    """The size of `output_shape`, if the convolution maps it to `size`, and the padding."""
    requested = per_axis(output_shape, len(size), f"{_FUNCTION}: output_shape", minimum=0)
    sizes, padding = transposed_input_sizes(
        _FUNCTION, size, reach, strides, padding, input_dilation, output_padding
    )
    if any(output_padding):
        given = tuple(found[0] for found in sizes)
        if requested != given:
            raise ValueError(
                f"{_FUNCTION}: output_padding = {output_padding} gives the size {given}, but "
                f"output_shape asks for {requested}."
            )
    for axis, (i, p, found) in enumerate(zip(requested, size, sizes, strict=True)):
        possible = [n for n in found if n >= min(p, 1)]
        if not possible:
            raise ValueError(
                f"{_FUNCTION}: along spatial axis {axis} the convolution maps empty maps only to "
                f"the {p} of x, and output_shape must not be empty, got {requested}."
            )
        if i not in possible:
            which = f"from {possible[0]} to {possible[-1]}" if len(possible) > 1 else possible[0]
            raise ValueError(
                f"{_FUNCTION}: output_shape must be {which} along spatial axis {axis}, the "
                f"sizes that the convolution maps to the {p} of x, got {requested}."
            )
    return requested, padding


def _sides_to_crop(crop: Padding, window: Sequence[int], reach: Sequence[int]) -> Padding:
    """The padding that Lasagne's `crop` stands for: "same" takes as much from either side."""
    if not isinstance(crop, str):
        return crop
    if crop.upper() == "SAME":
        if any(r % 2 == 0 for r in window):
            raise ValueError(
                f"{_FUNCTION}: crop {crop!r} needs a window of odd size along every axis, got "
                f"{tuple(window)}; give (lo, hi) for each axis."
            )
        return tuple((r // 2, r // 2) for r in reach)
    if crop.upper() in ("VALID", "FULL"):
        return crop
    raise ValueError(
        f"{_FUNCTION}: crop must be 'VALID', 'SAME', 'FULL' or explicit (lo, hi) pairs, "
        f"got {crop!r}."
    )


def _agreed_padding(
    size: Sequence[int],
    window: Sequence[int],
    reach: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
    crop: Padding | None,
    input_padding: Padding | None,
) -> Padding:
    """The forward convolution's padding, from whichever of its three names was used."""
    given: dict[str, Padding] = {}
    if crop is not None:
        given["crop"] = _sides_to_crop(crop, window, reach)
    if input_padding is not None:
        if isinstance(input_padding, str):
            raise TypeError(
                f"{_FUNCTION}: input_padding must be explicit, (lo, hi) for each axis, "
                f"got {input_padding!r}."
            )
        sides = explicit_padding(f"{_FUNCTION}: input_padding", input_padding, size, reach, strides)
        given["input_padding"] = tuple(
            (r - 1 - lo, r - 1 - hi) for r, (lo, hi) in zip(reach, sides, strict=True)
        )
    padding = listed(padding)
    if not given or str(padding).upper() != "VALID":
        given["padding"] = padding
    whole = [s * p for s, p in zip(strides, size, strict=True)]
    explicit = {
        option: explicit_padding(_FUNCTION, value, whole, reach, strides)
        for option, value in given.items()
    }
    if len(set(explicit.values())) > 1:
        found = ", ".join(f"{option} means {sides}" for option, sides in explicit.items())
        raise ValueError(f"{_FUNCTION}: as padding of the convolution {found}; give one of them.")
    return next(iter(given.values()))
