"""Each derivation holds, step by step, on random geometries.

Covers jaxconv/derivations/.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv import derivations

from .geometries import arrays, classifiers, convolutions, pools, upscalings

# Runtime checks of shapes would take longer here than the computations. test_library.py has them.
pytestmark = pytest.mark.usefixtures("no_type_checker")


def on(name, *letters):
    """A check of the derivation `name`, given the case's x, w or y for each letter."""

    def check(case):
        derivation = getattr(derivations, name)(**case.options)
        derivation[:-1].check(*arrays(case.seed, *(getattr(case, letter) for letter in letters)))

    return check


def bias_gradient(case):
    derivations.bias_gradient().check(*arrays(case.seed, case.y, case.y[-1:], case.y))


def transposed_convolution(case):
    options = case.options | {"output_shape": case.x[1:-1]}
    derivations.transposed_convolution(**options)[:-1].check(*arrays(case.seed, case.y, case.w))


def output_error(case):
    n, classes, seed = case
    (z,) = arrays(seed, (n, classes))
    labels = np.random.default_rng(seed).integers(0, classes, n)
    derivations.output_error()[:-1].check(3 * z, labels)


def classifier_gradient(case):
    derivations.classifier_gradient()[:-1].check(*case)


plain = convolutions(plain=True)
scores = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32))
CHECKS = {
    "perceptron_to_convolution": (plain, on("perceptron_to_convolution", "x", "w")),
    "toeplitz_transpose": (plain, on("toeplitz_transpose", "w", "y")),
    "convolution_error": (convolutions() | plain, on("convolution_error", "x", "w", "y")),
    "kernel_gradient": (convolutions() | plain, on("kernel_gradient", "x", "w", "y")),
    "bias_gradient": (convolutions(), bias_gradient),
    "max_pool_error": (pools(), on("max_pool_error", "x", "y")),
    "avg_pool_error": (pools(), on("avg_pool_error", "x", "y")),
    "upscale_error": (upscalings(), on("upscale_error", "x", "y")),
    "transposed_convolution": (convolutions(), transposed_convolution),
    "triangle": (convolutions(), on("triangle", "x", "w", "y")),
    "output_error": (scores, output_error),
    "classifier_gradient": (classifiers(), classifier_gradient),
}


# The steps on paper, all but the last, are NumPy. Nothing is compiled.
@pytest.mark.parametrize("cases", [25, pytest.param(400, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", CHECKS)
def test_all_steps_but_the_last(name, cases):
    strategy, check = CHECKS[name]
    same_cases_in_each_run = {"derandomize": True, "database": None, "deadline": None}
    settings(max_examples=cases, **same_cases_in_each_run)(given(strategy)(check))()


def test_empty_maps():
    """An input without pixels, in padding that a window fits into, and pools without channels."""
    x, w, y = arrays(0, (1, 0, 2), (2, 2, 3), (1, 1, 3))
    padded = {"padding": ((1, 1),)}
    for name in ("convolution_error", "kernel_gradient", "triangle"):
        getattr(derivations, name)(**padded)[:-1].check(x, w, y)
    empty = np.ones((2, 4, 0))
    derivations.max_pool_error(2)[:-1].check(empty, empty[:, :2])
    derivations.avg_pool_error(2)[:-1].check(empty, empty[:, :2])
    derivations.upscale_error(2)[:-1].check(empty[:, :2], empty)
