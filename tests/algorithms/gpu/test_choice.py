"""Which algorithm runs on GPUs, at both sides of each limit.

Covers jaxconv/algorithms/gpu/__init__.py.
"""

import pytest

from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.gpu import CATALOGUE, algorithm_for, choose
from tests.algorithms.problems import geometry_of

# Input, window and further options of a geometry; n, c and o; the algorithms of y, x and k.
CHOSEN = [
    # Products of matrices.
    ((((), ()), 9, 4, 6), "direct direct direct"),
    ((((), (), 1, "VALID", 1, 1, 2), 9, 4, 6), "shifts shifts shifts"),
    # A result of a hundred tiles of 64 x 64 keeps a GPU busy.
    ((((32, 32), (1, 1)), 25, 16, 16), "tiles tiles cudnn"),
    ((((32, 32), (1, 1)), 25, 15, 16), "tiles cudnn cudnn"),
    ((((32, 32), (1, 1)), 25, 16, 15), "cudnn tiles cudnn"),
    ((((32, 32), (1, 1)), 24, 16, 16), "cudnn cudnn cudnn"),
    ((((32, 32), (1, 1), 2), 100, 16, 16), "cudnn cudnn cudnn"),
    ((((32, 32), (1, 1), 1, 1), 100, 16, 16), "cudnn cudnn cudnn"),
    # Windows side by side: in a volume, and where cuDNN's pattern misses.
    ((((8, 8, 8), (2, 2, 2), 2), 9, 8, 8), "tiles tiles tiles"),
    ((((8, 8, 8), (1, 2, 2), (1, 2, 2)), 9, 8, 8), "depth depth depth"),  # no copy
    ((((8, 8), (4, 4), 4), 9, 8, 8), "cudnn tiles cudnn"),
    ((((16, 16), (4, 4), 4), 9, 8, 8), "cudnn cudnn cudnn"),
    # Few channels to sum over, and few outputs of a channel.
    ((((9, 8), (3, 3), 1, 1, 1, 1, 8), 9, 8, 8), "shifts shifts depthwise"),
    ((((9, 8), (3, 3), 1, 1, 1, 1, 8), 9, 8, 64), "shifts shifts depthwise"),
    ((((9, 8), (3, 3), 1, 1, 1, 1, 8), 9, 8, 72), "shifts cudnn depthwise"),
    ((((9, 8), (3, 4), 1, 1, 1, 1, 8), 9, 8, 48), "shifts shifts depthwise"),
    ((((9, 8), (3, 4), 1, 1, 1, 1, 8), 9, 8, 56), "shifts cudnn depthwise"),
    ((((9, 8), (1, 1), 1, 0, 1, 1, 8), 9, 8, 64), "shifts shifts depthwise"),
    ((((9, 8), (1, 1), 1, 0, 1, 1, 8), 9, 8, 72), "shifts cudnn depthwise"),
    ((((9, 8), (3, 3), 1, 1, 1, 1, 4), 9, 8, 8), "cudnn cudnn cudnn"),
    ((((9, 8), (3, 3), 1, 1, 1, 1, 4), 9, 8, 4), "cudnn shifts cudnn"),
    ((((9, 8), (3, 3), 1, 1, (2, 1), 1, 8), 9, 8, 8), "cudnn cudnn cudnn"),
    ((((9, 8), (3, 3), 1, 1), 9, 1, 1), "cudnn cudnn cudnn"),
    # More axes than cuDNN has.
    ((((4, 3, 2, 3), (2, 3, 1, 2)), 9, 4, 6), "shifts shifts shifts"),
]


def require_chosen(geometry, n, c, o, names):
    """The algorithms of the three contractions, none of which has to be asked for."""
    problems = [Problem(Slot(slot), geometry, n, c, o) for slot in "yxk"]
    assert [algorithm_for(problem) for problem in problems] == names.split()
    for problem in problems:
        plan, _ = choose(problem)
        assert plan.name == algorithm_for(problem)
        assert not CATALOGUE.algorithms[plan.name].default_refusal(problem, problem.slot)


@pytest.mark.parametrize(("case", "names"), CHOSEN, ids=str)
def test_what_runs(case, names):
    options, n, c, o = case
    geometry = geometry_of(*options)
    require_chosen(geometry, n, c, o, names)


@pytest.mark.parametrize(
    ("side", "n", "c", "o", "names"),
    [
        # A map of one channel is moved once, and of more three times: worth it if nine tenths are.
        (32, 3, 1, 16, "depth depth depth"),
        (32, 3, 3, 16, "depth depth depth"),
        (32, 3, 16, 3, "depth_of_output depth_of_output depth_of_output"),
        (32, 3, 16, 16, "cudnn cudnn cudnn"),
        (8, 1, 1, 16, "cudnn cudnn cudnn"),  # saves less than a start of a kernel moves
        (8, 200, 1, 16, "depth depth depth"),
        (8, 1, 3, 16, "depth depth depth"),
    ],
)
def test_volumes_of_few_channels(side, n, c, o, names):
    geometry = geometry_of((side,) * 3, (3,) * 3, 1, "SAME")
    require_chosen(geometry, n, c, o, names)
