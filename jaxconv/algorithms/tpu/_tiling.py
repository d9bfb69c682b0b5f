"""How kernels for the vector unit see a map, and how those of pools share it out.

The vector unit works on tiles of 8 x 128 numbers. XLA lays out a map so that they waste little: two
of the columns, examples and channels fill them. A kernel takes the map as it lies.

    block    some examples and channels, and of these some rows of the result
    chunk    a part of these rows, and all windows that have a part in it

A block holds all that its chunks depend on in the chip's vector memory (VMEM). What a chunk's
windows see lies there once more, as 32-bit numbers with padding around them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..._geometry import Geometry
from ..shared._scatter import shifts_of

LANES, SUBLANES = 128, 8  # the tile of the vector unit
MAX_RANK = 2  # the kernels have rows and columns
MEMORY = 12 * 2**20  # of the 16 MiB of VMEM that a kernel may take by default
MOST_TILES = 4  # of a position in a block; more at a time no longer hide the time of a step
MOST_EXAMPLES = 16  # of a block whose columns fill tiles
FEWEST_STEPS = 4  # of a chunk, which computes again what it shares with the one before


def with_two_axes(geometry: Geometry, *, new: int) -> Geometry:
    """A signal as an image: `new` is the axis of size 1, 0 for rows and 1 for columns."""
    if geometry.rank == MAX_RANK:
        return geometry
    added = {"input_size": 1, "window": 1, "output_size": 1, "strides": 1}
    added |= {"padding": (0, 0), "input_dilation": 1, "kernel_dilation": 1}

    def both(name: str) -> tuple[Any, ...]:
        (own,) = getattr(geometry, name)
        return (own, added[name]) if new else (added[name], own)

    return replace(geometry, **{name: both(name) for name in added})


class Layout(NamedTuple):
    """An order of the axes examples (0), rows (1), columns (2) and channels (3) of a map.

    The last two fill tiles.
    """

    order: tuple[int, int, int, int]
    wasted: float  # how many times as large tiles are as what they hold

    @property
    def has_columns_in_tiles(self) -> bool:
        """Whether columns fill tiles. Only the order of the axes as such has that."""
        return self.order[2] == 2

    @property
    def rows(self) -> int:
        """The place of the rows."""
        return self.order.index(1)

    @property
    def columns(self) -> int:
        """The place of the columns."""
        return self.order.index(2)

    @property
    def others(self) -> tuple[int, int]:
        """The places of examples and channels, in the order of the layout."""
        first, second = sorted((self.order.index(0), self.order.index(3)))
        return first, second

    @property
    def inverse(self) -> tuple[int, ...]:
        """The order that leads back."""
        return tuple(map(self.order.index, range(4)))

    def arranged(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of a map in this order."""
        return tuple(shape[axis] for axis in self.order)


def layout_of(n: int, c: int, geometry: Geometry) -> Layout:
    """The order that XLA takes by itself: the one that wastes least, the first of equal ones."""

    def of(order: tuple[int, int, int, int]) -> Layout:
        *_, sublanes, lanes = ((n, *geometry.input_size, c)[axis] for axis in order)
        tiles = rounded(sublanes, SUBLANES) * rounded(lanes, LANES)
        return Layout(order, tiles / (sublanes * lanes))

    layouts = map(of, ((0, 1, 2, 3), (1, 2, 0, 3), (1, 2, 3, 0)))
    return min(layouts, key=lambda layout: layout.wasted)


@dataclass(frozen=True)
class Rows:
    """The rows of a map that chunk k needs: `count` of them from `step·k + first` on.

    Some of them may lie outside of the map, which has `size` rows.
    """

    step: int
    first: int
    count: int
    size: int

    def of_blocks(self, chunks: int) -> "Rows":
        """The rows that so many chunks, one after another, need together."""
        count = self.step * (chunks - 1) + self.count
        return replace(self, step=self.step * chunks, count=count)

    @property
    def held(self) -> int:
        """The rows that a block holds, all of which exist."""
        return min(self.count, self.size)

    def wanted(self, k):
        """The first row that is needed."""
        return self.step * k + self.first

    def start(self, k):
        """The first row that the block holds."""
        return jnp.clip(self.wanted(k), 0, self.size - self.held)


