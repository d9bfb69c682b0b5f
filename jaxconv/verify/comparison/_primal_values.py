"""The value that a mode returns with the derivative must be the value of the function."""

import jax
import numpy as np

from .. import _constants, _modes
from .._problem import join
from ._evidence import Evidence, last_rounding
from ._findings import Findings, differing

MODE = "primal_value"

_WAYS = {
    "vjp": lambda f, xs, vs: jax.vjp(f, *xs)[0],
    "jvp": lambda f, xs, vs: jax.jvp(f, xs, tuple(vs[0]))[0],
    "linearize": lambda f, xs, vs: jax.linearize(f, *xs)[0],
}


def judge_primal_values(evidence: Evidence, findings: Findings) -> None:
    """Compare the values of `vjp`, `jvp` and `linearize` with `f(x)`."""
    problem, draws = evidence.problem, evidence.draws
    expected = problem.values
    bound, before = None, len(findings.wrong)
    for way, call in _WAYS.items():
        try:
            returned = _modes.call(call, problem.function, draws.xs, draws.vs)
        except Exception:  # the mode is reported elsewhere
            continue
        values = join(returned)
        if np.array_equal(values, expected, equal_nan=True):
            continue
        if bound is None:
            rounding = evidence.rounding_of_value()
            last = last_rounding(problem.outputs, expected)
            # Two bounds, since both values are rounded and may be computed differently.
            bound = _constants.TWO_ROUNDINGS * (_constants.MARGIN * rounding + last)
            # Rounding may change which element is selected, but not the size of the values.
            for leaf in problem.outputs:
                size = np.abs(expected[leaf.elements]).max(initial=0.0)
                here = bound[leaf.elements]
                bound[leaf.elements] = np.minimum(
                    here, _constants.SHARE_OF_VALUE * size + last[leaf.elements].max(initial=0.0)
                )
        found = differing(problem.outputs, MODE, values, expected, bound, f"jax.{way}")
        findings.wrong += found
        if found:
            break
    findings.settle(MODE, before)
