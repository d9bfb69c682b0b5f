"""Which contraction of the trilinear form a convolution of lax is.

`jax.lax.conv_general_dilated` has one form for a convolution and for both of its gradients. In one
dimension, with lhs dilation e, rhs dilation d, window strides w and low padding lo, it computes

    out[a,p,c] = Σ_{i,r,b} lhs[a,i,b] rhs[r,b,c] [e·i + lo = w·p + d·r]                          (1)

and T(x, k, y) sums x[n,i,c] k[r,c,o] y[n,p,o] over all positions with e·i + lo = s·p + d·r (T).

*Letters.* Each pair of the arrays of (1) shares one letter: a is in lhs and out, b in lhs and rhs,
c in rhs and out. Each pair of slots of T shares one letter, too: n is in x and y, c in x and k, o
in k and y. So every assignment of lhs, rhs and out to the three slots makes letters of letters. The
slot of `out` is the one that the contraction leaves empty.

*Positions.* In (T) the input stands alone on its side of the equation. Positions may be counted
from the other end, here r = R-1-r' or p = P-1-p', and (1) is one of

    e·i + lo = w·p + d·r                                  x = lhs                               (2)
    w·p + d(R-1) - lo = e·i + d·r'                        x = out, rhs reversed                 (3)
    d·r + w(P-1) - lo = e·i + w·p'                        x = rhs, out reversed                 (4)

In each, the other two arrays are k and y in either order, because (T) is symmetric in the terms of
its right-hand side. The spacings are those of the arrays: e of lhs, d of rhs and w of out.

*Readings.* This gives six readings of every convolution:

    x     k     y        empty slot     lax's own rules make it from
    lhs   rhs   out      y              a convolution
    lhs   out   rhs      k              its kernel gradient: rhs dilated by the stride
    out   rhs   lhs      x              its input gradient: lhs dilated by the stride
    out   lhs   rhs      x              the gradient of a kernel gradient in its lhs
    rhs   out   lhs      k              the gradient of an input gradient in its kernel
    rhs   lhs   out      y              gradients of these two

All compute the same sums, so every convolution *can* be read in each way. They differ in cost. A
kernel gradient read as a convolution has a window as large as a map.

*Groups.* With feature groups, lhs counts the groups g with b, and with batch groups with a; rhs and
out count them with c. In T the slots x, k and y count them with c, o and o. So a group of lax is a
group of T in each reading, but it may be counted by another axis: a batch group is a feature group
of a kernel gradient. vmap of lax makes a batch of both operands a group; a batch of one operand
becomes part of a, b or c.

Derived here. `read` chooses among the readings.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from .. import algorithms
from .._geometry import Geometry, padding_that_ends_at
from .._spec import ConvSpec, Dtypes, Slot
from .._typing import Array
from ._form import contract

NAMES = {Slot.INPUT: "conv_input_vjp", Slot.KERNEL: "conv_kernel_vjp", Slot.OUTPUT: "conv"}


class Part(StrEnum):
    """An array of a convolution of lax."""

    LHS = "lhs"
    RHS = "rhs"
    OUT = "out"


# For each reading the arrays in the slots x, k and y. The first is as the call is written.
READINGS = (
    (Part.LHS, Part.RHS, Part.OUT),
    (Part.LHS, Part.OUT, Part.RHS),
    (Part.OUT, Part.RHS, Part.LHS),
    (Part.OUT, Part.LHS, Part.RHS),
    (Part.RHS, Part.OUT, Part.LHS),
    (Part.RHS, Part.LHS, Part.OUT),
)
# The axes of an array besides the spatial ones: their letters in (1), as lax's specs list them.
_LETTERS = {Part.LHS: "ab", Part.RHS: "cb", Part.OUT: "ac"}
# The same for T, in the library's layout: before and after the spatial axes.
_LAYOUTS = {Slot.INPUT: ("n", "c"), Slot.KERNEL: ("", "co"), Slot.OUTPUT: ("n", "o")}
# An estimate must be lower by this factor to count. Those of unusual sizes are not more accurate.
_MUCH_LOWER = 0.65


class Convolution(NamedTuple):
    """A convolution of lax: all that is static about it, hashable.

    Attributes:
      lhs: Shape of lhs in lax's layout.
      rhs: Shape of rhs.
      out: Shape of the result.
      dtype: Dtype of both.
      window_strides: This and all others are the parameters of the primitive of lax.
    """

    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    out: tuple[int, ...]
    dtype: np.dtype
    window_strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    dimension_numbers: lax.ConvDimensionNumbers
    feature_group_count: int
    batch_group_count: int
    precision: Any
    preferred_element_type: np.dtype | None

    @property
    def groups(self) -> int:
        """The number of groups of either kind."""
        return self.feature_group_count * self.batch_group_count

    def spec(self, part: Part) -> Sequence[int]:
        """The axes of an array: its two letters, then the spatial ones."""
        numbers = self.dimension_numbers
        return {
            Part.LHS: numbers.lhs_spec,
            Part.RHS: numbers.rhs_spec,
            Part.OUT: numbers.out_spec,
        }[part]


def convolution_of(lhs: Any, rhs: Any, params: Mapping[str, Any]) -> Convolution:
    """The static description of a convolution with these abstract operands."""
    options = {name: params[name] for name in Convolution._fields[4:]}
    out = jax.eval_shape(partial(_of_lax, **options), *map(_shape_and_dtype, (lhs, rhs))).shape
    return Convolution(lhs.shape, rhs.shape, out, np.dtype(lhs.dtype), **options)


def _of_lax(lhs: Array, rhs: Array, **options: Any) -> Array:
    return lax.conv_general_dilated(lhs, rhs, **options)


def _shape_and_dtype(a: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(a.shape, a.dtype)


class Reading(NamedTuple):
    """One way to read a convolution of lax as a contraction of T.

    Attributes:
      parts: The arrays in the slots x, k and y.
      spec: The convolution T belongs to.
      shapes: Shapes of the operands, channels last, in the order of their slots.
      cost: The estimate for a CPU.
    """

    parts: tuple[Part, Part, Part]
    spec: ConvSpec
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    cost: float

    @property
    def slot(self) -> Slot:
        """The slot that the contraction leaves empty."""
        return tuple(Slot)[self.parts.index(Part.OUT)]

    @property
    def operands(self) -> tuple[Part, Part]:
        """The two operands in the order of their slots."""
        first, second = (part for part in self.parts if part is not Part.OUT)
        return first, second

    @property
    def description(self) -> str:
        """What runs, such as `"jaxconv.conv_kernel_vjp"`."""
        return f"jaxconv.{NAMES[self.slot]}"


def run(function: str, convolution: Convolution, reading: Reading, lhs: Array, rhs: Array) -> Array:
    """Compute a convolution of lax as it was read. Errors name the public `function`."""
    arrays = {Part.LHS: lhs, Part.RHS: rhs}
    slots = dict(zip(reading.parts, Slot, strict=True))
    operands = [_to_slot(convolution, part, slots, arrays[part]) for part in reading.operands]
    result = contract(function, reading.slot, reading.spec, *operands)
    return _from_slot(convolution, slots, result)


def why_not(convolution: Convolution) -> str:
    """Why a convolution can't be read; empty if it can."""
    if convolution.dtype == np.dtype(bool):
        return "its operands are booleans"
    sizes = (*convolution.lhs, *convolution.rhs)
    if not all(isinstance(size, int) for size in sizes):
        return "sizes are symbols, and the choice would depend on them"
    if 0 in sizes or 0 in _spatial_sizes(convolution)[Part.OUT]:
        return "an axis has no elements"
    return ""


