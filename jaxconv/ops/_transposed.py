"""Transposed convolution: a convolution's input gradient as a layer of its own."""

from collections.abc import Sequence
from typing import Any

from jax import lax

from .. import algorithms
from .._geometry import (
    Padding,
    Size,
    explicit_padding,
    extent,
    listed,
    per_axis,
    transposed_input_size,
    transposed_input_sizes,
)
from .._typing import AnyArray, Array
from ._boundary import PaddingMode
from ._call import Call, DimensionNumbers
from ._convolution import carry_back
from ._options import check_flag


def conv_transpose(
    x: AnyArray,
    kernel: AnyArray,
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    output_padding: Size = 0,
    output_shape: Size | None = None,
    crop: Padding | None = None,
    input_padding: Padding | None = None,
    transpose_kernel: bool = True,
    padding_mode: PaddingMode = "zeros",
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    dimension_numbers: DimensionNumbers = None,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    kernel_dtype: Any = None,
    impl: str | None = None,
) -> Array:
    """Apply the transpose of a convolution: the adjoint of `conv` with the same arguments.

    A convolution is linear in its input, y = K x with one row of K for each output. The transposed
    convolution is x = Kᵀ y:

        <conv(x, k), y> = <x, conv_transpose(y, k)>      for all x and y                       (1)

    which is what carries errors back through the convolution, `conv_input_vjp`, here run forward.
    By the derivation there it is itself a convolution, of the dilated and padded input with the
    kernel rotated by 180°: deconvolutions are just convolutions. Neither inverts the other.

    Linear in `x` and in `kernel`; its VJP is, by (1), the convolution itself and `conv_kernel_vjp`
    with the two feature maps exchanged.

    All options are those of the *forward* convolution, so that both share one kernel and one set of
    arguments. Several input sizes of a strided convolution give one output size; among them the
    transposed convolution returns the smallest, for "SAME" and "SAME_LOWER" `strides · size`, or
    the one that `output_padding` or `output_shape` asks for.

    Other libraries describe the same map in other words. Here `w` is their kernel, R the window,
    and `axes` stands for the move to `(*window, c, o)`: `w.transpose(2, 3, 1, 0)` for the
    `(in, out, h, w)` of torch and Lasagne.

        torch    ConvTranspose2d(stride=s, padding=p, output_padding=a, groups=g, dilation=d)
                 conv_transpose(x, axes(w), s, p, output_padding=a, feature_group_count=g,
                                kernel_dilation=d)
        Lasagne  TransposedConv2DLayer(stride=s, crop=c, output_size=z, flip_filters=f)
                 conv_transpose(x, axes(w), s, crop=c, output_shape=z, flip_kernel=not f)
                 `crop` is "valid", "same", "full" or explicit in both
        lax,     conv_transpose(x, w, s, "SAME")
        Flax     conv_transpose(x, w, s, "SAME", transpose_kernel=False)
                 conv_transpose(x, w, s, "VALID")
                 conv_transpose(x, w, s, "VALID", transpose_kernel=False)        where s ≤ R
                 conv_transpose(x, w, s, ((lo, hi), …))
                 conv_transpose(x, w, s, input_padding=((lo, hi), …), transpose_kernel=False)
                 conv_transpose(x, w, s, p, transpose_kernel=True, use_consistent_padding=True)
                 conv_transpose(x, w, s, p)
        Keras    Conv2DTranspose(strides=s, padding="same")
                 conv_transpose(x, w, s, "SAME")

    Numerics, as of `conv`: an infinity or NaN in `x` reaches exactly the places that it is spread
    over. One in the kernel reaches all places of its channel, because its tap meets the zeros of
    the dilated and padded map.

    Args:
      x: Feature map `(n, *spatial, o)`, as the convolution's output.
      kernel: Kernel `(*window, c / feature_group_count, o)` of the convolution, of the dtype of
        `x` or a narrower one of its kind.
      strides, padding, padding_mode, input_dilation, kernel_dilation, feature_group_count,
        dimension_numbers, flip_kernel, precision, kernel_dtype, impl: Of the convolution `conv`.
        `dimension_numbers` gives the convolution's layouts: `x` has that of its output.
      output_padding: Additional size of the result on the high side: less of the convolution's
        padding is cropped there. Below the larger of stride and kernel dilation.
      output_shape: Spatial shape of the result, in place of `output_padding`.
      crop: In place of `padding`, what is cut from the whole result, as Lasagne has it: `"VALID"`
        (nothing), `"SAME"` (window // 2 on either side; the window must be odd), `"FULL"` or
        explicit, as for `padding`. `output_shape` then adds rows on the high side.
      input_padding: In place of `padding`, the zeros `(lo, hi)` around the dilated input `x` when
        the rotated kernel slides over it: d·(R-1) less what `padding` would be.
      transpose_kernel: False takes the kernel as `(*window, o / feature_group_count, c)`, to slide
        over the dilated input as it stands, without a rotation.
      preferred_element_type: dtype of the result; by default that of `x`.

    Returns:
      Feature map `(n, *size, c)` with size = s·(spatial-1) + d·(window-1) + 1 - lo - hi +
      output_padding.

    Raises:
      ValueError: Ranks or channels do not match, an option is out of range, `output_shape` is none
        that the convolution maps to `x`, or two of `padding`, `crop`, `input_padding`, or of
        `output_padding` and `output_shape`, disagree.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: Zeiler, Krishnan, Taylor & Fergus, "Deconvolutional networks", CVPR 2010,
    doi:10.1109/CVPR.2010.5539957; (1) as in Dumoulin & Visin, 2016, arXiv:1603.07285, chapter 4.

    >>> import jax.numpy as jnp
    >>> x, kernel = jnp.ones((2, 4, 4, 8)), jnp.ones((4, 4, 3, 8))
    >>> conv_transpose(x, kernel, strides=2, padding=1).shape
    (2, 8, 8, 3)
    """
    name = "conv_transpose"
    call = Call(
        name,
        dimension_numbers,
        flip_kernel,
        precision,
        preferred_element_type,
        impl,
        padding_mode,
        kernel_dtype,
    )
    check_flag(f"{name}: transpose_kernel", transpose_kernel)
    y, kernel = call.output("x", x), call.kernel("kernel", kernel)
    if kernel.ndim != y.ndim:
        raise ValueError(
            f"{name}: x and kernel must have the same rank, got x of shape {y.shape} and "
            f"kernel of shape {kernel.shape}, channels last."
        )
    (groups,) = per_axis(feature_group_count, 1, f"{name}: feature_group_count")
    kernel = kernel if transpose_kernel else _as_forward(kernel, groups)
    if kernel.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"{name}: kernel gives c_out = {kernel.shape[-1]} channels but x has "
            f"{y.shape[-1]}; x is the convolution's output {y.shape}, "
            f"kernel is (*window, c_in, c_out) = {kernel.shape}."
        )
    rank = y.ndim - 2
    steps = per_axis(strides, rank, f"{name}: strides")
    d = per_axis(kernel_dilation, rank, f"{name}: kernel_dilation")
    e = per_axis(input_dilation, rank, f"{name}: input_dilation")
    extra = per_axis(output_padding, rank, f"{name}: output_padding", minimum=0)
    if any(a >= max(step, apart) for a, step, apart in zip(extra, steps, d, strict=True)):
        raise ValueError(
            f"{name}: output_padding must be below the stride or the kernel dilation, got {extra} "
            f"for strides {steps} and kernel_dilation {d}."
        )
    reach = tuple(map(extent, kernel.shape[:-2], d))
    padding = _agreed_padding(
        y.shape[1:-1], kernel.shape[:-2], reach, steps, padding, crop, input_padding
    )
    spacing = reach, steps, padding, e, extra
    if output_shape is None:
        size, padding = transposed_input_size(name, y.shape[1:-1], *spacing)
    else:
        size, padding = _asked_size(output_shape, y.shape[1:-1], *spacing)
    shape = (y.shape[0], *size, kernel.shape[-2] * groups)
    return carry_back(call, {"x": y}, kernel, shape, (steps, padding, e, d, groups))


