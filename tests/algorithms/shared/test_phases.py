"""Which geometries can be taken apart into phases, and what is said of the others."""

import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.shared._phases import MAX_TAPS, phases_of, why_not_by_phases
from tests.algorithms.meetings import lines, meetings, only
from tests.algorithms.problems import geometry_of

# Input, window, strides, padding, input dilation, kernel dilation; what is said.
GEOMETRIES = [
    ((9, 8), (4, 3), (2, 1), 1, 1, 1, ""),
    ((9, 8), (4, 3), (1, 2), 1, 1, 1, ""),
    ((9, 8), (4, 3), 1, 1, (2, 1), 1, ""),
    ((9, 8), (4, 3), (2, 1), 1, (1, 2), 1, ""),
    ((9, 8), (4, 3), 1, 1, 1, 2, "there are neither strides nor input dilation"),
    ((9, 8), (4, 3), (1, 2), 1, (1, 2), 1, "an axis has both a stride and input dilation"),
    ((3,), (2,), 2, ((5, -3),), 1, 1, "nothing but padding is met"),
]


@pytest.mark.parametrize(("case", "said"), [(case, said) for *case, said in GEOMETRIES])
def test_what_can_be_taken_apart(case, said):
    geometry = geometry_of(*case, 1)
    assert why_not_by_phases(Problem(Slot.OUTPUT, geometry, 2, 1, 1)) == said


@pytest.mark.parametrize("stride", [MAX_TAPS, MAX_TAPS + 1])
def test_many_phases_are_unrolled_only_if_they_are_adjacent(stride):
    for dilation, are_adjacent in ((1, True), (2, False)):
        geometry = geometry_of((4 * stride,), (2 * stride,), stride, 0, 1, dilation, 1)
        said = why_not_by_phases(Problem(Slot.OUTPUT, geometry, 2, 1, 1))
        assert bool(said) == (stride > MAX_TAPS and not are_adjacent), (stride, dilation, said)


def phases_by_definition(axis):
    """Where each tap's elements lie, and which of them any phase needs and has."""
    splits = Slot.OUTPUT if axis.e > 1 else Slot.INPUT
    step, inner = (axis.e, axis.i) if splits is Slot.OUTPUT else (axis.s, axis.p)
    # Taps of one phase are so many apart that they move by whole steps.
    period = next(q for q in range(1, step + 1) if axis.d * q % step == 0)
    return splits, step, inner, period


@pytest.mark.parametrize("spacing", [((1, 2, 3), (1,)), ((1,), (2, 3))], ids=["strided", "dilated"])
def test_phases_meet_what_the_axis_meets(spacing):
    """Each meeting is one of a phase's, at stride 1, and no phase is longer than it must be."""
    for geometry in lines(*spacing):
        axis = only(geometry)
        phases, (splits, step, inner, period) = phases_of(axis), phases_by_definition(axis)
        assert (phases.splits, phases.step) == (splits, step)
        assert phases.dilation == axis.d * period // step
        assert len(phases.starts) == min(period, axis.r)
        assert phases.taps == -(-axis.r // period)
        split = axis.i if splits is Slot.INPUT else axis.p
        used = set()
        for i, r, p in meetings(axis):
            t, phase = divmod(r, period)
            mine, other, sign = (i, p, 1) if splits is Slot.INPUT else (p, i, -1)
            j = other + sign * phases.dilation * t
            assert step * j + phases.starts[phase] == mine, geometry
            used.add(j)
        assert all(phases.first <= j < phases.first + phases.length for j in used), geometry
        extra = phases.dilation * (phases.taps - 1)
        low = 0 if splits is Slot.INPUT else -extra
        needed = range(low, low + inner + extra)
        near = range(-30, 30)
        first = min(j for start in phases.starts for j in near if step * j + start >= 0)
        last = max(j for start in phases.starts for j in near if step * j + start < split)
        both = range(max(first, needed.start), min(last + 1, needed.stop))
        assert phases.length == len(both), geometry
        assert phases.first == both.start
        places = sorted(phases.starts)
        assert phases.are_adjacent == (
            len(places) > 1 and places[-1] - places[0] == len(set(places)) - 1
        )
