"""Where a training step first went non-finite: which layer, in its values or its gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def blame(model: nnx.Module, loss: Callable[[nnx.Module], jax.Array]) -> str:
    """Say which layer first gives a value or gradient that is not finite.

    Runs the step once more, op by op, and looks at every layer's output as it comes, forward; where
    all are finite, at the gradients of the parameters, from the last layer back.

    Args:
      model: The model before the step, set to training.
      loss: Of the model, on the step's batch.

    Returns:
      A phrase such as "the output of layers.3 (Linear)".
    """
    with _watched(model) as outputs:
        value = loss(model)
    for name, is_finite in outputs:
        if not is_finite:
            return f"the output of {name}"
    if not jnp.isfinite(value).all():
        return "the loss, of finite outputs"
    definition, params, others = nnx.split(model, nnx.Param, ...)
    grads = jax.grad(lambda p: loss(nnx.merge(definition, p, others, copy=True)))(params)
    broken = {
        ".".join(map(str, path[:-1])): path[-1]
        for path, leaf in nnx.to_flat_state(grads)
        if not jnp.isfinite(jnp.asarray(leaf[...])).all()
    }
    for name, _ in reversed(outputs):  # backwards, as the error travels
        layer = name.partition(" ")[0]
        if layer in broken:
            return f"the gradient of {layer}'s {broken[layer]}"
    return f"the gradient of {', '.join(broken)}" if broken else "nothing that can be seen again"


@contextmanager
def _watched(model) -> Iterator[list[tuple[str, bool]]]:
    """Collect for each layer called (its name and class, whether its output is finite)."""
    names = {
        id(node): ".".join(map(str, path)) or "the model"
        for path, node in nnx.iter_graph(model)
        if isinstance(node, nnx.Module)
    }
    outputs: list[tuple[str, bool]] = []
    classes = {type(node) for _, node in nnx.iter_graph(model) if isinstance(node, nnx.Module)}
    originals: dict[type, Any] = {cls: vars(cls).get("__call__") for cls in classes}

    def watching(cls, call):
        def __call__(self, *args, **kwargs):
            output = call(self, *args, **kwargs)
            if type(self) is cls and id(self) in names:
                is_finite = all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(output))
                outputs.append((f"{names[id(self)]} ({cls.__name__})", is_finite))
            return output

        return __call__

    try:
        for cls in classes:
            cls.__call__ = watching(cls, cls.__call__)
        yield outputs
    finally:
        for cls, call in originals.items():
            if call is None:  # inherited
                del cls.__call__
            else:
                cls.__call__ = call
