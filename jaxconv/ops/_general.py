"""`jax.lax.conv_general_dilated` with the derivatives of this library."""

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec, Sharding

from .._arguments import integer, listed, per_axis
from .._keys import Key, as_key, from_key
from .._spec import Slot
from .._typing import AnyArray, Array
from ._checks import as_array
from ._convolution import convolve
from ._operands import DimensionNumbers, canonical_dtype, layouts
from ._options import ConvOptions
from ._readings import convolution_of, read, run, why_not

_NAME = "conv_general_dilated"
# lax also takes arrays of integers, which computations with shapes may give.
Integers: TypeAlias = Sequence[int] | np.ndarray
Sides: TypeAlias = str | Sequence[Sequence[int]] | np.ndarray
# lax itself checks the range of these integers.
_ANY = -sys.maxsize
_OPTIONS = (
    "window_strides",
    "padding",
    "lhs_dilation",
    "rhs_dilation",
    "dimension_numbers",
    "feature_group_count",
    "batch_group_count",
    "precision",
    "preferred_element_type",
)


def check_as_lax(function: Callable[..., Array], lhs: Array, rhs: Array, **options: Any) -> None:
    """Raise lax's own error where lax refuses a call.

    lax's `function` is evaluated for shapes only. Callers must check what lax does not check.
    """
    name = function.__name__
    canonical_dtype(f"{name}: preferred_element_type", options["preferred_element_type"])
    operands = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (lhs, rhs)]
    evaluated = _result_of_lax if _can_be_hashed(options) else _result_of_lax.__wrapped__
    try:
        evaluated(function, *operands, as_key(options))
    except Exception as error:  # lax checks some arguments by an assertion
        kinds = {TypeError, ValueError, RuntimeError}.intersection(type(error).__mro__)
        (kind,) = kinds or {TypeError}
        message = str(error) or "lax cannot take these arguments."
        raise kind(message if name in message else f"{name}: {message}") from None


@lru_cache(maxsize=4096)
def _result_of_lax(function, lhs, rhs, key: Key) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(partial(function, **from_key(key)), lhs, rhs)


def _can_be_hashed(options: dict[str, Any]) -> bool:
    try:
        hash(tuple(options.values()))
    except TypeError:
        return False
    return True


def as_tuples(value: Any) -> Any:
    """An iterable, and the iterables in it, as tuples; anything else as it is."""
    value = listed(value)
    if isinstance(value, str | jax.Array) or not isinstance(value, Iterable):
        return value
    return tuple(map(as_tuples, value))


def check_integers(name: str, value: Any, rank: int | None = None, *, minimum: int = 1) -> None:
    """Refuse a value that is not a tuple of integers. lax takes no single integer for all axes."""
    if not isinstance(value, tuple):
        raise TypeError(f"{name} must be a sequence of integers, got {value!r}.")
    per_axis(value, len(value) if rank is None else rank, name, minimum=minimum)


