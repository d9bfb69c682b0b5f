"""One primitive in float64, by JAX: its dtypes widened, or as it was traced where that fails."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._in_numpy import SMALL, in_numpy

# Primitives that look at bits, which float64 has others of.
_BITS = {"bitcast_convert_type", "random_bits", "random_wrap", "random_unwrap", "rng_bit_generator"}
# Those whose results are made for the traced dtypes alone: code that JAX doesn't see, random
# numbers, which would be others, and the neighbour of a number, which would be nearer.
AS_TRACED = {
    *("pure_callback", "io_callback", "ffi_call", "call_exported", "pallas_call", "run_state"),
    *("random_gamma", "rng_uniform", "nextafter", "custom_partitioning"),
}


def is_inexact(dtype: Any) -> bool:
    """Whether a dtype is of floating or complex numbers."""
    return jnp.issubdtype(dtype, jnp.inexact)


@lru_cache(maxsize=1024)
def wide(dtype: Any) -> Any:
    """The dtype of float64 arithmetic that stands for `dtype`; integers, keys and bools stay."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def widen(value: Any) -> Any:
    """The same numbers in float64."""
    if not hasattr(value, "dtype"):
        if not isinstance(value, bool | int | float | complex):
            return value  # such as a token
        value = np.asarray(value, jax.dtypes.result_type(value))
    dtype = value.dtype
    if dtype == np.float64 or not is_inexact(dtype):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return value.astype(wide(dtype))
    if isinstance(value, jax.Array) and not isinstance(value, Tracer) and value.size <= SMALL:
        return np.asarray(value).astype(wide(dtype))
    return jnp.asarray(value, wide(dtype))


def inner_programs(params: Any) -> list:
    """The jaxprs among the parameters of an equation."""
    found = []
    for value in params.values():
        for inner in value if isinstance(value, tuple | list) else (value,):
            if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                found.append(inner)
    return found


def equations(traced: Any):
    """Every equation of a jaxpr, those of the jaxprs inside it included."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        for inner in inner_programs(equation.params):
            yield from equations(inner)


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
        return quick, False
    if name in _BITS:
        return bind_as_traced(equation, operands), False
    if name in AS_TRACED:
        return bind_as_traced(equation, operands), True
    if name.startswith("scatter"):
        params = _wide_scatter(params)
    elif inner_programs(params):
        return bind_as_traced(equation, operands), True
    params = {key: _wide_parameter(key, value) for key, value in params.items()}
    try:
        results = _bound(equation, operands, params)
    except Exception:  # a primitive of somebody's own, made for some dtypes only
        return bind_as_traced(equation, operands), True
    return [widen(result) for result in results], False


def bind_as_traced(equation: Any, operands: Sequence[Any]) -> list:
    """The results of one primitive, computed in the dtypes that it was traced in."""
    narrow = [
        jnp.asarray(value, atom.aval.dtype)
        if is_inexact(getattr(value, "dtype", np.dtype(bool)))
        else value
        for value, atom in zip(operands, equation.invars, strict=True)
    ]
    return [widen(result) for result in _bound(equation, narrow, equation.params)]


def _wide_scatter(params):
    """A scatter's parameters with the function that combines two numbers in float64."""
    combine = params.get("update_jaxpr")
    return params if combine is None else params | {"update_jaxpr": _wide_combination(combine)}


@lru_cache(maxsize=256)  # a new jaxpr each time would be compiled each time
def _wide_combination(combine):
    from ._interpreter import evaluate  # which imports this module

    number = jax.ShapeDtypeStruct((), np.float64)
    return jax.make_jaxpr(lambda a, b: evaluate(combine, [a, b])[0])(number, number).jaxpr


def _bound(equation, operands, params):
    primitive = equation.primitive
    found = primitive.get_bind_params(params)
    if isinstance(found, tuple):  # functions that were parameters, and the others
        bound = primitive.bind(*found[0], *operands, **found[1])
    else:  # JAX 0.12
        bound = primitive.bind(*operands, **found)
    return list(bound) if primitive.multiple_results else [bound]


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
