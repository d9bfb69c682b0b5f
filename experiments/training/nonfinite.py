"""Which layer produced the first infinite or undefined value of a training step.

`jax_debug_nans` names the operation, not the layer, and stops at values that a network may produce
on purpose.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from ..networks.layers import observed


def blame(model: nnx.Module, loss: Callable[[nnx.Module], jax.Array]) -> str:
    """Name the first layer whose output is not finite, or else whose gradient is not.

    The step is repeated operation by operation. Outputs are examined in the order of the forward
    pass, gradients in that of the reverse pass.

    Args:
      model: The model before the step, in training mode.
      loss: The loss of the step's batch, a function of the model.

    Returns:
      A phrase such as "the output of hidden (Linear)".
    """
    seen: list[str] = []
    broken: list[str] = []

    def observer(name, layer, output):
        if isinstance(layer, nnx.Module):
            kind = type(layer).__name__
        else:
            kind = getattr(layer, "__name__", "function")
        seen.append(name)
        if not _is_finite(output):
            broken.append(f"the output of {name} ({kind})")

    with observed(observer):
        value = loss(model)
    if broken:
        return broken[0]
    if not _is_finite(value):
        return "the loss, of finite outputs"
    definition, params, others = nnx.split(model, nnx.Param, ...)
    grads = jax.grad(lambda p: loss(nnx.merge(definition, p, others, copy=True)))(params)
    gradients = {
        path[-2]: f"the gradient of {path[-2]}'s {path[-1]}"
        for path, leaf in nnx.to_flat_state(grads)
        if not _is_finite(leaf[...])
    }
    in_order = [gradients[name] for name in reversed(seen) if name in gradients]
    return (in_order or [*gradients.values(), "a value that is finite when repeated"])[0]


def _is_finite(array: jax.Array) -> bool:
    return bool(jnp.isfinite(array).all())
