"""An element depends on its own terms only, in every algorithm that runs unasked.

One element of one operand is changed. If the new value is finite, results whose sums do not contain
it keep their bits. If it is infinite or NaN, a forward pass is non-finite exactly where the
definition is, and a gradient at least there.

Covers jaxconv/algorithms/_algorithm.py, jaxconv/algorithms/_problem.py.
"""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from jaxconv import algorithms, conv, conv_general_dilated, conv_transpose, reference
from jaxconv._spec import Slot

from .problems import MORE, SAMPLE, cases, problem_of, run_all, shapes_of, spec_of

DTYPE = np.dtype("float32")


def definition(slot, geometry, arrays):
    """The contraction as NumPy loops compute it."""
    options = {
        "input_dilation": geometry.input_dilation,
        "kernel_dilation": geometry.kernel_dilation,
        "feature_group_count": geometry.groups,
    }
    x, k, y = arrays["x"], arrays["k"], arrays["y"]
    spacing = geometry.strides, geometry.padding
    with np.errstate(invalid="ignore"):
        if slot == "y":
            return reference.conv(x, k, *spacing, **options)
        if slot == "x":
            return reference.conv_transpose(
                y, k, *spacing, output_shape=geometry.input_size, **options
            )
        return reference.conv_kernel_vjp(x, y, k.shape, *spacing, **options)


def seen(slot, geometry, arrays, changed, place):
    """Which elements of the result have a term that contains one element of an operand."""
    ones = {name: np.ones_like(array) for name, array in arrays.items()}
    ones[changed] = np.zeros_like(ones[changed])
    ones[changed][place] = 1
    return definition(slot, geometry, ones) > 0


def with_one(arrays, name, place, value):
    """The arrays with one element changed."""
    changed = arrays[name].copy()
    changed[place] = value
    return arrays | {name: changed}


