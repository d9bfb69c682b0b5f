"""Slips in one array: its elements moved, summed or reordered."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from .. import _constants

# The name of a slip, a description of the changed array, and the array.
Change = tuple[str, str, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """The meaning of the axes of an array.

    Attributes:
      is_kernel: Whether it is a kernel, `(*window, c, o)`, and not a feature map, `(n, *spatial,
        c)`.
      order: The axes of the array in that order; None if they are in it.
    """

    is_kernel: bool = False
    order: tuple[int, ...] | None = None

    def usual(self, array: np.ndarray) -> np.ndarray:
        """The array with its axes in the usual order."""
        return array if self.order is None else np.transpose(array, self.order)

    def own(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `usual`."""
        return array if self.order is None else np.transpose(array, np.argsort(self.order))


def changes(array: np.ndarray, label: str, layout: Layout) -> Iterator[Change]:
    """Every slip in one array, the simplest first.

    Args:
      array: The array.
      label: "gradient" or "cotangent", for the name of the slip.
      layout: The meaning of its axes.
    """
    yield from moved(array, label, layout)
    yield from _each(layout, _summed(layout.usual(array), label))
    yield from _each(layout, _reshaped(layout.usual(array), label))


def moved(array: np.ndarray, label: str, layout: Layout) -> Iterator[Change]:
    """The slips that lose no element, except at a border."""
    yield from _each(layout, _moved(layout.usual(array), label, layout.is_kernel))


def without_border(array: np.ndarray, layout: Layout) -> Iterator[tuple[str, np.ndarray]]:
    """The array with the first or the last index of one or all spatial axes set to zero."""
    usual = layout.usual(array)
    cut = _without_border(usual, _spatial(usual, layout.is_kernel))
    yield from ((what, found) for _, what, found in _each(layout, cut))


