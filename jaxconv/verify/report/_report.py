"""The report of `check_gradients`, with the methods that show it."""

import json
from dataclasses import dataclass
from typing import Any

from ._contents import Contents
from ._figure import figure
from ._rendering import as_dict, as_html, as_rich, as_text


@dataclass(frozen=True)
class GradientReport(Contents):
    """The result of `check_gradients`. `str()` is for people, `to_json()` for programs.

    The derivation of each entry is given in `check_gradients`.

    Attributes:
      function: The name of the function.
      arguments: The differentiated arrays: name, dtype and shape.
      failures: What is wrong; empty for a right gradient.
      modes: The result of each way of taking the derivative.
      truth: Where the true gradient is from.
      taylor: For each argument the order of the Taylor remainder with the reported gradient: 2 is
        right, 1 is wrong, None is a remainder of zero.
      subgradients: Elements at kinks whose gradients were accepted as subgradients.
      nonfinite: The elements of the gradient that are NaN or infinite, as text.
      gradients: The true and the reported gradient of each argument.
      seconds: The duration of the check.

    >>> GradientReport("f", ("x: float64[3]",), (), (), truth="derived by hand", taylor={}).ok
    True
    """

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __rich__(self) -> Any:
        return as_rich(self)

    def to_json(self) -> str:
        """The report without its arrays, as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_dict(self) -> dict[str, Any]:
        """The report without its arrays, as a dict of values that JSON supports."""
        return as_dict(self)

    def plot(self) -> Any:
        """A Matplotlib figure of the true gradient, the reported gradient and their difference.

        Raises:
          ModuleNotFoundError: Matplotlib is not installed.
        """
        return figure(self)
