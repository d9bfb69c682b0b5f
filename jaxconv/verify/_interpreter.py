"""Evaluate a traced function anew: in float64, without custom rules, each rounding seen.

What JAX has traced is a list of equations, one for each primitive. Evaluated here, all floating
numbers are float64 whatever their dtype was, so that the *formula* which a rule computes is seen
without the rounding of its dtype; a rule's branch for bfloat16 stays the branch for bfloat16. Calls
are inlined: `jit`, `checkpoint`, and what `custom_jvp` and `custom_vjp` compute, without the rules
attached to them. Differentiating such an evaluation gives the derivative of what is computed.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._in_numpy import in_numpy

# Primitives that only call what they hold.
_CALLS = {"jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "core_closed_call"} | {
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
}
# Primitives that look at bits, which float64 has others of.
_BITS = {"bitcast_convert_type", "random_bits", "random_wrap", "random_unwrap", "nextafter"}

_LOOPS = {"scan", "while", "cond"}

# What is done to the results of an equation: `visit(equation, operands, results, is_narrow)`, the
# last if they were not computed in float64, returns what takes their place.
Visit = Callable[[Any, list, list, bool], list]


def wide(dtype: Any) -> Any:
    """The dtype of float64 arithmetic that stands for `dtype`; integers, keys and bools stay."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def widen(value: Any) -> Any:
    """The same numbers in float64."""
    if not hasattr(value, "dtype"):
        value = np.asarray(value, jax.dtypes.result_type(value))
    if value.dtype == np.float64 or not jnp.issubdtype(value.dtype, jnp.inexact):
        return value
    if isinstance(value, np.ndarray):
        return value.astype(wide(value.dtype))
    return jnp.asarray(value, wide(value.dtype))


def evaluate(
    traced: Any,
    args: Sequence[Any],
    visit: Visit | None = None,
    literal: Callable[[Any, Any], Any] | None = None,
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
    jaxpr, consts = getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())
    values: dict[Any, Any] = {}

    def read(atom):
        if not hasattr(atom, "val"):  # which only literals have
            return values[atom]
        value = np.asarray(atom.val, wide(atom.aval.dtype))
        return literal(atom, value) if literal and value.dtype == np.float64 else value

    for variable, value in zip(jaxpr.constvars, consts, strict=True):
        values[variable] = widen(value)
    for variable, value in zip(jaxpr.invars, args, strict=True):
        values[variable] = widen(value)
    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        results = _apply(equation, operands, visit, literal)
        for variable, value in zip(equation.outvars, results, strict=True):
            values[variable] = value
    return [read(atom) for atom in jaxpr.outvars]


def equations(traced: Any):
    """Every equation of a jaxpr, those of the jaxprs inside it included."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        for inner in _inner(equation.params):
            yield from equations(inner)


def computations(traced: Any):
    """The equations that compute, without those that only call others."""
    return (e for e in equations(traced) if e.primitive.name not in _CALLS)


def straight_equations(traced: Any):
    """The equations that run once: those of inlined calls, but of no loop or branch."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        if equation.primitive.name in _CALLS:
            yield from straight_equations(_called(equation))


def _called(equation):
    return equation.params.get("call_jaxpr", equation.params.get("jaxpr"))


def has_loops(traced: Any) -> bool:
    """Whether a jaxpr must be compiled as a whole.

    Others are evaluated one primitive after the other: JAX compiles each on its own and remembers
    it by its shapes, from one function to the next, where a whole program is new each time.
    """
    return any(e.primitive.name in _LOOPS for e in equations(traced))


def bind(equation: Any, operands: Sequence[Any]) -> tuple[list, bool]:
    """Evaluate one primitive in float64, if it can be.

    Returns:
      The results, and whether they had to be computed in the dtypes that they were traced in.
    """
    name, params = equation.primitive.name, equation.params
    if name == "reduce_precision":
        return list(operands), False
    quick = in_numpy(equation, operands)
    if quick is not None:
        return [quick], False
    if name in _BITS:
        return _bind_as_traced(equation, operands), False
    if name.startswith("scatter"):
        params = _wide_scatter(params)
    elif _inner(params):  # such as a custom linear solve
        return _bind_as_traced(equation, operands), True
    params = {key: _wide_parameter(key, value) for key, value in params.items()}
    try:
        results = _listed(equation, equation.primitive.bind(*operands, **params))
    except (TypeError, ValueError, NotImplementedError, KeyError):
        # A primitive of somebody's own, made for some dtypes only.
        return _bind_as_traced(equation, operands), True
    return [widen(result) for result in results], False


