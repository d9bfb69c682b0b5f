"""Padding made even: the positions that meet are the same, and only added ones are left out."""

import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.gpu._even_padding import _more_taps, even_padding, is_trivial
from tests.algorithms.meetings import lines, meetings, only
from tests.algorithms.problems import geometry_of


def unevenly_padded(geometry):
    """Whether cuDNN would read other elements if it padded both sides as the low one."""
    axis = only(geometry)
    rest = axis.i + 2 * axis.lo - axis.d * (axis.r - 1) - 1 - axis.s * (axis.p - 1)
    return not 0 <= rest < axis.s


@pytest.mark.parametrize(("n", "c", "o"), [(1, 1, 1), (64, 256, 1), (64, 1, 256), (9, 99, 99)])
@pytest.mark.parametrize("is_forward", [True, False])
def test_what_is_even_meets_the_same(is_forward, n, c, o):
    """With many channels on one side, another way is the cheapest."""
    for geometry in lines(input_dilation=(1,)):
        slot = Slot.OUTPUT if is_forward else Slot.KERNEL
        even = even_padding(Problem(slot, geometry, n, c, o), is_forward=is_forward)
        ((taps, taps_behind),), ((front, behind),) = even.taps, even.positions
        axis, new = only(geometry), only(even.geometry)
        if min(geometry.padding[0]) < 0 or not unevenly_padded(geometry):
            assert (taps, taps_behind, front, behind) == (0, 0, 0, 0), geometry
        if min(geometry.padding[0]) < 0:
            assert even.geometry == geometry
        assert (new.r, new.p) == (axis.r + taps + taps_behind, axis.p + front + behind)
        found = {(i, r - taps, p - front) for i, r, p in meetings(new)}
        own = {(i, r, p) for i, r, p in found if 0 <= r < axis.r and 0 <= p < axis.p}
        assert own == meetings(axis), geometry
        assert not (is_forward and taps + taps_behind)
        if even.geometry != geometry:
            lo, hi = even.geometry.padding[0]
            assert lo == hi >= 0
            assert not unevenly_padded(even.geometry), geometry


def test_the_fewest_zero_taps_that_make_padding_even():
    """In front of the kernel or behind it; none do if no number leaves less than a stride."""
    for geometry in lines(input_dilation=(1,)):
        axis = only(geometry)
        last = axis.s * (axis.p - 1) + 1 + axis.d * (axis.r - 1)
        # A tap in front pads both sides by d more, and lengthens the kernel by d.
        left = {taps: axis.i + 2 * axis.lo - last + axis.d * taps for taps in range(-20, 21)}
        fitting = [taps for taps, rest in left.items() if 0 <= rest < axis.s]
        expected = None
        if fitting:
            fewest = min(fitting, key=abs)
            expected = (max(fewest, 0), max(-fewest, 0))
        assert _more_taps(axis) == expected, geometry


def test_each_way_is_the_cheapest_somewhere():
    """Taps cost operations, positions a pass over y, and uneven padding a pass over x."""
    geometry = geometry_of((900,), (2,), 1, ((1, 0),))
    dilated = geometry_of((900,), (9,), 1, ((1600, 0),), 1, 200)

    def way(geometry, n, c, o, is_forward):
        problem = Problem(Slot.OUTPUT, geometry, n, c, o)
        even = even_padding(problem, is_forward=is_forward)
        return even.geometry != geometry, any(even.taps[0]), any(even.positions[0])

    assert way(geometry, 8, 8, 64, False) == (True, True, False)
    assert way(geometry, 8, 64, 8, True) == (True, False, True)
    assert way(geometry, 8, 8, 64, True) == (False, False, False)
    assert way(dilated, 8, 512, 8, True) == (True, False, True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (((4, 5), (1, 1)), True),
        (((4, 5), (1, 2)), False),
        (((4, 5), (1, 1), (1, 2)), False),
        (((4, 5), (1, 1), 1, ((0, 0), (0, 1))), False),
        (((4, 5), (1, 1), 1, "VALID", (2, 1)), False),
        (((4, 5), (1, 1), 1, "VALID", 1, 3), True),  # a single tap has no dilation
    ],
)
def test_which_axes_do_nothing(options, expected):
    assert is_trivial(geometry_of(*options)) == expected
