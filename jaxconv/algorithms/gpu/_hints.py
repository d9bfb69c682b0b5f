"""Hints to XLA's GPU compiler."""

from ..._typing import Array
from .._algorithm import GPU_PLATFORMS
from ..shared._hints import Hints
from ..shared._row_major import row_major


class GpuHints(Hints):
    """The order of maps whose slices are added up."""

    def row_major(self, a: Array) -> Array:
        """An array that is read in row-major order, also in a channels-first program."""
        return row_major(a, platforms=GPU_PLATFORMS)


HINTS = GpuHints()
