"""Pools of lax and their derivatives, as `accelerate` replaces them, against lax.

Covers jaxconv/_accelerate/_pools.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from jaxconv._accelerate import _pools, accelerate
from tests.accelerate.primitives import ran, said
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

OPERATIONS = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "add": (0.0, lax.add)}
POOLS = {"max": "jaxconv.max_pool", "min": "jaxconv.min_pool", "add": "jaxconv.sum_pool"}


@st.composite
def pools(draw, differentiated=False):
    """A shape and the options of a pool over any axes of it."""
    rank = draw(st.integers(1, 4))
    options = {name: [] for name in ("window", "strides", "padding", "base", "dilation")}
    shape = []
    for _ in range(rank):
        pooled = draw(st.booleans())
        window = draw(st.integers(1, 3)) if pooled else 1
        dilation = draw(st.integers(1, 2)) if pooled and not differentiated else 1
        base = draw(st.sampled_from([1, 1, 2])) if pooled and not differentiated else 1
        low, high = (draw(st.integers(0, window - 1)) for _ in "lh")
        least = dilation * (window - 1) + 1
        shape.append(draw(st.integers(least, least + 4)))
        options["window"].append(window)
        options["strides"].append(draw(st.integers(1, 3)) if pooled else 1)
        options["padding"].append((low, high))
        options["base"].append(base)
        options["dilation"].append(dilation)
    return tuple(shape), options


def pool(name, options):
    start, operation = OPERATIONS[name]

    def f(x):
        return lax.reduce_window(
            x,
            start,
            operation,
            options["window"],
            options["strides"],
            options["padding"],
            options["base"],
            options["dilation"],
        )

    return f


def derivatives(f):
    """Value, tangent and gradient of a pool."""

    def g(x, x_dot):
        y, y_dot = jax.jvp(f, (x,), (x_dot,))
        y_bar = jnp.cos(jnp.arange(y.size).reshape(y.shape))
        (x_bar,) = jax.vjp(f, x)[1](y_bar)
        return y, y_dot, x_bar

    return g


# Elements of every kind, with ties among all of them.
KINDS = [np.nan, -np.inf, np.inf, 0.0, 1.0, 2.0]


@settings(max_examples=1, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(pools(True), st.sampled_from(["max", "min"])), min_size=8, max_size=8))
def test_extremes_and_their_derivatives_are_those_of_lax(many):
    rng = np.random.default_rng(0)
    programs = []
    for (shape, options), name in many:
        x_dot = rng.normal(size=shape)
        x = rng.integers(0, 3, shape).astype(float)
        f = derivatives(pool(name, options))
        programs += [(f, x, x_dot), (accelerate(f), x, x_dot)]
    results = iter(together(programs))
    for (_, options), name in many:
        expected, actual = next(results), next(results)
        for part, a, b in zip(("y", "y_dot", "x_bar"), actual, expected, strict=True):
            np.testing.assert_allclose(a, b, 1e-12, 1e-12, err_msg=f"{part} {name} {options}")


STRIDED = {
    "side by side": ((2, 6, 6, 3), (1, 2, 2, 1), (1, 2, 2, 1), "VALID", 1),
    "gaps": ((2, 9, 7, 3), (1, 2, 1, 1), (1, 3, 2, 1), "VALID", 1),
    "overlapping": ((2, 7, 8, 3), (1, 3, 3, 1), (1, 2, 2, 1), "SAME", 1),
    "dilated": ((2, 11, 9, 3), (1, 3, 2, 1), (1, 2, 3, 1), "VALID", 2),
    "one axis": ((12,), (3,), (2,), ((1, 2),), 1),
}


@pytest.mark.parametrize("inside", [lambda f: f, jax.jit], ids=["plain", "jit"])
@pytest.mark.parametrize("name", STRIDED)
def test_the_gradient_of_a_sum_with_strides_is_its_transpose(name, inside):
    """lax dilates the gradient with zeros and takes a sum with stride 1, of zeros above all."""
    shape, window, strides, padding, dilation = STRIDED[name]
    dilations = (1, *(dilation,) * (len(shape) - 2), 1) if len(shape) > 1 else (dilation,)

    def loss(x):
        of_windows = (window, strides, padding, None, dilations)
        return jnp.sum(jnp.sin(lax.reduce_window(x, 0.0, lax.add, *of_windows)))

    f, x = inside(jax.grad(loss)), np.random.default_rng(0).normal(size=shape)
    assert ran(f, x) == ["jaxconv.sum_pool", "the transpose of jaxconv.sum_pool"]
    np.testing.assert_allclose(accelerate(f)(x), f(x), 1e-12, 1e-12)
    np.testing.assert_allclose(jax.jit(accelerate(f))(x), f(x), 1e-12, 1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0], ids=str)
@pytest.mark.parametrize("inside", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_only_zeros_between_elements_are_left_out(value, inside):
    def f(x, fill):
        dilated = lax.pad(x, fill, ((1, 2, 1), (0, 0, 0)))
        return lax.reduce_window(dilated, 0.0, lax.add, (3, 1), (1, 1), "VALID")

    x = np.random.default_rng(0).normal(size=(5, 2))
    known, unknown = inside(lambda x: f(x, value)), inside(f)
    runs = "the transpose of jaxconv.sum_pool" if value == 0 else "jaxconv.sum_pool"
    assert ran(known, x) == [runs]
    assert ran(unknown, x, np.asarray(value)) == ["jaxconv.sum_pool"]
    np.testing.assert_allclose(accelerate(known)(x), known(x), 1e-12)
    np.testing.assert_allclose(accelerate(unknown)(x, value), known(x), 1e-12)


def summed(x, strides=(1, 1), padding=((0, 0), (0, 0)), base=(1, 1)):
    return lax.reduce_window(x, 0.0, lax.add, (3, 1), strides, padding, base)


def dilated(x):
    return lax.pad(x, 0.0, ((1, 2, 1), (0, 0, 0)))


@pytest.mark.parametrize("inside", [lambda f: f, jax.jit], ids=["plain", "jit"])
@pytest.mark.parametrize(
    ("f", "twice"),
    [
        (lambda x: summed(x, strides=(2, 1), base=(3, 1)), False),
        (lambda x: summed(x, padding=((5, 4), (0, 0)), base=(2, 1)), False),
        (lambda x: summed(x, padding=((0, 6), (0, 0)), base=(2, 1)), False),
        (lambda x: summed(dilated(x), padding=((1, 0), (0, 0))), False),
        (lambda x: summed(dilated(x), base=(2, 1)), True),
        (lambda x: (lambda y, d: summed(y).sum() + d.sum())(x + 1, dilated(x)), False),
    ],
    ids=["strides", "low padding", "high padding", "padded", "dilated twice", "another map"],
)
def test_sums_over_dilated_maps_that_are_no_gradients_are_those_of_lax(f, twice, inside):
    f, x = inside(f), np.random.default_rng(0).normal(size=(5, 2))
    # The last dilation of two is one of a gradient, of a map with zeros in it.
    assert ran(f, x) == ["the transpose of jaxconv.sum_pool" if twice else "jaxconv.sum_pool"]
    np.testing.assert_allclose(accelerate(f)(x), f(x), 1e-12, 1e-12)
    np.testing.assert_allclose(jax.jit(accelerate(f))(x), f(x), 1e-12, 1e-12)


@settings(max_examples=1, deadline=None, derandomize=True, database=None)
@given(st.lists(pools(), min_size=8, max_size=8))
def test_sums_are_those_of_lax(many):
    rng = np.random.default_rng(0)
    programs = []
    for shape, options in many:
        f = derivatives(pool("add", options))
        operands = rng.normal(size=(2, *shape))
        programs += [(f, *operands), (accelerate(f), *operands)]
    results = iter(together(programs, magnitudes=True))
    for _, options in many:
        (expected, scale), (actual, _) = next(results), next(results)
        for a, b, s in zip(actual[:2], expected[:2], scale[:2], strict=True):
            assert_within_rounding(a, b, s, 2 * np.prod(options["window"]), str(options))
        np.testing.assert_allclose(actual[2], expected[2], 1e-12, 1e-12)


@settings(max_examples=1, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(pools(), st.sampled_from(["max", "min"])), min_size=8, max_size=8))
def test_dilated_extremes_are_those_of_lax(many):
    rng = np.random.default_rng(0)
    programs = []
    for (shape, options), name in many:
        x = rng.choice(KINDS, shape)
        programs += [(pool(name, options), x), (accelerate(pool(name, options)), x)]
    results = iter(together(programs))
    for (_, options), name in many:
        expected, actual = next(results), next(results)
        np.testing.assert_array_equal(actual, expected, f"{name} {options}")


def test_the_gradient_of_an_accelerated_pool_is_that_of_lax():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (2, 9, 8, 3)).astype(float)
    programs = []
    for name, padding in (("max", (0, 0)), ("max", (1, 1)), ("min", (1, 0))):
        sizes = {"window": (1, 3, 3, 1), "strides": (1, 2, 2, 1), "base": (1,) * 4}
        sides = [(0, 0), padding, padding, (0, 0)]
        f = pool(name, sizes | {"padding": sides, "dilation": (1,) * 4})
        weights = rng.normal(size=jax.eval_shape(f, x).shape)
        for g in (f, accelerate(f)):
            programs.append((jax.grad(lambda x, g=g, w=weights: jnp.sum(w * g(x))), x))
    results = together(programs)
    for expected, actual in zip(results[::2], results[1::2], strict=True):
        assert np.any(expected)
        np.testing.assert_allclose(actual, expected, 1e-12, 1e-12)


def test_a_nan_gets_the_gradient():
    x = jnp.asarray([[3.0, jnp.nan, 4.0], [1.0, 2.0, 0.0]])

    def f(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3), (1, 1), "VALID")

    def gradient(f, x):
        return jax.vjp(f, x)[1](jnp.ones((2, 1)))[0]

    for x_bar in (gradient(accelerate(f), x), accelerate(partial(gradient, f))(x)):
        np.testing.assert_array_equal(x_bar, [[0, 1, 0], [0, 1, 0]])


def image_pool(name, x, *, start=None):
    first, operation = OPERATIONS[name]
    start = first if start is None else start
    return lax.reduce_window(x, start, operation, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


IMAGES = np.random.default_rng(0).integers(0, 3, (2, 9, 8, 3)).astype(np.float64)


@pytest.mark.parametrize("name", OPERATIONS)
def test_pools_are_recognised(name):
    assert said(partial(image_pool, name), IMAGES) == [POOLS[name]]


def test_derivatives_are_recognised():
    f = partial(image_pool, "max")
    gradient = said(jax.grad(lambda x: jnp.sum(f(x) ** 2)), IMAGES)
    assert gradient == ["jaxconv.max_pool", "the transpose of jaxconv.max_pool"]
    tangent = said(lambda x: jax.jvp(f, (x,), (x,)), IMAGES)
    assert tangent == ["jaxconv.max_pool", "the derivative of jaxconv.max_pool"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_reductions_from_any_value(name):
    """The derivative is lax's own: it halves the tangent of a maximum among two equals."""

    def f(x, start):
        return image_pool(name, x, start=start)

    def tangents(x, x_dot):
        return jax.jvp(lambda x: f(x, 1.0 * jnp.ones(())), (x,), (x_dot,))

    x_dot = np.random.default_rng(1).normal(size=IMAGES.shape)
    assert said(jax.jit(f), IMAGES, 1.0) == [POOLS[name]]
    for g, *operands in ((f, IMAGES, 1.0), (tangents, IMAGES, x_dot)):
        expected, actual = jax.jit(g)(*operands), jax.jit(accelerate(g))(*operands)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), actual, expected)
    before = jax.jit(
        lambda x, x_dot: jax.jvp(accelerate(lambda x: f(x, jnp.ones(()))), [x], [x_dot])
    )
    expected = tangents(IMAGES, x_dot)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), before(IMAGES, x_dot), expected)


