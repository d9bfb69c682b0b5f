"""In which dtypes terms are added, and elements moved and promoted, for every dtype of JAX."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.algorithms.shared import _dtypes

# Where terms are added up, where elements are moved, and as what they are promoted.
DTYPES = {
    "float64": ("float64", "float64", "float64"),
    "float32": ("float32", "float32", "float32"),
    "bfloat16": ("float32", "bfloat16", "bfloat16"),
    "float16": ("float32", "float16", "float16"),
    "float8_e4m3fn": ("float32", "float32", "bfloat16"),
    "float8_e5m2": ("float32", "float32", "bfloat16"),
    "float4_e2m1fn": ("float32", "float32", "bfloat16"),
    "complex64": ("complex64", "complex64", "complex64"),
    "int64": ("int64", "int64", "int64"),
    "uint16": ("uint16", "uint16", "uint16"),
    "int8": ("int8", "int8", "int8"),
    "uint8": ("uint8", "uint8", "uint8"),
    "int4": ("int32", "int8", "int8"),
    "uint4": ("uint32", "uint8", "uint8"),
    "int2": ("int32", "int8", "int8"),
    "uint2": ("uint32", "uint8", "uint8"),
    "bool": ("bool", "bool", "bool"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_the_dtypes_of_sums_and_of_elements(name):
    dtype = jnp.dtype(name)
    functions = _dtypes.accumulator, _dtypes.of_whole_bytes, _dtypes._promoted_by_jax
    assert tuple(str(f(dtype)) for f in functions) == DTYPES[name]
    # Whole bytes hold all values.
    if jnp.issubdtype(dtype, jnp.number) and not jnp.issubdtype(dtype, jnp.complexfloating):
        limits = jnp.finfo(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype)
        for value in (limits.min, limits.max):
            moved = np.asarray(value, dtype).astype(_dtypes.of_whole_bytes(dtype))
            assert moved.astype(dtype).astype("float64") == float(value)


@pytest.mark.usefixtures("float64")
def test_the_dtype_that_all_are_promoted_to():
    for name in DTYPES:
        assert _dtypes.common_dtype(name) == _dtypes.common_dtype(name, name, name) == name
    for a, b in itertools.combinations(DTYPES, 2):
        expected = jnp.result_type(jnp.dtype(DTYPES[a][2]), jnp.dtype(DTYPES[b][2]))
        assert _dtypes.common_dtype(a, b) == _dtypes.common_dtype(b, a) == expected
    assert _dtypes.common_dtype("bfloat16", "bfloat16", "float16") == "float32"


def test_operands_are_promoted_together():
    a, b = np.ones(2, "float16"), np.ones(2, "float32")
    assert [x.dtype for x in _dtypes.to_common_dtype(a, b)] == ["float32"] * 2
    assert [x.dtype for x in _dtypes.to_common_dtype(a, a)] == ["float16"] * 2
    assert [x.dtype for x in _dtypes.to_accumulator("float16", a, a)] == ["float32"] * 2
    small = np.ones(2, "int8")
    assert [x.dtype for x in _dtypes.to_accumulator("int8", small, small)] == ["int8"] * 2
    assert [x.dtype for x in _dtypes.to_accumulator("int32", small, small)] == ["int32"] * 2
    for name in ("float8_e5m2", "int4", "uint2", "float4_e2m1fn", "int16"):
        a = jnp.ones(2, "float32").astype(name)
        expected = name if name in ("float8_e5m2", "int16") else DTYPES[name][2]
        assert _dtypes.in_whole_bytes(a).dtype == expected
