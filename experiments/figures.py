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
    _draw_curves(axes, curves, ylabel)
    _in_percent(axes)
    axes.legend()
    return figure


def compared(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], *, fractions: Sequence[str] = ()
) -> Figure:
    """Learning curves of several runs, a panel a measure; a run has one colour in all panels.

    Args:
      panels: For each measure, for each run, an array `(seeds, epochs)`.
      fractions: The measures that are shown in percent.
    """
    labels = list(dict.fromkeys(label for curves in panels.values() for label in curves))
    # Matplotlib's ten colours, then the same ones dashed, dotted, and so on.
    styles = {
        label: {"color": f"C{place % 10}", "linestyle": ("-", "--", ":", "-.")[place // 10 % 4]}
        for place, label in enumerate(labels)
    }
    figure = Figure(figsize=(6 * len(panels) + 2, 4), layout="constrained")
    for axes, (measure, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False).flat, panels.items(), strict=True
    ):
        _draw_curves(axes, curves, measure, styles)
        (_in_percent if measure in fractions else _in_plain_numbers)(axes)
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _draw_curves(axes, curves, ylabel, styles=None):
    for label, values in curves.items():
        values, style = np.asarray(values), (styles or {}).get(label, {})
        epochs = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(epochs, values.mean(axis=0), marker=".", label=label, **style)
        if len(values) > 1:
            least, most = values.min(axis=0), values.max(axis=0)
            axes.fill_between(epochs, least, most, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawn = np.concatenate([np.mean(values, axis=0) for values in curves.values()])
    if np.any(drawn == 0) and np.all(drawn >= 0):  # no image was wrong: zero gets a place below
        positive = drawn[drawn > 0]
        threshold = positive.min() if positive.size else 0.01
        axes.set_yscale("symlog", linthresh=threshold, linscale=0.2)
        axes.set_ylim(0, None if positive.size else 0.1)
    else:
        axes.set_yscale("log", nonpositive="mask")
    axes.grid(alpha=0.3)


def _in_percent(axes):
    axes.yaxis.set_major_locator(_Ticks(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.yaxis.set_minor_formatter(NullFormatter())


class _Ticks(LogLocator):
    """Ticks of a logarithmic axis, and one at zero where it has a place."""

    def __call__(self):
        least, most = self.axis.get_view_interval()
        if least > 0:
            return super().__call__()
        threshold = self.axis.get_transform().linthresh
        return [0, *(tick for tick in self.tick_values(threshold, most) if tick >= threshold)]


def _in_plain_numbers(axes):
    least, most = axes.get_ylim()
    is_wide = most > 5 * least  # with a few ticks of 1, 2, 5, 10 in it
    narrow = MaxNLocator(8, steps=[1, 2, 5, 10])
    axes.yaxis.set_major_locator(_Ticks(subs=(1, 2, 5)) if is_wide else narrow)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def reconstructions(originals: np.ndarray, by: Mapping[str, np.ndarray]) -> Figure:
    """Images in a row, and below each its reconstructions.

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
    """Images `(n, h, w, c)` side by side, row by row."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.6 * columns, 0.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for place, image in zip(axes.flat, images, strict=False):
        _show(place, image)
    return figure


def filters(kernel: np.ndarray) -> Figure:
    """The windows of a first layer `(h, w, c, o)`: blue is negative, red positive, white 0."""
    *_, channels, features = kernel.shape
    columns = min(features, 8)
    rows = -(-features // columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows), layout="constrained")
    limit = np.abs(kernel).max() or 1
    axes = figure.subplots(rows, columns, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for place, window in zip(axes.flat, np.moveaxis(kernel, -1, 0), strict=False):
        place.imshow(window.mean(axis=-1), cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure


def latent_map(codes: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Figure:
    """Codes `(n, size)` in the plane, coloured by class; larger ones by their two main axes."""
    first, second = "code 1", "code 2"
    if codes.shape[1] > 2:
        codes = codes - codes.mean(axis=0)
        _, _, axes = np.linalg.svd(codes, full_matrices=False)
        codes = codes @ axes[:2].T
        first, second = (f"{which} principal axis of the codes" for which in ("first", "second"))
    if codes.shape[1] == 1:
        codes = np.stack([codes[:, 0], np.zeros(len(codes))], axis=1)
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    for label, name in enumerate(names):
        x, y = codes[labels == label].T
        axes.scatter(x, y, s=6, color=f"C{label % 10}", label=name)
    axes.set(xlabel=first, ylabel=second)
    axes.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def channels_drawn(channels: int) -> str | None:
    """What is shown of images that have other channels than grey or red, green, blue."""
    if channels in (1, 3):
        return None
    if channels == 4:
        return "the first three of 4 channels, as red, green and blue"
    return f"the mean of the images' {channels} channels, as grey"


def _show(axes, image):
    """An image `(h, w, c)` in [0, 1]; grey as ink on paper."""
    image = np.clip(image, 0, 1)
    if image.shape[-1] == 4:
        image = image[..., :3]
    elif image.shape[-1] != 3:
        image = image.mean(axis=-1, keepdims=True)
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray_r", vmin=0, vmax=1)
    else:
        axes.imshow(image)
    axes.set_axis_off()
