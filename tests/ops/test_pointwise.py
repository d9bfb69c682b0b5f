"""Dense layers, activations, dropout and losses: each stated derivative against autodiff.

Covers jaxconv/ops/_dense.py, jaxconv/ops/_activations.py, jaxconv/ops/_losses.py.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv
from jaxconv import dense, dropout, softmax, softmax_cross_entropy, squared_error
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")


def derivatives(f, *args):
    """Value, reverse, forward and second order of the sum of f's sines, of all arguments."""
    numbers = tuple(range(len(args)))
    tangents = tuple(jnp.cos(a) for a in args)

    def scalar(*args):
        return jnp.sum(jnp.sin(f(*args)))

    return (
        f(*args),
        jax.grad(scalar, numbers)(*args),
        jax.jvp(f, args, tangents)[1],
        jax.jvp(jax.grad(scalar, numbers), args, tangents)[1],
        jax.grad(lambda *a: sum(jnp.sum(g**2) for g in jax.grad(scalar, numbers)(*a)), numbers)(
            *args
        ),
    )


PAIRS = {
    "relu": (jaxconv.relu, jax.nn.relu, [(3, 5)]),
    "tanh": (jaxconv.tanh, jnp.tanh, [(3, 5)]),
    "softmax": (softmax, jax.nn.softmax, [(3, 5)]),
    "squared_error": (squared_error, lambda y, t: (y - t) ** 2, [(3, 5), (3, 5)]),
    "dense": (dense, jnp.matmul, [(3, 5), (5, 4)]),
    "dense of a sequence": (dense, jnp.matmul, [(2, 3, 5), (5, 4)]),
    "softmax_cross_entropy": (
        lambda z: softmax_cross_entropy(z, jnp.array([4, 0, 2])),
        lambda z: optax.softmax_cross_entropy_with_integer_labels(z, jnp.array([4, 0, 2])),
        [(3, 5)],
    ),
    "dropout": (
        lambda x: dropout(x, jnp.arange(15).reshape(3, 5) % 2 == 0, 0.25),
        lambda x: jnp.where(jnp.arange(15).reshape(3, 5) % 2 == 0, x, 0) / 0.75,
        [(3, 5)],
    ),
}


