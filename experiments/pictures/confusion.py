"""The figure of a confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

_NUMBERED = 20  # classes; the cells of more have no room for numbers
_NAMED = 60  # classes; further names would cover one another


def confusion_matrix(matrix: np.ndarray, names: Sequence[str], title: str = "") -> Figure:
    """How many images of each class (rows) were taken for each class (columns).

    Colours are fractions of the row, so that rare classes look like frequent ones.

    Args:
      matrix: Counts `(classes, classes)`.
      names: The names of the classes.
      title: The title of the figure.
    """
    count = len(names)
    side = max(3.5, min(12.0, 0.45 * count if count <= _NUMBERED else 0.2 * count))
    figure = Figure(figsize=(side + 2, side + 1), layout="constrained")
    axes = figure.subplots()
    fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if count <= _NUMBERED:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            where = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
            axes.text(column, row, f"{matrix[row, column]}", **where)
    step = -(-count // _NAMED)
    shown = [name if len(name) <= 20 else name[:19] + "…" for name in names[::step]]
    places, size = range(0, count, step), 9 if count <= _NUMBERED else 7
    axes.set_xticks(places, shown, rotation=90 if max(map(len, shown)) > 2 else 0, fontsize=size)
    axes.set_yticks(places, shown, fontsize=size)
    axes.set(xlabel="taken for", ylabel="class", title=title)
    bar = figure.colorbar(image, shrink=0.8, label="fraction of the class")
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure
