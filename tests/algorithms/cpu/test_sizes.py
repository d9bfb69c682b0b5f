"""How algorithms for CPUs cut their work up: strips, loops, blocks, circles and extra outputs.

Covers jaxconv/algorithms/cpu/_strips.py, jaxconv/algorithms/cpu/_taps.py,
jaxconv/algorithms/cpu/_stacked_taps.py, jaxconv/algorithms/cpu/_fourier.py,
jaxconv/algorithms/cpu/_extra_outputs.py.
"""

import math

import jax
import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms.cpu._blocks import BLOCK_ELEMENTS, block_size
from jaxconv.algorithms.cpu._extra_outputs import with_extra_outputs
from jaxconv.algorithms.cpu._fourier import circle
from jaxconv.algorithms.cpu._stacked_taps import outputs_inside
from jaxconv.algorithms.cpu._strips import _blocks, strip_length
from jaxconv.algorithms.cpu._taps import _DEPTHWISE_TERMS, TERMS, _loops, _pads_terms
from jaxconv.algorithms.shared._direct import as_forward
from tests.algorithms.meetings import lines, meetings, only
from tests.algorithms.problems import geometry_of


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 7])
def test_a_strip_is_about_as_long_as_a_window(window):
    """It divides the outputs of a row, and is no longer than four windows; the shorter of two."""
    for size in range(1, 40):
        geometry = geometry_of((9, size + window - 1), (2, window))
        fitting = [s for s in range(2, 4 * window + 1) if size % s == 0]
        length = strip_length(geometry)
        assert (length in fitting) if fitting else length == 0
        assert all((abs(length - window), length) <= (abs(s - window), s) for s in fitting)
        if length:
            seen = {strip // length for strip in range(length + window - 1)}
            assert _blocks(geometry) == len(seen)


@pytest.mark.parametrize(("is_depthwise", "most"), [(False, TERMS), (True, _DEPTHWISE_TERMS)])
def test_terms_are_added_up_in_few_loops_of_one_length(is_depthwise, most):
    for count in range(1, 60):
        loops = _loops(range(count), is_depthwise=is_depthwise)
        assert [term for loop in loops for term in loop] == list(range(count))
        assert len(loops) == math.ceil(count / most)
        lengths = [len(loop) for loop in loops]
        assert max(lengths) <= most
        assert max(lengths) - min(lengths) <= 1


def test_blocks_hold_what_the_caches_hold():
    half = BLOCK_ELEMENTS // 2
    assert block_size(1, 10 * BLOCK_ELEMENTS) == 1
    assert block_size(9, 10 * BLOCK_ELEMENTS) == 1  # not even one example fits
    assert block_size(3, half) == 3  # less than two blocks
    assert block_size(4, half) == 2
    assert block_size(5, half) == 2  # with a rest
    assert block_size(7, BLOCK_ELEMENTS // 5) == 7
    assert block_size(21, BLOCK_ELEMENTS // 5) == 3  # a divisor above half of five
    assert block_size(22, BLOCK_ELEMENTS // 5) == 5  # there is none
    assert block_size(24, BLOCK_ELEMENTS // 6) == 6


def test_nothing_wraps_around_the_smallest_circle():
    """Modulo its length, inputs and taps meet at one output, and only where they do on a line."""
    for geometry in lines((1,), (1,)):
        axis = only(geometry)
        (size,) = circle(geometry)

        def wraps(length, axis=axis):
            own = meetings(axis)
            around = {
                (i, r, p)
                for i in range(axis.i)
                for r in range(axis.r)
                for p in range(axis.p)
                if (i + axis.lo - p - axis.d * r) % length == 0
            }
            return around != own

        assert not wraps(size), geometry


def test_where_a_tap_meets_elements():
    for geometry in lines(input_dilation=(1,)):
        axis = only(geometry)
        for tap in range(axis.r):
            met = sorted(p for _, r, p in meetings(axis) if r == tap)
            assert list(outputs_inside(tap, axis)) == met, geometry


# Input, window, strides and padding; the groups, and whether the terms are padded in their loop.
PADDED = [
    (((9, 8), (3, 3), 1, 1), 32, True),
    (((9, 8), (3, 3), 1, 1), 31, False),
    (((9, 8), (3, 3), 2, 1), 4, True),
    (((9, 8), (3, 3), (1, 2), 1), 4, True),
    (((9, 8), (3, 4), 1, 1), 32, False),  # two loops
    (((9, 8), (9, 1), 1, ((1, 1), (0, 0))), 32, True),  # two taps see padding
    (((9, 8), (9, 1), 1, ((2, 1), (0, 0))), 32, False),
    (((9, 8), (1, 9), 1, ((0, 0), (1, 1))), 32, True),
    (((9, 8, 7), (3, 3, 1), 1, 0), 32, False),  # three axes
    (((9,), (3,), 1, 1), 32, True),
    (((4,), (2,), 2, ((2, 2),)), 32, False),  # an output that meets nothing
    (((2,), (3,), 2, ((0, 3),)), 32, False),  # a tap that does
]


@pytest.mark.parametrize(("options", "groups", "expected"), PADDED)
def test_when_terms_are_padded_in_their_loop(options, groups, expected):
    geometry = geometry_of(*options).with_groups(groups)
    kernel = jax.ShapeDtypeStruct((*geometry.window, 1, groups), "float32")
    assert _pads_terms(geometry, kernel) == expected
    for shape in ((1, 2 * groups), (2, groups)):
        other = jax.ShapeDtypeStruct((*geometry.window, *shape), "float32")
        assert not _pads_terms(geometry, other)


@pytest.mark.parametrize(
    ("slot", "options", "sizes"),
    [
        # One output more than the input has elements, on the axis where that is the least.
        ("y", ((32, 16), (3, 3), 1, 1), (33, 16)),
        ("y", ((16, 32), (3, 3), 1, 1), (16, 33)),
        ("x", ((32, 16), (3, 3), 1, 1), (33, 16)),
        # Where these are too many, one more on the longest axis.
        ("y", ((12, 16), (5, 5)), (8, 13)),
        ("y", ((16, 12), (5, 5)), (13, 8)),
        ("y", ((20, 20), (5, 5)), (16 + 1, 16)),
        ("k", ((16, 32), (3, 5), 1, 1), (3, 6)),
        ("y", ((15, 15), (4, 4)), (13, 12)),  # four of twelve are too many, …
        ("y", ((15, 15), (3, 3)), (16, 13)),  # … and three of thirteen are not
    ],
)
def test_extra_outputs(slot, options, sizes):
    slot, geometry = Slot(slot), geometry_of(*options)
    larger = as_forward(slot, with_extra_outputs(slot, geometry))
    assert larger.output_size == sizes
    for old, new in zip(as_forward(slot, geometry).axes(), larger.axes(), strict=True):
        assert new._replace(p=old.p) == old  # further outputs, and nothing else
        assert {m for m in meetings(new) if m[2] < old.p} == meetings(old)
