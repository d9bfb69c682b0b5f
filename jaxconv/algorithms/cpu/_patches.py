"""Patches: the convolution with its taps folded into channels, for a block of examples at a time.

`_folding.py` derives the forms that remain. Some axes are folded into the input, the others into
the output, which makes five algorithms:

    input_patches    all axes into the input: im2col
    output_patches   all axes into the output
    split_patches    the first axis into the output, the others into the input
    input_depth      the first axis alone, into the input
    output_depth     the first axis alone, into the output

Each takes 2·n·|P|·|R|·c·o operations, as the direct sum does (|I| in place of |P| on axes folded
into the output), and writes and reads the patches once: R times x (or y) an axis. Examples are
taken in blocks, so that the patches do not leave the caches.

Source: patches are im2col, of Chellapilla, Puri & Simard, "High performance convolutional neural
networks for document processing", 2006.
"""

import math
from collections.abc import Callable

import numpy as np

from ..._geometry import Geometry
from ..._spec import ConvSpec, Dtypes, Slot
from ..._typing import Array
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._arrays import rotate_kernel
from ..shared._dtypes import accumulator, common_dtype, to_common_dtype
from ..shared._taps import MAX_TAPS
from ._blocks import block_size, in_blocks
from ._folding import FoldedForm
from ._hints import HINTS
from ._rates import LAUNCH, REGROUPED

# Operations in the time in which one element is copied into a block's patches, with a stride, and
# in which one is added to what lies in a block that stays in the caches.
_PACKED, _PICKED, _ADDED = 105.0, 165.0, 90.0
# Elements of short rows are moved one by one: in a row of so many, each costs twice as much.
_FEW_ELEMENTS = 3.0
# By how much adding is slower in three axes, and where only the first axis is folded.
_ADDED_IN_VOLUMES, _ADDED_ALONG_ONE_AXIS = 2.5, 1.5

_MIRRORED = {Slot.INPUT: Slot.OUTPUT, Slot.OUTPUT: Slot.INPUT}


