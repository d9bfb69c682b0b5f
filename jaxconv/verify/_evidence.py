"""All that is known of a gradient before it is judged: what is true, and what its rules say."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from . import _constants
from ._derivatives import Derivatives, Draws
from ._operations import FINE
from ._problem import Leaf, Problem, join, typed
from ._rounding import Measured
from ._truth import Primal, Truth, is_adjoint, is_large, scales


@dataclass(frozen=True)
class Called:
    """What the reverse rule returned when it was called as a user does, outside of `jit`.

    Attributes:
      rows: The gradients, a row for each cotangent; None if the rule raised.
      elsewhere: That of the first cotangent at the second point.
      repeats: Whether a second call returned the same numbers.
      wrong_types: A sentence for each cotangent of another shape or dtype than its argument.
      error: What the rule raised.
    """

    rows: np.ndarray | None = None
    elsewhere: np.ndarray | None = None
    repeats: bool = True
    wrong_types: tuple[str, ...] = ()
    error: Exception | None = None


def call_rule(problem: Problem, draws: Draws) -> Called:
    """Call the rule before anything is traced, at two points, and once more."""

    def pull_back(xs, ws):
        _, pulled = jax.vjp(problem.function, *xs)
        return [pulled(tuple(w)) for w in ws]

    try:
        rows = pull_back(draws.xs, draws.ws)
        again = pull_back(draws.xs, draws.ws[:1])
        elsewhere = pull_back(typed(problem.leaves, draws.second_point), draws.ws[:1])
    except Exception as error:  # the user's rule runs, and what it raises is a finding
        return Called(error=error)
    wrong_types = tuple(
        f"{leaf.name}: {leaf.dtype}{list(leaf.shape)} got {bar.dtype}{list(bar.shape)}"
        for leaf, bar in zip(problem.leaves, rows[0], strict=True)
        if bar.shape != leaf.shape or bar.dtype != leaf.dtype
    )
    flat = np.stack([join(row) for row in rows])
    repeats = np.array_equal(flat[0], join(again[0]), equal_nan=True)
    return Called(flat, join(elsewhere[0]), repeats, wrong_types)


class Evidence:
    """The truth, the rules' formulas, and how far rounding may move these."""

    def __init__(
        self,
        problem: Problem,
        draws: Draws,
        called: Called,
        primal: Primal,
        derivatives: Derivatives,
        measured: dict[str, Measured],
        truth: Truth,
        seed: int,
    ):
        self.problem, self.draws, self.called, self.primal = problem, draws, called, primal
        self.derivatives, self.measured, self.truth = derivatives, measured, truth
        self.seed = seed
        self.is_narrow = any(
            leaf.dtype != np.float64 for leaf in (*problem.leaves, *problem.outputs)
        )
        self._own: dict[tuple, dict[str, Measured]] = {}
        self._nearby: dict[str, np.ndarray] | None = None

    def rows(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A mode's formula in float64 and its rounding, a row a cotangent or direction."""
        return self._by_row(name, self.measured[name])

    def own(self, name: str, point: np.ndarray, more: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The same with the rounding of the function's own dtypes, at any point."""
        return self._by_row(name, self._measured_in_own(point, more)[name])

    def own_bound(self, point: np.ndarray, more: int = 0) -> np.ndarray:
        """How far rounding moves the gradients in the dtypes of the function."""
        value, rounding = self.own("reverse", point, more)
        last = np.stack([last_rounding(self.problem.leaves, row) for row in value])
        # Platforms flush a subnormal argument to zero, whose gradient may be infinite.
        size = np.abs(point)
        flushed = (size > 0) & (size < smallest(self.problem.leaves, point))
        return np.where(flushed, np.inf, _constants.MARGIN * rounding + last)

    @property
    def unit(self) -> float:
        """What formulas are exact to."""
        return self.primal.arithmetic.unit or FINE

    def rounding_of_value(self) -> np.ndarray:
        """How far rounding moves the function's values, in its own dtypes."""
        point, cotangents = self.primal.point, self.draws.cotangents
        return self.derivatives(point, cotangents, ["value"], is_own=True)["value"].rounding

    def rounding_in_coarser_arithmetic(self) -> np.ndarray:
        """How far errors that are COARSER times as large move the first gradient."""
        point, cotangents = self.primal.point, self.draws.cotangents
        found = self.derivatives(point, cotangents, ["reverse"], self.is_narrow, coarser=True)
        return found["reverse"].rounding.reshape(len(cotangents), -1)[0]

    def nearby(self, name: str) -> np.ndarray | None:
        """True gradients (or tangents, `"forward"`) at points beside this one; None if unknown.

        Where the function has a kink these are the gradients to its sides, and the values between
        them its subgradients. Indices are those of point, cotangent (or direction) and element.
        """
        if self._nearby is None:
            self._nearby = self._at_nearby_points()
        return self._nearby.get(name)

    def _at_nearby_points(self):
        known = self.derivatives.traces
        if "true_reverse" not in known or "true_forward" not in known:
            return {}
        point, rng = self.primal.point, np.random.default_rng([self.seed, 4])
        size = _constants.NEARBY * scales(self.problem.leaves, point)
        count = _constants.NEARBY_POINTS // (4 if is_large(self.problem) else 1)
        # Ties are broken at random, and in the order of the elements, as a stable sort does.
        order = np.arange(1, point.size + 1) / max(point.size, 1)
        moves = [order, -order, *(rng.normal(size=point.size) for _ in range(count))]
        points = [point + size * move for move in moves]
        found = {
            name: np.stack([self.derivatives.true(one, name) for one in points])
            for name in ("reverse", "forward")
        }
        # A primitive whose two derivatives disagree has none to go by.
        draws, error = self.draws, np.sqrt(FINE)
        reverse, forward = found["reverse"][0], found["forward"][0]
        errors = error * np.abs(forward), error * np.abs(reverse)
        pairs = draws.cotangents, draws.directions
        is_known = is_adjoint(forward, errors[0], reverse, errors[1], *pairs)
        return found if is_known else {}

    def reverse_at(self, point: np.ndarray, w: np.ndarray) -> np.ndarray | None:
        """The true gradient at another point or for another cotangent; None if it isn't known."""
        if not self.truth.is_autodiff:
            return None
        return self.derivatives.true_reverse(point, np.stack([w, *self.draws.cotangents[1:]]))

    def _by_row(self, name, found):
        draws = self.draws
        count = len(draws.directions if name == "forward" else draws.cotangents)
        return found.value.reshape(count, -1), found.rounding.reshape(count, -1)

    def _measured_in_own(self, point, more):
        is_first = point is self.primal.point
        if is_first and not self.is_narrow and not more:
            return self.measured
        key = (is_first, more)
        if key not in self._own:
            only = [n for n in ("reverse", "forward")[: 1 + is_first] if n in self.measured]
            cotangents = self.draws.cotangents
            self._own[key] = self.derivatives(point, cotangents, only, self.is_narrow, more)
        return self._own[key]


def last_rounding(leaves: Sequence[Leaf], value: np.ndarray) -> np.ndarray:
    """What the last rounding, to the dtype of each leaf, moves; beyond its range, anywhere."""
    bound = np.empty_like(value)
    for leaf in leaves:
        info = jax.numpy.finfo(leaf.dtype)
        size, largest = np.abs(value[leaf.elements]), float(info.max) * (1 - float(info.eps))
        rounded = float(info.eps) * size + float(info.tiny)
        bound[leaf.elements] = np.where(size > largest, np.inf, rounded)
    return bound


def smallest(leaves: Sequence[Leaf], value: np.ndarray) -> np.ndarray:
    """The smallest normal number of each element's dtype."""
    found = np.empty_like(value)
    for leaf in leaves:
        found[leaf.elements] = float(jax.numpy.finfo(leaf.dtype).tiny)
    return found