def _as_forward(kernel: Array, groups: int) -> Array:
    """The kernel of the convolution whose errors this one, `(*window, o/g, c)`, carries back."""
    if kernel.shape[-1] % groups:
        raise ValueError(
            f"conv_transpose: feature_group_count = {groups} must divide the kernel's "
            f"c = {kernel.shape[-1]}; kernel is (*window, o / groups, c) = {kernel.shape}."
        )
    return algorithms.rotated(kernel, groups)


def _asked_size(
    output_shape: Size,
    size: tuple[int, ...],
    reach: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
    input_dilation: tuple[int, ...],
    output_padding: tuple[int, ...],
) -> tuple[tuple[int, ...], Padding]:
    """The size that was asked for, if the convolution maps it to `size`, and its padding."""
    name = "conv_transpose"
    asked = per_axis(output_shape, len(size), f"{name}: output_shape", minimum=0)
    sizes, padding = transposed_input_sizes(
        name, size, reach, strides, padding, input_dilation, output_padding
    )
    if any(output_padding):
        given = tuple(found[0] for found in sizes)
        if asked != given:
            raise ValueError(
                f"{name}: output_padding = {output_padding} gives the size {given}, output_shape "
                f"asks for {asked}."
            )
    for axis, (i, p, found) in enumerate(zip(asked, size, sizes, strict=True)):
        if i not in found or i < min(p, 1):
            possible = f"from {max(found[0], 1)} to {found[-1]}" if len(found) > 1 else found[0]
            raise ValueError(
                f"{name}: output_shape must be {possible} along spatial axis {axis}, where the "
                f"convolution maps these sizes to the {p} of x, got {asked}."
            )
    return asked, padding


