"""Pools over generated geometries, against lax, PyTorch and the definition; and generated mistakes.

    JAXCONV_GENERATED_POOLS=2000 pytest -s tests/ops/test_pooling_generated.py

Geometries and data come from one seed. `-s` shows the seed, the number of geometries and the
largest error, in units of its bound, eps times the number of terms times their magnitude.
"""

import os
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import jaxconv
from jaxconv import reference

SEED = 0
# Each with two pools and four derivatives.
COUNT = int(os.environ.get("JAXCONV_GENERATED_POOLS", "16"))


class Windows(NamedTuple):
    """A pool's geometry, one entry an axis; torch can have it where both sides are padded alike."""

    spatial: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    n: int
    c: int

    @property
    def options(self):
        return {"strides": self.strides, "padding": self.padding, "window_dilation": self.dilation}


def draw(rng: np.random.Generator) -> Windows:
    """One geometry, with at most the padding that torch takes."""
    axes = []
    for _ in range(rng.choice([1, 2, 3], p=[0.5, 0.4, 0.1])):
        window, stride, dilation = (int(rng.integers(1, high)) for high in (5, 4, 3))
        reach = dilation * (window - 1) + 1
        # torch pads by at most half a window. A dilated window may yet see padding alone.
        low, high = (int(rng.integers(0, window // 2 + 1)) for _ in range(2))
        high = low if rng.random() < 0.6 else high
        size = int(rng.integers(max(1, reach - low - high), reach + 5))
        axes.append((size, window, stride, (low, high), dilation))
    return Windows(*map(tuple, zip(*axes, strict=True)), *map(int, rng.integers(1, 4, 2)))


GEOMETRIES = [draw(np.random.default_rng([SEED, number])) for number in range(COUNT)]


@cache
def computed(w: Windows):
    """Operands, and what jaxconv makes of them: value and gradient of the max and the sum pool."""
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(w.n, *w.spatial, w.c))
    y_bar = rng.normal(
        size=jax.eval_shape(partial(jaxconv.max_pool, window_shape=w.window, **w.options), x).shape
    )

    @jax.jit
    def of(x, y_bar):
        results = []
        for pool in (jaxconv.max_pool, jaxconv.sum_pool):
            y, pull_back = jax.vjp(partial(pool, window_shape=w.window, **w.options), x)
            results.append((y, pull_back(y_bar)[0]))
        return results

    return x, y_bar, jax.tree.map(np.asarray, of(x, y_bar))


def largest_error(w: Windows, expected, ours) -> float:
    """The error in units of eps times terms times magnitude; one term is added for the rounding."""
    x, y_bar, _ = computed(w)
    terms = np.prod(w.window) + 1
    scale = max(np.abs(x).max(), np.abs(y_bar).max()) * np.prod(w.window)
    bound = terms * np.finfo(np.float64).eps * scale
    return max(
        float(np.max(np.abs(np.where(a == e, 0, a) - np.where(a == e, 0, e)), initial=0)) / bound
        for a, e in zip(ours, map(np.asarray, expected), strict=True)  # -inf equals itself
    )


def report(name: str, errors: list[float]) -> None:
    print(
        f"\nseed {SEED}: {len(errors)} geometries against {name}, largest error {max(errors):.3f}"
    )
    assert max(errors) <= 1


@pytest.mark.usefixtures("float64")
def test_pools_equal_lax_and_the_definition():
    """Values and sums against lax; the gradient of a maximum against lax where it has one."""
    errors, against_lax = [], 0
    for w in GEOMETRIES:
        x, y_bar, ((y_max, max_bar), (y_sum, sum_bar)) = computed(w)
        dims, pads = ((1, *w.window, 1), (1, *w.strides, 1)), ((0, 0), *w.padding, (0, 0))
        dilation = (1, *w.dilation, 1)
        dilated = set(w.dilation) != {1}

        def maximum(x, dims=dims, pads=pads, dilation=dilation):
            return lax.reduce_window(x, -np.inf, lax.max, *dims, pads, window_dilation=dilation)

        def total(x, dims=dims, pads=pads, dilation=dilation):
            return lax.reduce_window(x, 0.0, lax.add, *dims, pads, window_dilation=dilation)

        @jax.jit
        def of_lax(x, y_bar, maximum=maximum, total=total, dilated=dilated):
            values = maximum(x), total(x)
            if dilated:  # lax: NotImplementedError
                return *values, None, None
            return *values, jax.vjp(maximum, x)[1](y_bar)[0], jax.vjp(total, x)[1](y_bar)[0]

        lax_max, lax_sum, lax_max_bar, lax_sum_bar = of_lax(x, y_bar)
        against_lax += not dilated
        if dilated:
            lax_max_bar = reference.max_pool_vjp(x, y_bar, w.window, **w.options)
            lax_sum_bar = sum_bar_by_definition(w, y_bar)
        expected = lax_max, lax_max_bar, lax_sum, lax_sum_bar
        errors.append(largest_error(w, expected, (y_max, max_bar, y_sum, sum_bar)))
        assert (y_max == lax_max).all()
    assert 0 < against_lax < COUNT
    report("lax", errors)


def sum_bar_by_definition(w: Windows, y_bar):
    """Every pixel receives the errors of all windows that contain it."""
    x_bar = np.zeros((w.n, *w.spatial, w.c))
    for p in np.ndindex(y_bar.shape[1:-1]):
        for r in np.ndindex(*w.window):
            i = [
                s * p_a + d * r_a - lo
                for s, p_a, d, r_a, (lo, _) in zip(
                    w.strides, p, w.dilation, r, w.padding, strict=True
                )
            ]
            if all(0 <= i_a < size for i_a, size in zip(i, w.spatial, strict=True)):
                x_bar[:, *i] += y_bar[:, *p]
    return x_bar


@pytest.mark.usefixtures("float64")
def test_pools_equal_torch():
    """Dilated maxima, too: PyTorch has their gradient."""
    torch = pytest.importorskip("torch", reason="PyTorch is an optional second opinion")
    errors = []
    for w in GEOMETRIES:
        if any(lo != hi for lo, hi in w.padding):
            continue
        x, y_bar, ((y_max, max_bar), (y_sum, sum_bar)) = computed(w)
        if np.isinf(y_max).any():
            continue  # torch hands the error of a window of padding alone to some pixel
        rank, pads = len(w.spatial), [lo for lo, _ in w.padding]
        given_x, given_y = (torch.tensor(np.moveaxis(a, -1, 1).copy()) for a in (x, y_bar))
        of = torch.nn.functional
        ours, expected = [y_max, max_bar], []
        pools = [
            partial(getattr(of, f"max_pool{rank}d"), dilation=w.dilation),
        ]
        if set(w.dilation) == {1}:
            ours += [y_sum, sum_bar]
            taps = np.prod(w.window)
            average = getattr(of, f"avg_pool{rank}d")
            pools.append(lambda *a, average=average, taps=taps, **k: average(*a, **k) * taps)
        for pool in pools:
            leaf = given_x.clone().requires_grad_()
            y = pool(leaf, w.window, stride=w.strides, padding=pads)
            y.backward(given_y)
            expected += [np.moveaxis(a.detach().numpy(), 1, -1) for a in (y, leaf.grad)]
        errors.append(largest_error(w, expected, ours))
    report("torch", errors)


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
