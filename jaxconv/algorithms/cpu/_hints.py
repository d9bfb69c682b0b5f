"""Hints to XLA's CPU compiler. Each one is here because programs were slower without it."""

from functools import reduce
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Shaped

from ..._typing import Array
from ..shared._hints import Hints
from ..shared._row_major import row_major
from ._jax_0_10 import not_repeated

# float32 elements in a vector of most processors, …
_VECTOR = 8
# … and the most channels for which it pays to name the vectors.
_UNROLLED = 64

# Slices that one loop takes the maximum of.
_SLICES = 16


class CpuHints(Hints):
    """Hints that make XLA's CPU compiler end loops, and name vectors."""

    def separate(self, values: Any) -> Any:
        """The arrays of a pytree, computed before the loops that read them."""
        return lax.optimization_barrier(values)

    def row_major(self, a: Array) -> Array:
        """An array that is written in row-major order before it is reshaped."""
        return row_major(a)

    def in_vectors(self, a: Shaped[Array, "*rest c"]) -> Shaped[Array, "*rest vectors elements"]:
        """Channels split into vectors of the processor.

        LLVM unrolls an innermost loop of some 20 to 64 elements before it makes vectors of them.
        Loops over named vectors run as fast or faster, and compile in a third of the time.
        """
        *rest, channels = a.shape
        few = channels % _VECTOR == 0 and channels <= _UNROLLED
        elements = _VECTOR if few else channels
        return a.reshape(*rest, channels // elements, elements)

    def pad(self, x: Array, axis: int, lo: int, hi: int, fill: int | float) -> Array:
        """A padded axis, by concatenation.

        XLA's CPU compiler writes a `pad` out before the loop that reads it. Through a concatenation
        the loop reads `x` itself.
        """

        def filled(size: int) -> list[Array]:
            shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
            return [jnp.full(shape, fill, x.dtype)] if size > 0 else []

        parts = [*filled(lo), x, *filled(hi)]
        return lax.concatenate(parts, axis) if len(parts) > 1 else x

    def maximum(self, x: Array, axes: tuple[int, ...]) -> Array:
        """The largest elements along some axes, NaN where there is one.

        Each step takes the maximum of several slices. That is as fast as XLA's own reduction, which
        on a CPU forgets every NaN of a large array. Without the separation XLA would write out all
        slices of the map at once.
        """
        for axis in axes:
            while (size := x.shape[axis]) > 1:
                length = -(-size // _SLICES)
                starts = sorted({min(part * length, size - length) for part in range(_SLICES)})
                parts = (lax.slice_in_dim(x, i, i + length, axis=axis) for i in starts)
                x = self.separate(reduce(jnp.maximum, parts))
        return lax.squeeze(x, axes)

    def remember(self, best: Array, index: Array, count: int) -> tuple[Array, Array]:
        """Maxima and their taps, computed once.

        Without the separation XLA would search the maps again in every loop that reads one of the
        two, the reverse pass above all.
        """
        best, index = self.separate((best, index))
        return best, not_repeated(index, count)


HINTS = CpuHints()
