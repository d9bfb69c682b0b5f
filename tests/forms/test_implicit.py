"""Linear solves and fixed points, with derivatives of their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.sparse.linalg import gmres

from jaxconv import verify
from jaxconv.forms import fixed_point, linear_solve
from tests.oracles import both

pytestmark = pytest.mark.usefixtures("float64")


def solve(b, a):
    return jnp.linalg.solve(a, b)


solution = linear_solve(lambda x, a: a @ x, solve, lambda b, a: solve(b, a.T))


def second_order(f, *xs):
    every, total = tuple(range(len(xs))), lambda *xs: jnp.sum(f(*xs) ** 2)
    return (
        jax.grad(total, every)(*xs),
        jax.jvp(jax.grad(total, every), xs, xs)[1],
        jax.grad(lambda *xs: jax.jvp(total, xs, xs)[1], every)(*xs),
        jax.vmap(f)(*(jnp.stack([x, 2 * x]) for x in xs)),
    )


def assert_same(actual, expected, rtol):
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def test_linear_solve_equals_autodiff_to_second_order(normal):
    b, a = normal((4,)), normal((4, 4)) + 4 * jnp.eye(4)
    assert_same(*both(second_order, solution, solve, b, a), 1e-11)


def test_a_wrong_transpose_solve_is_found(normal):
    wrong = linear_solve(lambda x, a: a @ x, solve, solve)  # as if A were symmetric
    report = verify.check_gradients(
        wrong, (normal((4,)), normal((4, 4)) + 4 * jnp.eye(4)), order=1, reference=solve
    )
    assert not report.ok


def step(z, w, b):
    return {"z": jnp.tanh(w @ z["z"] + b) / 2}


def unrolled(w, b):
    start = {"z": jnp.zeros_like(b)}
    return jax.lax.scan(lambda z, _: (step(z, w, b), None), start, length=60)[0]["z"]


@pytest.mark.parametrize(
    "options",
    [{}, {"solve_linear": lambda apply, b: gmres(apply, b, tol=1e-14, atol=0.0, maxiter=20)[0]}],
    ids=["iteration", "gmres"],
)
def test_fixed_point_equals_autodiff_of_the_iteration(options, normal):
    point = fixed_point(step, **options)
    w, b = normal((3, 3)) / 3, normal((3,))

    def ours(w, b):
        return point({"z": jnp.zeros_like(b)}, w, b)["z"]

    assert_same(*both(second_order, ours, unrolled, jnp.asarray(w), jnp.asarray(b)), 1e-10)


def test_a_root_finder_of_ones_own():
    def newton(g, z):
        for _ in range(8):
            z = z - (g(z) - z) / (jax.grad(g)(z) - 1)
        return z

    root = fixed_point(
        lambda z, a: jnp.cos(a * z), solve=newton, solve_linear=lambda f, b: b / f(1.0)
    )
    z, slope = jax.value_and_grad(root, 1)(0.5, 1.0)
    assert abs(jnp.cos(z) - z) < 1e-14
    np.testing.assert_allclose(slope, -z * jnp.sin(z) / (1 + jnp.sin(z)), rtol=1e-13)


def test_an_iteration_goes_on_until_every_element_has_stopped():
    mean = fixed_point(lambda z, a: jax.tree.map(lambda z, a: (z + a) / 2, z, a))
    a = {"a": jnp.array([1.0, 3.0]), "b": jnp.array([2.0]), "none": jnp.zeros(0)}
    start = {"a": jnp.array([1.0, 0.0]), "b": jnp.array([2.0]), "none": jnp.zeros(0)}
    assert_same(mean(start, a), a, 1e-14)


@pytest.mark.parametrize(("options", "most"), [({}, 16), ({"tolerance": 2.0**-20}, 2.0**32)])
def test_an_iteration_stops_at_its_tolerance(options, most):
    """Steps of 16 units of rounding of the largest element, or of the relative size asked for."""
    moved = fixed_point(lambda z, step: z + step * jnp.array([1.0, 0.0]), max_steps=5, **options)
    start, unit = jnp.array([0.0, 1.0]), 2.0**-52
    np.testing.assert_array_equal(moved(start, most * unit), [most * unit, 1])
    np.testing.assert_allclose(moved(start, 1.01 * most * unit)[0], 5 * 1.01 * most * unit)


def test_an_iteration_ends():
    count = []

    def drifts(z):
        jax.debug.callback(lambda: count.append(1))
        return z + 1

    fixed_point(drifts, max_steps=7)(0.0)
    jax.effects_barrier()
    assert len(count) == 7


def test_an_iteration_has_a_thousand_steps_by_default():
    found = fixed_point(lambda z: z + 1)(0.0)
    assert found == 1000


def test_the_first_step_counts():
    assert fixed_point(lambda z: z + 1, max_steps=1)(0.0) == 1


def test_a_tolerance_of_zero_asks_for_equal_values():
    """The iteration goes on while anything moves, however little."""
    halved = fixed_point(lambda z: z / 2, tolerance=0.0, max_steps=5000)
    assert halved(1.0) == 0.0
    count = []

    def still(z):
        jax.debug.callback(lambda: count.append(1))
        return z

    fixed_point(still, tolerance=0.0)(jnp.ones(2))
    jax.effects_barrier()
    assert len(count) == 1


def test_any_array_that_moves_goes_on():
    """Each array is measured by its own largest element."""
    drift = fixed_point(lambda z: {"a": z["a"] + 1e-9, "b": z["b"]}, max_steps=10)
    start = {"a": jnp.zeros(2), "b": jnp.full((2,), 1e9)}
    np.testing.assert_allclose(drift(start)["a"], 1e-8)


def test_what_users_see():
    named, rooted = linear_solve(lambda x, a: a @ x, _solved), fixed_point(_moved)
    assert (named.__name__, named.__doc__) == ("solved", "The solution.")
    assert (rooted.__name__, rooted.__doc__) == ("moved", "A step.")


def _solved(b, a):
    """The solution."""
    return jnp.linalg.solve(a, b)


def _moved(z, a):
    """A step."""
    return z / 2 + a


def test_nothing_inside_of_a_solution_is_differentiated():
    """The values of θ in `solve` have no derivative, and the start has none."""
    f = linear_solve(lambda x, d: d * x, lambda b, d: b / d)
    jaxpr = str(jax.make_jaxpr(lambda b, d: jax.jvp(f, (b, d), (b, d)))(1.0, 2.0))
    assert "custom_linear_solve" in jaxpr
    root = fixed_point(_moved)
    start, slope = jax.grad(root, (0, 1))(1.0, 1.0)
    assert start == 0
    np.testing.assert_allclose(slope, 2, rtol=1e-14)


def test_the_dtype_of_the_start_is_kept():
    """A number of Python starts an iteration in the dtype of what f returns for it."""
    root = fixed_point(_moved)
    for dtype in (jnp.float32, jnp.float64):
        assert root(jnp.zeros((), dtype), jnp.ones((), dtype)).dtype == dtype
    assert root(0.0, jnp.ones((), jnp.float64)).dtype == jnp.float64


def test_a_symmetric_system_has_one_solution_for_both():
    """Without `transpose_solve` the transposed system is solved by `solve`; with it, by that."""
    calls = []

    def solve_by(name):
        return lambda b, d: (calls.append(name), b / d)[1]

    for given in ((solve_by("solve"),), (solve_by("solve"), solve_by("transposed"))):
        f = linear_solve(lambda x, d: d * x, *given)
        calls.clear()
        jax.make_jaxpr(jax.grad(f))(1.0, 2.0)
        assert ("transposed" in calls) == (len(given) == 2)


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    with pytest.raises(TypeError, match="linear_solve: solve must be a function, got int"):
        linear_solve(jnp.dot, 2)
    with pytest.raises(TypeError, match=r"linear_solve: .* must return float64\[3\], as b is, got"):
        linear_solve(lambda x: x, lambda b: b[1:])(jnp.ones(3))
    with pytest.raises(TypeError, match="linear_solve: apply must be a function, got int"):
        linear_solve(2, jnp.dot)
    with pytest.raises(TypeError, match="linear_solve: transpose_solve must be a function, got in"):
        linear_solve(jnp.dot, jnp.dot, 2)
    for option in ("solve", "solve_linear"):
        with pytest.raises(TypeError, match=f"fixed_point: {option} must be a function, got int"):
            fixed_point(jnp.cos, **{option: 2})
    with pytest.raises(TypeError, match="fixed_point: f must be a function"):
        fixed_point(2)
    with pytest.raises(ValueError, match="fixed_point: max_steps must be at least 1, got 0"):
        fixed_point(jnp.cos, max_steps=0)
    with pytest.raises(TypeError, match=r"must return float64\[3\], as z is, got float64\[2\]"):
        fixed_point(lambda z: z[1:])(jnp.ones(3))
