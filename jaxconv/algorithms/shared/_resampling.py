"""Weighted sums of a few elements along each axis: interpolation, and windows of unequal size.

    y[p] = Σ_k w[p,k] x[i[p,k]]        on one axis, with indices and weights known beforehand

Elements that are not listed are not read. So an infinity or a NaN stays where it is, unlike in a
product with a matrix that has zeros. The transpose is a sum of the same kind, with the list sorted
by i. Neither direction scatters.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from ..._typing import Array, Input, Pooled
from ._arrays import add_up
from ._dtypes import accumulator


@dataclass(frozen=True)
class Mixing:
    """Which elements of an axis make up each element of a new axis. Static and hashable.

    Attributes:
      size: Length of the axis that is read.
      rows: For each new element its `(index, weight)` pairs.
    """

    size: int
    rows: tuple[tuple[tuple[int, float], ...], ...]

    def transposed(self) -> "Mixing":
        """The same weights, sorted by the element that is read."""
        rows: list[list[tuple[int, float]]] = [[] for _ in range(self.size)]
        for p, row in enumerate(self.rows):
            for i, weight in row:
                rows[i].append((p, weight))
        return Mixing(len(self.rows), tuple(map(tuple, rows)))

    def columns(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k-th index and weight of all new elements.

        A row without a k-th pair repeats an index, with the weight NaN. The caller must not use it.
        """
        longest = max((len(row) for row in self.rows), default=0)
        filled = [
            [*row, *[((row or ((0, 0.0),))[-1][0], np.nan)] * (longest - len(row))]
            for row in self.rows
        ]
        pairs = np.array(filled, float).reshape(len(self.rows), longest, 2)
        return [(pairs[:, k, 0].astype(int), pairs[:, k, 1]) for k in range(longest)]


def resample(x: Input, *, mixings: tuple[Mixing, ...]) -> Pooled:
    """Mix each spatial axis, one after the other."""
    y = x.astype(accumulator(x.dtype))
    for axis, mixing in enumerate(mixings, start=1):
        y = _mix(y, axis, mixing)
    return y.astype(x.dtype)


def resample_back(y: Pooled, *, mixings: tuple[Mixing, ...]) -> Input:
    """The transpose of `resample`."""
    return resample(y, mixings=tuple(mixing.transposed() for mixing in mixings))


def _mix(x: Array, axis: int, mixing: Mixing) -> Array:
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    zero = jnp.zeros((), x.dtype)

    def term(index, weight):
        seen = jnp.take(x, index, axis=axis, indices_are_sorted=bool((np.diff(index) >= 0).all()))
        unused = np.isnan(weight)
        if not (weight == 1).all():
            seen = seen * np.where(unused, 0, weight).astype(x.dtype).reshape(shape)
        return jnp.where(unused.reshape(shape), zero, seen) if unused.any() else seen

    columns = mixing.columns()
    if not columns:  # an empty axis, or one from which nothing is read
        return jnp.zeros((*x.shape[:axis], len(mixing.rows), *x.shape[axis + 1 :]), x.dtype)
    return add_up(term(*column) for column in columns)
