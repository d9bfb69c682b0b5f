"""The comparison of what a rule says with the truth, mode by mode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from . import _kinks, _modes
from ._derivatives import FEW_SAMPLES, Derivatives, Draws
from ._diagnosis import Evidence, diagnose
from ._differences import slopes
from ._operations import FINE
from ._places import where
from ._problem import Leaf, Problem, first_line, join, split, typed
from ._report import Element, Failure, Gradient, Mode, Subgradient
from ._rounding import MARGIN, Measured, Measurement
from ._search import worst_by_halves
from ._truth import ERRORS, Primal, Truth, dot_gap, step_sizes

# Perturbed evaluations before a rule is called wrong for the rounding of its own dtype alone: near
# a tie the choice may fall either way, which eight evaluations can miss.
SECOND_LOOK = 64
# The worst elements that a failure lists.
WORST = 5


@dataclass(frozen=True)
class Finding:
    """A wrong gradient of one array, all of it flat."""

    leaf: Leaf
    mode: str
    reported: np.ndarray
    true: np.ndarray
    bound: np.ndarray
    is_wrong: np.ndarray
    row: int = 0
    note: str = ""


class Judge:
    """Compares, and remembers what it found."""

    def __init__(self, problem: Problem, draws: Draws, names: Sequence[str], seed: int):
        self.problem, self.draws, self.names, self.seed = problem, draws, names, seed
        self.findings: list[Finding] = []
        self.plain: list[Failure] = []  # failures that are no wrong numbers
        self.modes: list[Mode] = []
        self.subgradients: list[Subgradient] = []
        self.nonfinite: list[str] = []
        self.notes: list[str] = []
        self.twice: Any = None  # kinks whose elements don't fit together
        self.called: np.ndarray | None = None
        self.called_elsewhere: np.ndarray | None = None
        self._call_error: Exception | None = None
        self._repeats = True
        self._types: list[str] = []

    # Calling the rule as a user does, outside of jit

    def call_rule(self) -> None:
        """Call the rule before anything is traced, at two points, and once more."""
        xs, ws = self.draws.xs, self.draws.ws
        elsewhere = typed(self.problem.leaves, self.draws.second_point)
        try:
            rows = self._pull_back(xs, ws)
            again = self._pull_back(xs, ws[:1])
            self.called_elsewhere = join(self._pull_back(elsewhere, ws[:1])[0])
        except Exception as error:
            self._call_error = error
            return
        for leaf, bar in zip(self.problem.leaves, rows[0], strict=True):
            if bar.shape != leaf.shape or bar.dtype != leaf.dtype:
                got = f"{bar.dtype}{list(bar.shape)}"
                self._types.append(f"{leaf.name}: {leaf.dtype}{list(leaf.shape)} got {got}")
        self.called = np.stack([join(row) for row in rows])
        self._repeats = np.array_equal(self.called[0], join(again[0]), equal_nan=True)

    def _pull_back(self, xs, ws):
        _, pull_back = jax.vjp(self.problem.function, *xs)
        return [pull_back(tuple(w)) for w in ws]

    # The first derivative

    def start(
        self,
        primal: Primal,
        derivatives: Derivatives,
        measured: dict[str, Measured],
        truth: Truth,
    ) -> None:
        """Take what was measured."""
        self.primal, self.derivatives = primal, derivatives
        self.measured, self.truth = measured, truth
        self.is_narrow = any(
            leaf.dtype != np.float64 for leaf in (*self.problem.leaves, *self.problem.outputs)
        )
        self._coarse: dict[tuple, dict[str, Measured]] = {}

    def first_order(self) -> None:
        """Reverse and forward mode: as formulas, and as they are."""
        missing = [n for n in ("reverse", "forward") if n in self.derivatives.missing]
        if len(missing) == 2:
            self.plain.append(
                Failure(
                    argument=", ".join(leaf.name for leaf in self.problem.leaves),
                    mode="reverse, forward",
                    diagnosis="there is no derivative",
                    evidence=self.derivatives.missing["reverse"],
                )
            )
        if "reverse" in self.names:
            self._reverse()
        if "forward" in self.names:
            self._forward()
        if "reverse" in self.measured and "forward" in self.measured:
            self._dot_test()
        if self.called is None:
            return
        if "cotangent_dtype" in self.names:
            self._note("cotangent_dtype", self._types)
        if "determinism" in self.names:
            different = [] if self._repeats else ["the same call returned different numbers"]
            self._note("determinism", different)
        if "cotangent_linearity" in self.names and "reverse" in self.measured:
            self._linearity()
        if "second_point" in self.names and "reverse" in self.measured:
            self._second_point()

    def _reverse(self):
        if self._reports_trouble("reverse", self._call_error):
            return
        rows, rounding = self._rows("reverse")
        before = len(self.findings)
        for leaf in self.problem.leaves:
            here = leaf.elements
            self._nonfinite(leaf, rows[:, here])
            if self.truth.reverse is None:
                self._along_directions(leaf, rows, rounding)
                continue
            assert self.truth.reverse_error is not None
            true, error = self.truth.reverse[:, here], self.truth.reverse_error[:, here]
            bound = MARGIN * rounding[:, here] + error + 4 * FINE * np.abs(true)
            self._compare(leaf, "reverse", rows[:, here], true, bound)
        if len(self.findings) == before and self.called is not None:
            self._as_it_is(rows)
        self._settle_mode("reverse", before)

    def _as_it_is(self, rows):
        """The rule in its own dtype differs from its formula by rounding, and no more."""
        assert self.called is not None
        bound = self._own_bound(self.primal.point)
        for row, (called, formula) in enumerate(zip(self.called, rows, strict=True)):
            wrong = beyond(called, formula, bound[row])
            if wrong.any():
                bound = self._own_bound(self.primal.point, SECOND_LOOK)
                wrong = beyond(called, formula, bound[row])
            for leaf in self.problem.leaves:
                here = leaf.elements
                if wrong[here].any():
                    note = f"off by more than {leaf.dtype} rounding explains"
                    values = called[here], formula[here], bound[row][here], wrong[here]
                    self.findings.append(Finding(leaf, "reverse", *values, row, note))
            if wrong.any():
                return

    def _own_bound(self, point, more=0):
        """How far rounding moves the gradients in the dtypes of the function, a row a cotangent."""
        found = self._own(point, more)["reverse"]
        value = found.value.reshape(len(self.draws.cotangents), -1)
        rounding = MARGIN * found.rounding.reshape(value.shape)
        return rounding + np.stack([_of_dtype(self.problem.leaves, row) for row in value])

    def _own(self, point, more):
        is_first = point is self.primal.point
        if is_first and not self.is_narrow and not more:
            return self.measured
        key = (is_first, more)
        if key not in self._coarse:
            only = [n for n in ("reverse", "forward")[: 1 + is_first] if n in self.measured]
            cotangents = self.draws.cotangents
            self._coarse[key] = self.derivatives(point, cotangents, only, self.is_narrow, more)
        return self._coarse[key]

    def _along_directions(self, leaf, rows, rounding):
        """Where no element's truth is known: the slope along directions of this argument alone."""
        steps = step_sizes(self.primal)
        for v in self.draws.directions:
            alone = np.zeros_like(v)
            alone[leaf.elements] = v[leaf.elements]
            line = slopes(self.primal, self.primal.point, alone, steps)
            gap, bound = dot_gap(
                line.central[None], ERRORS * line.error[None], rows, MARGIN * rounding,
                self.draws.cotangents, alone[None],
            )  # fmt: skip
            bad = np.abs(gap[:, 0]) > bound[:, 0]
            if bad.any():
                row = int(bad.argmax())
                found = worst_by_halves(
                    self.primal, leaf, rows[row], self.draws.cotangents[row], self.seed
                )
                is_wrong = np.zeros(leaf.size, bool)
                true = rows[row][leaf.elements].copy()
                bounds = np.zeros(leaf.size)
                for element, slope, error in found:
                    is_wrong[element], true[element], bounds[element] = True, slope, error
                note = f"the slope along a random direction is off by {abs(gap[row, 0]):.3g}"
                reported = rows[row][leaf.elements]
                self.findings.append(
                    Finding(leaf, "reverse", reported, true, bounds, is_wrong, row, note)
                )
                return

    def _compare(self, leaf, mode, rows, true, bound):
        """Compare the rows of a leaf; kinks excuse what lies between their slopes."""
        for row in range(len(rows)):
            is_wrong = beyond(rows[row], true[row], bound[row])
            if not is_wrong.any():
                continue
            is_wrong = self._excused(leaf, is_wrong, row)
            if is_wrong.any():
                self.findings.append(
                    Finding(leaf, mode, rows[row], true[row], bound[row], is_wrong, row)
                )
                return

    def _excused(self, leaf, is_wrong, row):
        elements = np.flatnonzero(is_wrong)
        w, gradient = self.draws.cotangents[row], self._rows("reverse")[0][row]
        kinks = _kinks.look(self.primal, leaf, elements, gradient, w, self.seed)
        reported = gradient[leaf.elements]
        accepted = elements[kinks.is_subgradient]
        if not len(accepted):
            return is_wrong
        if _kinks.misfit(kinks):
            self.twice = leaf, kinks
            return is_wrong
        if row == 0:
            for element, low, high in zip(
                accepted, *(a[kinks.is_subgradient] for a in (kinks.low, kinks.high)), strict=True
            ):
                index = tuple(int(i) for i in np.unravel_index(element, leaf.shape))
                self.subgradients.append(
                    Subgradient(leaf.name, index, float(reported[element]), float(low), float(high))
                )
        is_wrong = is_wrong.copy()
        is_wrong[accepted] = False
        return is_wrong

    def _forward(self):
        if self._reports_trouble("forward", None):
            return
        rows, rounding = self._rows("forward", len(self.draws.directions))
        before = len(self.findings)
        for leaf in self.problem.outputs:
            here = leaf.elements
            for row, line in enumerate(self.truth.slopes):
                true, error = self.truth.forward[row][here], self.truth.forward_error[row][here]
                bound = MARGIN * rounding[row][here] + error + 4 * FINE * np.abs(true)
                reported = rows[row][here]
                slack = bound + ERRORS * line.side_error[here]
                low = np.minimum(line.left, line.right)[here] - slack
                high = np.maximum(line.left, line.right)[here] + slack
                between = line.is_kink[here] & (low <= reported) & (reported <= high)
                is_wrong = beyond(reported, true, bound) & ~between
                if is_wrong.any():
                    self.findings.append(
                        Finding(leaf, "forward", reported, true, bound, is_wrong, row)
                    )
                    break
        self._settle_mode("forward", before)

    def _dot_test(self):
        forward, forward_rounding = self._rows("forward", len(self.draws.directions))
        reverse, reverse_rounding = self._rows("reverse")
        gap, bound = dot_gap(
            forward, MARGIN * forward_rounding, reverse, MARGIN * reverse_rounding,
            self.draws.cotangents, self.draws.directions,
        )  # fmt: skip
        sums = np.abs(self.draws.cotangents) @ np.abs(forward).T
        worst = float(np.max(np.abs(gap) / np.maximum(sums, np.finfo(float).tiny), initial=0.0))
        said = f"<w, J v> and <Jᵀ w, v> differ by {worst:.1e} of their size"
        is_off = bool(np.any(np.abs(gap) > bound))
        self.modes.append(Mode("dot_test", "wrong" if is_off else "ok", said))
        if is_off and not self.findings and not self.subgradients:
            names = ", ".join(leaf.name for leaf in self.problem.leaves)
            self.plain.append(Failure(names, "dot_test", "forward and reverse disagree", said))

    def _linearity(self):
        rows, rounding = self._rows("reverse")
        a, b, both = rows
        bound = MARGIN * rounding.sum(axis=0) + 4 * FINE * (np.abs(a) + np.abs(b))
        off = [
            leaf.name
            for leaf in self.problem.leaves
            if beyond((a + b)[leaf.elements], both[leaf.elements], bound[leaf.elements]).any()
        ]
        said = [f"the gradient of {name} is not linear in the cotangent" for name in off]
        self._note("cotangent_linearity", said)

    def _second_point(self):
        """At another point the rule, called after the first, is as right as there."""
        before, size, point = len(self.findings), self.problem.size, self.draws.second_point
        if not self._wrong_in("reverse"):
            expected = self._own(point, 0)["reverse"].value[:size]
            if self.truth.is_autodiff:
                # The formula is known to be right at the first point only.
                expected = self.derivatives.true_reverse(point, self.draws.cotangents)
            leaves = self.problem.leaves
            for more in (0, SECOND_LOOK):
                # Twice: the truth is rounded, too.
                bound = 2 * self._own_bound(point, more)[0] + 4 * FINE * np.abs(expected)
                found = self._differing(leaves, self.called_elsewhere, expected, bound)
                if not found:
                    break
            self.findings += [Finding(leaf, "second_point", *arrays) for leaf, *arrays in found]
        self._settle_mode("second_point", before)

    # The other modes

    def other_modes(self, linear: Sequence[Leaf]) -> None:
        """Each compared with reverse or forward mode, in the function's own dtypes."""
        xs, ws, vs = self.draws.xs, self.draws.ws, self.draws.vs
        f = self.problem.function
        tables = ((_modes.REVERSE_LIKE, "reverse"), (_modes.FORWARD_LIKE, "forward"))
        for table, kind in tables:
            for name, mode in table.items():
                if name.split(",")[0] not in self.names:
                    continue
                if kind in self.measured:
                    self._call_mode(name, kind, mode, f, xs, ws, vs)
                elif not name.startswith("symbolic"):
                    self.modes.append(Mode(name, "absent", f"no {kind} mode"))
        if "linear_transpose" in self.names:
            for leaf in linear:
                i, name = self.problem.leaves.index(leaf), f"linear_transpose, {leaf.name}"
                self._call_mode(name, leaf, _modes.transposed, f, xs, ws[0], i)

    def _call_mode(self, name, kind, mode, *args):
        try:
            result = _modes.call(mode, *args)
        except _modes.Absent as why:
            self.modes.append(Mode(name, "absent", str(why)))
        except Exception as error:
            self._crash(name, error)
        else:
            self._judge_mode(name, kind, join(result))

    def _crash(self, name, error):
        said = f"{type(error).__name__}: {first_line(error)}"
        self.modes.append(Mode(name, "crashed", said))
        names = ", ".join(leaf.name for leaf in self.problem.leaves)
        self.plain.append(Failure(names, name, *diagnosis_of_error(error)))

    def _judge_mode(self, name, kind, values):
        before = len(self.findings)
        is_zero = name == "zero_cotangent"
        leaves = self.problem.leaves
        if kind == "forward":
            leaves = self.problem.outputs
        elif kind != "reverse":
            leaves = [replace(kind, start=0)]
        found = self._differing(leaves, values, *self._expected(kind, is_zero))
        if found and self.is_narrow:
            found = self._differing(leaves, values, *self._expected(kind, is_zero, SECOND_LOOK))
        self.findings += [Finding(leaf, name, *arrays) for leaf, *arrays in found]
        self._settle_mode(name, before)

    def _differing(self, leaves, values, expected, bound):
        """The leaves whose values are beyond the bound, with all that says so."""
        found = []
        for leaf in leaves:
            here = leaf.elements
            arrays = values[here], expected[here], bound[here]
            is_wrong = beyond(*arrays)
            if is_wrong.any():
                found.append((leaf, *arrays, is_wrong))
        return found

    def _expected(self, kind, is_zero, more=0):
        """The formula of the rule itself, and what the rounding of the function's dtypes allows."""
        name = kind if isinstance(kind, str) else "reverse"
        count = len(self.draws.cotangents if name == "reverse" else self.draws.directions)
        leaves = self.problem.leaves if name == "reverse" else self.problem.outputs
        value = self._rows(name, count)[0][0]
        if is_zero:
            return np.zeros_like(value), np.zeros_like(value)
        rounding = self._own(self.primal.point, more)[name].rounding.reshape(count, -1)[0]
        # Twice, since modes that go argument by argument add up as many terms again.
        bound = 2 * (MARGIN * rounding + _of_dtype(leaves, value))
        if isinstance(kind, str):
            return value, bound
        return value[kind.elements], bound[kind.elements]

    def second_order(self) -> None:
        """The second derivative of `<w, f>` along a direction, by each composition of the modes."""
        if not self.truth.is_autodiff or "true_reverse" not in self.measured:
            self.modes.append(Mode("second_order", "absent", "its truth isn't known"))
            return
        xs, w, v = self.draws.xs, self.draws.ws[0], self.draws.vs[0]
        traces = {}
        for name, mode in _modes.SECOND_ORDER.items():

            def call(xs, w, v, mode=mode):
                return mode(self.problem.function, xs, w, v)

            try:
                traces[name] = _modes.trace(call, xs, tuple(w), tuple(v))
            except _modes.Absent as why:
                self.modes.append(Mode(name, "absent", str(why)))
            except Exception as error:
                self._crash(name, error)
        if not traces or self.findings:
            return
        traces = {"value": self.primal.traced, **traces}
        measurement = Measurement(traces, self.primal.coarsest, self.seed, FEW_SAMPLES)
        flat = jax.tree.leaves((xs, tuple(w), tuple(v)))
        found = measurement({name: flat for name in _modes.SECOND_ORDER if name in traces})
        true, error = self._curvature()
        for name, result in found.items():
            expected, slack, leaves = true, error, self.problem.leaves
            if name == "forward over forward":
                v = self.draws.directions[0]
                expected, slack = np.array([true @ v]), np.array([error @ np.abs(v)])
                leaves = [Leaf("v H v", -1, (), np.float64, 0)]
            bound = 2 * MARGIN * result.rounding + slack + 4 * FINE * np.abs(expected)
            before = len(self.findings)
            for leaf, *arrays in self._differing(leaves, result.value, expected, bound):
                self.findings.append(Finding(leaf, name, *arrays))
            self._settle_mode(name, before)

    def _curvature(self):
        """How the true gradient moves along the first direction, and how far that may be off."""
        v = self.draws.directions[0]
        if self.primal.stops:  # differences would move what is meant to stand still
            with jax.enable_x64(True):
                point = tuple(split(self.problem.leaves, self.primal.point))
                w = tuple(split(self.problem.outputs, self.draws.cotangents[0]))
                along = tuple(split(self.problem.leaves, v))
                true = join(_modes.forward_over_reverse(self.primal.function64, point, w, along))
            size = self.problem.size + self.problem.output_size
            return true, FINE * size * np.abs(true)

        def gradient(point):
            return self.derivatives.true_reverse(point, self.draws.cotangents)

        line = slopes(gradient, self.primal.point, v, step_sizes(self.primal))
        # Where the gradient itself has a kink, any curvature between those of its sides will do.
        sides = np.abs(line.right - line.left) / 2 + ERRORS * line.side_error
        return line.central, ERRORS * line.error + np.where(line.is_kink, sides, 0)

    # What was found

    def failures(self) -> Iterator[Failure]:
        """One for each array, of the first mode that is wrong for it."""
        yield from self.plain
        evidence = Evidence(self.problem, self.primal, self.derivatives, self.draws, self.truth)
        by_leaf: dict[str, list[Finding]] = {}
        for finding in self.findings:
            by_leaf.setdefault(finding.leaf.name, []).append(finding)
        for first, *others in by_leaf.values():
            also = tuple(dict.fromkeys(other.mode for other in others))
            yield self._failure(first, also, evidence)

    def _failure(self, finding, also, evidence):
        gap = np.abs(finding.reported - finding.true)
        excess = np.where(finding.is_wrong, np.where(np.isnan(gap), np.inf, gap), -1.0)
        order = np.argsort(-excess, kind="stable")[:WORST]
        worst = tuple(
            Element(
                tuple(int(i) for i in np.unravel_index(i, finding.leaf.shape)),
                float(finding.reported[i]),
                float(finding.true[i]),
                float(finding.bound[i]),
            )
            for i in order
            if finding.is_wrong[i]
        )
        diagnosis, said = diagnose(finding, evidence, self)
        with np.errstate(invalid="ignore", divide="ignore"):
            size = np.linalg.norm(finding.true)
            relative = float(np.linalg.norm(finding.reported - finding.true) / size)
        return Failure(
            argument=finding.leaf.name,
            mode=finding.mode,
            also=also,
            diagnosis=diagnosis,
            evidence=said,
            where=where(finding.is_wrong, finding.leaf, self.problem),
            worst=worst,
            relative_error=relative,
        )

    def gradients(self) -> dict[str, Gradient]:
        """True and reported gradients of the first cotangent, in the arrays' shapes."""
        if "reverse" not in self.measured or self.truth.reverse is None:
            return {}
        rows, rounding = self._rows("reverse")
        error = self.truth.reverse_error
        assert error is not None
        arrays = self.truth.reverse[0], rows[0], MARGIN * rounding[0] + error[0]
        true, reported, bound = (split(self.problem.leaves, a) for a in arrays)
        return {
            leaf.name: Gradient(*found)
            for leaf, *found in zip(self.problem.leaves, true, reported, bound, strict=True)
        }

    # Small things

    def _rows(self, name, count=3):
        found = self.measured[name]
        return found.value.reshape(count, -1), found.rounding.reshape(count, -1)

    def _wrong_in(self, mode):
        return any(finding.mode == mode for finding in self.findings)

    def _settle_mode(self, name, before):
        wrong = [finding.leaf.name for finding in self.findings[before:]]
        detail = f"wrong for {', '.join(dict.fromkeys(wrong))}" if wrong else ""
        self.modes.append(Mode(name, "wrong" if wrong else "ok", detail))

    def _note(self, name, complaints):
        self.modes.append(Mode(name, "wrong" if complaints else "ok", "; ".join(complaints)))
        if complaints and not self._wrong_in("reverse"):
            names = ", ".join(leaf.name for leaf in self.problem.leaves)
            self.plain.append(Failure(names, name, complaints[0], "; ".join(complaints[1:])))

    def _reports_trouble(self, name, call_error):
        """Whether a mode is absent or crashes; then it is noted and there is nothing to compare."""
        if name in self.derivatives.missing:
            self.modes.append(Mode(name, "absent", self.derivatives.missing[name]))
            return True
        error = self.derivatives.crashed.get(name) or call_error
        if error is not None:
            self._crash(name, error)
            return True
        return False

    def _nonfinite(self, leaf, rows):
        bad = ~np.isfinite(rows).all(axis=0)
        for element in np.flatnonzero(bad)[:WORST]:
            index = [int(i) for i in np.unravel_index(element, leaf.shape)]
            value = rows[:, element][~np.isfinite(rows[:, element])][0]
            self.nonfinite.append(f"{leaf.name}{index}: {value}")


def _of_dtype(leaves, value):
    """What the last rounding, to the dtype of each leaf, moves."""
    bound = np.empty_like(value)
    for leaf in leaves:
        info = jax.numpy.finfo(leaf.dtype)
        bound[leaf.elements] = float(info.eps) * np.abs(value[leaf.elements]) + float(info.tiny)
    return bound


def beyond(reported: np.ndarray, true: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Where two numbers are further apart than the bound; NaN is nowhere near."""
    with np.errstate(invalid="ignore"):
        near = np.abs(reported - true) <= bound
        same = (reported == true) | (np.isnan(reported) & np.isnan(true))
    return ~(near | same)


def diagnosis_of_error(error: Exception) -> tuple[str, str]:
    """What an exception says of a rule."""
    text = first_line(error)
    if "shapes do not match" in text or "bwd rule produced an output of type" in text:
        return (
            "a cotangent of another shape than its argument: is a sum, over the batch, missing?",
            text,
        )
    return f"the rule raises {type(error).__name__}", text
