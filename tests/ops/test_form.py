"""The primitives of a program are those that the package's page on the life of a call names."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxconv
from jaxconv import conv, max_pool

X, KERNEL = jnp.ones((1, 8, 8, 2)), jnp.ones((3, 3, 2, 4))


def primitives(f, *args):
    return {equation.primitive.name for equation in jax.make_jaxpr(f)(*args).eqns}


def test_the_page_names_the_primitives_of_a_gradient():
    page = jaxconv.__doc__.partition("The gradient of a network with a max pool")[2]
    named = set(re.findall(r"`(jaxconv_\w+)`", page))
    found = primitives(jax.grad(lambda kernel: max_pool(conv(X, kernel), 2).sum()), KERNEL)
    assert {name for name in found if name.startswith("jaxconv")} == named


@pytest.mark.parametrize("order", [1, 2, 3])
def test_no_derivative_leaves_the_form(order):
    def f(x, kernel):
        return jnp.sum(conv(x, kernel, strides=2, padding=1) ** 3)

    for _ in range(order):
        f = jax.grad(lambda x, kernel, f=f: jnp.sum(f(x, kernel)))
    found = {name for name in primitives(f, X, KERNEL) if "conv" in name}
    assert found <= {"jaxconv_x", "jaxconv_k", "jaxconv_y"}
    assert "jaxconv_x" in found
