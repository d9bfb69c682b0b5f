"""All pools over many windows, against the definition: values, tangents and cotangents."""

import os
import pickle
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxconv
from jaxconv import avg_pool, max_pool_with_argmax, max_unpool, reference
from jaxconv.forms._operation import Operation
from jaxconv.ops import _unfolding, _windows
from jaxconv.ops._pool_options import PoolOptions
from tests.oracles import assert_within_rounding, together, transpose_of

FLOAT64 = pytest.mark.usefixtures("float64")


def both(name, **options):
    """A pool of the library and its definition."""
    return tuple(partial(getattr(of, name), **options) for of in (jaxconv, reference))


POOLS = {
    "max": both("max_pool"),
    "max, split": (partial(jaxconv.max_pool, ties="split"), reference.max_pool),
    "max, all": (partial(jaxconv.max_pool, ties="all"), reference.max_pool),
    "min": both("min_pool"),
    "sum": both("sum_pool"),
    "avg": both("avg_pool"),
    "avg, input only": both("avg_pool", count_include_pad=False),
    "lp": both("lp_pool", p=2),
}

# (spatial, window, strides, padding, dilation): side by side, overlapping, gaps, padding, dilation.
WINDOWS = [
    ((7,), 3, 1, "VALID", 1),
    ((8, 6), 2, None, "VALID", 1),
    ((9, 7), (3, 2), None, "SAME", 1),
    ((9, 8), 3, 2, "VALID", 1),
    ((9, 8), 3, 2, ((1, 1), (0, 2)), 1),
    ((9, 10), (2, 3), (3, 4), "VALID", 1),
    ((9, 10), (2, 3), (1, 2), ((2, 0), (1, 3)), (3, 2)),
    ((4, 6, 5), (2, 3, 2), (2, 1, 2), "SAME", 1),
    ((60, 14), (40, 9), (3, 2), ((2, 1), (0, 3)), 1),  # more taps than are unrolled
]

# The same with `ceil_mode`. torch can have the first six.
CEIL = [
    ((9,), 7, 3, 3, 1),  # the last window counts six places of padding
    ((7, 6), 2, 2, 0, 1),  # one more on one axis only
    ((5, 8), (3, 2), (2, 3), (1, 0), (2, 1)),
    ((4, 6), 2, 3, 1, 1),  # a window that would start in the padding is dropped
    ((4, 6, 5), (2, 3, 2), (3, 2, 2), (1, 1, 0), 1),
    ((2, 1), 3, (2, 4), 0, 1),  # the map is smaller than the window
    ((9, 7), (2, 3), (3, 2), ((0, 1), (2, 1)), (3, 1)),
    ((8, 7), 3, 2, "VALID", 2),
    ((70, 5), (41, 3), (6, 4), ((2, 3), (0, 1)), 1),  # more taps than are unrolled
]
OF_TORCH = 6


def options_of(case, ceil_mode=False):
    _, window, strides, padding, dilation = case
    options = {"window_shape": window, "strides": strides, "padding": padding}
    return options | {"window_dilation": dilation, "ceil_mode": ceil_mode}


def check_against_the_definition(rows, rng):
    """Rows of a pool's name, the map's shape, and the options of its windows."""
    calls = []
    for name, shape, options in rows:
        f = partial(POOLS[name][0], **options)

        def modes(x, x_dot, y_bar, f=f):
            y, pull_back = jax.vjp(f, x)
            return y, jax.jvp(f, (x,), (x_dot,))[1], pull_back(y_bar)[0]

        x, x_dot = rng.normal(size=shape), rng.normal(size=shape)
        y_bar = rng.normal(size=reference.max_pool(x, **options).shape)
        calls.append((modes, x, x_dot, y_bar))
    for row, (_, x, x_dot, y_bar), results in zip(rows, calls, together(calls), strict=True):
        name, shape, options = row
        definition, (y, y_dot, x_bar) = partial(POOLS[name][1], **options), results
        taps = int(np.prod(np.broadcast_to(options["window_shape"], len(shape) - 2)))
        is_extremum = name.startswith(("max", "min"))
        magnitude = 0 if is_extremum else definition(np.abs(x))
        assert_within_rounding(y, definition(x), magnitude, taps + 4, f"{row}: y")
        if is_extremum:
            sign, ties = -1 if name == "min" else 1, (name.split(", ")[1:] or ["first"])[0]
            expected = reference.max_pool_vjp(sign * x, y_bar, **options, ties=ties)
            magnitude = reference.max_pool_vjp(sign * x, np.abs(y_bar), **options, ties=ties)
        elif name == "lp":  # y = √Σx²
            total = partial(reference.sum_pool, **options)
            share = np.divide(y_bar, y, where=y != 0, out=np.zeros_like(y))
            expected = x * transpose_of(total, shape, share)
            magnitude = np.abs(x) * transpose_of(total, shape, np.abs(share))
        else:
            expected = transpose_of(definition, shape, y_bar)
            magnitude = transpose_of(definition, shape, np.abs(y_bar))
        assert_within_rounding(x_bar, expected, magnitude, y.size + 4, f"{row}: x_bar")
        # The two modes are each other's transpose.
        magnitude = np.vdot(np.abs(y_dot), np.abs(y_bar)) + np.vdot(np.abs(x_bar), np.abs(x_dot))
        forward, reverse = np.vdot(y_dot, y_bar), np.vdot(x_bar, x_dot)
        assert_within_rounding(forward, reverse, magnitude, x.size * 12, f"{row}: y_dot")


