"""Layers with weights: dense layers, convolutions and transposed convolutions."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .. import ops
from .._arguments import Padding, Size
from .._typing import Array
from ._layers import Layer, Transpose, Weights

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Weighted(Layer):
    """A layer that has a kernel and may have a bias.

    Attributes:
      features: Number of output channels.
    """

    features: int

    @property
    def kernel_owner(self) -> str:
        """The name of the layer under which the kernel is found."""
        return self.name

    @abstractmethod
    def kernel_shape(self, shape: Shape) -> Shape:
        """The shape of the kernel for incoming activations of a given shape."""

    @abstractmethod
    def kernel_gradient(self, weights: Weights, a: Array, delta: Array) -> Array:
        """The derivative of the cost by the kernel."""

    def gradients(self, weights: Weights, a: Any, delta: Array) -> dict[str, Array]:
        gradients = {"kernel": self.kernel_gradient(weights, a, delta)}  # BP4
        if "bias" in weights:
            gradients["bias"] = delta.sum(axis=tuple(range(delta.ndim - 1)))  # BP3
        return gradients


@dataclass(frozen=True)
class Dense(Weighted):
    """A dense layer, z = a w + b. See `jaxconv.dense`, which derives its transposes.

    It is a convolution without spatial axes. The convolution's functions, called without options,
    are the products with the matrix and with the transposed matrix.

    Attributes:
      features: Number of units; the kernel is `(c, features)`.
    """

    def kernel_shape(self, shape: Shape) -> Shape:
        return (shape[-1], self.features)

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        kernel = weights["kernel"]
        z = _plus_bias(ops.conv(a, kernel), weights)
        return z, lambda error: ops.conv_input_vjp(error, kernel, a.shape)

    def kernel_gradient(self, weights: Weights, a: Array, delta: Array) -> Array:
        return ops.conv_kernel_vjp(a, delta, weights["kernel"].shape)


@dataclass(frozen=True)
class Conv(Weighted):
    """A convolution, z = conv(a, w) + b. See `jaxconv.conv`.

    Attributes:
      features: Number of output channels; the kernel is `(*window, c / groups, features)`.
      window: Spatial shape of the kernel.
      strides: As in `jaxconv.conv`.
      padding: As in `jaxconv.conv`.
      input_dilation: As in `jaxconv.conv`.
      kernel_dilation: As in `jaxconv.conv`.
      feature_group_count: As in `jaxconv.conv`.
      flip_kernel: As in `jaxconv.conv`.
    """

    window: tuple[int, ...]
    strides: Size = 1
    padding: Padding = "VALID"
    input_dilation: Size = field(default=1, kw_only=True)
    kernel_dilation: Size = field(default=1, kw_only=True)
    feature_group_count: int = field(default=1, kw_only=True)
    flip_kernel: bool = field(default=False, kw_only=True)

    def kernel_shape(self, shape: Shape) -> Shape:
        return (*self.window, shape[-1] // self.feature_group_count, self.features)

    def _options(self) -> dict[str, Any]:
        names = ("strides", "padding", "input_dilation", "kernel_dilation")
        return {
            name: getattr(self, name) for name in (*names, "feature_group_count", "flip_kernel")
        }

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        kernel, options = weights["kernel"], self._options()
        z = _plus_bias(ops.conv(a, kernel, **options), weights)
        return z, lambda error: ops.conv_input_vjp(error, kernel, a.shape, **options)

    def kernel_gradient(self, weights: Weights, a: Array, delta: Array) -> Array:
        return ops.conv_kernel_vjp(a, delta, weights["kernel"].shape, **self._options())


@dataclass(frozen=True)
class ConvTranspose(Conv):
    """A transposed convolution. See `jaxconv.conv_transpose`.

    All options, and the kernel, are those of the convolution that is transposed. That convolution
    carries the layer's error back.

    Attributes:
      features: Number of output channels; the kernel is `(*window, features / groups, c)`.
      window: Spatial shape of the kernel.
      strides: As in `jaxconv.conv_transpose`.
      padding: As in `jaxconv.conv_transpose`.
      input_dilation: As in `jaxconv.conv_transpose`.
      kernel_dilation: As in `jaxconv.conv_transpose`.
      feature_group_count: As in `jaxconv.conv_transpose`.
      flip_kernel: As in `jaxconv.conv_transpose`.
      output_shape: As in `jaxconv.conv_transpose`.
      kernel_of: Name of the layer whose kernel this one shares; None means a kernel of its own. The
        gradient of a shared kernel is the sum of the contributions of its uses.
    """

    output_shape: tuple[int, ...] | None = field(default=None, kw_only=True)
    kernel_of: str | None = field(default=None, kw_only=True)

    @property
    def kernel_owner(self) -> str:
        return self.kernel_of or self.name

    def kernel_shape(self, shape: Shape) -> Shape:
        return (*self.window, self.features // self.feature_group_count, shape[-1])

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        kernel, options = weights["kernel"], self._options()
        z = ops.conv_transpose(a, kernel, output_shape=self.output_shape, **options)
        return _plus_bias(z, weights), lambda error: ops.conv(error, kernel, **options)

    def kernel_gradient(self, weights: Weights, a: Array, delta: Array) -> Array:
        # The input of the convolution is the output of this layer. So δ takes the input's place.
        return ops.conv_kernel_vjp(delta, a, weights["kernel"].shape, **self._options())


def _plus_bias(z: Array, weights: Weights) -> Array:
    return z + weights["bias"] if "bias" in weights else z
