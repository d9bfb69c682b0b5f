"""An element that a window does not see changes no bit of the window's result.

The definition says which elements of y see an element of x: those that become NaN when it is NaN.
All others must keep their bits when the element changes, to whatever value. The same holds for
tangents and cotangents.

Covers jaxconv/ops/_windows.py, jaxconv/ops/_upscaling.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import reference

OTHERS = (1e30, np.inf, -np.inf, np.nan)


class Case(NamedTuple):
    """A function of one map, its definition, the map's shape, and whether it is linear."""

    f: Callable[[Any], Any]
    definition: Callable[[Any], Any]
    shape: tuple[int, ...]
    linear: bool = True


def case(name, shape, *, linear=True, extra=(), **options) -> Case:
    """The function of a name with options; `extra` ones are not the definition's to know."""
    f = partial(getattr(jaxconv, name), **options, **dict(extra))
    return Case(f, partial(getattr(reference, name), **options), shape, linear)


OVERLAP = {"window_shape": (3, 2), "strides": (2, 1), "padding": ((1, 1), (0, 1))}
GAPS = {"window_shape": 2, "strides": 3}
DILATED = {"window_shape": 2, "strides": 1, "window_dilation": (3, 2)}
CEIL = {"window_shape": 3, "strides": 2, "padding": 1, "ceil_mode": True}
SMALL, ROW = (7, 6, 2), (70, 1)
# Beyond the windows that are unrolled: side by side, and overlapping.
WHOLE, LONG = {"window_shape": 35}, {"window_shape": 35, "strides": 5, "padding": 3}
LARGE, SQUARE = {"window_shape": 12, "strides": 1}, (13, 12, 1)
MAX = partial(case, "max_pool", linear=False)
LP = partial(case, "lp_pool", linear=False)
ARGMAX = np.array([0, 3, 3, 6, 16, 14, 10, 16, 24, 25, 28, -1]).reshape(1, 4, 3, 1)

CASES = {
    "max": MAX(SMALL, **OVERLAP),
    "max, in vectors": MAX((6, 5, 8), **OVERLAP),
    "max, side by side": MAX(SMALL, window_shape=2),
    "max, gaps": MAX(SMALL, **GAPS),
    "max, dilated": MAX(SMALL, **DILATED),
    "max, ceil": MAX(SMALL, **CEIL),
    "max, split": MAX(SMALL, **OVERLAP, extra={"ties": "split"}),
    "max, all": MAX(SMALL, **OVERLAP, extra={"ties": "all"}),
    "max, large": MAX(SQUARE, **LARGE),
    "max, large split": MAX(SQUARE, **LARGE, extra={"ties": "split"}),
    "max, large side by side": MAX((24, 12, 1), window_shape=12),
    "max, long": MAX(ROW, **LONG),
    "min": case("min_pool", SMALL, linear=False, **OVERLAP),
    "sum": case("sum_pool", SMALL, **OVERLAP),
    "sum, dilated": case("sum_pool", SMALL, **DILATED),
    "sum, whole": case("sum_pool", ROW, **WHOLE),
    "sum, long": case("sum_pool", ROW, **LONG),
    "avg": case("avg_pool", SMALL, **OVERLAP),
    "avg, gaps": case("avg_pool", SMALL, **GAPS),
    "avg, ceil": case("avg_pool", SMALL, **CEIL),
    "avg, input only": case("avg_pool", SMALL, **OVERLAP, count_include_pad=False),
    "lp": LP(SMALL, **OVERLAP, p=2),
    "lp, gaps": LP(SMALL, **GAPS, p=3),
    "lp, half": LP(SMALL, **GAPS, p=1.5),
    "global avg": case("global_avg_pool", SMALL),
    "global max": case("global_max_pool", SMALL, linear=False),
    "adaptive avg": case("adaptive_avg_pool", SMALL, output_size=(3, 4)),
    "adaptive max": case("adaptive_max_pool", SMALL, linear=False, output_size=(3, 4)),
    "nearest": case("upscale", SMALL, factor=(2, 3)),
    "zeros": case("upscale", SMALL, factor=(2, 3), method="zeros"),
    "bilinear": case("upscale", SMALL, factor=(2, 3), method="bilinear"),
    "aligned": case("upscale", SMALL, factor=(2, 3), method="bilinear", align_corners=True),
    "shuffle": case("pixel_shuffle", (3, 2, 4), factor=2),
    "unshuffle": case("pixel_unshuffle", (4, 6, 1), factor=2),
    "argmax": Case(
        lambda x: jaxconv.max_pool_with_argmax(x, **OVERLAP)[0],
        lambda x: reference.max_pool(x, **OVERLAP),
        SMALL,
        False,
    ),
    "unpool": Case(
        lambda y: jaxconv.max_unpool(y, jnp.repeat(ARGMAX, len(y), 0), 3, (1, 2), (0, 1)),
        lambda y: reference.max_unpool(y, np.repeat(ARGMAX, len(y), 0), (6, 5)),
        (4, 3, 1),
    ),
}


