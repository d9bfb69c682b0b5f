"""Which rows of a dataset one of several processes reads."""

from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A process's share of the rows of a split: equal blocks, but for what is missing at the end.

    Blocks are multiples of `multiple`, as of the process's devices.
    """

    index: int = 0
    count: int = 1
    multiple: int = 1

    def block(self, size: int) -> int:
        """Rows of a block, of `size` rows in all."""
        return -(-size // (self.count * self.multiple)) * self.multiple

    def rows(self, size: int) -> slice:
        """The rows of this share, possibly none."""
        start = min(self.index * self.block(size), size)
        return slice(start, min(start + self.block(size), size))

    def of_all(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes, in their order, where this one has `rows`."""
        return rows if self == WHOLE else _processes().concatenated(rows)

    def all_agree(self, answer: bool) -> bool:
        """Whether this is the answer of every process."""
        return answer if self == WHOLE else all(_processes().from_all(answer))


WHOLE = Part()


def _processes() -> Any:
    from .. import processes  # which imports JAX: slow, where there are none

    return processes
