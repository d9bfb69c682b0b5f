"""The true gradient for one cotangent as a list of equations, to run again with values changed."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _constants
from ._evidence import Evidence
from ._interpreter import evaluate
from ._problem import split


class Program:
    """The equations that the true gradient takes; only what depends on a change is run again.

    Attributes:
      w: The cotangent, flat.
      live: The equations, calls inlined, those left out that no gradient depends on.
      inputs, cotangents: The variables of arguments and of cotangents.
      values: What each variable is.
    """

    def __init__(self, evidence: Evidence, row: int):
        problem, trace = evidence.problem, evidence.derivatives.traces["true_reverse"]
        self.problem, self.w = problem, evidence.draws.cotangents[row]
        self._others = [
            part for w in evidence.draws.cotangents[1:] for part in split(problem.outputs, w)
        ]
        xs, ws = split(problem.leaves, evidence.primal.point), split(problem.outputs, self.w)

        def gradient(*args):
            return evaluate(trace, [*args, *self._others])[: len(xs)]

        with jax.enable_x64(True):
            traced = jax.make_jaxpr(gradient)(*xs, *ws)
            jaxpr = traced.jaxpr
            self.inputs, self.cotangents = jaxpr.invars[: len(xs)], jaxpr.invars[len(xs) :]
            self._results = jaxpr.outvars
            self.live = _live(jaxpr)
            self.values: dict[Any, Any] = dict(zip(jaxpr.constvars, traced.consts, strict=True))
            start = dict(zip(jaxpr.invars, [*xs, *ws], strict=True))
            self.values |= start
            self.values |= self._changed(start, every=True)

    def __call__(self, changed: dict[Any, Any]) -> np.ndarray:
        """The gradients of all arguments, flat, where some variables have other values."""
        with jax.enable_x64(True):
            return np.asarray(self._flat(self._changed(changed)))

    def at(self, arrays: Sequence[Any]) -> np.ndarray:
        """The gradients for another cotangent, an array for each result."""
        if self.jacobian is not None:
            return np.concatenate([np.ravel(a) for a in arrays]) @ self.jacobian
        return self(dict(zip(self.cotangents, arrays, strict=True)))

    def depends(self, variables: Sequence[Any]) -> set:
        """All variables that depend on some."""
        found = set(variables)
        for equation in self.live:
            if any(atom in found for atom in _variables(equation)):
                found.update(equation.outvars)
        return found

    @cached_property
    def jacobian(self) -> np.ndarray | None:
        """The derivative of each result by each argument's element; None where that is too much."""
        rows = self.problem.output_size
        widest = max((v.aval.size for e in self.live for v in e.outvars), default=0)
        if rows * max(widest, self.problem.size) > _constants.SLIP_JACOBIAN:
            return None

        def row(w):
            parts = split(self.problem.outputs, w)
            return self._flat(self._changed(dict(zip(self.cotangents, parts, strict=True))))

        with jax.enable_x64(True):
            try:
                found = jax.vmap(row, out_axes=0)(np.eye(rows))
            except (TypeError, ValueError, NotImplementedError):  # no batching rule
                return None
            return np.asarray(found)

    def _changed(self, changed, every=False):
        """The variables that depend on those changed, and their values."""
        values = {variable: jnp.asarray(value) for variable, value in changed.items()}
        for equation in self.live:
            if any(variable in changed for variable in equation.outvars):
                continue
            if not every and not any(atom in values for atom in _variables(equation)):
                continue
            operands = [self._read(atom, values) for atom in equation.invars]
            bound = equation.primitive.bind(*operands, **equation.params)
            results = bound if equation.primitive.multiple_results else [bound]
            values |= dict(zip(equation.outvars, results, strict=True))
        return values

    def _read(self, atom, values):
        if hasattr(atom, "val"):  # a literal
            return atom.val
        return values[atom] if atom in values else self.values[atom]

    def _flat(self, values):
        return jnp.concatenate([jnp.ravel(self._read(v, values)) for v in self._results])


def _variables(equation):
    return [atom for atom in equation.invars if not hasattr(atom, "val")]


def _live(jaxpr):
    """The equations that the results depend on."""
    needed = {atom for atom in jaxpr.outvars if not hasattr(atom, "val")}
    live = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            needed.update(_variables(equation))
            live.append(equation)
    return live[::-1]
