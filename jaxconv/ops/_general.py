"""`jax.lax.conv_general_dilated` with jaxconv's derivatives: same arguments, same order."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import listed, per_axis
from .._typing import AnyArray, Array
from ._call import Call, DimensionNumbers, as_array, layouts
from ._convolution import convolve

_NAME = "conv_general_dilated"
# lax takes arrays of integers, too, as results of computations with shapes.
Integers: TypeAlias = Sequence[int] | np.ndarray
Sides: TypeAlias = str | Sequence[Sequence[int]] | np.ndarray


P = ParamSpec("P")
R = TypeVar("R")


def _with_errors_of_lax(function: Callable[P, R]) -> Callable[P, R]:
    """Raise our message in an error of the class that lax raises, for whoever catches that."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise _class_of_lax(error, args, kwargs)(str(error)) from None

    return call


def _class_of_lax(error: Exception, args: tuple, kwargs: dict[str, Any]) -> type[Exception]:
    try:
        with np.errstate(all="ignore"):  # lax divides by strides before it looks at them
            jax.eval_shape(lambda: lax.conv_general_dilated(*args, **kwargs))
    except TypeError:
        return TypeError
    except ValueError:
        return ValueError
    except Exception:  # lax does not look for this mistake, it breaks somewhere inside
        pass
    return TypeError if isinstance(error, TypeError) else ValueError


@_with_errors_of_lax
def conv_general_dilated(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Integers,
    padding: Sides,
    lhs_dilation: Integers | None = None,
    rhs_dilation: Integers | None = None,
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
      ValueError, TypeError: Ranks, channels, groups or dtypes do not match, or an option is out of
        range or of the wrong type; of the class that lax raises for the same mistake.

    Source: the arguments are those of `jax.lax.conv_general_dilated`; (1) as in `conv`.

    >>> x, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> conv_general_dilated(x, kernel, (1, 1), "SAME").shape
    (2, 4, 8, 8)
    """
    window_strides, padding = listed(window_strides), listed(padding)
    lhs_dilation, rhs_dilation = listed(lhs_dilation), listed(rhs_dilation)
    if {getattr(operand, "dtype", None) for operand in (lhs, rhs)} == {np.dtype(bool)}:
        of_lax: Any = lax.conv_general_dilated  # there is no derivative to have a rule for
        return of_lax(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            preferred_element_type,
            out_sharding,
        )
    lhs, rhs = as_array(f"{_NAME}: lhs", lhs), as_array(f"{_NAME}: rhs", rhs)
    if lhs.ndim != rhs.ndim or lhs.ndim < 2:
        raise ValueError(
            f"{_NAME}: lhs and rhs must have one rank of at least 2, "
            f"got shapes {lhs.shape} and {rhs.shape}."
        )
    numbers = layouts(_NAME, lhs.shape, rhs.shape, dimension_numbers)
    groups = feature_group_count
    (batch_group_count,) = per_axis(batch_group_count, 1, f"{_NAME}: batch_group_count")
    if batch_group_count != 1:
        if feature_group_count != 1:
            raise ValueError(
                f"{_NAME}: feature_group_count and batch_group_count cannot both exceed 1, "
                f"got {feature_group_count} and {batch_group_count}."
            )
        lhs = _batch_groups_as_features(lhs, rhs, numbers, batch_group_count)
        groups = batch_group_count
    call = Call(_NAME, numbers, False, precision, preferred_element_type, None, may_be_empty=True)
    e = 1 if lhs_dilation is None else lhs_dilation
    dilated = any(d != 1 for d in per_axis(e, lhs.ndim - 2, f"{_NAME}: lhs_dilation"))
    if isinstance(padding, str) and dilated:
        raise ValueError(
            f"{_NAME}: padding {padding!r} is not defined with lhs_dilation {lhs_dilation}, "
            "as in lax; give (lo, hi) for each axis."
        )
    pairs = isinstance(padding, Sequence) and all(isinstance(side, Sequence) for side in padding)
    if not isinstance(padding, str) and not pairs:
        raise ValueError(f"{_NAME}: padding must be a name or (lo, hi) pairs, got {padding!r}.")
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
            f"{_NAME}: batch_group_count must divide the examples, {examples}, and "
            f"the output channels, {outputs}, got {count}."
        )
    x = jnp.moveaxis(lhs, (batch, feature), (0, 1))
    n, c, *spatial = x.shape
    x = jnp.moveaxis(x.reshape(count, n // count, c, *spatial), 0, 1)
    x = x.reshape(n // count, count * c, *spatial)
    return jnp.moveaxis(x, (0, 1), (batch, feature))
