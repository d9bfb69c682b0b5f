"""A program is compiled when that is cheaper, and a perturbed loop ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program import _program
from jaxconv.verify.program._program import Program

pytestmark = pytest.mark.usefixtures("float64")

X = np.random.default_rng(0).normal(size=5)


def test_a_long_loop_is_compiled_when_it_has_taken_long(monkeypatch):
    compiled, asked = _program.compiled, []
    monkeypatch.setattr(_program, "compiled", lambda f: asked.append(f) or compiled(f))

    def many(x):
        return lax.fori_loop(0, 1000, lambda i, c: jnp.cos(c), x)

    program = Program(jax.make_jaxpr(many)(X))
    results = [program([X])[0] for _ in range(30)]
    assert len(asked) == 1
    assert program.is_compiled
    np.testing.assert_allclose(results, jax.jit(many)(X)[None].repeat(30, 0), rtol=1e-12)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_perturbed_loop_ends(is_compiled):
    """Moved at every step it never comes to the fixed point that it waits for."""

    def fixed_point(x):
        state = lax.while_loop(lambda s: s[0] != s[1], lambda s: (jnp.cos(s[0]), s[0]), (x, x + 1))
        return state[0]

    program = Program(jax.make_jaxpr(fixed_point)(X[0]))
    value = program([X[0]])
    rng = np.random.default_rng(0)

    def changes(signs):
        def visit(equation, operands, results, is_narrow):
            if equation.primitive.name != "cos":
                return results
            return [r * (1 + 1e-9 * s) for r, s in zip(results, signs, strict=False)]

        def draw(equation, operands, results, is_narrow):
            return [
                r * (1 + 1e-9 * rng.normal()) if equation.primitive.name == "cos" else r
                for r in results
            ]

        return (visit if is_compiled else draw), None

    program.is_compiled = is_compiled
    moved = program([X[0]], changes, "moved", np.ones(1))
    np.testing.assert_allclose(moved, value, rtol=1e-7)
