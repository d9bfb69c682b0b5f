"""Larger and smaller feature maps, element by element."""

from itertools import product

import numpy as np
from numpy import ndarray

from ._convolution import Size, per_axis, wide


def upscale(
    x: ndarray, factor: Size, method: str = "nearest", *, align_corners: bool = False
) -> ndarray:
    """Pixel p of each enlarged axis is Σ_i `_weights`[i] x[i]."""
    y = wide(x)
    for axis, f in enumerate(per_axis(factor, x.ndim - 2), start=1):
        size = y.shape[axis]
        mixed = [
            sum(
                weight * np.take(y, i, axis)
                for i, weight in enumerate(_weights(p, size, f, method, align_corners))
                if weight
            )
            for p in range(f * size)
        ]
        y = np.stack([part + np.zeros_like(np.take(y, 0, axis)) for part in mixed], axis)
    return y


def _weights(p, size, f, method, align_corners):
    """The weight of each pixel i of an axis in pixel p of the enlarged axis."""
    i = np.arange(size)
    if method == "nearest":
        return 1.0 * (i == p // f)
    if method == "zeros":
        return 1.0 * (f * i == p)
    assert method == "bilinear", method
    position = p * (size - 1) / max(f * size - 1, 1) if align_corners else (p + 0.5) / f - 0.5
    return np.maximum(0, 1 - np.abs(np.clip(position, 0, size - 1) - i))


def pixel_shuffle(x: ndarray, factor: Size) -> ndarray:
    """y[i f + a, j g + b, c] = x[i, j, (c f + a) g + b] for factors (f, g); likewise elsewhere."""
    n, *size, c = x.shape
    blocks = per_axis(factor, len(size))
    y = np.zeros((n, *np.multiply(size, blocks), c // np.prod(blocks)))
    for i, a in product(np.ndindex(*size), np.ndindex(*blocks)):
        p = np.multiply(i, blocks) + a
        y[:, *p] = x[:, *i, np.ravel_multi_index(a, blocks) :: np.prod(blocks)]
    return y


def pixel_unshuffle(x: ndarray, factor: Size) -> ndarray:
    """The inverse of `pixel_shuffle`."""
    n, *size, c = x.shape
    blocks = per_axis(factor, len(size))
    y = np.zeros((n, *np.floor_divide(size, blocks), c * np.prod(blocks)))
    for i, a in product(np.ndindex(*y.shape[1:-1]), np.ndindex(*blocks)):
        p = np.multiply(i, blocks) + a
        y[:, *i, np.ravel_multi_index(a, blocks) :: np.prod(blocks)] = x[:, *p]
    return y
