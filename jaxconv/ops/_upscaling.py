"""Larger maps from smaller ones: each is the transpose of a pool, a stride, or of its inverse."""

from fractions import Fraction
from functools import lru_cache
from math import floor, prod

import jax

from .._forms import linear_pair
from .._geometry import Geometry, Size, per_axis
from .._typing import AnyArray, Array
from ..algorithms import Mixing
from ._checks import as_array, check_flag
from ._windows import inexact_map, numeric_map, resample, spatial_rank, window_spread

METHODS = ("nearest", "bilinear", "zeros")


def upscale(
    x: AnyArray, factor: Size, method: str = "nearest", *, align_corners: bool = False
) -> Array:
    """Enlarge a feature map by a whole factor f along each spatial axis.

    `method="nearest"` repeats each pixel over a block of f:

        y[n,p,c] = x[n, p // f, c],    p < f·size                                              (1)

    VJP, with [P] equal to 1 where P holds, else 0:

        x_bar[n,i,c] = Σ_p y_bar[n,p,c] ∂y[n,p,c]/∂x[n,i,c]                    chain rule
                     = Σ_p y_bar[n,p,c] [p // f = i]                           by (1)
                     = Σ_a y_bar[n, i·f + a, c],  a < f                                        (2)

    Each pixel receives the sum, not the mean, over its block: (2) is `sum_pool`, whose transpose is
    (1) again.

    `method="zeros"` puts each pixel at the low corner of its block, and zeros around it. Its
    transpose takes every f-th pixel, as a pool with a window of 1 and strides f does:

        y[n,p,c] = x[n, p/f, c] [f divides p]          x_bar[n,i,c] = y_bar[n, f·i, c]         (3)

    `method="bilinear"` interpolates linearly along each axis in turn, for any number of axes.
    Output p lies at t(p) on the input's axis, held to 0 ≤ t ≤ size - 1, between the pixels
    l = floor(t) and l + 1:

        y[p] = (1 - w)·x[l] + w·x[l+1],    w = t(p) - l                                        (4)
        x_bar[i] = Σ_p y_bar[p] max(0, 1 - |t(p) - i|)                     transpose of (4)    (5)

    a sum pool weighted by a triangle. By default a pixel is an area, and t(p) = (p + 1/2)/f - 1/2
    leaves its centre in place, as in `jax.image.resize` and PyTorch. With `align_corners` a pixel
    is a point, and t(p) = p·(size - 1)/(f·size - 1) leaves the outermost pixels in place.

    All three are linear in `x`: the JVP is the map itself, and nothing is remembered.

    Args:
      x: Feature map `(n, *spatial, c)`; for "bilinear", floating point.
      factor: f, at least 1; an int or one for each spatial axis.
      method: `"nearest"`, `"bilinear"` or `"zeros"`.
      align_corners: Interpolate between points, not areas; for "bilinear" only.

    Returns:
      Feature map `(n, *(f · size), c)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, the method is unknown, or
        `align_corners` is asked of another method than "bilinear".
      TypeError: `x` is no array of numbers, or one of float8_e8m0fnu, which has no zero; an option
        has the wrong type.

    Source: the resize of resize-convolution in Odena, Dumoulin & Olah, "Deconvolution and
    Checkerboard Artifacts", Distill 2016, doi:10.23915/distill.00003; "zeros" is Lasagne's
    "dilate". (4) and (5) as in Jaderberg et al., "Spatial Transformer Networks", 2015,
    arXiv:1506.02025, section 3.3; (2) and (3) are transposes, written out here.

    >>> import jax.numpy as jnp
    >>> upscale(jnp.array([1.0, 3.0]).reshape(1, 2, 1), 2, "bilinear")[0, :, 0]
    Array([1. , 1.5, 2.5, 3. ], dtype=float32)
    >>> upscale(jnp.ones((1, 2, 3, 4)), factor=(2, 3)).shape
    (1, 4, 9, 4)
    """
    if method not in METHODS:
        raise ValueError(f"upscale: method must be one of {', '.join(METHODS)}, got {method!r}.")
    check_flag("upscale: align_corners", align_corners)
    if align_corners and method != "bilinear":
        raise ValueError(f"upscale: align_corners goes with method 'bilinear', not {method!r}.")
    x = inexact_map("upscale", x) if method == "bilinear" else numeric_map("upscale", x)
    rank = spatial_rank("upscale", x)
    blocks = per_axis(factor, rank, "upscale: factor")
    axes = list(zip(x.shape[1:-1], blocks, strict=True))
    if method == "bilinear":
        return resample(x, mixings=tuple(_interpolation(*axis, align_corners) for axis in axes))
    enlarged, once = tuple(size * f for size, f in axes), (1,) * rank
    window = blocks if method == "nearest" else once
    none = ((0, 0),) * rank
    geometry = Geometry(enlarged, window, x.shape[1:-1], blocks, none, once, once)
    return window_spread(x, geometry=geometry)


