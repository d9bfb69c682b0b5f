"""A bad call raises an error that names the mistake."""

import dataclasses
import importlib
import pkgutil
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify._problem import Leaf, first_line, join, name_of, problem_of, split, typed

X = np.ones(3, np.float32)


def _raises(x):
    raise RuntimeError("boom")


@pytest.mark.parametrize("x", [np.array([0.1, 2.0]), [0.1, 1e-30], 0.1], ids=str)
def test_function_that_returns_its_argument(x):
    """The numbers of NumPy and Python may have more digits than JAX gives the function."""
    problem = problem_of(lambda x: x, (x,), None)
    np.testing.assert_array_equal(problem.values, np.ravel(x).astype(np.float32))


BAD_CALLS = {
    "no function": (lambda: verify.check_gradients(3, (X,)), TypeError, "f must be a function"),
    "no tuple": (lambda: verify.check_gradients(jnp.sin, X), TypeError, "args must be the tuple"),
    "arity": (lambda: verify.check_gradients(lambda x, y: x, (X,)), ValueError, "with 1 argument:"),
    "integers": (
        lambda: verify.check_gradients(jnp.sin, (np.ones(3, int),)),
        TypeError,
        "none of the arguments holds floating-point",
    ),
    "a type": (
        lambda: verify.check_gradients(jnp.sin, (np.float32,)),
        TypeError,
        "none of the arguments holds .* got type",
    ),
    "a dtype": (
        lambda: verify.check_gradients(jnp.sin, (np.dtype("float32"),)),
        TypeError,
        "none of the arguments holds .* got ",
    ),
    "integer argnum": (
        lambda: verify.check_gradients(lambda x, n: x * n, (X, 3), argnums=1),
        TypeError,
        "argument 1 .n. holds no floating-point",
    ),
    "None": (lambda: verify.check_gradients(lambda x: None, (X,)), TypeError, "returns None"),
    "integer result": (
        lambda: verify.check_gradients(lambda x: x.astype(int), (jnp.ones(3),)),
        TypeError,
        "must return floating-point or complex",
    ),
    "raises": (lambda: verify.check_gradients(_raises, (X,)), ValueError, "RuntimeError: boom"),
    "random": (
        lambda: verify.check_gradients(lambda x: x * np.random.default_rng().random(), (X,)),
        ValueError,
        "not deterministic",
    ),
    "one random result of two": (
        lambda: verify.check_gradients(lambda x: (x, x * np.random.default_rng().random()), (X,)),
        ValueError,
        "not deterministic",
    ),
    "NaN": (lambda: verify.check_gradients(jnp.sin, (X * np.nan,)), ValueError, "must be finite"),
    "not traceable": (
        lambda: verify.check_gradients(lambda x: x if float(x[0]) > 0 else -x, (X,)),
        ValueError,
        "JAX can't trace",
    ),
    "not linear": (
        lambda: verify.check_gradients(jnp.sin, (X,), linear_in=0),
        ValueError,
        "is not linear in it",
    ),
    "argnums": (lambda: verify.check_gradients(jnp.sin, (X,), argnums=1), ValueError, "argnums"),
    "linear_in": (
        lambda: verify.check_gradients(jnp.sin, (X,), linear_in=1),
        ValueError,
        "linear_in must be positions",
    ),
    "modes": (
        lambda: verify.check_gradients(jnp.sin, (X,), modes="x"),
        ValueError,
        "modes must be",
    ),
    "order": (lambda: verify.check_gradients(jnp.sin, (X,), order=3), ValueError, "order must be"),
    "seed": (lambda: verify.check_gradients(jnp.sin, (X,), seed=-1), ValueError, "seed must be"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_call(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call()


def many(x, /, *rest, scale=1):
    return {"a": rest[0]["p"] * x, "n": rest[1], "z": rest[0]["z"] + x[0]}, scale * x.sum()


@pytest.mark.usefixtures("float64", "no_type_checker")
def test_arrays_of_a_problem():
    p, z = np.float32([[1.0, 2.0]]), np.array([1 + 2j])
    args = X[:2], {"p": p, "k": "no number", "z": z}, np.arange(3)
    problem = problem_of(many, args, None)
    f32, f64 = np.dtype("float32"), np.dtype("float64")
    assert problem.leaves == (
        Leaf("x", 0, (2,), f32, 0),
        Leaf("rest[0]['p']", 1, (1, 2), f32, 2),
        Leaf("rest[0]['z'].real", 1, (1,), f64, 4, "real"),
        Leaf("rest[0]['z'].imag", 1, (1,), f64, 5, "imag"),
    )
    assert problem.outputs == (
        Leaf("y[0]['a']", -1, (1, 2), f32, 0),
        Leaf("y[0]['z'].real", -1, (1,), f64, 2, "real"),
        Leaf("y[0]['z'].imag", -1, (1,), f64, 3, "imag"),
        Leaf("y[1]", -1, (), f32, 4),
    )
    assert (problem.size, problem.output_size, problem.name) == (6, 5, "many")
    np.testing.assert_array_equal(problem.values, [1, 2, 2, 2, 2])
    np.testing.assert_array_equal(join(problem.point), [1, 1, 1, 2, 1, 2])
    found = problem.function(*(2 * a for a in problem.point))
    np.testing.assert_array_equal(join(found), [4, 8, 4, 4, 4])
    flat = np.arange(6.0)
    parts = split(problem.leaves, flat)
    assert [part.shape for part in parts] == [(2,), (1, 2), (1,), (1,)]
    np.testing.assert_array_equal(join(parts), flat)
    assert [a.dtype for a in typed(problem.leaves, flat)] == [f32, f32, f64, f64]
    for argnums, leaves in ((1, (1, 2, 3)), ((0, -2), (0, 1, 2, 3)), ([-3], (0,))):
        chosen = problem_of(many, args, argnums)
        assert [leaf.name for leaf in chosen.leaves] == [problem.leaves[i].name for i in leaves]
        assert chosen.leaves[0].start == 0
        np.testing.assert_array_equal(join(chosen.function(*chosen.point)), problem.values)


class Callable:
    def __call__(self, x):
        return x


def test_names_of_functions_and_arguments():
    assert name_of(many) == name_of(partial(partial(many, scale=2), 1)) == "many"
    assert name_of(Callable()) == "Callable"
    assert [leaf.name for leaf in problem_of(Callable(), (X,), None).leaves] == ["x"]
    assert [leaf.name for leaf in problem_of(max, (1.0, 2.0), None).leaves] == [
        "args[0]",
        "args[1]",
    ]


def test_first_line_of_an_error():
    assert first_line(ValueError("a  b\nc\n\nmore")) == "a b c"
    assert first_line(ValueError("x" * 300)) == "x" * 300
    assert first_line(ValueError("x" * 301)) == "x" * 297 + "..."


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("argnums", [2, -3, (0, 2), (), 0.5, (0, 0.5), "x"])
def test_positions_beyond_the_arguments(argnums):
    said = r"argnums must hold positions of the 2 arguments, got"
    with pytest.raises(ValueError, match=said):
        problem_of(lambda x, y: x * y, (X, X), argnums)


def test_a_word_is_no_number():
    """Also one that NumPy knows a dtype by."""
    for word in ("f", "float64", "SAME"):
        problem = problem_of(lambda x, word: x, (X, word), None)
        assert [leaf.name for leaf in problem.leaves] == ["x"]


@pytest.mark.usefixtures("no_type_checker")
def test_an_object_is_a_constant():
    something = object()
    problem = problem_of(lambda x, other: x if other is something else None, (X, something), None)
    assert [leaf.name for leaf in problem.leaves] == ["x"]
    with pytest.raises(TypeError, match=r"argument 1 \(other\) holds no floating-point"):
        problem_of(lambda x, other: x, (X, something), 1)


def test_what_a_refusal_names():
    with pytest.raises(TypeError, match=r"got int32\[3\], str\.$|got int64\[3\], str\.$"):
        problem_of(lambda x, s: x, (np.ones(3, int), "a"), None)
    with pytest.raises(TypeError, match="got no arguments"):
        problem_of(lambda: X, (), None)
    with pytest.raises(ValueError, match=r"f: <lambda>\(x\) can't be called with 2 arguments: "):
        problem_of(lambda x: x, (X, X), None, caller="f")
    with pytest.raises(TypeError, match=r"got bool\[3\]\.$"):
        problem_of(lambda x: x > 0, (X,), None)
    with pytest.raises(TypeError, match=r"got tuple\.$"):
        problem_of(lambda x: (), (X,), None)
    with pytest.raises(ValueError, match=r"x\[1\] must be finite"):
        problem_of(lambda x: x[0], ((X, X * np.inf),), None)


@pytest.mark.usefixtures("no_type_checker")
def test_what_a_call_that_raises_names():
    def fails(x):
        raise ZeroDivisionError("in  it\n\nand more")

    said = (
        "^somebody: fails raises when it is called with these arguments: ZeroDivisionError: in it$"
    )
    with pytest.raises(ValueError, match=said):
        problem_of(fails, (X,), None, caller="somebody")


def test_records_stay_as_they_were_made():
    """All but the steps and plans of a program, which are filled as it is read."""
    found = {
        thing.__name__: thing.__dataclass_params__.frozen
        for module in pkgutil.walk_packages(verify.__path__, "jaxconv.verify.")
        if not module.name.endswith("__main__")
        for thing in vars(importlib.import_module(module.name)).values()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing)
    }
    assert {"Leaf", "Problem", "Finding", "Truth", "Slopes", "Grid", "Slide"} < set(found)
    assert {name for name, is_frozen in found.items() if not is_frozen} == {"Step", "Plan"}
