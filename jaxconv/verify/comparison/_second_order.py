"""The second derivative of `<w, f>` along a direction, by each composition of the modes."""

from contextlib import suppress

import jax
import numpy as np

from .. import _constants, _modes
from .._problem import Leaf
from ..truth._differences import slopes
from ..truth._rounding import Measurement, of_comparison
from ..truth._truth import is_large, step_sizes
from ._evidence import Evidence
from ._findings import Findings, differing


def judge_second_order(evidence: Evidence, findings: Findings) -> None:
    """Compare each composition with the change of the true gradient along the first direction."""
    if not evidence.truth.is_autodiff or "true_reverse" not in evidence.measured:
        findings.absent("second_order", "the true second derivative is unknown")
        return
    problem, primal, draws = evidence.problem, evidence.primal, evidence.draws
    point = draws.xs, tuple(draws.ws[0]), tuple(draws.vs[0])
    traces = _traces(problem.function, point, findings)
    if not traces or findings.wrong:
        return
    flat = jax.tree.leaves(point)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: np.asarray(a).astype(np.float64), point)
        f, mode = primal.function64, _modes.forward_over_reverse
        with suppress(Exception):  # if it does not exist, a reference may have it
            traces["true"] = _modes.trace(lambda xs, w, v: mode(f, xs, w, v), *wide)
    pairs = {name: "true" for name in traces if name != "forward over forward"} | {"true": None}
    measurement = Measurement(
        traces, primal.arithmetic, evidence.seed, _constants.FEW_SAMPLES, pairs
    )
    found = measurement(dict.fromkeys(traces, flat))
    exact = found.pop("true", None)
    # Finite differences would move values that are meant to be constant, and they take many
    # gradients.
    if exact is not None and (primal.stops or is_large(problem)):
        true, error = exact.value, _constants.MARGIN * exact.rounding
    else:
        true, error = _curvature(evidence)
    for name, result in found.items():
        expected, slack, leaves = true, error, problem.leaves
        if name == "forward over forward":
            v = draws.directions[0]
            expected, slack = np.array([true @ v]), np.array([error @ np.abs(v)])
            leaves = [Leaf("v H v", -1, (), np.float64, 0)]
        rounding = _constants.TWO_ROUNDINGS * _constants.MARGIN * result.explained
        bound = rounding + slack + of_comparison(expected, evidence.unit)
        known = np.isfinite(expected)  # the others are beyond the range of float64
        value, expected = np.where(known, result.value, 0.0), np.where(known, expected, 0.0)
        bound = np.where(known, bound, np.inf)
        before = len(findings.wrong)
        findings.wrong += differing(leaves, name, value, expected, bound)
        findings.settle(name, before)


def _traces(function, point, findings):
    """The jaxprs of the compositions that exist."""
    traces = {}
    for name, mode in _modes.SECOND_ORDER.items():

        def call(xs, w, v, mode=mode):
            return mode(function, xs, w, v)

        try:
            traces[name] = _modes.trace(call, *point)
        except _modes.Absent as why:
            findings.absent(name, str(why))
        except Exception as error:
            findings.crashed(name, error)
    return traces


def _curvature(evidence):
    """The change of the true gradient along the first direction, and its error."""
    primal, draws = evidence.primal, evidence.draws

    def gradient(point):
        return evidence.derivatives.true_reverse(point, draws.cotangents)

    line = slopes(gradient, primal.point, draws.directions[0], step_sizes(primal), primal.unit)
    # At a kink of the gradient any curvature between those of the two sides is right.
    sides = np.abs(line.right - line.left) / 2 + _constants.ERRORS * line.side_error
    return line.central, _constants.ERRORS * line.error + np.where(line.is_kink, sides, 0)
