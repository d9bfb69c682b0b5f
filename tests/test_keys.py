"""Numbers that are equal and yet not the same: in keys, in the maps of `forms`, in calls of lax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import forms
from jaxconv._keys import as_key, from_key, kind_of, kinds_of

ALIKE = [1, 1.0, True, 1 + 0j, np.float32(1), np.float64(1), np.int8(1), jnp.bfloat16.dtype.type(1)]
ZEROS = [0, 0.0, -0.0, False, np.float32(-0.0), np.float32(0.0), complex(0.0, -0.0)]


@pytest.mark.parametrize("numbers", [ALIKE, ZEROS], ids=["ones", "zeros"])
def test_equal_numbers_have_keys_of_their_own(numbers):
    for wrap in (lambda number: number, lambda number: ("a", (number, 3))):
        keys = [as_key({"s": wrap(number), "n": None}) for number in numbers]
        assert len(set(keys)) == len(numbers)
        assert [from_key(key) for key in keys] == [{"s": wrap(n), "n": None} for n in numbers]


def test_what_is_equal_to_no_other_number_has_no_kind():
    """So that most programs show the parameters of the user alone."""
    for value in (1, 0, 0.5, "1", None, (1, 2), ("SAME", (0.5, None)), np.dtype("int8")):
        assert kind_of(value) is None
    assert kinds_of({"b": 1, "a": 0.5}) == ()
    assert kinds_of({"b": True, "a": 2.0}) == (("a", "float 2.0"), ("b", "bool True"))


def test_a_key_does_not_depend_on_the_order_of_options():
    assert as_key({"a": 1, "b": 1.0}) == as_key({"b": 1.0, "a": 1})
    assert as_key({"a": 1, "b": 1.0}) != as_key({"b": 1, "a": 1.0})


def scaled(x, *, by):
    return x * by


@pytest.mark.parametrize("numbers", [[2, 2.0, np.float32(2)], [1, True, 1.0], [0.0, -0.0]], ids=str)
def test_an_operation_takes_no_number_for_another(numbers):
    """In one program and in several, whichever number came first."""
    x = jnp.arange(1, 4) if 0.0 not in numbers else jnp.ones(3)

    def of_each(f):
        return [f(x, by=number) for number in numbers]

    expected = of_each(scaled)
    for order in (1, -1):
        operation, _ = forms.linear_pair(scaled, scaled)
        alone = [operation(x, by=number) for number in numbers[::order]][::order]
        for found in (alone, jax.jit(lambda f=operation: of_each(f))(), of_each(operation)):
            for number, a, b in zip(numbers, found, expected, strict=True):
                assert a.dtype == b.dtype, number
                np.testing.assert_array_equal(1 / a, 1 / b)  # which has the sign of a zero


def test_derivatives_take_no_number_for_another():
    operation, _ = forms.linear_pair(scaled, scaled)
    x = jnp.ones(3)
    for number in (0.0, -0.0):
        y_dot = jax.jvp(lambda x, by=number: operation(x, by=by), (x,), (x,))[1]
        (x_bar,) = jax.vjp(lambda x, by=number: operation(x, by=by), x)[1](x)
        batch = jax.vmap(lambda x, by=number: operation(x, by=by))(x)
        for found in (y_dot, x_bar, batch):
            assert (np.signbit(found) == np.signbit(number)).all()


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("function", ["conv_general_dilated", "conv_transpose"])
def test_what_lax_refuses_is_refused_after_an_equal_call(function):
    """Floats for the sides of a padding, once the same integers have been accepted."""
    x, kernel = jnp.ones((1, 6, 5, 3)), jnp.ones((2, 2, 3, 3))
    call = getattr(jaxconv.lax, function)
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    call(x, kernel, (1, 1), ((2, 1), (1, 2)), **options)
    for sides in (((2.0, 1.0), (1.0, 2.0)), ((2, 1), (1, 2.0))):
        with pytest.raises(ValueError, match=r"sequence of \(low, high\) pairs"):
            call(x, kernel, (1, 1), sides, **options)