@dataclass(frozen=True)
class Plan:
    """How the work is shared out. x is the input's map, y any map of windows.

    Attributes:
      layout: The layout of the maps.
      result: Whether the result is an "x" or a "y".
      block: The sizes of a block in the order of the layout; 0 for rows and columns.
      blocks: The number of blocks along the rows.
      chunks: The number of chunks in a block.
      rows: The rows of the result in a chunk.
      windows: The rows of windows that have a part in these.
      seen: The rows of x that those see.
      ahead: How many of these lie before the first row of an x that is the result.
      scratch: The shape of what a chunk keeps of all positions that its windows see.
      moved: The bytes that the blocks along the rows read and write.
    """

    layout: Layout
    result: str
    block: tuple[int, ...]
    blocks: int
    chunks: int
    rows: int
    windows: Rows
    seen: Rows
    ahead: int
    scratch: tuple[int, ...] = ()
    moved: int = 0

    @property
    def held(self) -> Rows:
        """The rows of an operand that a block holds."""
        return (self.windows if self.result == "x" else self.seen).of_blocks(self.chunks)

    def block_of(self, rows: int, columns: int) -> tuple[int, ...]:
        """The sizes of a block with so many rows and columns."""
        given = {self.layout.rows: rows, self.layout.columns: columns}
        return tuple(given.get(axis, size) for axis, size in enumerate(self.block))

    def numbers(self, rows: int, columns: int) -> int:
        """The numbers of such a block, in whole tiles."""
        *outer, sublanes, lanes = self.block_of(rows, columns)
        return math.prod(outer) * rounded(sublanes, SUBLANES) * rounded(lanes, LANES)


def plan_of(result: str, geometry: Geometry, n: int, c: int, itemsizes: dict[str, int]):
    """The plan with the largest blocks that fit into the memory, or None if none do.

    Whole maps are best: no row is read twice. Otherwise blocks are thin.

    Args:
      result: "x", or "y" for a map of windows.
      geometry: The windows, with two axes.
      n: The number of examples.
      c: The number of channels.
      itemsizes: Bytes of an element of all maps together: of x, and of those of windows.
    """
    layout = layout_of(n, c, geometry)
    axis, across = geometry.axes()
    steps = -(-axis.i // axis.s) if result == "x" else axis.p
    width = max(across.s * (across.p - 1) + across.d * (across.r - 1) + 1, across.lo + across.i)
    size_of = {"x": axis.i, "y": axis.p}
    sizes = [*_blocks(layout, n, c)]
    for size in sizes:
        for blocks in range(1, steps + 1) if size == sizes[-1] else (1,):
            part = -(-steps // blocks)
            for chunks in range(1, -(-part // FEWEST_STEPS) + 1):
                plan = _with_steps(
                    -(-part // chunks), result, geometry, layout, size, blocks, chunks
                )
                rows = {result: plan.chunks * plan.rows, _other(result): plan.held.held}
                maps = {
                    map_: itemsizes[map_] * plan.numbers(rows[map_], columns)
                    for map_, columns in (("x", across.i), ("y", across.p))
                }
                # A chunk's examples are computed one after another.
                one = replace(plan, block=(1, *size[1:])) if layout.has_columns_in_tiles else plan
                kept = (max(plan.seen.count, plan.ahead + plan.rows), width)
                if 2 * sum(maps.values()) + 4 * one.numbers(*kept) <= MEMORY:
                    shape = one.block_of(*kept)[int(layout.has_columns_in_tiles) :]
                    # The rows of a result that do not exist are not written.
                    written = maps[result] * size_of[result] // rows[result]
                    moved = maps[_other(result)] * blocks + written
                    return replace(plan, scratch=shape, moved=moved)
    return None


def _with_steps(
    steps: int,
    result: str,
    geometry: Geometry,
    layout: Layout,
    size: tuple[int, ...],
    blocks: int,
    chunks: int,
) -> Plan:
    """A plan whose chunks have so many rows of windows, or as many strides of the rows of x."""
    axis, _ = geometry.axes()
    shifts = shifts_of(axis) if result == "x" else {0: None}
    windows = Rows(steps, -max(shifts), steps + max(shifts) - min(shifts), axis.p)
    count = axis.s * (windows.count - 1) + axis.d * (axis.r - 1) + 1
    seen = Rows(axis.s * steps, axis.s * windows.first - axis.lo, count, axis.i)
    rows, ahead = (axis.s * steps, -seen.first) if result == "x" else (steps, 0)
    return Plan(layout, result, size, blocks, chunks, rows, windows, seen, ahead)


def _blocks(layout: Layout, n: int, c: int) -> Iterator[tuple[int, int, int, int]]:
    """The sizes of blocks to try, the thickest first; rows and columns are 0."""
    if layout.has_columns_in_tiles:
        sizes = [size for size in range(min(n, MOST_EXAMPLES), 0, -1) if n % size == 0]
        yield from ((size, 0, 0, min(c, LANES)) for size in sizes)
        return
    sublanes, lanes = ((n, 0, 0, c)[axis] for axis in layout.order[2:])
    for tiles in (MOST_TILES, MOST_TILES // 2, 1):
        yield 0, 0, min(sublanes, tiles * SUBLANES), min(lanes, LANES)


def _other(map_: str) -> str:
    return "y" if map_ == "x" else "x"


def rounded(size: int, step: int) -> int:
    """The least multiple of a step that is not below a size."""
    return -(-size // step) * step
