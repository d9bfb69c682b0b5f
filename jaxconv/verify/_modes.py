"""The ways of taking a derivative in JAX, each as a function to trace.

A *reverse-like* mode returns `Jᵀ w` of the first cotangent, a *forward-like* mode `J v` of the
first direction. Both are flat tuples of arrays in the order of the leaves.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .program._wide import equations

ALL = (
    *("reverse", "forward", "linearize", "linear_transpose", "second_order"),
    *("vmap", "jit", "scan", "checkpoint", "zero_cotangent", "symbolic_zeros", "argnums"),
    *("primal_value", "cotangent_linearity", "tangent_linearity", "cotangent_dtype"),
    *("second_point", "determinism"),
)


def reverse(f: Callable, xs: tuple, ws: list) -> list:
    """`Jᵀ w` for each cotangent."""
    _, pull_back = jax.vjp(f, *xs)
    return [leaf for w in ws for leaf in pull_back(tuple(w))]


def forward(f: Callable, xs: tuple, vs: list) -> list:
    """`J v` for each direction."""
    return [leaf for v in vs for leaf in jax.jvp(f, xs, tuple(v))[1]]


def linearize(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """The linear function of `jax.linearize`, applied to the first direction."""
    _, push_forward = jax.linearize(f, *xs)
    return tuple(push_forward(*vs[0]))


def vmapped(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """A batch of two points; the first is that of the check, the second is twice as large."""

    def pulled(xs, w):
        return jax.vjp(f, *xs)[1](tuple(w))

    batch = tuple(jnp.stack([x, 2 * x]) for x in xs)
    cotangents = tuple(jnp.stack([a, b]) for a, b in zip(ws[0], ws[1], strict=True))
    return tuple(leaf[0] for leaf in jax.vmap(pulled)(batch, cotangents))


def jitted(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """Function and rule under `jit`."""
    return jax.vjp(jax.jit(f), *xs)[1](tuple(ws[0]))


def scanned(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """In a `scan` over two cotangents."""

    def body(count, w):
        return count + 1, jax.vjp(f, *xs)[1](tuple(w))

    cotangents = [jnp.stack([a, b]) for a, b in zip(ws[0], ws[1], strict=True)]
    _, bars = jax.lax.scan(body, 0, cotangents)
    return tuple(bar[0] for bar in bars)


def checkpointed(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """Recomputed in the reverse pass by `checkpoint`."""
    return jax.vjp(jax.checkpoint(f), *xs)[1](tuple(ws[0]))


def one_at_a_time(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """With respect to each argument separately."""

    def alone(i):
        return lambda x: f(*xs[:i], x, *xs[i + 1 :])

    return tuple(jax.vjp(alone(i), x)[1](tuple(ws[0]))[0] for i, x in enumerate(xs))


def zero_cotangent(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """A cotangent of zeros, which must give zeros."""
    return jax.vjp(f, *xs)[1](tuple(jnp.zeros_like(w) for w in ws[0]))


def output_at_a_time(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """The sum over the results, each differentiated alone.

    The cotangents of the others are symbolic zeros.
    """
    total = None
    for i, w in enumerate(ws[0]):
        # The cotangent of a dropped result is a symbolic zero.
        bars = jax.vjp(lambda *xs, i=i: f(*xs)[i], *xs)[1](w)
        total = bars if total is None else [a + b for a, b in zip(total, bars, strict=True)]
    assert total is not None
    return tuple(total)


def argument_at_a_time(f: Callable, xs: tuple, ws: list, vs: list) -> tuple:
    """The sum over the arguments, each moved alone.

    The tangents of the others are symbolic zeros.
    """
    total = None
    for i, (x, v) in enumerate(zip(xs, vs[0], strict=True)):
        dots = jax.jvp(lambda x, i=i: f(*xs[:i], x, *xs[i + 1 :]), (x,), (v,))[1]
        total = dots if total is None else [a + b for a, b in zip(total, dots, strict=True)]
    assert total is not None
    return tuple(total)


REVERSE_LIKE: dict[str, Callable] = {
    "vmap": vmapped,
    "jit": jitted,
    "scan": scanned,
    "checkpoint": checkpointed,
    "argnums": one_at_a_time,
    "symbolic_zeros": output_at_a_time,
    "zero_cotangent": zero_cotangent,
}
FORWARD_LIKE: dict[str, Callable] = {
    "linearize": linearize,
    "symbolic_zeros, tangents": argument_at_a_time,
}


def transposed(f: Callable, xs: tuple, w: tuple, i: int) -> tuple:
    """`linear_transpose` with respect to an argument in which the function is linear."""
    return jax.linear_transpose(lambda x: f(*xs[:i], x, *xs[i + 1 :]), xs[i])(tuple(w))


# Second derivatives of <w, f>: the Hessian times the first direction v, or vᵀ H v.


def _contracted(f, w):
    return lambda *xs: sum(jnp.vdot(a, b) for a, b in zip(w, f(*xs), strict=True))


def _gradient(f, w):
    g = _contracted(f, w)
    return lambda *xs: jax.grad(g, argnums=tuple(range(len(xs))))(*xs)


def forward_over_reverse(f: Callable, xs: tuple, w: tuple, v: tuple) -> tuple:
    """The derivative of the gradient along v."""
    return jax.jvp(_gradient(f, w), xs, v)[1]


def reverse_over_reverse(f: Callable, xs: tuple, w: tuple, v: tuple) -> tuple:
    """The vector-Jacobian product of the gradient with v."""
    return jax.vjp(_gradient(f, w), *xs)[1](v)


def reverse_over_forward(f: Callable, xs: tuple, w: tuple, v: tuple) -> tuple:
    """The gradient of the derivative along v."""

    def slope(*xs):
        return _contracted(lambda *xs: jax.jvp(f, xs, v)[1], w)(*xs)

    return jax.grad(slope, argnums=tuple(range(len(xs))))(*xs)


def forward_over_forward(f: Callable, xs: tuple, w: tuple, v: tuple) -> tuple:
    """The second derivative along v."""

    def slope(*xs):
        return jax.jvp(_contracted(f, w), xs, v)[1]

    return (jax.jvp(slope, xs, v)[1],)


SECOND_ORDER: dict[str, Callable] = {
    "forward over reverse": forward_over_reverse,
    "reverse over reverse": reverse_over_reverse,
    "reverse over forward": reverse_over_forward,
    "forward over forward": forward_over_forward,
}


class Absent(Exception):
    """JAX does not have this derivative of the function."""


# Parts of the messages of JAX for a missing rule, the same in all supported versions.
_NO_RULE = (
    *("can't apply forward-mode", "Differentiation rule for", "Transpose rule"),
    *("does not work for lax.while_loop", "not support reverse", "Reverse-mode differentiation"),
    *("linear_transpose", "does not support JVP", "not differentiable", "Batching rule"),
    *("Forward-mode", "Pure callbacks do not support"),
    *("vmap is only supported for",),
)


def trace(mode: Callable, *args: Any) -> Any:
    """The jaxpr of a mode.

    Raises:
      Absent: JAX has no rule for it.
    """
    traced = call(jax.make_jaxpr(mode), *args)
    # This primitive stands for the missing JVP of a function with a custom VJP. It raises when it
    # is run.
    if any(equation.primitive.name == "custom_lin" for equation in equations(traced)):
        raise Absent("can't apply forward-mode autodiff (jvp) to a custom_vjp function.")
    return traced


def call(mode: Callable, *args: Any) -> Any:
    """The result of a mode.

    Raises:
      Absent: JAX has no rule for it.
    """
    try:
        return mode(*args)
    except Exception as error:  # JAX uses several classes for a missing rule
        is_absent = isinstance(error, NotImplementedError)
        if is_absent or any(words in str(error) for words in _NO_RULE):
            raise Absent(str(error).split("\n")[0]) from error
        raise
