"""Each slip in one array is among those that are tried, under its own name."""

import numpy as np
import pytest

from jaxconv.verify.diagnosis._array_slips import Layout, changes, moved, without_border

MAP, KERNEL = (3, 4, 4, 6), (2, 3, 4, 4)


def shifted(a, axes, step):
    """Moved by one along axes, with zeros at the end."""
    for axis in axes:
        a = np.moveaxis(a, axis, 0)
        zero = np.zeros_like(a[:1])
        a = np.concatenate([zero, a[:-1]] if step > 0 else [a[1:], zero])
        a = np.moveaxis(a, 0, axis)
    return a


def groups(a, count):
    return a.reshape(*a.shape[:-1], count, -1)


# A name, the shape of an array, and what the slip makes of it.
SLIPS = [
    ("kernel not rotated", KERNEL, lambda a: a[::-1, ::-1]),
    ("kernel not rotated", (1, 3, 4, 2), lambda a: a[:, ::-1]),
    (
        "kernel not rotated, channel axes not exchanged",
        KERNEL,
        lambda a: a[::-1, ::-1].swapaxes(2, 3),
    ),
    (
        "kernel not rotated, channel axes not exchanged",
        (3, 4, 4),
        lambda a: a[::-1].swapaxes(1, 2),
    ),
    ("channel axes not exchanged", KERNEL, lambda a: a.swapaxes(2, 3)),
    ("matrix not transposed", (4, 4), lambda a: a.T),
    ("spatial axes transposed", MAP, lambda a: a.swapaxes(1, 2)),
    ("axes transposed", (4, 3, 2, 4), lambda a: a.swapaxes(0, 3)),
    *(
        ("padding off by one", MAP, lambda a, s=step, axes=axes: shifted(a, axes, s))
        for step in (1, -1)
        for axes in [(1,), (2,), (1, 2)]
    ),
    ("padding off by one", KERNEL, lambda a: shifted(a, (0, 1), -1)),
    *(
        ("gradient shifted by one", MAP, lambda a, s=step, axis=axis: shifted(a, (axis,), s))
        for step in (1, -1)
        for axis in (0, 3)
    ),
    *(("gradient shifted by one", (3, 2), lambda a, s=step: np.roll(a, s, 0)) for step in (1, -1)),
    *(("gradient flipped", MAP, lambda a, axis=axis: np.flip(a, axis)) for axis in range(4)),
    ("gradient flipped", MAP, lambda a: a[:, ::-1, ::-1]),
    *(
        (
            "channel groups interleaved",
            MAP,
            lambda a, n=count: groups(a, n).swapaxes(-1, -2).reshape(a.shape),
        )
        for count in (2, 3)
    ),
    *(
        (
            "channel groups exchanged",
            MAP,
            lambda a, n=count: groups(a, n)[..., ::-1, :].reshape(a.shape),
        )
        for count in (2, 3)
    ),
    *(
        slip
        for axes in [(0,), (1,), (2,), (3,), (1, 2), (0, 1, 2), (0, 1, 2, 3)]
        for slip in [
            ("gradient summed", MAP, lambda a, axes=axes: 0 * a + a.sum(axes, keepdims=True)),
            ("gradient averaged", MAP, lambda a, axes=axes: 0 * a + a.mean(axes, keepdims=True)),
        ]
    ),
    (
        "gradient reshaped in place of transposed",
        MAP,
        lambda a: a.transpose(3, 0, 1, 2).reshape(a.shape),
    ),
    ("gradient reshaped in place of transposed", (2, 3), lambda a: a.T.reshape(a.shape)),
]
# The axes of a map and of a kernel in the order of another library.
ORDERS = {False: (0, 2, 3, 1), True: (2, 3, 1, 0)}


@pytest.mark.parametrize("ordered", [False, True])
def test_slips_have_their_names(ordered):
    for name, shape, slip in SLIPS:
        is_kernel = shape == KERNEL or name.startswith("kernel")
        order = ORDERS[is_kernel] if ordered and len(shape) == 4 else None
        layout = Layout(is_kernel, order)
        array = np.random.default_rng(0).normal(size=shape)
        names = {
            found
            for found, _, candidate in changes(layout.own(array), "gradient", layout)
            if candidate.shape == layout.own(array).shape
            and np.allclose(layout.usual(candidate), slip(array), rtol=1e-14)
        }
        assert name in names, (name, shape, names)


def test_what_is_moved_loses_elements_at_a_border_alone():
    for shape, is_kernel in ((MAP, False), (KERNEL, True), ((5,), False), ((), False)):
        array = np.arange(1, 1 + np.prod(shape, dtype=float)).reshape(shape)
        for name, said, candidate in moved(array, "gradient", Layout(is_kernel)):
            assert not np.array_equal(candidate, array), said
            kept = np.sort(candidate[candidate != 0])
            if "off by one" in name or said.startswith("shifted"):
                assert set(kept) < set(array.ravel())
                assert len(kept) == len(set(kept))
            else:
                np.testing.assert_array_equal(kept, array.ravel())


def test_rows_at_a_border_are_set_to_zero():
    array = np.ones(MAP)
    expected = {}
    for axes in [(1,), (2,), (1, 2)]:
        for side, index in (("last", -1), ("first", 0)):
            cut = array.copy()
            if 1 in axes:
                cut[:, index] = 0
            if 2 in axes:
                cut[:, :, index] = 0
            expected[side, axes] = cut
    found = [cut for _, cut in without_border(array, Layout())]
    assert len(found) == len(expected)
    for cut, wanted in zip(found, expected.values(), strict=True):
        np.testing.assert_array_equal(cut, wanted)
