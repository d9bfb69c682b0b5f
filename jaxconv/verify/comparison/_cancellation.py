"""Gradients that are right as formulas, but of which rounding leaves no correct digit."""

import numpy as np

from .. import _constants
from ..program._wide import equations
from ..truth._operations import DECOMPOSITIONS, unit
from ..truth._truth import scales
from ._evidence import Evidence
from ._findings import Finding, Findings

NOTE = "right formula, but no correct digit here"


def judge_cancellation(evidence: Evidence, findings: Findings) -> None:
    """Record elements whose rounding exceeds them, and exceeds by far what is unavoidable.

    Rounding that exceeds an element is not sufficient: a true gradient of zero has no digits. For y
    computed from x, the following errors are unavoidable: `eps |y|`, or `eps |y| / |x|` for a small
    x, which is half a unit in the result divided by the change of x; `eps` itself; and `eps` times
    the largest element of the array. A formula that amplifies these errors is recorded.
    """
    problem, primal = evidence.problem, evidence.primal
    value, rounding = (rows[0] for rows in evidence.own("reverse", primal.point))
    lost = np.isfinite(value) & np.isfinite(rounding) & (rounding > np.abs(value))
    if evidence.is_narrow and evidence.called.rows is not None:
        # The result of the rule in its own dtypes shows how many digits are left.
        lost &= np.abs(evidence.called.rows[0] - value) > np.abs(value) / 2
    found = equations(evidence.derivatives.traces["reverse"])
    if not lost.any() or any(e.primitive.name in DECOMPOSITIONS for e in found):
        return  # near a tie there are several decompositions, all of them right
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
    for leaf in problem.leaves:  # a sum is as exact as the largest element of its array
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
