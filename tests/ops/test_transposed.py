"""`conv_transpose`: the adjoint of `conv`, in the terms of torch, Lasagne, Keras, Flax and lax.

Covers jaxconv/ops/_transposed_size.py.
"""

import itertools
from functools import partial

import chex
import jax
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxconv import conv_transpose, reference
from tests.oracles import (
    assert_contractions,
    assert_within_rounding,
    three_contractions,
    together,
)

pytestmark = pytest.mark.usefixtures("float64")

CASES = [
    ((5,), (3,), {}),
    ((5, 4), (3, 2), {"strides": 2}),
    ((5, 4), (3, 2), {"strides": 2, "padding": "SAME"}),
    ((5, 4), (4, 3), {"strides": (2, 3), "padding": ((1, 0), (1, 1)), "output_padding": (1, 2)}),
    ((5, 4), (3, 3), {"strides": 3, "output_shape": (16, 13)}),
    ((6, 5), (3, 2), {"padding": "FULL"}),
    ((5, 4), (3, 2), {"kernel_dilation": 2, "feature_group_count": 2}),
    ((5, 4), (3, 2), {"strides": 2, "input_dilation": 2}),
    ((3, 2, 4), (2, 2, 3), {"strides": 2, "flip_kernel": True}),
]


def check_against_the_definition(cases, rng):
    """Value, tangent and cotangents of `conv_transpose(y, kernel)` for many options.

    With T the trilinear form of the convolution, `conv_transpose` is ∂T/∂x. Its cotangents are
    therefore the other two contractions: those of x_bar in the place of x.
    """
    calls = []
    for spatial, window, options in cases:
        c_in = 4 // options.get("feature_group_count", 1)
        y, kernel = rng.normal(size=(2, *spatial, 6)), rng.normal(size=(*window, c_in, 6))
        f = partial(conv_transpose, **options)
        x_bar = rng.normal(size=jax.eval_shape(f, y, kernel).shape)

        def modes(y, kernel, x_bar, f=f):
            tangent = jax.jvp(f, (y, kernel), (2 * y, -kernel))[1]
            return *three_contractions(f, y, kernel, x_bar), tangent

        calls.append((modes, y, kernel, x_bar))
    for case, (_, *arrays), actual in zip(cases, calls, together(calls), strict=True):
        (y, kernel, x_bar), (x, y_bar, k_bar, x_dot) = arrays, actual
        sizes = ("output_padding", "output_shape")
        options = {name: value for name, value in case[2].items() if name not in sizes}
        assert_contractions((y_bar, x, k_bar), x_bar, kernel, y, name=str(case), **options)
        magnitude = reference.conv_transpose(
            np.abs(y), np.abs(kernel), **options, output_shape=x.shape[1:-1]
        )
        # The form is bilinear: the tangent of (y, kernel) along (2y, -kernel) is 2x - x.
        assert_within_rounding(x_dot, x, 4 * magnitude, kernel.size, f"{case}: tangent")


@pytest.mark.parametrize(
    "cases",
    [CASES[::2], pytest.param(CASES[1::2], marks=pytest.mark.exhaustive)],
    ids=["even", "odd"],
)
def test_equals_the_definition(cases):
    check_against_the_definition(cases, np.random.default_rng(0))


