"""Strides and input dilation taken apart on a CPU, with phases as channels.

The derivation is in `shared/_phases.py`. Takes the time of the convolution of stride 1 between
phases, and one more pass over x, k and y.
"""

import math

from ..._spec import ConvSpec, Slot
from ..._typing import Array
from .._algorithm import Algorithm, Remainder, Solve
from .._problem import Problem
from ..shared._phases import PhaseForm, fills_up, phases_of, solve_by_phases, why_not_by_phases
from ._hints import HINTS
from ._rates import COPIED, LAUNCH

# Loops that are started to take operands apart and to put the result together.
_LOOPS = 4


class Phases(Algorithm):
    """All phases as channels of one convolution, which is left to another algorithm."""

    name = "phases"
    remainder = Remainder.PHASES
    finishes = frozenset({Remainder.GROUP})
    hints = HINTS

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """Operands to phases, the convolution of stride 1, and the result from phases."""
        return solve_by_phases(slot, spec, first, second, solve, self.hints)

    def why_not(self, problem: Problem) -> str:
        """Why the phases can't be taken apart; empty if they can."""
        return why_not_by_phases(problem)

    def cost(self, problem: Problem) -> float:
        """Copies of the maps that are taken apart or put together."""
        _, geometry, n, c, o, _ = problem
        split = {p.splits for p in map(phases_of, geometry.axes()) if p.step > 1}
        elements = 0.0
        if Slot.INPUT in split:
            elements += n * math.prod(geometry.input_size) * c
        if Slot.OUTPUT in split:
            elements += n * math.prod(geometry.output_size) * o
        return _LOOPS * LAUNCH + COPIED * elements

    def leaves(self, problem: Problem) -> Problem:
        """The contraction of stride 1 between all phases."""
        form = PhaseForm(problem.geometry, self.hints)
        return problem._replace(
            geometry=form.inner,
            c=problem.c * form.phases(Slot.INPUT),
            o=problem.o * form.phases(Slot.OUTPUT),
        )

    def spreads(self, problem: Problem) -> bool:
        """Whether zero taps fill up phases."""
        return fills_up(problem)
