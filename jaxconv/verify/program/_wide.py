"""Primitives in JAX: in float64, or in the dtypes of the trace where float64 is impossible."""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ._in_numpy import SMALL

# Primitives that read bits. The bits of float64 differ from those of the traced dtype.
BITS = {"bitcast_convert_type", "random_bits", "random_wrap", "random_unwrap", "rng_bit_generator"}
# Primitives that exist for the traced dtypes only: foreign code, random numbers (float64 would draw
# others) and `nextafter` (its step depends on the dtype).
AS_TRACED = {
    *("pure_callback", "io_callback", "ffi_call", "call_exported", "pallas_call", "run_state"),
    *("random_gamma", "rng_uniform", "nextafter", "custom_partitioning"),
}


def is_inexact(dtype: Any) -> bool:
    """Whether a dtype is floating point or complex."""
    return jnp.issubdtype(dtype, jnp.inexact)


@lru_cache(maxsize=1024)
def wide(dtype: Any) -> Any:
    """The float64 or complex128 dtype that replaces `dtype`. Integers, booleans and keys stay."""
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if jnp.issubdtype(dtype, jnp.floating) else dtype


def widen(value: Any) -> Any:
    """The same values in float64 or complex128."""
    if not hasattr(value, "dtype"):
        if not isinstance(value, bool | int | float | complex):
            return value  # a token, for example
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
    """All equations of a jaxpr and of the jaxprs inside it."""
    for equation in getattr(traced, "jaxpr", traced).eqns:
        yield equation
        for inner in inner_programs(equation.params):
            yield from equations(inner)


def bind_as_traced(equation: Any, operands: Sequence[Any]) -> list:
    """Evaluate a primitive in the dtypes of the trace, then widen its results."""
    narrow = [
        jnp.asarray(value, atom.aval.dtype)
        if is_inexact(getattr(value, "dtype", np.dtype(bool)))
        else value
        for value, atom in zip(operands, equation.invars, strict=True)
    ]
    return [widen(result) for result in bind_with(equation, narrow, equation.params)]


def bind_with(equation, operands, params):
    """Evaluate a primitive with other parameters."""
    primitive = equation.primitive
    found = primitive.get_bind_params(params)
    if isinstance(found, tuple):  # JAX 0.10 returns functions and parameters
        bound = primitive.bind(*found[0], *operands, **found[1])
    else:  # JAX 0.12
        bound = primitive.bind(*operands, **found)
    return list(bound) if primitive.multiple_results else [bound]


def wide_parameter(key: str, value: Any) -> Any:
    """A parameter of a primitive with the dtypes in it widened."""
    if isinstance(value, np.dtype):
        return wide(value)
    if "dtype" in key and isinstance(value, tuple):
        widened = [_wide_name(element) for element in value]
        return type(value)(*widened) if hasattr(value, "_fields") else tuple(widened)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        widened = {name: wide_parameter(name, part) for name, part in found.items()}
        changed = {name: part for name, part in widened.items() if part is not found[name]}
        return dataclasses.replace(value, **changed) if changed else value
    return value


def _wide_name(element):
    try:
        widened = wide(jnp.dtype(element))
    except TypeError:
        return element
    return widened.name if isinstance(element, str) else widened
