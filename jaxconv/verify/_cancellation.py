"""Gradients that are right as a formula and of which rounding leaves no correct digit."""

import numpy as np

from . import _constants
from ._evidence import Evidence
from ._findings import Finding, Findings
from ._operations import FINE, unit
from ._truth import scales

NOTE = "right rule, no correct digit here"


def judge_cancellation(evidence: Evidence, findings: Findings) -> None:
    """Record elements that rounding moves by more than they are, and by far more than it should.

    That rounding exceeds an element is nothing by itself: a true gradient of zero has no digits. A
    formula that computes y from x can't be blamed for an error of `eps |y| / |x|`, what half a unit
    in the result makes of a slope. One that amplifies this is.
    """
    problem, primal = evidence.problem, evidence.primal
    value, rounding = (rows[0] for rows in evidence.own("reverse", primal.point))
    suspects = np.isfinite(value) & np.isfinite(rounding) & (rounding > np.abs(value))
    if not suspects.any():
        return
    w = np.abs(evidence.draws.cotangents[0])
    natural = w.sum() * primal.largest() / scales(problem.leaves, primal.point)
    for leaf in problem.leaves:
        here = leaf.elements
        own = max(unit(leaf.dtype), FINE, primal.unit)
        lost = suspects[here] & (rounding[here] > _constants.AMPLIFIED * own * natural[here])
        if lost.any():
            arrays = value[here], value[here], rounding[here], lost
            findings.wrong.append(Finding(leaf, "reverse", *arrays, note=NOTE))
