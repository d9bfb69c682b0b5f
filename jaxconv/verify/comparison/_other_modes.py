"""All other ways to a first derivative, compared with reverse or forward mode."""

from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from .. import _constants, _modes
from .._problem import Leaf, join
from ..program._program import Program
from ._evidence import Evidence, last_rounding
from ._findings import Findings, differing


class OtherModes:
    """Compares each mode with the formula of reverse or forward mode.

    The bounds are those of the dtypes of the function.
    """

    def __init__(self, evidence: Evidence, findings: Findings):
        self.evidence, self.findings = evidence, findings
        self.problem = evidence.problem

    def judge(self, names: Sequence[str], linear: Sequence[Leaf]) -> None:
        """Judge those of the modes that are asked for."""
        draws, f = self.evidence.draws, self.problem.function
        for table, kind in ((_modes.REVERSE_LIKE, "reverse"), (_modes.FORWARD_LIKE, "forward")):
            for name, mode in table.items():
                if name.split(",")[0] not in names:
                    continue
                if kind in self.evidence.measured:
                    self._call(name, kind, None, mode, f, draws.xs, draws.ws, draws.vs)
                elif not name.startswith("symbolic"):
                    self.findings.absent(name, f"the function has no {kind} mode")
        if "linear_transpose" in names:
            for leaf in linear:
                i, name = self.problem.leaves.index(leaf), f"linear_transpose, {leaf.name}"
                args = f, draws.xs, draws.ws[0], i
                self._call(name, "reverse", leaf, _modes.transposed, *args)

    def _call(self, name, kind, alone, mode, *args):
        """Call a mode, which returns all arrays or a single one."""
        try:
            result = _result(mode, *args)
        except _modes.Absent as why:
            self.findings.absent(name, str(why))
        except Exception as error:
            self.findings.crashed(name, error)
        else:
            self._compare(name, kind, alone, join(result))

    def _compare(self, name, kind, alone, values):
        before = len(self.findings.wrong)
        leaves = self.problem.outputs if kind == "forward" else self.problem.leaves
        if alone is not None:
            leaves = [replace(alone, start=0)]
        found = differing(leaves, name, values, *self._expected(name, kind, alone))
        if found and self.evidence.is_narrow:
            more = self._expected(name, kind, alone, _constants.SECOND_LOOK)
            found = differing(leaves, name, values, *more)
        self.findings.wrong += found
        self.findings.settle(name, before)

    def _expected(self, name, kind, alone, more=0):
        """The formula of the rule, and its rounding in the dtypes of the function."""
        value = self.evidence.rows(kind)[0][0]
        if name == "zero_cotangent":
            return np.zeros_like(value), np.zeros_like(value)
        leaves = self.problem.outputs if kind == "forward" else self.problem.leaves
        rounding = self.evidence.own(kind, self.evidence.primal.point, more)[1][0]
        # Two bounds, since modes that take one argument at a time sum as many terms again.
        bound = _constants.MARGIN * rounding + last_rounding(leaves, value)
        bound = _constants.TWO_ROUNDINGS * bound
        here = slice(None) if alone is None else alone.elements
        return value[here], bound[here]


def _result(mode, f, xs, *rest):
    """The result of a mode. Its equations are interpreted, which is faster than to compile them.

    If JAX can't trace the mode, as when a rule branches on values, it is called instead.
    """
    try:
        traced = _modes.trace(lambda *xs: mode(f, xs, *rest), *xs)
    except _modes.Absent:
        raise
    except Exception:  # the call raises whatever the rule raises
        return _modes.call(mode, f, xs, *rest)
    with jax.enable_x64(True):
        return Program(traced)(list(xs))
