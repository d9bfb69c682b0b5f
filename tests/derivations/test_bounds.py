"""What each derivation says of its rounding: the magnitude of each element's terms, and how many.

The magnitudes are added up here term by term, as the definition of each derivation has them.

Covers jaxconv/derivations/.
"""

from itertools import product

import numpy as np
import pytest

from jaxconv import derivations

from .geometries import arrays

GROUPS, CHANNELS, OUTPUTS = 2, 2, 1  # of each group
OPTIONS = {
    "strides": (2, 1),
    "padding": ((1, 0), (0, 1)),
    "input_dilation": (1, 2),
    "kernel_dilation": (2, 1),
    "feature_group_count": GROUPS,
}
S, LO, E, D = (2, 1), (1, 0), (1, 2), (2, 1)
X, W, Y = (2, 4, 2, 4), (2, 3, CHANNELS, 2), (2, 2, 2, 2)


def triples():
    """The indices of each element of x, w and y that meet."""
    for i, r, p in product(np.ndindex(X[1:3]), np.ndindex(W[:2]), np.ndindex(Y[1:3])):
        if all(E[a] * i[a] + LO[a] == S[a] * p[a] + D[a] * r[a] for a in range(2)):
            for n, g, c, o in np.ndindex(X[0], GROUPS, CHANNELS, OUTPUTS):
                out = g * OUTPUTS + o
                yield (n, *i, g * CHANNELS + c), (*r, c, out), (n, *p, out)


def magnitudes(which, *three):
    """The sum of the magnitudes of the terms in which each element of an argument occurs."""
    x, w, y = (None if a is None else np.abs(a) for a in three)
    total = np.zeros((X, W, Y)["xwy".index(which)])
    for at_x, at_w, at_y in triples():
        if which == "x":
            total[at_x] += w[at_w] * y[at_y]
        else:
            total[at_w] += x[at_x] * y[at_y]
    return total


def assert_scale(derivation, given, magnitude, terms):
    found, number = derivation.scale(*given)
    np.testing.assert_allclose(found, np.broadcast_to(magnitude, np.shape(found)), rtol=1e-13)
    assert np.shape(found) == np.shape(magnitude)
    assert number == terms


@pytest.fixture
def given():
    return arrays(3, X, W, Y)


TAPS = int(np.prod(W[:2]))


def test_errors_of_convolutions(given):
    """One term for each tap and output of the group; the slope of tanh takes four roundings."""
    magnitude = magnitudes("x", None, *given[1:])
    assert_scale(derivations.convolution_error(**OPTIONS), given, magnitude, TAPS * OUTPUTS + 4)
    assert_scale(
        derivations.transposed_convolution(output_shape=X[1:3], **OPTIONS),
        given[:0:-1],
        magnitude,
        TAPS * OUTPUTS,
    )


def test_gradients_of_kernels_and_biases(given):
    """One term for each example and position."""
    x, _, y = given
    magnitude = magnitudes("w", x, None, y)
    assert_scale(derivations.kernel_gradient(**OPTIONS), given, magnitude, 2 * 4)
    bias = np.ones(2)
    assert_scale(derivations.bias_gradient(), (y, bias, y), np.abs(y).sum((0, 1, 2)), 2 * 4)


def test_the_triangle(given):
    """Three sums, one over each argument."""
    magnitude = np.sum(np.abs(given[0]) * magnitudes("x", None, *given[1:]))
    terms = sum(a.size for a in given)
    assert_scale(derivations.triangle(**OPTIONS), given, magnitude, terms)


def test_dense_layers_and_their_transposes():
    x, w, y = arrays(0, (2, 4, 3), (2, 3, 5), (2, 3, 5))
    ax, aw, ay = map(np.abs, (x, w, y))
    forward = np.stack([ax[:, p] @ aw[0] + ax[:, p + 1] @ aw[1] for p in range(3)], 1)
    assert_scale(derivations.perceptron_to_convolution(), (x, w), forward, 2 * 3)
    back = np.zeros_like(x)
    for p, r in np.ndindex(3, 2):
        back[:, p + r] += ay[:, p] @ aw[r].T
    assert_scale(derivations.toeplitz_transpose(), (w, y), back, 2 * 5)


