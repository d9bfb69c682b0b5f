"""A rule is linear: in cotangents and tangents of any size, and where most of them are zero.

    J^T (s a) = s J^T a,        J^T (s1 a1 + s2 a2 + s3 a3) = s1 J^T a1 + s2 J^T a2 + s3 J^T a3

The factors are powers of two, by which float64 multiplies exactly, so the bounds are those of the
unscaled gradient. A rule that drops small cotangents, clips large ones or divides by their norm
fails one of these.
"""

from collections.abc import Iterator

import numpy as np

from . import _constants
from ._evidence import Evidence
from ._findings import Findings, differing
from ._rounding import of_comparison
from ._truth import is_large


def judge_cotangents(evidence: Evidence, findings: Findings) -> None:
    """Whether the reverse rule is linear in the cotangent."""
    rows, rounding = evidence.rows("reverse")
    a, b, both = rows
    bound = _constants.MARGIN * rounding.sum(axis=0)
    bound = bound + of_comparison(np.abs(a) + np.abs(b), evidence.unit)
    complaints = list(_complaints(evidence, "cotangent", "", a + b, both, bound))
    if not complaints:
        checks = _scaled(evidence) if is_large(evidence.problem) else _scaled_and_mixed(evidence)
        for what, values, expected, bound in checks:
            complaints += _complaints(evidence, "cotangent", what, expected, values, bound)
    findings.complain("cotangent_linearity", list(dict.fromkeys(complaints)))


def judge_tangents(evidence: Evidence, findings: Findings) -> None:
    """Whether the forward rule is linear in the tangent."""
    rows, rounding = evidence.rows("forward")
    directions, complaints = evidence.draws.directions, []

    def forward(vs):
        return evidence.derivatives.forward(evidence.primal.point, vs).reshape(rows.shape)

    bound = _bound(evidence, rows, rounding)
    sizes, checks = np.abs(directions[directions != 0]), []
    if np.any((sizes < _constants.SMALLEST) | (sizes > 1 / _constants.SMALLEST)):
        findings.complain("tangent_linearity", [])
        return
    for factor in (factor for pair in _factors() for factor in pair):
        what = f" of {factor:.1e} times the size"
        checks.append((what, forward(factor * directions), factor * rows, factor * bound))
    if not is_large(evidence.problem):
        alone = np.stack(_groups(evidence, directions))
        parts = np.stack([forward(part) for part in alone])
        sizes = _bound(evidence, np.abs(parts), 0).sum(axis=0)
        checks.append((" most of which are zero", parts.sum(axis=0), rows, bound + sizes))
        for small, large in _factors():
            factors = np.array([small, 1.0, large])
            mixed = forward(np.tensordot(factors, alone, 1))
            expected = np.tensordot(factors, parts, 1)
            slack = large * (bound + sizes)
            checks.append((" of different sizes", mixed, expected, slack))
    for what, values, expected, slack in checks:
        for row in zip(expected, values, slack, strict=True):
            complaints += _complaints(evidence, "tangent", what, *row)
    findings.complain("tangent_linearity", list(dict.fromkeys(complaints)))


def _complaints(evidence, kind, what, expected, values, bound) -> Iterator[str]:
    leaves = evidence.problem.leaves if kind == "cotangent" else evidence.problem.outputs
    of = "gradient" if kind == "cotangent" else "tangent"
    # What is near the ends of float64's range says nothing.
    sizes = np.abs(expected)
    said = (sizes == 0) | ((sizes > _constants.SMALLEST) & (sizes < 1 / _constants.SMALLEST))
    expected, values = np.where(said, expected, 0.0), np.where(said, values, 0.0)
    bound = np.where(np.isnan(bound), np.inf, bound) + _constants.SMALLEST
    for found in differing(leaves, "linearity", values, expected, bound):
        sums = "" if what else f": that of a sum of {kind}s is not the sum of theirs"
        where = f": wrong for {kind}s{what}" if what else sums
        yield f"the {of} of {found.leaf.name} is not linear in the {kind}{where}"


def _factors():
    """Pairs of a small factor and a large one."""
    return [(1 / large, large) for large in (_constants.LARGER, _constants.MUCH_LARGER)]


def _bound(evidence, rows, rounding):
    return _constants.MARGIN * rounding + of_comparison(rows, evidence.unit)


def _scaled(evidence):
    """The first cotangent larger and smaller."""
    a = evidence.draws.cotangents[0]
    (row, *_), (rounding, *_) = evidence.rows("reverse")
    bound = _bound(evidence, row, rounding)
    for small, large in _factors():
        found = _reverse(evidence, [small * a, large * a, a])
        for factor, values in zip((small, large), found, strict=False):
            yield f" of {factor:.1e} times the size", values, factor * row, factor * bound


def _scaled_and_mixed(evidence):
    """The same, and the cotangent's elements in three groups: each alone, and of three sizes."""
    a = evidence.draws.cotangents[0]
    row, whole = evidence.rows("reverse")[0][0], evidence.rows("reverse")[1][0]
    alone = _groups(evidence, a)
    found = evidence.derivatives(evidence.primal.point, alone, ["reverse"])["reverse"]
    parts, rounding = found.value.reshape(3, -1), found.rounding.reshape(3, -1)
    bounds, bound = _bound(evidence, parts, rounding), _bound(evidence, row, whole)
    yield " most of which are zero", parts.sum(0), row, bounds.sum(0) + bound
    for small, large in _factors():
        factors = np.array([small, 1.0, large])
        found = _reverse(evidence, [small * a, large * a, factors @ np.stack(alone)])
        for factor, values in zip((small, large), found, strict=False):
            yield f" of {factor:.1e} times the size", values, factor * row, factor * bound
        yield " of different sizes", found[2], factors @ parts, factors @ bounds


def _groups(evidence, a):
    """The elements in three groups, at random: arrays with those of one alone."""
    groups = np.random.default_rng([evidence.seed, 5]).permutation(a.shape[-1]) % 3
    return [np.where(groups == group, a, 0) for group in range(3)]


def _reverse(evidence, cotangents):
    return evidence.derivatives.reverse(evidence.primal.point, cotangents)
