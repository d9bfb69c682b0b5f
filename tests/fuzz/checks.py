"""What the properties of several rooms compare."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.oracles import transpose_of

from .strategies import Values, assert_close, eps_of, exact, is_integer


def check_shape(f, x, y):
    shape = jax.eval_shape(f, x)
    assert (shape.shape, shape.dtype) == (y.shape, y.dtype)


def check_linear(name, f, definition, x, y, terms, dtype):
    """Values, cotangent, tangent and batch of a linear map."""
    what = partial("{0}: {1}".format, name)
    with np.errstate(all="ignore"):
        expected, scale = definition(exact(x)), definition(np.abs(exact(x)))
    assert_close(y, expected, scale, terms, dtype, what=what("y"))
    check_shape(f, x, y)
    # NumPy stacks them: XLA ends the process where it concatenates less than bytes (JAX 0.10.0).
    for member in jax.vmap(f, 1)(jnp.asarray(np.stack([np.asarray(x)] * 2, 1))):
        assert_close(member, expected, scale, terms, dtype, what=what("vmap"))
    if is_integer(dtype):
        return
    _, y_dot = jax.jvp(f, (jnp.asarray(x),), (jnp.asarray(x),))
    assert_close(y_dot, expected, scale, terms, dtype, what=what("y_dot"))
    y_bar = Values(7).array(y.shape, dtype)
    (x_bar,) = jax.vjp(f, jnp.asarray(x))[1](jnp.asarray(y_bar))
    if 0 in x.shape or 0 in y.shape:
        assert not exact(x_bar).any()
        return
    of = partial(transpose_of, definition, x.shape)
    assert_close(
        x_bar, of(exact(y_bar)), of(np.abs(exact(y_bar))), 2 * terms, dtype, what=what("x_bar")
    )


def same_as_lax(ours, theirs, dtype, what=""):
    """Both give results of the same shape and nearly the same values, or both refuse the call.

    Returns the result of ours, or None.
    """
    refusals = TypeError, ValueError, RuntimeError
    try:
        with np.errstate(all="ignore"):  # lax divides by a stride of 0 before it refuses it
            expected = theirs()
    except (*refusals, ArithmeticError, AssertionError, IndexError) as error:
        expected = error
    try:
        with np.errstate(all="ignore"):
            actual = ours()
    except refusals as error:
        actual = error
    refused = isinstance(actual, Exception), isinstance(expected, Exception)
    assert refused[0] == refused[1], f"{what}: one of them refuses: {actual}, {expected}"
    if refused[0]:
        return None
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype), what
    return actual, expected


def check_close(actual, expected, terms, scale, dtype, what):
    actual, expected = exact(actual), exact(expected)
    if is_integer(dtype):
        np.testing.assert_array_equal(actual, expected, err_msg=what)
        return
    # Both round each term in the dtype: lax adds half precision up in half precision.
    bound = 8 * (terms + 2) * eps_of(dtype) * scale
    wrong = ~(np.abs(actual - expected) <= bound)
    assert not wrong.any(), (what, actual[wrong][:3], expected[wrong][:3], bound)
