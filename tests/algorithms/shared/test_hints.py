"""Hints change no result, and no platform but a CPU gets any."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import algorithms
from jaxconv._arguments import convolution_geometry
from jaxconv.algorithms import cpu
from jaxconv.algorithms.shared._row_major import ASKS_FOR_LAYOUT
from tests.oracles import together

# Size, window, strides, padding, dilation: one for each way in which pools are computed.
POOLS = [
    ((6, 8), (2, 2), 2, "VALID", 1),  # adjacent windows
    ((7, 9), (3, 2), (2, 1), ((1, 1), (0, 1)), 1),  # overlapping windows, and padding
    ((9, 8), (3, 2), (1, 2), "SAME", (2, 3)),
    ((6, 5), (6, 5), 1, "VALID", 1),  # the whole map
    ((26, 13), (13, 13), 13, "VALID", 1),  # more taps than are unrolled, adjacent
    ((14, 14), (12, 12), 1, "VALID", 1),  # and overlapping
    ((40,), (33,), 1, ((2, 3),), 1),  # more along one axis
]


def geometry_of(size, window, strides, padding, dilation):
    return convolution_geometry("test", size, window, strides, padding, 1, dilation, 1)


@pytest.fixture
def awkward(normal):
    """Maps with equal elements, infinities and NaN among the others."""

    def draw(shape):
        x = np.round(np.asarray(normal(shape, "float32")) * 2) / 2
        flat = x.reshape(-1)
        flat[:: 1 + flat.size // 7] = np.nan
        flat[3 :: 1 + flat.size // 5] = np.inf
        flat[5 :: 1 + flat.size // 5] = -np.inf
        return x

    return draw


GEOMETRIES = [geometry_of(*pool) for pool in POOLS]


def plain_and_hinted(results, geometries, operands):
    """For each pool, what `results(form, geometry, *operands)` gives for either form."""
    return zip(
        *(
            together(
                [
                    (partial(results, form, geometry), *given)
                    for geometry, given in zip(geometries, operands, strict=True)
                ]
            )
            for form in (algorithms, cpu)
        ),
        strict=True,
    )


def test_choices_ties_and_nan_are_the_same(awkward):
    def results(form, geometry, x):
        y, index = form.max_and_argmax(x, geometry=geometry)
        moved = jnp.nan_to_num(x)
        return {
            "maximum": form.max_of_windows(x, geometry=geometry),
            "maximum with its tap": y,
            "tap": index,
            "gathered": form.gather_windows(moved, index, geometry=geometry),
        }

    operands = [(awkward((2, *geometry.input_size, 8)),) for geometry in GEOMETRIES]
    both = plain_and_hinted(results, GEOMETRIES, operands)
    for pool, (plain, hinted) in zip(POOLS, both, strict=True):
        for name, value in plain.items():
            np.testing.assert_array_equal(value, hinted[name], err_msg=f"{pool}: {name}")


@pytest.mark.parametrize(
    "geometries",
    [GEOMETRIES[::2], pytest.param(GEOMETRIES[1::2], marks=pytest.mark.exhaustive)],
    ids=["even", "odd"],
)
@pytest.mark.usefixtures("float64")
def test_sums_are_the_same_to_rounding(geometries, normal):
    def results(form, geometry, x, y):
        best, index = form.max_and_argmax(x, geometry=geometry)
        return [
            form.sum_windows(x, geometry=geometry),
            form.spread_windows(y, geometry=geometry),
            form.scatter_windows(y, index, geometry=geometry),
            form.sum_where_equal(x, x, best, geometry=geometry),
            form.spread_where_equal(y, x, best, geometry=geometry),
        ]

    operands = [
        (normal((2, *geometry.input_size, 8)), normal((2, *geometry.output_size, 8)))
        for geometry in geometries
    ]
    both = plain_and_hinted(results, geometries, operands)
    for geometry, arrays, (plain, hinted) in zip(geometries, operands, both, strict=True):
        # Both add at most one term for each tap, and no sum is larger than that of the magnitudes.
        terms, largest = np.prod(geometry.window), max(float(abs(a).max()) for a in arrays)
        bound = 2 * terms * np.finfo(float).eps * terms * largest
        for actual, expected in zip(hinted, plain, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=bound, err_msg=str(geometry))


@pytest.mark.usefixtures("optimised")
def test_a_nan_of_a_large_map_is_kept():
    """XLA's own maximum over a large array forgets it on a CPU."""
    x = np.zeros((1, 512, 512, 1), np.float32)
    x[0, 300, 40, 0] = np.nan
    geometry = geometry_of((512, 512), (512, 512), 1, "VALID", 1)
    for form in (algorithms, cpu):
        assert np.isnan(jax.jit(partial(form.max_of_windows, geometry=geometry))(x)).all()


