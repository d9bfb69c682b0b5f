"""The figures of the experiments: from arrays to a `Figure`, without pyplot's global state."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter


def learning_curves(curves: Mapping[str, Sequence[Sequence[float]]], ylabel: str) -> Figure:
    """A fraction after each epoch: the mean over seeds, and a band from the least to the greatest.

    On a logarithmic axis, so that the first epoch and the last ones can be read in one picture.

    Args:
      curves: For each label an array `(seeds, epochs)` of numbers in [0, 1].
      ylabel: What the values are.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for label, values in curves.items():
        values = np.asarray(values)
        epochs = np.arange(1, values.shape[1] + 1)
        axes.plot(epochs, values.mean(axis=0), marker=".", label=label)
        if len(values) > 1:
            axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), alpha=0.2)
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yscale("log", nonpositive="mask")  # a gap where no image was wrong
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def reconstructions(originals: np.ndarray, by: Mapping[str, np.ndarray]) -> Figure:
    """Images on the left, each with its reconstructions to the right of it.

    Args:
      originals: Images `(n, h, w)` in [0, 1].
      by: For each method its reconstructions, of the same shape.
    """
    columns = {"original": originals, **by}
    rows = len(originals)
    figure = Figure(figsize=(1.1 * len(columns), 0.95 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for column, (title, images) in enumerate(columns.items()):
        grid[0, column].set_title(title, fontsize=9)
        for row, image in enumerate(images):
            axes = grid[row, column]
            axes.imshow(np.clip(image, 0, 1), cmap="gray_r", vmin=0, vmax=1)
            axes.set_axis_off()
    return figure
