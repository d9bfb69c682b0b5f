"""What a check found, in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Element:
    """One element of a gradient.

    Attributes:
      index: Where it is in its array.
      reported, true: What the rule says and what is right.
      bound: How far apart rounding can bring them.
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
    """A gradient that is wrong.

    Attributes:
      argument: The array that it is the gradient of; in forward mode, the result.
      mode: How it was taken.
      also: The other modes in which it is wrong.
      diagnosis: The known slip that explains it, else what is wrong with it.
      evidence: What says so.
      where: Which elements are wrong: how many, and what their indices have in common.
      worst: The worst of them.
      relative_error: Norm of the error over the norm of the true gradient.
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
    """How one way of taking the derivative did: `"ok"`, `"wrong"`, `"crashed"` or `"absent"`."""

    name: str
    status: str
    detail: str = ""


@dataclass(frozen=True)
class Subgradient:
    """An element at a kink whose gradient lies between the slopes to its two sides."""

    argument: str
    index: tuple[int, ...]
    reported: float
    low: float
    high: float


@dataclass(frozen=True)
class Gradient:
    """The gradient of one array, for pictures: arrays of its shape."""

    true: np.ndarray
    reported: np.ndarray
    bound: np.ndarray


@dataclass(frozen=True)
class GradientReport:
    """What `check_gradients` found; `str()` for people, `to_json()` for programs.

    Source: how each entry is derived stands in `check_gradients`.

    Attributes:
      function: Name of the function.
      arguments: Names of the arrays differentiated by, with dtype and shape.
      failures: What is wrong; empty for a right gradient.
      modes: Every way in which the derivative was taken, and how it did.
      truth: Where the true gradient is from.
      taylor: For each argument the power of the step with which the remainder of a Taylor expansion
        with the reported gradient falls: 2 is right, 1 is wrong, None is no remainder at all.
      subgradients: Elements at kinks, accepted as one of many values.
      nonfinite: Where the gradient is NaN or inf, as text.
      gradients: True and reported gradient of each argument.
      seconds: How long it took.

    >>> GradientReport("f", ("x: float64[3]",), (), (), truth="derived by hand", taylor={}).ok
    True
    """

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

    def __str__(self) -> str:
        from ._rendering import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from ._rendering import as_html

        return as_html(self)

    def __rich__(self) -> Any:
        from ._rendering import as_rich

        return as_rich(self)

    def to_json(self) -> str:
        """The report without its arrays, as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_dict(self) -> dict[str, Any]:
        """The report without its arrays: dicts, lists, texts, and numbers that JSON has."""
        from ._rendering import as_dict

        return as_dict(self)

    def plot(self) -> Any:
        """True gradient, reported gradient and difference of each argument: a Matplotlib figure.

        Raises:
          ModuleNotFoundError: Matplotlib is not installed.
        """
        from ._figure import figure

        return figure(self)
