"""Every algorithm against the direct convolution in float64, wherever it says that it applies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import lowering
from jaxconv._geometry import convolution_geometry
from jaxconv.lowering import _fourier, _strips
from jaxconv.lowering._selection import cheapest, costs
from tests.oracles import assert_within_rounding

# (input, window, strides, padding, kernel_dilation)
GEOMETRIES = [
    ((9,), (4,), 1, "VALID", 1),
    ((9,), (4,), 1, ((2, 1),), 2),
    ((8, 9), (3, 2), 1, "SAME", 1),
    ((8, 9), (3, 4), 1, "FULL", 1),
    ((8, 9), (3, 4), 1, ((-1, 2), (-2, 1)), 1),
    ((8, 9), (3, 2), (2, 1), ((1, 0), (0, 1)), (2, 1)),
    ((12, 10), (10, 10), 1, "VALID", 1),
    ((5, 4, 6), (2, 3, 2), 1, "SAME", 1),
    ((5, 4, 6), (2, 2, 3), (2, 1, 1), "VALID", (1, 2, 1)),
]
APPLIES = {"strips": _strips.strip_length, "fourier": _fourier.fits}


@pytest.mark.parametrize("name", APPLIES)
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("slot", "xky")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("float64")
def test_equals_direct(name, geometry, slot, dtype, normal):
    size, window, strides, padding, dilation = geometry
    geometry = convolution_geometry("test", size, window, strides, padding, 1, dilation, 1)
    if slot not in lowering.ALGORITHMS[name] or not APPLIES[name](geometry):
        assert name not in costs(slot, geometry, 3, 2, 5), "not selected where it does not apply"
        return
    arrays = {
        "x": normal((3, *size, 2)),
        "k": normal((*window, 2, 5)),
        "y": normal((3, *geometry.output_size, 5)),
    }
    operands = [array for other, array in arrays.items() if other != slot]
    wide = {"geometry": geometry, "dtypes": (np.dtype("float64"),) * 3, "precision": None}
    direct = lowering.ALGORITHMS["direct"][slot]
    expected = direct(*operands, **wide)
    if name == "fourier":  # each element is a sum over all frequencies of all products
        magnitude = np.sqrt(jnp.sum(operands[0] ** 2) * jnp.sum(operands[1] ** 2))
    else:
        magnitude = direct(*map(jnp.abs, operands), **wide)
    dtypes = (np.dtype(dtype),) * 3
    narrow = {**wide, "dtypes": dtypes}
    narrow_operands = [operand.astype(dtype) for operand in operands]
    actual = jax.jit(lambda *a: lowering.ALGORITHMS[name][slot](*a, **narrow))(*narrow_operands)
    assert actual.dtype == dtype
    terms = max(operand.size for operand in operands)
    rounded = [a.astype("float64") for a in narrow_operands]
    expected = direct(*rounded, **wide)
    bound = magnitude * np.finfo(dtype).eps / np.finfo(np.float64).eps
    assert_within_rounding(np.asarray(actual, np.float64), expected, bound, terms, name)


def geometry_of(size, window, strides=1, padding="VALID"):
    return convolution_geometry("test", size, window, strides, padding, 1, 1, 1)


SELECTED = [  # as measured on two AVX-512 cores
    ("k", geometry_of((28, 28), (5, 5)), (500, 1, 32), "strips"),
    ("x", geometry_of((28, 28), (5, 5)), (500, 1, 32), "strips"),
    ("y", geometry_of((28, 28), (5, 5)), (500, 1, 32), "direct"),
    ("k", geometry_of((28, 28), (10, 10)), (500, 1, 32), "strips"),
    ("k", geometry_of((12, 12), (5, 5)), (500, 32, 32), "fourier"),
    ("x", geometry_of((12, 12), (5, 5)), (500, 32, 32), "fourier"),
    ("y", geometry_of((12, 12), (5, 5)), (500, 32, 32), "direct"),
    ("y", geometry_of((7, 7), (3, 3), 1, "SAME"), (32, 512, 512), "direct"),
    ("k", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64), "direct"),
    ("x", geometry_of((56, 56), (3, 3), 2, "SAME"), (32, 64, 128), "direct"),
]


@pytest.mark.parametrize(("slot", "geometry", "sizes", "expected"), SELECTED, ids=str)
def test_selection_follows_the_measurements(slot, geometry, sizes, expected):
    assert cheapest(slot, geometry, *sizes) == expected


def test_other_platforms_and_dtypes_run_the_direct_convolution(normal):
    def program(platform, dtype):
        x, k = normal((500, 12, 12, 32), dtype), normal((5, 5, 32, 32), dtype)
        y = normal((500, 8, 8, 32), dtype)
        geometry = geometry_of((12, 12), (5, 5))
        options = {"geometry": geometry, "dtypes": (x.dtype,) * 3, "precision": None}

        def corner(k, y):
            return lowering.run("x", platform, k, y, **options)

        return str(jax.make_jaxpr(corner)(k, y))

    assert "conv_general_dilated" not in program("cpu", np.float32)
    assert "conv_general_dilated" in program("any", np.float32)
    assert "conv_general_dilated" in program("cpu", jnp.bfloat16)
