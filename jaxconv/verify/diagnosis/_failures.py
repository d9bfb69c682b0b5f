"""The failures of a report, one per wrong gradient, and the gradients for its pictures."""

from collections.abc import Iterator

import numpy as np

from .. import _constants
from .._problem import split
from ..comparison._evidence import Evidence
from ..comparison._findings import Finding, Findings
from ..report._contents import Element, Failure, Gradient
from ._explain import diagnose
from ._places import where
from ._slips import Slips

# How many of the worst elements a failure lists.
WORST = 5


def failures(evidence: Evidence, findings: Findings) -> Iterator[Failure]:
    """A failure for each array, in the first mode that is wrong for it."""
    yield from findings.plain
    by_leaf: dict[str, list[Finding]] = {}
    for finding in findings.wrong:
        by_leaf.setdefault(finding.leaf.name, []).append(finding)
    slips = Slips(evidence, sum(found[0].mode == "reverse" for found in by_leaf.values()) > 1)
    for first, *others in by_leaf.values():
        diagnosis, said = diagnose(first, evidence, findings.ties.get(first.leaf), slips)
        with np.errstate(invalid="ignore", divide="ignore"):
            size = np.linalg.norm(first.true)
            relative = float(np.linalg.norm(first.reported - first.true) / size)
        yield Failure(
            argument=first.leaf.name,
            mode=first.mode,
            also=tuple(dict.fromkeys(other.mode for other in others)),
            diagnosis=diagnosis,
            evidence=said,
            where=where(first.is_wrong, first.leaf, evidence.problem),
            worst=_worst(first),
            relative_error=relative,
        )


def _worst(finding):
    gap = np.abs(finding.reported - finding.true)
    excess = np.where(finding.is_wrong, np.where(np.isnan(gap), np.inf, gap), -1.0)
    order = np.argsort(-excess, kind="stable")[:WORST]
    return tuple(
        Element(
            tuple(int(i) for i in np.unravel_index(i, finding.leaf.shape)),
            float(finding.reported[i]),
            float(finding.true[i]),
            float(finding.bound[i]),
        )
        for i in order
        if finding.is_wrong[i]
    )


def gradients(evidence: Evidence) -> dict[str, Gradient]:
    """True and reported gradients of the first cotangent, in the shapes of the arrays."""
    truth, leaves = evidence.truth, evidence.problem.leaves
    if "reverse" not in evidence.measured or truth.reverse is None:
        return {}
    rows, rounding = evidence.rows("reverse")
    assert truth.reverse_error is not None
    arrays = truth.reverse[0], rows[0], _constants.MARGIN * rounding[0] + truth.reverse_error[0]
    true, reported, bound = (split(leaves, a) for a in arrays)
    return {
        leaf.name: Gradient(*found)
        for leaf, *found in zip(leaves, true, reported, bound, strict=True)
    }