def test_pools_and_upscaling():
    """An average adds the elements of a window, and divides."""
    x, delta = arrays(0, (2, 5, 4, 3), (2, 3, 2, 3))
    size, window, strides, lo = (5, 4), (3, 2), (2, 2), (1, 0)
    options = {"window_shape": window, "strides": strides, "padding": ((1, 1), (0, 0))}
    shares, largest = np.zeros_like(x), np.zeros_like(x)
    for n, p, c in product(range(2), np.ndindex(3, 2), range(3)):
        pixels = [
            tuple(strides[a] * p[a] + r[a] - lo[a] for a in (0, 1)) for r in np.ndindex(window)
        ]
        inside = [i for i in pixels if all(0 <= i[a] < size[a] for a in (0, 1))]
        for i in inside:
            shares[n, *i, c] += abs(delta[n, *p, c]) / 6
        best = max(inside, key=lambda i, n=n, c=c: x[n, *i, c])
        largest[n, *best, c] += abs(delta[n, *p, c])
    assert_scale(derivations.avg_pool_error(**options), (x, delta), shares, 7)
    assert_scale(derivations.max_pool_error(**options), (x, delta), largest, 7)
    small, large = arrays(1, (1, 2, 2, 1), (1, 4, 6, 1))
    blocks = np.abs(large).reshape(1, 2, 2, 2, 3, 1).sum((2, 4))
    assert_scale(derivations.upscale_error((2, 3)), (small, large), blocks, 6)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


def test_the_output_error():
    """Prediction plus truth, times 1 + max |z| for the rounding of the exponent's argument."""
    z, t = np.array([[0.5, -3.0, 1.0], [0.25, 0.0, -0.5]]), np.array([2, 0])
    truth = np.array([[0, 0, 1], [1, 0, 0]])
    magnitude = (softmax(z) + truth) / 2 * np.array([[4.0], [1.5]])
    assert_scale(derivations.output_error(), (z, t), magnitude, 3 + 8)


def test_the_full_training_loss():
    """A network of 1×1 windows, over which the chain is short.

    Every weight is positive and every bias negative, so relu and pools pass what they do here,
    while the magnitudes grow by the biases.
    """
    rng = np.random.default_rng(0)
    n, image, o1, o2, hidden, classes = 2, (4, 5), 2, 3, 4, 3

    def draw(*shape):
        return rng.uniform(0.5, 1.5, shape)

    x, t = draw(n, *image, 1), np.array([2, 0])
    w1, w2 = draw(1, 1, 1, o1), draw(1, 1, o1, o2)
    w3, w4 = draw(o2, hidden), draw(hidden, classes) - 1
    b1, b2, b3, b4 = (-0.01 * draw(o) for o in (o1, o2, hidden, classes))
    m3, m4 = rng.random((n, o2)) < 0.7, rng.random((n, hidden)) < 0.7

    def pool(z):
        rows, columns = z.shape[1] // 2, z.shape[2] // 2
        blocks = z[:, : 2 * rows, : 2 * columns].reshape(n, rows, 2, columns, 2, -1)
        return blocks.max((2, 4))

    def forward(x, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4):
        z1 = x @ w1[0, 0] + b1
        z2 = pool(z1) @ w2[0, 0] + b2
        z3 = (2 * m3 * pool(z2)[:, 0, 0]) @ w3 + b3
        return z1, z2, z3, (2 * m4 * np.maximum(z3, 0)) @ w4 + b4

    given = (x, w1, b1, w2, b2, w3, b3, w4, b4)
    z1, z2, z3, z4 = forward(*given, m3, m4)
    reach = forward(*map(np.abs, given), 1 + 0 * m3, 1 + 0 * m4)[3].max()
    delta = (softmax(z4) + np.eye(classes)[t] + 2 * reach) / n
    delta = 2 * m4 * (delta @ np.abs(w4).T) * (z3 > 0)
    delta = 2 * m3 * (delta @ w3.T)
    # The pools are one window each, the second over what the first one made of four windows.
    delta2 = (z2 == z2.max((1, 2), keepdims=True)) * delta[:, None, None]
    back = delta2 @ w2[0, 0].T
    magnitude = np.zeros((1, 1, 1, o1))
    for i, p, q, o in np.ndindex(n, 2, 2, o1):
        window = z1[i, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2, o]
        a, b = np.unravel_index(window.argmax(), (2, 2))
        magnitude[..., 0, o] += x[i, 2 * p + a, 2 * q + b, 0] * back[i, p, q, o]
    sums = [w[..., 0].size for w in (w1, w2, w3, w4)]  # forward
    sums += [n * image[0] * image[1], o2, hidden, classes]  # backward
    assert_scale(
        derivations.classifier_gradient(),
        (x, t, w1, b1, w2, b2, w3, b3, w4, b4, m3, m4),
        magnitude,
        sum(sums),
    )
