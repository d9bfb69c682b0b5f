"""Convolution and transposed convolution as modules, with a kernel of their own or a shared one."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from .. import ops
from .._arguments import Padding, Size, integer, listed, per_axis
from .._typing import Array
from ..ops._boundary import PaddingMode
from ..ops._operands import canonical_dtype
from ._parameters import (
    Initializer,
    Operands,
    Weighted,
    glorot_uniform,
    plus_bias,
    zeros,
)


class _Convolution(Weighted):
    """What a convolution and its transpose share: a kernel, and the options of the convolution.

    `channels` are the input and output channels of the convolution. `bias_size` is the number of
    channels of the module's own result. All other arguments are those of `Conv`.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        bias_size: int,
        kernel_size: int | Sequence[int],
        strides: Size,
        padding: Padding,
        *,
        padding_mode: PaddingMode,
        input_dilation: Size,
        kernel_dilation: Size,
        feature_group_count: int,
        flip_kernel: bool,
        precision: lax.PrecisionLike,
        preferred_element_type: Any,
        impl: str | None,
        **parameters: Any,
    ):
        name = type(self).__name__
        super().__init__(
            (*_window(name, kernel_size), *_in_groups(name, channels, feature_group_count)),
            bias_size,
            **parameters,
        )
        canonical_dtype(f"{name}: preferred_element_type", preferred_element_type)
        # As lists and tuples: NNX takes NumPy arrays for data and would trace them.
        self.strides = listed(strides)
        self.padding = listed(padding)
        options = {
            "padding_mode": padding_mode,
            "input_dilation": input_dilation,
            "kernel_dilation": kernel_dilation,
            "feature_group_count": feature_group_count,
            "flip_kernel": flip_kernel,
            "precision": precision,
            "preferred_element_type": preferred_element_type,
            "impl": impl,
        }
        self.options = nnx.static({name: listed(option) for name, option in options.items()})

    def _operands(self, x: Array) -> Operands:
        return self.operands(x, self.options["preferred_element_type"])


class Conv(_Convolution):
    """A convolution with a bias: y = conv(x, kernel) + bias. See `jaxconv.conv`.

    Called with a feature map `(n, *spatial, c)`, it returns one of shape `(n, *output, o)`.

    Args:
      in_features: Number of input channels c.
      out_features: Number of output channels o.
      kernel_size: Spatial shape of the kernel. It sets the number of spatial axes; an int means one
        axis.
      strides: As in `jaxconv.conv`.
      padding: As in `jaxconv.conv`.
      padding_mode: As in `jaxconv.conv`.
      input_dilation: As in `jaxconv.conv`.
      kernel_dilation: As in `jaxconv.conv`.
      feature_group_count: As in `jaxconv.conv`.
      flip_kernel: As in `jaxconv.conv`.
      use_bias: Whether to add a bias, one value for each output channel.
      dtype: The dtype to compute in. None means the common dtype of input and parameters. Products
        round wider parameters to it; the gradients of these are not rounded.
      param_dtype: The dtype of the parameters.
      precision: As in `jaxconv.conv`.
      preferred_element_type: As in `jaxconv.conv`.
      impl: As in `jaxconv.conv`.
      kernel_init: Initialiser of the kernel. The default is Glorot's uniform distribution.
      bias_init: Initialiser of the bias. The default is zeros.
      rngs: Source of random keys; the stream `params` is used.

    Attributes:
      kernel: `nnx.Param` of shape `(*kernel_size, c / feature_group_count, o)`.
      bias: `nnx.Param` of shape `(o,)`, or None.

    Raises:
      ValueError: A size is below 1, or the groups do not divide the channels.
      TypeError: A size is not an integer, or an option has the wrong type.

    Source: the initialisation is that of Glorot & Bengio, "Understanding the difficulty of training
    deep feedforward neural networks", AISTATS 2010.

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
        kernel_init: Initializer = glorot_uniform,
        bias_init: Initializer = zeros,
        rngs: nnx.Rngs,
    ):
        channels = _channels("Conv", in_features, out_features)
        super().__init__(
            channels,
            channels[1],
            kernel_size,
            strides,
            padding,
            padding_mode=padding_mode,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            flip_kernel=flip_kernel,
            precision=precision,
            preferred_element_type=preferred_element_type,
            impl=impl,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            rngs=rngs,
        )

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = self._operands(x)
        options = {"kernel_dtype": kernel_dtype, **self.options}
        return plus_bias(ops.conv(x, kernel, self.strides, self.padding, **options), bias)


class ConvBlock(Conv):
    """Convolution, bias, activation and max pool in one. See `jaxconv.conv_block`.

    It computes what the four in a row compute, and stores less for the reverse pass. Called with a
    feature map `(n, *spatial, c)`, it returns one of shape `(n, *pooled, o)`.

    Args:
      in_features: As in `Conv`.
      out_features: As in `Conv`.
      kernel_size: As in `Conv`.
      strides: As in `Conv`.
      padding: As in `Conv`.
      window_shape: Window of the max pool: an int, or one for each spatial axis.
      activation: `"relu"`, `"tanh"` or None.
      pool_strides: Step between the pool's windows. None means `window_shape`.
      pool_padding: Padding of the pool.
      pool_ceil_mode: Whether to round the number of windows up, as in `jaxconv.max_pool`.
      **options: The other options of `Conv`, among them `rngs`.

    Attributes:
      kernel: As in `Conv`.
      bias: As in `Conv`.

    Raises:
      ValueError: As for `Conv`.
      TypeError: As for `Conv`.

    The gradient is derived in `jaxconv.conv_block`.

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
        pool = {
            "window_shape": window_shape,
            "activation": activation,
            "pool_strides": pool_strides,
            "pool_padding": pool_padding,
            "pool_ceil_mode": pool_ceil_mode,
        }
        self.pool = nnx.static({name: listed(option) for name, option in pool.items()})

    def __call__(self, x: Array) -> Array:
        x, kernel, bias, kernel_dtype = self._operands(x)
        options = {"strides": self.strides, "padding": self.padding, "kernel_dtype": kernel_dtype}
        return ops.conv_block(x, kernel, bias, **options, **self.pool, **self.options)


