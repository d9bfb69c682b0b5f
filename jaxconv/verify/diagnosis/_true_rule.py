"""The true gradient for one cotangent, as equations that can be run with other values."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .. import _constants
from .._problem import split
from ..comparison._evidence import Evidence
from ..program._interpreter import bind, evaluate
from ..program._plan import cost_of

# Up to this many equations of small arrays, a loop over the rows of the Jacobian is as fast as a
# batch of them, for which JAX must first compile each primitive.
_ONE_BY_ONE = 100_000


class Unknown(Exception):
    """An equation can't be evaluated with the values that a slip gives it."""


class TrueRule:
    """The equations of the true gradient. After a change only those that depend on it run again.

    Attributes:
      w: The cotangent, flat.
      live: The equations that the gradients depend on, with calls inlined.
      inputs: The variables of the arguments.
      cotangents: The variables of the cotangents.
      values: The value of each variable.
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
        """The gradients of all arguments, flat, with other values of some variables.

        Raises:
          Unknown: A primitive, which may be a user's, does not take the values.
        """
        with jax.enable_x64(True):
            return np.asarray(self._flat(self._changed(changed)))

    def at(self, arrays: Sequence[Any]) -> np.ndarray:
        """The gradients for another cotangent, which is given as an array for each result."""
        if self.jacobian is not None:
            return np.concatenate([np.ravel(a) for a in arrays]) @ self.jacobian
        return self(dict(zip(self.cotangents, arrays, strict=True)))

    def depends(self, variables: Sequence[Any]) -> set:
        """All variables that depend on the given ones."""
        found = set(variables)
        for equation in self.live:
            if any(atom in found for atom in _variables(equation)):
                found.update(equation.outvars)
        return found

    @cached_property
    def jacobian(self) -> np.ndarray | None:
        """The derivative of each result by each argument element; None if it is too large."""
        rows = self.problem.output_size
        widest = max((v.aval.size for e in self.live for v in e.outvars), default=0)
        if rows * max(widest, self.problem.size) > _constants.SLIP_JACOBIAN:
            return None

        def row(w):
            parts = split(self.problem.outputs, w)
            return self._flat(self._changed(dict(zip(self.cotangents, parts, strict=True))))

        with jax.enable_x64(True):
            if rows * sum(map(cost_of, self.live)) <= _ONE_BY_ONE:
                return np.stack([row(w) for w in np.eye(rows)])
            try:
                return np.asarray(jax.vmap(row, out_axes=0)(np.eye(rows)))
            except Unknown:  # no batching rule
                return None

    def _changed(self, changed, every=False):
        """The variables that depend on the changed ones, and their values."""
        values = dict(changed)
        for equation in self.live:
            if any(variable in changed for variable in equation.outvars):
                continue
            if not every and not any(atom in values for atom in _variables(equation)):
                continue
            operands = [self._read(atom, values) for atom in equation.invars]
            try:
                results = bind(equation, operands)[0]
            except Exception as error:
                raise Unknown from error
            values |= dict(zip(equation.outvars, results, strict=True))
        return values

    def _read(self, atom, values):
        if hasattr(atom, "val"):  # a literal
            return np.asarray(atom.val, atom.aval.dtype)
        return values[atom] if atom in values else self.values[atom]

    def _flat(self, values):
        parts = [self._read(variable, values) for variable in self._results]
        numpy = jnp if any(isinstance(part, Tracer) for part in parts) else np
        return numpy.concatenate([numpy.ravel(part) for part in parts])


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
