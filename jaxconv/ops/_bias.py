"""A bias: one value for each channel, added at every position."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from .. import algorithms
from .._typing import AnyArray, Array
from ..forms import Operation, linear_pair
from ._checks import as_array
from ._operands import is_as_wide


def add_bias(x: AnyArray, bias: AnyArray) -> Array:
    """Add a bias to each channel of a feature map.

        y[…,c] = x[…,c] + b[c]                                                                 (1)

    (1) is linear in both operands. Every position adds the same b[c], so the gradient of b[c] is
    the sum of the output gradients of all positions:

        x_bar[…,c] = y_bar[…,c]
        b_bar[c] = Σ y_bar[…,c] ∂y[…,c]/∂b[c] = Σ y_bar[…,c]     over all other axes           (2)

    (2) is a long sum, so half precision is summed in float32. In bfloat16 a sum of ones would stop
    at 256, because 257 rounds to 256. Autodiff of `x + bias` sums in bfloat16.

    Args:
      x: Features of shape `(..., c)`.
      bias: `(c,)`, of the dtype of `x` or a wider one of the same kind. A wider bias is rounded to
        the dtype of `x`. Its gradient has the dtype of the bias and is not rounded to that of `x`.

    Returns:
      Features of the shape and dtype of `x`.

    Raises:
      ValueError: The bias is not `(c,)`.
      TypeError: An operand is not an array of numbers, or the dtype of the bias is narrower than
        that of `x` or of another kind.

    Source: (2) is BP3 of M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 2.

    >>> add_bias(jnp.zeros((2, 3)), jnp.array([1.0, 2.0, 3.0]))
    Array([[1., 2., 3.],
           [1., 2., 3.]], dtype=float32)
    """
    x, bias = as_array("add_bias: x", x), as_array("add_bias: bias", bias)
    return checked_bias("add_bias", x, bias)


def checked_bias(function: str, x: Array, bias: Array) -> Array:
    """`add_bias` for another public `function`, which the error messages name."""
    return x + broadcast_bias(function, x, bias)  # (1)


def broadcast_bias(function: str, x: Array, bias: Array) -> Array:
    """The bias at every position of `x`, in the dtype of `x`."""
    if x.ndim < 1 or bias.shape != x.shape[-1:]:
        raise ValueError(
            f"{function}: bias must be (c,) and x (..., c) with the same c, "
            f"got {bias.shape} and {x.shape}."
        )
    if not is_as_wide(bias.dtype, x.dtype):
        raise TypeError(
            f"{function}: bias must have dtype {x.dtype} or a wider one of its kind, "
            f"got {bias.dtype}."
        )
    layout = jax.typeof(x).sharding
    return _spread(bias, shape=x.shape, dtypes=(bias.dtype, x.dtype), layout=layout)


def _broadcast(bias: Array, *, shape, dtypes, layout) -> Array:
    return jnp.broadcast_to(bias.astype(dtypes[1]), shape)


def _sum_over_positions(y: Array, *, shape, dtypes, layout) -> Array:
    wide = algorithms.accumulator(algorithms.common_dtype(*dtypes))
    return y.sum(range(y.ndim - 1), dtype=wide).astype(dtypes[0])  # (2)


def _result(slot: str, operand: Any, *, shape, dtypes, layout) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(*((shape, dtypes[1]) if slot == "out" else (shape[-1:], dtypes[0])))


def _batch(
    contractions: Mapping[str, Operation],
    slot: str,
    operands: Sequence[Array],
    batched: Sequence[bool],
    *,
    shape,
    dtypes,
    layout: NamedSharding,
) -> Array:
    """Batching rule: a batch of biases is one bias with more channels."""
    (operand,) = operands
    size, channels = operand.shape[0], shape[-1]
    folded = jnp.moveaxis(operand, 0, -2).reshape(*operand.shape[1:-1], size * channels)
    batch_axes = jax.typeof(operand).sharding.spec[0]
    if batch_axes is not None:
        layout = layout.update(spec=PartitionSpec(*layout.spec[:-1], batch_axes))
    options = {"shape": (*shape[:-1], size * channels), "dtypes": dtypes, "layout": layout}
    out = contractions[slot](folded, **options)
    return jnp.moveaxis(out.reshape(*out.shape[:-1], size, channels), -2, 0)


def _shard(
    slot: str, _: tuple[int, ...], operand: Any, *, layout: NamedSharding, **__
) -> NamedSharding:
    """Sharding rule: the features are sharded as `x` is, the bias as the channels of `x`."""
    if slot == "out":
        return layout
    return layout.update(spec=PartitionSpec(layout.spec[-1]))


_spread, _ = linear_pair(
    _broadcast, _sum_over_positions, name="jaxconv_bias", result=_result, batch=_batch, shard=_shard
)
