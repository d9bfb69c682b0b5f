"""Which geometries can be taken apart into phases, and what is said of the others."""

import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.shared._phases import MAX_TAPS, why_not_by_phases
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
