"""Training steps of the experiments' networks, as pure functions.

A step is what the trainer of the experiments does with a batch: dropout, loss, gradient, and an
update with momentum. Parameters are float32; the model computes in the dtype of the step.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ..benchmark.networks import flax_network

BATCH = 500  # images of a step on each device, as in the experiments
LEARNING_RATE, MOMENTUM = 1e-3, 0.9


def step(name: str, peer: str, dtype: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function from a state, images and labels to the next state and the loss; the first state.

    Args:
      name: One of the benchmark's `NETWORKS`.
      peer: "jaxconv", or "autodiff" for the layers of Flax.
      dtype: The dtype that the model computes in.

    Returns:
      The function of `(params, memory, others, images, labels)`, which returns the first three of
      the next step, and the loss; and the first three of the first step.
    """
    definition, params, others, score = _network(name, peer)
    optimiser = optax.sgd(LEARNING_RATE, MOMENTUM, nesterov=True)

    def loss(params, others, images, labels):
        model = nnx.merge(definition, _cast(params, dtype), others, copy=True)
        model.train()
        pixels = (images.astype(jnp.float32) / 255).astype(dtype)
        value = score(model, pixels, labels)["loss"].astype(jnp.float32).mean()
        return value, nnx.split(model, nnx.Param, ...)[2]

    def advance(params, memory, others, images, labels):
        (value, others), grads = jax.value_and_grad(loss, has_aux=True)(
            params, others, images, labels
        )
        updates, memory = optimiser.update(grads, memory, params)
        return optax.apply_updates(params, updates), memory, others, value

    return advance, (params, optimiser.init(params), others)


def batch(size: int = BATCH) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    """The shapes and dtypes of images and labels."""
    return jax.ShapeDtypeStruct((size, 28, 28, 1), np.uint8), jax.ShapeDtypeStruct(
        (size,), np.int32
    )


@cache
def _network(name: str, peer: str):
    model, score = flax_network(peer, name)
    return *nnx.split(model, nnx.Param, ...), score


def _cast(tree: Any, dtype: str) -> Any:
    def cast(leaf):
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)