def rows_of(cases, ceil_mode, names_of):
    return [
        (name, (2, *case[0], 3), options_of(case, ceil_mode))
        for number, case in enumerate(cases)
        for name in names_of(number)
    ]


IN_TURN = [name for name in POOLS if name != "max"]


@FLOAT64
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_pools_equal_the_definition(ceil_mode):
    """Over every second window one pool, in turn, and over some of them the max pool, too.

    `test_max_pooling.py` has more max pools, and the exhaustive run all pools over all windows.
    """
    cases = CEIL if ceil_mode else WINDOWS
    start = 5 if ceil_mode else 0
    rows = rows_of(
        cases[::2],
        ceil_mode,
        lambda i: ["max"] * (i % 2 == 0) + [IN_TURN[(start + i) % len(IN_TURN)]],
    )
    # On a CPU, the channels of maps that have many are taken in vectors.
    rows += [("max", (2, *case[0], 16), options_of(case, ceil_mode)) for case in cases[3:5]]
    check_against_the_definition(rows, np.random.default_rng(0))


@FLOAT64
@pytest.mark.exhaustive
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_all_pools_over_all_windows_equal_the_definition(ceil_mode):
    rows = rows_of(CEIL if ceil_mode else WINDOWS, ceil_mode, lambda i: POOLS)
    check_against_the_definition(rows, np.random.default_rng(0))


