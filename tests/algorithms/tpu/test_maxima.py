"""The kernels of max pools for TPUs, interpreted, are the forms that run everywhere."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import algorithms
from jaxconv.algorithms import tpu
from jaxconv.algorithms.tpu import _maxima, _tiling
from tests.algorithms.problems import cases
from tests.algorithms.shared.test_hints import geometry_of
from tests.algorithms.tpu.test_windows import awkward

POOLS = [
    ((9, 7), (3, 3), 2, ((1, 1), (1, 1)), 1),
    ((9, 8), (3, 2), (1, 2), "SAME", (2, 3)),
    ((11, 5), (2, 2), 3, "VALID", 2),  # elements that no window sees
    ((4, 5), (2, 1), 2, ((4, 3), (0, 0)), 1),  # windows of padding alone
    ((29,), (3,), 2, ((1, 1),), 1),
    ((6, 8), (2, 2), 2, "VALID", 1),
    ((7, 3), (3, 2), 1, "VALID", 1),  # the first rows have fewer windows than others
    ((2, 1), (1, 2), (4, 1), ((3, 0), (1, 0)), 1),
]
LAYOUTS = {"columns": (0, 1, 2, 3), "examples": (1, 2, 0, 3), "channels": (1, 2, 3, 0)}
EACH = [
    (pool, dtype, layout, is_scarce)
    for pool in POOLS
    for dtype in ("bfloat16", "float32")
    for layout in LAYOUTS
    for is_scarce in (True, False)
]
DEFAULT = EACH[0:5:2] + EACH[19:66:23] + [case for case in EACH if case[0] == POOLS[6]][:1]
N, C = 10, 3  # of examples in two blocks, where they fill sublanes


@pytest.fixture
def fixed(monkeypatch):
    """Set the layout, and as little memory as kernels of a pool need."""

    def fix(layout, geometry, dtype="float32", *, is_scarce=False):
        monkeypatch.setattr(_maxima, "MOST_WASTED", np.inf)
        fixed = _tiling.Layout(LAYOUTS[layout], 1.0)
        for module in (_maxima, _tiling):
            monkeypatch.setattr(module, "layout_of", lambda *_: fixed)
        if is_scarce:
            enough = (
                memory
                for memory in range(10_000, 10**6, 10_000)
                if not monkeypatch.setattr(_tiling, "MEMORY", memory)
                and all(_maxima._plan(of, geometry, N, C, dtype) for of in "xy")
            )
            assert next(enough)

    return fix


def maps_of(pool, dtype, n=N, c=C):
    """An awkward input, something to scatter whose sums are exact, and the geometry."""
    geometry = geometry_of(*pool)
    x = awkward(geometry, dtype)
    x = np.concatenate([np.roll(x, i, axis=1) for i in range(-(-n // 2))])[:n]
    x = np.concatenate([np.roll(x, i, axis=0) for i in range(-(-c // 3))], axis=-1)[..., :c]
    shape = (n, *geometry.output_size, c)
    y = (np.arange(np.prod(shape)).reshape(shape) % 7).astype(x.dtype)
    return geometry, jnp.asarray(x), jnp.asarray(y)


def both(geometry, x, y):
    """Taps and scattered values by the plain forms and by the kernels."""

    def results(taps, scatter):
        index = taps(x, geometry=geometry)
        return index, scatter(y, index, geometry=geometry)

    kernels = (partial(f, interpret=True) for f in (_maxima.taps, _maxima.scatter))
    return results(
        lambda x, **k: algorithms.max_and_argmax(x, **k)[1], algorithms.scatter_windows
    ), (results(*kernels))


@pytest.mark.parametrize(
    ("pool", "dtype", "layout", "is_scarce"),
    cases(DEFAULT, [case for case in EACH if case not in DEFAULT]),
)
def test_are_the_plain_forms(pool, dtype, layout, is_scarce, fixed):
    geometry, x, y = maps_of(pool, dtype)
    fixed(layout, geometry, dtype, is_scarce=is_scarce)
    expected, actual = both(geometry, x, y)
    for name, one, other in zip(("taps", "scattered"), expected, actual, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(other, one, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_little_memory_gives_parts_and_much_gives_whole_maps(layout, fixed):
    geometry = geometry_of(*POOLS[0])
    numbers = []
    for is_scarce in (False, True):
        fixed(layout, geometry, is_scarce=is_scarce)
        plans = [_maxima._plan(result, geometry, N, C, "float32") for result in "xy"]
        numbers.append(max(plan.blocks * plan.chunks for plan in plans))
    assert numbers[0] == 1 < numbers[1]


def test_blocks_cover_channels_beyond_the_lanes(fixed):
    geometry, x, y = maps_of(((4, 2), (2, 2), 2, "VALID", 1), "float32", n=3, c=130)
    fixed("examples", geometry)
    expected, actual = both(geometry, x, y)
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(other, one)


def test_the_layout_is_the_one_that_wastes_least():
    """As XLA for a TPU lays out arrays of these shapes."""
    expected = {
        (500, 24, 32): "channels",  # 500 examples fill lanes, 32 channels sublanes
        (32, 28, 192): "examples",
        (32, 112, 128): "columns",  # nothing is wasted by either: as it is
        (8, 56, 64): "columns",
        (256, 14, 512): "examples",
        (128, 112, 64): "channels",
    }
    for (n, size, c), name in expected.items():
        geometry = geometry_of((size, size), (2, 2), 2, "VALID", 1)
        assert _tiling.layout_of(n, c, geometry).order == LAYOUTS[name]


def with_kernel(f, *operands):
    """Whether a kernel may run in `f`."""
    return "jaxconv_kernel" in str(jax.make_jaxpr(f)(*operands))


def test_are_for_maps_that_fill_tiles():
    geometry = geometry_of((8, 8), (2, 2), 2, "VALID", 1)
    assert _maxima.suits(64, 128, "bfloat16", geometry)
    assert not _maxima.suits(2, 3, "bfloat16", geometry)  # most of each tile would be empty
    assert not _maxima.suits(64, 128, "int8", geometry)
    # Windows side by side, where examples and channels fill tiles: one loop of XLA's.
    assert not _maxima.suits(500, 32, "bfloat16", geometry)
    overlapping = geometry_of((8, 8), (3, 3), 2, "SAME", 1)
    assert _maxima.suits(500, 32, "bfloat16", overlapping)
    volume = geometry_of((8, 8, 8), (2, 2, 2), 2, "VALID", 1)
    assert not _maxima.suits(64, 128, "bfloat16", volume)
    many_taps = geometry_of((24, 24), (12, 12), 1, "VALID", 1)
    assert not _maxima.suits(64, 128, "bfloat16", many_taps)
    gaps = replace(geometry, input_dilation=(1, 2))
    assert not _maxima.suits(64, 128, "bfloat16", gaps)
    cropped = geometry_of((8, 8), (2, 2), 2, ((0, 0), (-2, 0)), 1)
    assert not _maxima.suits(64, 128, "bfloat16", cropped)
    assert not _maxima.suits(0, 128, "bfloat16", geometry)
    wide = geometry_of((4, 4096), (2, 2), 2, "VALID", 1)
    assert not _maxima.suits(64, 130, "float32", wide)  # no row fits into the memory


def test_pools_choose_them():
    geometry = geometry_of((8, 8), (2, 2), 2, "VALID", 1)
    x, y = jnp.ones((64, 8, 8, 128)), jnp.ones((64, 4, 4, 128))
    index = jnp.zeros(y.shape, "int8")
    choose = partial(tpu.max_and_argmax, geometry=geometry)
    scatter = partial(tpu.scatter_windows, geometry=geometry)
    assert with_kernel(choose, x)
    assert with_kernel(scatter, y, index)
    assert not with_kernel(scatter, y, index.astype("int32"))  # of `max_unpool`
    assert not with_kernel(choose, x[:2, ..., :3])


def test_a_pool_that_is_lowered_for_a_tpu_holds_them():
    def gradient(x):
        return jax.grad(lambda x: jaxconv.max_pool(x, 3, 2, "SAME").sum())(x)

    x = jax.ShapeDtypeStruct((64, 8, 8, 128), "bfloat16")
    lowered = jax.jit(gradient).trace(x).lower(lowering_platforms=("tpu",)).as_text()
    assert lowered.count("tpu_custom_call") == 2