class Patches(Algorithm):
    """Some of the first axes folded, each into the input or the output."""

    remainder = Remainder.FOLDED
    hints = HINTS

    def __init__(
        self,
        name: str,
        into: Callable[[int], tuple[Slot, ...]],
        *,
        slots: tuple[Slot, ...] = tuple(Slot),
        finishes: set[Remainder],
        skips_zeros: bool = False,
    ):
        """`into(rank)` names the slot that each of the first axes joins; () where it can't."""
        self.name, self.into = name, into
        self.slots, self.finishes, self._skips_zeros = slots, frozenset(finishes), skips_zeros

    def skips_zeros(self, dtype: np.dtype) -> bool:
        """Whether its patches are of y, on which no padding is written."""
        return self._skips_zeros

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """Patches, the contraction that remains, and its result from patches, block by block."""
        return self._fold(slot, spec, first, second, solve, self.into(spec.geometry.rank))

    def why_not(self, problem: Problem) -> str:
        """Why the axes can't be folded; empty if (1) or (2) of `_folding.py` holds on each."""
        geometry = problem.geometry
        into = self.into(geometry.rank)
        if not 0 < len(into) <= geometry.rank:
            return f"there are {geometry.rank} spatial axes"
        if len(into) < geometry.rank and geometry.groups > 1:
            # XLA's simplifier aborts on some of the grouped convolutions that would be left.
            return "there are feature groups"
        for slot, axis in zip(into, geometry.axes(), strict=False):
            if slot is Slot.INPUT and axis.e > 1:
                return "the input is dilated"
            if slot is Slot.OUTPUT and axis.s > 1:
                return "there are strides"
        if math.prod(geometry.window[: len(into)]) > MAX_TAPS:
            return f"there are more than {MAX_TAPS} taps to unroll"
        return ""

    def cost(self, problem: Problem) -> float:
        """Making the patches, or adding them up."""
        geometry = problem.geometry
        made = self._form(geometry).elements(problem.c, problem.o)
        moved = (problem.n * made[slot] * self._cost_of_element(problem, slot) for slot in made)
        if geometry.groups > 1 and not made and problem.slot != Slot.KERNEL:
            # No patches are made that could be laid out group by group, so the maps are.
            inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
            return LAUNCH + REGROUPED * problem.n * (inputs * problem.c + outputs * problem.o)
        return LAUNCH + sum(moved)

    def leaves(self, problem: Problem) -> Problem:
        """The contraction that remains, of one block of examples."""
        form = self._form(problem.geometry)
        return problem._replace(
            geometry=form.inner,
            n=self._block(problem) * math.prod(form.grid),
            c=problem.c * form.taps_of(Slot.INPUT),
            o=problem.o * form.taps_of(Slot.OUTPUT),
        )

    def repeats(self, problem: Problem) -> int:
        """How many blocks there are."""
        return -(-problem.n // max(self._block(problem), 1))

    def _form(self, geometry: Geometry) -> FoldedForm:
        return FoldedForm(geometry, self.into(geometry.rank))

    def _block(self, problem: Problem) -> int:
        made = self._form(problem.geometry).elements(problem.c, problem.o)
        return block_size(problem.n, sum(made.values()))

    def _fold(
        self,
        slot: Slot,
        spec: ConvSpec,
        first: Array,
        second: Array,
        solve: Solve,
        into: tuple[Slot, ...],
    ) -> Array:
        geometry = spec.geometry
        if slot == Slot.INPUT and len(into) < geometry.rank:
            # The forward pass of (G'). Its kernel is rotated once, not again for each block.
            rotated = rotate_kernel(first, geometry.groups, hints=self.hints)
            mirrored = tuple(_MIRRORED[s] for s in into)
            return self._fold(Slot.OUTPUT, spec.transposed(), second, rotated, solve, mirrored)
        operands = to_common_dtype(first, second)
        result = spec.dtypes.of(slot)
        wide = accumulator(common_dtype(result, first.dtype, second.dtype))
        form, slots = FoldedForm(geometry, into), slot.others
        inner = spec.replace(geometry=form.inner, dtypes=Dtypes(wide, wide, wide))

        def of_block(*operands: Array) -> Array:
            """The contraction of operands whose kernel is the inner form's."""
            pairs = [*zip(slots, operands, strict=True)]
            a, b = (x if s is Slot.KERNEL else form.to_inner(s, x) for s, x in pairs)
            n = next(x.shape[0] for s, x in pairs if s is not Slot.KERNEL)
            return form.from_inner(slot, solve(slot, inner, a, b), n)

        c = first.shape[-2] * geometry.groups if slot == Slot.INPUT else first.shape[-1]
        operands = [
            form.to_inner(s, x) if s is Slot.KERNEL else x
            for s, x in zip(slots, operands, strict=True)
        ]
        elements = sum(form.elements(c, second.shape[-1]).values())
        return in_blocks(of_block, slot, operands, elements).astype(result)

    def _cost_of_element(self, problem: Problem, made_of: Slot) -> float:
        """What each element costs of patches that are made of one slot, or added up to it."""
        slot, geometry, _, c, o, _ = problem
        into = self.into(geometry.rank)
        spacing = geometry.strides if made_of is Slot.INPUT else geometry.input_dilation
        strided = any(spacing[axis] > 1 for axis, joined in enumerate(into) if joined is made_of)
        copied = _PICKED if strided else _PACKED
        channels = (c if made_of is Slot.INPUT else o) / geometry.groups
        few = 1 + _FEW_ELEMENTS / channels
        if slot == Slot.KERNEL:  # the patches are all that is written
            return copied * ((1 + few) / 2 if geometry.groups > 1 else 1.0)
        if made_of != slot:
            return copied * few
        if len(into) < geometry.rank:
            return _ADDED_ALONG_ONE_AXIS * copied * few
        # Overlapping patches are added up where they lie; with strides, a phase at a time.
        volumes = _ADDED_IN_VOLUMES if geometry.rank > 2 else 1.0
        return _ADDED * (1.0 if strided else few * volumes)


_ALL_AXES = {Remainder.PHASES, Remainder.GROUP}
_OF_DEPTH = (Slot.INPUT, Slot.OUTPUT)  # XLA does these two contractions well in one rank less

INPUT_PATCHES = Patches("input_patches", lambda rank: (Slot.INPUT,) * rank, finishes=_ALL_AXES)
OUTPUT_PATCHES = Patches(
    "output_patches", lambda rank: (Slot.OUTPUT,) * rank, finishes=_ALL_AXES, skips_zeros=True
)
SPLIT_PATCHES = Patches(
    "split_patches",
    lambda rank: (Slot.OUTPUT, *(Slot.INPUT,) * (rank - 1)) if rank > 1 else (),
    finishes=_ALL_AXES,
    skips_zeros=True,
)
INPUT_DEPTH = Patches(
    "input_depth",
    lambda rank: (Slot.INPUT,) if rank > 1 else (),
    slots=_OF_DEPTH,
    finishes={Remainder.GROUP},
)
OUTPUT_DEPTH = Patches(
    "output_depth",
    lambda rank: (Slot.OUTPUT,) if rank > 1 else (),
    slots=_OF_DEPTH,
    finishes={Remainder.GROUP},
    skips_zeros=True,
)
