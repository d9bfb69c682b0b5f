"""Which steps a check takes, with what, and in which order; nothing is computed.

Covers jaxconv/verify/_check.py.
"""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify import MODES, _check
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.truth._operations import Arithmetic

pytestmark = pytest.mark.usefixtures("no_type_checker")

LEAVES = Leaf("x", 0, (2,), np.dtype("float32"), 0), Leaf("y", 2, (), np.dtype(float), 2)
PROBLEM = Problem("f", len, LEAVES, (), (np.ones(2), np.ones(())), np.zeros(0))
COTANGENTS, DIRECTIONS = np.ones((3, 1)), np.arange(6.0).reshape(2, 3)
ROWS = object()


@pytest.fixture
def steps(monkeypatch):
    """A check whose parts record what they are given."""
    done = []

    def part(name, result=None):
        def called(*args, **options):
            done.append((name, args, options))
            return result(*args, **options) if callable(result) else result

        return called

    draws = SimpleNamespace(cotangents=COTANGENTS, directions=DIRECTIONS)
    known = SimpleNamespace(
        called=SimpleNamespace(rows=ROWS),
        measured={"reverse": "R", "forward": "F", "true_reverse": "TR", "true_forward": "TF"},
        wrong=[],
        primals=[],
    )

    def primal(problem):
        made = SimpleNamespace(problem=problem, unit=2.0 ** -len(known.primals), arithmetic=None)
        known.primals.append(made)
        return made

    def precision(primal, tolerance, direction):
        primal.unit, primal.arithmetic = 0.25, Arithmetic(unit=0.5)

    def findings(problem):
        made = SimpleNamespace(
            **dict.fromkeys(("modes", "subgradients", "nonfinite"), ()), wrong=known.wrong
        )
        known.findings = made
        return made

    def judge(name):
        def made(evidence, findings):
            assert findings is known.findings
            return SimpleNamespace(judge=part(name))

        return made

    truth = SimpleNamespace(source="the truth")
    linear = SimpleNamespace(source="the linear truth")
    evidence = SimpleNamespace(name="evidence")
    for name, made in {
        "Draws": part("draws", draws),
        "call_rule": part("call", lambda *_: known.called),
        "_primal": part("primal", primal),
        "set_precision": part("precision", precision),
        "problem_of": part("reference", "the reference"),
        "Derivatives": part("derivatives", lambda *_: part("measure", lambda *_: known.measured)),
        "_check_reference": part("compare"),
        "settle": part("settle", truth),
        "with_linear_rows": part("linear", linear),
        "Evidence": part("evidence", evidence),
        "Findings": findings,
        "FirstOrder": judge("first order"),
        "OtherModes": judge("other modes"),
        "judge_primal_values": part("values"),
        "judge_cotangents": part("cotangents"),
        "judge_cancellation": part("cancellation"),
        "judge_tangents": part("tangents"),
        "judge_second_order": part("second order"),
        "failures": part("failures", ["a failure"]),
        "gradients": part("gradients", {"x": "pictures"}),
        "_taylor": part("taylor", {"x": 2.0}),
    }.items():
        monkeypatch.setattr(_check, name, made)

    def run(names=MODES, **options):
        done.clear()
        known.primals.clear()
        said = []
        options = {
            **{"linear": [], "reference": None, "tolerance": None, "order": 2, "seed": 5},
            **{"args": "args", "argnums": "argnums", "directions": 4, "began": 0.0},
        } | options
        report = _check._check(PROBLEM, names=names, step=said.append, **options)
        known.said, known.report = said, report
        return [name for name, *_ in done]

    known.run, known.done, known.draws, known.evidence = run, done, draws, evidence
    known.truth, known.linear = truth, linear
    return known


BEFORE = [
    *("draws", "call", "primal", "precision", "derivatives", "measure", "settle", "evidence"),
]
FIRST = ["first order", "values", "cotangents", "cancellation", "tangents", "other modes"]
AFTER = ["failures", "taylor", "gradients"]


def given(steps, name):
    """What a part was called with."""
    return next(args for part, args, _ in steps.done if part == name)


