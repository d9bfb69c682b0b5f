"""What loops, branches and solvers run, how often, and what is told of it, without compiling."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec

from jaxconv.verify.program import _loops
from jaxconv.verify.program._interpreter import Context, TooLong, evaluate, evaluate_in
from jaxconv.verify.program._plan import plan_of
from jaxconv.verify.program._wide import equations

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

X = np.array([0.5, -1.0, 2.0])


def traced(f, *args):
    return jax.make_jaxpr(f)(*args)


def only(name, f, *args):
    """The equation of a primitive."""
    (found,) = (e for e in equations(traced(f, *args)) if e.primitive.name == name)
    return found


def halved(x):
    """Half of x until that is below 1."""
    return lax.while_loop(lambda x: x >= 1, lambda x: x / 2, x)


def thrice(x):
    return lax.fori_loop(0, 3, lambda i, x: jnp.sin(x) * 2, x)


def counted(n, x):
    return lax.while_loop(lambda s: s[0] > 0, lambda s: (s[0] - 1, jnp.sin(s[1])), (n, x))[1]


def running(x):
    return lax.scan(lambda c, a: (c + jnp.sin(a), jnp.cos(c)), np.float64(0), x)


def branch(i, x):
    return lax.switch(i, [jnp.sin, jnp.cos, jnp.tan], x)


def solved(x):
    return lax.custom_linear_solve(lambda v: 2 * v, x, lambda f, b: jnp.exp(b), symmetric=True)


@jax.shard_map(
    mesh=jax.make_mesh((1,), ("i",)), in_specs=PartitionSpec(), out_specs=PartitionSpec()
)
def sharded(x):
    return jnp.sin(x)


# What is visited, in this order; the condition of a loop is not.
VISITED = {
    "scan": (running, [X], 3 * ["sin", "add", "cos"]),
    "scan, reversed": (
        lambda x: lax.scan(lambda c, a: (c + a, jnp.cos(c)), 0.0, x, reverse=True),
        [X],
        3 * ["add", "cos"],
    ),
    "scan without a state": (
        lambda x: lax.scan(lambda c, a: (c, jnp.sin(a)), None, x)[1],
        [X],
        3 * ["sin"],
    ),
    "while": (counted, [2, 0.5], 2 * ["sub", "sin"]),
    "while that stops when it is close": (halved, [3.0], ["while"]),
    "for": (thrice, [0.5], 3 * ["sin", "mul", "add"]),
    "cond": (branch, [1, 0.5], ["clamp", "cos"]),
    "solver": (solved, [0.5], ["exp"]),
    "shard_map": (sharded, [0.5], ["shard_map"]),
}


@pytest.mark.parametrize("name", VISITED)
def test_what_is_visited(name):
    f, args, expected = VISITED[name]
    seen, changed = [], []

    def visit(equation, operands, results, is_narrow):
        assert is_narrow is False
        assert len(operands) == len(equation.invars)
        assert len(results) == len(equation.outvars)
        assert all(isinstance(r, np.ndarray | jax.Array) for r in results)
        if equation.primitive.name == "convert_element_type":
            return results
        seen.append(equation.primitive.name)
        is_last = len(seen) == len(expected)
        if is_last:
            changed.extend(results)
        return [r + 100.0 for r in results] if is_last else results

    program = traced(f, *args)
    plain = evaluate(program, args)
    moved = evaluate(program, args, visit)
    if name == "for":
        assert sorted(seen) == sorted(expected)
    else:
        assert seen == expected
    # What the last visit returns is what the program goes on with.
    gaps = np.concatenate([np.ravel(m) - np.ravel(p) for m, p in zip(moved, plain, strict=True)])
    assert np.max(np.abs(gaps)) > 99
    assert changed


@pytest.mark.parametrize("name", VISITED)
def test_traced_values_are_visited_too(name):
    """In a program that is compiled: each equation of a body once."""
    f, args, expected = VISITED[name]
    seen = []

    def visit(equation, operands, results, is_narrow):
        seen.append(equation.primitive.name)
        return results

    program = traced(f, *args)
    plain = evaluate(program, args)

    def run(*args):
        return evaluate(program, args, visit)

    shapes = jax.eval_shape(run, *args)
    assert [s.shape for s in shapes] == [np.shape(p) for p in plain]
    assert all(s.dtype == np.asarray(p).dtype for s, p in zip(shapes, plain, strict=True))
    if name == "cond":
        assert {"sin", "cos", "tan"} <= set(seen)
    elif name != "shard_map":
        assert set(expected) <= set(seen)
    if name == "while that stops when it is close":
        assert set(seen) == {"while"}


# What an evaluation costs


def spent(f, *args, limit=np.inf):
    context = Context(None, None, False, limit)
    evaluate_in(traced(f, *args), list(args), context)
    return context.spent


def cost(*numbers_of_elements):
    return sum(1 + n / 2000 for n in numbers_of_elements)


def test_iterations_are_counted():
    assert spent(running, X) == pytest.approx(3 * cost(1, 1, 1))
    assert spent(branch, 2, 0.5) == pytest.approx(cost(1))
    # The condition and the body of each iteration.
    assert spent(counted, 2, 0.5) == pytest.approx(2 * cost(1, 1, 1))
    assert spent(counted, 0, 0.5) == 0
    assert spent(jnp.sin, X) == 0


@pytest.mark.parametrize("f", [running, lambda x: counted(3, x), lambda x: branch(0, x)])
def test_the_limit_may_be_spent(f):
    most = spent(f, X)
    assert spent(f, X, limit=most) == most
    with pytest.raises(TooLong):
        spent(f, X, limit=most - 1e-9)


def test_a_context_without_its_visits():
    visit, literal, kept = object(), object(), {}
    context = Context(visit, literal, True, 5.0, kept)
    quiet = context.quiet
    assert (quiet.visit, quiet.literal, quiet.is_traced) == (None, literal, True)
    assert (quiet.limit, quiet.spent) == (5.0, 0)
    assert quiet.kept is context.kept is kept
    assert quiet.quiet is quiet
    alone = Context(None, literal, False)
    assert alone.quiet is alone
    assert alone.kept == {}
    assert alone.unit == 2.0**-52


# More iterations than the condition asks for


class More:
    extra_rounds = 2

    def __call__(self, equation, operands, results, is_narrow):
        raise AssertionError("an extra round is not visited")


def test_extra_rounds():
    (more,) = evaluate(traced(halved, 3.0), [3.0], More())
    assert more == 0.75 / 4
    # A batch ends in different iterations, after which a further one has no meaning.
    batch = traced(jax.vmap(halved), np.array([3.0, 9.0]))
    (same,) = evaluate(batch, [np.array([3.0, 9.0])], More())
    np.testing.assert_array_equal(same, [0.75, 0.5625])


def test_loops_whose_end_depends_on_numbers():
    for f, args, expected in (
        (halved, [3.0], True),
        (counted, [2, 0.5], False),
        (
            lambda x: lax.while_loop(
                lambda s: (s[0] < 3) & (s[1] > 0.1), lambda s: (s[0] + 1, s[1] / 2), (0, x)
            ),
            [3.0],
            True,
        ),
        (lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1]), (0, x)), [X], 0),
    ):
        assert _loops.stops_when_close(only("while", f, *args)) == bool(expected)


def test_loops_of_a_batch_that_have_ended_keep_their_values():
    still, new, old = np.array([True, False]), np.ones((2, 3)), np.zeros((2, 3))
    expected = np.array([[1.0] * 3, [0.0] * 3])
    found = _loops._chosen(still, new, old)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(_loops._chosen(still, new[:, 0], old[:, 0]), [1, 0])
    for which in range(3):  # any of them may be traced
        values = [still, new, old]

        def chosen(value, which=which, values=values):
            return _loops._chosen(*[value if i == which else v for i, v in enumerate(values)])

        np.testing.assert_array_equal(jax.jit(chosen)(values[which]), expected)
    keys = jax.random.split(jax.random.key(0), 2)
    others = jax.random.split(jax.random.key(1), 2)
    picked = jax.random.key_data(_loops._chosen(jnp.asarray(still), keys, others))
    np.testing.assert_array_equal(picked[0], jax.random.key_data(keys)[0])
    np.testing.assert_array_equal(picked[1], jax.random.key_data(others)[1])


# Parts


def test_what_can_run_in_python():
    visit = object()

    def run(x):
        for is_traced in (False, True):
            quiet = SimpleNamespace(visit=None, is_traced=is_traced)
            visited = SimpleNamespace(visit=visit, is_traced=is_traced)
            assert _loops._in_python([X, 1.0], quiet)
            assert _loops._in_python([X, 1.0], visited) == (not is_traced)
            assert not _loops._in_python([X, x], quiet)
            assert not _loops._in_python([x, X], visited)
        return x

    jax.eval_shape(run, 1.0)


def test_rows_of_a_loop():
    like = SimpleNamespace(aval=SimpleNamespace(shape=(0, 2), dtype=np.dtype("float32")))
    nothing = _loops._stack([], like)
    assert (nothing.shape, nothing.dtype) == ((0, 2), np.float64)
    rows = _loops._stack([np.ones(2), np.zeros(2)], like)
    assert isinstance(rows, np.ndarray)
    np.testing.assert_array_equal(rows, [[1, 1], [0, 0]])
    assert isinstance(_loops._stack([np.float64(1), np.float64(2)], like), np.ndarray)
    for mixed in ([np.ones(2), jnp.zeros(2)], [jnp.ones(2), np.zeros(2)]):
        found = _loops._stack(mixed, like)
        assert isinstance(found, jax.Array)
        np.testing.assert_array_equal(found, [[1, 1], [0, 0]])
    key = jax.random.key(0)
    assert _loops._numpy(key) is key
    assert isinstance(_loops._numpy(jnp.ones(2)), np.ndarray)
    assert _loops._numpy("a token") == "a token"


def test_scan_of_nothing_with_and_without_a_state():
    def f(x):
        return lax.scan(lambda c, a: (c, (c, a)), x, jnp.zeros((0, 3)))

    assert [a.shape for a in evaluate(traced(f, 1.0), [1.0])] == [(), (0,), (0, 3)]

    def stateless(x):
        return lax.scan(lambda c, a: ((), a + x), (), jnp.zeros((0, 3)))[1]

    (found,) = evaluate(traced(stateless, 1.0), [1.0])
    assert (found.shape, found.dtype) == ((0, 3), np.float64)


@pytest.mark.parametrize(("index", "chosen"), [(-5, 0), (-1, 0), (0, 0), (1, 1), (2, 2), (3, 2)])
def test_an_index_is_moved_to_the_branches(index, chosen):
    equation = only("cond", branch, 1, 0.5)
    asked = []

    def run(program, rest, context):
        asked.append((program, rest))
        return ["result"]

    operands = [np.int32(index), 0.5]
    assert _loops._cond(equation, operands, Context(None, None, False), run) == ["result"]
    assert asked == [(equation.params["branches"][chosen], [0.5])]


PLATFORMS = (("cpu",), ("cuda", "rocm"), ("tpu",), None)


@pytest.mark.parametrize(
    ("backend", "platforms", "expected"),
    [
        ("cpu", PLATFORMS, 0),
        ("cpu", PLATFORMS[1:], 2),  # none is named for it: the default
        ("cpu", (None, *PLATFORMS[1:3]), 0),
        ("cpu", (("tpu",), ("cpu",)), 1),
        ("cpu", (("cuda",), ("tpu",)), 0),
        ("tpu", PLATFORMS, 2),
        ("tpu", PLATFORMS[:2], 0),
        ("gpu", PLATFORMS, "in JAX"),
    ],
)
def test_branch_of_a_platform(backend, platforms, expected, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    equation, operands = SimpleNamespace(params={"platforms": platforms}), ["operand"]

    def bound(*args):
        assert args == (equation, operands)
        return ["in JAX"]

    monkeypatch.setattr(_loops, "bind_as_traced", bound)
    (found,) = _loops._platform_index(equation, operands, None, None)
    assert found == expected
    if backend != "gpu":
        assert found.dtype == np.int32


def test_operands_of_a_solver():
    """Its own constants and the right side; those of the other programs stand before."""

    def f(a, b, c, x):
        return lax.custom_linear_solve(
            lambda v: a * v, x, lambda _, y: y / b, transpose_solve=lambda _, y: y / c
        )

    equation = only("custom_linear_solve", f, 2.0, 3.0, 4.0, 6.0)
    programs, asked = equation.params["jaxprs"], []

    def run(program, operands, context):
        asked.append((program, operands, context))
        return ["result"]

    lengths = equation.params["const_lengths"]
    assert (lengths.matvec, lengths.vecmat, lengths.solve, lengths.transpose_solve) == (1, 1, 1, 1)
    operands = ["matvec", "vecmat", "solve", "transpose_solve", "x"]
    context = Context(None, None, False)
    assert _loops._linear_solve(equation, operands, context, run) == ["result"]
    assert asked == [(programs.solve, ["solve", "x"], context)]

    def tangent(x):
        asked.clear()
        visited = Context(lambda *_: None, None, True)
        assert _loops._linear_solve(equation, [*operands[:4], x], visited, run) == ["result"]
        assert asked[0][:2] == (programs.solve, ["solve", x])  # its steps are what is perturbed
        return x

    jax.eval_shape(tangent, 1.0)
    program = traced(f, 2.0, 3.0, 4.0, 6.0)
    assert evaluate(program, [2.0, 3.0, 4.0, 6.0]) == [2.0]
    # The derivative is that of 2 y = x, whatever the solver computes.
    slope = jax.jvp(lambda x: evaluate(program, [2.0, 2.0, 2.0, x])[0], (6.0,), (1.0,))
    np.testing.assert_allclose(slope, [3.0, 0.5])


def test_a_program_in_float64():
    program = traced(lambda x, i: (jnp.sin(x), i + 1), np.float32([1.0, 2.0]), np.int32(3))
    plain = Context(None, None, False)

    def run(program, args, context):
        assert context is plain
        return evaluate(program, args)

    for given in (program, program.jaxpr):
        found = _loops._wider(given, plain, run)
        arguments = [(v.aval.shape, v.aval.dtype.name) for v in found.jaxpr.invars]
        assert arguments == [((2,), "float64"), ((), "int32")]
        assert found.out_avals[0].dtype == np.float64


def test_a_sharded_function_is_compiled_once():
    equation = only("shard_map", sharded, X)
    kept, ran = {}, []

    def run(program, args, context):
        ran.append(context)
        return evaluate(program, args)

    for visit in (None, lambda equation, operands, results, is_narrow: [operands[0], is_narrow]):
        context = Context(visit, None, False, kept=kept)
        found = _loops._shard_map(equation, [X], context, run)
        if visit is None:
            np.testing.assert_allclose(found[0], np.sin(X))
        else:
            assert found[0] is X
            assert found[1] is False
    assert len(ran) == len(kept) == 1
    assert list(kept) == [id(equation)]
    assert ran[0].visit is None


def test_each_handler_has_its_name():
    assert {name: handler.__name__ for name, handler in _loops.HANDLERS.items()} == {
        "scan": "_scan",
        "while": "_while",
        "cond": "_cond",
        "platform_index": "_platform_index",
        "custom_linear_solve": "_linear_solve",
        "shard_map": "_shard_map",
    }
    assert plan_of(traced(thrice, 0.5)).cost > 0
