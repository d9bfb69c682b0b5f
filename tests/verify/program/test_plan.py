"""A plan holds the equations that the results depend on, and where values are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program._in_numpy import SMALL
from jaxconv.verify.program._interpreter import evaluate
from jaxconv.verify.program._plan import cost_of, is_concrete, plan_of

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def f(x, y):
    unused = jnp.exp(y)
    jax.debug.callback(lambda a: None, x)
    inner = jax.jit(lambda a: a * 0.1 + y)(x)
    del unused
    return inner, lax.sin(inner) * jnp.float32(3), 2.5


X, Y = np.arange(3.0), np.ones(3)


def test_steps_of_a_plan():
    traced = jax.make_jaxpr(f)(X, Y)
    plan = plan_of(traced)
    names = [step.equation.primitive.name for step in plan.steps]
    assert names == ["mul", "add", "sin", "mul"]  # calls are inlined, the rest is left out
    assert plan_of(traced) is plan
    assert plan.cost == pytest.approx(4 * (1 + 3 / 2000))
    assert all(step.is_small and step.quick and not step.has_many for step in plan.steps)
    assert not any(step.program for step in plan.steps)
    literals = sorted(float(plan.constants[slot]) for slot, _ in plan.literals)
    assert literals == pytest.approx([0.1, 2.5, 3.0])
    assert all(plan.constants[slot].dtype == float for slot, _ in plan.literals)
    # Each value is dropped after the last step that reads it; results, constants and literals stay.
    inputs = {0, 1}
    kept = set(plan.results) | {slot for slot, _ in plan.literals}
    last_read = {}
    for i, step in enumerate(plan.steps):
        for slot in (*step.operands, *step.results):
            last_read[slot] = i
    for slot, i in last_read.items():
        is_dropped = [slot in step.last for step in plan.steps]
        expected = [j == i and slot not in kept for j in range(len(plan.steps))]
        assert is_dropped == expected, slot
    assert inputs <= set(last_read)
    found = evaluate(traced, [X, Y])
    np.testing.assert_allclose(found[0], X * 0.1 + Y)
    np.testing.assert_allclose(found[1], np.sin(X * 0.1 + Y) * 3)


def test_constants_are_wide():
    half = jnp.asarray([1.5, 2.5], jnp.bfloat16)
    traced = jax.make_jaxpr(lambda x: x * half.astype("float32") + half)(np.ones(2, np.float32))
    plan = plan_of(traced)
    arrays = [c for c in plan.constants if isinstance(c, np.ndarray) and c.shape == (2,)]
    assert arrays
    assert all(c.dtype == float for c in arrays)


def test_cost_of_equations():
    def cost(function, *args):
        (equation,) = jax.make_jaxpr(function)(*args).jaxpr.eqns
        return cost_of(equation)

    assert cost(lax.sin, np.ones(SMALL)) == pytest.approx(1 + SMALL / 2000)
    assert cost(lax.sin, np.ones(SMALL + 1)) == pytest.approx(80 + (SMALL + 1) / 2000)
    assert cost(lax.sin, 1.0) == pytest.approx(1 + 1 / 2000)
    x = np.ones((1, 1, 4))
    assert cost(lambda x: lax.conv(x, x, (1,), "VALID"), x) == pytest.approx(80 + 4 / 2000)
    loop = cost(lambda x: lax.scan(lambda c, _: (c, None), x, None, 3)[0], np.ones(2000))
    assert loop == pytest.approx(2)  # its iterations are counted as they run
    assert cost(lambda x: lax.broadcast_in_dim(x, (5000,), ()), 1.0) == pytest.approx(1 + 2.5)


def test_small_and_large_equations():
    def sines(size):
        (step,) = plan_of(jax.make_jaxpr(lax.sin)(np.ones(size))).steps
        return step

    assert sines(SMALL).is_small
    assert sines(SMALL).quick
    assert not sines(SMALL + 1).is_small
    assert sines(SMALL + 1).quick is None
    (step,) = plan_of(jax.make_jaxpr(lambda x: lax.sort((x, x)))(X)).steps
    assert step.has_many
    (step,) = plan_of(jax.make_jaxpr(lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x))(X)).steps[
        -1:
    ]
    assert step.program


def test_operands_of_numpy_and_of_jax():
    values = [np.ones(2), np.float64(1), jnp.ones(2), np.True_]
    assert is_concrete(values)
    assert isinstance(values[2], np.ndarray)
    assert not is_concrete([1.0])
    assert not is_concrete([np.float32(1)])
    assert not is_concrete([np.ones(2), jax.random.key(0)])
    assert not is_concrete([jnp.ones(2, jnp.int4), object()])

    def traced(x):
        assert not is_concrete([np.ones(2), x])
        return x

    jax.eval_shape(traced, 1.0)
