"""What decides which algorithm is fast: a corner and its sizes."""

import math
from typing import NamedTuple

from .._geometry import Geometry


class Problem(NamedTuple):
    """A corner, named for the slot that it leaves out, and all of its sizes."""

    slot: str
    geometry: Geometry
    n: int
    c: int
    o: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n, c and o."""
        return self.n, self.c, self.o

    @property
    def operations(self) -> float:
        """Multiplications and additions in the sum (T), as if no padding were met.

        (G) leaves two of pixel, tap and output free on each axis; with a stride the output has
        fewer places than the input, with an input dilation the input.
        """
        pairs = (a.r * (a.i if a.e > 1 else a.p) for a in self.geometry.axes())
        return 2.0 * self.n * math.prod(pairs) * self.c * self.o / self.geometry.groups