def read(convolution: Convolution) -> Reading:
    """The reading that runs, of a convolution for which `why_not` has no reason.

    It is the plain one, unless programs run on a CPU and another one's estimate is much lower. In a
    plain reading nothing is moved to another layout, if there is such a reading, else as little as
    in any other, to a tenth of the elements. Then kernels have few taps, and maps become smaller
    from layer to layer: the grid of y is wider than that of x. Among equals the call is read as it
    is written.
    """
    every = [_reading(convolution, parts) for parts in READINGS]
    plain = min(every, key=lambda reading: _plainness(convolution, reading.parts))
    if jax.default_backend() != "cpu":
        return plain
    best = min(every, key=lambda reading: reading.cost)
    return best if best.cost < _MUCH_LOWER * plain.cost else plain


def _plainness(convolution: Convolution, parts: tuple[Part, Part, Part]) -> tuple[int, ...]:
    x, k, y = parts
    sizes, spacings = _spatial_sizes(convolution), _spacings(convolution)
    taps, of_x, of_y = math.prod(sizes[k]), math.prod(spacings[x]), math.prod(spacings[y])
    moved, shapes = _elements_moved(convolution, parts), convolution[:3]
    tenths = -(-10 * moved // sum(map(math.prod, shapes)))
    return tenths, taps, of_x, -of_y


def _reading(convolution: Convolution, parts: tuple[Part, Part, Part]) -> Reading:
    slots = dict(zip(parts, Slot, strict=True))
    slot = slots[Part.OUT]
    dtype = convolution.dtype
    of_out = convolution.preferred_element_type
    dtypes = [dtype if of_out is None or part is not Part.OUT else of_out for part in parts]
    precision = convolution.precision
    if isinstance(precision, tuple) and parts.index(Part.LHS) > parts.index(Part.RHS):
        precision = precision[::-1]
    spec = ConvSpec(
        geometry=_geometry(convolution, parts),
        dtypes=Dtypes(*map(np.dtype, dtypes)),
        precision=precision,
    )
    shapes = [_shape_in_slot(convolution, part, slots) for part in parts if part is not Part.OUT]
    problem = algorithms.problem_of(slot, shapes, spec)
    cost = algorithms.choose(problem, "cpu", spec).plan.cost
    cost += algorithms.cpu.STRIDED * _elements_moved(convolution, parts)
    return Reading(parts, spec, (shapes[0], shapes[1]), cost)


def _spatial_sizes(convolution: Convolution) -> dict[Part, tuple[int, ...]]:
    shapes = {Part.LHS: convolution.lhs, Part.RHS: convolution.rhs, Part.OUT: convolution.out}
    return {
        part: tuple(shape[axis] for axis in convolution.spec(part)[2:])
        for part, shape in shapes.items()
    }


def _spacings(convolution: Convolution) -> dict[Part, tuple[int, ...]]:
    return {
        Part.LHS: convolution.lhs_dilation,
        Part.RHS: convolution.rhs_dilation,
        Part.OUT: convolution.window_strides,
    }


def _geometry(convolution: Convolution, parts: tuple[Part, Part, Part]) -> Geometry:
    """The geometry of (2), (3) or (4)."""
    sizes, spacings = _spatial_sizes(convolution), _spacings(convolution)
    x, k, y = parts
    padding = convolution.padding
    if parts != READINGS[0]:
        lows = [lo for lo, _ in padding]
        if x is not Part.LHS:
            other = Part.RHS if x is Part.OUT else Part.OUT  # the reversed one
            ends = zip(lows, sizes[other], spacings[other], strict=True)
            lows = [spacing * (size - 1) - lo for lo, size, spacing in ends]
        padding = tuple(
            padding_that_ends_at(lo=lo, last=d * (r - 1) + s * (p - 1), grid=e, points=i)
            for lo, i, r, p, e, d, s in zip(
                lows,
                sizes[x],
                sizes[k],
                sizes[y],
                spacings[x],
                spacings[k],
                spacings[y],
                strict=True,
            )
        )
    return Geometry(
        input_size=sizes[x],
        window=sizes[k],
        output_size=sizes[y],
        strides=spacings[y],
        padding=padding,
        input_dilation=spacings[x],
        kernel_dilation=spacings[k],
        groups=convolution.groups,
    )


# Layouts. Axes are named by the letters of (1), the spatial ones by their numbers. "g" counts the
# groups. It comes before the letter whose axis it shares.


def _names(convolution: Convolution, part: Part) -> tuple[list[Any], Any]:
    """The names of an array's axes in lax's layout, and the one that is counted inside groups."""
    spec = convolution.spec(part)
    names: list[Any] = [None] * len(spec)
    for number, axis in enumerate(spec):
        names[axis] = _LETTERS[part][number] if number < 2 else number - 2
    if part is not Part.LHS:
        return names, "c"
    return names, "b" if convolution.batch_group_count == 1 else "a"


def _names_in_slot(
    convolution: Convolution, part: Part, slots: Mapping[Part, Slot]
) -> tuple[list[Any], Any]:
    """The names of an array's axes in the layout of its slot, and the one inside groups."""
    shared = {"a": {Part.LHS, Part.OUT}, "b": {Part.LHS, Part.RHS}, "c": {Part.RHS, Part.OUT}}
    of_t = {
        "n": {Slot.INPUT, Slot.OUTPUT},
        "c": {Slot.INPUT, Slot.KERNEL},
        "o": {Slot.KERNEL, Slot.OUTPUT},
    }
    letter = {
        ours: next(name for name, pair in shared.items() if {slots[p] for p in pair} == of_t[ours])
        for ours in "nco"
    }
    slot = slots[part]
    before, after = _LAYOUTS[slot]
    rank = len(convolution.lhs) - 2
    names = [*(letter[a] for a in before), *range(rank), *(letter[a] for a in after)]
    return names, names[-1]


def _to_slot(
    convolution: Convolution, part: Part, slots: Mapping[Part, Slot], array: Array
) -> Array:
    """An operand in the layout of its slot."""
    names, inside = _names(convolution, part)
    array = _arranged(
        array, names, inside, *_names_in_slot(convolution, part, slots), convolution.groups
    )
    if part is Part.RHS and slots[Part.OUT] is Slot.INPUT:  # (3)
        array = _reversed(array, slots[part])
    return array


def _from_slot(convolution: Convolution, slots: Mapping[Part, Slot], result: Array) -> Array:
    """The result in lax's layout."""
    if slots[Part.RHS] is Slot.INPUT:  # (4)
        result = _reversed(result, slots[Part.OUT])
    names, inside = _names_in_slot(convolution, Part.OUT, slots)
    return _arranged(result, names, inside, *_names(convolution, Part.OUT), convolution.groups)


def _reversed(array: Array, slot: Slot) -> Array:
    first = len(_LAYOUTS[slot][0])
    return lax.rev(array, range(first, first + array.ndim - 2))


def _arranged(
    array: Array, names: list[Any], inside: Any, new: list[Any], new_inside: Any, groups: int
) -> Array:
    """An array with its axes in the order of `new`, and the groups counted by another axis."""
    axes, order = _split(names, inside, groups), _split(new, new_inside, groups)
    if axes == order:
        return array
    sizes = dict(zip(names, array.shape, strict=True))
    if groups > 1:
        sizes |= {inside: sizes[inside] // groups, "g": groups}
    array = array.reshape([sizes[name] for name in axes])
    array = array.transpose([axes.index(name) for name in order])
    return array.reshape(_merged(sizes, new, new_inside, groups))


def _shape_in_slot(
    convolution: Convolution, part: Part, slots: Mapping[Part, Slot]
) -> tuple[int, ...]:
    sizes = _sizes(convolution, part)
    return _merged(sizes, *_names_in_slot(convolution, part, slots), convolution.groups)


def _sizes(convolution: Convolution, part: Part) -> dict[Any, int]:
    """The sizes of an array's axes by name, with the groups apart."""
    names, inside = _names(convolution, part)
    shape = {Part.LHS: convolution.lhs, Part.RHS: convolution.rhs, Part.OUT: convolution.out}[part]
    sizes = dict(zip(names, shape, strict=True))
    sizes[inside] //= convolution.groups
    return sizes | {"g": convolution.groups}


def _elements_moved(convolution: Convolution, parts: tuple[Part, Part, Part]) -> int:
    """The elements of those arrays whose order in memory is another one in their slot."""
    slots, groups = dict(zip(parts, Slot, strict=True)), convolution.groups
    moved = 0
    for part in parts:
        sizes = _sizes(convolution, part)
        before = _split(*_names(convolution, part), groups)
        after = _split(*_names_in_slot(convolution, part, slots), groups)
        if [a for a in before if sizes[a] > 1] != [a for a in after if sizes[a] > 1]:
            moved += math.prod(sizes.values())
    return moved


def _split(names: Sequence[Any], inside: Any, groups: int) -> list[Any]:
    """The names with the groups before the axis that counts them."""
    if groups == 1:
        return list(names)
    return list(
        itertools.chain.from_iterable(["g", name] if name == inside else [name] for name in names)
    )


def _merged(
    sizes: Mapping[Any, int], names: Sequence[Any], inside: Any, groups: int
) -> tuple[int, ...]:
    return tuple(sizes[name] * (groups if name == inside else 1) for name in names)
