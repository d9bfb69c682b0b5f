"""Prepare a jaxpr for many evaluations: inline its calls and look up each primitive's function.

Most of the time in a small program is Python overhead. Work that depends on the program alone is
therefore done once: where operands and results are stored, and which NumPy function computes each
primitive.
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

# Primitives that only call the jaxpr that they hold.
CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "core_closed_call"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call"),
    *("composite", "eval_jaxpr", "named_call", "xla_call", "remat", "remat_opt"),
    "call_hi_primitive",
}
# Primitives that print messages. They are left out, since a check evaluates the function hundreds
# of times.
DROPPED = {"debug_callback", "debug_print"}


def called(equation: Any) -> Any:
    """The jaxpr that a call holds."""
    params = equation.params
    if "_prim" in params:  # a primitive that JAX defines by an expansion
        primitive, avals = params["_prim"], [atom.aval for atom in equation.invars]

        def expanded(*args):
            return jax.tree.leaves(primitive.expand(*primitive.in_tree.unflatten(args)))

        return jax.make_jaxpr(expanded)(*avals)
    names = ("call_jaxpr", "jaxpr", "call", "callee", "fun_jaxpr")
    return next(params[name] for name in names if name in params)


@dataclass(slots=True)
class Step:
    """One equation of a plan.

    Attributes:
      equation: The equation.
      operands: The slots that its operands are read from.
      results: The slots that its results are written to.
      last: The slots that no later step reads.
      quick: Its function in NumPy, or None. The function returns None where it can't be used.
      has_many: Whether `quick` returns a list of results.
      program: The handler of an equation that holds a jaxpr, such as a loop; None for others.
      is_small: Whether its arrays are small enough for NumPy.
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
    """A program of steps that read and write numbered slots.

    Attributes:
      constants: The values of the slots before the program runs.
      literals: The slots that hold floating-point literals, each with its atom.
      steps: The steps in order.
      results: The slots of the results.
      cost: The time that an evaluation takes, in units of one equation of small arrays.
    """

    constants: list
    literals: list[tuple[int, Any]]
    steps: list[Step]
    results: list[int]
    cost: float


_PLANS: WeakKeyDictionary = WeakKeyDictionary()


def plan_of(traced: Any) -> Plan:
    """The plan of a jaxpr. It is made on the first request and kept as long as the jaxpr."""
    try:
        return _PLANS[traced]
    except (KeyError, TypeError):
        plan, is_kept = _Maker().plan(traced)
        if is_kept:
            _PLANS[traced] = plan
        return plan


# So many elements take about as long to process as an equation takes to dispatch.
_AT_ONCE = 2000
# JAX takes so many times as long as NumPy to dispatch an equation.
_DISPATCH = 80


class _Maker:
    def __init__(self):
        self.constants: list = []
        self.literals: list = []
        self.rows: list = []
        self.is_kept = True

    def plan(self, traced):
        """The plan, and whether it may be kept.

        It may not be kept if a constant of the jaxpr is a tracer.
        """
        jaxpr = getattr(traced, "jaxpr", traced)
        slots = {variable: self.slot() for variable in jaxpr.invars}
        results = self.inline(traced, slots)
        steps = self.steps(results, len(slots))
        cost = sum((cost_of(step.equation) for step in steps), 0.0)
        return Plan(self.constants, self.literals, steps, results, cost), self.is_kept

    def slot(self, value=None):
        self.constants.append(value)
        return len(self.constants) - 1

    def inline(self, traced, slots):
        """Add the equations of a jaxpr whose arguments are in `slots`.

        Returns:
          The slots of its results.
        """
        jaxpr, consts = getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            self.is_kept = self.is_kept and not isinstance(value, Tracer)
            slots[variable] = self.slot(_constant(value))

        def read(atom):
            if not hasattr(atom, "val"):  # a literal
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
        """The steps that the results depend on."""
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


def cost_of(equation: Any) -> float:
    """The time that an equation takes, in units of one of small arrays in NumPy."""
    elements = _numbers(equation)
    in_numpy = elements <= SMALL and quick_function(equation)[0] is not None
    is_loop = equation.primitive.name in _loops.HANDLERS
    return (1 if in_numpy or is_loop else _DISPATCH) + elements / _AT_ONCE


def _constant(value):
    """A constant in float64; as a NumPy array if it is small."""
    value, dtype = widen(value), getattr(value, "dtype", None)
    if isinstance(value, Tracer) or dtype is None or value.size > SMALL:
        return value
    return value if jax.numpy.issubdtype(dtype, jax.dtypes.extended) else np.asarray(value)


def _numbers(equation):
    """The number of elements of the largest operand or result."""
    atoms = (*equation.invars, *equation.outvars)
    return max((getattr(atom.aval, "size", 0) for atom in atoms), default=0)


# The classes of values that NumPy functions accept.
_NUMBERS = frozenset({np.ndarray} | {np.dtype(c).type for c in "?bhilqBHILQdD"})


def is_concrete(operands: list) -> bool:
    """Whether all operands are NumPy values.

    JAX arrays of numbers are replaced in `operands` by NumPy arrays.
    """
    for i, value in enumerate(operands):
        if value.__class__ in _NUMBERS:
            continue
        if isinstance(value, Tracer) or not isinstance(value, jax.Array):
            return False
        if jax.numpy.issubdtype(value.dtype, jax.dtypes.extended):
            return False
        operands[i] = np.asarray(value)
    return True
