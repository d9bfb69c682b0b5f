"""Layers with weights: dense ones, convolutions and transposed convolutions."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .. import ops
from .._geometry import Padding, Size
from .._typing import Array
from ._layers import Layer, Weights

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


@dataclass(frozen=True)
class Dense(Weighted):
    """A dense layer, z = a w + b. See `jaxconv.dense`, where its transposes are derived.

    Attributes:
      features: Number of units; the kernel is `(c, features)`.
    """

    def kernel_shape(self, shape):
        return (shape[-1], self.features)

    def forward(self, weights, a):
        return _with_bias(ops.conv(a, weights["kernel"]), weights), None

    def back(self, weights, a, memory, delta):
        return ops.conv_input_vjp(delta, weights["kernel"], a.shape)  # the transposed matrix

    def gradients(self, weights, a, delta):
        kernel = ops.conv_kernel_vjp(a, delta, weights["kernel"].shape)
        return _with_bias_gradient(kernel, weights, delta)


@dataclass(frozen=True)
class Conv(Weighted):
    """A convolution, z = conv(a, w) + b. See `jaxconv.conv`.

    Attributes:
      features: Number of output channels; the kernel is `(*window, c / groups, features)`.
      window: Spatial shape of the kernel.
      strides, padding, input_dilation, kernel_dilation, feature_group_count, flip_kernel: As for
        `jaxconv.conv`.
    """

    window: tuple[int, ...]
    strides: Size = 1
    padding: Padding = "VALID"
    input_dilation: Size = field(default=1, kw_only=True)
    kernel_dilation: Size = field(default=1, kw_only=True)
    feature_group_count: int = field(default=1, kw_only=True)
    flip_kernel: bool = field(default=False, kw_only=True)

    def kernel_shape(self, shape):
        return (*self.window, shape[-1] // self.feature_group_count, self.features)

    def _options(self) -> dict[str, Any]:
        names = ("strides", "padding", "input_dilation", "kernel_dilation")
        return {
            name: getattr(self, name) for name in (*names, "feature_group_count", "flip_kernel")
        }

    def forward(self, weights, a):
        return _with_bias(ops.conv(a, weights["kernel"], **self._options()), weights), None

    def back(self, weights, a, memory, delta):
        return ops.conv_input_vjp(delta, weights["kernel"], a.shape, **self._options())

    def gradients(self, weights, a, delta):
        shape = weights["kernel"].shape
        kernel = ops.conv_kernel_vjp(a, delta, shape, **self._options())
        return _with_bias_gradient(kernel, weights, delta)


@dataclass(frozen=True)
class ConvTranspose(Conv):
    """A transposed convolution. See `jaxconv.conv_transpose`.

    All options, and the kernel, are those of the convolution whose transpose it is: its way back
    is that convolution.

    Attributes:
      features: Number of output channels; the kernel is `(*window, features / groups, c)`.
      window, strides, padding, input_dilation, kernel_dilation, feature_group_count, flip_kernel:
        Of the convolution.
      output_shape: Spatial shape of the result; None means the smallest.
      kernel_of: Name of the layer whose kernel this one shares; None means one of its own. The
        gradient of a shared kernel is the sum of what its uses contribute.
    """

    output_shape: tuple[int, ...] | None = field(default=None, kw_only=True)
    kernel_of: str | None = field(default=None, kw_only=True)

    @property
    def kernel_owner(self):
        return self.kernel_of or self.name

    def kernel_shape(self, shape):
        return (*self.window, self.features // self.feature_group_count, shape[-1])

    def forward(self, weights, a):
        kernel, shape = weights["kernel"], self.output_shape
        z = ops.conv_transpose(a, kernel, output_shape=shape, **self._options())
        return _with_bias(z, weights), None

    def back(self, weights, a, memory, delta):
        return ops.conv(delta, weights["kernel"], **self._options())

    def gradients(self, weights, a, delta):
        # The convolution's input is this layer's output: its error stands where an input stood.
        shape = weights["kernel"].shape
        kernel = ops.conv_kernel_vjp(delta, a, shape, **self._options())
        return _with_bias_gradient(kernel, weights, delta)


def _with_bias(z: Array, weights: Weights) -> Array:
    return z + weights["bias"] if "bias" in weights else z


def _with_bias_gradient(kernel: Array, weights: Weights, delta: Array) -> dict[str, Array]:
    gradients = {"kernel": kernel}
    if "bias" in weights:
        gradients["bias"] = delta.sum(axis=tuple(range(delta.ndim - 1)))  # BP3
    return gradients
