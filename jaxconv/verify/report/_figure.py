"""A picture of gradients: true, reported, and their difference."""

import math
from typing import Any

import numpy as np

from ._contents import Contents

# How many arrays are drawn, those with wrong gradients first.
ROWS = 6


def figure(report: Contents) -> Any:
    """A Matplotlib figure with a row for each array: true, reported, difference.

    An array of more than two axes is drawn as a mosaic of images. An image shows the spatial axes
    of a kernel or of a feature map, and the last two axes of other arrays.

    Raises:
      ModuleNotFoundError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'plot needs Matplotlib: pip install "jaxconv[verify]"', name=error.name
        ) from error

    wrong = {failure.argument for failure in report.failures}
    names = sorted(report.gradients, key=lambda name: name not in wrong)[:ROWS]
    drawn = Figure(figsize=(10, 3.2 * max(len(names), 1)), layout="constrained")
    drawn.suptitle(
        f"{report.function}: the gradient is {'right' if report.ok else 'wrong'}", fontsize=12
    )
    if not names:
        drawn.text(0.5, 0.5, "The true gradient is unknown.", ha="center")
        return drawn
    axes = drawn.subplots(len(names), 3, squeeze=False)
    for row, name in zip(axes, names, strict=True):
        gradient = report.gradients[name]
        with np.errstate(invalid="ignore"):
            gap = gradient.reported - gradient.true
        most = _largest(gradient.true, gradient.reported)
        diagnosis = next((f.diagnosis for f in report.failures if f.argument == name), "right")
        pictures = (
            ("true", gradient.true, most),
            ("reported", gradient.reported, most),
            ("reported - true", gap, _largest(gap)),
        )
        for axis, (title, array, limit) in zip(row, pictures, strict=True):
            image = axis.imshow(
                mosaic(array), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
            )
            axis.set_title(title, fontsize=10)
            axis.set_xticks([])
            axis.set_yticks([])
            drawn.colorbar(image, ax=axis, shrink=0.8)
        row[0].set_ylabel(f"{name} {list(gradient.true.shape)}\n{diagnosis}", fontsize=9)
    return drawn


def _largest(*arrays):
    finite = [np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in arrays]
    return max(finite) or 1.0


def mosaic(array: np.ndarray) -> np.ndarray:
    """An array of any rank as one image, with NaN between the tiles, or for no elements."""
    if not array.size:
        return np.full((1, 1), np.nan)
    if array.ndim < 2:
        return np.atleast_1d(array)[None]
    if array.ndim == 2:
        return array
    if array.ndim >= 4 and array.shape[0] <= array.shape[1] and array.shape[-2] > array.shape[-1]:
        array = np.moveaxis(array, -1, 1)  # a feature map: batch and channels, then positions
    elif array.ndim >= 4 and array.shape[0] == array.shape[1] == array.shape[2]:
        array = np.moveaxis(array, (-2, -1), (0, 1))  # a kernel: channels, then taps
    h, w = array.shape[-2:]
    tiles = array.reshape(-1, h, w)
    columns = max(math.ceil(math.sqrt(len(tiles) * h / w)), 1)
    rows = math.ceil(len(tiles) / columns)
    image = np.full((rows * (h + 1) - 1, columns * (w + 1) - 1), np.nan)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (h + 1), i % columns * (w + 1)
        image[top : top + h, left : left + w] = tile
    return image
