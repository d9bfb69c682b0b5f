"""The figure: autodiff's estimate divided by ours, a bar for each case, corner and dtype."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..benchmark.figures import plain_numbers
from .rows import Row


def ratios(rows: Sequence[Row]) -> Figure:
    """A panel for each corner that the rows have. Several targets have bars of their own."""
    shown = [row | {"bar": f"{row['target']} {row['dtype']}"} for row in rows if row["ratio"]]
    corners = list(dict.fromkeys(row["corner"] for row in shown)) or [""]
    bars = list(dict.fromkeys(row["bar"] for row in shown))
    heights = max(len({r["case"] for r in shown if r["corner"] == corner}) for corner in corners)
    size = (1 + 3.5 * len(corners), max(3.0, 1.2 + 0.24 * heights))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(corners), squeeze=False)[0]
    for axes, corner in zip(panels, corners, strict=True):
        names = list(dict.fromkeys(row["case"] for row in shown if row["corner"] == corner))
        width = 0.8 / max(len(bars), 1)
        for index, bar in enumerate(bars):
            here = [row for row in shown if (row["corner"], row["bar"]) == (corner, bar)]
            found = {row["case"]: row["ratio"] for row in here}
            places = np.arange(len(names)) + (index - (len(bars) - 1) / 2) * width
            # Bars begin at 1 on a logarithmic axis: to the right ours is faster.
            lengths = np.array([found.get(name, np.nan) for name in names]) - 1
            axes.barh(places, lengths, width, left=1, label=bar)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), [name[:40] for name in names], fontsize=8)
        axes.set(xscale="log", ylim=(len(names) - 0.5, -0.5), title=corner)
        plain_numbers(axes.xaxis)
        axes.grid(alpha=0.3, axis="x")
    figure.suptitle("times faster than autodiff, estimated")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower right")
    return figure
