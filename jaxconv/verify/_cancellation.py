"""Gradients that are right as a formula and of which rounding leaves no correct digit."""

import numpy as np

from . import _constants
from ._evidence import Evidence
from ._findings import Finding, Findings
from ._interpreter import equations
from ._operations import DECOMPOSITIONS, unit
from ._truth import scales

NOTE = "right rule, no correct digit here"


def judge_cancellation(evidence: Evidence, findings: Findings) -> None:
    """Record elements that rounding moves by more than they are, and by far more than it should.

    That rounding exceeds an element is nothing by itself: a true gradient of zero has no digits. A
    formula that computes y from x can't be blamed for an error of `eps |y|`, or `eps |y| / |x|` for
    a small x, which is what half a unit in the result makes of a slope, of `eps` itself, or of
    `eps` times the largest element of its array. One that amplifies this is.
    """
    problem, primal = evidence.problem, evidence.primal
    value, rounding = (rows[0] for rows in evidence.own("reverse", primal.point))
    lost = np.isfinite(value) & np.isfinite(rounding) & (rounding > np.abs(value))
    if evidence.is_narrow and evidence.called.rows is not None:
        # What the rule returned in its own dtypes says how many digits are left.
        lost &= np.abs(evidence.called.rows[0] - value) > np.abs(value) / 2
    found = equations(evidence.derivatives.traces["reverse"])
    if not lost.any() or any(e.primitive.name in DECOMPOSITIONS for e in found):
        return  # a decomposition near a tie is another one, and none of them is wrong
    w = np.abs(evidence.draws.cotangents[0])
    sizes = np.minimum(scales(problem.leaves, primal.point), 1.0)
    coarsest = primal.arithmetic.coarsest
    units = np.concatenate(
        [
            np.full(leaf.size, max(unit(leaf.dtype), coarsest, primal.unit))
            for leaf in problem.leaves
        ]
    )
    natural = w.sum() * np.maximum(primal.largest() / sizes, 1.0)
    for leaf in problem.leaves:  # a sum of terms is as exact as the largest of its neighbours
        here = leaf.elements
        finite = np.where(np.isfinite(value[here]), np.abs(value[here]), 0.0)
        natural[here] = np.maximum(natural[here], finite.max(initial=0.0))
    lost &= rounding > _constants.AMPLIFIED * units * natural
    if lost.any():
        coarser = evidence.rounding_in_coarser_arithmetic()
        lost &= coarser > _constants.IN_PROPORTION * rounding
    for leaf in problem.leaves:
        here = leaf.elements
        if lost[here].any():
            arrays = value[here], value[here], rounding[here], lost[here]
            findings.wrong.append(Finding(leaf, "reverse", *arrays, note=NOTE))
