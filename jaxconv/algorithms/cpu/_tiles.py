"""Windows that do not overlap, on a CPU: a copy into tiles, and a matrix product."""

import math

from .._algorithm import Remainder
from .._problem import Problem
from ..shared._tiles import Tiles
from ._hints import HINTS
from ._rates import LAUNCH

# Operations in the time in which one element is copied into a tile.
_TILED = 75.0


class CpuTiles(Tiles):
    """`Tiles` with the hint that ends the copy's loop before the reshape."""

    finishes = frozenset({Remainder.GROUP})
    hints = HINTS

    def cost(self, problem: Problem) -> float:
        """The copy into tiles. A stride of 1 needs none."""
        _, geometry, n, c, *_ = problem
        seen = math.prod(geometry.output_size) * math.prod(geometry.window)
        return LAUNCH + (0.0 if set(geometry.strides) <= {1} else _TILED * n * c * seen)