RARE = {
    "cropped at one end": {"padding": [(0, 0), (1, -2), (-1, 1), (0, 0)]},
    "dilated beside the windows": {
        "window": (1, 1, 3, 1),
        "strides": (1, 1, 2, 1),
        "base": (1, 2, 1, 1),
    },
    "over all of a short axis": {
        "window": (1, 9, 1, 1),
        "padding": [(0, 0), (8, 0)] + 2 * [(0, 0)],
    },
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("case", RARE)
def test_rare_windows_are_pools(case, name):
    ones = (1, 1, 1, 1)
    of_image = {"window": (1, 3, 3, 1), "padding": [(0, 0)] * 4}
    f = pool(name, {"strides": ones, "base": ones, "dilation": ones} | of_image | RARE[case])
    assert ran(f, IMAGES) == [POOLS[name]]
    np.testing.assert_array_equal(accelerate(f)(IMAGES), f(IMAGES))  # small integers


@pytest.mark.parametrize("name", ["max", "min"])
def test_what_lies_between_elements_is_never_chosen(name):
    ones = (1, 1, 1, 1)
    options = {"window": (1, 3, 3, 1), "padding": [(0, 0)] * 4, "dilation": ones, "strides": ones}
    f = pool(name, options | {"base": (1, 2, 2, 1)})
    # A zero between these would be the largest, or the smallest.
    x = np.random.default_rng(0).uniform(1, 2, IMAGES.shape) * (-1 if name == "max" else 1)
    expected, actual = (jax.jvp(g, (x,), (IMAGES,)) for g in (f, accelerate(f)))
    after = accelerate(lambda *operands: jax.jvp(f, operands[:1], operands[1:]))(x, IMAGES)
    for value, tangent in (actual, after):
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(tangent, expected[1])


# Windows of a 4-dimensional array, and what they are on a feature map.


@pytest.mark.parametrize(
    ("options", "shape", "dilated", "size", "out"),
    [
        # The axes outside the first and the last window are joined.
        (((1, 2, 1, 1),), (2, 6, 15), ((0, 0, 0),), (6,), (2, 5, 5, 3)),
        (((1, 1, 1, 3),), (60, 3, 1), ((0, 0, 0),), (3,), (2, 6, 5, 1)),
        (((2, 1, 2, 1),), (1, 2, 6, 5, 3), ((0, 0, 0),) * 3, (2, 6, 5), (1, 6, 4, 3)),
        # Strides, padding or a dilation make an axis one with windows.
        (((1, 1, 1, 1), (1, 2, 1, 1)), (2, 6, 15), ((0, 0, 0),), (6,), (2, 3, 5, 3)),
        (
            ((1, 1, 1, 1), (1, 1, 1, 1), ((0, 0), (0, 0), (2, 0), (0, 0))),
            *((12, 5, 3), ((0, 0, 0),), (5,), (2, 6, 7, 3)),
        ),
        (
            ((1, 1, 1, 1), (1, 1, 1, 1), ((0, 0),) * 4, (1, 3, 1, 1)),
            *((2, 6, 15), ((0, 0, 2),), (16,), (2, 16, 5, 3)),
        ),
        # Negative padding crops what is dilated; other padding is of the windows.
        (
            ((1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (-1, 4), (3, -2), (0, 0)), (1, 2, 1, 1)),
            *((2, 6, 5, 3), ((-1, 0, 1), (0, -2, 0)), (10, 3), (2, 6, 5, 3)),
        ),
    ],
)
def test_windows_on_a_feature_map(options, shape, dilated, size, out):
    ones, none = (1, 1, 1, 1), ((0, 0),) * 4
    options = [*options, *(ones, ones, none, ones)[len(options) :]]
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3))
    windows = _pools._windows(jax.typeof(jnp.asarray(x)), *options, (1, 1, 1, 1))
    assert (windows.shape, windows.dilated) == (shape, dilated)
    assert windows.geometry.input_size == size
    assert (windows.given, windows.out) == (x.shape, out)
    np.testing.assert_array_equal(
        windows.to_map(jnp.asarray(x), 7.0), padded(x.reshape(shape), dilated, 7.0)
    )
    pooled = windows.pooled(jnp.zeros(out))
    assert pooled.shape == (shape[0], *windows.geometry.output_size, shape[-1])
    assert windows.result(pooled).shape == out