def pixel_shuffle(x: AnyArray, factor: Size) -> Array:
    """Move channels into space: blocks of f pixels out of f times as many channels.

    For two spatial axes and factors (f, g), with a < f and b < g,

        y[n, i·f + a, j·g + b, c] = x[n, i, j, (c·f + a)·g + b]                                (1)

    Each element goes to one place, so the transpose puts it back: it is the inverse,
    `pixel_unshuffle`. The order of the channels is PyTorch's, the pixels of a block lying side by
    side; TensorFlow's `depth_to_space` has the channel c innermost, (a·g + b)·C + c.

    Args:
      x: Feature map `(n, *spatial, c)`, with c a multiple of the product of all factors.
      factor: Size of the blocks, at least 1; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *(f · spatial), c / product of f)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, or they do not divide c.
      TypeError: `x` is no array of numbers, or `factor` is not an integer.

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
            f"x has {x.shape[-1]}."
        )
    return _shuffle(x, blocks=blocks)


def pixel_unshuffle(x: AnyArray, factor: Size) -> Array:
    """Move space into channels: the pixels of a block of f become channels.

        y[n, i, j, (c·f + a)·g + b] = x[n, i·f + a, j·g + b, c]                                (1)

    The inverse of `pixel_shuffle`, and its transpose, for each element goes to one place.

    Args:
      x: Feature map `(n, *spatial, c)`, each spatial size a multiple of its factor.
      factor: Size of the blocks, at least 1; an int or one for each spatial axis.

    Returns:
      Feature map `(n, *(spatial / f), c · product of f)`, in the dtype of `x`.

    Raises:
      ValueError: `x` is not `(n, *spatial, c)`, a factor is below 1, or does not divide its size.
      TypeError: `x` is no array of numbers, or `factor` is not an integer.

    Source: `pixel_shuffle`, solved for its argument.

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
    split = [part for pair in zip(sizes, blocks, strict=True) for part in pair]
    outside, inside = range(1, 2 * len(blocks), 2), range(2, 2 * len(blocks) + 1, 2)
    x = x.reshape(n, *split, c).transpose(0, *outside, 2 * len(blocks) + 1, *inside)
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
    "jaxconv_pixel_shuffle", _channels_to_space, _space_to_channels, result=_shuffled
)


@lru_cache
def _interpolation(size: int, f: int, align_corners: bool) -> Mixing:
    """(4) on one axis, with fractions: weights are rounded once, and those of 0 left out."""

    def row(p: int) -> tuple[tuple[int, float], ...]:
        if align_corners:
            t = Fraction(p * (size - 1), max(f * size - 1, 1))
        else:
            t = min(max(Fraction(2 * p + 1, 2 * f) - Fraction(1, 2), Fraction(0)), size - 1)
        low = floor(t)
        pairs = ((low, 1 - (t - low)), (low + 1, t - low))
        return tuple((i, float(weight)) for i, weight in pairs if weight)

    return Mixing(size, tuple(map(row, range(f * size))))
