"""A bad call raises an error that names the mistake."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify._problem import problem_of

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