def draw_case(rng):
    """Options that torch takes, too, for one to three spatial axes."""
    rank = int(rng.integers(1, 4))

    def each(low, high):
        return [int(value) for value in rng.integers(low, high, rank)]

    spatial, window, strides, d = each(1, 5), each(1, 5), each(1, 4), each(1, 3)
    longest = [
        (i - 1) * s + a * (r - 1) for i, s, a, r in zip(spatial, strides, d, window, strict=True)
    ]
    padding = [int(rng.integers(0, whole // 2 + 1)) for whole in longest]  # something is left
    extra = [int(rng.integers(0, s)) for s in strides]
    options = {
        "strides": tuple(strides),
        "padding": tuple((p, p) for p in padding),
        "output_padding": tuple(extra),
        "kernel_dilation": tuple(d),
        "feature_group_count": int(rng.integers(1, 3)),
    }
    return tuple(spatial), tuple(window), options


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(8))
def test_drawn_cases_equal_the_definition(number):
    rng = np.random.default_rng(number)
    check_against_the_definition([draw_case(rng) for _ in range(16)], rng)


def test_equals_torch():
    """Value and both gradients of drawn cases."""
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    rng = np.random.default_rng(1)
    cases, calls, expected = [draw_case(rng) for _ in range(6)], [], []
    for spatial, window, options in cases:
        c_in = 4 // options["feature_group_count"]
        y, kernel = rng.normal(size=(2, *spatial, 6)), rng.normal(size=(*window, c_in, 6))
        theirs = [
            torch.tensor(np.moveaxis(y, -1, 1).copy(), requires_grad=True),
            torch.tensor(np.moveaxis(kernel, (-1, -2), (0, 1)).copy(), requires_grad=True),
        ]
        function = getattr(torch.nn.functional, f"conv_transpose{len(spatial)}d")
        x = function(
            *theirs,
            None,
            options["strides"],
            [lo for lo, _ in options["padding"]],
            options["output_padding"],
            options["feature_group_count"],
            options["kernel_dilation"],
        )
        x_bar = rng.normal(size=np.moveaxis(x.detach().numpy(), 1, -1).shape)
        x.backward(torch.tensor(np.moveaxis(x_bar, -1, 1).copy()))
        expected.append(
            (
                np.moveaxis(x.detach().numpy(), 1, -1),
                np.moveaxis(theirs[0].grad.numpy(), 1, -1),
                np.moveaxis(theirs[1].grad.numpy(), (0, 1), (-1, -2)),
            )
        )
        f = partial(three_contractions, partial(conv_transpose, **options))
        calls.append((f, y, kernel, x_bar))
    for case, results, theirs in zip(
        cases, together(calls, magnitudes=True), expected, strict=True
    ):
        for actual, magnitude, wanted in zip(*results, theirs, strict=True):
            assert_within_rounding(actual, wanted, magnitude, actual.size + 64, str(case))


def check_values(rows):
    """`conv_transpose(y, kernel, **options)` of rows `(y, kernel, options, expected)`."""
    calls = [(partial(conv_transpose, **options), y, kernel) for y, kernel, options, _ in rows]
    results = together(calls, magnitudes=True)
    for (_, kernel, options, expected), (actual, magnitude) in zip(rows, results, strict=True):
        assert_within_rounding(actual, expected, magnitude, kernel.size, str(options))


def scattered(y, kernel, stride):
    """Every pixel of `(n, h, w, in)` laid down `stride` apart, times `(h, w, out, in)`; no crop."""
    (n, *spatial, _), (*window, c, _) = y.shape, kernel.shape
    out = np.zeros((n, *((p - 1) * stride + r for p, r in zip(spatial, window, strict=True)), c))
    for p in np.ndindex(*spatial):
        for r in np.ndindex(*window):
            at = tuple(stride * i + j for i, j in zip(p, r, strict=True))
            out[(slice(None), *at)] += y[(slice(None), *p)] @ kernel[r].T
    return out


def window_of(out, low, size):
    """The part of a map from `low` on that has a spatial `size`; beyond its end there are zeros."""
    ends = [
        (0, max(0, lo + n - have)) for lo, n, have in zip(low, size, out.shape[1:], strict=False)
    ]
    out = np.pad(out, ((0, 0), *ends, (0, 0)))
    return out[(slice(None), *(slice(lo, lo + n) for lo, n in zip(low, size, strict=True)))]


LASAGNE = [
    ((3, 4), 0, (0, 0), None),
    ((3, 4), "valid", (0, 0), (12, 10)),
    ((3, 4), (1, 2), (1, 2), (9, 7)),
    ((3, 5), "same", (1, 2), None),
    ((3, 5), "same", (1, 2), (10, 8)),
    ((1, 3), "full", (0, 2), None),
]


def test_equals_lasagne(normal):
    """`crop` removes as much from either side; `output_size` adds rows on the high side.

    A transposed layer of Lasagne reverses its filters unless `flip_filters` is set.
    """
    y, rows = np.asarray(normal((2, 5, 4, 6))), []
    for (window, crop, cut, size), flip_filters in itertools.product(LASAGNE, (False, True)):
        kernel = np.asarray(normal((*window, 2, 6)))
        whole = scattered(y, kernel if flip_filters else kernel[::-1, ::-1], 2)
        smallest = [n - 2 * lo for n, lo in zip(whole.shape[1:], cut, strict=False)]
        options = {"strides": 2, "crop": crop, "output_shape": size}
        options["flip_kernel"] = not flip_filters
        rows.append((y, kernel, options, window_of(whole, cut, size or smallest)))
    check_values(rows)


def test_same_of_lasagne_with_digits():
    y, kernel = np.arange(1.0, 6).reshape(1, 5, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    expected = [10, 102, 20, 203, 30, 304, 40, 405, 50, 500]
    for size in (None, 9, 10):
        x = conv_transpose(y, kernel, 2, crop="same", output_shape=size)
        np.testing.assert_array_equal(x[0, :, 0], expected[: size or 9])


def test_crop_of_lasagne_takes_half_of_a_dilated_window_from_either_side():
    """ "same" leaves stride * (size - 1) + 1 elements of an odd window, dilated or not."""
    y, kernel = np.ones((1, 5, 4, 2), np.float32), np.ones((3, 5, 2, 2), np.float32)
    for dilation, sides in ((1, ((1, 1), (2, 2))), ((2, 3), ((2, 2), (6, 6)))):
        f = partial(conv_transpose, strides=(2, 3), kernel_dilation=dilation)
        same, explicit = (
            jax.make_jaxpr(partial(f, **options))(y, kernel)
            for options in ({"crop": "same"}, {"padding": sides})
        )
        assert str(same) == str(explicit)
        (result,) = same.out_avals
        assert result.shape == (1, 9, 10, 2)


def test_equals_keras(normal):
    """Keras: TensorFlow's gradient of a "same" convolution of a map of stride times the size."""
    y, rows = np.asarray(normal((2, 5, 4, 6))), []
    for window, stride in [((3, 4), 2), ((2, 5), 3), ((4, 1), 1), ((2, 2), 3)]:
        kernel = np.asarray(normal((*window, 2, 6)))
        low = [max(r - stride, 0) // 2 for r in window]
        size = [stride * n for n in y.shape[1:-1]]
        expected = window_of(scattered(y, kernel, stride), low, size)
        rows.append((y, kernel, {"strides": stride, "padding": "SAME"}, expected))
    check_values(rows)


def test_equals_flax(normal):
    y, rows = normal((2, 5, 4, 6)), []
    for padding, transpose_kernel in itertools.product(("SAME", "VALID"), (False, True)):
        options = {"padding": padding, "transpose_kernel": transpose_kernel}
        layer = nnx.ConvTranspose(
            6,
            4,
            (3, 4),
            (2, 3),
            **options,
            use_bias=False,
            param_dtype=np.float64,
            rngs=nnx.Rngs(0),
        )
        rows.append((y, layer.kernel[...], {"strides": (2, 3), **options}, layer(y)))
    check_values(rows)


SIDES = ((3, 2), (1, 4))
LAX = [  # further arguments of lax.conv_transpose, and options of ours
    (("SAME", None, None, True), {"padding": "SAME"}),
    (("VALID", None, None, True), {"padding": "VALID"}),
    (("SAME",), {"padding": "SAME", "transpose_kernel": False}),
    (("VALID",), {"transpose_kernel": False}),
    ((SIDES,), {"input_padding": SIDES, "transpose_kernel": False}),
    ((SIDES, None, None, True), {"input_padding": SIDES}),
    ((((1, 0), (2, 1)), None, None, True, None, None, True), {"padding": ((1, 0), (2, 1))}),
]


def test_equals_lax(normal):
    y, kernel = normal((2, 5, 4, 6)), normal((4, 3, 6, 6))
    theirs = [
        (partial(lambda y, k, more: lax.conv_transpose(y, k, (2, 3), *more), more=more), y, kernel)
        for more, _ in LAX
    ]
    strides = {"strides": (2, 3)}
    rows = [(y, kernel, strides | options, None) for _, options in LAX]
    check_values([(*row[:3], x) for row, x in zip(rows, together(theirs), strict=True)])


def test_layouts(normal):
    y, kernel = normal((2, 5, 4, 6)), normal((3, 2, 3, 6))
    numbers = ("NCHW", "OIHW", "NCHW")
    first, last = together(
        [
            (
                partial(conv_transpose, strides=2, dimension_numbers=numbers),
                y.transpose(0, 3, 1, 2),
                kernel.transpose(3, 2, 0, 1),
            ),
            (partial(conv_transpose, strides=2), y, kernel),
        ]
    )
    chex.assert_trees_all_equal(first.transpose(0, 2, 3, 1), last)


def test_several_names_of_one_padding_may_agree(normal):
    y, kernel = normal((2, 5, 4, 6)), normal((4, 3, 2, 6))
    names = {"crop": 1, "input_padding": ((2, 2), (1, 1)), "output_shape": (11, 8)}
    one, all_of_them = together(
        [
            (partial(conv_transpose, strides=2, padding=1, output_padding=1, **more), y, kernel)
            for more in ({}, names)
        ]
    )
    chex.assert_trees_all_equal(one, all_of_them)


NAMED = {  # with a window of 3 by 4, dilated to 3 by 7, strides of 2 by 3, and 5 by 4 pixels
    "VALID": ((0, 0), (0, 0)),
    "FULL": ((2, 2), (6, 6)),
    "CAUSAL": ((2, 0), (6, 0)),
    "SAME": ((0, 1), (2, 2)),
    "SAME_LOWER": ((1, 0), (2, 2)),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_name_of_a_padding_agrees_with_the_same_sides(name):
    """`crop` beside `padding` by name; with other sides the error tells what each means."""
    y, kernel = np.ones((1, 5, 4, 2), np.float32), np.ones((3, 4, 2, 2), np.float32)
    options = {"padding": name, "strides": (2, 3), "kernel_dilation": (1, 2)}

    def with_crop(crop):
        return jax.eval_shape(partial(conv_transpose, crop=crop, **options), y, kernel)

    with_crop(NAMED[name])
    if name == "VALID":  # the default, beside which any crop is taken
        return
    ((lo, hi), columns) = NAMED[name]
    with pytest.raises(ValueError, match="; give one of them") as caught:
        with_crop(((lo, hi + 1), columns))
    assert f"padding means {NAMED[name]}" in str(caught.value)


@pytest.mark.usefixtures("no_type_checker")
def test_padding_as_an_array_or_in_lower_case(normal):
    y, kernel = normal((1, 4, 4, 4)), normal((3, 3, 2, 4))
    sides = np.array([[1, 1], [1, 1]])
    all_options = [{"padding": 1}, {"padding": sides}, {"crop": 1}, {"padding": "valid", "crop": 1}]
    calls = [(partial(conv_transpose, strides=2, **options), y, kernel) for options in all_options]
    first, *others = together(calls)
    for other in others:
        chex.assert_trees_all_equal(other, first)


def test_unrotated_kernel_in_groups(normal):
    y, kernel = normal((2, 5, 6)), normal((3, 3, 4))
    f = partial(conv_transpose, strides=2, transpose_kernel=False)
    parts = [(y[..., 3 * g : 3 * g + 3], kernel[..., 2 * g : 2 * g + 2]) for g in range(2)]
    whole, *each = together(
        [(partial(f, feature_group_count=2), y, kernel), *((f, *part) for part in parts)]
    )
    chex.assert_trees_all_close(whole, np.concatenate(each, -1), rtol=1e-13)


BAD_CALLS = {
    "output_padding": (lambda y, k: conv_transpose(y, k, 2, output_padding=2), "below the stride"),
    "with SAME": (lambda y, k: conv_transpose(y, k, 2, "SAME", output_padding=1), "output_shape"),
    "both": (
        lambda y, k: conv_transpose(y, k, 2, output_padding=1, output_shape=(12, 10)),
        "asks for",
    ),
    "both, on one axis": (
        lambda y, k: conv_transpose(y, k, 2, output_padding=(0, 1), output_shape=(12, 9)),
        r"output_padding = \(0, 1\) gives the size \(11, 9\), but output_shape asks for \(12, 9\)",
    ),
    "impossible": (
        lambda y, k: conv_transpose(y, k, 2, output_shape=(20, 9)),
        r"output_shape must be from 11 to 12 along spatial axis 0, .* to the 5 of x, got \(20, 9\)",
    ),
    "impossible, SAME": (
        lambda y, k: conv_transpose(y, k, 3, "SAME", output_shape=(15, 9)),
        r"output_shape must be from 10 to 12 along spatial axis 1, .* to the 4 of x",
    ),
    "impossible, one": (
        lambda y, k: conv_transpose(y, k, output_shape=8),
        r"output_shape must be 7 along spatial axis 0",
    ),
    "an empty one": (
        lambda y, k: conv_transpose(y[:1, :1], k, 3, ((3, 2), 0), output_shape=(0, 9)),
        r"along spatial axis 0 the convolution maps empty maps only to the 1 of x, .* got \(0, 9\)",
    ),
    "no size at all": (
        lambda y, k: conv_transpose(y, k, 2, input_dilation=5),
        "no size along spatial axis 1 becomes 4",
    ),
    "crop of an even window": (
        lambda y, k: conv_transpose(y, k, crop="same"),
        r"crop 'same' needs a window of odd size along every axis, got \(3, 2\)",
    ),
    "crop that no one has": (
        lambda y, k: conv_transpose(y, k, crop="SAME_LOWER"),
        "crop must be 'VALID', 'SAME', 'FULL'",
    ),
    "two paddings": (
        lambda y, k: conv_transpose(y, k, padding=1, crop=0),
        r"crop means \(\(0, 0\), \(0, 0\)\), padding means \(\(1, 1\), \(1, 1\)\); give one",
    ),
    "padding of the dilated input": (
        lambda y, k: conv_transpose(y, k, crop=1, input_padding=2),
        r"input_padding means \(\(0, 0\), \(-1, -1\)\)",
    ),
    "groups of an unrotated kernel": (
        lambda y, k: conv_transpose(y, k, transpose_kernel=False, feature_group_count=4),
        "must divide the kernel's c = 6",
    ),
    "channels": (lambda y, k: conv_transpose(y[..., :4], k), "c_out = 6 channels but x has 4"),
    "rank": (lambda y, k: conv_transpose(y[0], k), "same rank"),
    "nothing left": (lambda y, k: conv_transpose(y, k, padding=4), "leaves no output"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, message = BAD_CALLS[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        call(np.ones((2, 5, 4, 6)), np.ones((3, 2, 4, 6)))
    assert str(caught.value).startswith("conv_transpose: ")
