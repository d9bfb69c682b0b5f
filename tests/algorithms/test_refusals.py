"""Which contractions each algorithm refuses, and why, at both sides of each limit.

Covers jaxconv/algorithms/_algorithm.py, jaxconv/algorithms/cpu/, jaxconv/algorithms/gpu/,
jaxconv/algorithms/shared/.
"""

import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.cpu._fourier import MAX_POINTS
from jaxconv.algorithms.gpu._depthwise import MAX_SUMS
from jaxconv.algorithms.shared._taps import MAX_TAPS
from tests.algorithms.problems import geometry_of

IMAGE, VOLUME = {"size": (9, 8), "window": (3, 2)}, {"size": (5, 6, 4), "window": (2, 3, 2)}
LINE, POINT = {"size": (300,), "window": (3,)}, {"size": (), "window": ()}
GROUPS, DEPTHWISE = {"groups": 2}, {"groups": 4, "c": 4, "o": 8}
DILATED_INPUT, STRIDED = {"e": (2, 1)}, {"strides": (1, 2)}
LONG = {"window": (MAX_TAPS,)}
TOO_LONG = {"window": (MAX_TAPS + 1,)}

UNROLLED = f"there are more than {MAX_TAPS} taps to unroll"
OF_GROUPS, OF_INPUT = "there are feature groups", "the input is dilated"
NO_AXIS, OTHER = "there is no spatial axis", "it does not compute this contraction"

