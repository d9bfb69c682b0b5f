"""Upscaling by repetition, interpolation or zeros, and pixel shuffling."""

from fractions import Fraction
from functools import lru_cache
from math import floor, prod

import jax

from .._arguments import Size, per_axis
from .._geometry import Geometry
from .._typing import AnyArray, Array
from ..algorithms import Mixing
from ..forms import axis_by_axis, linear_pair, merge_leading_axes
from ._checks import (
    as_array,
    check_flag,
    check_mixed_sizes,
    inexact_map,
    is_one_of,
    numeric_map,
    spatial_rank,
)
from ._windows import resample, window_spread

METHODS = ("nearest", "bilinear", "zeros")


def upscale(
    x: AnyArray, factor: Size, method: str = "nearest", *, align_corners: bool = False
) -> Array:
    """Enlarge a feature map by an integer factor f along each spatial axis.

    `method="nearest"` repeats each pixel over a block of f pixels:

        y[n,p,c] = x[n, p // f, c],    p < f·size                                              (1)

    For the VJP let [P] be 1 where P holds and 0 elsewhere:

        x_bar[n,i,c] = Σ_p y_bar[n,p,c] ∂y[n,p,c]/∂x[n,i,c]                    chain rule
                     = Σ_p y_bar[n,p,c] [p // f = i]                           by (1)
                     = Σ_a y_bar[n, i·f + a, c],  a < f                                        (2)

    Each pixel receives the sum, not the mean, over its block. So (2) is `sum_pool`, and the
    transpose of `sum_pool` is (1).

    `method="zeros"` puts each pixel at the first position of its block and fills the rest with
    zeros. The transpose takes every f-th pixel, as a pool with a window of 1 and strides f does:

        y[n,p,c] = x[n, p/f, c] [f divides p]          x_bar[n,i,c] = y_bar[n, f·i, c]         (3)

    `method="bilinear"` interpolates linearly along one axis after the other, for any number of
    axes. Output p lies at t(p) on the input's axis, clipped to 0 ≤ t ≤ size - 1, between the
    pixels l = floor(t) and l + 1:

        y[p] = (1 - w)·x[l] + w·x[l+1],    w = t(p) - l                                        (4)
        x_bar[i] = Σ_p y_bar[p] max(0, 1 - |t(p) - i|)                     transpose of (4)    (5)

    (5) is a sum pool whose windows are weighted by a triangle. By default t(p) = (p + 1/2)/f - 1/2,
    as in `jax.image.resize` and PyTorch: a pixel is an area, and the outer edges of both maps
    coincide. With `align_corners` t(p) = p·(size - 1)/(f·size - 1): a pixel is a point, and the
    outermost pixels of both maps coincide.

    All three methods are linear in `x`. The JVP is the map itself, and the reverse pass keeps
    nothing.

    Args:
      x: Feature map `(n, *spatial, c)`; for "bilinear" it must be floating point.
      factor: The factor f, at least 1; an int or one for each spatial axis.
      method: `"nearest"`, `"bilinear"` or `"zeros"`.
      align_corners: Let the outermost pixels of both maps coincide; for "bilinear" only.

    Returns:
      Feature map `(n, *(f · size), c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, the method is unknown, or
        `align_corners` is True for a method other than "bilinear"; or "bilinear" makes an axis of
        more than 16,777,216 elements.
      TypeError: `x` is not an array of numbers, or its dtype is float8_e8m0fnu, which has no zero;
        or an option has the wrong type.

    Source: (1) is the resize of Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts",
    Distill 2016, doi:10.23915/distill.00003. "zeros" is Lasagne's "dilate". (4) and (5) are in
    Jaderberg et al., "Spatial Transformer Networks", 2015, arXiv:1506.02025, section 3.3. (2) and
    (3) are derived here.

    >>> import jax.numpy as jnp
    >>> upscale(jnp.array([1.0, 3.0]).reshape(1, 2, 1), 2, "bilinear")[0, :, 0]
    Array([1. , 1.5, 2.5, 3. ], dtype=float32)
    >>> upscale(jnp.ones((1, 2, 3, 4)), factor=(2, 3)).shape
    (1, 4, 9, 4)
    """
    if not is_one_of(method, METHODS):
        raise ValueError(f"upscale: method must be one of {', '.join(METHODS)}, got {method!r}.")
    check_flag("upscale: align_corners", align_corners)
    if align_corners and method != "bilinear":
        raise ValueError(f"upscale: align_corners goes with method 'bilinear', not {method!r}.")
    x = inexact_map("upscale", x) if method == "bilinear" else numeric_map("upscale", x)
    rank = spatial_rank("upscale", x)
    blocks = per_axis(factor, rank, "upscale: factor")
    axes = list(zip(x.shape[1:-1], blocks, strict=True))
    if method == "bilinear":
        check_mixed_sizes("upscale: factor", (size * f for size, f in axes))
        return resample(x, mixings=tuple(_interpolation(*axis, align_corners) for axis in axes))
    # The pool whose transpose this is: its input is the enlarged map, and its output is x.
    ones = (1,) * rank
    geometry = Geometry(
        input_size=tuple(size * f for size, f in axes),
        window=blocks if method == "nearest" else ones,
        output_size=x.shape[1:-1],
        strides=blocks,
        padding=((0, 0),) * rank,
        input_dilation=ones,
        kernel_dilation=ones,
    )
    return window_spread(x, geometry=geometry)