def places(array, rng):
    """The first and last element of an array, and one between."""
    numbers = {0, array.size // 2 + int(rng.integers(array.size // 4 + 1)) - 1, array.size - 1}
    return [tuple(map(int, np.unravel_index(number, array.shape))) for number in sorted(numbers)]


# Overlapping patches with padding, strides and dilation; groups; a convolution of input dilation.
FEW = [SAMPLE[1], SAMPLE[4], MORE[8]]
FIRST = [*((FEW[0], slot) for slot in Slot), (FEW[1], Slot.OUTPUT), (FEW[2], Slot.INPUT)]
EACH = cases(
    FIRST,
    [each for each in itertools.product((*SAMPLE, *MORE), Slot) if each not in FIRST],
)


@pytest.mark.parametrize(("case", "slot"), EACH)
def test_of_every_algorithm(case, slot):
    problem = problem_of(slot, case, DTYPE)
    plans = [plan for plan in algorithms.every_plan(problem) if plan.name != "fourier"]
    forward = forward_slot(slot)
    exact = {str(plan) for plan in algorithms.plans(problem, forward=forward)}
    exact |= {
        plan.name
        for plan in plans
        if not algorithms.ALGORITHMS[plan.name].default_refusal(problem, forward)
    } & {"cudnn", "shifts", "depth", "depth_of_output"}
    assert_elements_depend_on_their_terms(problem, plans, exact)


def forward_slot(slot):
    """The slot that the forward pass leaves empty, if it is not a kernel's gradient."""
    return Slot.INPUT if slot is Slot.INPUT else Slot.OUTPUT


def assert_elements_depend_on_their_terms(problem, plans, exact):
    """Try plans with one element changed. Those whose names are in `exact` spread no infinity."""
    slot, geometry = problem.slot, problem.geometry
    rng = np.random.default_rng(0)
    arrays = {s: rng.normal(size=shape).astype(DTYPE) for s, shape in shapes_of(problem).items()}
    names = list(slot.others)
    spec = spec_of(geometry, DTYPE, forward=forward_slot(slot))
    run = jax.jit(lambda *operands: run_all(plans, slot, spec, operands))

    def results(arrays):
        return map(np.asarray, run(*(arrays[name] for name in names)))

    before = [*results(arrays)]
    for name in names:
        for place in places(arrays[name], rng):
            sees = seen(slot, geometry, arrays, name, place)
            for plan, old, new in zip(
                plans, before, results(with_one(arrays, name, place, -1e30)), strict=True
            ):
                message = f"{plan}: {name} at {place}"
                kept = old.view(np.int32) == new.view(np.int32)
                assert kept[~sees].all(), f"{message}: the bits of an element that does not see it"
            for value in (np.inf, np.nan):
                changed = with_one(arrays, name, place, value)
                expected = ~np.isfinite(definition(slot, geometry, changed))
                for plan, new in zip(plans, results(changed), strict=True):
                    message, reached = f"{plan}: {value} in {name} at {place}", ~np.isfinite(new)
                    assert reached[expected].all(), f"{message} is lost"
                    if str(plan) in exact and (slot, name) in EXACT:
                        assert not reached[~expected].any(), f"{message} reaches too much"


# Whose infinities stay where the definition has them: the operands of `conv`, and those of
# `conv_transpose`, which is the corner "x".
EXACT = {("y", "x"), ("y", "k"), ("x", "y"), ("x", "k")}


@pytest.mark.parametrize("function", [conv, conv_general_dilated], ids=lambda f: f.__name__)
def test_large_windows_by_default(function):
    """Where a Fourier basis is the fastest, and each pixel would reach its whole example."""
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.normal(size=shape).astype(DTYPE) for shape in [(500, 12, 12, 32), (5, 5, 32, 32)]
    )
    channels_last = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    options = {} if function is conv else {"window_strides": (1, 1)} | channels_last
    run = jax.jit(partial(function, padding="VALID", **options))
    before = np.asarray(run(x, kernel))
    for value in (np.inf, 1e6):
        x[7, 3, 4, 5] = value
        after = np.asarray(run(x, kernel))
        sees = np.zeros(before.shape, bool)
        sees[7, 0:4, 0:5] = True
        np.testing.assert_array_equal(after[~sees], before[~sees])
        assert np.isfinite(value) or not np.isfinite(after[sees]).any()


def test_a_transposed_convolution_spreads_an_infinity_over_its_window():
    """Where strips would be the fastest, whose band of zeros would spread it further."""
    rng = np.random.default_rng(0)
    y, kernel = (rng.normal(size=shape).astype(DTYPE) for shape in [(9, 24, 24, 8), (5, 5, 1, 8)])
    y[7, 3, 4, 5] = np.inf
    x = np.asarray(jax.jit(conv_transpose)(y, kernel))
    expected = np.zeros(x.shape, bool)
    expected[7, 3:8, 4:9] = True
    np.testing.assert_array_equal(~np.isfinite(x), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("groups", [1, 4])
def test_an_infinite_tap_meets_the_padding(dtype, groups, normal):
    """XLA's own loops, for 64 bits, skip the padding."""
    with jax.enable_x64(True):
        x, kernel = normal((1, 5, 6, 4), dtype), normal((3, 3, 4 // groups, 4), dtype)
        kernel = kernel.at[0, 0, 0, 1].set(np.inf)
        for impl in (None, "direct"):
            y = conv(x, kernel, padding="SAME", feature_group_count=groups, impl=impl)
            expected = np.ones(y.shape, bool)
            expected[..., 1] = False
            np.testing.assert_array_equal(np.isfinite(y), expected)


def test_causal_padding_lets_no_output_see_the_future():
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=shape).astype(DTYPE) for shape in [(32, 256, 64), (64, 64, 4)])
    x[:, 250] = np.nan
    y = jax.jit(partial(conv, padding="CAUSAL"))(x, kernel)
    finite = np.isfinite(y)
    assert finite[:, :250].all()
    assert not finite[:, 250:].any()
