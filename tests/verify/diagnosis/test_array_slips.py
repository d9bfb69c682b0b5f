"""The slips in one array: all that are tried, each under its own name, and no others."""

from itertools import permutations

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


def _sums(label, shape, sets):
    for named, axes in sets.items():
        count = np.prod([shape[axis] for axis in axes])

        def total(a, axes=axes):
            return 0 * a + a.sum(axes, keepdims=True)

        yield f"{label} summed", f"summed over {named}", total
        yield f"{label} averaged", f"averaged over {named}", lambda a, f=total, n=count: f(a) / n


def _readings(label, rank):
    for order in list(permutations(range(rank)))[1:]:
        what = f"read in the order {order} of its axes"
        yield (
            f"{label} reshaped in place of transposed",
            what,
            lambda a, order=order: a.transpose(order).reshape(a.shape),
        )


def _shifts(slip, sets):
    for named, axes in sets.items():
        for step in (1, -1):
            yield (
                slip,
                f"shifted by {step:+d} along {named}",
                lambda a, axes=axes, step=step: shifted(a, axes, step),
            )


def _flips(label, sets):
    for named, axes in sets.items():
        yield f"{label} flipped", f"flipped along {named}", lambda a, axes=axes: np.flip(a, axes)


def _rolls(label, axes):
    for axis in axes:
        for step in (1, -1):
            what = f"rolled by {step:+d} along axis {axis}"
            yield (
                f"{label} shifted by one",
                what,
                lambda a, step=step, axis=axis: np.roll(a, step, axis),
            )


def _groups(counts):
    for n in counts:
        yield (
            "channel groups interleaved",
            f"with the channels of its {n} groups interleaved",
            lambda a, n=n: groups(a, n).swapaxes(-1, -2).reshape(a.shape),
        )
        yield (
            "channel groups exchanged",
            f"with its {n} groups of channels in reverse order",
            lambda a, n=n: groups(a, n)[..., ::-1, :].reshape(a.shape),
        )


AXES = {f"axis {axis}": (axis,) for axis in range(4)}
PLANE, BUT_CHANNELS, ALL = {"axes 1, 2": (1, 2)}, {"axes 0, 1, 2": (0, 1, 2)}, (0, 1, 2, 3)

