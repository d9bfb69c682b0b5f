"""Figures of what happens inside a network.

feature_maps, filters      the output of a layer, and its kernels
errors                     δ of every layer
toeplitz_matrix            a convolution as a matrix, and its transpose
kernel_walk                the rotated kernel at several positions of the padded error
gradient_flow              the magnitude of errors and gradients over depth
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

SIGNED = "RdBu_r"  # red positive, blue negative, white zero


def feature_maps(maps: np.ndarray, title: str = "", *, columns: int = 8) -> Figure:
    """The channels of the feature map of one example.

    Args:
      maps: `(h, w, c)`. All are drawn on one scale, which is symmetric about 0 if there are
        negative values.
      title: The title of the figure.
      columns: The number of maps in a row.
    """
    return _grid(np.moveaxis(np.asarray(maps), -1, 0), title, columns)


def filters(kernel: np.ndarray, title: str = "", *, columns: int = 8) -> Figure:
    """The kernel of each output channel, for the first input channel.

    Args:
      kernel: `(h, w, c, o)`.
      title: The title of the figure.
      columns: The number of kernels in a row.
    """
    return _grid(np.moveaxis(np.asarray(kernel)[:, :, 0], -1, 0), title, columns, signed=True)


def errors(delta: Mapping[str, np.ndarray], *, example: int = 0, channels: int = 6) -> Figure:
    """The error δ of one example, a row for each layer.

    Each row has a scale of its own, which is printed beside it. An error without spatial axes is
    drawn as a strip.

    Args:
      delta: For each layer δ `(n, h, w, c)` or `(n, c)`.
      example: The index of the example.
      channels: The number of channels drawn of a feature map, those with the largest errors.
    """
    figure = Figure(figsize=(1.2 * channels + 1.6, 1.3 * len(delta)), layout="constrained")
    grid = figure.add_gridspec(len(delta), channels)
    for row, (name, values) in enumerate(delta.items()):
        error = np.asarray(values)[example]
        scale = np.abs(error).max() or 1.0
        label = f"{name}\n±{scale:.1g}"
        if error.ndim == 1:
            axes = figure.add_subplot(grid[row, :])
            _image(axes, error[None], scale, aspect="auto")
            _label(axes, label)
            continue
        strongest = np.argsort(-np.abs(error).max(axis=(0, 1)), kind="stable")[:channels]
        for column, channel in enumerate(sorted(strongest)):
            axes = figure.add_subplot(grid[row, column])
            _image(axes, error[:, :, channel], scale)
            axes.set_title(f"channel {channel}", fontsize=7, pad=2)
            if column == 0:
                _label(axes, label)
    return figure


def toeplitz_matrix(matrix: np.ndarray, kernel: Sequence[float]) -> Figure:
    """The matrix of a one-dimensional convolution and its transpose, with every entry written out.

    Args:
      matrix: `(outputs, inputs)`, as `jaxconv.derivations.toeplitz` returns it.
      kernel: The taps. A tap has the same colour in both pictures.
    """
    matrix = np.asarray(matrix)
    rows, columns = matrix.shape
    figure = Figure(figsize=(0.42 * (rows + columns) + 2, 0.42 * columns + 1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(columns, rows))
    for axes, shown, title in (
        (left, matrix, "T: a row holds the taps in order"),
        (right, matrix.T, "Tᵀ: a row holds them in reverse"),
    ):
        tap = np.full(shown.shape, np.nan)
        for number, value in enumerate(kernel):
            tap[shown == value] = number
        axes.imshow(tap, cmap="Pastel1", vmin=0, vmax=8)
        for place in zip(*np.nonzero(shown), strict=True):
            number = int(tap[place])
            axes.text(place[1], place[0], f"$w_{number}$", ha="center", va="center", fontsize=9)
        axes.set_title(title, fontsize=10)
        axes.set_xticks(np.arange(shown.shape[1] + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(shown.shape[0] + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="0.85", linewidth=0.6)
        axes.tick_params(which="both", length=0, labelsize=7)
    return figure


def kernel_walk(
    delta: np.ndarray, kernel: np.ndarray, places: Sequence[tuple[int, int]] = ((0, 0), (1, 2))
) -> Figure:
    """The rotated kernel over the padded error of a layer, for a few input pixels.

    Each panel frames the errors that contribute to the error of a pixel. The tap that weights an
    error stands beside it. The padding is grey.

    Args:
      delta: The error of a layer with one channel, `(h, w)`.
      kernel: The kernel of the layer, `(window_h, window_w)`.
      places: The input pixels.
    """
    delta, kernel = np.asarray(delta), np.asarray(kernel)
    pads = [(size - 1, size - 1) for size in kernel.shape]
    padded, real = np.pad(delta, pads), np.pad(np.ones_like(delta), pads)
    shown = np.where(real, padded, np.nan)
    rows, columns = padded.shape
    size = (0.62 * columns * len(places) + 0.5, 0.62 * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    scale = np.abs(delta).max() or 1.0
    for axes, (i, j) in zip(figure.subplots(1, len(places), squeeze=False)[0], places, strict=True):
        axes.set_facecolor("0.9")
        _image(axes, shown, 2 * scale)
        for a, b in np.ndindex(*padded.shape):
            if real[a, b]:
                axes.text(b, a - 0.22, f"{padded[a, b]:.1f}", ha="center", va="center", fontsize=7)
        for r, c in np.ndindex(*kernel.shape):
            tap = tuple(n - 1 - k for n, k in zip(kernel.shape, (r, c), strict=True))
            text = f"$w_{{{tap[0]}{tap[1]}}}$"
            axes.text(j + c, i + r + 0.2, text, ha="center", va="center", fontsize=9, color="C2")
        corner = (j - 0.5, i - 0.5)
        height, width = kernel.shape
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="C2", linewidth=2))
        axes.set_title(f"error of pixel ({i}, {j})", fontsize=9)
    return figure


def gradient_flow(sizes: Mapping[str, Mapping[str, float]], ylabel: str) -> Figure:
    """Magnitudes over depth on a logarithmic axis, which show where they vanish or explode.

    Args:
      sizes: For each label of a curve, and for each layer in order, a magnitude.
      ylabel: The name of the magnitudes.
    """
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, values in sizes.items():
        axes.plot(list(values), list(values.values()), marker="o", label=label)
    axes.set_yscale("log")
    axes.set(xlabel="layer, from the input to the output", ylabel=ylabel)
    axes.tick_params(axis="x", rotation=45)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _grid(images: np.ndarray, title: str, columns: int, signed: bool = False) -> Figure:
    """Images `(count, h, w)` in rows, all on one scale."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = images.shape[1] / images.shape[2]
    size = (1.1 * columns, 1.1 * rows * height + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    scale = np.abs(images).max() or 1.0
    for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        axes.set_axis_off()
        if index < len(images):
            if signed or images.min() < 0:
                _image(axes, images[index], scale)
            else:
                axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=scale)
    sign = "±" if signed or images.min() < 0 else "0 to "
    figure.suptitle(f"{title} ({sign}{scale:.2g})".strip(), fontsize=10)
    return figure


def _image(axes: Axes, values: np.ndarray, scale: float, aspect: str = "equal") -> None:
    axes.imshow(values, cmap=SIGNED, vmin=-scale, vmax=scale, aspect=aspect)
    axes.set_xticks([])
    axes.set_yticks([])


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=8)
