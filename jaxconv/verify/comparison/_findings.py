"""What was found wrong, collected mode by mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._problem import Leaf, Problem, first_line
from ..report._contents import Failure, Mode, Subgradient


@dataclass(frozen=True)
class Finding:
    """A wrong gradient of one array; all arrays are flat.

    Attributes:
      leaf: The array.
      mode: The mode in which its gradient is wrong.
      reported: The gradient by the rule.
      true: The true gradient.
      bound: The largest distance between them that rounding and the error of the truth explain.
      is_wrong: The elements that are further apart.
      row: The cotangent or direction.
      note: What is wrong, if the comparison knows it.
    """

    leaf: Leaf
    mode: str
    reported: np.ndarray
    true: np.ndarray
    bound: np.ndarray
    is_wrong: np.ndarray
    row: int = 0
    note: str = ""


class Findings:
    """All findings so far.

    Attributes:
      wrong: The wrong gradients in the order in which they were found.
      plain: Other failures.
      modes: The result of each mode.
      subgradients: The accepted values at kinks.
      nonfinite: The elements of gradients that are NaN or infinite.
      ties: Arguments with kinks whose gradients don't fit together, and the kinks.
    """

    def __init__(self, problem: Problem):
        self.wrong: list[Finding] = []
        self.plain: list[Failure] = []
        self.modes: list[Mode] = []
        self.subgradients: list[Subgradient] = []
        self.nonfinite: list[str] = []
        self.ties: dict[Leaf, Any] = {}
        self._names = ", ".join(leaf.name for leaf in problem.leaves)

    def fail(self, mode: str, diagnosis: str, evidence: str = "") -> None:
        """Record a failure of the function as a whole."""
        self.plain.append(Failure(self._names, mode, diagnosis, evidence))

    def absent(self, mode: str, why: str) -> None:
        """Record a mode that the function does not have."""
        self.modes.append(Mode(mode, "absent", why))

    def crashed(self, mode: str, error: Exception) -> None:
        """Record a mode that raises."""
        self.modes.append(Mode(mode, "crashed", f"{type(error).__name__}: {first_line(error)}"))
        self.fail(mode, *_diagnosis_of_error(error))

    def complain(self, mode: str, complaints: Sequence[str]) -> None:
        """Record the complaints about a mode, or that it is right if there are none."""
        self.modes.append(Mode(mode, "wrong" if complaints else "ok", "; ".join(complaints)))
        if complaints and not self.is_wrong_in("reverse"):
            self.fail(mode, complaints[0], "; ".join(complaints[1:]))

    def settle(self, mode: str, before: int) -> None:
        """Record whether a mode is right: whether there are more than `before` wrong gradients."""
        names = dict.fromkeys(finding.leaf.name for finding in self.wrong[before:])
        detail = f"wrong for {', '.join(names)}" if names else ""
        self.modes.append(Mode(mode, "wrong" if names else "ok", detail))

    def is_wrong_in(self, mode: str) -> bool:
        """Whether a gradient is wrong in a mode."""
        return any(finding.mode == mode for finding in self.wrong)


def beyond(reported: np.ndarray, true: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Where two arrays differ by more than the bound. NaN differs from every number.

    An infinite bound means that the truth is unknown.
    """
    with np.errstate(invalid="ignore"):
        near = (np.abs(reported - true) <= bound) | (np.isinf(bound) & ~np.isnan(reported))
        same = (reported == true) | (np.isnan(reported) & np.isnan(true))
    return ~(near | same)


def differing(
    leaves: Sequence[Leaf],
    mode: str,
    values: np.ndarray,
    expected: np.ndarray,
    bound: np.ndarray,
    note: str = "",
) -> list[Finding]:
    """A finding for each leaf with values beyond the bound."""
    found = []
    for leaf in leaves:
        here = leaf.elements
        arrays = values[here], expected[here], bound[here]
        is_wrong = beyond(*arrays)
        if is_wrong.any():
            found.append(Finding(leaf, mode, *arrays, is_wrong, note=note))
    return found


def _diagnosis_of_error(error):
    """The diagnosis of an exception, and its message."""
    text = first_line(error)
    if "shapes do not match" in text or "bwd rule produced an output of type" in text:
        return ("cotangent and argument differ in shape: is a sum over the batch missing?", text)
    return f"the rule raises {type(error).__name__}", text