# For each algorithm, contractions and the reason; empty if it applies.
REFUSED = {
    "direct": [(POINT, ""), (IMAGE | GROUPS | DILATED_INPUT, ""), (LINE | TOO_LONG, "")],
    "two_products": [
        *((POINT | {"slot": "k"}, ""), (POINT, OTHER), (POINT | {"slot": "x"}, OTHER)),
        (POINT | {"slot": "k"} | GROUPS, OF_GROUPS),
        (LINE | {"slot": "k"}, "it is no product of two tall matrices"),
    ],
    "pointwise": [
        *((POINT, ""), (POINT | {"slot": "x"}, ""), (POINT | GROUPS, OF_GROUPS)),
        (LINE, "there are spatial axes"),
    ],
    "strips": [
        *((IMAGE | {"slot": "x"}, ""), (IMAGE | {"slot": "k"}, ""), (IMAGE, OTHER)),
        (IMAGE | {"slot": "k"} | GROUPS, "there are feature groups or no spatial axis"),
        (POINT | {"slot": "k"}, "there are feature groups or no spatial axis"),
        (IMAGE | {"slot": "k"} | DILATED_INPUT, OF_INPUT),
        (IMAGE | {"slot": "k"} | STRIDED, "the last axis has a stride or dilation"),
        (IMAGE | {"slot": "k", "d": (1, 2)}, "the last axis has a stride or dilation"),
        (IMAGE | {"slot": "k", "strides": (2, 1), "d": (2, 1)}, ""),
        ({"slot": "k", "size": (300, 9), "window": (MAX_TAPS, 2)}, ""),
        ({"slot": "k", "size": (300, 9), "window": (MAX_TAPS + 1, 2)}, UNROLLED),
        (
            {"slot": "k", "size": (9, 8), "window": (3, 8)},
            "no length of strip divides the rows of the output",
        ),
    ],
    "fourier": [
        *((IMAGE, ""), (IMAGE | {"slot": "k"}, ""), (POINT, NO_AXIS), (IMAGE | GROUPS, OF_GROUPS)),
        (IMAGE | STRIDED, "there are strides or input dilation"),
        (IMAGE | DILATED_INPUT, "there are strides or input dilation"),
        (IMAGE | {"d": 2}, ""),
        ({"size": (MAX_POINTS,), "window": (3,)}, ""),
        (
            {"size": (MAX_POINTS + 1,), "window": (3,)},
            f"its dense transforms would have more than {MAX_POINTS} points",
        ),
        (IMAGE | {"dtype": "complex64"}, ""),
        (IMAGE | {"dtype": "int32"}, "its basis is not one of integers"),
    ],
    "taps": [
        *((IMAGE, ""), (IMAGE | {"slot": "x"}, ""), (IMAGE | {"slot": "k"} | DEPTHWISE, "")),
        (IMAGE | {"slot": "k"}, "feature groups have more than one channel"),
        *((IMAGE | DILATED_INPUT, OF_INPUT), (POINT, NO_AXIS)),
        (LINE | {"window": (MAX_TAPS // 4,)}, ""),
        (LINE | {"size": (0,), "window": (3,)}, "the output is empty"),
        (
            LINE | {"window": (MAX_TAPS // 4 + 1,)},
            f"there are more than {MAX_TAPS} terms to unroll",
        ),
        (LINE | {"window": (MAX_TAPS // 2,)} | GROUPS, ""),
        (LINE | DEPTHWISE | LONG | {"slot": "k"}, ""),
        (
            LINE | DEPTHWISE | TOO_LONG | {"slot": "k"},
            f"there are more than {MAX_TAPS} terms to unroll",
        ),
        (LINE | {"slot": "x", "window": (21,)}, ""),
        (
            LINE | {"slot": "x", "window": (22,)},
            f"there are more than {MAX_TAPS} terms to unroll",
        ),
    ],
    "tiles": [
        *((IMAGE | {"strides": (3, 2)}, ""), (IMAGE | {"strides": (4, 2)}, ""), (POINT, NO_AXIS)),
        (IMAGE | {"strides": (2, 2)}, "windows overlap or are dilated"),
        (IMAGE | {"strides": (6, 3), "d": (2, 1)}, "windows overlap or are dilated"),
        ({"size": (9, 8), "window": (1, 1), "d": 2}, ""),
        (IMAGE | {"strides": (3, 2)} | GROUPS, OF_GROUPS),
        (IMAGE | {"strides": (3, 2)} | DILATED_INPUT, OF_INPUT),
    ],
    "input_patches": [
        *((IMAGE, ""), (IMAGE | STRIDED | GROUPS, ""), (IMAGE | DILATED_INPUT, OF_INPUT)),
        *((POINT, "there are 0 spatial axes"), (LINE | LONG, ""), (LINE | TOO_LONG, UNROLLED)),
    ],
    "output_patches": [
        *(
            (IMAGE, ""),
            (IMAGE | DILATED_INPUT | GROUPS, ""),
            (IMAGE | STRIDED, "there are strides"),
        ),
        *((POINT, "there are 0 spatial axes"), (LINE | LONG, ""), (LINE | TOO_LONG, UNROLLED)),
    ],
    "split_patches": [
        *((IMAGE, ""), (IMAGE | STRIDED, ""), (IMAGE | DILATED_INPUT, "")),
        (IMAGE | {"strides": (2, 1)}, "there are strides"),
        (IMAGE | {"e": (1, 2)}, OF_INPUT),
        *((LINE, "there are 1 spatial axes"), (VOLUME | GROUPS, "")),
    ],
    "input_depth": [
        *((VOLUME, ""), (VOLUME | {"e": (1, 2, 2)}, ""), (VOLUME | {"e": (2, 1, 1)}, OF_INPUT)),
        *((IMAGE | STRIDED, ""), (IMAGE | GROUPS, OF_GROUPS), (LINE, "there are 1 spatial axes")),
        *((IMAGE | {"slot": "x"}, ""), (IMAGE | {"slot": "k"}, OTHER)),
        ({"size": (300, 9), "window": (MAX_TAPS, 9)}, ""),
        ({"size": (300, 9), "window": (MAX_TAPS + 1, 9)}, UNROLLED),
    ],
    "output_depth": [
        *((VOLUME, ""), (VOLUME | {"strides": (2, 1, 1)}, "there are strides"), (IMAGE, "")),
        *((IMAGE | STRIDED, ""), (IMAGE | GROUPS, OF_GROUPS), (LINE, "there are 1 spatial axes")),
        (IMAGE | {"slot": "k"}, OTHER),
    ],
    "group_by_group": [
        *((IMAGE | GROUPS, ""), (POINT | GROUPS, ""), (IMAGE, "there is one feature group")),
    ],
    "cudnn": [
        *((LINE, ""), (IMAGE | GROUPS, ""), (VOLUME | {"e": 2}, "")),
        *((POINT, "cuDNN convolves in 1 to 3 dimensions"),),
        (
            {"size": (4, 3, 2, 3), "window": (2, 3, 1, 2)},
            "cuDNN convolves in 1 to 3 dimensions",
        ),
    ],
    "shifts": [(POINT, ""), (LINE | LONG, ""), (LINE | TOO_LONG, UNROLLED)],
    "depthwise": [
        *((IMAGE | DEPTHWISE, ""), (IMAGE | DEPTHWISE | DILATED_INPUT, OF_INPUT)),
        (POINT | DEPTHWISE, NO_AXIS),
        (
            IMAGE | GROUPS,
            "feature groups have more than one input channel, or there is only one",
        ),
        (
            IMAGE | {"c": 1},
            "feature groups have more than one input channel, or there is only one",
        ),
        (LINE | DEPTHWISE | {"window": (MAX_SUMS,)}, ""),
        (
            LINE | DEPTHWISE | {"window": (MAX_SUMS + 1,)},
            f"a row of the window has more than {MAX_SUMS} taps",
        ),
        (DEPTHWISE | {"size": (300, 9), "window": (MAX_TAPS, 1)}, ""),
        (DEPTHWISE | {"size": (300, 9), "window": (MAX_TAPS + 1, 1)}, UNROLLED),
    ],
    "depth": [
        *((VOLUME, ""), (IMAGE, "this is not a volume"), (VOLUME | GROUPS, OF_GROUPS)),
        *((VOLUME | {"e": (1, 1, 2)}, OF_INPUT), (VOLUME | {"strides": 2}, "")),
        ({"size": (300, 9, 9), "window": (MAX_TAPS, 2, 9)}, ""),
        ({"size": (300, 9, 9), "window": (MAX_TAPS + 1, 1, 1)}, UNROLLED),
    ],
    "depth_of_output": [
        *((VOLUME, ""), (IMAGE, "this is not a volume"), (VOLUME | GROUPS, OF_GROUPS)),
        (VOLUME | {"strides": (1, 1, 2)}, "there are strides"),
        ({"size": (300, 9, 9), "window": (MAX_TAPS + 1, 1, 1)}, UNROLLED),
    ],
}


def problem_of(slot="y", c=4, o=6, dtype="float32", **spacing):
    names = ("size", "window", "strides", "padding", "e", "d", "groups")
    spacing = {"strides": 1, "padding": "VALID", "e": 1, "d": 1, "groups": 1} | spacing
    geometry = geometry_of(*(spacing[name] for name in names))
    return Problem(Slot(slot), geometry, 3, c, o, np.dtype(dtype))


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_algorithm_refuses_and_why(name):
    for changes, reason in REFUSED[name]:
        assert algorithms.why_not(name, problem_of(**changes)) == reason, changes


# oneDNN and the phases have tests of their own; the other is of JAX 0.10.
ELSEWHERE = {"onednn", "phases", "extra_outputs"}


def test_every_algorithm_is_there():
    assert {*REFUSED, *ELSEWHERE} >= set(algorithms.ALGORITHMS)
    for name, cases in REFUSED.items():
        assert "" in [reason for _, reason in cases], name


# What must be asked for, and the reason: by contraction, where the forward pass is a convolution.
SPREAD = "its zeros would carry an infinity to elements that do not depend on it"
UNASKED = [
    (
        "fourier",
        IMAGE,
        "each element would depend on its whole example; impl='fourier' asks for it",
    ),
    ("strips", IMAGE | {"slot": "x"}, ""),
    ("phases", IMAGE | {"strides": (3, 2)}, ""),
    ("phases", IMAGE | {"strides": (3, 1)}, ""),
    ("phases", IMAGE | {"strides": 2}, SPREAD),  # phases of 2 and of 1 taps
    ("phases", IMAGE | {"strides": 2, "slot": "k"}, ""),
]


@pytest.mark.parametrize(("name", "changes", "reason"), UNASKED)
def test_what_must_be_asked_for(name, changes, reason):
    problem = problem_of(**changes)
    assert algorithms.why_not(name, problem) == ""
    assert algorithms.why_not_by_default(name, problem) == reason
    if changes.get("slot") == "x":  # in a transposed convolution it is the forward pass
        assert algorithms.why_not_by_default(name, problem, Slot.INPUT) == SPREAD
