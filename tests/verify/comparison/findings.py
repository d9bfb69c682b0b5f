"""Findings about gradients in NumPy, without a check."""

from types import SimpleNamespace

import numpy as np

from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison._evidence import Called
from jaxconv.verify.comparison._findings import Findings
from jaxconv.verify.comparison._first_order import FirstOrder
from jaxconv.verify.truth._differences import Slopes
from jaxconv.verify.truth._operations import FINE
from jaxconv.verify.truth._truth import Truth

from ..truth.values import Values

# z = A (x, y), linear, so that differences are exact: x is (2, 1), y is (3,) and z is (2,).
A = np.array([[1.0, 2.0, -1.0, 0.5, 3.0], [-2.0, 1.0, 4.0, 1.0, -0.5]])
LEAVES = Leaf("x", 0, (2, 1), np.dtype(float), 0), Leaf("y", 1, (3,), np.dtype(float), 2)
OUTPUTS = (Leaf("z", -1, (2,), np.dtype(float), 0),)
W = np.array([[1.0, -2.0], [0.5, 1.0], [1.5, -1.0]])
V = np.array([[1.0, 0.5, -1.0, 2.0, 0.25], [-0.5, 1.0, 3.0, -1.0, 2.0]])
REVERSE, FORWARD = W @ A, V @ A.T


def line(row, error=1e-9, left=0.0, right=0.0, side_error=1e-9, kinks=(False, False)):
    """Slopes along a direction."""
    sides = row + np.broadcast_to(left, 2), row + np.broadcast_to(right, 2)
    errors, side_errors = np.full(2, error), np.full(2, side_error)
    return Slopes(row, errors, *sides, side_errors, row, errors, np.array(kinks), row, row, ())


LINES = tuple(line(row) for row in FORWARD)


def judged(
    names=("reverse",),
    *,
    reverse=REVERSE,
    forward=FORWARD,
    rounding=0.0,
    error=0.0,
    forward_error=0.0,
    true_forward=FORWARD,
    true=REVERSE,
    lines=LINES,
    called=None,
    own=np.inf,
    nearby=None,
    f=lambda x: A @ x,
    leaves=LEAVES,
    outputs=OUTPUTS,
    measured=("reverse",),
    is_smooth=True,
    missing=(),
    crashed=(),
    second=None,
    is_autodiff=True,
):
    """The findings about a rule that reports the given gradients and tangents."""
    primal = Values(f, np.array([1.0, -1.0]), np.array([2.0, 0.5, 1.0]))
    primal.is_smooth = is_smooth
    problem = Problem("f", f, leaves, outputs, (), np.zeros(2))
    primal.problem = problem
    elsewhere = np.ones(5)
    draws = SimpleNamespace(cotangents=W, directions=V, second_point=elsewhere)
    rows = {
        "reverse": (reverse, np.broadcast_to(rounding, reverse.shape)),
        "forward": (forward, np.full(forward.shape, np.max(rounding))),
    }
    errors = None if true is None else np.broadcast_to(error, (3, 5))
    spread = np.broadcast_to(forward_error, (2, 2))
    truth = Truth(true, errors, true_forward, spread, lines, "", is_autodiff)
    asked = []

    def own_bound(point, more=0):
        asked.append((point, more))
        return np.broadcast_to(own(more) if callable(own) else own, (3, 5))

    def true_reverse(point, ws):
        assert point is elsewhere
        return second["true"]

    def own_rows(name, point):
        assert (name, point is elsewhere) == ("reverse", True)
        return second["formula"][None], None

    evidence = SimpleNamespace(
        **{"problem": problem, "draws": draws, "primal": primal, "truth": truth, "seed": 0},
        called=called or Called(reverse),
        measured=measured,
        derivatives=SimpleNamespace(
            missing=dict(missing), crashed=dict(crashed), true_reverse=true_reverse
        ),
        rows=rows.__getitem__,
        nearby=lambda name: None if nearby is None else nearby.get(name),
        own_bound=own_bound,
        own=own_rows,
        unit=FINE,
    )
    findings = Findings(problem)
    findings.asked = asked
    FirstOrder(evidence, findings).judge(names)
    return findings


def changed(rows, row, element, by):
    rows = rows.copy()
    rows[row, element] += by
    return rows


def places(findings, mode="reverse"):
    """What is wrong: the argument, the row, and the elements."""
    assert all(found.mode == mode for found in findings.wrong)
    return [(f.leaf.name, f.row, np.flatnonzero(f.is_wrong).tolist()) for f in findings.wrong]


# A gradient of which x is wrong for the first cotangent.
WRONG = changed(changed(REVERSE, 0, 0, 1.0), 0, 1, -1.0)


# Two arguments and two results, one of each a number.
PAIR = Leaf("x", 0, (2,), np.dtype(float), 0), Leaf("y", 1, (), np.dtype(float), 2)
RESULTS = Leaf("z", -1, (2,), np.dtype(float), 0), Leaf("u", -1, (), np.dtype(float), 2)


def problem_of_pair(f=lambda: (), values=()):
    """A function of `PAIR`."""
    return Problem("f", f, PAIR, RESULTS, (), np.asarray(values))


def wrong_elements(findings):
    """What is wrong: the array, the mode, and the elements."""
    return [(f.leaf.name, f.mode, np.flatnonzero(f.is_wrong).tolist()) for f in findings.wrong]
