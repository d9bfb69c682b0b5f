"""The last step of each derivation is the library's, and a wrong step is caught and named.

Covers jaxconv/derivations/.
"""

from dataclasses import replace

import numpy as np
import pytest

from jaxconv import derivations
from jaxconv.derivations import WrongStep
from jaxconv.derivations._positions import Spacing

from .geometries import arrays

# The library compiles a program for each geometry, so these are few.

OPTIONS = {
    "plain": {},
    "grouped": {"feature_group_count": 2, "strides": (1, 2), "padding": "SAME"},
    "all at once": {
        "strides": (2, 3),
        "padding": ((-1, 2), (2, 1)),
        "input_dilation": (2, 1),
        "kernel_dilation": (1, 2),
    },
}


@pytest.fixture(params=OPTIONS)
def strided(request):
    """Options of a convolution, and arrays x, w and y of matching shapes."""
    options = OPTIONS[request.param]
    x, w = arrays(0, (2, 7, 6, 4), (3, 2, 4 // options.get("feature_group_count", 1), 4))
    spacing = Spacing(*_in_order(options))
    (y,) = arrays(1, (2, *spacing.geometry(x, w).output_size, 4))
    return options, x, w, y


def _in_order(options):
    names = "strides", "padding", "input_dilation", "kernel_dilation", "feature_group_count"
    return (options.get(name, "VALID" if name == "padding" else 1) for name in names)


@pytest.mark.parametrize("name", ["convolution_error", "kernel_gradient"])
def test_the_library_computes_what_is_derived(name, strided):
    options, *given_arrays = strided
    getattr(derivations, name)(**options).check(*given_arrays)


def test_the_library_transposes_as_is_derived(strided):
    options, x, w, y = strided
    derivations.transposed_convolution(output_shape=x.shape[1:-1], **options).check(y, w)


SMALL = {
    "perceptron_to_convolution": ({}, [(2, 5, 4, 2), (3, 2, 2, 3)]),
    "toeplitz_transpose": ({}, [(3, 2, 2, 3), (2, 3, 3, 3)]),
    "bias_gradient": ({}, [(2, 3, 3, 2), (2,), (2, 3, 3, 2)]),
    "max_pool_error": (
        {"window_shape": 3, "strides": 2, "padding": 1, "window_dilation": (1, 2)},
        [(2, 5, 6, 2), (2, 3, 2, 2)],
    ),
    "avg_pool_error": (
        {"window_shape": 3, "strides": 2, "padding": 1, "window_dilation": (1, 2)},
        [(2, 5, 6, 2), (2, 3, 2, 2)],
    ),
    "upscale_error": ({"factor": (2, 3)}, [(2, 2, 3, 2), (2, 4, 9, 2)]),
    "convolution_error": ({}, [(2, 5, 4, 2), (3, 2, 2, 3), (2, 3, 3, 3)]),
    "kernel_gradient": ({}, [(2, 5, 4, 2), (3, 2, 2, 3), (2, 3, 3, 3)]),
    "triangle": ({}, [(2, 5, 4, 2), (3, 2, 2, 3), (2, 3, 3, 3)]),
    "transposed_convolution": ({"strides": 2}, [(2, 3, 3, 3), (3, 2, 2, 3)]),
}


def small(name):
    """A derivation and arrays for it."""
    if name == "output_error":
        return derivations.output_error(), [*arrays(0, (3, 4)), np.array([3, 0, 1])]
    if name == "classifier_gradient":
        rng = np.random.default_rng(0)
        shapes = [(3, 3, 1, 2), (2,), (2, 2, 2, 3), (3,), (3, 5), (5,), (5, 3), (3,)]
        (x, *parameters), labels = arrays(0, (2, 8, 9, 1), *shapes), np.array([2, 0])
        masks = [rng.random((2, 3)) < 0.8, rng.random((2, 5)) < 0.8]
        return derivations.classifier_gradient(), [x, labels, *parameters, *masks]
    options, shapes = SMALL[name]
    return getattr(derivations, name)(**options), arrays(0, *shapes)


@pytest.mark.parametrize(
    "name",
    [
        *("perceptron_to_convolution", "toeplitz_transpose", "max_pool_error", "avg_pool_error"),
        *("upscale_error", "output_error", "classifier_gradient", "triangle"),
    ],
)
def test_the_library_computes_that_too(name):
    derivation, given_arrays = small(name)
    derivation.check(*given_arrays)


def planted(derivation, number, value):
    """The derivation with another function in step `number`, counted from 1."""
    steps = list(derivation.steps)
    steps[number - 1] = replace(steps[number - 1], value=value)
    return replace(derivation, steps=tuple(steps))


@pytest.mark.parametrize("name", [*SMALL, "output_error", "classifier_gradient"])
def test_an_error_in_any_step_is_caught_and_named(name):
    """One element is off by a millionth, in each step in turn."""
    derivation, given_arrays = small(name)
    derivation = derivation[:-1]
    for number in range(2, len(derivation) + 1):
        right = derivation.steps[number - 1].value

        def wrong(*operands, right=right):
            value = np.array(right(*operands))
            value[np.unravel_index(np.argmax(np.abs(value)), value.shape)] *= 1 + 1e-6
            return value

        message = rf"{derivation.title}: step {number}, .* 1 of \d+ elements"
        with pytest.raises(WrongStep, match=message):
            planted(derivation, number, wrong).check(*given_arrays)


def without_rotation(z, w, delta):
    return derivations.convolution_error().steps[4].value(z, w[::-1, ::-1], delta)


def without_slope(z, w, delta):
    return derivations.transposed_convolution().steps[3].value(delta, w)


def padded_by_too_little(z, w, delta):
    value = derivations.convolution_error().steps[3].value(z, w, delta)
    value[:, 0] = 0
    return value


@pytest.mark.parametrize(
    ("number", "mistake"), [(4, without_slope), (5, without_rotation), (6, padded_by_too_little)]
)
def test_mistakes_that_one_makes_are_caught(number, mistake):
    derivation, given_arrays = small("convolution_error")
    with pytest.raises(WrongStep, match=f"step {number}, "):
        planted(derivation, number, mistake).check(*given_arrays)