def pixel_shuffle(x: AnyArray, factor: Size) -> Array:
    """Rearrange the channels of each pixel into a block of pixels.

    For two spatial axes and factors (f, g), with a < f and b < g,

        y[n, i·f + a, j·g + b, c] = x[n, i, j, (c·f + a)·g + b]                                (1)

    (1) is a permutation of the elements, so its transpose is its inverse, `pixel_unshuffle`. The
    order of the channels is that of PyTorch, where the pixels of a block are innermost. In
    TensorFlow's `depth_to_space` the C channels of the result are innermost, (a·g + b)·C + c.

    Args:
      x: Feature map `(n, *spatial, c)`, with c a multiple of the product of all factors.
      factor: Size of the blocks, at least 1; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *(f · spatial), c / product of f)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, or the product of the factors
        does not divide c.
      TypeError: `x` is not an array of numbers, or `factor` is not an integer.

    Source: Shi et al., "Real-time single image and video super-resolution using an efficient
    sub-pixel convolutional neural network", CVPR 2016, arXiv:1609.05158, eq. (4).

    >>> import jax.numpy as jnp
    >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0]
    Array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    x = as_array("pixel_shuffle: x", x)
    blocks = per_axis(factor, spatial_rank("pixel_shuffle", x), "pixel_shuffle: factor")
    if x.shape[-1] % prod(blocks):
        raise ValueError(
            f"pixel_shuffle: factor {factor!r} needs a multiple of {prod(blocks)} channels, "
            f"but x has {x.shape[-1]}."
        )
    return _shuffle(x, blocks=blocks)


def pixel_unshuffle(x: AnyArray, factor: Size) -> Array:
    """Rearrange each block of pixels into the channels of one pixel.

        y[n, i, j, (c·f + a)·g + b] = x[n, i·f + a, j·g + b, c]                                (1)

    (1) is the inverse of `pixel_shuffle`. It is a permutation of the elements, so it is also the
    transpose of `pixel_shuffle`, from which its derivative follows.

    Args:
      x: Feature map `(n, *spatial, c)`, where each spatial size is a multiple of its factor.
      factor: Size of the blocks, at least 1; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *(spatial / f), c · product of f)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, or a factor does not divide
        its spatial size.
      TypeError: `x` is not an array of numbers, or `factor` is not an integer.

    >>> import jax.numpy as jnp
    >>> pixel_unshuffle(jnp.arange(4.0).reshape(1, 2, 2, 1), 2)
    Array([[[[0., 1., 2., 3.]]]], dtype=float32)
    """
    x = as_array("pixel_unshuffle: x", x)
    blocks = per_axis(factor, spatial_rank("pixel_unshuffle", x), "pixel_unshuffle: factor")
    if any(size % f for size, f in zip(x.shape[1:-1], blocks, strict=True)):
        raise ValueError(
            f"pixel_unshuffle: factor {factor!r} must divide the spatial sizes {x.shape[1:-1]}."
        )
    return _unshuffle(x, blocks=blocks)


def _space_to_channels(x: Array, *, blocks: tuple[int, ...]) -> Array:
    n, *spatial, c = x.shape
    sizes = [size // f for size, f in zip(spatial, blocks, strict=True)]
    interleaved = [part for pair in zip(sizes, blocks, strict=True) for part in pair]
    outside, inside = range(1, 2 * len(blocks), 2), range(2, 2 * len(blocks) + 1, 2)
    x = x.reshape(n, *interleaved, c).transpose(0, *outside, 2 * len(blocks) + 1, *inside)
    return x.reshape(n, *sizes, c * prod(blocks))


def _channels_to_space(x: Array, *, blocks: tuple[int, ...]) -> Array:
    n, *spatial, c = x.shape
    rank = len(blocks)
    x = x.reshape(n, *spatial, c // prod(blocks), *blocks)
    order = [axis for a in range(rank) for axis in (1 + a, rank + 2 + a)]
    x = x.transpose(0, *order, rank + 1)
    sizes = (size * f for size, f in zip(spatial, blocks, strict=True))
    return x.reshape(n, *sizes, c // prod(blocks))


def _shuffled(slot: str, x, *, blocks: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    n, *spatial, c = x.shape
    larger = slot == "out"
    sizes = (s * f if larger else s // f for s, f in zip(spatial, blocks, strict=True))
    channels = c // prod(blocks) if larger else c * prod(blocks)
    return jax.ShapeDtypeStruct((n, *sizes, channels), x.dtype)


_shuffle, _unshuffle = linear_pair(
    _channels_to_space,
    _space_to_channels,
    name="jaxconv_pixel_shuffle",
    result=_shuffled,
    batch=merge_leading_axes,
    shard=axis_by_axis,
)


@lru_cache
def _interpolation(size: int, f: int, align_corners: bool) -> Mixing:
    """(4) of `upscale` on one axis. Positions are exact fractions, so weights are rounded once.

    Weights of 0 are left out.
    """

    def row(p: int) -> tuple[tuple[int, float], ...]:
        if align_corners:
            t = Fraction(p * (size - 1), max(f * size - 1, 1))
        else:
            t = min(max(Fraction(2 * p + 1, 2 * f) - Fraction(1, 2), Fraction(0)), size - 1)
        low = floor(t)
        pairs = ((low, 1 - (t - low)), (low + 1, t - low))
        return tuple((i, float(weight)) for i, weight in pairs if weight)

    return Mixing(size, tuple(map(row, range(f * size))))
