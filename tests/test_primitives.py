"""Every primitive that the library registers has every rule: found here, none is listed by hand.

Each equation that the calls below are traced to is taken out and run by itself: forward mode,
reverse mode, second order, vmap, and exported for platforms that need not be here. The operands are
small whole numbers, so that every sum is exact and what must be equal is equal to the last bit.

Covers jaxconv/forms/_operation.py.
"""

import functools
import gc
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.extend.core import Primitive, jaxprs_in_params

import jaxconv
from jaxconv import algorithms
from jaxconv._arguments import convolution_geometry
from jaxconv.ops._windows import where_chosen

for module in pkgutil.walk_packages(jaxconv.__path__, "jaxconv."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

SHAPE = (2, 6, 6, 4)
KERNEL = jnp.ones((3, 3, 4, 4))
POOLED = convolution_geometry("test", SHAPE[1:-1], (2, 2), 2, "VALID", 1, 1, 1)


def scattered_directly(x):
    """What the scatter of `max_pool` compiles to, which rearranges by a primitive of its own."""
    taps = jnp.zeros((SHAPE[0], *POOLED.output_size, SHAPE[-1]), jnp.int8)
    return algorithms.scatter_windows(x[:, ::2, ::2], taps, geometry=POOLED)


# Functions of x that reach the primitives, in their values or in their gradients.
CALLS = [
    lambda x: jaxconv.conv(x, KERNEL * x.mean()),
    lambda x: jaxconv.conv(x, KERNEL, padding="SAME", padding_mode="circular"),
    lambda x: jaxconv.add_bias(x, x[0, 0, 0]),
    lambda x: jaxconv.dropout(x, jnp.ones(SHAPE, bool), 0.5),
    lambda x: jaxconv.max_pool(x, 2),
    lambda x: jaxconv.conv_block(x, KERNEL, x[0, 0, 0], window_shape=2),
    lambda x: where_chosen(x, jnp.zeros(SHAPE, jnp.int8)),
    lambda x: jaxconv.max_pool(x, 2, ties="split"),
    lambda x: jaxconv.max_pool(x, 2, ties="all"),
    lambda x: jaxconv.max_unpool(*jaxconv.max_pool_with_argmax(x, 2), 2),
    lambda x: jaxconv.avg_pool(x, 2),
    lambda x: jaxconv.upscale(x, 2, "bilinear"),
    lambda x: jaxconv.pixel_shuffle(x, 2),
    scattered_directly,
]


def ours(primitive):
    # An operation that a test made of functions of its own has another name.
    module = getattr(primitive.impl, "__module__", None) or ""
    return "jaxconv" in f"{primitive.name} {module}"


def equations(jaxpr):
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


@functools.cache
def equations_of_primitives():
    """The first equation of each primitive that is ours, by its name."""
    found = {}
    for call in CALLS:
        loss = jax.value_and_grad(lambda x, call=call: jnp.sum(call(x) ** 2))
        for equation in equations(jax.make_jaxpr(loss)(jnp.ones(SHAPE))):
            if ours(equation.primitive):
                found.setdefault(equation.primitive.name, equation)
    return found


OTHER_RULES = {
    # A choice is not linear. tests/forms/ tests its rules.
    "jaxconv_window_max",
    "jaxconv_window_max_and_choice",
    "jaxconv_window_max_in_loop",
    "jaxconv_window_max_in_loop_and_choice",
    # Only lowering rules bind these, so they have no derivative and no batching rule.
    "jaxconv_row_major",
    "jaxconv_kernel",
}
# `isinstance` would ask modules such as torch for attributes.
PRIMITIVES = [p for p in gc.get_objects() if issubclass(type(p), Primitive)]
REGISTERED = sorted({p.name for p in PRIMITIVES if ours(p)} - OTHER_RULES)


@pytest.mark.parametrize("name", REGISTERED)
def test_every_rule(name):
    assert name in equations_of_primitives(), "add a call to CALLS that reaches it"
    equation, rng = equations_of_primitives()[name], np.random.default_rng(0)
    avals = [variable.aval for variable in equation.invars]
    linear = 2 if name in ("jaxconv_x", "jaxconv_k", "jaxconv_y") else 1

    def draw(aval):
        return jnp.asarray(rng.integers(0, 3, aval.shape), aval.dtype)

    operands, moved = (tuple(map(draw, avals)) for _ in range(2))
    primals, constants = operands[:linear], operands[linear:]
    tangents = moved[:linear]
    out_bar = draw(equation.outvars[0].aval)

    def f(*operands):
        return equation.primitive.bind(*operands, **equation.params)

    def of(*primals):
        return f(*primals, *constants)

    def gradients(*primals):
        return jax.grad(lambda *primals: jnp.sum(of(*primals) ** 2), tuple(range(linear)))(*primals)

    @jax.jit
    def all_rules():
        out, jvp = jax.jvp(of, primals, tangents)
        one_moved = [[*primals[:i], tangents[i], *primals[i + 1 :]] for i in range(linear)]
        terms = [of(*moved) for moved in one_moved]
        batch = jax.vmap(f)(*(jnp.stack(pair) for pair in zip(operands, moved, strict=True)))
        bars = jax.vjp(of, *primals)[1](out_bar)
        return {
            "jvp": (jvp, sum(terms)),
            "vjp": (
                [jnp.vdot(out_bar, term) for term in terms],
                list(map(jnp.vdot, bars, tangents)),
            ),
            "vmap": (batch, jnp.stack([out, f(*moved)])),
            "second order": (
                [jnp.vdot(*pair) for pair in zip(gradients(*primals), primals, strict=True)],
                [2 * jnp.vdot(out, out)] * linear,
            ),
        }, jax.jvp(gradients, primals, tangents)

    results, (expected_gradients, _) = all_rules()
    for rule, (actual, expected) in results.items():
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b, rule)
    np.testing.assert_array_equal(of(*primals), f(*operands))  # outside jit
    exported = export.export(jax.jit(gradients), platforms=["cpu", "cuda", "tpu"])(*primals)
    again = export.deserialize(exported.serialize())
    for a, b in zip(again.call(*primals), expected_gradients, strict=True):
        np.testing.assert_array_equal(a, b)
