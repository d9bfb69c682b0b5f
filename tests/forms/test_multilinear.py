"""The mechanism, on a form that is no convolution: T(a, b, c) = Σ a[i] b[i,j] c[j].

Covers jaxconv/forms/_choice.py, jaxconv/forms/_contraction.py, jaxconv/forms/_rules.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from jaxconv.forms import (
    axis_by_axis,
    broadcast_batch,
    chosen,
    linear_pair,
    merge_leading_axes,
    multilinear_form,
)
from jaxconv.forms._operation import Primitive
from tests.oracles import together

pytestmark = pytest.mark.usefixtures("float64")


def result(slot, *operands, **_):
    first, second = operands
    shape = {
        "a": lambda: (first.shape[0],),
        "b": lambda: (first.shape[0], second.shape[0]),
        "c": lambda: (second.shape[1],),
    }[slot]()
    return jax.ShapeDtypeStruct(shape, first.dtype)


def one_by_one(contractions, slot, operands, batched, **params):
    size = next(a.shape[0] for a, b in zip(operands, batched, strict=True) if b)
    rows = [[a[i] if b else a for a, b in zip(operands, batched, strict=True)] for i in range(size)]
    return jnp.stack([contractions[slot](*row, **params) for row in rows])


bra, outer, ket = multilinear_form(
    {
        "a": lambda b, c, *, scale: scale * (b @ c),
        "b": lambda a, c, *, scale: scale * jnp.outer(a, c),
        "c": lambda a, b, *, scale: scale * (a @ b),
    },
    name="test_matrix",
    result=result,
    batch=one_by_one,
)


def plain(a, b):
    return 3.0 * (a @ b)


def ours(a, b):
    return ket(a, b, scale=3.0)


@pytest.fixture
def operands(normal):
    return normal((4,)), normal((4, 5)), normal((5,))


MODES = {
    "value": lambda f, a, b, c: f(a, b),
    "vjp": lambda f, a, b, c: jax.vjp(f, a, b)[1](c),
    "jvp of one": lambda f, a, b, c: jax.jvp(lambda a: f(a, b), (a,), (2 * a,))[1],
    "jvp of both": lambda f, a, b, c: jax.jvp(f, (a, b), (2 * a, jnp.sin(b)))[1],
    "linear_transpose": lambda f, a, b, c: jax.linear_transpose(lambda a: f(a, b), a)(c),
    "hessian": lambda f, a, b, c: jax.hessian(lambda a, b: jnp.sum(f(a, b) ** 3), (0, 1))(a, b),
    "third order": lambda f, a, b, c: jax.jacfwd(jax.hessian(lambda a: jnp.sum(f(a, b) ** 3)))(a),
    "vmap of a": lambda f, a, b, c: jax.vmap(f, (0, None))(jnp.stack([a, 2 * a]), b),
    "vmap of b": lambda f, a, b, c: jax.vmap(f, (None, 2))(a, jnp.stack([b, 2 * b], 2)),
    "vmap of grad": lambda f, a, b, c: jax.vmap(jax.grad(lambda a, b: jnp.sum(f(a, b) ** 2), 1))(
        jnp.stack([a, 2 * a]), jnp.stack([b, jnp.sin(b)])
    ),
    "zero cotangent": lambda f, a, b, c: jax.grad(lambda a: 0.0 * jnp.sum(f(a, b)))(a),
    "unused": lambda f, a, b, c: jax.grad(lambda a, b: (f(a, b), jnp.sum(a))[1], (0, 1))(a, b),
    "jit": lambda f, a, b, c: jax.jit(jax.grad(lambda a: jnp.sum(f(a, b) ** 2)))(a),
}


def test_modes(operands):
    actual, expected = (
        together([(partial(mode, f), *operands) for mode in MODES.values()]) for f in (ours, plain)
    )
    for mode, *pair in zip(MODES, actual, expected, strict=True):
        for x, y in zip(*map(jax.tree.leaves, pair), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13, err_msg=mode)


def test_every_contraction_has_the_others_as_transposes(operands):
    a, b, c = operands
    bars = {
        bra: jax.vjp(lambda b, c: bra(b, c, scale=1.0), b, c)[1](a),
        outer: jax.vjp(lambda a, c: outer(a, c, scale=1.0), a, c)[1](b),
    }
    np.testing.assert_allclose(bars[bra][0], jnp.outer(a, c))
    np.testing.assert_allclose(bars[bra][1], a @ b)
    np.testing.assert_allclose(bars[outer][0], b @ c)
    np.testing.assert_allclose(bars[outer][1], a @ b)


def test_a_wrong_transpose_would_be_seen(operands):
    """A wrong map makes a wrong gradient, which the tests above would find."""
    a, b, c = operands
    _, wrong = linear_pair(
        lambda x: 2 * x,
        lambda y: 3 * y,
        name="test_wrong",
        result=lambda slot, x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        batch=broadcast_batch,
    )
    (bar,) = jax.vjp(wrong, a)[1](a)
    np.testing.assert_allclose(bar, 2 * a)
    assert abs(np.vdot(wrong(a), a) - np.vdot(a, bar)) > 1e-3


def test_constants_have_no_derivative(normal):
    pick, put = linear_pair(
        lambda x, index: x[:, index],
        lambda y, index: jnp.zeros((y.shape[0], 5)).at[:, index].add(y),
        name="test_pick",
        result=lambda slot, x, index: jax.ShapeDtypeStruct(
            (x.shape[0], 2 if slot == "out" else 5), x.dtype
        ),
        batch=one_by_one,
    )
    x, index = normal((3, 5)), jnp.array([4, 1])
    np.testing.assert_array_equal(
        jax.grad(lambda x: pick(x, index).sum())(x).sum(0), [0, 3, 0, 0, 3]
    )
    np.testing.assert_array_equal(jax.jvp(lambda x: pick(x, index), (x,), (x,))[1], x[:, index])
    np.testing.assert_array_equal(
        jax.grad(lambda y: put(y, index).sum())(x[:, :2]), jnp.ones((3, 2))
    )


def test_a_constant_has_no_transpose():
    scaled, _ = linear_pair(lambda x, c: x * c, lambda y, c: y * c, name="scaled")
    x = jnp.ones(3)
    jax.linear_transpose(lambda a: scaled(a, x), x)(x)
    said = r"scaled_out: it is linear in each of its first 1 operands alone, not in operands \[1\]"
    with pytest.raises(TypeError, match=said):
        jax.linear_transpose(lambda c: scaled(x, c), x)(x)


def test_a_batching_rule_gets_arrays_of_jax_for_those_of_numpy():
    seen = []

    def batch(contractions, slot, operands, batched, **params):
        seen.extend(operands)
        return one_by_one(contractions, slot, operands, batched, **params)

    *_, product = multilinear_form(
        {"a": lambda b, c: b @ c, "b": jnp.outer, "c": lambda a, b: a @ b},
        name="test_numpy",
        result=result,
        batch=batch,
    )
    rows, matrix = np.arange(8.0).reshape(2, 4), np.arange(20.0).reshape(4, 5)
    np.testing.assert_array_equal(jax.vmap(product, (0, None))(rows, matrix), rows @ matrix)
    assert len(seen) == 2
    assert all(isinstance(operand, jax.Array) for operand in seen)


def test_a_batching_rule_is_told_which_operands_have_the_batch():
    told = []

    def batch(contractions, slot, operands, batched):
        told.append(batched)
        return contractions[slot](*operands)

    double, _ = linear_pair(
        lambda x, nothing, k: 2 * x, lambda y, nothing, k: 2 * y, name="test_told", batch=batch
    )
    jax.vmap(double, (0, None, None))(jnp.ones((2, 3)), (), jnp.ones(()))
    assert told == [[True, False, False]]  # an operand without arrays has none


def test_primitives_are_of_the_class_that_jax_offers():
    assert Primitive is core.Primitive


def test_platforms_have_lowerings_of_their_own():
    def result(slot, x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    double, _ = multilinear_form(
        {"a": lambda x: x + x, "b": lambda x: x + x},
        name="test_platforms",
        result=result,
        batch=broadcast_batch,
        lowerings={"a": {"cpu": lambda x: 2 * x, "cuda": lambda x: x * x}},
    )

    def program(platform):
        lowered = jax.jit(double).trace(jnp.ones(3)).lower(lowering_platforms=(platform,))
        return lowered.as_text()

    assert "stablehlo.multiply" in program("cpu")
    assert "stablehlo.multiply" in program("cuda")
    assert "stablehlo.add" in program("tpu")


# A choice: the element of a row that is nearest to a target. The target is a parameter.


def nearest(x, *, target):
    m = jnp.argmin(abs(x - target), axis=-1, keepdims=True)
    return jnp.take_along_axis(x, m, axis=-1), m.astype(jnp.int32)


def chosen_rows(slot, operand, m, *, target):
    columns = 1 if slot == "out" else 5
    return jax.ShapeDtypeStruct((operand.shape[0], columns), operand.dtype)


gather, scatter = linear_pair(
    lambda x, m, *, target: jnp.take_along_axis(x, m, axis=-1),
    lambda y, m, *, target: jnp.where(jnp.arange(5) == m, y, 0.0),
    name="test_gather",
    batch=merge_leading_axes,
    result=chosen_rows,
    shard=lambda slot, shape, *_, **__: (None,) * len(shape),
)
nearest_value, nearest_and_column = chosen(
    nearest,
    gather,
    value=lambda x, **params: nearest(x, **params)[0],
    name="test_nearest",
    batch=merge_leading_axes,
    shard=axis_by_axis,
    result=lambda x, *, target: (
        jax.ShapeDtypeStruct((x.shape[0], 1), x.dtype),
        jax.ShapeDtypeStruct((x.shape[0], 1), jnp.int32),
    ),
)


def test_choice_has_the_derivative_of_what_it_chose(normal):
    x, x_dot, y_bar = normal((3, 5)), normal((3, 5)), normal((3, 1))

    def value(x):
        return nearest_value(x, target=0.5)

    def value_and_column(x):
        return nearest_and_column(x, target=0.5)

    column = np.abs(np.asarray(x) - 0.5).argmin(axis=1)
    rows = np.arange(3)
    y, y_dot = jax.jvp(value, (x,), (x_dot,))
    np.testing.assert_array_equal(y[:, 0], x[rows, column])
    np.testing.assert_array_equal(y_dot[:, 0], x_dot[rows, column])
    expected = np.zeros((3, 5))
    expected[rows, column] = y_bar[:, 0]
    np.testing.assert_array_equal(jax.vjp(value, x)[1](y_bar)[0], expected)
    (y, m), (y_dot, m_dot) = jax.jvp(value_and_column, (x,), (x_dot,))
    np.testing.assert_array_equal(m[:, 0], column)
    np.testing.assert_array_equal(y_dot[:, 0], x_dot[rows, column])
    assert m_dot.dtype == jax.dtypes.float0
    squares = jax.hessian(lambda x: jnp.sum(value(x) ** 2))(x)
    assert squares.sum() == 2 * 3  # 2 for each of the three chosen elements
    batch = jnp.stack([x, x_dot])
    each = jnp.stack([value(x), value(x_dot)])
    np.testing.assert_array_equal(jax.vmap(value)(batch), each)
    np.testing.assert_array_equal(jax.vmap(value_and_column, 1)(batch.swapaxes(0, 1))[0], each)
    np.testing.assert_array_equal(jax.jit(value_and_column)(x)[0], value(x))


def test_maps_of_a_platform_are_compiled_there_only():
    double, half = linear_pair(
        lambda x: 2 * x,
        lambda y: y / 2,
        name="test_platforms",
        result=lambda slot, x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        lowerings={"cpu": (lambda x: 3 * x, lambda y: y / 3)},
    )
    x = jnp.ones((2, 1))
    assert double(x)[0, 0] == 3
    assert half(x)[0, 0] == 1 / 3
    for platform, factor in (("cpu", 3.0), ("cuda", 2.0), ("tpu", 2.0)):
        text = jax.jit(double).trace(x).lower(lowering_platforms=(platform,)).as_text()
        assert f"dense<{factor:.6e}>" in text
