"""Pools on TPUs are the pools of all platforms, on any platform."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv.algorithms import tpu
from jaxconv.algorithms.tpu import _windows
from tests.algorithms.problems import cases
from tests.algorithms.shared.test_hints import GRADIENTS, POOLS, X, geometry_of

MORE = [
    ((9, 7), (3, 3), 2, ((1, 1), (1, 1)), 1),  # four shifts
    ((8, 6), (2, 3), (2, 3), ((1, 0), (0, 2)), 1),  # windows side by side, some on padding
    ((11, 5), (2, 2), 3, "VALID", 2),  # gaps between windows
    ((4, 5), (2, 1), 2, ((4, 3), (0, 0)), 1),  # windows of padding alone
    ((2, 1), (1, 2), (4, 1), ((3, 0), (1, 0)), 1),  # all of one axis
    ((5, 4, 6), (2, 3, 2), (2, 1, 2), "SAME", 1),
    ((9, 9, 9, 9), (2, 1, 2, 2), 2, "VALID", 1),  # more places than a key has room for
]
ALL = [*POOLS, *MORE]
HALVES = ["bfloat16", "float16"]
DTYPES = ["bfloat16", "float32", "int8", "float16", "uint16", "float8_e4m3fn"]
# By default every second pool in one dtype, and each dtype in some pool.
EACH = [(pool, DTYPES[number % len(DTYPES)]) for number, pool in enumerate(ALL[::2])]
EACH = cases(EACH, [pair for pair in itertools.product(ALL, DTYPES) if pair not in EACH])


def awkward(geometry, dtype):
    """Maps with equal elements, and of floats with infinities, NaN and both zeros among them."""
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(2, *geometry.input_size, 3)) * 2) / 2
    if not jnp.issubdtype(dtype, jnp.floating):
        return (x * 2 + 10 * (np.dtype(dtype).kind == "u")).astype(dtype)
    flat = x.reshape(-1)
    flat[:: 1 + flat.size // 7] = np.nan
    flat[1 :: 1 + flat.size // 9] = -np.nan
    flat[3 :: 1 + flat.size // 5] = np.inf
    flat[5 :: 1 + flat.size // 5] = -np.inf
    flat[rng.random(flat.size) < 0.3] = -0.0
    return x.astype(jnp.dtype(dtype))


@pytest.mark.parametrize(("pool", "dtype"), EACH)
def test_choices_ties_and_nan_are_the_same(pool, dtype):
    geometry = geometry_of(*pool)
    x = awkward(geometry, dtype)

    def results(form, x):
        best, index = form.max_and_argmax(x, geometry=geometry)
        y = jnp.arange(best.size).reshape(best.shape) % 7  # exact sums in every dtype
        return {
            "maximum": form.max_of_windows(x, geometry=geometry),
            "maximum with its tap": best,
            "tap": index,
            "scattered": form.scatter_windows(y.astype(x.dtype), index, geometry=geometry),
        }

    plain, ours = (jax.jit(partial(results, form))(x) for form in (algorithms, tpu))
    for name, value in plain.items():
        assert value.dtype == ours[name].dtype
        expected, actual = (np.asarray(a).astype(np.float64) for a in (value, ours[name]))
        np.testing.assert_array_equal(actual, expected, err_msg=name)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_maximum_keeps_the_sign_of_a_zero(dtype):
    x = np.full((1, 2, 2, 1), -1.0).astype(jnp.dtype(dtype))
    x[0, 1, 0, 0], x[0, 1, 1, 0] = -0.0, 0.0
    y, index = tpu.max_and_argmax(
        jnp.asarray(x), geometry=geometry_of((2, 2), (2, 2), 1, "VALID", 1)
    )
    assert y == 0
    assert np.signbit(np.asarray(y, "float32"))
    assert index == 2


@pytest.mark.parametrize(
    "pool", cases([(pool,) for pool in ALL[::3]], [(pool,) for pool in ALL if pool not in ALL[::3]])
)
@pytest.mark.usefixtures("float64")
def test_sums_are_the_same_to_rounding(pool, normal):
    geometry = geometry_of(*pool)
    x, y = normal((2, *geometry.input_size, 3)), normal((2, *geometry.output_size, 3))

    def results(form, x, y):
        _, index = form.max_and_argmax(x, geometry=geometry)
        return [
            form.sum_windows(x, geometry=geometry),
            form.spread_windows(y, geometry=geometry),
            form.scatter_windows(y, index, geometry=geometry),
        ]

    plain, ours = (jax.jit(partial(results, form))(x, y) for form in (algorithms, tpu))
    terms = np.prod(geometry.window)
    bound = 2 * terms * np.finfo(float).eps * terms * max(np.abs(x).max(), np.abs(y).max())
    for actual, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_narrow_elements_are_summed_in_wide_ones(dtype):
    """In bfloat16 a sum of ones would stop at 256."""
    geometry = geometry_of((300,), (300,), 1, "VALID", 1)
    ones = jnp.ones((1, 300, 1), dtype)
    assert tpu.sum_windows(ones, geometry=geometry) == jnp.asarray(300).astype(dtype)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30])
@pytest.mark.parametrize("pool", [POOLS[1], POOLS[2], MORE[0]], ids=str)
def test_an_element_reaches_its_own_windows_only(pool, value):
    geometry = geometry_of(*pool)
    x = np.random.default_rng(0).normal(size=(2, *geometry.input_size, 3)).astype("float32")
    run = jax.jit(partial(tpu.sum_windows, geometry=geometry))
    spot = np.zeros_like(x)
    spot[1, 2, 3, 1] = 1
    sees = np.asarray(algorithms.sum_windows(jnp.asarray(spot), geometry=geometry)) > 0
    assert sees.any()
    before, after = run(x), run(np.where(spot > 0, np.float32(value), x))
    np.testing.assert_array_equal(before[~sees], after[~sees])


@pytest.mark.parametrize(
    ("factors", "sizes"),
    [((2, 3), (6, 12)), ((2, 3), (5, 10)), ((2, 3), (5, 12)), ((1, 2), (3, 7)), ((1, 1), (3, 4))],
    ids=str,
)
def test_an_element_is_repeated_up_to_a_size(factors, sizes):
    """Along each axis its own number of times. The last repetitions may be left out."""
    a = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2) + 1
    expected = a
    for axis, (factor, size) in enumerate(zip(factors, sizes, strict=True), 1):
        expected = np.take(np.repeat(expected, factor, axis), range(size), axis)
    actual = _windows._repeat(jnp.asarray(a), factors, sizes)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("number", [0, 1])
def test_what_a_tap_along_an_axis_adds_to_its_number(number):
    """Of windows of 2x3, over phases of which the second has no tap. Nothing makes up for none."""
    geometry = geometry_of((5, 5), (2, 3), 2, "VALID", 1)
    weights = _windows._weighted_taps(np.array([1, -1]), number, geometry)
    inside = (3, 1)[number]
    assert weights.shape == (5,)
    np.testing.assert_array_equal(weights[::2], inside)
    most = sum((r - 1) * w for r, w in zip((2, 3), (3, 1), strict=True))
    assert (weights[1::2] + most < -1).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_a_key_holds_an_element_and_its_place(dtype):
    """Elements of every kind are ordered, and each comes back with its sign."""
    x = np.array([-np.inf, -2.0, -1.0, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan]).astype(dtype)
    tiny = np.array([1, 2]).astype(np.int16).view(x.dtype)  # the smallest elements
    x = np.concatenate([x[:3], -tiny[::-1], x[3:5], tiny, x[5:]])[None, :, None]
    geometry = geometry_of((x.size,), (x.size,), 1, "VALID", 1)
    keys = _windows._keys(jnp.asarray(x), geometry)
    back = np.asarray(_windows._value(keys, x.dtype))
    np.testing.assert_array_equal(back.view(np.int16)[0, :-1], x.view(np.int16)[0, :-1])
    assert np.isnan(back[0, -1, 0].astype(float))
    order = np.asarray(keys)[0, :, 0] >> 16
    steps = np.diff(order)
    assert (steps >= 0).all()
    equal = np.flatnonzero(steps == 0)
    assert equal.tolist() == [5]  # both zeros
    assert (np.asarray(keys) > _windows._PADDING).all()


def test_integers_of_the_order_of_float32():
    """Infinities are no NaN, -0 is below 0, padding is below all, and each element comes back."""
    limits = np.finfo("float32")
    x = [-np.inf, limits.min, -1, -limits.tiny, -limits.smallest_subnormal, -0.0]
    x = np.array([*x, *(-np.array(x[::-1])), np.nan, -np.nan], "float32")
    order = np.asarray(_windows._ordered(jnp.asarray(x)))
    assert (np.diff(order[:-1].astype(np.int64)) > 0).all()
    assert order[-1] == order[-2] == 2**31 - 1  # every NaN
    assert order.min() > _windows._PADDING
    back = np.asarray(_windows._unordered(jnp.asarray(order)))
    np.testing.assert_array_equal(back.view(np.int32)[:-2], x.view(np.int32)[:-2])
    assert np.isnan(back[-2:]).all()
    assert _windows._unordered(jnp.full((), _windows._PADDING)) == -np.inf


@pytest.mark.parametrize("places", [2**15, 2**15 + 1])
def test_the_largest_map_whose_places_fit_into_a_key(places):
    """One place more is left to a search of the taps."""
    geometry = geometry_of((places,), (2,), 4, "VALID", 3)
    x = np.zeros((1, places, 1), np.dtype(jnp.bfloat16))
    chosen = np.random.default_rng(0).integers(0, 2, places // 4)
    x[0, 4 * np.arange(places // 4) + 3 * chosen] = 1
    run = partial(tpu.max_and_argmax, geometry=geometry)
    has_keys = "shift_left" in str(jax.make_jaxpr(run)(x))
    assert has_keys == (places == 2**15)
    best, index = jax.jit(run)(x)
    assert np.all(np.asarray(best) == 1)
    np.testing.assert_array_equal(index[0, :, 0], chosen)


@pytest.mark.parametrize("name", ["max pool", "average pool", "upscaling", "unpooling"])
def test_only_tpus_get_them(name):
    def program(platform):
        f = jax.value_and_grad(lambda x: jnp.sum(GRADIENTS[name](x) ** 2))
        return jax.jit(f).trace(X).lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.reduce_window" in program("tpu")
    assert "stablehlo.reduce_window" not in program("cpu")


def test_windows_of_padding_alone_spread_nothing():
    geometry = geometry_of((3,), (2,), 1, ((-4, 5),), 1)
    spread = _windows.spread_windows(jnp.ones((2, *geometry.output_size, 3)), geometry=geometry)
    np.testing.assert_array_equal(spread, np.zeros((2, 3, 3)))
