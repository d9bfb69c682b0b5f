"""The softmax of the training loss, at its limits."""

import numpy as np

from jaxconv.derivations._loss import _one_hot, _output_error, _relu, _softmax


def test_a_softmax_of_large_numbers_is_finite():
    """Each row is shifted by its own largest element."""
    z = np.array([[1000.0, 0.0], [-1000.0, -1000.0], [0.0, np.log(3)]])
    np.testing.assert_allclose(_softmax(z), [[1, 0], [0.5, 0.5], [0.25, 0.75]], rtol=1e-15)


def test_the_error_is_the_prediction_less_the_truth():
    z, t = np.log(np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 1.0]])), np.array([1, 1, 0])
    np.testing.assert_array_equal(_one_hot(z, t), [[0, 1], [0, 1], [1, 0]])
    expected = np.array([[0.25, -0.25], [0.75, -0.75], [-0.5, 0.5]]) / 3
    np.testing.assert_allclose(_output_error(z, t), expected, rtol=1e-15)


def test_relu_looks_at_the_real_part():
    np.testing.assert_array_equal(_relu(np.array([2 - 1j, -2 + 1j, 1j, 0.5])), [2 - 1j, 0, 0, 0.5])
