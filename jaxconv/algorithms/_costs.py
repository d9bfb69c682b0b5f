"""What each algorithm costs on a CPU: the model that the selection ranks them by.

The unit is the time of one operation inside a large matrix product. Each algorithm multiplies its
count of operations by how much slower it makes them, and adds what it moves through memory. The
factors were measured on two AVX-512 cores in float32 (`python -m experiments.benchmark` measures
them again); they need only be right to within the factor by which algorithms differ.
"""

import math

from . import _fourier, _patches, _phases, _strips, _taps, _widened
from ._arrays import IS_JAX_0_10
from ._problem import Problem

# Operations that fit in the time in which one number is copied through memory, and with a stride.
_COPIED = 150.0
_STRIDED = 250.0
# And into the patches of a block of examples, which stay in the caches.
_PACKED, _PICKED = 105.0, 165.0
# And in which one of a block's patches is added to what lies there.
_ADDED = 90.0
# And into tiles.
_TILED = 75.0
# And in the time in which a loop reads one, and writes one, in passing.
_STREAMED = 30.0
# Numbers of an array that stays in the caches that cores share.
_CACHED = 5e6
# Operations in the time that it takes to start one more kernel, or one more turn of a loop.
_LAUNCH = 5e6


def direct(problem: Problem) -> float:
    """XLA's own convolution, which collects patches in the caches and multiplies them."""
    slot, geometry, n, c, o = problem
    if not geometry.rank:
        return _LAUNCH + _product(problem)
    if slot == "k":
        return _LAUNCH + _direct_kernel_vjp(problem) * problem.operations
    c, o = c / geometry.groups, o / geometry.groups
    slow = (_VOLUME if geometry.rank > 2 else 1.0) * (_GROUPS if geometry.groups > 1 else 1.0)
    if slot == "y":
        dilation, spacing = geometry.input_dilation, geometry.strides
        positions, rows, columns = geometry.output_size, c, o
    else:
        dilation, spacing = geometry.strides, geometry.input_dilation
        positions, rows, columns = geometry.input_size, o, c
    taps = math.prod(geometry.window)
    operations = 2.0 * n * math.prod(positions) * taps * c * o * geometry.groups
    # Patches of few channels are packed a few numbers at a time; of one, a row of the window.
    packed = 20 if rows == 1 else 45 if rows <= 16 else 16
    slow *= _thin(rows * taps, packed) * (_thin(columns) if columns > 1 else _ONE_COLUMN)
    # Most zeros of a dilated map are skipped; of few channels, they are packed and multiplied.
    skipping = math.prod(dilation) ** -0.8 * _thin(rows, 32)
    if IS_JAX_0_10:  # which looks at more than it needs between windows
        slow *= _spaced(math.prod(spacing), 1.1, 1.8)
    slow *= _spaced(math.prod(dilation), skipping, 3.5)
    if geometry.rank == 2 and taps * c * o > _CACHED_KERNEL:
        slow *= 1.5
    return _LAUNCH + slow * operations * _ynnpack(problem)


def _direct_kernel_vjp(problem: Problem) -> float:
    """By how much the operations of a direct kernel gradient are slower."""
    _, geometry, n, c, o = problem
    errors, taps = n * math.prod(geometry.output_size) * o, math.prod(geometry.window)
    c, o = c / geometry.groups, o / geometry.groups
    apart = max(*geometry.strides, *geometry.kernel_dilation) > 1
    by_rank = _DIRECT_KERNEL_VJP_0_10 if IS_JAX_0_10 else _DIRECT_KERNEL_VJP
    least, single = by_rank[min(geometry.rank, 3)]
    slow = least + single[apart or errors > _CACHED] / taps
    # The rows of its product are channels and taps, the columns output channels.
    slow *= _thin(c, 1) * _thin(c * taps, 32) * _thin(o, 8) ** 2 * _ynnpack(problem)
    slow *= 2.5 if geometry.rank == 1 and geometry.strides[0] > 1 else 1.0
    slow *= 1.3 if taps * c * o > _CACHED_KERNEL else 1.0
    # Zeros between the pixels of the input cost it more than the pixels do.
    slow *= 10.0 if max(geometry.input_dilation) > 1 else 1.0
    return slow * (_KERNEL_GROUPS if geometry.groups > 1 else 1.0)


