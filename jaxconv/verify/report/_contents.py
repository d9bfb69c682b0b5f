"""The contents of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Element:
    """One element of a gradient.

    Attributes:
      index: Its index in the array.
      reported: Its value by the rule.
      true: Its true value.
      bound: The largest difference that rounding explains.
    """

    index: tuple[int, ...]
    reported: float
    true: float
    bound: float

    def __str__(self) -> str:
        return (
            f"{list(self.index)}: reported {self.reported:.6g}, true {self.true:.6g}, "
            f"bound {self.bound:.1e}"
        )


@dataclass(frozen=True)
class Failure:
    """A wrong gradient.

    Attributes:
      argument: The argument of the gradient; in forward mode, the result.
      mode: The mode in which the gradient was taken.
      diagnosis: The slip that explains it, else what is wrong with it.
      evidence: The sentence that supports the diagnosis.
      where: The number of wrong elements, and what their indices have in common.
      worst: The worst elements.
      relative_error: The norm of the error divided by the norm of the true gradient.
      also: Other modes in which the gradient is wrong.
    """

    argument: str
    mode: str
    diagnosis: str
    evidence: str = ""
    where: str = ""
    worst: tuple[Element, ...] = ()
    relative_error: float = float("nan")
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mode:
    """The result of one way of taking the derivative.

    Attributes:
      name: The name of the mode.
      status: `"ok"`, `"wrong"`, `"crashed"`, or `"absent"` if JAX does not have it.
      detail: What is wrong, or why it is absent.
    """

    name: str
    status: str
    detail: str = ""


@dataclass(frozen=True)
class Subgradient:
    """An element at a kink whose gradient lies between the slopes to its two sides.

    Attributes:
      argument: The argument.
      index: The index of the element.
      reported: Its gradient.
      low: The smaller slope.
      high: The larger slope.
    """

    argument: str
    index: tuple[int, ...]
    reported: float
    low: float
    high: float


@dataclass(frozen=True)
class Gradient:
    """The gradient of one argument, for pictures. All arrays have its shape.

    Attributes:
      true: The true gradient.
      reported: The gradient by the rule.
      bound: The largest difference that rounding explains.
    """

    true: np.ndarray
    reported: np.ndarray
    bound: np.ndarray


@dataclass(frozen=True)
class Contents:
    """The contents of a report, see `GradientReport`."""

    function: str
    arguments: tuple[str, ...]
    failures: tuple[Failure, ...]
    modes: tuple[Mode, ...]
    truth: str
    taylor: Mapping[str, float | None]
    subgradients: tuple[Subgradient, ...] = ()
    nonfinite: tuple[str, ...] = ()
    gradients: Mapping[str, Gradient] = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures
