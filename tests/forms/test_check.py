"""`forms.check` finds what is wrong, says it in a sentence or names the slip."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.forms import broadcast_batch, check, elementwise, linear_pair, multilinear_form

pytestmark = pytest.mark.usefixtures("float64")


def blur(x):
    return (x[1:] + x[:-1]) / 2


def back(y):
    return (jnp.pad(y, (0, 1)) + jnp.pad(y, (1, 0))) / 2


X = (np.array([0.5, -1.25, 2.0, 3.5, -0.75]),)
MISTAKES = {
    "a factor, in half precision": (
        lambda: linear_pair(
            blur, lambda y: 2 * back(y), verify=(jnp.array(X[0], jnp.bfloat16),)
        ),
        r"x: float64\[5\](.|\n)*a constant factor",  # as it is in double precision
    ),
    "a sign": (lambda: linear_pair(blur, lambda y: -back(y), verify=X), "wrong sign"),
    "reversed": (lambda: linear_pair(blur, lambda y: back(y)[::-1], verify=X), "reversed|flipped"),
    "transpose not linear": (
        lambda: linear_pair(blur, lambda y: back(y) ** 2, name="blur", verify=X),
        r"blur_in is not linear in operand 0: f\(2u \+ v\) differs from 2 f\(u\) \+ f\(v\)\.$",
    ),
    "map not linear": (
        lambda: linear_pair(lambda x: blur(x) + 1, back, name="blur", verify=X),
        r"blur_out is not linear in operand 0",
    ),
    "shape": (
        lambda: linear_pair(blur, lambda y: y, name="blur", verify=X),
        r"^blur_out: .* must return float64\[5\], as operand 0 is, but returned float64\[4\]",
    ),
    "batch": (
        lambda: linear_pair(blur, back, batch=broadcast_batch, name="blur", verify=X),
        "blur_out: vmap over operand 0 gives other values than the map itself|check_gradients",
    ),
    "platform here": (
        lambda: linear_pair(blur, back, lowerings={"cpu": (blur, lambda y: 3 * back(y))}, verify=X),
        "back: its map for cpu gives other values",
    ),
    "platform not here": (
        lambda: linear_pair(blur, back, lowerings={"tpu": (lambda x: jnp.no, back)}, verify=X),
        "blur: its map for tpu can't be compiled: AttributeError",
    ),
    "its shape": (
        lambda: linear_pair(blur, back, lowerings={"cuda": (blur, blur)}, verify=X),
        r"back: its map for cuda returns float64\[3\], not float64\[5\]",
    ),
    "element-wise": (lambda: elementwise(jnp.sin, jnp.sin, verify=X), "sin: the gradient is wrong"),
    "platform of a map that is not linear": (
        lambda: elementwise(jnp.sin, jnp.cos, lowerings={"cpu": lambda x: 2 * x}, verify=X),
        "sin: its map for cpu gives other values",
    ),
    "of a form": (
        lambda: multilinear_form(
            {"a": lambda b, c: b @ c, "b": lambda a, c: jnp.outer(c, a), "c": lambda a, b: a @ b},
            verify=(jnp.arange(3.0) + 1, jnp.arange(9.0).reshape(3, 3) - 3),
        ),
        "transposed",
    ),
    "complex": (
        lambda: linear_pair(lambda x: 1j * x, lambda y: -1j * y, verify=(X[0] + 1j,)),
        "wrong sign",
    ),
}  # fmt: skip


def test_a_long_error_is_cut_short():
    def fails(x):
        raise RuntimeError("x" * 400)

    with pytest.raises(ValueError, match="can't be compiled") as raised:
        linear_pair(blur, back, lowerings={"tpu": (fails, back)}, verify=X)
    assert str(raised.value).endswith("can't be compiled: RuntimeError: " + "x" * 286 + ".")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_right_ones_pass():
    rounds_elsewhere = lambda x: blur(x / 3) * 3  # noqa: E731
    lowerings = {"cpu": (rounds_elsewhere, back), "tpu": (blur, back)}
    linear_pair(blur, back, verify=X, lowerings=lowerings)
    linear_pair(lambda x: 1j * x, lambda y: 1j * y, verify=(X[0] - 2j,))
    linear_pair(blur, back, verify=(jnp.array([1, 2, 4]),))  # integers: the maps only
    elementwise(jnp.sin, jnp.cos, verify=X)
    multilinear_form(jnp.multiply, symmetry="symmetric", slots=3, verify=X * 2)
    multilinear_form(  # operands of the last one, which fit no other
        {
            "a": lambda b, c: jnp.einsum("ij,j->i", b, c),
            "b": lambda a, c: jnp.einsum("i,j->ij", a, c),
            "c": lambda a, b: jnp.einsum("i,ij->j", a, b),
        },
        verify=(jnp.arange(3.0) + 1, jnp.arange(12.0).reshape(3, 4) - 3),
    )
    counted = (lambda x: {"a": 2 * x["a"], "n": x["n"]},) * 2
    linear_pair(*counted, verify=({"a": X[0], "n": jnp.arange(3)},))
    check(linear_pair(lambda x, *, k: k * x, lambda y, *, k: k * y)[0], {"a": X[0]}["a"], k=3)


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    with pytest.raises(TypeError, match="check: it takes an operation, got function"):
        check(blur, *X)