# XLA convolves the input with a window as large as the error's map for a kernel gradient, the
# slower the fewer places there are in the result, the taps. It falls back to a slower
# implementation where there are three axes or feature groups. By rank: the factor for many taps;
# what is added to it for a single one, and what instead with a stride, with dilation or with errors
# that exceed the caches.
_DIRECT_KERNEL_VJP = {1: (1.3, (2.0, 2.0)), 2: (1.1, (2.0, 6.5)), 3: (10.0, (0.0, 0.0))}
_DIRECT_KERNEL_VJP_0_10 = {1: (1.5, (0.0, 0.0)), 2: (3.3, (0.0, 0.0)), 3: (10.0, (0.0, 0.0))}
_VOLUME = 5.0
# Numbers of a kernel that fits in the caches of a core.
_CACHED_KERNEL = 1e6
_GROUPS, _KERNEL_GROUPS = 7.0, 4.0
# What a direct convolution does for each pixel of a group, however few its channels are.
_GROUP_S_PIXEL = 1.1e4
# A product with a vector, not a matrix.
_ONE_COLUMN = 15.0


def _spaced(spacing: int, few: float, many: float) -> float:
    """A factor for strides, or for dilation: of zeros that fill three places in four, or more."""
    return 1.0 if spacing == 1 else few if spacing <= 4 else many


def _ynnpack(problem: Problem) -> float:
    """By how much YNNPACK slows down a direct convolution: where it is given it, and is slow."""
    slot, geometry, n, c, o = problem
    geometry = _widened.as_forward(slot, geometry)
    c, o = {"y": (c, o), "x": (o, c), "k": (n, o)}[slot]
    given = (
        IS_JAX_0_10
        and (geometry.rank, geometry.groups) == (2, 1)
        and max(c, o) > 16
        and set(geometry.input_dilation) == {1}
        and all(max(r, p) <= i for i, r, p, *_ in geometry.axes())
    )
    if not given:
        return 1.0
    padded = any(side > 0 for sides in geometry.padding for side in sides)
    if not padded and c >= 16:
        return 2.8
    return 1 + (55 / c) ** 2 if c >= 48 else 1.0  # measured: 1.8, 1.2, 1.1 at 64, 128, 256


def widened(problem: Problem) -> float:
    """A direct convolution with a surplus that is cut off."""
    slot, geometry, n, c, o = problem
    size = math.prod(_widened.as_forward(slot, geometry).output_size)
    numbers = size * {"y": n * o, "x": n * c, "k": c / geometry.groups * o}[slot]
    return direct(_widened.leaves(problem)) + _COPIED * numbers


def _product(problem: Problem) -> float:
    """A matrix product for each group."""
    slot, geometry, n, c, o = problem
    if slot == "k":
        return problem.operations * _thin(c, 32) * _thin(o, 64) * _thin(n, 128)
    c, o = c / geometry.groups, o / geometry.groups
    inner, columns = (c, o) if slot == "y" else (o, c)
    return problem.operations * _thin(n, 8) * _thin(inner, 8) * _thin(columns)


def pointwise(problem: Problem) -> float:
    """A product as a convolution: faster where rows and columns are many."""
    slot, _, n, c, o = problem
    faster = n >= 4000 and (o if slot == "y" else c) >= 32 and not IS_JAX_0_10
    return _LAUNCH + (0.88 if faster else 1.2) * _product(problem)


def halves(problem: Problem) -> float:
    """Two matrix products at once, the narrower matrix first."""
    *_, n, c, o = problem
    slow = _thin(min(c, o), 32) * _thin(max(c, o)) * _thin(n, 128)
    slow *= 1.3 if c * o > _CACHED_KERNEL else 1.0
    return _LAUNCH + slow * problem.operations


def _thin(size: int | float, half: int = 16) -> float:
    """The factor by which a product with a side of `size` is slower; 2 at `half`."""
    return 1 + half / max(size, 1)


