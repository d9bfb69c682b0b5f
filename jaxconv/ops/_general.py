"""`jax.lax.conv_general_dilated` with jaxconv's derivatives: same arguments, same order."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .._geometry import per_axis
from .._typing import AnyArray, Array
from ._call import Call, DimensionNumbers, as_array, layouts
from ._convolution import convolve


def conv_general_dilated(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: DimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Convolve as `jax.lax.conv_general_dilated` does, with the derivatives of this library.

    A drop-in: hand it to whatever takes lax's function, such as
    `flax.nnx.Conv(..., conv_general_dilated=jaxconv.conv_general_dilated)`. With lax's names,
    `lhs` is the feature map x, `rhs` the kernel, and the operation is that of `conv`:

        y[n,p,o] = Σ_{i,r,c} x[n,i,c] k[r,c,o] [e·i + lo = s·p + d·r]                          (1)

    `batch_group_count` b splits examples and output channels into b groups each: outputs of group g
    are convolutions of the examples of group g. With the examples' groups moved to the channels
    that is a convolution with feature groups, so it needs no rule of its own.

    Args:
      lhs: Input of rank m + 2; by default `(n, c, *spatial)`, as lax has it.
      rhs: Kernel of rank m + 2; by default `(o, c / feature_group_count, *window)`.
      window_strides: m strides s.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, or m pairs `(lo, hi)`.
      lhs_dilation: m input dilations e; None means 1.
      rhs_dilation: m kernel dilations d; None means 1.
      dimension_numbers: Three layout strings, a `jax.lax.ConvDimensionNumbers`, or None.
      feature_group_count: Number of groups of channels.
      batch_group_count: Number of groups of examples; not together with feature groups.
      precision, preferred_element_type: As for `conv`.
      out_sharding: Sharding of the result, in a mesh with explicit axes.

    Returns:
      The convolution, laid out as `dimension_numbers` says; by default `(n, o, *output)`.

    Raises:
      ValueError: Ranks, channels or groups do not match, or an option is out of range.
      TypeError: An operand is no array, dtypes differ, or an option has the wrong type.

    Source: the arguments are those of `jax.lax.conv_general_dilated`; (1) as in `conv`.

    >>> x, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> conv_general_dilated(x, kernel, (1, 1), "SAME").shape
    (2, 4, 8, 8)
    """
    function = "conv_general_dilated"
    lhs, rhs = as_array(f"{function}: lhs", lhs), as_array(f"{function}: rhs", rhs)
    if lhs.ndim != rhs.ndim or lhs.ndim < 2:
        raise ValueError(
            f"{function}: lhs and rhs must have one rank of at least 2, "
            f"got shapes {lhs.shape} and {rhs.shape}."
        )
    numbers = layouts(function, lhs.shape, rhs.shape, dimension_numbers)
    groups = feature_group_count
    (batch_group_count,) = per_axis(batch_group_count, 1, f"{function}: batch_group_count")
    if batch_group_count != 1:
        if feature_group_count != 1:
            raise ValueError(
                f"{function}: feature_group_count and batch_group_count cannot both exceed 1, "
                f"got {feature_group_count} and {batch_group_count}."
            )
        lhs = _batch_groups_as_features(lhs, rhs, numbers, batch_group_count)
        groups = batch_group_count
    call = Call(
        function, numbers, False, precision, preferred_element_type, None, may_be_empty=True
    )
    e = 1 if lhs_dilation is None else lhs_dilation
    if isinstance(padding, str) and any(
        d != 1 for d in per_axis(e, lhs.ndim - 2, f"{function}: lhs_dilation")
    ):
        raise ValueError(
            f"{function}: padding {padding!r} is not defined with lhs_dilation {lhs_dilation}, "
            "as in lax; give (lo, hi) for each axis."
        )
    d = 1 if rhs_dilation is None else rhs_dilation
    x, kernel = call.input("lhs", lhs), call.kernel("rhs", rhs)
    y = convolve(call, x, kernel, (window_strides, padding, e, d, groups))
    return y if out_sharding is None else jax.sharding.reshard(y, out_sharding)


def _batch_groups_as_features(lhs, rhs, numbers: lax.ConvDimensionNumbers, count: int) -> Array:
    """`(b·n, c)` becomes `(n, b·c)`, whatever the layout."""
    batch, feature, *_ = numbers.lhs_spec
    examples, outputs = lhs.shape[batch], rhs.shape[numbers.rhs_spec[0]]
    if count < 1 or examples % count or outputs % count:
        raise ValueError(
            f"conv_general_dilated: batch_group_count must divide the examples, {examples}, and "
            f"the output channels, {outputs}, got {count}."
        )
    x = jnp.moveaxis(lhs, (batch, feature), (0, 1))
    n, c, *spatial = x.shape
    x = jnp.moveaxis(x.reshape(count, n // count, c, *spatial), 0, 1)
    x = x.reshape(n // count, count * c, *spatial)
    return jnp.moveaxis(x, (0, 1), (batch, feature))
