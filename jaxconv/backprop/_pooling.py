"""Pools and upscaling as layers."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import ops
from .._arguments import Padding, Size
from .._typing import Array
from ._layers import Layer, Transpose, Weights, with_transpose


@dataclass(frozen=True)
class MaxPool(Layer):
    """A max pool. The error of a window goes to its largest element. See `jaxconv.max_pool`.

    Attributes:
      window: The `window_shape` of `jaxconv.max_pool`.
      strides: As in `jaxconv.max_pool`.
      padding: As in `jaxconv.max_pool`.
    """

    window: Size
    strides: Size | None = None
    padding: Padding = "VALID"

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        options = (self.window, self.strides, self.padding)
        return with_transpose(lambda a: ops.max_pool(a, *options), a)


@dataclass(frozen=True)
class AvgPool(Layer):
    """An average pool. Its elements share the error of a window. See `jaxconv.avg_pool`.

    Attributes:
      window: The `window_shape` of `jaxconv.avg_pool`.
      strides: As in `jaxconv.avg_pool`.
      padding: As in `jaxconv.avg_pool`.
    """

    window: Size
    strides: Size | None = None
    padding: Padding = "VALID"

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        options = (self.window, self.strides, self.padding)
        return with_transpose(lambda a: ops.avg_pool(a, *options), a)


@dataclass(frozen=True)
class Upscale(Layer):
    """Nearest-neighbour upscaling. The errors of each block add up. See `jaxconv.upscale`.

    Attributes:
      factor: As in `jaxconv.upscale`.
    """

    factor: Size

    def forward(self, weights: Weights, a: Any) -> tuple[Array, Transpose]:
        return ops.upscale(a, self.factor), partial(ops.sum_pool, window_shape=self.factor)
