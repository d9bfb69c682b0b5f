"""Element-wise functions with stated derivatives."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.forms import _arguments, elementwise
from tests.oracles import both

pytestmark = pytest.mark.usefixtures("float64")

sine = elementwise(jnp.sin, lambda x: cosine(x), name="test_sine")
cosine = elementwise(jnp.cos, lambda x: -sine(x), name="test_cosine")
tanh = elementwise(
    jnp.tanh, lambda y, x: (1 - y) * (1 + y), uses_result=True, name="test_tanh", lowerings={}
)


def power(x, a, *, scale=1.0):
    return scale * x**a


def raised(x):
    return x**2


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


def test_what_users_see_of_a_function():
    unnamed = elementwise(jnp.sin, jnp.cos)
    assert (unnamed.name, sine.name) == ("sin", "test_sine")
    assert list(powers.differentiable) == [0, 1]
    assert list(elementwise(power, (None, power)).differentiable) == [1]
    assert list(powers.linear_slots) == []
    assert powers.linear == 2


def test_a_function_is_pickled_with_its_options(monkeypatch):
    monkeypatch.setattr(_arguments, "_MADE", {})
    made = [
        elementwise(raised, power),
        elementwise(raised, power, uses_result=True),
        elementwise(raised, power, name="sent"),
        elementwise(raised, [power], lowerings={"tpu": power}),
    ]
    sent = [pickle.dumps(operation) for operation in made]
    assert list(map(pickle.loads, sent)) == made
    monkeypatch.setattr(_arguments, "_MADE", {})  # as in a new process
    again = list(map(pickle.loads, sent))
    assert all(a is not b for a, b in zip(again, made, strict=True))
    assert [a.uses_result for a in again] == [False, True, False, False]
    assert [a.name for a in again] == ["raised", "raised", "sent", "raised"]
    assert [a.lowerings for a in again] == [{}, {}, {}, {"tpu": power}]
    assert [a.slopes for a in again] == [(power,)] * 4


def test_an_operand_without_a_tangent_needs_no_derivative(normal):
    """Its slope is not even evaluated, and integers have no tangent."""

    def never(x, n):
        raise AssertionError("the slope was evaluated")

    first = elementwise(power, (lambda x, a: a * x, never))
    x, n = abs(normal((3,))), jnp.arange(3)
    np.testing.assert_array_equal(jax.jvp(lambda x: first(x, n), (x,), (x,))[1], n * x * x)
    half = elementwise(power, (lambda x, a: a * x, None))
    found = jax.grad(lambda x, n: half(x, n).sum(), (0, 1), allow_int=True)(x, n)
    np.testing.assert_array_equal(found[0], n * x)
    assert found[1].dtype == jax.dtypes.float0


def test_the_result_comes_first_for_a_derivative_that_uses_it():
    seen = []

    def slope(*given, scale):
        seen.append(([float(x) for x in given], scale))
        return given[0]

    for uses_result in (True, False):
        f = elementwise(
            lambda x, a, *, scale: scale * x * a, (slope, None), uses_result=uses_result
        )
        jax.jvp(lambda x, f=f: f(x, 5.0, scale=7), (np.float64(3),), (np.float64(1),))
    assert seen == [([105.0, 3.0, 5.0], 7), ([3.0, 5.0], 7)]


def test_operands_are_broadcast_only_if_their_shapes_differ():
    x, row = jax.ShapeDtypeStruct((2, 3), jnp.float64), jax.ShapeDtypeStruct((3,), jnp.float64)

    def primitives(*operands):
        return [eqn.primitive.name for eqn in jax.make_jaxpr(powers)(*operands).eqns]

    assert primitives(x, x) == ["power"]
    assert primitives(x, row) == ["broadcast_in_dim", "power"]


def test_bad_input(no_type_checker):
    with pytest.raises(TypeError, match="elementwise: f must be a function, got int"):
        elementwise(2, jnp.sin)
    with pytest.raises(TypeError, match="elementwise: derivative must be a function"):
        elementwise(jnp.sin, 2)
    with pytest.raises(TypeError, match="elementwise: derivative 1 must be a function, got int"):
        elementwise(jnp.sin, (jnp.cos, 2, None))
    with pytest.raises(ValueError, match="elementwise: a platform must be one of cpu"):
        elementwise(jnp.sin, jnp.cos, lowerings={"gpu": jnp.sin})
    with pytest.raises(TypeError, match="one for each derivative, got 1"):
        powers(1.0)
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
    second = elementwise(power, (power, lambda x, a: jnp.ones(2)), name="second")
    message = r"second: derivative 1 must return an array of shape \(\), got \(2,\)"
    with pytest.raises(TypeError, match=message):
        jax.grad(second, 1)(1.0, 2.0)
    with pytest.raises(TypeError, match=r"^half: operand 1 has no derivative; see "):
        jax.jvp(half, (1.0, 2.0), (1.0, 1.0))