# One of each way to compute; the exhaustive run has the others.
SAMPLE = {
    *("max", "max, in vectors", "max, ceil", "max, large", "sum, long", "avg, input only"),
    *("lp", "adaptive max", "bilinear", "unpool"),
}


def with_one_changed(a, value):
    """Example i of a batch with element i, counted round, changed to a value."""
    changed = a.copy()
    changed.reshape(len(a), -1)[np.arange(len(a)), np.arange(len(a)) % a[0].size] = value
    return changed


def examples_of(case: Case):
    """Arrays x, x_dot, y_bar: one example for each element of x or of y that can be changed."""
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        out = case.definition(np.zeros((1, *case.shape))).shape[1:]
    n = max(np.prod(case.shape), np.prod(out))
    return [
        np.repeat(rng.normal(size=(1, *sizes)).astype(np.float32), n, 0)
        for sizes in (case.shape, case.shape, out)
    ]


FOUND: dict[bool, dict] = {}


@pytest.fixture
def results(name, request):
    """What a case's function gives for the examples, and for each change to one of the arrays.

    A result is found by name, changed array and new value.
    """
    sample = name in SAMPLE
    if sample not in FOUND:
        request.getfixturevalue("optimised")
        FOUND[sample] = results_of(sample)
    return FOUND[sample]


def results_of(sample):
    """The results of all cases of the sample, or of all others: one program runs them."""

    @jax.jit
    def of_all(operands):
        results = {}
        for name, (x, x_dot, y_bar) in operands.items():
            y, pull_back = jax.vjp(CASES[name].f, x)
            y_dot = jax.jvp(CASES[name].f, (x,), (x_dot,))[1]
            results[name] = y, y_dot, pull_back(y_bar)[0]
        return results

    examples = {
        name: examples_of(case) for name, case in CASES.items() if (name in SAMPLE) == sample
    }
    changes = [(None, None), *((which, other) for which in range(3) for other in OTHERS)]
    found = {}
    for which, other in changes:
        changed = {
            name: [with_one_changed(a, other) if i == which else a for i, a in enumerate(arrays)]
            for name, arrays in examples.items()
        }
        of_one = jax.device_get(of_all(changed))
        found |= {(name, which, other): result for name, result in of_one.items()}
    return found


@pytest.mark.parametrize(
    "name",
    [
        name if name in SAMPLE else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in CASES
    ],
)
def test_unseen_elements_change_nothing(name, results):
    case = CASES[name]
    x, *_ = examples_of(case)
    n, linear = len(x), case.linear
    with np.errstate(all="ignore"):
        # sees[i, p]: whether element p of y sees element i of x.
        inputs = with_one_changed(x, np.nan)[: np.prod(case.shape)]
        sees = np.isnan(case.definition(inputs).reshape(len(inputs), -1))
        definitions = {other: case.definition(with_one_changed(x, other)) for other in OTHERS}
    example = np.arange(n)
    of_x, of_y = sees[example % len(sees)], sees.T[example % sees.shape[1]]
    near_x = (sees.astype(int) @ sees.T.astype(int) > 0)[example % len(sees)]
    start = [np.asarray(a).reshape(n, -1) for a in results[name, None, None]]

    def check(results, may_change, other):
        names = "y", "y_dot", "x_bar"
        for which, a, b, seen in zip(names, start, results, may_change, strict=True):
            b = np.asarray(b).reshape(n, -1)
            same = (a.view(np.int32) == b.view(np.int32)) | seen
            assert same.all(), f"{which} after {other}: {np.argwhere(~same)[:5]}"

    never = np.zeros((), bool)
    for other in OTHERS:
        changed, pushed, pulled = (results[name, which, other] for which in range(3))
        check(changed, (of_x, never if linear else of_x, never if linear else near_x), other)
        if not np.isfinite(other):
            is_finite = np.isfinite(definitions[other])
            np.testing.assert_array_equal(np.isfinite(changed[0]), is_finite, f"{other}")
        check(pushed, (never, of_x, never), other)
        check(pulled, (never, never, of_y), other)
        if linear and not np.isfinite(other):
            for a, reached in ((pushed[1], of_x), (pulled[2], of_y)):
                assert not np.isfinite(np.asarray(a).reshape(n, -1)[reached]).any()
