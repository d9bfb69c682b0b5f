"""One bilinear function with stated transposes, written for each of several mechanisms.

    y[p] = Σ_r x[p + r] k[r]       x_bar[i] = Σ_r y[i - r] k[r]       k_bar[r] = Σ_p x[p + r] y[p]

Each function of this module takes these three maps and returns the function of (x, k). Its number
of lines is that of the table. Every mechanism is used as its documentation shows it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call

from jaxconv import forms as jaxconv_forms


def of_y(x, k):
    """The map."""
    n = x.shape[0] - k.shape[0] + 1
    return sum(x[r : r + n] * k[r] for r in range(k.shape[0]))


def of_x(k, y):
    """Its transpose with respect to x."""
    r = k.shape[0]
    return sum(jnp.pad(y, (i, r - 1 - i)) * k[i] for i in range(r))


def of_k(x, y):
    """Its transpose with respect to k."""
    n = y.shape[0]
    return jnp.stack([x[r : r + n] @ y for r in range(x.shape[0] - n + 1)])


def forms(of_x, of_k, of_y):
    """`jaxconv.forms`."""
    return jaxconv_forms.multilinear_form({"x": of_x, "k": of_k, "y": of_y})[2]


def custom_vjp(of_x, of_k, of_y):
    """`jax.custom_vjp`."""
    f = jax.custom_vjp(of_y)

    def forward(x, k):
        return f(x, k), (x, k)

    def backward(remembered, y_bar):
        x, k = remembered
        return of_x(k, y_bar), of_k(x, y_bar)

    f.defvjp(forward, backward)
    return f


def custom_jvp(of_x, of_k, of_y):
    """`jax.custom_jvp`, which takes no transposes."""
    f = jax.custom_jvp(of_y)

    @f.defjvp
    def jvp(primals, tangents):
        (x, k), (x_dot, k_dot) = primals, tangents
        return f(x, k), f(x_dot, k) + f(x, k_dot)

    return f


def linear_calls(of_x, of_k, of_y):
    """`jax.custom_derivatives.linear_call`, one for each operand."""

    @jax.custom_jvp
    def f(x, k):
        return of_y(x, k)

    @f.defjvp
    def jvp(primals, tangents):
        (x, k), (x_dot, k_dot) = primals, tangents
        by_x = linear_call(lambda k, x: f(x, k), of_x, k, x_dot)
        by_k = linear_call(lambda x, k: f(x, k), of_k, x, k_dot)
        return f(x, k), by_x + by_k

    return f


MECHANISMS = {
    "forms": forms,
    "custom_vjp": custom_vjp,
    "custom_jvp": custom_jvp,
    "linear_call": linear_calls,
}


def torch_function(of_x, of_k, of_y):
    """`torch.autograd.Function`, with a rule for `vmap` and for forward mode."""
    import torch

    class Correlation(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, k):
            return of_y(x, k)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, y_bar):
            x, k = ctx.saved_tensors
            return of_x(k, y_bar), of_k(x, y_bar)

        @staticmethod
        def jvp(ctx, x_dot, k_dot):
            x, k = ctx.saved_tensors
            return of_y(x_dot, k) + of_y(x, k_dot)

    return Correlation.apply


def torch_of_y(x: Any, k: Any) -> Any:
    """The map, in PyTorch."""
    n = x.shape[0] - k.shape[0] + 1
    return sum(x[r : r + n] * k[r] for r in range(k.shape[0]))


def torch_of_x(k: Any, y: Any) -> Any:
    """Its transpose with respect to x, in PyTorch."""
    import torch

    r = k.shape[0]
    return sum(torch.nn.functional.pad(y, (i, r - 1 - i)) * k[i] for i in range(r))


def torch_of_k(x: Any, y: Any) -> Any:
    """Its transpose with respect to k, in PyTorch."""
    import torch

    n = y.shape[0]
    return torch.stack([(x[r : r + n] * y).sum() for r in range(x.shape[0] - n + 1)])


def copied(f: Any) -> Any:
    """The same function as another object, which JAX has not traced yet."""
    return lambda *operands: f(*operands)


MAPS = of_x, of_k, of_y
TORCH_MAPS = torch_of_x, torch_of_k, torch_of_y


def planted(mechanism: Any, maps: Any = MAPS) -> Any:
    """The mechanism with transposes that are three times too large, to see whether it uses them."""
    of_x, of_k, of_y = maps
    return mechanism(partial(_tripled, of_x), partial(_tripled, of_k), of_y)


def _tripled(f, *operands):
    return 3 * f(*operands)
