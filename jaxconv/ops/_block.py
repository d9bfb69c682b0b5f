"""Convolution, bias, activation and max pool as one operation that keeps little."""

from dataclasses import replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from .._arguments import Padding, Size
from .._geometry import Geometry
from .._spec import Slot
from .._typing import AnyArray, Array
from ._activations import relu, tanh
from ._bias import broadcast_bias, checked_bias
from ._boundary import PaddingMode
from ._checks import as_array, is_one_of, real_map
from ._convolution import convolve
from ._max_pooling import max_pool
from ._options import ConvOptions
from ._pool_options import PoolOptions
from ._windows import (
    where_chosen,
    window_gather,
    window_max_and_tap_in_loop,
    window_max_in_loop,
)

# None of them decreases, as (1) requires.
_ACTIVATIONS = {"relu": relu, "tanh": tanh, None: lambda x: x}


def conv_block(
    x: AnyArray,
    kernel: AnyArray,
    bias: AnyArray | None = None,
    *,
    window_shape: Size,
    activation: Literal["relu", "tanh"] | None = "relu",
    strides: Size = 1,
    padding: Padding = "VALID",
    pool_strides: Size | None = None,
    pool_padding: Padding = "VALID",
    pool_ceil_mode: bool = False,
    padding_mode: PaddingMode = "zeros",
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    flip_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    kernel_dtype: Any = None,
    impl: str | None = None,
) -> Array:
    """Convolve, add a bias, activate and take the largest element of each window.

        max_r f(a[r] + b) = f(max_r a[r] + b)    for every f that does not decrease            (1)

    The right side of (1) is what runs. Bias and activation act on the pooled map, which has |R|
    times fewer elements than the convolution's output. Composed from separate layers in the usual
    order, the left side writes the activated map and keeps it for the reverse pass.

    Derivative. With m the argmax of the pool, `gather` its choice of elements and z the pooled map,

        y = f(z + b),   z = gather(conv(x, k), m)
        z_bar = f'(z + b) y_bar,   b_bar = Σ_{n,p} z_bar,   a_bar = gatherᵀ(z_bar, m)          (2)

    and a_bar goes on through `conv_input_vjp` and `conv_kernel_vjp`. Besides x and k, (2) needs m,
    which is one byte for each pooled element, and with tanh the result. relu needs nothing else:
    where z + b <= 0, its derivative is 0, and m is set to -1, which names no element,

        y_dot = gather(a_dot, m) + [m >= 0] b_dot                                              (3)

    Nothing of the convolution's output is kept. Elements that no window of the pool covers are not
    computed.

    Elements of a window that differ before f may be equal after f, by rounding or saturation. The
    two sides of (1) may then have different subgradients.

    Args:
      x: Input `(n, *spatial, c)`.
      kernel: Kernel `(*window, c / feature_group_count, o)`, of the same dtype.
      bias: `(o,)`, as in `add_bias`; None adds nothing.
      window_shape: Window of the max pool: an int, or one for each spatial axis.
      activation: `"relu"`, `"tanh"` or None.
      strides: Of the convolution, as in `conv`.
      padding: Of the convolution, as in `conv`.
      pool_strides: Strides of the pool, as in `max_pool`.
      pool_padding: Padding of the pool, as in `max_pool`.
      pool_ceil_mode: `ceil_mode` of the pool, as in `max_pool`.
      padding_mode: Of the convolution, as in `conv`.
      input_dilation: Of the convolution, as in `conv`.
      kernel_dilation: Of the convolution, as in `conv`.
      feature_group_count: Of the convolution, as in `conv`.
      flip_kernel: Of the convolution, as in `conv`.
      precision: Of the convolution, as in `conv`.
      preferred_element_type: Of the convolution, as in `conv`.
      kernel_dtype: Of the convolution, as in `conv`.
      impl: Of the convolution, as in `conv`.

    Returns:
      Feature map `(n, *pooled, o)`. Where a window of the pool holds only padding, the result is
      f(-inf): 0 for relu and -1 for tanh.

    Raises:
      ValueError: As in `conv`, `max_pool` and `add_bias`, or the activation is unknown.
      TypeError: As in `conv`, `max_pool` and `add_bias`.

    Source: that a monotonic activation may follow the pool is well known. (2) is derived here.

    >>> import jax.numpy as jnp
    >>> x, kernel, bias = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4)), jnp.zeros(4)
    >>> conv_block(x, kernel, bias, window_shape=2).shape
    (2, 3, 3, 4)
    """
    if not is_one_of(activation, _ACTIVATIONS):
        raise ValueError(
            f"conv_block: activation must be one of {tuple(_ACTIVATIONS)}, got {activation!r}."
        )
    options = ConvOptions(
        function="conv_block",
        strides=strides,
        padding=padding,
        padding_mode=padding_mode,
        input_dilation=input_dilation,
        kernel_dilation=kernel_dilation,
        feature_group_count=feature_group_count,
        flip_kernel=flip_kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
        kernel_dtype=kernel_dtype,
        impl=impl,
    )
    image = options.operand(Slot.INPUT, "x", x)
    k = options.operand(Slot.KERNEL, "kernel", kernel)
    whole = options.geometry(image.array.shape, k.array.shape)
    windows = window_shape, pool_strides, pool_padding
    of_pool = PoolOptions("conv_block", *windows, ceil_mode=pool_ceil_mode)
    pool = of_pool.geometry(whole.output_size)
    a = convolve(replace(options, padding=_seen_by_pool(whole, pool)), image, k)
    if bias is not None:
        bias = as_array("conv_block: bias", bias)
    if activation == "relu":
        return _rectified(a, bias, of_pool.geometry_of(real_map("conv_block", a)))
    z = max_pool(a, *windows, ceil_mode=pool_ceil_mode)
    return _ACTIVATIONS[activation](_shifted(z, bias))  # (1)


def _shifted(z: Array, bias: Array | None) -> Array:
    return z if bias is None else checked_bias("conv_block", z, bias)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _rectified(a: Array, bias: Array | None, geometry: Geometry) -> Array:
    return relu(_shifted(window_max_in_loop(a, geometry=geometry), bias))  # (1)


@_rectified.defjvp
def _rectified_jvp(geometry, primals, tangents):
    (a, bias), (a_dot, bias_dot) = primals, tangents
    z, m = window_max_and_tap_in_loop(a, geometry=geometry)
    shifted = _shifted(z, bias)
    # A NaN is not below 0, and its gradient passes through, as that of relu.
    m = jnp.where(shifted <= 0, jnp.asarray(-1, m.dtype), m)
    # Without a barrier XLA would search the maxima again in the reverse pass, and keep a for that.
    m = lax.optimization_barrier(m)
    y_dot = window_gather(a_dot, m, geometry=geometry)
    if bias is not None:
        y_dot += where_chosen(broadcast_bias("conv_block", z, bias_dot), m)
    return relu(shifted), y_dot  # (3)


def _seen_by_pool(whole: Geometry, pool: Geometry) -> tuple[tuple[int, int], ...]:
    """The convolution's padding, without the part whose outputs no window of the pool covers."""
    padding = []
    for (lo, hi), stride, axis in zip(whole.padding, whole.strides, pool.axes(), strict=True):
        last = axis.s * (axis.p - 1) + axis.r - 1 - axis.lo
        padding.append((lo, hi - stride * max(0, axis.i - 1 - last)))
    return tuple(padding)
