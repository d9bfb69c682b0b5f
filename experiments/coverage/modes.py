"""The ways to evaluate and to differentiate a function, in JAX and in PyTorch.

The result of each mode is one array. It depends only on f, x and fixed weights, so that two
programs for the same f must agree:

    forward        y = f(x)
    reverse        the cotangent of x, for one of y
    jvp            the tangent of y, for one of x
    second order   the derivative along v of the gradient of Σ w·f(x)³, forward over reverse
    vmap           the cotangents of x for two examples of cotangents, in one batch
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

MODES = ("forward", "reverse", "jvp", "second order", "vmap")
Modes: TypeAlias = Mapping[str, Callable[[], np.ndarray]]


def of_jax(f: Callable[..., Any], x: np.ndarray, y_shape: tuple[int, ...]) -> Modes:
    """The modes of a function of JAX arrays."""
    v, w, ws = weights(x.shape, y_shape)

    def loss(x):
        return jnp.sum(w * f(x) ** 3)

    return {
        "forward": lambda: f(jnp.asarray(x)),
        "reverse": lambda: jax.vjp(f, x)[1](w)[0],
        "jvp": lambda: jax.jvp(f, (x,), (v,))[1],
        "second order": lambda: jax.jvp(jax.grad(loss), (x,), (v,))[1],
        "vmap": lambda: jax.vmap(lambda x, w: jax.vjp(f, x)[1](w)[0])(np.stack([x, x]), ws),
    }


def of_torch(f: Callable[..., Any], x: np.ndarray, y_shape: tuple[int, ...]) -> Modes:
    """The modes of a function of PyTorch tensors, channels after the examples."""
    import torch

    v, w, ws = weights(x.shape, y_shape)
    given, v, w = (torch.tensor(np.moveaxis(a, -1, 1).copy()) for a in (x, v, w))
    ws = torch.tensor(np.moveaxis(ws, -1, 2).copy())

    def pulled(x, w):
        return torch.func.vjp(f, x)[1](w)[0]

    def loss(x):
        return (w * f(x) ** 3).sum()

    def reverse():
        leaf = given.clone().requires_grad_()
        f(leaf).backward(w)
        return leaf.grad

    found = {
        "forward": lambda: f(given),
        "reverse": reverse,
        "jvp": lambda: torch.func.jvp(f, (given,), (v,))[1],
        "second order": lambda: torch.func.jvp(torch.func.grad(loss), (given,), (v,))[1],
        "vmap": lambda: torch.func.vmap(pulled)(torch.stack([given, given]), ws),
    }
    return {mode: _channels_last(compute, mode) for mode, compute in found.items()}


def weights(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """A tangent of x, a cotangent of y, and a batch of two cotangents, the same in every call."""
    rng = np.random.default_rng(1)
    v, w, other = (rng.normal(size=shape) for shape in (x_shape, y_shape, y_shape))
    return v, w, np.stack([w, other])


def _channels_last(compute: Callable[[], Any], mode: str) -> Callable[[], np.ndarray]:
    at = 2 if mode == "vmap" else 1
    return lambda: np.moveaxis(compute().detach().numpy(), at, -1)
