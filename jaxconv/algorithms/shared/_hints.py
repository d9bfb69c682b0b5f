"""Hints to a compiler, which move no element and change no value.

The mathematics of an algorithm is written once, in `shared/`. Where a compiler needs a hint to make
good loops of it, the code calls a method of `Hints`. The methods of this class give no hint. A
platform whose compiler needs some derives from it; `cpu/_hints.py` and `gpu/_hints.py` do.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Shaped

from ..._typing import Array


class Hints:
    """No hints."""

    def separate(self, values: Any) -> Any:
        """The arrays of a pytree, computed before the loops that read them."""
        return values

    def row_major(self, a: Array) -> Array:
        """An array that is written in row-major order before it is reshaped."""
        return a

    def in_vectors(self, a: Shaped[Array, "*rest c"]) -> Shaped[Array, "*rest vectors elements"]:
        """Channels split into vectors of the processor, for a loop that rearranges an array."""
        return a[..., None, :]

    def pad(self, x: Array, axis: int, lo: int, hi: int, fill: int | float) -> Array:
        """An axis of the array with `lo` and `hi` times `fill` around it, to be read in slices."""
        if not (lo or hi):
            return x
        config = [(lo, hi, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
        return lax.pad(x, jnp.asarray(fill, x.dtype), config)

    def maximum(self, x: Array, axes: tuple[int, ...]) -> Array:
        """The largest elements along some axes, NaN where there is one.

        Not every backend's reduction keeps a NaN, so NaN is looked for apart.
        """
        largest = x.max(axes)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return largest
        return jnp.where((x != x).any(axes), jnp.asarray(jnp.nan, x.dtype), largest)

    def remember(self, best: Array, index: Array, count: int) -> tuple[Array, Array]:
        """Maxima and their taps, below `count`, as they are kept for the reverse pass."""
        return best, index


NONE = Hints()