def check_sides(name: str, value: Any) -> None:
    """Refuse a padding that is neither a name nor a tuple. lax checks what is in the tuple."""
    if not isinstance(value, str | tuple):
        raise TypeError(f"{name} must be a name or a sequence of pairs (lo, hi), got {value!r}.")


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

    The function is a drop-in replacement. It can be given to whatever takes lax's function, such as
    `flax.nnx.Conv(..., conv_general_dilated=jaxconv.conv_general_dilated)`. In lax's names, `lhs`
    is the feature map x and `rhs` the kernel. The operation is that of `conv`:

        y[n,p,o] = Σ_{i,r,c} x[n,i,c] k[r,c,o] [e·i + lo = s·p + d·r]                          (1)

    `batch_group_count` b divides examples and output channels into b groups each. The outputs of
    group g are convolutions of the examples of group g. With the groups of examples moved to the
    channels, that is a convolution with feature groups, so it needs no derivative of its own.

    A gradient that is written as a call of this function runs as the gradient that it is: by
    `conv_input_vjp` or `conv_kernel_vjp`, where that is faster.

    Args:
      lhs: Input of rank m + 2; by default `(n, c, *spatial)`, as in lax.
      rhs: Kernel of rank m + 2; by default `(o, c / feature_group_count, *window)`.
      window_strides: m strides s.
      padding: `"SAME"`, `"SAME_LOWER"`, `"VALID"`, or m pairs `(lo, hi)`.
      lhs_dilation: m input dilations e; None means 1.
      rhs_dilation: m kernel dilations d; None means 1.
      dimension_numbers: Three layout strings, a `jax.lax.ConvDimensionNumbers`, or None.
      feature_group_count: Number of groups of channels.
      batch_group_count: Number of groups of examples. It excludes feature groups.
      precision: As in `conv`.
      preferred_element_type: Dtype of the result, as in `conv`.
      out_sharding: Sharding of the result, in a mesh with explicit axes.

    Returns:
      The convolution in the layout of `dimension_numbers`; by default `(n, o, *output)`.

    Raises:
      ValueError: lax refuses the call with this error, or an option is out of range.
      TypeError: lax refuses the call with this error, an operand is not an array, or an option has
        the wrong type.
      RuntimeError: lax refuses the call with this error.

    Source: the arguments are those of `jax.lax.conv_general_dilated`; (1) as in `conv`.

    >>> x, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> conv_general_dilated(x, kernel, (1, 1), "SAME").shape
    (2, 4, 8, 8)
    """
    lhs, rhs = _as_operand("lhs", lhs), _as_operand("rhs", rhs)
    strides, sides = as_tuples(window_strides), as_tuples(padding)
    input_dilation, kernel_dilation = as_tuples(lhs_dilation), as_tuples(rhs_dilation)
    if lhs.ndim == rhs.ndim < 2:
        raise ValueError(f"{_NAME}: lhs needs two axes besides the spatial ones, got {lhs.shape}.")
    rank = lhs.ndim - 2 if lhs.ndim == rhs.ndim else None
    check_integers(f"{_NAME}: window_strides", strides)
    for name, value in (("lhs_dilation", input_dilation), ("rhs_dilation", kernel_dilation)):
        if value is not None:
            check_integers(f"{_NAME}: {name}", value, rank, minimum=_ANY)
    check_sides(f"{_NAME}: padding", sides)
    integer(feature_group_count, f"{_NAME}: feature_group_count", minimum=None)
    integer(batch_group_count, f"{_NAME}: batch_group_count", minimum=None)
    if not isinstance(out_sharding, Sharding | PartitionSpec | None):
        raise TypeError(
            f"{_NAME}: out_sharding must be a sharding or a PartitionSpec, got {out_sharding!r}."
        )
    of_lax: Any = lax.conv_general_dilated
    arguments = (
        strides,
        sides,
        input_dilation,
        kernel_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
    check_as_lax(of_lax, lhs, rhs, **dict(zip(_OPTIONS, arguments, strict=True)))
    if lhs.dtype == np.dtype(bool):  # Booleans have no derivative.
        return of_lax(lhs, rhs, *arguments, out_sharding)
    convolution = convolution_of(lhs, rhs, _params_of_lax(lhs, rhs, arguments))
    if out_sharding is None and not why_not(convolution):
        return run(_NAME, convolution, read(convolution), lhs, rhs)
    numbers = layouts(_NAME, lhs.shape, rhs.shape, dimension_numbers)
    groups = feature_group_count
    if batch_group_count != 1:
        lhs = _batch_groups_as_features(lhs, numbers, batch_group_count)
        groups = batch_group_count
    options = ConvOptions(
        function=_NAME,
        strides=strides,
        padding=sides,
        input_dilation=1 if input_dilation is None else input_dilation,
        kernel_dilation=1 if kernel_dilation is None else kernel_dilation,
        feature_group_count=groups,
        dimension_numbers=numbers,
        precision=precision,
        preferred_element_type=preferred_element_type,
        may_be_empty=True,
    )
    x = options.operand(Slot.INPUT, "lhs", lhs)
    kernel = options.operand(Slot.KERNEL, "rhs", rhs)
    y = convolve(options, x, kernel)
    return y if out_sharding is None else jax.sharding.reshard(y, out_sharding)


def _params_of_lax(lhs: Array, rhs: Array, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The parameters of lax's primitive, with which lax completes the arguments of a call."""
    options: dict[str, Any] = dict(zip(_OPTIONS, arguments, strict=True))
    operands = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (lhs, rhs)]
    bound = _bound_by_lax if _can_be_hashed(options) else _bound_by_lax.__wrapped__
    return bound(*operands, as_key(options))


@lru_cache(maxsize=4096)
def _bound_by_lax(lhs, rhs, key: Key) -> dict[str, Any]:
    call = partial(lax.conv_general_dilated, **from_key(key))
    program = jax.make_jaxpr(call)(lhs, rhs)
    (convolution,) = program.jaxpr.eqns
    return convolution.params


def _as_operand(name: str, value: Any) -> Array:
    if getattr(value, "dtype", None) == np.dtype(bool):
        return jnp.asarray(value)
    return as_array(f"{_NAME}: {name}", value)


def _batch_groups_as_features(lhs, numbers: lax.ConvDimensionNumbers, count: int) -> Array:
    """Move the groups of examples to the channels: `(b·n, c)` to `(n, b·c)`, in any layout."""
    batch, feature, *_ = numbers.lhs_spec
    x = jnp.moveaxis(lhs, (batch, feature), (0, 1))
    n, c, *spatial = x.shape
    x = jnp.moveaxis(x.reshape(count, n // count, c, *spatial), 0, 1)
    x = x.reshape(n // count, count * c, *spatial)
    return jnp.moveaxis(x, (0, 1), (batch, feature))
