"""What the modules without parameters share: a function, and the options it is called with."""

from collections.abc import Callable
from typing import Any, ClassVar

from flax import nnx

from .._arguments import listed
from .._typing import Array


class Stateless(nnx.Module):
    """A module that calls a function with fixed options.

    Attributes:
      options: The options, by the function's names for them.
    """

    _function: ClassVar[Callable[..., Array]]

    def __init__(self, **options: Any):
        # As lists and tuples: NNX takes NumPy arrays for data and would trace them.
        self.options = nnx.static({name: listed(value) for name, value in options.items()})

    def __call__(self, *operands: Array) -> Array:
        return self._function(*operands, **self.options)
