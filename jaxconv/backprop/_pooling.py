"""Layers that gather and spread: pools and upscaling."""

from dataclasses import dataclass
from math import prod

from .. import algorithms, ops
from .._geometry import Geometry, Padding, Size, convolution_geometry, per_axis
from .._typing import Array
from ._layers import Layer


@dataclass(frozen=True)
class _Pool(Layer):
    window: Size
    strides: Size | None = None
    padding: Padding = "VALID"

    def _geometry(self, a: Array) -> Geometry:
        function, size = f"{type(self).__name__} {self.name!r}", a.shape[1:-1]
        window = per_axis(self.window, len(size), f"{function}: window")
        strides = window if self.strides is None else self.strides
        return convolution_geometry(function, size, window, strides, self.padding, 1, 1, 1)


@dataclass(frozen=True)
class MaxPool(_Pool):
    """A max pool: the error goes to the winner of each window. See `jaxconv.max_pool`.

    Attributes:
      window, strides, padding: As for `jaxconv.max_pool`.
    """

    def forward(self, weights, a):
        return algorithms.max_and_argmax(a, geometry=self._geometry(a))

    def back(self, weights, a, memory, delta):
        return algorithms.scatter_windows(delta, memory, geometry=self._geometry(a))


@dataclass(frozen=True)
class AvgPool(_Pool):
    """An average pool: the error is shared. See `jaxconv.avg_pool`.

    Attributes:
      window, strides, padding: As for `jaxconv.avg_pool`.
    """

    def forward(self, weights, a):
        return ops.avg_pool(a, self.window, self.strides, self.padding), None

    def back(self, weights, a, memory, delta):
        geometry = self._geometry(a)
        return algorithms.spread_windows(delta / prod(geometry.window), geometry=geometry)


@dataclass(frozen=True)
class Upscale(Layer):
    """Nearest-neighbour upscaling: errors add up over blocks. See `jaxconv.upscale`.

    Attributes:
      factor: As for `jaxconv.upscale`.
    """

    factor: Size

    def forward(self, weights, a):
        return ops.upscale(a, self.factor), None

    def back(self, weights, a, memory, delta):
        return ops.sum_pool(delta, per_axis(self.factor, a.ndim - 2, "Upscale: factor"))
