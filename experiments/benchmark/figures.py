"""The figure of the suite `ops`: a roofline plot, and bars of the speed relative to each peer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

Row = dict[str, Any]
CONTRACTIONS = {"F": "o", "DX": "s", "DW": "^"}  # the marks of single contractions
TOGETHER = ("DX+DW", "F+DX", "F+DX+DW")  # shown as bars if they were timed


def overview(record: Row) -> Figure:
    """The rates beside those of the machine, and the ratio to each peer.

    Args:
      record: The content of `benchmark.json`, with at least one row in `ops`.
    """
    rows = record["ops"]
    peers = sorted({name for row in rows for name in row["seconds"]} - {"jaxconv"})
    names = list(dict.fromkeys(row["case"] for row in rows))
    height = max(4.5, 1.5 + 0.22 * len(names))
    # The roofline shows single contractions only.
    marks = [row for row in rows if row["kind"] == "conv" and row["contraction"] in CONTRACTIONS]
    widths = [2] * bool(marks or not peers) + [1] * len(peers)
    figure = Figure(figsize=(3.5 * sum(widths), height), layout="constrained")
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    if len(widths) > len(peers):
        roofline(axes[0], marks, record["machine"])
    for axis, peer in zip(axes[len(widths) - len(peers) :], peers, strict=True):
        ratio_bars(axis, rows, names, peer)
    if peers:
        handles = axes[-1].get_legend_handles_labels()
        figure.legend(*handles, fontsize=8, loc="outside lower right", ncols=2)
    return figure


def roofline(axes: Axes, rows: Sequence[Row], machine: Row) -> None:
    """Operations per second over operations per byte, a mark for each contraction of each case."""
    intensities = [row["operations"] / row["bytes"] for row in rows] or [1.0]
    knee = machine["gemm"] / machine["bandwidth"]
    span = np.array([min(*intensities, knee) / 2, knee, max(*intensities, knee) * 2])
    roof = np.minimum(machine["gemm"], span * machine["bandwidth"])
    axes.plot(span, roof / 1e9, color="black", label="memory, matrix product")
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    mode = modes[0] if modes else "entry"  # the marks of several modes would overlap
    for peer, filled in (("jaxconv", True), ("autodiff", False)):
        for contraction, mark in CONTRACTIONS.items():
            points = [
                (row["operations"] / row["bytes"], row["operations"] / timing["median"] / 1e9)
                for row in rows
                if row["contraction"] == contraction and row["mode"] == mode
                for timing in [row["seconds"].get(peer)]
                if timing
            ]
            if points:
                colour = f"C{list(CONTRACTIONS).index(contraction)}"
                style = {"marker": mark, "edgecolors": colour, "label": f"{peer} {contraction}"}
                face = colour if filled else "none"
                axes.scatter(*zip(*points, strict=True), s=24, facecolors=face, **style)
    axes.set(xscale="log", yscale="log", title=f"Roofline, {mode}")
    axes.set(xlabel="operations per byte, at the least", ylabel="GFLOP/s")
    plain_numbers(axes.xaxis, axes.yaxis)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")


def ratio_bars(axes: Axes, rows: Sequence[Row], names: Sequence[str], peer: str) -> None:
    """The peer's time divided by ours, a bar for each case and mode."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    width = 0.8 / max(len(modes), 1)
    labels = [f"{name[:40]}  {_shown_contraction(rows, name)}" for name in names]
    for index, mode in enumerate(modes):
        ratios = [_ratio(rows, name, mode, peer) for name in names]
        places = np.arange(len(names)) + (index - (len(modes) - 1) / 2) * width
        # Bars begin at 1 on a logarithmic axis: to the right ours is faster.
        axes.barh(places, np.array(ratios) - 1, width, left=1, label=mode)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), labels, fontsize=8)
    axes.set(xscale="log", ylim=(len(names) - 0.5, -0.5), title=f"times faster than {peer}")
    plain_numbers(axes.xaxis)
    axes.grid(alpha=0.3, axis="x")


def plain_numbers(*logarithmic) -> None:
    """Ticks at 1, 2, 5, 10, … with plain numbers."""
    for axis in logarithmic:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())


def _shown_contraction(rows: Sequence[Row], name: str) -> str | None:
    """The contraction that the bar of a case shows: both gradients, or else the last one timed."""
    found = [row["contraction"] for row in rows if row["case"] == name]
    return next(
        (contraction for contraction in TOGETHER if contraction in found),
        found[-1] if found else None,
    )


def _ratio(rows: Sequence[Row], name: str, mode: str, peer: str) -> float:
    contraction = _shown_contraction(rows, name)
    for row in rows:
        if (row["case"], row["mode"], row["contraction"]) == (name, mode, contraction):
            seconds = row["seconds"]
            if peer in seconds and "jaxconv" in seconds:
                return seconds[peer]["median"] / seconds["jaxconv"]["median"]
    return np.nan
