"""Figures of curves and points: learning curves, and the codes of an autoencoder.

Functions take arrays and return a Matplotlib `Figure`, without the global state of pyplot.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter


def learning_curves(curves: Mapping[str, Sequence[Sequence[float]]], ylabel: str) -> Figure:
    """A fraction after each epoch: the mean over seeds, and a band from minimum to maximum.

    The axis is logarithmic, so that both the first and the last epochs can be read.

    Args:
      curves: For each label an array `(seeds, epochs)` of values in [0, 1].
      ylabel: The name of the values.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    _draw_curves(axes, curves, ylabel)
    _number(axes, in_percent=True)
    axes.legend()
    return figure


_LINES = ("-", "--", ":", "-.")


def colours(count: int) -> list:
    """Colours for so many labels: Matplotlib's ten or twenty, or as many shades of a rainbow."""
    if count <= 20:
        return list(matplotlib.colormaps["tab10" if count <= 10 else "tab20"].colors)[:count]
    return [tuple(each) for each in matplotlib.colormaps["turbo"](np.linspace(0, 1, count))]


def compared(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], *, fractions: Sequence[str] = ()
) -> Figure:
    """Learning curves of several runs, a panel for each measure. A run keeps its colour.

    Args:
      panels: For each measure and each run an array `(seeds, epochs)`.
      fractions: The measures that are shown in percent.
    """
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    # Neighbours among many runs have similar colours, and another dash each.
    dashes = _LINES if len(labels) > 10 else _LINES[:1]
    styles = {
        label: {"color": colour, "linestyle": dashes[place % len(dashes)]}
        for place, (label, colour) in enumerate(zip(labels, colours(len(labels)), strict=True))
    }
    # The legend has columns of at most 30 labels of 0.07 inches a letter.
    columns = -(-len(labels) // 30)
    width = columns * (0.07 * max(map(len, labels)) + 0.7)
    size = 6 * len(panels) + width, max(4, 0.18 * -(-len(labels) // columns) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    lines = {}
    for axes, (measure, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True
    ):
        lines |= _draw_curves(axes, curves, measure, styles)
        _number(axes, in_percent=measure in fractions)
    in_order = [lines[label] for label in labels]
    figure.legend(in_order, labels, fontsize=8, loc="outside right upper", ncols=columns)
    return figure


def _draw_curves(axes, curves, ylabel, styles=None):
    lines, drawn = {}, []
    for label, values in curves.items():
        values, style = np.asarray(values), (styles or {}).get(label, {})
        epochs = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(epochs, values.mean(axis=0), marker=".", label=label, **style)
        line.set_clip_on(False)  # an error of 0 lies on the edge
        if len(values) > 1:
            least, most = values.min(axis=0), values.max(axis=0)
            axes.fill_between(epochs, least, most, alpha=0.2, color=line.get_color(), linewidth=0)
        lines[label] = line
        drawn.append(values.ravel())
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    drawn = np.concatenate(drawn)
    if np.any(drawn == 0) and np.all(drawn >= 0):
        # A linear part below the smallest value has room for 0.
        positive = drawn[drawn > 0]
        threshold = positive.min() if positive.size else 0.01
        axes.set_yscale("symlog", linthresh=threshold, linscale=0.2)
        axes.set_ylim(0, None if positive.size else 0.1)
    else:
        axes.set_yscale("log", nonpositive="mask")
        least, most = drawn.min(), drawn.max()
        if 0 < most < 1.5 * least:  # as of one epoch: room for some ticks
            axes.set_ylim(least / 1.2, most * 1.2)
    axes.grid(alpha=0.3)
    return lines


class _Ticks(LogLocator):
    """Ticks of a logarithmic axis, and one at 0 if the axis has a linear part."""

    def __call__(self):
        least, most = self.axis.get_view_interval()
        if least > 0:
            return super().__call__()
        threshold = self.axis.get_transform().linthresh
        return [0, *(tick for tick in self.tick_values(threshold, most) if tick >= threshold)]


def _number(axes, *, in_percent: bool):
    least, most = axes.get_ylim()
    is_wide = most > 5 * least  # enough for several ticks at 1, 2, 5, 10
    narrow = MaxNLocator(8, steps=[1, 2, 5, 10])
    axes.yaxis.set_major_locator(_Ticks(subs=(1, 2, 5)) if is_wide else narrow)
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{100 * value:.3g} %" if in_percent else f"{value:.4g}"
    )
    axes.yaxis.set_minor_formatter(NullFormatter())


def latent_map(codes: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Codes `(n, size)` in the plane, coloured by class. Longer codes are projected by PCA.

    Args:
      codes: The codes.
      labels: The class of each code `(n,)`.
      names: The names of the classes.
    """
    first, second = "code 1", "code 2"
    if codes.shape[1] > 2:
        codes = codes - codes.mean(axis=0)
        _, _, axes = np.linalg.svd(codes, full_matrices=False)
        codes = codes @ axes[:2].T
        first, second = (f"{which} principal axis of the codes" for which in ("first", "second"))
    if codes.shape[1] == 1:
        codes = np.stack([codes[:, 0], np.zeros(len(codes))], axis=1)
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    columns = -(-len(names) // 25)
    figure.set_size_inches(5 + columns * (0.07 * max(map(len, names)) + 0.5), 5)
    for label, (name, colour) in enumerate(zip(names, colours(len(names)), strict=True)):
        x, y = codes[labels == label].T
        axes.scatter(x, y, s=6, color=[colour], label=name)
    axes.set(xlabel=first, ylabel=second)
    figure.legend(markerscale=2, fontsize=8, loc="outside right center", ncols=columns)
    return figure
