"""The algorithms for GPUs, of NVIDIA and AMD, and the choice between them.

    cudnn       each contraction in the form that XLA turns into the cuDNN routine made for it
    tiles       windows that do not overlap: a matrix product over patches
    shifts      a sum over taps of shifted maps, which XLA fuses into one loop
    depthwise   the kernel gradient of a depthwise layer, in one kernel
    depth, depth_of_output
                volumes of few channels: a convolution in 2-D, with the depth's taps as channels
    direct      a matrix product where there is no spatial axis

The kind of convolution and the contraction decide, as estimated from programs that XLA compiled for
an H100. A library's routine reads each map once, and a transposed copy of a map costs two passes.

- `tiles` for 1×1 convolutions, whose map is the matrix as it is; for volumes, whose maps XLA
  transposes for cuDNN; and for input gradients that cuDNN's pattern misses.
- `shifts` for depthwise layers, where they sum over few channels. Their kernel gradient would be
  one reduction a tap, each over both maps: `depthwise` has a kernel for it.
- `cudnn` for all else, but `shifts` in more than three dimensions.
"""

import math
from collections.abc import Iterator

from ..._spec import Slot
from .._catalogue import Catalogue, Choice
from .._problem import Problem
from ..shared._direct import Direct
from ..shared._tiles import Tiles
from ._cudnn import Cudnn
from ._depth import Depth, DepthOfOutput
from ._depthwise import Depthwise
from ._even_padding import is_trivial
from ._pools import max_and_argmax as max_and_argmax
from ._pools import max_and_argmax_in_loop as max_and_argmax_in_loop
from ._pools import max_of_windows as max_of_windows
from ._pools import spread_windows as spread_windows
from ._pools import sum_windows as sum_windows
from ._shifts import MAX_UNROLLED, Shifts

# Of those that apply, an algorithm leaves its remainder to the first.
_DEPTHS = (Depth(), DepthOfOutput())
CATALOGUE = Catalogue([Cudnn(), Direct(), Tiles(), Shifts(), Depthwise(), *_DEPTHS])


def choose(problem: Problem) -> Choice:
    """The algorithm for a contraction. None of this catalogue has to be asked for."""
    plan = CATALOGUE.plan(algorithm_for(problem), problem)
    return Choice(plan, "what XLA runs best on a GPU")


def algorithm_for(problem: Problem) -> str:
    """The name of the algorithm for a contraction: the first that applies, in order of speed."""
    names = _by_speed(problem)
    return next(name for name in names if not CATALOGUE.algorithms[name].refusal(problem))


def _by_speed(problem: Problem) -> Iterator[str]:
    """The names of the algorithms that may suit a contraction, the fastest first."""
    geometry = problem.geometry
    if not geometry.rank and geometry.groups == 1:
        yield "direct"
    if problem.slot == Slot.KERNEL:
        yield "depthwise"
    if _is_depthwise(problem):
        yield "shifts"
    if _is_product(problem):
        yield "tiles"
    for depth in _DEPTHS if problem.c <= problem.o else reversed(_DEPTHS):
        if not depth.why_not(problem) and depth.is_worth_it(problem):
            yield depth.name
    yield from ("cudnn", "shifts")


def _is_product(problem: Problem) -> bool:
    """Whether a convolution whose windows do not overlap is fastest as a matrix product."""
    slot, geometry, n, c, o, _ = problem
    positions = math.prod(geometry.output_size)
    if is_trivial(geometry):
        # A small result of long sums would be added up in parts, by a second kernel.
        columns = c if slot == Slot.INPUT else o
        return slot != Slot.KERNEL and n * positions * columns >= _MANY_ELEMENTS
    if geometry.rank > 2:
        return not is_trivial(geometry.spatial(0, 1))
    # A kernel larger than the map that it slides over is exchanged with the map by the compiler.
    return slot == Slot.INPUT and math.prod(geometry.window) > positions


# The elements of a result whose tiles, of 64×64, keep a GPU busy: about a hundred.
_MANY_ELEMENTS = 100 * 64 * 64

# The products of a 3×3 window with the most outputs of a channel that are unrolled.
_MAX_PRODUCTS = 3 * 3 * MAX_UNROLLED


def _is_depthwise(problem: Problem) -> bool:
    """Whether a contraction sums over few channels, and over no positions but those of a window."""
    slot, geometry, _, c, o, _ = problem
    if geometry.groups == 1 or any(e > 1 for e in geometry.input_dilation):
        return False
    if slot == Slot.INPUT and c == geometry.groups != o:
        # Each output of a channel has its own products. Of many XLA makes several loops, slowly.
        return math.prod(geometry.window) * o <= _MAX_PRODUCTS * c and o <= MAX_UNROLLED * c
    if slot == Slot.INPUT:
        return o == geometry.groups
    return slot == Slot.OUTPUT and c == geometry.groups
