"""A jaxpr made ready to be evaluated many times: calls inlined, each equation's function looked up.

Evaluating a small function is mostly Python's own work, so what depends on the program alone is
done once for each: where operands are and results go, and which function of NumPy computes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import jax
import numpy as np
from jax.core import Tracer

from . import _loops
from ._in_numpy import SMALL, quick_function
from ._wide import wide, widen

# Primitives that only call what they hold.
CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "core_closed_call"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call"),
    *("composite", "eval_jaxpr", "named_call", "xla_call", "remat", "remat_opt"),
    "call_hi_primitive",
}
# What an evaluation leaves out: messages, which would come a hundred times.
DROPPED = {"debug_callback", "debug_print"}


def called(equation: Any) -> Any:
    """The jaxpr that a call holds."""
    params = equation.params
    if "_prim" in params:  # JAX's primitives made of others, which say what they are made of
        primitive, avals = params["_prim"], [atom.aval for atom in equation.invars]

        def expanded(*args):
            return jax.tree.leaves(primitive.expand(*primitive.in_tree.unflatten(args)))

        return jax.make_jaxpr(expanded)(*avals)
    names = ("call_jaxpr", "jaxpr", "call", "callee", "fun_jaxpr")
    return next(params[name] for name in names if name in params)


@dataclass(slots=True)
class Step:
    """One equation.

    Attributes:
      equation: It.
      operands, results: The slots of its values.
      last: Slots that are not needed afterwards.
      quick: Its function in NumPy; returns None where it can't be used.
      has_many: Whether that returns a list of results.
      program: What evaluates it if it holds a program of its own, such as a loop.
      is_small: Whether its results have few enough numbers for NumPy.
    """

    equation: Any
    operands: tuple[int, ...]
    results: tuple[int, ...]
    last: tuple[int, ...]
    quick: Callable[..., Any] | None
    has_many: bool
    program: Callable[..., list] | None
    is_small: bool


@dataclass
class Plan:
    """A program of steps between numbered slots.

    Attributes:
      constants: The slots' values before it runs.
      literals: The slots of floating constants, with their atoms.
      steps: In order.
      results: Slots of the results.
      cost: How many equations of small arrays take as long.
    """

    constants: list
    literals: list[tuple[int, Any]]
    steps: list[Step]
    results: list[int]
    cost: float


_PLANS: WeakKeyDictionary = WeakKeyDictionary()


def plan_of(traced: Any) -> Plan:
    """The plan of a jaxpr, made when it is first asked for."""
    try:
        return _PLANS[traced]
    except (KeyError, TypeError):
        plan, is_kept = _Maker().plan(traced)
        if is_kept:
            _PLANS[traced] = plan
        return plan


# Numbers that take about as long as an equation itself.
_AT_ONCE = 2000


class _Maker:
    def __init__(self):
        self.constants: list = []
        self.literals: list = []
        self.rows: list = []
        self.is_kept = True

    def plan(self, traced):
        """The plan, and whether it may be kept: not where a constant is being traced."""
        jaxpr = getattr(traced, "jaxpr", traced)
        slots = {variable: self.slot() for variable in jaxpr.invars}
        results = self.inline(traced, slots)
        steps = self.steps(results, len(slots))
        cost = sum((1 + _numbers(step.equation) / _AT_ONCE for step in steps), 0.0)
        return Plan(self.constants, self.literals, steps, results, cost), self.is_kept

    def slot(self, value=None):
        self.constants.append(value)
        return len(self.constants) - 1

    def inline(self, traced, slots):
        """Add the equations of a jaxpr whose arguments are in `slots`."""
        jaxpr, consts = getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            self.is_kept = self.is_kept and not isinstance(value, Tracer)
            slots[variable] = self.slot(_constant(value))

        def read(atom):
            if not hasattr(atom, "val"):  # which only literals have
                return slots[atom]
            value = np.asarray(atom.val, wide(atom.aval.dtype))
            slot = self.slot(value)
            if value.dtype == np.float64:
                self.literals.append((slot, atom))
            return slot

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            if name in DROPPED:
                continue
            operands = tuple(read(atom) for atom in equation.invars)
            if name in CALLS:
                inner = called(equation)
                variables = getattr(inner, "jaxpr", inner).invars
                found = self.inline(inner, dict(zip(variables, operands, strict=True)))
            else:
                found = [self.slot() for _ in equation.outvars]
                self.rows.append((equation, operands, tuple(found)))
            slots.update(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def steps(self, results, inputs):
        """The steps that the results need."""
        needed, steps = set(results), []
        fixed = {slot for slot, value in enumerate(self.constants) if value is not None}
        for equation, operands, found in reversed(self.rows):
            if not needed.intersection(found):
                continue
            last = (set(operands) | set(found)) - needed - fixed
            needed.update(operands)
            name = equation.primitive.name
            quick, has_many = quick_function(equation)
            small = _numbers(equation) <= SMALL
            quick = quick if small else None
            program = _loops.HANDLERS.get(name)
            steps.append(
                Step(equation, operands, found, tuple(last), quick, has_many, program, small)
            )
        return steps[::-1]


def _constant(value):
    """A constant in float64, in NumPy if it is small."""
    value, dtype = widen(value), getattr(value, "dtype", None)
    if isinstance(value, Tracer) or dtype is None or value.size > SMALL:
        return value
    return value if jax.numpy.issubdtype(dtype, jax.dtypes.extended) else np.asarray(value)


def _numbers(equation):
    """The most numbers that an operand or a result has."""
    atoms = (*equation.invars, *equation.outvars)
    return max((getattr(atom.aval, "size", 0) for atom in atoms), default=0)


# What NumPy's functions take.
_NUMBERS = frozenset({np.ndarray} | {np.dtype(c).type for c in "?bhilqBHILQdD"})


def is_concrete(operands: list) -> bool:
    """Whether all operands are NumPy's; makes those of JAX's arrays of numbers so."""
    for i, value in enumerate(operands):
        if value.__class__ in _NUMBERS:
            continue
        if isinstance(value, Tracer) or not isinstance(value, jax.Array):
            return False
        if jax.numpy.issubdtype(value.dtype, jax.dtypes.extended):
            return False
        operands[i] = np.asarray(value)
    return True