def without_an_end(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The array with the last or the first index of one axis set to zero."""
    for axis, size in enumerate(array.shape):
        if size > 1:
            yield from ((what, cut) for _, what, cut in _without_border(array, (axis,)))


def _each(layout, found):
    said = "" if layout.order is None else ", its axes in the order n, *spatial, c"
    if layout.order is not None and layout.is_kernel:
        said = ", its axes in the order *window, c, o"
    for slip, what, array in found:
        yield slip, what + said, layout.own(array)


def _moved(array, label, is_kernel):
    if is_kernel:
        yield from _rotated(array)
    yield from _exchanged(array)
    yield from _shifted(array, label, is_kernel)
    yield from _flipped(array, label, is_kernel)
    yield from _rolled(array, label)
    yield from _grouped(array)


def _without_border(array, axes):
    sets = [(axis,) for axis in axes] + ([tuple(axes)] if len(axes) > 1 else [])
    for chosen in sets:
        for side, index in (("last", -1), ("first", 0)):
            cut = array.copy()
            for axis in chosen:
                np.moveaxis(cut, axis, 0)[index] = 0
            yield "", f"with its {side} row along {_named(chosen)} set to zero", cut


def _spatial(array, is_kernel):
    """The axes of an array of rank 3 or more that are neither batch nor channels."""
    if array.ndim < 3:
        return ()
    return tuple(range(array.ndim - 2) if is_kernel else range(1, array.ndim - 1))


def _rotated(array):
    axes = tuple(a for a in _spatial(array, True) if array.shape[a] > 1)
    if not axes:
        return
    rotated = np.flip(array, axes)
    rotation = "rotated by 180°" if len(axes) > 1 else f"reversed along {_named(axes)}"
    yield "kernel not rotated", rotation, rotated
    if array.shape[-2:-1] == array.shape[-1:]:
        yield (
            "kernel not rotated, channel axes not exchanged",
            f"{rotation}, with its channel axes exchanged",
            np.swapaxes(rotated, -1, -2),
        )


def _exchanged(array):
    """Two axes of the same size exchanged."""
    rank = array.ndim
    for a, b in combinations(reversed(range(rank)), 2):
        if array.shape[a] != array.shape[b] or array.shape[a] < 2:
            continue
        if a == rank - 1 and b == rank - 2:
            slip = "channel axes not exchanged" if rank > 2 else "matrix not transposed"
            yield slip, "with its last two axes exchanged", np.swapaxes(array, a, b)
        else:
            slip = "axes transposed" if a == rank - 1 else "spatial axes transposed"
            yield slip, f"with axes {b} and {a} exchanged", np.swapaxes(array, a, b)


def _shifted(array, label, is_kernel):
    """Shifted by one with zeros at the end; along spatial axes that is a wrong padding."""
    spatial = _spatial(array, is_kernel)
    sets = [(axis,) for axis in spatial] + ([spatial] if len(spatial) > 1 else [])
    others = [(axis,) for axis in range(array.ndim) if axis not in spatial]
    for axes in sets + others:
        slip = "padding off by one" if axes in sets else f"{label} shifted by one"
        for step in (1, -1):
            if all(array.shape[axis] > 1 for axis in axes):
                what = f"shifted by {step:+d} along {_named(axes)}"
                yield slip, what, _shift(array, axes, step)


def _shift(array, axes, step):
    for axis in axes:
        array = np.roll(array, step, axis)
        np.moveaxis(array, axis, 0)[0 if step > 0 else -1] = 0
    return array


def _flipped(array, label, is_kernel):
    sets: list[tuple[int, ...]] = [(axis,) for axis in range(array.ndim)]
    spatial = _spatial(array, is_kernel)
    if len(spatial) > 1:
        sets.append(spatial)
    for axes in sets:
        if all(array.shape[axis] > 1 for axis in axes):
            yield f"{label} flipped", f"flipped along {_named(axes)}", np.flip(array, axes)


def _rolled(array, label):
    for axis in range(array.ndim):
        for step in (1, -1):
            if array.shape[axis] > 2:
                what = f"rolled by {step:+d} along axis {axis}"
                yield f"{label} shifted by one", what, np.roll(array, step, axis)


def _grouped(array):
    """Groups of channels exchanged or interleaved."""
    if not array.ndim:
        return
    channels = array.shape[-1]
    for count in range(2, min(channels, _constants.SLIP_GROUPS + 1)):
        if channels % count:
            continue
        groups = array.reshape(*array.shape[:-1], count, channels // count)
        yield (
            "channel groups interleaved",
            f"with the channels of its {count} groups interleaved",
            np.swapaxes(groups, -1, -2).reshape(array.shape),
        )
        yield (
            "channel groups exchanged",
            f"with its {count} groups of channels in reverse order",
            groups[..., ::-1, :].reshape(array.shape),
        )


def _summed(array, label):
    """Every element replaced by a sum or a mean over some axes."""
    rank = array.ndim
    sets: list[tuple[int, ...]] = [(axis,) for axis in range(rank)]
    for axes in (tuple(range(1, rank - 1)), tuple(range(rank - 1)), tuple(range(rank))):
        if len(axes) > 1:
            sets.append(axes)
    for axes in sets:
        count = int(np.prod([array.shape[axis] for axis in axes]))
        if count > 1:
            total = np.broadcast_to(array.sum(axes, keepdims=True), array.shape)
            yield f"{label} summed", f"summed over {_named(axes)}", total
            yield f"{label} averaged", f"averaged over {_named(axes)}", total / count


def _reshaped(array, label):
    """A `reshape` in place of a transposition."""
    rank = array.ndim
    if not 2 <= rank <= _constants.SLIP_PERMUTED:
        return
    for order in permutations(range(rank)):
        if order != tuple(range(rank)):
            # The elements in the transposed order, read in the untransposed order.
            read = np.transpose(array, order).reshape(array.shape)
            yield (
                f"{label} reshaped in place of transposed",
                f"read in the order {order} of its axes",
                read,
            )


def _named(axes):
    return f"ax{'i' if len(axes) == 1 else 'e'}s {', '.join(map(str, axes))}"
