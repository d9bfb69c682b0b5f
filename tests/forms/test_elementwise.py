"""Element-wise functions with stated derivatives."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.forms import elementwise
from tests.oracles import both

pytestmark = pytest.mark.usefixtures("float64")

sine = elementwise(jnp.sin, lambda x: cosine(x), name="test_sine")
cosine = elementwise(jnp.cos, lambda x: -sine(x), name="test_cosine")
tanh = elementwise(
    jnp.tanh, lambda y, x: (1 - y) * (1 + y), uses_result=True, name="test_tanh", lowerings={}
)


def power(x, a, *, scale=1.0):
    return scale * x**a


powers = elementwise(
    power,
    (
        lambda x, a, *, scale=1.0: scale * a * x ** (a - 1),
        lambda x, a, *, scale=1.0: scale * jnp.log(x) * x**a,
    ),
)


def orders(f, *xs):
    """Derivatives of the first three orders, and second ones by both compositions."""
    every = tuple(range(len(xs)))
    total = lambda *xs: jnp.sum(f(*xs) ** 2)  # noqa: E731
    first = jax.grad(total, every)
    return (
        f(*xs),
        first(*xs),
        jax.jvp(first, xs, xs)[1],
        jax.grad(lambda *xs: jax.jvp(total, xs, xs)[1], every)(*xs),
        jax.grad(lambda *xs: jnp.sum(jax.jvp(first, xs, xs)[1][0]), every)(*xs),
        jax.vmap(jax.grad(total, every))(*(jnp.stack([x, 2 * x]) for x in xs)),
        jax.linearize(f, *xs)[1](*xs),
    )


@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (sine, jnp.sin),
        (tanh, jnp.tanh),
        (powers, power),
        (lambda x: powers(x, 2.5), lambda x: x**2.5),
    ],
    ids=["sine", "tanh", "two operands", "broadcast"],
)
def test_every_order_equals_autodiff(ours, plain, normal):
    xs = (abs(normal((3, 4))) + 0.5,) * (2 if ours is powers else 1)
    for a, b in zip(*map(jax.tree.leaves, both(orders, ours, plain, *xs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_shapes_dtypes_and_parameters(normal):
    x, a = abs(normal((3, 1))) + 1, normal((4,))
    assert powers(x, a, scale=2.0).shape == (3, 4)
    by_x, by_a = jax.grad(lambda x, a: powers(x, a, scale=2.0).sum(), (0, 1))(x, a)
    assert (by_x.shape, by_a.shape) == ((3, 1), (4,))
    batch = jax.vmap(powers, (0, None))(jnp.stack([x, x]), a)
    np.testing.assert_allclose(batch[1], power(x, a), rtol=1e-13)
    narrow = tanh(x.astype(jnp.bfloat16))
    assert narrow.dtype == jax.grad(lambda x: tanh(x).sum())(narrow).dtype == jnp.bfloat16
    again = elementwise(power, (power, None))
    assert pickle.loads(pickle.dumps(again)) is again


def test_bad_input(no_type_checker):
    with pytest.raises(TypeError, match="elementwise: f must be a function, got int"):
        elementwise(2, jnp.sin)
    with pytest.raises(TypeError, match="elementwise: derivative must be a function"):
        elementwise(jnp.sin, 2)
    with pytest.raises(TypeError, match="test_sine: it takes 1 operands"):
        sine(1.0, 2.0)
    with pytest.raises(TypeError, match="test_sine: an operand must be one array"):
        sine((1.0, 2.0))
    half = elementwise(power, (power, None), name="half")
    with pytest.raises(TypeError, match="half: operand 1 has no derivative"):
        jax.grad(half, 1)(1.0, 2.0)
    wide = elementwise(jnp.sin, lambda x: jnp.stack([x, x]), name="wide")
    with pytest.raises(TypeError, match="wide: derivative 0 must return an array of shape"):
        jax.grad(lambda x: wide(x).sum())(jnp.ones(3))
