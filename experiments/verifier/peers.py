"""What others say of a gradient, each as it comes: its own tolerances and step sizes.

Each verifier is a function of a `Case`'s function and arguments that returns whether it calls the
gradient right. Functions with a `custom_vjp` have no forward mode; where a verifier asks for it by
default and so refuses, it is asked for reverse mode alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import verify

Verifier = Callable[[Callable[..., Any], tuple, dict[str, Any]], bool]

# What needs no function to be compiled as a whole, and finds what the rest would find.
QUICK = (
    *("reverse", "forward", "second_point", "zero_cotangent", "symbolic_zeros", "argnums"),
    *("cotangent_linearity", "cotangent_dtype", "determinism", "linearize"),
)


def ours(f: Callable[..., Any], args: tuple, options: dict[str, Any]) -> bool:
    """`jaxconv.verify.check_gradients`."""
    return verify.check_gradients(f, args, **options).ok


def check_grads(f: Callable[..., Any], args: tuple, options: dict[str, Any]) -> bool:
    """`jax.test_util.check_grads`."""
    from jax.test_util import check_grads

    f, args = _of_floats(f, args)
    return _passes(lambda **modes: check_grads(f, args, order=1, **modes))


def chex(f: Callable[..., Any], args: tuple, options: dict[str, Any]) -> bool:
    """`chex.assert_numerical_grads`."""
    from chex import assert_numerical_grads

    f, args = _of_floats(f, args)
    return _passes(lambda **modes: assert_numerical_grads(f, args, order=1, **modes))


def gradcheck(f: Callable[..., Any], args: tuple, options: dict[str, Any]) -> bool:
    """`torch.autograd.gradcheck`, of an autograd function that calls JAX forward and backward."""
    import torch

    f, args = _of_floats(f, args)

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.args = tuple(_to_jax(t, a.dtype) for t, a in zip(tensors, args, strict=True))
            return tuple(_to_torch(y) for y in jax.tree.leaves(f(*ctx.args)))

        @staticmethod
        def backward(ctx, *cotangents):
            outputs, pull_back = jax.vjp(lambda *a: tuple(jax.tree.leaves(f(*a))), *ctx.args)
            pairs = zip(cotangents, outputs, strict=True)
            bars = pull_back(tuple(_to_jax(c, y.dtype) for c, y in pairs))
            return tuple(_to_torch(bar) for bar in bars)

    tensors = tuple(_to_torch(a).requires_grad_() for a in args)
    return _asserts(lambda: torch.autograd.gradcheck(Function.apply, tensors))


def available() -> dict[str, Verifier]:
    """The verifiers that are installed."""
    import importlib.util

    found = {"jaxconv.verify": ours, "jax.test_util.check_grads": check_grads}
    if importlib.util.find_spec("chex"):
        found["chex.assert_numerical_grads"] = chex
    if importlib.util.find_spec("torch"):
        found["torch.autograd.gradcheck"] = gradcheck
    return found


def _of_floats(f, args):
    """The function of the floating leaves of its arguments, as flat ones, which all can take."""
    leaves, treedef = jax.tree.flatten(args)
    leaves = [jnp.asarray(a) if isinstance(a, float) else a for a in leaves]
    places = [
        i for i, leaf in enumerate(leaves)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]  # fmt: skip

    def function(*floats):
        filled = list(leaves)
        for place, value in zip(places, floats, strict=True):
            filled[place] = value
        results = jax.tree.leaves(f(*jax.tree.unflatten(treedef, filled)))
        results = [r for r in results if jnp.issubdtype(jnp.result_type(r), jnp.floating)]
        return tuple(results) if len(results) > 1 else results[0]

    return function, tuple(leaves[place] for place in places)


def _passes(check):
    """In both modes, in reverse alone where there is no forward mode."""
    try:
        check()
    except TypeError as error:
        if "forward-mode" not in str(error):
            return False
        return _asserts(lambda: check(modes=["rev"]))
    except Exception:  # each verifier has its own, and a gradient that makes it crash is refused
        return False
    return True


def _asserts(check):
    try:
        check()
    except Exception:  # likewise: a verifier that crashes refuses
        return False
    return True


def _to_torch(array):
    import torch

    wide = np.array(array, np.float32) if array.dtype == jnp.bfloat16 else np.array(array)
    tensor = torch.from_numpy(wide)
    return tensor.bfloat16() if array.dtype == jnp.bfloat16 else tensor


def _to_jax(tensor, dtype):
    return jnp.asarray(tensor.detach().to("cpu").double().numpy(), dtype)
