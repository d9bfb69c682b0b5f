"""A rule must be linear in cotangents and tangents of any size, and of which most may be zero.

For the rule L, a vector a whose elements are split into three groups, a1 + a2 + a3 = a, and factors
s,

    L(a) + L(b) = L(a + b)                                                                 (1)
    L(s a) = s L(a)                                                                        (2)
    L(a1) + L(a2) + L(a3) = L(a)                                                           (3)
    L(s1 a1 + s2 a2 + s3 a3) = s1 L(a1) + s2 L(a2) + s3 L(a3)                              (4)

The factors are powers of two, with which float64 multiplies exactly, so that the bounds are those
of the unscaled results. A rule that drops small cotangents, clips large ones or divides by their
norm violates one of these.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import _constants
from .._problem import Leaf
from ..truth._rounding import Measured, of_comparison
from ..truth._truth import is_large
from ._evidence import Evidence
from ._findings import Findings, differing

# The description of a check, the result of the rule, the expected result, and its bound.
Check = tuple[str, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Rule:
    """A rule as a map from vectors to vectors.

    Attributes:
      kind: What it maps, `"cotangent"` or `"tangent"`.
      leaves: The leaves of its results.
      vectors: The vectors that it was measured for, one per row.
      value: Its result for each.
      rounding: How far rounding may move `value`.
      values: The function from as many other vectors to their results.
      measure: The same with rounding.
    """

    kind: str
    leaves: Sequence[Leaf]
    vectors: np.ndarray
    value: np.ndarray
    rounding: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]
    measure: Callable[[np.ndarray], Measured]


def judge_cotangents(evidence: Evidence, findings: Findings) -> None:
    """Check whether the reverse rule is linear in the cotangent."""
    derivatives, point = evidence.derivatives, evidence.primal.point
    value, rounding = evidence.rows("reverse")
    rule = _Rule(
        "cotangent",
        evidence.problem.leaves,
        evidence.draws.cotangents,
        value,
        rounding,
        lambda ws: derivatives.reverse(point, ws),
        lambda ws: derivatives(point, ws, ["reverse"])["reverse"],
    )
    a, b, both = value
    bound = _constants.MARGIN * rounding.sum(axis=0)
    bound = bound + of_comparison(np.abs(a) + np.abs(b), evidence.unit)
    complaints = _complaints(rule, ("", both, a + b, bound))  # (1)
    findings.complain("cotangent_linearity", complaints or _judge(evidence, rule))


def judge_tangents(evidence: Evidence, findings: Findings) -> None:
    """Check whether the forward rule is linear in the tangent."""
    derivatives, point = evidence.derivatives, evidence.primal.point
    value, rounding = evidence.rows("forward")
    rule = _Rule(
        "tangent",
        evidence.problem.outputs,
        evidence.draws.directions,
        value,
        rounding,
        lambda vs: derivatives.forward(point, vs).reshape(value.shape),
        lambda vs: derivatives(point, evidence.draws.cotangents, ["forward"], vs=vs)["forward"],
    )
    findings.complain("tangent_linearity", _judge(evidence, rule))


def _judge(evidence, rule) -> list[str]:
    sizes = np.abs(rule.vectors[rule.vectors != 0])
    if np.any((sizes < _constants.SMALLEST) | (sizes > 1 / _constants.SMALLEST)):
        return []  # their multiples are outside the range of float64
    checks = _scaled(evidence, rule)
    if not is_large(evidence.problem):
        checks = [*checks, *_mixed(evidence, rule)]
    return list(dict.fromkeys(said for check in checks for said in _complaints(rule, check)))


def _scaled(evidence, rule) -> Iterator[Check]:
    """Equation (2)."""
    bound = _bound(evidence, rule.value, rule.rounding)
    for factor in (factor for pair in _factors() for factor in pair):
        what = f" {factor:.1e} times as large"
        yield what, rule.values(factor * rule.vectors), factor * rule.value, factor * bound


def _mixed(evidence, rule) -> Iterator[Check]:
    """Equations (3) and (4)."""
    groups = np.random.default_rng([evidence.seed, 5]).permutation(rule.vectors.shape[-1]) % 3
    alone = np.stack([np.where(groups == group, rule.vectors, 0) for group in range(3)])
    found = [rule.measure(vectors) for vectors in alone]
    parts = np.stack([one.value.reshape(rule.value.shape) for one in found])
    rounding = np.stack([one.rounding.reshape(rule.value.shape) for one in found])
    bounds, whole = (_bound(evidence, parts, rounding), _bound(evidence, rule.value, rule.rounding))
    yield " that are mostly zero", parts.sum(axis=0), rule.value, bounds.sum(axis=0) + whole
    for small, large in _factors():
        factors = np.array([small, 1.0, large])
        expected, slack = (np.tensordot(factors, each, 1) for each in (parts, bounds))
        mixed = rule.values(np.tensordot(factors, alone, 1))
        yield " with elements of different sizes", mixed, expected, slack


def _factors():
    """Pairs of a small and a large factor."""
    return [(1 / large, large) for large in (_constants.LARGER, _constants.MUCH_LARGER)]


def _bound(evidence, value, rounding):
    return _constants.MARGIN * rounding + of_comparison(value, evidence.unit)


def _complaints(rule, check) -> list[str]:
    """A sentence for each array that violates an equation."""
    what, values, expected, bound = check
    # Values near the ends of the range of float64 are not compared.
    sizes = np.abs(expected)
    said = (sizes == 0) | ((sizes > _constants.SMALLEST) & (sizes < 1 / _constants.SMALLEST))
    expected, values = np.where(said, expected, 0.0), np.where(said, values, 0.0)
    bound = np.where(np.isnan(bound), np.inf, bound) + _constants.SMALLEST
    of = "gradient" if rule.kind == "cotangent" else "tangent"
    where = (
        f": wrong for {rule.kind}s{what}"
        if what
        else ": the result for a sum is not the sum of the results"
    )
    rows = zip(*(np.atleast_2d(a) for a in (values, expected, bound)), strict=True)
    return [
        f"the {of} of {found.leaf.name} is not linear in the {rule.kind}{where}"
        for row in rows
        for found in differing(rule.leaves, "linearity", *row)
    ]
