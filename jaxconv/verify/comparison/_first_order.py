"""Reverse and forward mode, compared with the truth."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from .. import _constants
from ..report._contents import Mode, Subgradient
from ..truth import _kinks
from ..truth._differences import slopes
from ..truth._rounding import of_comparison
from ..truth._search import worst_by_halves
from ..truth._truth import by_coordinates, dot_gap, step_sizes
from ._evidence import Evidence
from ._findings import Finding, Findings, beyond, differing

# How many elements that are NaN or infinite are named.
NAMED = 5


class FirstOrder:
    """Compares reverse and forward mode, as formulas and as computed in their dtypes."""

    def __init__(self, evidence: Evidence, findings: Findings):
        self.evidence, self.findings = evidence, findings
        self.problem, self.draws = evidence.problem, evidence.draws
        self.primal, self.truth = evidence.primal, evidence.truth

    def judge(self, names: Sequence[str]) -> None:
        """Judge those of the modes that are asked for."""
        findings, called, measured = self.findings, self.evidence.called, self.evidence.measured
        missing = self.evidence.derivatives.missing
        if "reverse" in missing and "forward" in missing:
            findings.fail(
                "reverse, forward", "JAX has no derivative of the function", missing["reverse"]
            )
        if "reverse" in names and self._exists("reverse", called.error):
            self._reverse()
        if "forward" in names and self._exists("forward", None):
            self._forward()
        if "reverse" in measured and "forward" in measured:
            self._dot_test()
        if called.rows is None:
            return
        if "cotangent_dtype" in names:
            findings.complain("cotangent_dtype", called.wrong_types)
        if "determinism" in names:
            different = [] if called.repeats else ["the same call returned different values"]
            findings.complain("determinism", different)
        if "second_point" in names and "reverse" in measured:
            self._second_point()

    def _exists(self, name, call_error):
        """Whether a mode can be judged. A mode that is absent or crashes is recorded."""
        derivatives = self.evidence.derivatives
        if name in derivatives.missing:
            self.findings.absent(name, derivatives.missing[name])
            return False
        error = derivatives.crashed.get(name) or call_error
        if error is not None:
            self.findings.crashed(name, error)
        return error is None

    # Reverse mode

    def _reverse(self):
        rows, rounding = self.evidence.rows("reverse")
        before = len(self.findings.wrong)
        for leaf in self.problem.leaves:
            here = leaf.elements
            self._nonfinite(leaf, rows[:, here])
            if self.truth.reverse is None:
                self._along_directions(leaf, rows, rounding)
                continue
            assert self.truth.reverse_error is not None
            true, error = self.truth.reverse[:, here], self.truth.reverse_error[:, here]
            most = np.abs(self.draws.cotangents).sum(axis=1, keepdims=True)
            last = of_comparison(true, self.evidence.unit, leaf.dtype, most)
            bound = _constants.MARGIN * rounding[:, here] + error + last
            self._compare(leaf, rows[:, here], true, bound)
        if len(self.findings.wrong) == before and self.evidence.called.rows is not None:
            self._as_it_is(rows)
        self.findings.settle("reverse", before)

    def _compare(self, leaf, rows, true, bound):
        """Compare the rows of a leaf. Subgradients at kinks are accepted."""
        for row in range(len(rows)):
            is_wrong = beyond(rows[row], true[row], bound[row])
            if is_wrong.any():
                is_wrong = self._not_excused(leaf, is_wrong, row)
            if is_wrong.any():
                arrays = rows[row], true[row], bound[row], is_wrong
                self.findings.wrong.append(Finding(leaf, "reverse", *arrays, row))
                return

    def _not_excused(self, leaf, is_wrong, row):
        """The wrong elements that are not subgradients either."""
        if not self._may_have_kinks:
            return is_wrong
        elements = np.flatnonzero(is_wrong)
        w, gradient = self.draws.cotangents[row], self.evidence.rows("reverse")[0][row]
        nearby = self.evidence.nearby("reverse")
        nearby = None if nearby is None else nearby[:, row]
        kinks = _kinks.look(self.primal, leaf, elements, gradient, w, self.evidence.seed, nearby)
        reported = gradient[leaf.elements]
        accepted = elements[kinks.is_subgradient]
        if not len(accepted):
            return is_wrong
        if _kinks.misfit(kinks):
            self.findings.ties[leaf] = kinks
            return is_wrong
        if row == 0:
            for element, low, high in zip(
                accepted, *(a[kinks.is_subgradient] for a in (kinks.low, kinks.high)), strict=True
            ):
                index = tuple(int(i) for i in np.unravel_index(element, leaf.shape))
                values = float(reported[element]), float(low), float(high)
                self.findings.subgradients.append(Subgradient(leaf.name, index, *values))
        is_wrong = is_wrong.copy()
        is_wrong[accepted] = False
        return is_wrong

    @cached_property
    def _may_have_kinks(self):
        """Whether a kink shows along a direction or in the gradients at neighbouring points.

        A direction moves every element, so it shows the kinks along all coordinates. To look for
        these one by one takes many evaluations.
        """
        if self.primal.is_smooth:
            return False
        nearby = self.evidence.nearby("reverse")
        if nearby is None or any(line.is_kink.any() for line in self.truth.slopes):
            return True
        least, most, slack = _kinks.range_of(nearby)
        return not np.all(most - least <= slack)

    def _as_it_is(self, rows):
        """The rule in its own dtypes may differ from its formula by rounding only."""
        called = self.evidence.called.rows
        assert called is not None
        bound = self.evidence.own_bound(self.primal.point)
        for row, formula in enumerate(rows):
            wrong = beyond(called[row], formula, bound[row])
            if wrong.any():
                bound = self.evidence.own_bound(self.primal.point, _constants.SECOND_LOOK)
                wrong = beyond(called[row], formula, bound[row])
            for leaf in self.problem.leaves:
                here = leaf.elements
                if wrong[here].any():
                    note = f"the error is larger than {leaf.dtype} rounding explains"
                    values = called[row][here], formula[here], bound[row][here], wrong[here]
                    self.findings.wrong.append(Finding(leaf, "reverse", *values, row, note))
            if wrong.any():
                return

    def _along_directions(self, leaf, rows, rounding):
        """Without a truth for each element: compare slopes along directions of one argument."""
        steps, cotangents = step_sizes(self.primal), self.draws.cotangents
        lost = np.flatnonzero(~np.isfinite(rows[:, leaf.elements]).all(axis=0))
        for v in self.draws.directions:
            alone = np.zeros_like(v)
            alone[leaf.elements] = v[leaf.elements]
            line = slopes(self.primal, self.primal.point, alone, steps, self.primal.unit)
            if len(lost) and np.isfinite(line.central).all():  # every element has a slope
                self.findings.wrong.append(self._without_number(leaf, rows, lost[:NAMED]))
                return
            error, margin = _constants.ERRORS * line.error[None], _constants.MARGIN * rounding
            gap, bound = dot_gap(line.central[None], error, rows, margin, cotangents, alone[None])
            bad = np.abs(gap[:, 0]) > bound[:, 0]
            if bad.any():
                row = int(bad.argmax())
                note = f"the slope along a random direction is wrong by {abs(gap[row, 0]):.3g}"
                self.findings.wrong.append(self._by_halves(leaf, rows[row], row, note))
                return

    def _without_number(self, leaf, rows, lost):
        """The finding of elements that are NaN or infinite where the function has a slope."""
        row = int((~np.isfinite(rows[:, leaf.start + lost])).any(axis=1).argmax())
        reported = rows[row][leaf.elements]
        is_wrong, true, bound = np.zeros(leaf.size, bool), reported.copy(), np.zeros(leaf.size)
        cotangent = self.draws.cotangents[[row]]
        (true[lost],), (bound[lost],) = by_coordinates(self.primal, leaf.start + lost, cotangent)
        is_wrong[lost] = ~np.isfinite(reported[lost])
        return Finding(leaf, "reverse", reported, true, bound, is_wrong, row)

    def _by_halves(self, leaf, gradient, row, note):
        """The finding of the element that a bisection finds; all others are taken to be right."""
        found = worst_by_halves(
            self.primal, leaf, gradient, self.draws.cotangents[row], self.evidence.seed
        )
        reported = gradient[leaf.elements]
        is_wrong, true, bound = np.zeros(leaf.size, bool), reported.copy(), np.zeros(leaf.size)
        for element, slope, error in found:
            is_wrong[element], true[element], bound[element] = True, slope, error
        return Finding(leaf, "reverse", reported, true, bound, is_wrong, row, note)

    def _nonfinite(self, leaf, rows):
        bad = ~np.isfinite(rows).all(axis=0)
        for element in np.flatnonzero(bad)[:NAMED]:
            index = [int(i) for i in np.unravel_index(element, leaf.shape)]
            value = rows[:, element][~np.isfinite(rows[:, element])][0]
            self.findings.nonfinite.append(f"{leaf.name}{index}: {value}")

    # Forward mode, and both together

    def _forward(self):
        rows, rounding = self.evidence.rows("forward")
        before = len(self.findings.wrong)
        for leaf in self.problem.outputs:
            here = leaf.elements
            for row, line in enumerate(self.truth.slopes):
                true, error = self.truth.forward[row][here], self.truth.forward_error[row][here]
                most = np.abs(self.draws.directions[row]).max(initial=0.0)
                last = of_comparison(true, self.evidence.unit, leaf.dtype, most)
                bound = _constants.MARGIN * rounding[row][here] + error + last
                reported = rows[row][here]
                slack = bound + _constants.ERRORS * line.side_error[here]
                low = np.minimum(line.left, line.right)[here] - slack
                high = np.maximum(line.left, line.right)[here] + slack
                between = line.is_kink[here] & (low <= reported) & (reported <= high)
                is_wrong = beyond(reported, true, bound) & ~between
                if is_wrong.any() and not self.primal.is_smooth:
                    is_wrong &= ~self._between_nearby(reported, here, row)
                if is_wrong.any():
                    arrays = reported, true, bound, is_wrong
                    self.findings.wrong.append(Finding(leaf, "forward", *arrays, row))
                    break
        self.findings.settle("forward", before)

    def _between_nearby(self, reported, here, row):
        """Where tangents lie between those at neighbouring points, to the sides of a kink."""
        nearby = self.evidence.nearby("forward")
        if nearby is None:
            return np.zeros(reported.shape, bool)
        least, most, slack = _kinks.range_of(nearby[:, row, here])
        return (least - slack <= reported) & (reported <= most + slack)

    def _dot_test(self):
        cotangents, directions = self.draws.cotangents, self.draws.directions
        forward, forward_rounding = self.evidence.rows("forward")
        reverse, reverse_rounding = self.evidence.rows("reverse")
        margins = _constants.MARGIN * forward_rounding, _constants.MARGIN * reverse_rounding
        gap, bound = dot_gap(forward, margins[0], reverse, margins[1], cotangents, directions)
        sums = np.abs(cotangents) @ np.abs(forward).T
        worst = float(np.max(np.abs(gap) / np.maximum(sums, np.finfo(float).tiny), initial=0.0))
        said = f"<w, J v> and <Jᵀ w, v> differ by {worst:.1e} of their size"
        is_off = bool(np.any(np.abs(gap) > bound))
        self.findings.modes.append(Mode("dot_test", "wrong" if is_off else "ok", said))
        if is_off and not self.findings.wrong and not self.findings.subgradients:
            self.findings.fail("dot_test", "forward and reverse disagree", said)

    # Other properties of a rule

    def _second_point(self):
        """The rule must be right at another point, too, when it is called after the first."""
        before, size, point = len(self.findings.wrong), self.problem.size, self.draws.second_point
        if not self.findings.is_wrong_in("reverse"):
            expected = formula = self.evidence.own("reverse", point)[0][0]
            if self.truth.is_autodiff:
                # The formula is known to be right at the first point only.
                expected = self.evidence.derivatives.true_reverse(point, self.draws.cotangents)
            assert len(expected) == size
            found: list[Finding] = []
            for more in (0, _constants.SECOND_LOOK):
                # Two bounds, since the truth is rounded, too.
                own = self.evidence.own_bound(point, more)[0]
                bound = _constants.TWO_ROUNDINGS * own + of_comparison(expected)
                bound = np.where(np.isinf(formula), 0.0, bound)  # by no rounding
                bound = np.where(np.isnan(expected), np.inf, bound)  # the truth is unknown there
                values = self.evidence.called.elsewhere
                assert values is not None
                found = differing(self.problem.leaves, "second_point", values, expected, bound)
                if not found:
                    break
            self.findings.wrong += found
        self.findings.settle("second_point", before)
