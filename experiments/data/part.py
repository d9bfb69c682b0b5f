"""The rows of a dataset that one of several processes reads."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _alone(rows: np.ndarray) -> np.ndarray:
    return rows


class Part(NamedTuple):
    """One process's share of the rows of a split.

    The shares are blocks of equal size, but the last ones may be shorter or empty. The size of a
    block is a multiple of `multiple`, for example of the number of devices of a process.
    """

    index: int = 0
    count: int = 1
    multiple: int = 1
    gather: Callable[[np.ndarray], np.ndarray] = _alone  # concatenates the rows of all processes

    def block(self, size: int) -> int:
        """The rows of a block, if there are `size` rows in all."""
        return -(-size // (self.count * self.multiple)) * self.multiple

    def rows(self, size: int) -> slice:
        """The rows of this share, possibly none."""
        start = min(self.index * self.block(size), size)
        return slice(start, min(start + self.block(size), size))

    def all_agree(self, answer: bool) -> bool:
        """Whether the answer is True in every process."""
        return bool(self.gather(np.array([answer])).all())

    @property
    def suffix(self) -> str:
        """Distinguishes the files that this share is cached in; empty if it is the whole."""
        shares = f"_part_{self.index}_of_{self.count}x{self.multiple}"
        return "" if self.count == 1 else shares


WHOLE = Part()
