"""All that is known before the comparison: the truth, the results of the rules, and rounding."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from .. import _constants
from .._draws import Draws
from .._problem import Leaf, Problem, join, typed
from ..truth._operations import FINE
from ..truth._rounding import Measured
from ..truth._truth import Primal, Truth, is_adjoint, is_large, scales
from ._derivatives import Derivatives


@dataclass(frozen=True)
class Called:
    """The results of the reverse rule when it is called as a user calls it, outside of `jit`.

    Attributes:
      rows: The gradients, one per cotangent; None if the rule raised.
      elsewhere: The gradient of the first cotangent at the second point.
      repeats: Whether a second call returned the same values.
      wrong_types: A sentence for each cotangent whose shape or dtype differs from its argument's.
      error: The exception that the rule raised.
    """

    rows: np.ndarray | None = None
    elsewhere: np.ndarray | None = None
    repeats: bool = True
    wrong_types: tuple[str, ...] = ()
    error: Exception | None = None


def call_rule(problem: Problem, draws: Draws) -> Called:
    """Call the rule at two points, and twice at the first, before anything is traced."""

    def pull_back(xs, ws):
        _, pulled = jax.vjp(problem.function, *xs)
        return [pulled(tuple(w)) for w in ws]

    try:
        rows = pull_back(draws.xs, draws.ws)
        again = pull_back(draws.xs, draws.ws[:1])
        elsewhere = pull_back(typed(problem.leaves, draws.second_point), draws.ws[:1])
    except Exception as error:  # what the rule raises is a finding
        return Called(error=error)
    wrong_types = tuple(
        f"{leaf.name}: {leaf.dtype}{list(leaf.shape)} received {bar.dtype}{list(bar.shape)}"
        for leaf, bar in zip(problem.leaves, rows[0], strict=True)
        if bar.shape != leaf.shape or bar.dtype != leaf.dtype
    )
    flat = np.stack([join(row) for row in rows])
    repeats = np.array_equal(flat[0], join(again[0]), equal_nan=True)
    return Called(flat, join(elsewhere[0]), repeats, wrong_types)


class Evidence:
    """The truth, the formulas of the rules, and how far rounding may move them."""

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
        """The formula of a mode in float64 and its rounding, one row per cotangent or direction."""
        return self._by_row(name, self.measured[name])

    def own(self, name: str, point: np.ndarray, more: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The same with the rounding of the function's own dtypes, at any point."""
        return self._by_row(name, self._measured_in_own(point, more)[name])

    def own_bound(self, point: np.ndarray, more: int = 0) -> np.ndarray:
        """How far rounding moves the gradients in the dtypes of the function."""
        value, rounding = self.own("reverse", point, more)
        last = np.stack([last_rounding(self.problem.leaves, row) for row in value])
        # Some platforms flush subnormal arguments to zero, where the gradient may be infinite.
        size = np.abs(point)
        flushed = (size > 0) & (size < smallest(self.problem.leaves, point))
        return np.where(flushed, np.inf, _constants.MARGIN * rounding + last)

    @property
    def unit(self) -> float:
        """The relative precision of formulas."""
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
        """True gradients (or tangents, `"forward"`) at points next to this one; None if unknown.

        At a kink these are the gradients to its sides, and subgradients are the values between
        them. The indices are point, cotangent (or direction) and element.
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
        # Ties are broken at random, and in the order of the elements as by a stable sort.
        order = np.arange(1, point.size + 1) / max(point.size, 1)
        moves = [order, -order, *(rng.normal(size=point.size) for _ in range(count))]
        points = [point + size * move for move in moves]
        found = {
            name: np.stack([self.derivatives.true(one, name) for one in points])
            for name in ("reverse", "forward")
        }
        # If the two derivatives of a primitive disagree, neither is reliable.
        draws, error = self.draws, np.sqrt(FINE)
        reverse, forward = found["reverse"][0], found["forward"][0]
        errors = error * np.abs(forward), error * np.abs(reverse)
        pairs = draws.cotangents, draws.directions
        is_known = is_adjoint(forward, errors[0], reverse, errors[1], *pairs)
        return found if is_known else {}

    def _by_row(self, name, found):
        draws = self.draws
        count = len(draws.directions if name == "forward" else draws.cotangents)
        return found.value.reshape(count, -1), found.explained.reshape(count, -1)

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
    """How far the final rounding to each dtype moves a value; infinity beyond its range."""
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
