"""The pools for GPUs against the definition, run on a CPU, and what they become for a GPU."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import algorithms, reference
from jaxconv._arguments import convolution_geometry
from jaxconv.algorithms import gpu
from jaxconv.ops._pool_options import PoolOptions
from tests.algorithms.problems import cases
from tests.oracles import assert_within_rounding, transpose_of

from .patterns import lowered

# (spatial, window, strides, padding, dilation, ceil_mode)
WINDOWS = [
    ((8, 6), 2, None, "VALID", 1, False),
    ((9, 8), 3, 2, ((1, 1), (0, 2)), 1, False),
    ((9, 10), (2, 3), (1, 2), ((2, 0), (1, 3)), (3, 2), False),
    ((9, 10), (2, 3), (3, 4), "VALID", 1, False),
    ((4, 6, 5), (2, 3, 2), (2, 1, 2), "SAME", 1, False),
    ((12, 13), (7, 6), (7, 6), "VALID", 1, False),  # large, side by side, with a rest
    ((7, 6), (7, 6), 1, "VALID", 1, False),  # one window
    ((30,), 17, 3, ((4, 9),), 1, False),
    ((7, 6), 2, 2, 0, 1, True),
    ((2, 1), 3, (2, 4), 0, 1, True),  # the map is smaller than the window
    ((4, 6), 2, 3, 1, 1, True),
    ((6,), 2, 3, ((3, 4),), 1, False),  # windows of padding alone
]
OPTIONS = ("window_shape", "strides", "padding", "window_dilation", "ceil_mode")


def geometry_of(size, *options):
    return PoolOptions("test", *options).geometry(size)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.usefixtures("float64")
def test_sums_equal_the_definition(windows, normal):
    size, *options = windows
    geometry, x = geometry_of(*windows), np.asarray(normal((2, *size, 3)))
    definition = partial(reference.sum_pool, **dict(zip(OPTIONS, options, strict=True)))
    y = gpu.sum_windows(jnp.asarray(x), geometry=geometry)
    assert_within_rounding(y, definition(x), definition(np.abs(x)), x.size, "y")
    y_bar = np.asarray(normal(y.shape))
    x_bar = gpu.spread_windows(jnp.asarray(y_bar), geometry=geometry)
    expected, magnitude = (transpose_of(definition, x.shape, a) for a in (y_bar, np.abs(y_bar)))
    assert_within_rounding(x_bar, expected, magnitude, y.size, "x_bar")


# Windows of which an end of the map is cropped, at one side of an axis or both.
CROPPED = [
    ((9, 8), (3, 2), (2, 1), ((-1, 2), (1, 0))),
    ((9, 8), (3, 2), (2, 1), ((2, -3), (0, 1))),
    ((9, 8), (3, 2), (1, 2), ((1, 1), (-2, -3))),
    ((12,), (3,), (2,), ((0, -2),)),  # by as much as a stride
    ((20,), (2,), (3,), ((-3, -4),)),
    ((24,), (12,), (12,), ((-12, 0),)),
]


@pytest.mark.usefixtures("float64")
def test_cropped_maps_have_the_pools_of_every_platform(normal):
    geometries = [convolution_geometry("test", *case, 1, 1, 1) for case in CROPPED]
    maps = [normal((2, *geometry.input_size, 3)) for geometry in geometries]
    pooled = [normal((2, *geometry.output_size, 3)) for geometry in geometries]

    @jax.jit
    def results(maps, pooled):
        return [
            [
                (
                    module.sum_windows(x, geometry=geometry),
                    module.spread_windows(y, geometry=geometry),
                    *module.max_and_argmax(x, geometry=geometry),
                    module.max_of_windows(x, geometry=geometry),
                )
                for module in (gpu, algorithms)
            ]
            for x, y, geometry in zip(maps, pooled, geometries, strict=True)
        ]

    for case, both in zip(CROPPED, results(maps, pooled), strict=True):
        for ours, expected in zip(*both, strict=True):
            assert ours.dtype == expected.dtype
            np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12, err_msg=str(case))


# Windows, and whether XLA's own reduction over windows computes sum, spread and maximum.
FORMS = [
    (((8, 6), 2, None, "VALID", 1, False), (True, False, True)),  # side by side: copies
    (((9, 8), 3, 2, ((1, 1), (0, 2)), 1, False), (True, True, True)),
    (((64,), 64, None, "VALID", 1, False), (True, False, True)),
    (((65,), 65, None, "VALID", 1, False), (False, False, False)),  # a reduction of many elements
    (((66,), 65, 1, "VALID", 1, False), (True, True, True)),
    (((6,), 2, 3, ((3, 4),), 1, False), (True, False, True)),  # windows of padding alone
]


@pytest.mark.parametrize(("windows", "expected"), FORMS, ids=str)
def test_which_pools_are_reductions_over_windows(windows, expected):
    geometry = geometry_of(*windows)
    x, y = (
        jax.ShapeDtypeStruct((2, *size, 3), "float32")
        for size in (geometry.input_size, geometry.output_size)
    )
    functions = (gpu.sum_windows, x), (gpu.spread_windows, y), (gpu.max_of_windows, x)
    found = [
        "reduce_window" in str(jax.make_jaxpr(partial(f, geometry=geometry))(a))
        for f, a in functions
    ]
    assert tuple(found) == expected


@pytest.mark.parametrize(
    ("size", "window", "strides", "form"),
    [
        (33, 33, 1, "reduce"),  # one window of many elements: pairs of values and taps
        (32, 32, 1, "select_n"),  # taps are compared
        (40, 33, 2, "select_n"),
    ],
)
def test_how_the_tap_of_a_maximum_is_found(size, window, strides, form):
    geometry = geometry_of((size,), window, strides, "VALID", 1, False)
    x = jax.ShapeDtypeStruct((2, size, 3), "float32")
    program = jax.make_jaxpr(partial(gpu.max_and_argmax, geometry=geometry))(x)
    names = [equation.primitive.name for equation in program.eqns]
    assert ("reduce" in names) == (form == "reduce")
    assert names[-1] == "optimization_barrier"
    in_loop = jax.make_jaxpr(partial(gpu.max_and_argmax_in_loop, geometry=geometry))(x)
    # The shared form, of more taps than are compared, has a hint of its own.
    assert "optimization_barrier" not in [e.primitive.name for e in in_loop.eqns]


def with_ties(rng, shape, dtype):
    """A map with many equal elements, infinities and NaN."""
    x = rng.integers(-2, 3, shape).astype("float32")
    if jnp.issubdtype(dtype, jnp.floating):
        for value in (-np.inf, np.inf, np.nan):
            x[rng.random(shape) < 0.05] = value
        x[0] = -np.inf
    return jnp.asarray(x, dtype)


DTYPES = ["float32", "bfloat16", "int8"]
# By default each geometry in one dtype.
EACH = [(windows, DTYPES[number % 3]) for number, windows in enumerate(WINDOWS)]
EACH = cases(EACH, [pair for pair in itertools.product(WINDOWS, DTYPES) if pair not in EACH])


@pytest.mark.parametrize(("windows", "dtype"), EACH)
def test_maxima_equal_those_of_every_platform(windows, dtype):
    """The choice among equals and NaN, too. `tests/ops` has the others against the definition."""
    geometry = geometry_of(*windows)
    x = with_ties(np.random.default_rng(0), (3, *windows[0], 4), jnp.dtype(dtype))

    @jax.jit
    def both(x):
        return [module.max_and_argmax(x, geometry=geometry) for module in (gpu, algorithms)]

    (y, index), (expected, expected_index) = both(x)
    assert (y.dtype, index.dtype) == (expected.dtype, expected_index.dtype)
    np.testing.assert_array_equal(y.astype("float32"), expected.astype("float32"))
    np.testing.assert_array_equal(index, expected_index)


def test_maxima_without_nan_equal_those_of_every_platform(normal):
    """XLA's own reductions forget NaN on a CPU."""
    geometries = [geometry_of(*windows) for windows in WINDOWS]

    @jax.jit
    def pooled(maps):
        return [
            [module.max_of_windows(x, geometry=geometry) for module in (gpu, algorithms)]
            for x, geometry in zip(maps, geometries, strict=True)
        ]

    maps = [normal((2, *windows[0], 3), "float32") for windows in WINDOWS]
    for windows, (y, expected) in zip(WINDOWS, pooled(maps), strict=True):
        np.testing.assert_array_equal(y, expected, err_msg=str(windows))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_in_half_precision_are_rounded_once(dtype, normal):
    geometry = geometry_of((20, 20), 9, 1, 4)
    x = normal((2, 20, 20, 3), dtype)
    for pool in (gpu.sum_windows, gpu.spread_windows):
        y, wide = pool(x, geometry=geometry), pool(x.astype("float32"), geometry=geometry)
        np.testing.assert_array_equal(y, wide.astype(dtype))


POOLS = {
    "max": partial(jaxconv.max_pool, window_shape=3, strides=2, padding=1),
    "avg": partial(jaxconv.avg_pool, window_shape=3, strides=2, padding=1),
    "block": partial(
        lambda x, **options: jaxconv.conv_block(x, jnp.ones((1, 1, 8, 8), x.dtype), **options),
        window_shape=2,
    ),
}


@pytest.mark.parametrize("platform", algorithms.GPU_PLATFORMS)
@pytest.mark.parametrize("name", POOLS)
def test_the_reverse_pass_reads_an_index(name, platform):
    """XLA would search the maxima again, from a map that it keeps, if no barrier stood there."""
    x = jax.ShapeDtypeStruct((4, 24, 24, 8), "bfloat16")
    loss = jax.value_and_grad(lambda x: jnp.sum(POOLS[name](x).astype("float32") ** 2))
    text = lowered(loss, x, platform=platform)
    barriers = [line for line in text.splitlines() if "optimization_barrier" in line]
    assert [line.count("xi8>") for line in barriers] == ([] if name == "avg" else [1])
