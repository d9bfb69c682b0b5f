"""Random programs of nested constructs of JAX.

Covers jaxconv/_accelerate/_rewriting.py.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from jaxconv import accelerate

from .programs import IMAGES, KERNEL, conv, max_pool

# A program is a function of a kernel and images that returns images. These make one of others.


def sequence(*programs):
    return lambda kernel, x: reduce(lambda x, f: f(kernel, x), programs, x)


def added(f, g):
    return lambda kernel, x: f(kernel, x) + g(2 * kernel, x)


def jitted(f):
    return lambda kernel, x: jax.jit(f)(kernel, x)


def scanned(f):
    return lambda kernel, x: lax.scan(lambda x, k: (f(k, x), x.sum()), x, kernel[None])[0]


def conditional(f, g):
    return lambda kernel, x: lax.cond(x.sum() > 0, f, g, kernel, x)


def looped(f):
    """A loop of unknown length, which has no reverse mode."""

    def program(kernel, x):
        kernel, start = lax.stop_gradient((kernel, x))
        end = lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, f(kernel, s[1])), (0, start))
        return x + end[1]

    return program


def with_jvp(f):
    g = jax.custom_jvp(f)
    g.defjvp(lambda primals, tangents: jax.jvp(f, primals, tangents))
    return g


def with_vjp(f):
    g = jax.custom_vjp(f)
    g.defvjp(lambda *a: (g(*a), a), lambda a, y_bar: jax.vjp(f, *a)[1](y_bar))
    return g


def mapped(f):
    return lambda kernel, x: jax.vmap(lambda x: f(kernel, x[None])[0])(x)


def mapped_kernels(f):
    def program(kernel, x):
        return jax.vmap(f)(jnp.stack([kernel, -kernel]), jnp.stack([x, x])).sum(0)

    return program


def checkpointed(f):
    return lambda kernel, x: jax.checkpoint(f)(kernel, x)


LEAVES = {
    "conv": lambda kernel, x: conv(x, kernel),
    "max_pool": lambda kernel, x: max_pool(x),
    "sum_pool": lambda kernel, x: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"
    ),
    "tanh": lambda kernel, x: jnp.tanh(x),
    "relu": lambda kernel, x: jax.nn.relu(x),
}
UNARY = (jitted, scanned, looped, with_jvp, with_vjp, mapped, mapped_kernels, checkpointed)
BINARY = (sequence, added, conditional)


def trees(leaves=tuple(LEAVES), unary=UNARY, binary=BINARY):
    """Descriptions of programs: a leaf's name, or a construct and its parts."""

    def larger(inner):
        one, two = st.sampled_from(unary), st.sampled_from(binary)
        return st.one_of(st.tuples(one, inner), st.tuples(two, inner, inner))

    return st.recursive(st.sampled_from(leaves), larger, max_leaves=4)


def program(tree):
    if isinstance(tree, str):
        return LEAVES[tree]
    make, *parts = tree
    return make(*map(program, parts))


def check_values(tree):
    """Values and gradients, in both orders, in one compiled program."""
    rng = np.random.default_rng(0)
    kernel, x = rng.normal(size=KERNEL) / 6, rng.normal(size=IMAGES)

    def loss(kernel, x):
        y = conv(program(tree)(kernel, x), kernel)
        return jnp.sum(jnp.sin(y)), {"y": y, "scale": (2.0, None)}

    def both(f):
        return jax.value_and_grad(f, (0, 1), has_aux=True)

    functions = both(loss), both(accelerate(loss)), accelerate(both(loss))
    with jax.enable_x64(True):
        kernel, x = jnp.asarray(kernel), jnp.asarray(x)
        types = [jax.eval_shape(f, kernel, x) for f in functions]
        want, *ours = jax.jit(lambda *a: [f(*a) for f in functions])(kernel, x)
        assert types[0] == types[1] == types[2]
        for result in ours:
            for a, b in zip(jax.tree.leaves(want), jax.tree.leaves(result), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


LONG = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(LONG, max_examples=6, derandomize=True)
@given(trees())
def test_values_and_gradients(tree):
    check_values(tree)


@pytest.mark.exhaustive
@settings(LONG, max_examples=150)
@given(trees())
def test_values_and_gradients_of_many(tree):
    check_values(tree)


# The order of effects is seen in the program, which need not be compiled for that.

TOLD = tuple(f"tell {i}" for i in range(3))


class Callback:
    def __init__(self, name):
        self.__name__ = name

    def __call__(self):
        pass

    def __repr__(self):
        return self.__name__


def tell(name):
    callback = Callback(name)

    def program(kernel, x):
        jax.experimental.io_callback(callback, None, ordered=True)
        return x

    return program


LEAVES.update({name: tell(name) for name in TOLD})


def effects(jaxpr):
    """The callbacks in a program, in order, each with the operations around it."""
    for equation in jaxpr.eqns:
        if "callback" in equation.params:
            yield equation.primitive.name, str(equation.params["callback"])
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from ((equation.primitive.name, *effect) for effect in effects(inner))


@settings(LONG, max_examples=25, derandomize=True)
@given(trees((*TOLD, "conv", "max_pool"), (jitted, scanned), BINARY))
def test_effects_stay_in_order(tree):
    kernel, x = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (KERNEL, IMAGES))

    def f(kernel, x):
        return conv(program((sequence, "tell 0", (sequence, tree, "tell 1")))(kernel, x), kernel)

    before, after = (jax.make_jaxpr(g)(kernel, x).jaxpr for g in (f, accelerate(f)))
    told = [*effects(before)]
    assert "tell 0" in told[0][-1]
    assert "tell 1" in told[-1][-1]
    assert told == [*effects(after)]
    assert before.effects == after.effects
    assert "conv_general_dilated[" not in str(after)
