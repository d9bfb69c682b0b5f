"""A derivation: a chain of expressions that can be evaluated, each equal to the one before it."""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy import ndarray

from .._typing import AnyArray
from ._plain import plain

# From the given arrays to the array that an expression stands for.
Expression: TypeAlias = Callable[..., Any]

_INDENT = " " * 4


class WrongStep(AssertionError):
    """A step of a derivation does not equal the step before it."""


@dataclass(frozen=True)
class Step:
    """One expression of a derivation.

    Attributes:
      equation: The expression in LaTeX, without the sign of equality.
      licence: The reason why the expression equals the one before, as a sentence. Formulas in it
        are written between dollar signs.
      value: The expression as a function of the given arrays.
    """

    equation: str
    licence: str
    value: Expression


@dataclass(frozen=True)
class Derivation:
    """A chain of equal expressions, from a definition to what the library computes.

    `check` evaluates the chain, `show` renders it in a notebook, and `str` renders it for a
    terminal. A slice of a derivation is a derivation. `derivation[:-1]` leaves out the library's
    step, and what remains is NumPy alone.

    Two steps are equal if they differ by no more than rounding. Rounding moves a sum of N products
    by at most about N·eps times the sum of the products' magnitudes, whatever the order of the
    additions. Both sides round, so the bound for each element is 2·N·eps·magnitude.

    Args:
      title: What is derived.
      left: The left-hand side, in LaTeX.
      given: The description of each array by its name, in the order in which `check` takes them. A
        description begins with the shape.
      steps: The expressions.
      scale: A function from the given arrays to the magnitude of each element's terms and their
        number N.

    Source: M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter 2, proves the equations
    of backpropagation in such chains.

    >>> derivation = Derivation(
    ...     title="the square of a sum",
    ...     left="s",
    ...     given={"a": "`(n,)`", "b": "`(n,)`"},
    ...     steps=(
    ...         Step("(a + b)^2", "Definition.", lambda a, b: (a + b) ** 2),
    ...         Step("a^2 + b^2", "A mistake.", lambda a, b: a**2 + b**2),
    ...     ),
    ...     scale=lambda a, b: ((np.abs(a) + np.abs(b)) ** 2, 4),
    ... )
    >>> derivation.check(np.array([1.0]), np.array([2.0]))
    Traceback (most recent call last):
    ...
    jaxconv.derivations._derivation.WrongStep: the square of a sum: step 2, a² + b², ...
    """

    title: str
    left: str
    given: dict[str, str]
    steps: tuple[Step, ...]
    scale: Callable[..., tuple[Any, int]]

    def check(self, *arrays: AnyArray) -> tuple[float, ...]:
        """Evaluate every step and compare it with the step before.

        Args:
          *arrays: The given arrays. Floating-point arrays are converted to float64.

        Returns:
          For each step after the first, the largest difference from the step before, in units of
          the rounding bound. No difference is above 1.

        Raises:
          WrongStep: A step differs from the step before by more than rounding. The message names
            the first such step.
          TypeError: The number of arrays is wrong.
        """
        if len(arrays) != len(self.given):
            raise TypeError(
                f"Derivation.check: {self.title} takes the arrays {', '.join(self.given)}, "
                f"got {len(arrays)} arrays."
            )
        operands = [_wide(array) for array in arrays]
        with jax.enable_x64(True):  # the library's step runs in float64, too
            return self._differences(operands)

    def _differences(self, operands) -> tuple[float, ...]:
        magnitude, terms = self.scale(*operands)
        bound = 2 * terms * np.finfo(np.float64).eps * np.asarray(magnitude)
        before = np.asarray(self.steps[0].value(*operands))
        differences = []
        for number, step in enumerate(self.steps[1:], start=2):
            value = np.asarray(step.value(*operands))
            differences.append(self._difference(number, step, before, value, bound))
            before = value
        return tuple(differences)

    def _difference(self, number, step, before, value, bound) -> float:
        what = (
            f"{self.title}: step {number}, {plain(step.equation)}, does not equal the step before"
        )
        if value.shape != before.shape:
            raise WrongStep(f"{what}: its shape is {value.shape}, not {before.shape}.")
        value, before = np.atleast_1d(value, before)
        difference, bound = np.abs(value - before), np.broadcast_to(bound, value.shape)
        beyond = ~(difference <= bound)  # this form counts a NaN as beyond
        if beyond.any():
            where = tuple(int(index[0]) for index in np.nonzero(beyond))
            raise WrongStep(
                f"{what}: {beyond.sum()} of {beyond.size} elements differ by more than rounding, "
                f"the first at {where}: {value[where]} against {before[where]}, "
                f"bound {bound[where]:.1e}. The reason given is: {_plain_words(step.licence)}"
            )
        return float(np.max(difference / np.where(bound, bound, 1), initial=0.0))

    def __getitem__(self, which: slice) -> "Derivation":
        return replace(self, steps=self.steps[which])

    def __len__(self) -> int:
        return len(self.steps)

    def show(self, *arrays: AnyArray) -> "Page":
        """The derivation as a page for a notebook.

        Args:
          *arrays: The given arrays. They are checked, and the page shows the largest difference of
            each step. Without arrays the page shows the equations only.

        Returns:
          A page that Jupyter renders as Markdown. Its `str` is the Markdown source.

        Raises:
          WrongStep: As for `check`.
          TypeError: As for `check`.
        """
        differences = self.check(*arrays) if arrays else ()
        lines = [f"**{_capital(self.title)}**", ""]
        lines += [f"- ${name}$: {meaning}" for name, meaning in self.given.items()]
        for number, step in enumerate(self.steps, start=1):
            left = self.left if number == 1 else ""
            lines += ["", f"$$ {left} = {step.equation} \\tag{{{number}}} $$", "", step.licence]
            if number > 1 and differences:
                lines[-1] += f" *(Evaluated: {_words(differences[number - 2])}.)*"
        return Page("\n".join(lines) + "\n")

    def __str__(self) -> str:
        lines = [_capital(self.title), ""]
        lines += [f"  {plain(name)}: {_plain_words(text)}" for name, text in self.given.items()]
        for number, step in enumerate(self.steps, start=1):
            left = plain(self.left) if number == 1 else " " * len(plain(self.left))
            lines += ["", f"  {left} = {plain(step.equation)}   ({number})"]
            words = _plain_words(step.licence)
            lines += textwrap.wrap(words, 96, initial_indent=_INDENT, subsequent_indent=_INDENT)
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        return str(self.show())


class Page:
    """Markdown that Jupyter renders.

    Args:
      source: The Markdown. Equations are LaTeX between dollar signs.

    >>> print(Page("**bold**"))
    **bold**
    """

    def __init__(self, source: str):
        self.source = source

    def __str__(self) -> str:
        return self.source

    def _repr_markdown_(self) -> str:
        return self.source


def steps(*entries: Sequence[Any]) -> tuple[Step, ...]:
    """The steps of a derivation from `(equation, licence, value)` triples."""
    return tuple(Step(*entry) for entry in entries)


def _wide(array: AnyArray) -> ndarray:
    array = np.asarray(array)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _plain_words(sentence: str) -> str:
    """The sentence with the formulas between its dollar signs in plain characters."""
    return re.sub(r"\$([^$]*)\$", lambda formula: plain(formula[1]), sentence)


def _words(difference: float) -> str:
    return "equal" if difference == 0 else f"equal to {difference:.2g} of the rounding bound"