def test_derivatives_equal_autodiff(normal):
    args = [[np.asarray(normal(shape)) for shape in shapes] for *_, shapes in PAIRS.values()]
    actual, expected = (
        together([(partial(derivatives, f), *given) for f, given in zip(fs, args, strict=True)])
        for fs in list(zip(*PAIRS.values(), strict=True))[:2]
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
    for name, *pair in zip(PAIRS, actual, expected, strict=True):
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            assert_within_rounding(a, b, 1 + np.abs(b).max(), 100, name)


def test_vmap_equals_a_loop(normal):
    batches, loops = [], []
    for ours, _, shapes in PAIRS.values():
        args = [np.asarray(normal((4, *shape))) for shape in shapes]

        def of_one(args, ours=ours):
            return derivatives(ours, *args)[:3]

        batches.append((jax.vmap(of_one), args))
        loops.append((partial(jax.lax.map, of_one), args))
    for name, *pair in zip(PAIRS, together(batches), together(loops), strict=True):
        for a, b in zip(*map(jax.tree.leaves, pair), strict=True):
            assert_within_rounding(a, b, 1 + np.abs(b).max(), 100, name)


def test_softmax_is_that_of_each_row(normal):
    """Of one example, and with more leading axes than one; the derivative, too."""

    def value_and_cotangent(z, p_bar):
        p, pull_back = jax.vjp(softmax, z)
        return p, pull_back(p_bar)[0]

    operands = [(normal(shape), normal(shape)) for shape in ((5,), (2, 3, 5))]
    rows = [[a.reshape(-1, 5) for a in pair] for pair in operands]
    results = together([(value_and_cotangent, *pair) for pair in operands + rows])
    for whole, of_rows in zip(results[:2], results[2:], strict=True):
        for a, b in zip(whole, of_rows, strict=True):
            assert_within_rounding(a, b.reshape(a.shape), np.abs(b).max(), 20)


def test_relu_at_zero_and_nan():
    x = jnp.array([-1.0, 0.0, 2.0, jnp.nan])
    x_bar = jax.grad(lambda x: jaxconv.relu(x).sum())(x)
    assert x_bar.tolist() == [0.0, 0.0, 1.0, 1.0]
    assert np.isnan(jaxconv.relu(x)[3])


def test_relu_remembers_signs_only(normal):
    _, pull_back = jax.vjp(jaxconv.relu, normal((3, 5)))
    assert [a.dtype for a in jax.tree.leaves(pull_back)] == [np.dtype(bool)]


def test_tanh_has_a_derivative_where_it_saturates():
    """1 - y² in one step loses all digits once y rounds to 1 - eps."""
    x = jnp.asarray(8.0, jnp.float32)
    exact = 1 / np.cosh(8.0) ** 2
    assert abs(jax.grad(jaxconv.tanh)(x) - exact) <= 2**-20


def test_cross_entropy_of_large_scores_is_finite():
    z = jnp.array([[1e4, 0.0, -1e4]])
    loss, z_bar = jax.value_and_grad(lambda z: softmax_cross_entropy(z, jnp.array([1])).sum())(z)
    assert loss == 1e4
    assert z_bar.tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize(("dtype", "classes"), [("uint8", 256), ("uint8", 260), ("int8", 128)])
def test_cross_entropy_of_labels_of_eight_bits(dtype, classes, normal):
    """Which may not be able to count the classes."""
    logits, labels = normal((3, classes)), np.array([0, 100, 127])

    @jax.jit
    def loss_and_cotangent(labels):
        loss, pull_back = jax.vjp(lambda z: softmax_cross_entropy(z, labels), logits)
        return loss, pull_back(jnp.ones(3))

    narrow, wide = loss_and_cotangent(labels.astype(dtype)), loss_and_cotangent(labels)
    chex.assert_trees_all_equal(narrow, wide)


def test_no_classes():
    """No label is in range, and there is nothing to take the maximum of."""
    for shape in ((3, 0), (0, 0), (0, 4)):
        z, labels = jnp.ones(shape), jnp.zeros(shape[0], int)
        assert softmax(z).shape == shape
        loss, pull_back = jax.vjp(lambda z, labels=labels: softmax_cross_entropy(z, labels), z)
        assert jnp.isnan(loss).all()
        assert pull_back(loss)[0].shape == shape


def test_cross_entropy_of_an_impossible_label_is_nan():
    losses = softmax_cross_entropy(jnp.zeros((3, 4)), jnp.array([-1, 3, 4]))
    assert np.isnan(losses).tolist() == [True, False, True]


BAD_CALLS = {
    "relu": (lambda: jaxconv.relu(1j * jnp.ones(2)), TypeError, "relu: x must be real"),
    "tanh": (lambda: jaxconv.tanh(jnp.ones(2, int)), TypeError, "tanh: x must be floating"),
    "softmax": (lambda: softmax([1.0]), TypeError, "softmax: z must be an array"),
    "no classes": (lambda: softmax(jnp.ones(())), ValueError, "softmax: z must be"),
    "dense": (lambda: dense(jnp.ones((2, 3)), jnp.ones((4, 5))), ValueError, "dense: x must be"),
    "labels": (
        lambda: softmax_cross_entropy(jnp.ones((2, 3)), jnp.ones(2)),
        TypeError,
        "labels must be integers",
    ),
    "label count": (
        lambda: softmax_cross_entropy(jnp.ones((2, 3)), jnp.ones(3, int)),
        ValueError,
        "labels \\(n,\\)",
    ),
    "target": (lambda: squared_error(jnp.ones(2), jnp.ones(3)), ValueError, "same shape"),
    "target dtype": (lambda: squared_error(jnp.ones(2), jnp.ones(2, int)), TypeError, "one float"),
    "rate": (lambda: dropout(jnp.ones(2), jnp.ones(2, bool), 1.0), ValueError, "rate must be in"),
    "no rate": (
        lambda: dropout(jnp.ones(2), jnp.ones(2, bool), "0.5"),
        TypeError,
        "rate must be a number, got '0.5'",
    ),
    "keep": (lambda: dropout(jnp.ones(2), jnp.ones(2), 0.5), TypeError, "array of booleans"),
    "keep, a type": (lambda: dropout(jnp.ones(2), np.bool_, 0.5), TypeError, "array of booleans"),
    "keep's shape": (
        lambda: dropout(jnp.ones(2), jnp.ones(3, bool), 0.5),
        ValueError,
        "shape of x",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call()
