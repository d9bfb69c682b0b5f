"""Layers with names, called one after the other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

_observer: ContextVar[Callable[[str, Any, Any], None] | None] = ContextVar("observer", default=None)


class Layers(nnx.Module):
    """A sequence of named layers.

    `flax.nnx.Sequential` numbers its layers. Here names lead from a layer to its parameters, its
    checkpoint and its counterpart in `jaxconv.backprop`.

    Args:
      **layers: Modules and functions of one array, in the order in which they are called.
    """

    def __init__(self, **layers: Callable[[Any], Any]):
        self.names = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def __call__(self, x: jax.Array) -> jax.Array:
        observer = _observer.get()
        for name, layer in self.items():
            x = layer(x)
            if observer is not None:
                observer(name, layer, x)
        return x

    def items(self) -> Iterator[tuple[str, Any]]:
        """The layers and their names, in order."""
        return ((name, getattr(self, name)) for name in self.names)


@contextmanager
def observed(observer: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """Call `observer(name, layer, output)` after each layer that runs inside the block."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


class Standardise(nnx.Module):
    """Subtract a mean from each channel and divide by a standard deviation.

    Args:
      mean: The mean of each channel.
      deviation: The standard deviation of each channel, not 0.
    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]):
        self.mean, self.deviation = tuple(mean), tuple(deviation)

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x - jnp.array(self.mean, x.dtype)) / jnp.array(self.deviation, x.dtype)


class Unflatten(nnx.Module):
    """Give each example of `(n, features)` another shape.

    Args:
      shape: The shape of an example.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def __call__(self, x: jax.Array) -> jax.Array:
        return x.reshape(-1, *self.shape)


def named_layers(module: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The innermost layers of a model and their names, in the order in which they are called."""
    if isinstance(module, Layers):
        for inner, layer in module.items():
            yield from named_layers(layer, inner)
    elif hasattr(module, "encode"):
        for part in (module.encode, module.decode):
            yield from named_layers(part)
    elif hasattr(module, "branches"):
        for branch in module.branches:
            yield from named_layers(branch, name)
    else:
        yield name, module