def test_all_steps_in_order(steps):
    assert steps.run() == [*BEFORE, *FIRST, "second order", *AFTER]
    assert steps.said == [
        *("calling the rule", "tracing", "evaluating", "finite differences", "comparing"),
        *("other modes", "second order", "diagnosing"),
    ]
    (primal,) = steps.primals
    found, point, scale, count, seed = given(steps, "draws")
    assert (found, count, seed) == (PROBLEM, 4, 5)
    np.testing.assert_array_equal(point, np.ones(3))
    np.testing.assert_array_equal(scale, np.ones(3))
    assert given(steps, "call") == (PROBLEM, steps.draws)
    assert given(steps, "primal") == (PROBLEM,)
    assert given(steps, "precision")[:2] == (primal, None)
    np.testing.assert_array_equal(given(steps, "precision")[2], DIRECTIONS[0])
    assert given(steps, "derivatives") == (PROBLEM, primal, primal, steps.draws, 5)
    assert given(steps, "measure")[1] is COTANGENTS
    np.testing.assert_array_equal(given(steps, "measure")[0], np.ones(3))
    by, autodiff, *drawn, source = given(steps, "settle")
    assert (by, autodiff) == (primal, ("TR", "TF"))
    assert drawn[0] is COTANGENTS
    assert drawn[1] is DIRECTIONS
    assert source == "autodiff of what the function computes, confirmed by finite differences"
    problem, draws, called, by, derivatives, measured, truth, seed = given(steps, "evidence")
    assert (problem, draws, called, by) == (PROBLEM, steps.draws, steps.called, primal)
    assert callable(derivatives)
    assert (measured, truth, seed) == (steps.measured, steps.truth, 5)
    assert given(steps, "first order") == (MODES,)
    assert given(steps, "other modes") == (MODES, [])
    for name in ("values", "cotangents", "cancellation", "tangents", "second order", "failures"):
        assert given(steps, name) == (steps.evidence, steps.findings)
    assert given(steps, "taylor") == (PROBLEM, primal, "R", steps.draws)


def test_contents_of_the_report(steps):
    steps.run()
    report = steps.report
    assert report.function == "f"
    assert report.arguments == ("x: float32[2]", "y: float64[]")
    assert report.failures == ("a failure",)
    assert (report.truth, report.taylor) == ("the truth", {"x": 2.0})
    assert report.gradients == {"x": "pictures"}
    steps.run(began=-1e6)
    assert steps.report.seconds == pytest.approx(time.perf_counter() + 1e6, abs=60)


LEFT_OUT = {
    "primal_value": "values",
    "cotangent_linearity": "cotangents",
    "tangent_linearity": "tangents",
    "second_order": "second order",
    "reverse": "cancellation",
}


@pytest.mark.parametrize("mode", LEFT_OUT)
def test_steps_of_modes_that_are_not_asked_for(steps, mode):
    others = tuple(name for name in MODES if name != mode)
    expected = [*BEFORE, *FIRST, "second order", *AFTER]
    expected.remove(LEFT_OUT[mode])
    assert steps.run(others) == expected
    alone = steps.run((mode,))
    assert [n for n in alone if n in LEFT_OUT.values()] == [LEFT_OUT[mode]]


def test_steps_that_need_what_is_not_there(steps):
    whole = [*BEFORE, *FIRST, "second order", *AFTER]

    def without(*names):
        return [name for name in whole if name not in names]

    assert steps.run(order=1) == without("second order")
    steps.wrong.append("a wrong gradient")
    assert steps.run() == without("cancellation")
    steps.wrong.clear()
    steps.called.rows = None
    assert steps.run() == without("cotangents", "cancellation")
    steps.called.rows = ROWS
    reverse = steps.measured.pop("reverse")
    assert steps.run() == without("cotangents", "cancellation")
    assert given(steps, "taylor")[2] is None
    steps.measured["reverse"] = reverse
    for name in ("forward", "true_reverse", "true_forward"):
        del steps.measured[name]
    assert steps.run() == without("tangents")
    assert given(steps, "settle")[1] == (None, None)