def padded(x, sides, fill):
    """Elements with some fill between them, cropped, by the definition."""
    shape = [i + between * (i - 1) for i, (*_, between) in zip(x.shape[1:-1], sides, strict=True)]
    y = np.full((x.shape[0], *shape, x.shape[-1]), fill)
    y[(slice(None), *(slice(None, None, between + 1) for *_, between in sides))] = x
    crops = zip(shape, sides, strict=True)
    return y[(slice(None), *(slice(-lo, i + hi) for i, (lo, hi, _) in crops))]


def test_sharded_arrays_are_pooled_where_they_need_no_reshape():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    answers = []
    with jax.set_mesh(mesh):
        for spec in (PartitionSpec("d"), PartitionSpec()):
            aval = jax.typeof(jax.device_put(np.zeros((2, 6, 5, 3)), spec))
            for window in ((1, 2, 2, 1), (1, 2, 1, 1)):
                windows = _pools._windows(aval, window, (1,) * 4, ((0, 0),) * 4)
                answers.append(getattr(windows, "reason", None))
    assert answers == [None, "its array is sharded and would be reshaped", None, None]


@pytest.mark.parametrize(
    ("pad", "changes", "expected"),
    [
        ([(1, 2, 1), (0, 0, 0)], {}, {"base_dilation": (2, 1), "padding": ((1, 2), (0, 0))}),
        ([(-1, 0, 0), (0, 3, 2)], {}, {"base_dilation": (1, 3), "padding": ((-1, 0), (0, 3))}),
        ([(1, 2, 1), (0, 0, 0)], {"base_dilation": (1, 2)}, None),
        ([(1, 2, 1), (0, 0, 0)], {"padding": ((0, 0), (0, 1))}, None),
        ([(1, 2, 1), (0, 0, 0)], {"padding": ((-1, 0), (0, 0))}, None),
    ],
)
def test_a_sum_that_dilates_its_operand_itself(pad, changes, expected):
    params = {"window_dimensions": (3, 1), "window_strides": (1, 2), "window_dilation": (1, 1)}
    params |= {"base_dilation": (1, 1), "padding": ((0, 0), (0, 0)), **changes}
    together = _pools.with_dilation({"padding_config": pad}, params)
    assert together == (None if expected is None else {**params, **expected})


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_dtypes_are_kept(name, dtype):
    x = jnp.asarray(IMAGES, dtype)
    if jnp.issubdtype(x.dtype, jnp.integer):
        limits = {"max": jnp.iinfo(dtype).min, "min": jnp.iinfo(dtype).max, "add": 0}
        start = np.asarray(limits[name], dtype)
    else:
        start = None
    f = partial(image_pool, name, start=start)
    assert said(f, x) == [POOLS[name]]
    expected, actual = f(x), accelerate(f)(x)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)  # sums of small integers are exact
