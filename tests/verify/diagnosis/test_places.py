"""What is said of the places of wrong elements: the axis, the border or the index they share."""

import numpy as np
import pytest

from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.diagnosis._places import batch_size, is_kernel, where


def problem(arguments, results):
    leaves, outputs = (
        tuple(Leaf(str(i), i, shape, np.float64, 0) for i, shape in enumerate(shapes))
        for shapes in (arguments, results)
    )
    return Problem("f", lambda: (), leaves, outputs, (), np.zeros(0))


MAP, KERNEL, RESULT = (2, 5, 4, 3), (3, 1, 3, 7), (2, 5, 4, 7)
CONV = problem([MAP, KERNEL, (7,)], [RESULT])
DENSE = problem([(4, 6), (6, 3)], [(4, 3)])
POOL = problem([(3, 5, 4, 1)], [(3, 5, 4, 1)])
LOW = problem([(2, 2, 4, 3)], [(2, 2, 4, 3)])  # both rows are at the border
LINE = problem([(2, 9, 4), (5, 4, 3)], [(2, 9, 3)])

# A problem, the position of an argument, an index of the wrong elements, and what is said.
SAID = [
    (CONV, 0, np.s_[:], "all elements"),
    (CONV, 0, np.s_[1], "60 of 120 elements, all at row 1 of the batch (axis 0)"),
    (CONV, 0, np.s_[..., 2], "40 of 120 elements, all at channel 2 (axis 3)"),
    (CONV, 0, np.s_[:, 3], "24 of 120 elements, all at position 3 along axis 1"),
    (
        CONV,
        0,
        np.s_[:, 3, :, 0],
        "8 of 120 elements, all at position 3 along axis 1, channel 0 (axis 3)",
    ),
    (CONV, 0, np.s_[1, 4, 0, 2], "1 of 120 elements, at [1, 4, 0, 2]"),
    (CONV, 0, np.s_[:, ::4], "48 of 120 elements, all on the border of axes 1, 2"),
    (CONV, 0, np.s_[:, :, ::3], "60 of 120 elements, all on the border of axes 1, 2"),
    (CONV, 0, np.s_[:, 1:3], "48 of 120 elements, all at indices 1, 2 of axis 1"),
    (CONV, 0, np.s_[:, :, 1:3], "60 of 120 elements, all at indices 1, 2 of axis 2"),
    (
        CONV,
        0,
        np.s_[:, 1:3, 1:3],
        "24 of 120 elements, all at indices 1, 2 of axis 1, indices 1, 2 of axis 2",
    ),
    (CONV, 0, np.s_[:, 1:], "96 of 120 elements"),
    (CONV, 1, np.s_[2], "21 of 63 elements, all at tap 2 along axis 0"),
    (CONV, 1, np.s_[:, 0, 1], "21 of 63 elements, all at index 1 of axis 2"),
    (CONV, 1, np.s_[2, :, 1, 4], "1 of 63 elements, at [2, 0, 1, 4]"),
    (CONV, 1, np.s_[::2], "42 of 63 elements, all on the border of axes 0"),
    (CONV, 1, np.s_[..., 4:], "27 of 63 elements, all at indices 4, 5, 6 of axis 3"),
    (CONV, 1, np.s_[..., 3:], "36 of 63 elements"),
    (CONV, 2, np.s_[2], "1 of 7 elements, at [2]"),
    (CONV, 2, np.s_[2:4], "2 of 7 elements, all at indices 2, 3 of axis 0"),
    (DENSE, 0, np.s_[2], "6 of 24 elements, all at row 2 of the batch (axis 0)"),
    (DENSE, 0, np.s_[:, 2], "4 of 24 elements, all at channel 2 (axis 1)"),
    (DENSE, 0, np.s_[::3], "12 of 24 elements, all at indices 0, 3 of axis 0"),
    (DENSE, 1, np.s_[2], "3 of 18 elements, all at index 2 of axis 0"),
    (POOL, 0, np.s_[::2, 1:4], "24 of 60 elements"),
    (LOW, 0, np.s_[:, :, 1:3, :2], "16 of 48 elements, all at indices 1, 2 of axis 2"),
    (LINE, 0, np.s_[:, 4], "8 of 72 elements, all at position 4 along axis 1"),
    (LINE, 0, np.s_[:, ::8], "16 of 72 elements, all on the border of axes 1"),
    (LINE, 1, np.s_[4], "12 of 60 elements, all at tap 4 along axis 0"),
]


@pytest.mark.parametrize(
    ("of", "position", "index", "said"),
    SAID,
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)
def test_places_have_their_words(of, position, index, said):
    leaf = of.leaves[position]
    is_wrong = np.zeros(leaf.shape, bool)
    is_wrong[index] = True
    assert where(is_wrong.ravel(), leaf, of) == said


def test_many_indices_are_cut_short():
    of = problem([(20,)], [(20,)])
    is_wrong = np.isin(np.arange(20), [1, 2, 3, 5, 8, 13, 17])
    said = "7 of 20 elements, all at indices 1, 2, 3, 5, 8, 13, ... of axis 0"
    assert where(is_wrong, of.leaves[0], of) == said
    is_wrong[17] = False
    said = "6 of 20 elements, all at indices 1, 2, 3, 5, 8, 13 of axis 0"
    assert where(is_wrong, of.leaves[0], of) == said


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_element_has_no_place(shape):
    of = problem([shape], [(2,)])
    assert where(np.ones(1, bool), of.leaves[0], of) == "the only element"


def test_batch_is_the_first_axis_that_an_argument_and_a_result_share():
    assert batch_size(CONV) == 2
    assert batch_size(problem([(6, 3), (4, 6)], [(4, 3)])) == 4
    assert batch_size(problem([(5,), (3, 2)], [(5,)])) == 3  # a vector has no batch
    assert batch_size(problem([(3, 2), (4, 2)], [()])) == 3  # a loss
    assert batch_size(problem([(5,), ()], [(5,)])) == 0
    assert [is_kernel(leaf, CONV) for leaf in CONV.leaves] == [False, True, False]
    assert [is_kernel(leaf, DENSE) for leaf in DENSE.leaves] == [False, True]