class ConvTranspose(_Convolution):
    """A transposed convolution with a bias. See `jaxconv.conv_transpose`.

    The layer is the adjoint of a convolution. All options, and the kernel, are those of that
    convolution, which maps `out_features` channels to `in_features`.

    Called with a feature map `(n, *spatial, o)`, it returns one of shape `(n, *output, c)`. Where
    several output sizes are possible, the call takes the spatial `output_shape`, too.

    Args:
      in_features: Number of input channels o: the output channels of that convolution.
      out_features: Number of output channels c.
      kernel_size: Spatial shape of the kernel. It sets the number of spatial axes; an int means one
        axis.
      strides: As in `jaxconv.conv_transpose`.
      padding: As in `jaxconv.conv_transpose`.
      output_padding: As in `jaxconv.conv_transpose`.
      padding_mode: As in `jaxconv.conv_transpose`.
      input_dilation: As in `jaxconv.conv_transpose`.
      kernel_dilation: As in `jaxconv.conv_transpose`.
      feature_group_count: As in `jaxconv.conv_transpose`.
      flip_kernel: As in `jaxconv.conv_transpose`.
      use_bias: As in `Conv`.
      dtype: As in `Conv`.
      param_dtype: As in `Conv`.
      precision: As in `jaxconv.conv_transpose`.
      preferred_element_type: As in `jaxconv.conv_transpose`.
      impl: As in `jaxconv.conv_transpose`.
      kernel_init: As in `Conv`.
      bias_init: As in `Conv`.
      rngs: As in `Conv`.

    Attributes:
      kernel: `nnx.Param` of shape `(*kernel_size, c / feature_group_count, o)`.
      bias: `nnx.Param` of shape `(c,)`, or None.

    Raises:
      ValueError: A size is below 1, or the groups do not divide the channels.
      TypeError: A size is not an integer, or an option has the wrong type.

    The map and its gradients are derived in `jaxconv.conv_transpose`.

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
        bias_init: Initializer = zeros,
        rngs: nnx.Rngs,
    ):
        o, c = _channels("ConvTranspose", in_features, out_features)
        super().__init__(
            (c, o),
            c,
            kernel_size,
            strides,
            padding,
            padding_mode=padding_mode,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            flip_kernel=flip_kernel,
            precision=precision,
            preferred_element_type=preferred_element_type,
            impl=impl,
            use_bias=use_bias,
            dtype=dtype,
            param_dtype=param_dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            rngs=rngs,
        )
        self.output_padding = listed(output_padding)

    @classmethod
    def tied(
        cls,
        convolution: Conv,
        *,
        output_padding: Size = 0,
        use_bias: bool = True,
        bias_init: Initializer = zeros,
        rngs: nnx.Rngs | None = None,
    ) -> "ConvTranspose":
        """The adjoint of a given convolution, sharing its kernel.

        Both modules hold the same `nnx.Param`. There is one kernel; its gradient is the sum of the
        contributions of its two uses, and an update through one module is an update of both.
        Strides, padding, dilations, groups, flip and dtype are the convolution's. The bias is the
        new layer's own.

        Args:
          convolution: The `Conv` to transpose.
          output_padding: As in `jaxconv.conv_transpose`.
          use_bias: As in `Conv`.
          bias_init: As in `Conv`.
          rngs: Source of random keys, for a `bias_init` that needs one. None means `nnx.Rngs(0)`.

        Returns:
          The layer. With `use_bias=False` it is exactly the adjoint.

        Raises:
          TypeError: `convolution` is not a `Conv`.
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
            kernel_init=zeros,
            bias_init=bias_init,
            rngs=rngs or nnx.Rngs(0),
            **convolution.options,
        )
        layer.kernel = convolution.kernel
        return layer

    def __call__(self, x: Array, output_shape: Size | None = None) -> Array:
        x, kernel, bias, kernel_dtype = self._operands(x)
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


def _channels(module: str, in_features: int, out_features: int) -> tuple[int, int]:
    return (
        integer(in_features, f"{module}: in_features"),
        integer(out_features, f"{module}: out_features"),
    )


def _window(module: str, kernel_size: int | Sequence[int]) -> tuple[int, ...]:
    kernel_size = listed(kernel_size)
    rank = len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    return per_axis(kernel_size, rank, f"{module}: kernel_size")


def _in_groups(module: str, channels: tuple[int, int], groups: int) -> tuple[int, int]:
    """The channel axes of the kernel, the first of which counts the channels of one group."""
    c, o = channels
    groups = integer(groups, f"{module}: feature_group_count")
    if c % groups or o % groups:
        raise ValueError(
            f"{module}: feature_group_count must divide both numbers of channels, "
            f"got {groups} groups for {c} and {o} channels."
        )
    return c // groups, o