def draw_windows(rng):
    """The map's shape and options, with at most the padding that torch takes."""
    axes = []
    for _ in range(rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1])):
        window, stride, dilation = (int(rng.integers(1, high)) for high in (5, 4, 3))
        reach = dilation * (window - 1) + 1
        # torch pads by at most half a window. A dilated window may yet see padding alone.
        low, high = (int(rng.integers(0, window // 2 + 1)) for _ in range(2))
        high = low if rng.random() < 0.6 else high
        size = int(rng.integers(max(1, reach - low - high), reach + 5))
        axes.append((size, window, stride, (low, high), dilation))
    spatial, *case = map(tuple, zip(*axes, strict=True))
    n, c = map(int, rng.integers(1, 4, 2))
    return (n, *spatial, c), options_of((spatial, *case), bool(rng.integers(2)))


SEED = int(os.environ.get("JAXCONV_SEED", "0"))


@FLOAT64
@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(8))
def test_drawn_windows_equal_the_definition(number):
    """`JAXCONV_SEED=7 pytest -m exhaustive tests/ops/test_windows.py` draws other windows."""
    rng = np.random.default_rng([SEED, number])
    rows = [(name, *draw_windows(rng)) for name in POOLS for _ in range(6)]
    check_against_the_definition(rows, rng)


@FLOAT64
def test_equals_torch():
    """Values and gradients, of dilated maxima, too."""
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    rng, rows, calls, expected = np.random.default_rng(0), [], [], []
    drawn = [draw_windows(rng) for _ in range(16)]
    alike = [row for row in drawn if all(lo == hi for lo, hi in row[1]["padding"])]
    cases = [((2, *case[0], 2), options_of(case, ceil_mode=True)) for case in CEIL[:OF_TORCH]]
    for shape, options in cases + alike:
        padding = options["padding"]
        if not isinstance(padding, int):
            padding = [side if isinstance(side, int) else side[0] for side in padding]
        common = {"stride": options["strides"], "padding": padding}
        common["ceil_mode"] = options["ceil_mode"]
        rank, dilation, of = len(shape) - 2, options["window_dilation"], torch.nn.functional
        theirs = {"max": partial(getattr(of, f"max_pool{rank}d"), dilation=dilation, **common)}
        if set(np.ravel(dilation)) == {1}:
            average = partial(getattr(of, f"avg_pool{rank}d"), **common)
            theirs |= {"avg": average, "avg, input only": partial(average, count_include_pad=False)}
        x = rng.normal(size=shape)
        if np.isinf(reference.max_pool(x, **options)).any():
            continue  # torch hands the gradient of a window of padding alone to some pixel
        for name, pool in theirs.items():
            leaf = torch.tensor(np.moveaxis(x, -1, 1).copy(), requires_grad=True)
            y = pool(leaf, options["window_shape"])
            y_bar = rng.normal(size=np.moveaxis(y.detach().numpy(), 1, -1).shape)
            y.backward(torch.tensor(np.moveaxis(y_bar, -1, 1).copy()))
            expected.append([np.moveaxis(a.numpy(), 1, -1) for a in (y.detach(), leaf.grad)])
            rows.append((name, shape, options))
            f = partial(POOLS[name][0], **options)

            def modes(x, y_bar, f=f):
                y, pull_back = jax.vjp(f, x)
                return y, pull_back(y_bar)[0]

            calls.append((modes, x, y_bar))
    assert len(rows) > 20
    for row, actual, wanted in zip(rows, together(calls), expected, strict=True):
        terms = np.prod(np.broadcast_to(row[2]["window_shape"], len(row[1]) - 2))
        for a, b in zip(actual, wanted, strict=True):
            assert_within_rounding(a, b, 9.0 * terms, terms, str(row))


@FLOAT64
def test_last_window_counts_its_places_inside_the_padding():
    x = [2.0903, 4.6493, 1.6320, -3.2051, 4.6975, 4.7296, 3.3653, -1.5815, -2.3832]
    x = jnp.array(x).reshape(1, 9, 1)
    y = avg_pool(x, 7, 3, 3, ceil_mode=True)[0, :, 0]
    np.testing.assert_allclose(y, [0.73807, 2.56556, 0.80323, -0.09990], atol=5e-6)
    np.testing.assert_allclose(y[3], (3.3653 - 1.5815 - 2.3832) / 6, rtol=1e-12)


@FLOAT64
@pytest.mark.parametrize("padding", ["SAME", "SAME_LOWER", "FULL"])
def test_paddings_that_leave_nothing_over(padding, normal):
    """Their number of windows takes in every pixel, so that there is none to round up."""
    for size, window, strides in [(9, 1, 3), (10, 2, 3), (7, 3, 2), (8, 5, 4)]:
        x = normal((1, size, 1))
        floor, ceil = (
            avg_pool(x, window, strides, padding, ceil_mode=mode) for mode in (False, True)
        )
        chex.assert_trees_all_equal(floor, ceil)


@FLOAT64
@pytest.mark.parametrize("padding", ["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"])
def test_a_padding_by_name_is_counted_as_the_same_sides(padding, normal):
    """Also where the window is larger than the map; each place of the padding counts once."""
    for size, window, strides, dilation in [(2, 4, 1, 1), (5, 3, 2, 2), (7, 2, 3, 1)]:
        options = PoolOptions("f", window, strides, padding, dilation)
        if padding == "VALID" and size < window:
            continue
        geometry = options.geometry((size,))
        assert options.given_padding(geometry) == geometry.padding
        x = normal((1, size, 1))
        pool = partial(avg_pool, x, window, strides, window_dilation=dilation)
        chex.assert_trees_all_equal(pool(padding), pool(geometry.padding))


@FLOAT64
@pytest.mark.parametrize("case", [CEIL[0], CEIL[3], CEIL[6]], ids=str)
def test_argmax_and_unpooling(case, normal):
    options = options_of(case, ceil_mode=True)
    x = normal((2, *case[0], 2))
    y, argmax = jax.jit(partial(max_pool_with_argmax, **options))(x)
    expected, where = reference.max_pool_with_argmax(np.asarray(x), **options)
    chex.assert_trees_all_equal((np.asarray(y), np.asarray(argmax, int)), (expected, where))
    seen = jnp.where(argmax < 0, 0, y)  # a window of padding alone holds -inf
    unpool = partial(max_unpool, **options, output_size=case[0])
    back = jax.jit(unpool)(seen, argmax)
    expected = reference.max_unpool(np.asarray(seen), where, case[0])
    assert_within_rounding(back, expected, np.abs(expected), seen.size)


@FLOAT64
def test_unpooling_takes_the_size_that_windows_cover_exactly(normal):
    y = normal((1, 4, 1))
    argmax = jnp.zeros(y.shape, int)
    sizes = [max_unpool(y, argmax, 3, 2, 1, ceil_mode=mode).shape[1] for mode in (False, True)]
    assert sizes == [7, 7]
    assert max_unpool(y, argmax, 3, 2, 1, ceil_mode=True, output_size=(6,)).shape == (1, 6, 1)
    with pytest.raises(ValueError, match=r"pooled to \(3,\), but y has \(4,\); ceil_mode is False"):
        max_unpool(y, argmax, 3, 2, 1, output_size=(6,))


# Bad input: a good call, and one argument of it replaced by something that is never right.

X = np.ones((2, 6, 5, 4), np.float32)
BAD_SIZES = [0, -1, 2.5, "2", None, (2,), (1, 2, 3), (0, 2), (2, -1), (2, 1.5), [], True, {}, 2j]
BAD_PADDINGS = ["same-ish", "", -1, ((0, 0),), ((1, 1), (0, -1)), (1, 2, 3), ((1,), (1,)), 1.5]
BAD_PADDINGS += [None, {}, ((0, 0, 0), (0, 0)), ("a", "b"), True, b"SAME", ((0.5, 1), (0, 0))]
BAD_ARRAYS = [None, "x", 3, [[1.0]], np.ones(4), np.ones((2, 3)), np.ones((2, 3, 4), bool), {}]
WINDOWED = {
    "window_shape": [*BAD_SIZES, (9, 9), (1, 9), 10**6],
    "strides": [bad for bad in BAD_SIZES if bad is not None],
    "padding": BAD_PADDINGS,
    "window_dilation": [*BAD_SIZES, 9],
    "ceil_mode": [0, 1, None, "yes"],
}
GOOD_WINDOW = {"x": X, "window_shape": 2, "strides": 1, "padding": 1, "window_dilation": 1}
BAD_TIES = {"ties": ["last", "", None, 0, "FIRST"]}
INEXACT = [*BAD_ARRAYS, np.ones((2, 4, 4, 1), int)]
ORDERED = [*BAD_ARRAYS, np.ones((2, 4, 4, 1), complex)]
MISTAKES = {
    "max_pool": (GOOD_WINDOW, WINDOWED | BAD_TIES | {"x": ORDERED}),
    "min_pool": (GOOD_WINDOW, WINDOWED | BAD_TIES | {"x": ORDERED}),
    "sum_pool": (GOOD_WINDOW, WINDOWED | {"x": BAD_ARRAYS}),
    "avg_pool": (
        GOOD_WINDOW,
        WINDOWED | {"x": INEXACT, "count_include_pad": [0, None, "yes", 1.0]},
    ),
    "lp_pool": (
        GOOD_WINDOW | {"p": 2},
        WINDOWED | {"x": INEXACT, "p": [0, 0.5, -1, np.inf, np.nan, "2", None, True, 2j, (2,)]},
    ),
    "max_pool_with_argmax": (GOOD_WINDOW, WINDOWED | {"x": ORDERED}),
    "max_unpool": (
        {
            "y": X,
            "argmax": np.zeros(X.shape, int),
            "window_shape": 2,
            "strides": 2,
            "padding": 0,
        },
        {
            "y": BAD_ARRAYS,
            "argmax": [*BAD_ARRAYS, X, np.zeros((2, 6, 5, 3), int)],
            "window_shape": BAD_SIZES,
            "strides": [bad for bad in BAD_SIZES if bad is not None],
            "padding": BAD_PADDINGS,
            "window_dilation": BAD_SIZES,
            "output_size": [bad for bad in BAD_SIZES if bad is not None] + [(11, 10), (12, 12)],
            "overlap": ["last", "", None, 0],
            "ceil_mode": [0, 1, None, "yes"],
            "check_argmax": [0, 1, None, "yes"],
        },
    ),
    "global_avg_pool": ({"x": X}, {"x": [*INEXACT, np.ones((2, 0, 3))]}),
    "global_max_pool": ({"x": X}, {"x": [*ORDERED, np.ones((2, 0, 3))]} | BAD_TIES),
    "adaptive_avg_pool": ({"x": X, "output_size": 2}, {"x": INEXACT, "output_size": BAD_SIZES}),
    "adaptive_max_pool": ({"x": X, "output_size": 2}, {"x": ORDERED, "output_size": BAD_SIZES}),
    "upscale": (
        {"x": X, "factor": 2},
        {"x": BAD_ARRAYS, "factor": BAD_SIZES, "method": ["cubic", "", None, 0, "Nearest"]}
        | {"align_corners": [True, 0, None, "no"]},
    ),
    "pixel_shuffle": ({"x": X, "factor": 2}, {"x": BAD_ARRAYS, "factor": [*BAD_SIZES, 3, (4, 2)]}),
    "pixel_unshuffle": (
        {"x": X, "factor": 1},
        {"x": BAD_ARRAYS, "factor": [*BAD_SIZES, 4, (2, 2)]},
    ),
}
# A mistake is found by what it does to another argument: the message then speaks of that, too.
ALSO_NAMED = {"window_shape": "window", "window_dilation": "window", "strides": "strides"}


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_every_mistake_is_named(no_type_checker_for_all, data):
    function = data.draw(st.sampled_from(sorted(MISTAKES)))
    good, mistakes = MISTAKES[function]
    argument = data.draw(st.sampled_from(sorted(mistakes)))
    bad = data.draw(st.sampled_from(mistakes[argument]))
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(jaxconv, function)(**good | {argument: bad})
    message = str(caught.value)
    assert message.startswith(f"{function}: "), message
    assert argument in message or ALSO_NAMED.get(argument, "\0") in message, message


@pytest.fixture(scope="module")
def no_type_checker_for_all():
    """As `no_type_checker`, once for all examples."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("function", MISTAKES)
def test_the_good_calls_are_good(function):
    """Else any replacement would raise."""
    good, _ = MISTAKES[function]
    jax.eval_shape(
        lambda: getattr(jaxconv, function)(
            **jax.tree.map(lambda a: jnp.asarray(a) if isinstance(a, np.ndarray) else a, good)
        )
    )


# Maps without pixels, without examples or without channels, and windows that see padding alone.
EMPTY = [
    ((2, 0, 2, 1), {"window_shape": (2, 1), "strides": 1, "padding": ((0, 1), (2, 2))}),
    ((2, 0, 0, 2), {"window_shape": 3, "strides": 2}),
    ((1, 1, 0, 1), {"window_shape": 2, "strides": 1, "padding": 2}),
    ((0, 3, 3, 1), {"window_shape": 2, "strides": 2, "padding": "SAME"}),
    ((1, 3, 3, 0), {"window_shape": 2, "strides": 1}),
]
POOLS_OF_EMPTY = {
    "max_pool": {},
    "max_pool, split": {"ties": "split"},
    "max_pool, all": {"ties": "all"},
    "min_pool": {},
    "sum_pool": {},
    "avg_pool": {"count_include_pad": False},
    "lp_pool": {"p": 2},
    "unfold": {},
}


def test_empty_maps():
    """Values by the definition, empty gradients, and every transformation."""

    def of(package, name, options):
        return partial(getattr(package, name.partition(",")[0]), **options)

    @jax.jit
    def of_all():
        results = {}
        for name, own in POOLS_OF_EMPTY.items():
            for i, (shape, options) in enumerate(EMPTY):
                x, f = jnp.ones(shape), of(jaxconv, name, options | own)
                y, pull_back = jax.vjp(f, x)
                y_dot = jax.jvp(f, (x,), (x,))[1]
                results[name, i] = y, y_dot, pull_back(y)[0], jax.vmap(f)(x[None])
        return results

    for (name, i), (y, y_dot, x_bar, many) in of_all().items():
        shape, options = EMPTY[i]
        own = {"p": 2} if name == "lp_pool" else {}
        np.testing.assert_array_equal(y, of(reference, name, options | own)(np.ones(shape)))
        assert (x_bar.shape, y_dot.shape, many.shape) == (shape, y.shape, (1, *y.shape))
        assert not y_dot.any()


def test_unpooling_and_folding_to_empty_maps():
    @jax.jit
    def of_all():
        return [
            (
                *jaxconv.max_pool_with_argmax(jnp.ones(shape), **options),
                jaxconv.fold(
                    jaxconv.unfold(jnp.ones(shape), **options),
                    **options,
                    output_size=shape[1:-1],
                ),
            )
            for shape, options in EMPTY
        ]

    for (shape, options), (y, argmax, folded) in zip(EMPTY, of_all(), strict=True):
        assert (np.asarray(argmax) == -1).all()
        assert folded.shape == shape
        back = jaxconv.max_unpool(y, argmax, **options, output_size=shape[1:-1], check_argmax=True)
        assert back.shape == shape


def test_operations_can_be_pickled():
    """Their maps are functions of a module, or partial calls of these."""
    for module in (_windows, _unfolding):
        operations = [a for a in vars(module).values() if isinstance(a, Operation)]
        assert len(operations) >= 2
        for operation in operations:
            assert pickle.loads(pickle.dumps(operation)).name == operation.name
