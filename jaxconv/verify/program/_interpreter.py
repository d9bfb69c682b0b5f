"""Evaluate a jaxpr in float64, without custom rules, with a hook on each result.

All floating-point values are float64, whatever their dtype was. The evaluation therefore shows the
*formula* that a rule computes, without the rounding of its dtype. A branch that the rule takes for
bfloat16 stays the bfloat16 branch. Calls are inlined: `jit`, `checkpoint`, and the functions inside
`custom_jvp` and `custom_vjp`, without their rules. To differentiate such an evaluation is to
differentiate what the function computes.

If the operands are concrete, loops and branches run in Python, small arrays are computed in NumPy
and nothing is compiled as a whole. If JAX traces an operand, loops and branches become those of
`jax.lax` again.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._in_numpy import SMALL, in_numpy
from ._plan import CALLS, Plan, called, is_concrete, plan_of
from ._wide import (
    AS_TRACED,
    BITS,
    bind_as_traced,
    bind_with,
    equations,
    inner_programs,
    wide_parameter,
    widen,
)

# `visit(equation, operands, results, is_narrow)` returns the values that replace the results.
# `is_narrow` says that they were not computed in float64.
Visit = Callable[[Any, list, list, bool], list]
# `literal(atom, value)` returns the value that replaces a floating-point literal.
Literal = Callable[[Any, Any], Any]


class TooLong(Exception):
    """The loops have taken as long in Python as compiling the program would take."""


class Context:
    """The state of one evaluation.

    Attributes:
      visit: See `evaluate`.
      literal: See `evaluate`.
      is_traced: Whether JAX traces an argument.
      limit: How many equations loops may evaluate in Python.
      spent: How many they have evaluated.
      kept: Compiled functions that are kept from one evaluation of the program to the next.
      quiet: The same context without `visit`.
      unit: The unit roundoff of the coarsest dtype in which an equation had to be computed as
        traced; that of float64 if there was none.
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
        """Record the dtypes of an equation that was computed as it was traced."""
        for variable in equation.outvars:
            dtype = getattr(variable.aval, "dtype", None)
            if dtype is not None and jnp.issubdtype(dtype, jnp.inexact):
                self.unit = max(self.unit, float(jnp.finfo(dtype).eps))

    def spend_on(self, traced: Any) -> None:
        """Count the equations of one iteration.

        Raises:
          TooLong: The limit is exceeded.
        """
        self.spent += plan_of(traced).cost
        if self.spent > self.limit:
            raise TooLong


def evaluate(
    traced: Any, args: Sequence[Any], visit: Visit | None = None, literal: Literal | None = None
) -> list:
    """Evaluate a jaxpr in float64.

    Args:
      traced: A jaxpr, such as `jax.make_jaxpr` returns.
      args: The flat arguments.
      visit: Called after each equation; its results replace those of the equation, see `Visit`.
      literal: Called for each floating-point literal; its result replaces the literal, see
        `Literal`.

    Returns:
      The flat results, the floating-point ones in float64.
    """
    args = [widen(arg) for arg in args]
    return evaluate_in(traced, args, Context(visit, literal, any_traced(args)))


def any_traced(args):
    """Whether one of the values is a tracer."""
    return any(isinstance(arg, Tracer) for arg in args)


def evaluate_in(traced, args, context):
    """Evaluate a jaxpr on float64 arguments in a given context."""
    with np.errstate(all="ignore"):
        return _run(plan_of(traced), args, context)


def _run(plan: Plan, args: Sequence[Any], context: Context) -> list:
    """Evaluate a plan on float64 arguments."""
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
    """Evaluate the jaxpr inside a loop or a branch."""
    return _run(plan_of(traced), args, context)


def _bound(step, operands, context):
    equation = step.equation
    if equation.primitive.name in AS_TRACED and is_concrete(operands):
        # Some primitives, such as Pallas kernels, would be compiled at each call.
        key = id(equation)
        if key not in context.kept:
            context.kept[key] = jax.jit(lambda *operands: bind_as_traced(equation, operands))
        results, is_narrow = context.kept[key](*operands), True
    else:
        results, is_narrow = _bind_in_jax(equation, operands)
    if is_narrow:
        context.note(step.equation)
    return [_array(r) for r in results] if step.is_small else results, is_narrow


def _array(value):
    """JAX arrays and NumPy scalars as NumPy arrays, which are faster to pass on."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if isinstance(value, Tracer | np.ndarray) or not isinstance(value, jax.Array):
        return value
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)
    return value if is_key or value.size > SMALL else np.asarray(value)


def bind(equation: Any, operands: Sequence[Any]) -> tuple[list, bool]:
    """Evaluate a primitive in float64 if that is possible.

    Returns:
      The results, and whether they had to be computed in the dtypes of the trace.
    """
    quick = in_numpy(equation, operands)
    return (quick, False) if quick is not None else _bind_in_jax(equation, operands)


def _bind_in_jax(equation, operands):
    name, params = equation.primitive.name, equation.params
    if name == "reduce_precision":
        return list(operands), False
    if name in BITS:
        return bind_as_traced(equation, operands), False
    if name in AS_TRACED:
        return bind_as_traced(equation, operands), True
    if name.startswith("scatter"):
        params = _wide_scatter(params)
    elif inner_programs(params):
        return bind_as_traced(equation, operands), True
    params = {key: wide_parameter(key, value) for key, value in params.items()}
    try:
        results = bind_with(equation, operands, params)
    except Exception:  # a user's primitive may support some dtypes only
        return bind_as_traced(equation, operands), True
    return [widen(result) for result in results], False


def _wide_scatter(params):
    """The parameters of a scatter, the function that combines two values being in float64."""
    combine = params.get("update_jaxpr")
    return params if combine is None else params | {"update_jaxpr": _wide_combination(combine)}


@lru_cache(maxsize=256)  # JAX would compile a new jaxpr again
def _wide_combination(combine):
    number = jax.ShapeDtypeStruct((), np.float64)
    return jax.make_jaxpr(lambda a, b: evaluate(combine, [a, b])[0])(number, number).jaxpr


def computations(traced: Any):
    """The equations that compute something, without those that only call a jaxpr."""
    return (e for e in equations(traced) if e.primitive.name not in CALLS)


def straight_equations(traced: Any):
    """The equations that run exactly once: those of inlined calls, but not of loops or branches."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        if equation.primitive.name in CALLS:
            yield from straight_equations(called(equation))