# What other platforms run by default

X = jax.ShapeDtypeStruct((8, 24, 24, 8), "float32")
GRADIENTS = {
    "max pool": lambda x: jaxconv.max_pool(x, 2),
    "max pool, overlapping": lambda x: jaxconv.max_pool(x, 3, 2, "SAME"),
    "max pool, every tie": lambda x: jaxconv.max_pool(x, 3, 2, ties="all"),
    "max pool, many taps": lambda x: jaxconv.max_pool(x, 12, 1),
    "max pool, global": lambda x: jaxconv.max_pool(x, 24),
    "average pool": lambda x: jaxconv.avg_pool(x, 3, 2, "SAME"),
    "average pool, many taps": lambda x: jaxconv.avg_pool(x, (1, 24), 1),
    "upscaling": lambda x: jaxconv.upscale(x, 2),
    "interpolation": lambda x: jaxconv.upscale(x, 2, "bilinear"),
    "unpooling": lambda x: jaxconv.max_unpool(*jaxconv.max_pool_with_argmax(x, 2), 2),
    "convolution": lambda x: jaxconv.conv(x, jnp.ones((3, 3, 8, 16)), padding="SAME"),
    "strided": lambda x: jaxconv.conv(x, jnp.ones((3, 3, 8, 16)), 2),
    "tiles": lambda x: jaxconv.conv(x, jnp.ones((4, 4, 8, 16)), 4),
    "depthwise": lambda x: jaxconv.conv(x, jnp.ones((3, 3, 1, 8)), feature_group_count=8),
    "groups": lambda x: jaxconv.conv(x, jnp.ones((3, 3, 4, 8)), 2, feature_group_count=2),
    "transposed": lambda x: jaxconv.conv_transpose(x, jnp.ones((4, 4, 4, 8)), 2),
    "input dilation": lambda x: jaxconv.conv(
        x, jnp.ones((4, 4, 8, 4)), padding=2, input_dilation=2
    ),
    "signals": lambda x: jaxconv.conv(x[:, 0], jnp.ones((5, 8, 4)), kernel_dilation=2),
}

# The programs of these hold a barrier on NVIDIA's and AMD's GPUs: without it XLA would search the
# maxima again in the reverse pass, and keep the whole map for that (`gpu/_pools.py`).
WITH_A_BARRIER = {
    (name, platform)
    for name in (
        "max pool",
        *(f"max pool, {more}" for more in ("overlapping", "many taps", "global")),
    )
    for platform in algorithms.GPU_PLATFORMS
} | {("unpooling", platform) for platform in algorithms.GPU_PLATFORMS}

# GPUs are asked for the order of a map whose slices are added up (`shared/_row_major.py`).
WITH_A_LAYOUT = {
    ("depthwise", platform) for platform in algorithms.GPU_PLATFORMS if ASKS_FOR_LAYOUT
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_other_platforms_get_few_hints(name):
    f = jax.value_and_grad(lambda x: jnp.sum(GRADIENTS[name](x) ** 2))
    traced = jax.jit(f).trace(X)
    for platform in ("cuda", "rocm", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert ("LayoutConstraint" in text) == ((name, platform) in WITH_A_LAYOUT)
        assert ("optimization_barrier" in text) == ((name, platform) in WITH_A_BARRIER)


def test_a_cpu_gets_them():
    f = jax.grad(lambda x: jnp.sum(GRADIENTS["max pool, overlapping"](x) ** 2))
    assert "optimization_barrier" in jax.jit(f).lower(X).as_text()
