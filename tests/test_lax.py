"""`jaxconv.lax` against `jax.lax`: equal results and gradients for equal arguments."""

import inspect
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv import lax as ours
from tests.oracles import assert_within_rounding, three_contractions, together

pytestmark = pytest.mark.usefixtures("float64")

CALLS = [
    ("conv", (2, 3, 7, 6), (4, 3, 3, 2), ((2, 1), "SAME")),
    ("conv", (2, 3, 7), (4, 3, 3), ((2,), "VALID", "highest")),
    ("conv_with_general_padding", (2, 3, 7, 6), (4, 3, 3, 2), ((1, 1), "VALID", None, (2, 1))),
    (
        "conv_with_general_padding",
        (2, 3, 7, 6),
        (4, 3, 3, 2),
        ((2, 1), ((1, -1), (0, 3)), (1, 2), (1, 2)),
    ),
    ("conv_transpose", (2, 4), (4, 5), ((), "SAME")),
    ("conv_transpose", (2, 4), (4, 5), ((), "SAME_LOWER", None, None, False, None, None, True)),
    ("conv_transpose", (2, 5, 4), (3, 4, 6), ((2,), "SAME")),
    ("conv_transpose", (2, 5, 4), (1, 4, 6), ((3,), "SAME")),
    ("conv_transpose", (2, 5, 4), (2, 4, 6), ((3,), "VALID")),
    ("conv_transpose", (2, 5, 4, 3), (4, 3, 3, 6), ((2, 3), "VALID", (1, 2))),
    ("conv_transpose", (2, 5, 4, 3), (4, 3, 3, 6), ((2, 1), ((3, 1), (-1, 2)))),
    (
        "conv_transpose",
        (2, 5, 4, 3),
        (4, 3, 3, 6),
        ((2, 1), ((2, 1), (0, 1)), (1, 2), None, False, None, None, True),
    ),
    ("conv_transpose", (2, 5, 4, 3), (4, 3, 6, 3), ((2, 1), "SAME", None, None, True)),
    (
        "conv_transpose",
        (2, 3, 5, 4),
        (3, 6, 2, 3),
        ((2, 1), "SAME", None, ("NCHW", "IOHW", "NCHW")),
    ),
    ("conv_transpose", (2, 5, 4, 3), (4, 3, 3, 6), ((1, 1), "SAME_LOWER")),
    ("conv_transpose", (1, 2, 3, 2, 4), (2, 2, 3, 4, 3), ((2, 1, 2), "SAME")),
]
WITH_GRADIENTS = (3, 10, 13)


def of(module, name, args, x, kernel):
    return getattr(module, name)(x, kernel, *args)


def with_gradients(module, name, args, x, kernel, y_bar):
    return three_contractions(partial(of, module, name, args), x, kernel, y_bar)


def test_equals_lax(normal):
    """Every call, and some of them with their gradients."""
    ours_and_theirs = [], []
    for number, (name, x_shape, k_shape, args) in enumerate(CALLS):
        operands, function = [np.asarray(normal(x_shape)), np.asarray(normal(k_shape))], of
        if number in WITH_GRADIENTS:
            y = jax.eval_shape(partial(of, lax, name, args), *operands)
            operands, function = [*operands, np.asarray(normal(y.shape))], with_gradients
        for calls, module in zip(ours_and_theirs, (ours, lax), strict=True):
            calls.append((partial(function, module, name, args), *operands))
    actual, expected = (together(calls, magnitudes=True) for calls in ours_and_theirs)
    for (call, (_, x, kernel, *_)), (a, _), e in zip(
        zip(CALLS, ours_and_theirs[0], strict=True), actual, expected, strict=True
    ):
        for of_one in zip(*map(jax.tree.leaves, (a, *e)), strict=True):
            assert_within_rounding(*of_one, x.size + kernel.size, str(call))