def test_steps_with_a_reference(steps):
    reference = object()
    found = steps.run(reference=reference)
    ours, theirs = steps.primals
    assert found.index("compare") == found.index("settle") - 1
    assert given(steps, "reference") == (reference, "args", "argnums")
    assert next(o for n, _, o in steps.done if n == "reference") == {
        "caller": "check_gradients: reference"
    }
    assert theirs.problem == "the reference"
    assert (
        (theirs.unit, theirs.arithmetic)
        == (ours.unit, ours.arithmetic)
        == (
            0.25,
            Arithmetic(unit=0.5),
        )
    )
    assert given(steps, "derivatives")[1:3] == (ours, theirs)
    assert given(steps, "compare") == (PROBLEM, ours, theirs)
    assert given(steps, "settle")[0] is ours
    source = "autodiff of the reference in float64, confirmed by finite differences"
    assert given(steps, "settle")[-1] == source


def test_steps_with_linear_arguments_and_a_tolerance(steps):
    steps.run(linear=[LEAVES[1]], tolerance=1e-3)
    (primal,) = steps.primals
    assert given(steps, "precision")[1] == 1e-3
    assert given(steps, "linear") == (primal, steps.truth, [LEAVES[1]], steps.draws)
    assert given(steps, "evidence")[6] is steps.linear
    assert given(steps, "other modes") == (MODES, [LEAVES[1]])
    assert steps.report.truth == "the linear truth"


def test_leaves_of_linear_arguments():
    for asked, expected in (
        (None, ()),
        (0, LEAVES[:1]),
        (2, LEAVES[1:]),
        (-1, LEAVES[1:]),
        (-3, LEAVES[:1]),
        (1, ()),
        ((0, 2), LEAVES),
        ([-1, 0], LEAVES),
        ((), ()),
    ):
        assert _check._linear_leaves(PROBLEM, asked, 3) == list(expected)
    for asked in (3, -4, (0, 3), "x", (0.5,)):
        with pytest.raises(ValueError, match="linear_in must be positions of the 3 arguments"):
            _check._linear_leaves(PROBLEM, asked, 3)


def test_what_cannot_be_traced_is_named(monkeypatch):
    def fails(problem):
        raise ZeroDivisionError("in  it\n" + 400 * "x")

    monkeypatch.setattr(_check, "Primal", fails)
    said = "check_gradients: JAX can't trace f: ZeroDivisionError: in it " + 294 * "x"
    with pytest.raises(ValueError, match=f"^{said}$"):
        _check._primal(PROBLEM)


def test_options_and_their_defaults(monkeypatch):
    calls = []

    def check(problem, **options):
        with np.errstate():  # nothing warns meanwhile
            np.log(np.zeros(1))
        calls.append((problem, options))
        return "the report"

    monkeypatch.setattr(_check, "problem_of", lambda *args: calls.append(args) or PROBLEM)
    monkeypatch.setattr(_check, "_check", check)
    args = ("a", "b", "c")
    assert _check.check_gradients(len, args) == "the report"
    asked, (problem, options) = calls
    assert asked == (len, args, None)
    assert problem is PROBLEM
    assert options.pop("began") == pytest.approx(time.perf_counter(), abs=60)
    step = options.pop("step")
    assert (step.title, step.done) == ("f", 0)
    assert options == {
        **{"linear": [], "reference": None, "tolerance": None, "args": args, "argnums": None},
        **{"names": MODES, "order": 2, "seed": 0, "directions": 2},
    }
    given = {"argnums": 1, "reference": max, "tolerance": 0.5, "order": 1, "seed": 3}
    _check.check_gradients(len, args, linear_in=2, modes="jit", directions=5, **given)
    assert calls[2] == (len, args, 1)
    options = calls[3][1]
    expected = given | {"linear": [LEAVES[1]], "names": ("jit",), "directions": 5}
    assert {name: options[name] for name in expected} == expected


def test_an_assertion_passes_its_options_on(monkeypatch):
    calls = []

    class Report:
        ok = True

        def __str__(self):
            return "what is wrong"

    def check(*args, **options):
        calls.append((args, options))
        return Report()

    monkeypatch.setattr(_check, "check_gradients", check)
    assert _check.assert_gradients(len, (1,), order=1, seed=2) is None
    assert calls == [((len, (1,)), {"order": 1, "seed": 2})]
    Report.ok = False
    with pytest.raises(AssertionError, match=r"^what is wrong$"):
        _check.assert_gradients(len, (1,))
