"""Evaluate a traced function anew: in float64, without custom rules, each rounding seen.

What JAX has traced is a list of equations, one for each primitive. Evaluated here, all floating
numbers are float64 whatever their dtype was, so that the *formula* which a rule computes is seen
without the rounding of its dtype; a rule's branch for bfloat16 stays the branch for bfloat16. Calls
are inlined: `jit`, `checkpoint`, and what `custom_jvp` and `custom_vjp` compute, without the rules
attached to them. Differentiating such an evaluation gives the derivative of what is computed.

On numbers, loops and branches run in Python and small arrays in NumPy: nothing is compiled, which
takes seconds for a loop. A long loop is compiled instead, see `Program`. On what JAX traces, loops
and branches become those of `jax.lax` again.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun

from . import _loops
from ._in_numpy import SMALL
from ._plan import CALLS, Plan, called, is_concrete, plan_of
from ._wide import AS_TRACED, bind, bind_as_traced, equations, widen

# What is done to the results of an equation: `visit(equation, operands, results, is_narrow)`, the
# last if they were not computed in float64, returns what takes their place.
Visit = Callable[[Any, list, list, bool], list]
# `literal(atom, value)` takes the place of a floating constant.
Literal = Callable[[Any, Any], Any]

# A program is compiled when its loops have evaluated so many equations in Python: so many for each
# that it has, and some more. Compiling takes about as long.
_FOR_EACH, _MORE = 500, 20_000


class TooLong(Exception):
    """Loops have taken as long in Python as compiling them takes."""


class Context:
    """What the evaluation of a program carries along.

    Attributes:
      visit, literal: See `evaluate`.
      is_traced: Whether JAX traces some of the arguments.
      limit: Equations that loops may evaluate in Python.
      spent: Those that they have evaluated.
      kept: What is kept from one evaluation of the same program to the next.
      quiet: The same without `visit`.
      unit: Of the coarsest dtype that anything had to be computed in as traced; else float64's.
    """

    def __init__(
        self,
        visit: Visit | None,
        literal: Literal | None,
        is_traced: bool,
        limit: float = np.inf,
        kept: dict | None = None,
    ):
        self.visit, self.literal, self.is_traced = visit, literal, is_traced
        self.limit, self.spent = limit, 0.0
        self.kept: dict = {} if kept is None else kept
        self.quiet = Context(None, literal, is_traced, limit, self.kept) if visit else self
        self.unit = float(np.finfo(np.float64).eps)

    def note(self, equation: Any) -> None:
        """Remember the dtypes of an equation that was computed as it was traced."""
        for variable in equation.outvars:
            dtype = getattr(variable.aval, "dtype", None)
            if dtype is not None and jnp.issubdtype(dtype, jnp.inexact):
                self.unit = max(self.unit, float(jnp.finfo(dtype).eps))

    def spend_on(self, traced: Any) -> None:
        """Count the equations of an iteration.

        Raises:
          TooLong: There have been too many.
        """
        self.spent += plan_of(traced).cost
        if self.spent > self.limit:
            raise TooLong


def evaluate(
    traced: Any,
    args: Sequence[Any],
    visit: Visit | None = None,
    literal: Literal | None = None,
) -> list:
    """Evaluate a jaxpr on wide arguments.

    Args:
      traced: What `jax.make_jaxpr` returns, or a jaxpr inside of one.
      args: Its flat arguments.
      visit: Called after each equation, see `Visit`.
      literal: `literal(atom, value)` takes the place of each floating constant of the program.

    Returns:
      The flat results, floating ones in float64.
    """
    args = [widen(arg) for arg in args]
    return _evaluate(traced, args, Context(visit, literal, _any_traced(args)))


def _any_traced(args):
    return any(isinstance(arg, Tracer) for arg in args)


def _evaluate(traced, args, context):
    with np.errstate(all="ignore"):
        return _run(plan_of(traced), args, context)


class Program:
    """A traced function that runs in Python as long as that takes less time than to compile it.

    Straight programs always do: JAX compiles each primitive that NumPy doesn't have on its own and
    remembers it by its shapes, from one function to the next, where a whole program is new each
    time. Loops do until they have taken as long as compiling takes, over all calls. So they take at
    most about twice as long as they had to.

    A program whose evaluation raises is run as it was traced, in its own dtypes.

    Args:
      traced: What `jax.make_jaxpr` returns.

    Attributes:
      unit: Of the coarsest dtype that something was computed in, as far as it ran; float64's where
        all could be raised in precision.
      is_as_traced: Whether it is run as it was traced.
    """

    def __init__(self, traced: Any):
        self.traced, self.is_compiled, self.is_as_traced = traced, False, False
        self.unit = float(np.finfo(np.float64).eps)
        found = [equation.primitive.name for equation in equations(traced)]
        self.has_loops = any(name in _loops.LOOPS for name in found)
        self._left = float(_MORE + _FOR_EACH * len(found)) if self.has_loops else np.inf
        self._functions: dict[Any, Any] = {}
        self._kept: dict[int, Any] = {}

    def __call__(
        self,
        args: Sequence[Any],
        changes: Callable[..., tuple[Visit | None, Literal | None]] | None = None,
        key: Any = None,
        options: Any = None,
    ) -> list:
        """The flat results.

        Args:
          args: The flat arguments.
          changes: `changes(options)` returns `visit` and `literal` of `evaluate`.
          key: What tells `changes` apart from others; the same is compiled once.
          options: Arrays, in any pytree, which are traced where the program is compiled.
        """
        if not self.is_as_traced:
            try:
                return self._in_float64(args, changes, key, options)
            except Exception:  # what isn't understood, of which there may be anything
                if _any_traced(args):
                    raise
                self.is_as_traced = True
        return self._as_traced(args, changes, options)

    def _in_float64(self, args, changes, key, options):
        if not self.is_compiled:
            wide = [widen(arg) for arg in args]
            visit, literal = changes(options) if changes else (None, None)
            limit = self._left if not _any_traced(wide) else np.inf
            context = Context(visit, literal, _any_traced(wide), limit, self._kept)
            try:
                results = _evaluate(self.traced, wide, context)
                self._left -= context.spent
                self._note(context)
                return results
            except TooLong:
                self.is_compiled = True
        if key not in self._functions:

            def function(args, options):
                wide = [widen(arg) for arg in args]
                visit, literal = changes(options) if changes else (None, None)
                context = Context(visit, literal, True)
                results = _evaluate(self.traced, wide, context)
                self._note(context)
                return results

            self._functions[key] = compiled(function)
        return self._functions[key](list(args), options)

    def _note(self, context):
        self.unit = max(self.unit, context.unit, context.quiet.unit)

    def _as_traced(self, args, changes, options):
        """In its own dtypes; perturbed as if arguments and results alone were rounded."""
        jaxpr = getattr(self.traced, "jaxpr", self.traced)
        signs = np.asarray(options, np.float64) if changes and np.ndim(options) == 1 else None

        def moved(values, variables):
            found = []
            for value, variable in zip(values, variables, strict=True):
                dtype, value = variable.aval.dtype, np.asarray(value)
                if jnp.issubdtype(dtype, jnp.floating):
                    unit = float(jnp.finfo(dtype).eps)
                    self.unit = max(self.unit, unit)
                    value = value.astype(np.float64)
                    if signs is not None and value.size <= signs.size:
                        sign = np.sign(signs[-value.size :] if value.size else signs[:0])
                        value = value + unit * np.abs(value) * sign.reshape(value.shape)
                found.append(value)
            return found

        if None not in self._functions or not self.is_as_traced:
            self._functions[None] = jax.jit(jaxpr_as_fun(self.traced))
        pairs = zip(moved(args, jaxpr.invars), jaxpr.invars, strict=True)
        typed = [jnp.asarray(value, variable.aval.dtype) for value, variable in pairs]
        return moved(self._functions[None](*typed), jaxpr.outvars)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled to be run a few times: quickly rather than well."""
    hurry = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=hurry)