@pytest.mark.parametrize("name", ours.__all__)
def test_arguments_are_those_of_lax(name):
    def arguments(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert arguments(getattr(ours, name)) == arguments(getattr(lax, name))


def test_empty_sums_and_outputs_are_those_of_lax():
    for x_shape, k_shape in (
        ((0, 3, 5), (4, 3, 2)),
        ((2, 0, 5), (4, 0, 2)),
        ((2, 3, 5), (0, 3, 2)),
        ((2, 3, 2), (4, 3, 5)),  # a window larger than the input
    ):
        x, kernel = jnp.ones(x_shape), jnp.ones(k_shape)
        (actual, back), (expected, their_back) = (
            jax.vjp(lambda x, k, m=m: m.conv(x, k, (1,), "VALID"), x, kernel) for m in (ours, lax)
        )
        chex.assert_trees_all_equal(actual, expected)
        chex.assert_trees_all_equal(back(actual), their_back(expected))


@pytest.mark.parametrize("impl", [None, "textbook", "lax"])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 1), (0, 0))], ids=str)
def test_an_empty_axis_is_that_of_lax_in_conv_too(padding, impl):
    x, kernel = jnp.ones((2, 0, 5, 3)), jnp.ones((3, 3, 3, 4))
    layouts = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    expected, their_back = jax.vjp(
        lambda x, k: lax.conv_general_dilated(x, k, (2, 1), padding, **layouts), x, kernel
    )
    options = {"strides": (2, 1), "padding": padding, "impl": impl}
    actual, back = jax.vjp(partial(jaxconv.conv, **options), x, kernel)
    y_bar = jnp.ones(expected.shape)
    bars = (
        jaxconv.conv_input_vjp(y_bar, kernel, x.shape, **options),
        jaxconv.conv_kernel_vjp(x, y_bar, kernel.shape, **options),
    )
    chex.assert_trees_all_equal(actual, expected)
    chex.assert_trees_all_equal(back(y_bar), their_back(y_bar))
    chex.assert_trees_all_equal(bars, their_back(y_bar))
    if padding == "SAME":
        assert jaxconv.conv_transpose(y_bar, kernel, **options).shape == (2, 0, 5, 3)


BAD_CALLS = {
    "no default layout": (
        lambda x, k: ours.conv_transpose(x[:, None, None], k[None, None], (1,) * 4, "SAME"),
        "No 4\\+ dimensional dimension_number defaults",
    ),
    "rank": (lambda x, k: ours.conv_transpose(x, k[0], (1, 1), "SAME"), "same rank, of at least 2"),
    "strides": (
        lambda x, k: ours.conv_transpose(x, k, (1,), "SAME"),
        "conv_transpose: strides needs 2",
    ),
    "padding": (lambda x, k: ours.conv_transpose(x, k, (1, 1), "FULL"), "Unrecognized padding"),
    "padding of the forward pass": (
        lambda x, k: ours.conv_transpose(x, k, (1, 1), "FULL", use_consistent_padding=True),
        "Invalid padding mode: FULL",
    ),
    "named padding and strides": (
        lambda x, k: ours.conv_transpose(x, k, (2, 1), "FULL"),
        "String padding is not implemented for transposed",
    ),
    "ranks": (
        lambda x, k: ours.conv(x, k[0], (1, 1), "SAME"),
        "conv_general_dilated: convolution requires lhs and rhs ndim to be equal",
    ),
    "channels": (
        lambda x, k: ours.conv(x[:, :2], k, (1, 1), "SAME"),
        r"size, but 2 // 1 != 3",
    ),
    "named padding of a dilated input": (
        lambda x, k: ours.conv_with_general_padding(x, k, (1, 1), "SAME", (2, 1), None),
        "String padding is not implemented",
    ),
    "cropped to less than nothing": (
        lambda x, k: ours.conv_with_general_padding(x, k, (1, 1), ((-3, -3), (0, 0)), None, None),
        "Negative padding is larger than the size",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake, normal):
    call, message = BAD_CALLS[mistake]
    with pytest.raises((TypeError, ValueError, RuntimeError), match=message):
        call(np.asarray(normal((2, 3, 5, 4))), np.asarray(normal((3, 3, 3, 4))))
