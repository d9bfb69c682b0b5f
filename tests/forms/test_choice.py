"""Operations that choose, and are linear once they have chosen.

Covers jaxconv/forms/_choice.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.forms import chosen, linear_pair
from tests.oracles import both

from .maps import assert_same

pytestmark = pytest.mark.usefixtures("float64")


def largest(x, offset, *, k):
    order = jnp.argsort(-(x["a"] + offset))[:k]
    return x["a"][order], order


take, _ = linear_pair(
    lambda x, m, *, k: x["a"][m],
    lambda y, m, *, k: {"a": jnp.zeros(5).at[m].add(y)},
    name="test_take",
)
top, top_and_choice = chosen(largest, take, name="test_top")


def test_choices_of_trees(normal):
    x, offset = {"a": normal((3, 5))}, normal((3, 5))

    def plain(x, offset, *, k):
        return largest(x, jax.lax.stop_gradient(offset), k=k)[0]

    def everything(f, x, offset):
        f = partial(f, k=2)
        square = lambda x, o: jnp.sum(f(x, o) ** 3)  # noqa: E731
        one = {"a": x["a"][0]}, offset[0]
        return (
            jax.vmap(f)(x, offset),
            jax.vmap(jax.grad(square))(x, offset),
            jax.grad(lambda x: jnp.sum(jax.vmap(f, (0, None))(x, offset[0]) ** 2))(x),
            jax.vmap(jax.vmap(f, (0, None)), (None, 0))(x, offset),
            jax.hessian(lambda a: square({"a": a}, offset[0]))(x["a"][0]),
            jax.jvp(lambda x: f(x, offset[0]), one[:1], one[:1]),
        )

    assert_same(*both(everything, top, plain, x, offset))
    one = {"a": x["a"][0]}
    (y, m), (_, m_dot) = jax.jvp(lambda x: top_and_choice(x, offset[0], k=2), (one,), (one,))
    np.testing.assert_array_equal(one["a"][m], y)
    assert m_dot.dtype == jax.dtypes.float0
    with pytest.raises(TypeError, match=r"^test_top: a constant has no derivative"):
        jax.grad(lambda o: top(one, o, k=2).sum())(offset[0])


def test_choices_of_two_arrays_and_a_constant(normal):
    """The arrays of the operand are differentiated, and the constant is not."""
    pair, _ = linear_pair(
        lambda x, m: jnp.where(m, x[0], x[1]),
        lambda y, m: (jnp.where(m, y, 0), jnp.where(m, 0, y)),
        name="test_pair",
    )

    def larger(x, offset):
        m = x[0] + offset > x[1]
        return jnp.where(m, x[0], x[1]), m

    ours, _ = chosen(larger, pair, name="test_larger")
    x, offset = (normal((5,)), normal((5,))), normal((5,))

    def everything(f):
        return (
            jax.jvp(lambda x: f(x, offset), (x,), (x,)),
            jax.grad(lambda x: jnp.sum(f(x, offset) ** 2))(x),
            jax.grad(lambda b: jnp.sum(f((x[0], b), offset) ** 2))(x[1]),
            jax.vmap(jax.grad(lambda x, o: f(x, o)))(x, offset),
        )

    assert_same(everything(ours), everything(lambda x, offset: larger(x, offset)[0]))
    with pytest.raises(TypeError, match="a constant has no derivative"):
        jax.grad(lambda o: ours(x, o).sum())(offset)