def _run(plan: Plan, args: Sequence[Any], context: Context) -> list:
    """Evaluate a planned program on wide arguments."""
    values = list(plan.constants)
    values[: len(args)] = args
    if context.literal:
        for slot, atom in plan.literals:
            values[slot] = context.literal(atom, values[slot])
    visit = context.visit
    for step in plan.steps:
        operands = [values[slot] for slot in step.operands]
        if step.quick is not None and is_concrete(operands):
            results, is_narrow = step.quick(*operands), False
            if results is None:
                results, is_narrow = _bound(step, operands, context)
            elif not step.has_many:
                results = [results]
        elif step.program is not None:
            results = step.program(step.equation, operands, context, _run_inner)
            for slot, value in zip(step.results, results, strict=True):
                values[slot] = value
            continue
        else:
            results, is_narrow = _bound(step, operands, context)
        if visit is not None:
            results = [_array(result) for result in results]
            results = visit(step.equation, operands, results, is_narrow)
        for slot, value in zip(step.results, results, strict=True):
            values[slot] = value
        for slot in step.last:
            values[slot] = None
    return [values[slot] for slot in plan.results]


def _run_inner(traced, args, context):
    """Evaluate a program that a loop or a branch holds."""
    return _run(plan_of(traced), args, context)


def _bound(step, operands, context):
    equation = step.equation
    if equation.primitive.name in AS_TRACED and is_concrete(operands):
        # Compiled once: some, such as a kernel, JAX compiles at each call.
        key = id(equation)
        if key not in context.kept:
            context.kept[key] = jax.jit(lambda *operands: bind_as_traced(equation, operands))
        results, is_narrow = context.kept[key](*operands), True
    else:
        results, is_narrow = bind(equation, operands)
    if is_narrow:
        context.note(step.equation)
    return [_array(r) for r in results] if step.is_small else results, is_narrow


def _array(value):
    """JAX's arrays and NumPy's numbers as NumPy's arrays, which are handed on in less time."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, Tracer | np.ndarray) or not isinstance(value, jax.Array):
        return value
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)
    return value if is_key or value.size > SMALL else np.asarray(value)


def computations(traced: Any):
    """The equations that compute, without those that only call others."""
    return (e for e in equations(traced) if e.primitive.name not in CALLS)


def straight_equations(traced: Any):
    """The equations that run once: those of inlined calls, but of no loop or branch."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        if equation.primitive.name in CALLS:
            yield from straight_equations(called(equation))