def _sides_to_crop(crop: Padding, window: Sequence[int], reach: Sequence[int]) -> Padding:
    """The padding that Lasagne's `crop` stands for: "same" takes as much from either side."""
    if not isinstance(crop, str):
        return crop
    if crop.upper() == "SAME":
        if any(r % 2 == 0 for r in window):
            raise ValueError(
                f"conv_transpose: crop {crop!r} needs a window of odd size along every axis, got "
                f"{tuple(window)}; give (lo, hi) for each axis."
            )
        return tuple((r // 2, r // 2) for r in reach)
    if crop.upper() in ("VALID", "FULL"):
        return crop
    raise ValueError(
        f"conv_transpose: crop must be 'VALID', 'SAME', 'FULL' or explicit (lo, hi) pairs, "
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
    name = "conv_transpose"
    given: dict[str, Padding] = {}
    if crop is not None:
        given["crop"] = _sides_to_crop(crop, window, reach)
    if input_padding is not None:
        if isinstance(input_padding, str):
            raise TypeError(
                f"{name}: input_padding must be explicit, (lo, hi) for each axis, "
                f"got {input_padding!r}."
            )
        sides = explicit_padding(f"{name}: input_padding", input_padding, size, reach, strides)
        given["input_padding"] = tuple(
            (r - 1 - lo, r - 1 - hi) for r, (lo, hi) in zip(reach, sides, strict=True)
        )
    padding = listed(padding)
    if not given or str(padding).upper() != "VALID":
        given["padding"] = padding
    whole = [s * p for s, p in zip(strides, size, strict=True)]
    explicit = {
        option: explicit_padding(name, value, whole, reach, strides)
        for option, value in given.items()
    }
    if len(set(explicit.values())) > 1:
        found = ", ".join(f"{option} means {sides}" for option, sides in explicit.items())
        raise ValueError(f"{name}: as padding of the convolution {found}; give one of them.")
    return next(iter(given.values()))
