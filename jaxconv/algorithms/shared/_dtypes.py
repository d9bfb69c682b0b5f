"""The dtypes in which terms are added and elements are moved."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._typing import Array


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype to add up terms in before they are rounded to `dtype`.

    It is float32 for floating-point dtypes of 16 bits and less. It is an integer of 32 bits for
    integers of less than 8 bits, because XLA can't add those.
    """
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return dtype if jnp.finfo(dtype).bits > 16 else np.dtype("float32")
    return dtype if _promoted_by_jax(dtype) == dtype else _with_sign_of(dtype, "int32")


def of_whole_bytes(dtype: np.dtype) -> np.dtype:
    """The dtype to compare and to move elements in. It holds all values of `dtype`.

    XLA has all operations in the standard dtypes only. For example, concatenating integers of less
    than a byte ends the process on a CPU.
    """
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.floating):
        return np.dtype("float32") if jnp.finfo(dtype).bits < 16 else dtype
    if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8:
        return np.dtype("int8" if jnp.issubdtype(dtype, jnp.signedinteger) else "uint8")
    return dtype


def common_dtype(*dtypes: Any) -> np.dtype:
    """The dtype that JAX promotes elements of these dtypes to.

    JAX does not promote floating-point dtypes of 8 bits and less, or integers of less than 8 bits,
    to another dtype. Here they count as bfloat16 and as integers of 8 bits.
    """
    first, *others = (np.dtype(dtype) for dtype in dtypes)
    if all(dtype == first for dtype in others):
        return first
    return np.dtype(jnp.result_type(*(_promoted_by_jax(dtype) for dtype in (first, *others))))


def in_whole_bytes(a: Array) -> Array:
    """An array that XLA for CPUs can multiply: less than 8 bits an element become 8 or 16."""
    bits = jnp.finfo(a.dtype).bits if jnp.issubdtype(a.dtype, jnp.floating) else 0
    return a if bits == 8 else a.astype(_promoted_by_jax(a.dtype))


def to_common_dtype(*operands: Array) -> list[Array]:
    """Promote operands to their common dtype; a cotangent may be wider than a primal."""
    dtype = common_dtype(*(operand.dtype for operand in operands))
    return [operand.astype(dtype) for operand in operands]


def to_accumulator(result: np.dtype, *operands: Array) -> list[Array]:
    """Promote operands to the dtype in which a sum that is rounded to `result` is added up."""
    wide = accumulator(common_dtype(result, *(operand.dtype for operand in operands)))
    return [operand.astype(wide) for operand in operands]


def _promoted_by_jax(dtype: np.dtype) -> np.dtype:
    if jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits <= 8:
        return np.dtype(jnp.bfloat16)
    if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8:
        return _with_sign_of(dtype, "int8")
    return dtype


def _with_sign_of(dtype: np.dtype, name: str) -> np.dtype:
    return np.dtype(f"u{name}" if jnp.issubdtype(dtype, jnp.unsignedinteger) else name)
