"""Each derivation holds, step by step, on 200 random geometries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxconv import derivations

from .geometries import arrays, classifiers, convolutions, pools, upscalings

# The types are checked in test_library.py; here checking them would take longer than computing.
pytestmark = pytest.mark.usefixtures("no_type_checker")

# Steps on paper, all but the last, are NumPy: nothing is compiled, so many geometries are cheap.
thorough = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@thorough
@given(convolutions(plain=True))
def test_perceptron_to_convolution(case):
    derivations.perceptron_to_convolution()[:-1].check(*arrays(case.seed, case.x, case.w))


@thorough
@given(convolutions(plain=True))
def test_toeplitz_transpose(case):
    derivations.toeplitz_transpose()[:-1].check(*arrays(case.seed, case.w, case.y))


@thorough
@given(convolutions() | convolutions(plain=True))
def test_convolution_error(case):
    derivation = derivations.convolution_error(**case.options)
    derivation[:-1].check(*arrays(case.seed, case.x, case.w, case.y))


@thorough
@given(convolutions() | convolutions(plain=True))
def test_kernel_gradient(case):
    derivation = derivations.kernel_gradient(**case.options)
    derivation[:-1].check(*arrays(case.seed, case.x, case.w, case.y))


@thorough
@given(convolutions())
def test_bias_gradient(case):
    u, b, delta = arrays(case.seed, case.y, case.y[-1:], case.y)
    derivations.bias_gradient().check(u, b, delta)


@thorough
@given(pools())
def test_max_pool_error(case):
    derivations.max_pool_error(**case.options)[:-1].check(*arrays(case.seed, case.x, case.y))


@thorough
@given(pools())
def test_avg_pool_error(case):
    derivations.avg_pool_error(**case.options)[:-1].check(*arrays(case.seed, case.x, case.y))


@thorough
@given(upscalings())
def test_upscale_error(case):
    derivations.upscale_error(**case.options)[:-1].check(*arrays(case.seed, case.x, case.y))


@thorough
@given(convolutions())
def test_transposed_convolution(case):
    options = case.options | {"output_shape": case.x[1:-1]}
    derivation = derivations.transposed_convolution(**options)
    derivation[:-1].check(*arrays(case.seed, case.y, case.w))


@thorough
@given(convolutions())
def test_triangle(case):
    derivation = derivations.triangle(**case.options)
    derivation[:-1].check(*arrays(case.seed, case.x, case.w, case.y))


@thorough
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32))
def test_output_error(n, classes, seed):
    (z,) = arrays(seed, (n, classes))
    labels = np.random.default_rng(seed).integers(0, classes, n)
    derivations.output_error()[:-1].check(3 * z, labels)


@thorough
@given(classifiers())
def test_classifier_gradient(given_arrays):
    derivations.classifier_gradient()[:-1].check(*given_arrays)
