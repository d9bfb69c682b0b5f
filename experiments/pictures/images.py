"""Figures of images: reconstructions and samples.

Functions take arrays and return a Matplotlib `Figure`, without the global state of pyplot.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure


def reconstructions(originals: np.ndarray, by: Mapping[str, np.ndarray]) -> Figure:
    """Images in a row, and the reconstructions of each below it.

    Args:
      originals: Images `(n, h, w, c)` in [0, 1].
      by: For each method its reconstructions, of the same shape.
    """
    rows = {"original": originals, **by}
    columns = len(originals)
    figure = Figure(figsize=(0.7 * columns + 0.9, 0.7 * len(rows)), layout="constrained")
    places = figure.subplots(len(rows), columns, squeeze=False)
    for row, (title, images) in enumerate(rows.items()):
        beside = places[row, 0]
        beside.text(-0.15, 0.5, title, ha="right", va="center", transform=beside.transAxes)
        for column, image in enumerate(images):
            _show(places[row, column], image)
    return figure


def grid(images: np.ndarray, *, columns: int) -> Figure:
    """Images `(n, h, w, c)` in rows of so many columns."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.6 * columns, 0.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for place, image in zip(axes.flat, images, strict=False):
        _show(place, image)
    return figure


def channels_drawn(channels: int) -> str | None:
    """What figures show of images that are neither grey nor red, green, blue; otherwise None."""
    if channels in (1, 3):
        return None
    if channels == 4:
        return "the first three of 4 channels, as red, green and blue"
    return f"the mean of the images' {channels} channels, as grey"


def _show(axes, image):
    """Draw an image `(h, w, c)` in [0, 1] as it is: 0 is black, 1 is white."""
    image = np.clip(image, 0, 1)
    if image.shape[-1] == 4:
        image = image[..., :3]
    elif image.shape[-1] != 3:
        image = image.mean(axis=-1, keepdims=True)
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(image)
    axes.set_axis_off()