def _wide_scatter(params):
    """A scatter's parameters with the function that combines two numbers in float64."""
    combine = params.get("update_jaxpr")
    return params if combine is None else params | {"update_jaxpr": _wide_combination(combine)}


@lru_cache(maxsize=256)  # a new jaxpr each time would be compiled each time
def _wide_combination(combine):
    number = jax.ShapeDtypeStruct((), np.float64)
    return jax.make_jaxpr(lambda a, b: evaluate(combine, [a, b])[0])(number, number).jaxpr


def _bind_as_traced(equation, operands):
    narrow = [
        jnp.asarray(value, atom.aval.dtype) if jnp.issubdtype(value.dtype, jnp.inexact) else value
        for value, atom in zip(operands, equation.invars, strict=True)
    ]
    bound = equation.primitive.bind(*narrow, **equation.params)
    return [widen(result) for result in _listed(equation, bound)]


def _apply(equation, operands, visit, literal):
    name, params = equation.primitive.name, equation.params
    if name in _CALLS:
        return evaluate(_called(equation), operands, visit, literal)
    if name == "scan":
        return _scan(params, operands, visit)
    if name == "while":
        if not visit or not stops_when_close(equation):
            return _while(params, operands, visit)
        extra_rounds = getattr(visit, "extra_rounds", 0)
        if extra_rounds:
            return _while(params, operands, None, extra_rounds)
        # Errors of another size in every round could keep it from ever being close enough.
        return visit(equation, operands, _while(params, operands, None), False)
    if name == "cond":
        index, *rest = operands
        branches = [_function(branch, visit) for branch in params["branches"]]
        return list(jax.lax.switch(index, branches, *rest))
    results, is_narrow = bind(equation, operands)
    return visit(equation, operands, results, is_narrow) if visit else results


def stops_when_close(equation: Any) -> bool:
    """Whether a `while` goes on until floating-point numbers say that it is done."""
    inner = equations(equation.params["cond_jaxpr"])
    return any(
        jnp.issubdtype(getattr(v.aval, "dtype", bool), jnp.inexact) for e in inner for v in e.invars
    )


def _scan(params, operands, visit):
    if "ft_in" in params:  # JAX 0.12
        num_consts, num_carry, _ = (len(list(part)) for part in params["ft_in"].unpack())
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]

    def body(carry, xs):
        results = evaluate(params["jaxpr"], [*consts, *carry, *xs], visit)
        return results[:num_carry], results[num_carry:]

    xs = operands[num_consts + num_carry :]
    carry, ys = jax.lax.scan(body, carry, xs, params["length"], params["reverse"], params["unroll"])
    return [*carry, *ys]


def _while(params, operands, visit, extra_rounds=0):
    split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond_consts, body_consts, init = (
        operands[: split[0]],
        operands[split[0] : split[1]],
        operands[split[1] :],
    )

    def body(carry):
        return evaluate(params["body_jaxpr"], [*body_consts, *carry], visit)

    done = jax.lax.while_loop(
        lambda carry: evaluate(params["cond_jaxpr"], [*cond_consts, *carry])[0], body, init
    )
    for _ in range(extra_rounds):
        done = body(done)
    return done


def _function(traced, visit):
    return lambda *args: evaluate(traced, args, visit)


def _listed(equation, bound):
    return list(bound) if equation.primitive.multiple_results else [bound]


def _wide_parameter(key: str, value: Any) -> Any:
    if isinstance(value, np.dtype):
        return wide(value)
    if "dtype" in key and isinstance(value, tuple):
        return tuple(_wide_name(element) for element in value)
    return value


def _wide_name(element):
    try:
        widened = wide(jnp.dtype(element))
    except TypeError:
        return element
    return widened.name if isinstance(element, str) else widened


def _inner(params) -> list:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                found.append(inner)
    return found
