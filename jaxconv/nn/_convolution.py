"""Convolution and its transpose as modules, with a kernel of their own or one that they share."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from .. import ops
from .._geometry import Padding, Size, listed, per_axis
from .._typing import Array
from ..ops._boundary import PaddingMode
from ._parameters import Initializer, Operands, draw, features, plus_bias, promote


class Conv(nnx.Module):
    """A convolution with a bias: y = conv(x, kernel) + bias. See `jaxconv.conv`.

    Args:
      in_features: Number of input channels c.
      out_features: Number of output channels o.
      kernel_size: Spatial shape of the kernel, which sets the number of spatial axes; an int means
        one axis. strides, padding, padding_mode, input_dilation, kernel_dilation,
        feature_group_count, flip_kernel, precision, preferred_element_type, impl: As for
        `jaxconv.conv`.
      use_bias: Add one number for each output channel.
      dtype: dtype to compute in; None means that of input and parameters together. Where the
        parameters are wider, they are rounded for the products, and their gradients are not.
      param_dtype: dtype of the parameters.
      kernel_init: Initialiser of the kernel; Glorot uniform by default.
      bias_init: Initialiser of the bias; zeros by default.
      rngs: Source of random keys; the stream `params` is used.

    Attributes:
      kernel: `nnx.Param` of shape `(*kernel_size, c / feature_group_count, o)`.
      bias: `nnx.Param` of shape `(o,)`, or None.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *output, o)`.

    Raises:
      ValueError: A size is below 1, or the groups do not divide the channels.
      TypeError: A size is not an integer.

    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, for the initialisation.

    >>> layer = Conv(3, 8, (5, 5), strides=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((1, 9, 9, 3))).shape
    (1, 3, 3, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: Size = 1,
        padding: Padding = "VALID",
        *,
        padding_mode: PaddingMode = "zeros",
        input_dilation: Size = 1,
        kernel_dilation: Size = 1,
        feature_group_count: int = 1,
        flip_kernel: bool = False,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: lax.PrecisionLike = None,
        preferred_element_type: Any = None,
        impl: str | None = None,
        kernel_init: Initializer = jax.nn.initializers.glorot_uniform(),
        bias_init: Initializer = jax.nn.initializers.zeros,
        rngs: nnx.Rngs,
    ):
        shape = _kernel_shape("Conv", kernel_size, in_features, out_features, feature_group_count)
        self.kernel, self.bias = draw(
            rngs,
            shape,
            out_features,
            use_bias=use_bias,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
        self.dtype = dtype
        self.strides = listed(strides)
        self.padding = listed(padding)
        self.options = nnx.static(
            {
                "padding_mode": padding_mode,
                "input_dilation": listed(input_dilation),
                "kernel_dilation": listed(kernel_dilation),
                "feature_group_count": feature_group_count,
                "flip_kernel": flip_kernel,
                "precision": precision,
                "preferred_element_type": preferred_element_type,
                "impl": impl,
            }
        )

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = _promoted(self, x)
        spacing = self.strides, self.padding
        return plus_bias(
            ops.conv(x, kernel, *spacing, kernel_dtype=kernel_dtype, **self.options), bias
        )


class ConvBlock(Conv):
    """Convolution, bias, activation and max pool in one. See `jaxconv.conv_block`.

    Equal to the four in a row, and keeps less for the reverse pass.

    Args:
      in_features, out_features, kernel_size, strides, padding: As for `Conv`.
      window_shape: Window of the max pool; an int or one for each spatial axis.
      activation: `"relu"`, `"tanh"` or None.
      pool_strides: Step between the pool's windows; None means `window_shape`.
      pool_padding: Padding of the pool.
      pool_ceil_mode: Round the number of windows up, as for `jaxconv.max_pool`.
      **options: The other options of `Conv`, `rngs` among them.

    Attributes:
      kernel, bias: As for `Conv`.

    Called with a feature map `(n, *spatial, c)`, returns one of shape `(n, *pooled, o)`.

    Raises:
      ValueError, TypeError: As `Conv`.

    Source: derived in `jaxconv.conv_block`.

    >>> layer = ConvBlock(3, 8, (5, 5), window_shape=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((1, 12, 12, 3))).shape
    (1, 4, 4, 8)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: Size = 1,
        padding: Padding = "VALID",
        *,
        window_shape: Size,
        activation: Literal["relu", "tanh"] | None = "relu",
        pool_strides: Size | None = None,
        pool_padding: Padding = "VALID",
        pool_ceil_mode: bool = False,
        **options: Any,
    ):
        super().__init__(in_features, out_features, kernel_size, strides, padding, **options)
        self.pool = nnx.static(
            {
                "window_shape": listed(window_shape),
                "activation": activation,
                "pool_strides": listed(pool_strides),
                "pool_padding": listed(pool_padding),
                "pool_ceil_mode": pool_ceil_mode,
            }
        )

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = _promoted(self, x)
        spacing = {"strides": self.strides, "padding": self.padding, "kernel_dtype": kernel_dtype}
        return ops.conv_block(x, kernel, bias, **spacing, **self.pool, **self.options)


class ConvTranspose(nnx.Module):
    """A transposed convolution with a bias. See `jaxconv.conv_transpose`.

    All options are those of the convolution whose adjoint the layer is, and so is the kernel: one
    from `out_features` to `in_features` channels.

    Args:
      in_features: Number of input channels o: the output channels of that convolution.
      out_features: Number of output channels c.
      kernel_size: Spatial shape of the kernel, which sets the number of spatial axes; an int means
        one axis. strides, padding, output_padding, padding_mode, input_dilation,
        kernel_dilation, feature_group_count, flip_kernel, precision, preferred_element_type, impl:
        As for `jaxconv.conv_transpose`.
      use_bias, dtype, param_dtype, kernel_init, bias_init, rngs: As for `Conv`.

    Attributes:
      kernel: `nnx.Param` of shape `(*kernel_size, c / feature_group_count, o)`.
      bias: `nnx.Param` of shape `(c,)`, or None.

    Called with a feature map `(n, *spatial, o)` and, where the size is ambiguous, the spatial
    `output_shape`, returns one of shape `(n, *output, c)`.

    Raises:
      ValueError: A size is below 1, or the groups do not divide the channels.
      TypeError: A size is not an integer.

    Source: `jaxconv.conv_transpose`.

    >>> layer = ConvTranspose(8, 3, (4, 4), strides=2, rngs=nnx.Rngs(0))
    >>> layer(jnp.ones((1, 3, 3, 8))).shape
    (1, 8, 8, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: Size = 1,
        padding: Padding = "VALID",
        *,
        output_padding: Size = 0,
        padding_mode: PaddingMode = "zeros",
        input_dilation: Size = 1,
        kernel_dilation: Size = 1,
        feature_group_count: int = 1,
        flip_kernel: bool = False,
        use_bias: bool = True,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: lax.PrecisionLike = None,
        preferred_element_type: Any = None,
        impl: str | None = None,
        kernel_init: Initializer = jax.nn.initializers.glorot_uniform(in_axis=-1, out_axis=-2),
        bias_init: Initializer = jax.nn.initializers.zeros,
        rngs: nnx.Rngs,
    ):
        shape = _kernel_shape(
            "ConvTranspose", kernel_size, out_features, in_features, feature_group_count
        )
        self.kernel, self.bias = draw(
            rngs,
            shape,
            out_features,
            use_bias=use_bias,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
        )
        self.dtype = dtype
        self.strides = listed(strides)
        self.padding = listed(padding)
        self.output_padding = listed(output_padding)
        self.options = nnx.static(
            {
                "padding_mode": padding_mode,
                "input_dilation": listed(input_dilation),
                "kernel_dilation": listed(kernel_dilation),
                "feature_group_count": feature_group_count,
                "flip_kernel": flip_kernel,
                "precision": precision,
                "preferred_element_type": preferred_element_type,
                "impl": impl,
            }
        )

    @classmethod
    def tied(
        cls,
        convolution: Conv,
        *,
        output_padding: Size = 0,
        use_bias: bool = True,
        bias_init: Initializer = jax.nn.initializers.zeros,
        rngs: nnx.Rngs | None = None,
    ) -> "ConvTranspose":
        """The adjoint of a given convolution, sharing its kernel.

        Both modules hold the same `nnx.Param`: there is one kernel, its gradient is the sum of what
        the two uses contribute, and an update of one is an update of the other. Strides, padding,
        dilations, groups, flip and dtype are the convolution's; the bias is the layer's own.

        Args:
          convolution: The `Conv` to transpose.
          output_padding: As for `jaxconv.conv_transpose`.
          use_bias, bias_init: As for `Conv`.
          rngs: Source of random keys, for a `bias_init` that needs one.

        Returns:
          The layer; with `use_bias=False` it is exactly the adjoint.
        """
        if not isinstance(convolution, Conv):
            kind = type(convolution).__name__
            raise TypeError(
                f"ConvTranspose.tied: convolution must be a jaxconv.nn.Conv, got {kind}."
            )
        *window, c, o = convolution.kernel.shape
        layer = cls(
            o,
            c * convolution.options["feature_group_count"],
            window,
            convolution.strides,
            convolution.padding,
            output_padding=output_padding,
            use_bias=use_bias,
            dtype=convolution.dtype,
            param_dtype=convolution.kernel.dtype,
            kernel_init=jax.nn.initializers.zeros,
            bias_init=bias_init,
            rngs=rngs or nnx.Rngs(0),
            **convolution.options,
        )
        layer.kernel = convolution.kernel
        return layer

    def __call__(self, x: Array, output_shape: Size | None = None) -> Array:
        x, kernel, bias, kernel_dtype = _promoted(self, x)
        y = ops.conv_transpose(
            x,
            kernel,
            self.strides,
            self.padding,
            output_padding=self.output_padding if output_shape is None else 0,
            output_shape=output_shape,
            kernel_dtype=kernel_dtype,
            **self.options,
        )
        return plus_bias(y, bias)


def _promoted(layer: Conv | ConvTranspose, x: Array) -> Operands:
    result = layer.options["preferred_element_type"]
    return promote(x, layer.kernel, layer.bias, dtype=layer.dtype, result=result)


def _kernel_shape(
    module: str, kernel_size: int | Sequence[int], in_features: int, out_features: int, groups: int
) -> tuple[int, ...]:
    kernel_size = listed(kernel_size)
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    window = per_axis(kernel_size, rank, f"{module}: kernel_size")
    c, o = (
        features(f"{module}: in_features", in_features),
        features(f"{module}: out_features", out_features),
    )
    groups = features(f"{module}: feature_group_count", groups)
    if c % groups or o % groups:
        raise ValueError(
            f"{module}: feature_group_count = {groups} must divide in_features = {c} "
            f"and out_features = {o}."
        )
    return (*window, c // groups, o)