# The shape of an array, whether it is a kernel, and all slips in it, in their order.
ALL_SLIPS = {
    "a map": (
        (2, 3, 3, 4),
        False,
        [
            (
                "spatial axes transposed",
                "with axes 1 and 2 exchanged",
                lambda a: a.swapaxes(1, 2),
            ),
            *_shifts("padding off by one", {"axis 1": (1,), "axis 2": (2,), "axes 1, 2": (1, 2)}),
            *_shifts("bar shifted by one", {"axis 0": (0,), "axis 3": (3,)}),
            *_flips("bar", AXES | PLANE),
            *_rolls("bar", (1, 2, 3)),
            *_groups([2]),
            *_sums("bar", (2, 3, 3, 4), AXES | PLANE | BUT_CHANNELS | {"axes 0, 1, 2, 3": ALL}),
            *_readings("bar", 4),
        ],
    ),
    "a kernel": (
        (1, 3, 2, 2),
        True,
        [
            ("kernel not rotated", "reversed along axis 1", lambda a: a[:, ::-1]),
            (
                "kernel not rotated, channel axes not exchanged",
                "reversed along axis 1, with its channel axes exchanged",
                lambda a: a[:, ::-1].swapaxes(2, 3),
            ),
            (
                "channel axes not exchanged",
                "with its last two axes exchanged",
                lambda a: a.swapaxes(2, 3),
            ),
            *_shifts("padding off by one", {"axis 1": (1,)}),
            *_shifts("bar shifted by one", {"axis 2": (2,), "axis 3": (3,)}),
            *_flips("bar", {"axis 1": (1,), "axis 2": (2,), "axis 3": (3,)}),
            *_rolls("bar", (1,)),
            *_sums(
                "bar",
                (1, 3, 2, 2),
                {
                    **{"axis 1": (1,), "axis 2": (2,), "axis 3": (3,), "axes 1, 2": (1, 2)},
                    **{"axes 0, 1, 2": (0, 1, 2), "axes 0, 1, 2, 3": ALL},
                },
            ),
            *_readings("bar", 4),
        ],
    ),
    "a kernel with other channels": (
        (2, 2, 1, 3),
        True,
        [
            ("kernel not rotated", "rotated by 180°", lambda a: a[::-1, ::-1]),
            (
                "spatial axes transposed",
                "with axes 0 and 1 exchanged",
                lambda a: a.swapaxes(0, 1),
            ),
            *_shifts("padding off by one", {"axis 0": (0,), "axis 1": (1,), "axes 0, 1": (0, 1)}),
            *_shifts("bar shifted by one", {"axis 3": (3,)}),
            *_flips("bar", {"axis 0": (0,), "axis 1": (1,), "axis 3": (3,), "axes 0, 1": (0, 1)}),
            *_rolls("bar", (3,)),
            *_sums(
                "bar",
                (2, 2, 1, 3),
                {
                    **{"axis 0": (0,), "axis 1": (1,), "axis 3": (3,), "axes 1, 2": (1, 2)},
                    **{"axes 0, 1, 2": (0, 1, 2), "axes 0, 1, 2, 3": ALL},
                },
            ),
            *_readings("bar", 4),
        ],
    ),
    "a matrix": (
        (3, 3),
        True,
        [
            ("matrix not transposed", "with its last two axes exchanged", lambda a: a.T),
            *_shifts("bar shifted by one", {"axis 0": (0,), "axis 1": (1,)}),
            *_flips("bar", {"axis 0": (0,), "axis 1": (1,)}),
            *_rolls("bar", (0, 1)),
            *_sums("bar", (3, 3), {"axis 0": (0,), "axis 1": (1,), "axes 0, 1": (0, 1)}),
            *_readings("bar", 2),
        ],
    ),
    "a vector": (
        (2,),
        False,
        [
            *_shifts("bar shifted by one", {"axis 0": (0,)}),
            *_flips("bar", {"axis 0": (0,)}),
            *_sums("bar", (2,), {"axis 0": (0,)}),
        ],
    ),
    "many channels": (
        (1, 24),
        False,
        [
            *_shifts("bar shifted by one", {"axis 1": (1,)}),
            *_flips("bar", {"axis 1": (1,)}),
            *_rolls("bar", (1,)),
            *_groups([2, 3, 4, 6, 8]),  # 12 groups are too many
            *_sums("bar", (1, 24), {"axis 1": (1,), "axes 0, 1": (0, 1)}),
            *_readings("bar", 2),
        ],
    ),
    "a line": (
        (2, 3, 1),
        False,
        [
            *_shifts("padding off by one", {"axis 1": (1,)}),
            *_shifts("bar shifted by one", {"axis 0": (0,)}),
            *_flips("bar", {"axis 0": (0,), "axis 1": (1,)}),
            *_rolls("bar", (1,)),
            *_sums(
                "bar",
                (2, 3, 1),
                {"axis 0": (0,), "axis 1": (1,), "axes 0, 1": (0, 1), "axes 0, 1, 2": (0, 1, 2)},
            ),
            *_readings("bar", 3),
        ],
    ),
    "many axes": (
        (1, 1, 2, 1, 1),
        False,
        [
            *_shifts("padding off by one", {"axis 2": (2,)}),
            *_flips("bar", {"axis 2": (2,)}),
            *_sums(
                "bar",
                (1, 1, 2, 1, 1),
                {
                    "axis 2": (2,),
                    "axes 1, 2, 3": (1, 2, 3),
                    "axes 0, 1, 2, 3": ALL,
                    "axes 0, 1, 2, 3, 4": (0, 1, 2, 3, 4),
                },
            ),
        ],
    ),
    "a number": ((), False, []),
}


@pytest.mark.parametrize("name", ALL_SLIPS)
def test_these_slips_are_tried_and_no_others(name):
    shape, is_kernel, expected = ALL_SLIPS[name]
    array = np.random.default_rng(0).normal(size=shape)
    order = (*range(1, len(shape)), 0) if shape else ()
    for layout in (Layout(is_kernel), Layout(is_kernel, order)):
        kind = "*window, c, o" if is_kernel else "n, *spatial, c"
        said = "" if layout.order is None else f", its axes in the order {kind}"
        found = list(changes(layout.own(array), "bar", layout))
        assert [(slip, what) for slip, what, _ in found] == [
            (slip, what + said) for slip, what, _ in expected
        ]
        for (_, what, actual), (*_, change) in zip(found, expected, strict=True):
            assert actual.shape == layout.own(array).shape
            np.testing.assert_allclose(
                layout.usual(actual), change(array), rtol=1e-14, err_msg=what
            )
        few = list(moved(layout.own(array), "bar", layout))
        lost = ("bar summed", "bar averaged", "bar reshaped in place of transposed")
        assert len(few) == sum(slip not in lost for slip, *_ in expected)
        for one, other in zip(few, found, strict=False):
            assert one[:2] == other[:2]


def test_borders_have_their_words():
    for layout, named in ((Layout(), ("1", "2", "1, 2")), (Layout(True), ("0", "1", "0, 1"))):
        said = [
            f"with its {side} row along {'axis' if len(axes) == 1 else 'axes'} {axes} set to zero"
            for axes in named
            for side in ("last", "first")
        ]
        assert [what for what, _ in without_border(np.ones(MAP), layout)] == said
    assert len(list(without_border(np.ones((2, 3, 4)), Layout()))) == 2
    assert not list(without_border(np.ones((3, 4)), Layout()))
