"""What counts as wrong, and what is recorded of each mode."""

import numpy as np
import pytest

from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison._findings import Findings, beyond, differing
from jaxconv.verify.report._contents import Failure, Mode

pytestmark = pytest.mark.usefixtures("no_type_checker")

INF, NAN = np.inf, np.nan
LEAVES = Leaf("x", 0, (2,), np.dtype(float), 0), Leaf("y", 1, (3,), np.dtype(float), 2)
PROBLEM = Problem("f", lambda: (), LEAVES, (), (), np.zeros(0))


@pytest.mark.parametrize(
    ("reported", "true", "bound", "is_wrong"),
    [
        *((1.5, 1.0, 0.5, False), (1.5, 1.0, 0.499, True), (1.0, 1.5, 0.499, True)),
        *((1.0, 1.0, 0.0, False), (1.0, 1.0, NAN, False), (1.0, 2.0, NAN, True)),
        *((NAN, 1.0, 9.0, True), (NAN, 1.0, INF, True), (NAN, NAN, 0.0, False)),
        *((1.0, NAN, 9.0, True), (1.0, NAN, INF, False), (NAN, NAN, INF, False)),
        *((INF, INF, 0.0, False), (INF, -INF, 9.0, True), (INF, 1.0, 9.0, True)),
        *((INF, 1.0, INF, False), (1.0, INF, INF, False), (1.0, INF, 9.0, True)),
    ],
)
def test_beyond_the_bound(reported, true, bound, is_wrong):
    assert beyond(*np.array([[reported], [true], [bound]])) == [is_wrong]


def test_a_finding_for_each_array():
    values, expected = np.array([1.0, 2, 3, 4, 5]), np.array([1.0, 2.5, 3, 4, 7])
    bound = np.array([0.0, 1, 0, 0, 1])
    (found,) = differing(LEAVES, "jit", values, expected, bound, "a note")
    assert (found.leaf, found.mode, found.row, found.note) == (LEAVES[1], "jit", 0, "a note")
    np.testing.assert_array_equal(found.reported, [3, 4, 5])
    np.testing.assert_array_equal(found.true, [3, 4, 7])
    np.testing.assert_array_equal(found.bound, [0, 0, 1])
    np.testing.assert_array_equal(found.is_wrong, [False, False, True])
    first, second = differing(LEAVES, "jit", values, expected, 0 * bound)
    assert (first.leaf, second.leaf, first.note) == (*LEAVES, "")
    assert not differing(LEAVES, "jit", values, expected, 2 + bound)


def test_what_is_recorded():
    findings = Findings(PROBLEM)
    findings.absent("forward", "no rule")
    findings.complain("determinism", [])
    findings.settle("reverse", 0)
    values = np.arange(5.0)
    findings.wrong += differing(LEAVES[:1], "reverse", values, values + 1, 0 * values)
    before = len(findings.wrong)
    findings.wrong += 2 * differing(LEAVES, "jit", values, values + 1, 0 * values)
    findings.settle("jit", before)
    findings.settle("all", 0)
    findings.settle("scan", len(findings.wrong))
    assert findings.modes == [
        Mode("forward", "absent", "no rule"),
        Mode("determinism", "ok", ""),
        Mode("reverse", "ok", ""),
        Mode("jit", "wrong", "wrong for x, y"),
        Mode("all", "wrong", "wrong for x, y"),
        Mode("scan", "ok", ""),
    ]
    assert findings.is_wrong_in("reverse")
    assert not findings.is_wrong_in("vmap")
    assert not findings.plain
    findings.complain("linearity", ["one", "two"])  # follows from the wrong gradient
    assert findings.modes[-1] == Mode("linearity", "wrong", "one; two")
    assert not findings.plain


def said(failures: list[Failure]):
    return [(f.argument, f.mode, f.diagnosis, f.evidence) for f in failures]


def test_failures_of_the_whole_function():
    findings = Findings(PROBLEM)
    findings.complain("linearity", ["one", "two", "three"])
    findings.crashed("jit", ZeroDivisionError("in  the rule\n\nand more"))
    findings.fail("vmap", "bad")
    for text in ("the shapes do not match", "bwd rule produced an output of type float"):
        findings.crashed("scan", TypeError(text))
    summed = "cotangent and argument differ in shape: is a sum over the batch missing?"
    assert said(findings.plain) == [
        ("x, y", "linearity", "one", "two; three"),
        ("x, y", "jit", "the rule raises ZeroDivisionError", "in the rule"),
        ("x, y", "vmap", "bad", ""),
        ("x, y", "scan", summed, "the shapes do not match"),
        ("x, y", "scan", summed, "bwd rule produced an output of type float"),
    ]
    assert findings.modes[1] == Mode("jit", "crashed", "ZeroDivisionError: in the rule")
