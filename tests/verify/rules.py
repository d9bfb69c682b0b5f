"""Functions with derivative rules of their own, right or wrong, for the tests of the verifier."""

from collections.abc import Iterable

import jax
import pytest
from jax import lax


def with_rule(f, rule):
    """`f` of one argument with the reverse rule `rule(x, y_bar)`."""
    g = jax.custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, y_bar: (rule(x, y_bar),))
    return g


def with_vjp(f, rule):
    """`f` with a reverse rule: `rule(true, args, y_bar)` is given the true cotangents."""
    g = jax.custom_vjp(f)

    def backward(args, y_bar):
        return tuple(rule(jax.vjp(f, *args)[1](y_bar), args, y_bar))

    g.defvjp(lambda *args: (f(*args), args), backward)
    return g


def with_jvp(f, rule):
    """`f` with a forward rule: `rule(true, args, dots)` is given the true tangent."""
    g = jax.custom_jvp(f)

    @g.defjvp
    def _(args, dots):
        y, y_dot = jax.jvp(f, args, dots)
        return y, rule(y_dot, args, dots)

    return g


def conv(x, kernel):
    """A convolution of feature maps `(n, h, w, c)` with the padding "SAME"."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def some(names: Iterable, chosen: Iterable) -> list:
    """The names as parameters; those that are not chosen run in the exhaustive suite only."""
    chosen, mark = list(chosen), pytest.mark.exhaustive
    return [name if name in chosen else pytest.param(name, marks=mark) for name in names]
