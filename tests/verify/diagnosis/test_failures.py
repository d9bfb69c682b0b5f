"""The failures of a report: one for each array, in the first mode in which it is wrong."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison._findings import Finding, Findings
from jaxconv.verify.diagnosis import _failures
from jaxconv.verify.diagnosis._failures import failures, gradients
from jaxconv.verify.report._contents import Element

pytestmark = pytest.mark.usefixtures("no_type_checker")

X, Y = (
    Leaf("x", 0, (2, 4), np.dtype(float), 0),
    Leaf("y", 1, (3,), np.dtype(float), 8),
)
PROBLEM = Problem(
    "f", lambda: (), (X, Y), (Leaf("y", -1, (2,), np.dtype(float), 0),), (), np.zeros(2)
)


def finding(leaf, mode, gaps, bound=0.25):
    true = np.arange(1.0, leaf.size + 1)
    reported = true + np.asarray(gaps)
    with np.errstate(invalid="ignore"):
        is_wrong = ~(np.abs(reported - true) <= bound)
    return Finding(leaf, mode, reported, true, np.full(leaf.size, bound), is_wrong)


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the diagnosis, which says nothing but the mode."""
    asked = []

    def diagnose(found, evidence, ties, slips):
        asked.append((found, evidence, ties, slips))
        return f"wrong in {found.mode}", "said"

    monkeypatch.setattr(_failures, "diagnose", diagnose)
    monkeypatch.setattr(_failures, "Slips", lambda evidence, are_several: are_several)
    return asked


def test_an_array_fails_in_the_first_mode(asked):
    evidence, findings = SimpleNamespace(problem=PROBLEM), Findings(PROBLEM)
    gaps = [0, 0.5, 0.25, -4, 2, 0.3, 3, -1]
    of_x = finding(X, "reverse", gaps), finding(X, "vmap", gaps), finding(X, "vmap", gaps)
    of_y = finding(Y, "jit", [0, np.inf, np.nan])
    findings.fail("determinism", "differs", "each time")
    findings.wrong = [of_x[0], of_y, *of_x[1:], finding(Y, "scan", [1, 0, 0])]
    findings.ties = {Y: "ties"}
    first, second, third = failures(evidence, findings)
    assert first is findings.plain[0]
    said = first.argument, first.mode, first.diagnosis, first.evidence
    assert said == ("x, y", "determinism", "differs", "each time")
    assert asked[0] == (of_x[0], evidence, None, False)
    assert asked[1] == (of_y, evidence, "ties", False)
    assert (second.argument, second.mode, second.diagnosis, second.evidence, second.also) == (
        *("x", "reverse", "wrong in reverse", "said"),
        ("vmap",),
    )
    assert second.where == "6 of 8 elements"
    places = [((0, 3), 3), ((1, 2), 6), ((1, 0), 4), ((1, 3), 7), ((0, 1), 1)]
    assert second.worst == tuple(
        Element(index, i + 1 + gaps[i], i + 1, 0.25) for index, i in places
    )
    norm = np.linalg.norm(np.arange(1.0, 9))
    np.testing.assert_allclose(second.relative_error, np.linalg.norm(gaps) / norm)
    assert (third.argument, third.also) == ("y", ("scan",))
    assert third.where == "2 of 3 elements"
    assert [element.index for element in third.worst] == [(1,), (2,)]  # NaN is no smaller than inf
    assert np.isnan(third.relative_error)


@pytest.mark.parametrize("modes", [("reverse", "reverse"), ("reverse", "jit"), ("jit", "forward")])
def test_slips_know_whether_several_gradients_are_wrong(modes, asked):
    findings = Findings(PROBLEM)
    findings.wrong = [
        finding(X, modes[0], np.ones(8)),
        finding(Y, modes[1], np.ones(3)),
        finding(X, "reverse", np.ones(8)),
    ]
    assert len(list(failures(SimpleNamespace(problem=PROBLEM), findings))) == 2
    assert [slips for *_, slips in asked] == [modes == ("reverse", "reverse")] * 2


def test_gradients_of_the_first_cotangent():
    rows, rounding = np.arange(22.0).reshape(2, 11), np.repeat([[0.5], [7.0]], 11, 1)
    truth = SimpleNamespace(reverse=rows + 0.25, reverse_error=rounding / 4)
    evidence = SimpleNamespace(
        problem=PROBLEM,
        truth=truth,
        measured={"reverse": None},
        rows=lambda mode: {"reverse": (rows, rounding)}[mode],
    )
    found = gradients(evidence)
    assert list(found) == ["x", "y"]
    for leaf in (X, Y):
        gradient = found[leaf.name]
        reported = rows[0, leaf.elements].reshape(leaf.shape)
        np.testing.assert_array_equal(gradient.reported, reported)
        np.testing.assert_array_equal(gradient.true, reported + 0.25)
        bound = np.full(leaf.shape, 0.5 * _constants.MARGIN + 0.125)
        np.testing.assert_array_equal(gradient.bound, bound)
    truth.reverse = None
    assert gradients(evidence) == {}
    truth.reverse, evidence.measured = rows, {"forward": None}
    assert gradients(evidence) == {}