def taps(problem: Problem) -> float:
    """Multiplications at the rate of the caches, for each term."""
    slot, geometry, n, c, o = problem
    if slot == "k":
        # Without a second axis there are no rows to add up.
        return _LAUNCH + (15.0 if geometry.rank > 1 else 100.0) * problem.operations
    copied = n * c * math.prod(geometry.input_size)
    c, o = c // geometry.groups, o // geometry.groups
    if slot == "x" and set(geometry.strides) != {1}:
        placed = 60.0 if IS_JAX_0_10 else 20.0
        return _LAUNCH + placed * problem.operations + (_STRIDED * copied if c > 1 else 0.0)
    inner, vector = (o, c) if slot == "x" else (c, o)
    # A loop runs along the channels that the sum leaves, or, depthwise, along the groups.
    slow = 4.0 if inner == vector == 1 else 1.5 * _thin(vector, 8) * (1 + inner / 16)
    loops = -(-_taps.terms(problem) // _taps.TERMS)
    outputs = problem.operations / (2 * _taps.terms(problem))
    passed_on = outputs * (loops - 1) if outputs > _CACHED else 0.0
    return _LAUNCH + slow * problem.operations + _STREAMED * (copied + passed_on)


def strips(problem: Problem) -> float:
    """Patches of strips, and a matrix product with a band of zeros around the kernel's rows."""
    slot, geometry, n, c, o = problem
    strip, row = _strips.strip_length(geometry), geometry.window[-1]
    wasted = (strip + row - 1) / row
    outer = math.prod(geometry.window[:-1]) * math.prod(geometry.output_size)
    patches = n * outer * c * (strip + row - 1) / strip
    if slot == "k":
        return _LAUNCH + _COPIED * (1.8 if geometry.rank > 2 else 1.2) * patches
    return _LAUNCH + problem.operations * wasted * _thin(strip * o) + _COPIED * 2 * patches


def fourier(problem: Problem) -> float:
    """Dense transforms, and a product for each frequency."""
    slot, geometry, n, c, o = problem
    frequencies = math.prod(_fourier.circle(geometry)) / 2
    inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
    maps = inputs * c * n + outputs * o * n + math.prod(geometry.window) * c * o
    operations = 4 * frequencies * maps + 8 * frequencies * n * c * o * _thin(c, 8) * _thin(o, 8)
    # Transformed maps, and the kernel also as real matrices.
    numbers = 2 * frequencies * ((c + o) * n + 3 * c * o) + maps
    cost = 3 * _LAUNCH + 1.2 * operations + _COPIED * numbers
    # In training the transforms of x and k serve the gradients, too, and are computed once.
    return 0.8 * cost if slot == "y" else cost


def patches(problem: Problem, into: str) -> float:
    """Making the patches, or adding them up, without the product that follows or precedes."""
    _, geometry, n, c, o = problem
    made = _patches.numbers(geometry, into, c, o)
    return _LAUNCH + sum(n * numbers * _moved(problem, into, s) for s, numbers in made.items())


def _moved(problem: Problem, into: str, s: str) -> float:
    """What each number costs in patches that are made of slot `s`, or added up to it."""
    slot, geometry, _, c, o = problem
    spacing = geometry.strides if s == "x" else geometry.input_dilation
    strided = any(spacing[axis] > 1 for axis, letter in enumerate(into) if letter == s)
    copied = _PICKED if strided else _PACKED
    # Rows of a few numbers are not copied but moved one by one.
    few = 1 + 3.0 / ((c if s == "x" else o) / geometry.groups)
    if slot == "k":  # the patches are all that is written
        return copied * ((1 + few) / 2 if geometry.groups > 1 else 1.0)
    if s != slot:
        return copied * few
    if len(into) < geometry.rank:
        return 1.5 * copied * few
    # Overlapping patches are added up where they lie; with strides, a phase at a time.
    return _ADDED * (1.0 if strided else few * (2.5 if geometry.rank > 2 else 1.0))


def phases(problem: Problem) -> float:
    """Taking the phases apart or putting them together, without the form that follows."""
    slot, geometry, n, c, o = problem
    combs = [_phases.comb(axis) for axis in geometry.axes()]
    inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
    numbers = 0.0
    if any(comb.splits == "x" and comb.step > 1 for comb in combs):
        numbers += n * inputs * c
    if any(comb.splits == "y" and comb.step > 1 for comb in combs):
        numbers += n * outputs * o
    return 4 * _LAUNCH + _COPIED * numbers


def group_by_group(problem: Problem) -> float:
    """Laying out channels group by group, without the forms that follow."""
    slot, geometry, n, c, o = problem
    inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
    pixels = 0 if slot == "k" else geometry.groups * (outputs if slot == "y" else inputs)
    return _LAUNCH + _COPIED * n * (inputs * c + outputs * o) + _GROUP_S_PIXEL * n * pixels


def tiles(problem: Problem) -> float:
    """A copy into tiles, unless they are pixels, without the matrix product that follows."""
    _, geometry, n, c, _ = problem
    seen = math.prod(geometry.output_size) * math.prod(geometry.window)
    return _LAUNCH + (0.0 if set(geometry.strides) <= {1} else _TILED * n * c * seen)


def for_gpus(problem: Problem) -> float:
    """Right on a CPU, but made for another platform: never the cheapest."""
    return math.inf
