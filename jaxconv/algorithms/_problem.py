"""A contraction, its sizes and its dtype: everything that decides which algorithm is fast."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .._geometry import Geometry
from .._spec import ConvSpec, Slot
from .shared._dtypes import common_dtype

# An exported program may leave the number of examples open. The choice is then made for this many.
_MANY_EXAMPLES = 256


class Problem(NamedTuple):
    """A contraction, named for the slot that it leaves empty, and all of its sizes.

    Attributes:
      slot: The empty slot.
      geometry: Spatial sizes, spacings and padding, and the feature groups.
      n: Number of examples.
      c: Number of input channels, of all groups together.
      o: Number of output channels, of all groups together.
      dtype: The dtype that operands and result are promoted to.
    """

    slot: Slot
    geometry: Geometry
    n: int
    c: int
    o: int
    dtype: np.dtype = np.dtype("float32")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n, c and o."""
        return self.n, self.c, self.o

    @property
    def operations(self) -> float:
        """Multiplications and additions in the sum (T), as if no padding were met.

        (G) leaves two of input, tap and output free on each axis. With a stride the output has
        fewer positions than the input; with an input dilation the input has fewer.
        """
        pairs = (axis.r * (axis.i if axis.e > 1 else axis.p) for axis in self.geometry.axes())
        return 2.0 * self.n * math.prod(pairs) * self.c * self.o / self.geometry.groups


def problem_of(slot: Slot, shapes: Sequence[Sequence[int]], spec: ConvSpec) -> Problem:
    """The contraction that leaves `slot` empty, for operands of these shapes."""
    first, second = shapes
    geometry, dtype = spec.geometry, common_dtype(*spec.dtypes)
    if slot == Slot.INPUT:
        n, c, o = second[0], first[-2] * geometry.groups, first[-1]
    else:
        n, c, o = first[0], first[-1], second[-1]
    return Problem(Slot(slot), geometry, n if isinstance(n, int) else _MANY_EXAMPLES, c, o, dtype)
