"""Transposed convolution: the adjoint of `conv`, of the size that was asked for."""

from functools import partial

import chex
import jax
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxconv import conv, conv_transpose, reference
from tests.oracles import assert_within_rounding

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


@pytest.fixture(params=CASES, ids=str)
def case(request, normal):
    spatial, window, options = request.param
    groups = options.get("feature_group_count", 1)
    return normal((2, *spatial, 6)), normal((*window, 4 // groups, 6)), options


def of_the_convolution(options):
    return {k: v for k, v in options.items() if k not in ("output_padding", "output_shape")}


def test_adjoint_of_conv(case, normal):
    y, kernel, options = case
    x = conv_transpose(y, kernel, **options)
    other = normal(x.shape)
    forward = conv(other, kernel, **of_the_convolution(options))
    assert forward.shape == y.shape
    scale = np.vdot(conv_transpose(np.abs(y), np.abs(kernel), **options), np.abs(other))
    assert_within_rounding(np.vdot(x, other), np.vdot(y, forward), scale, x.size * kernel.size)


def test_equals_the_definition(case):
    y, kernel, options = case
    x = conv_transpose(y, kernel, **options)
    plain = {**of_the_convolution(options), "output_shape": x.shape[1:-1]}
    expected = reference.conv_transpose(np.asarray(y), np.asarray(kernel), **plain)
    scale = conv_transpose(np.abs(y), np.abs(kernel), **options)
    assert_within_rounding(x, expected, scale, kernel.size)


def test_derivatives_are_those_of_the_other_corners(case, normal):
    """Against finite differences, exact for a bilinear map: f(x + v) - f(x) has no remainder."""
    y, kernel, options = case
    f = partial(conv_transpose, **options)
    y_dot, k_dot = normal(y.shape), normal(kernel.shape)
    x, x_dot = jax.jit(lambda *a: jax.jvp(f, a, (y_dot, k_dot)))(y, kernel)
    expected = f(y_dot, kernel) + f(y, k_dot)
    scale = f(np.abs(y), np.abs(k_dot)) + f(np.abs(y_dot), np.abs(kernel))
    assert_within_rounding(x_dot, expected, scale, kernel.size)
    x_bar = normal(x.shape)
    y_bar, k_bar = jax.jit(lambda *a: jax.vjp(f, *a)[1](x_bar))(y, kernel)
    chex.assert_equal_shape([y, y_bar])
    chex.assert_equal_shape([kernel, k_bar])
    reverse = np.vdot(y_bar, y_dot) + np.vdot(k_bar, k_dot)
    total = np.vdot(scale, np.abs(x_bar))
    assert_within_rounding(reverse, np.vdot(x_dot, x_bar), total, x.size * kernel.size)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("strides", [1, 2])
def test_equals_lax_with_transposed_kernel(padding, strides, normal):
    y, kernel = normal((2, 5, 4, 6)), normal((4, 4, 3, 6))
    expected = lax.conv_transpose(y, kernel, (strides,) * 2, padding, transpose_kernel=True)
    actual = conv_transpose(y, kernel, strides, padding)
    scale = conv_transpose(np.abs(y), np.abs(kernel), strides, padding)
    assert_within_rounding(actual, expected, scale, kernel.size)


def test_layouts(normal):
    y, kernel = normal((2, 5, 4, 6)), normal((3, 2, 3, 6))
    first = conv_transpose(
        y.transpose(0, 3, 1, 2),
        kernel.transpose(3, 2, 0, 1),
        2,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    chex.assert_trees_all_equal(first.transpose(0, 2, 3, 1), conv_transpose(y, kernel, 2))


# As others write it: torch's, Lasagne's and lax's options, and ours, in the order of the table in
# the docstring.


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("strides", "padding", "output_padding", "dilation"),
    [(1, 0, 0, 1), (2, 1, 1, 1), (3, (2, 0), (1, 2), (1, 2)), (1, 1, 1, 2), (2, 4, 0, 1)],
)
def test_equals_torch(strides, padding, output_padding, dilation, groups, normal):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    y, kernel = normal((2, 5, 4, 6)), normal((4, 3, 4 // groups, 6))
    theirs = torch.nn.functional.conv_transpose2d(
        torch.tensor(np.asarray(y.transpose(0, 3, 1, 2))),
        torch.tensor(np.asarray(kernel.transpose(3, 2, 0, 1))),
        stride=strides,
        padding=padding,
        output_padding=output_padding,
        groups=groups,
        dilation=dilation,
    )
    ours = partial(
        conv_transpose,
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
    )
    scale = ours(np.abs(y), np.abs(kernel))
    expected = theirs.numpy().transpose(0, 2, 3, 1)
    assert_within_rounding(ours(y, kernel), expected, scale, kernel.size)


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


@pytest.mark.parametrize("flip_filters", [False, True])
@pytest.mark.parametrize(
    ("window", "crop", "cut", "size"),
    [
        ((3, 4), 0, (0, 0), None),
        ((3, 4), "valid", (0, 0), (12, 10)),
        ((3, 4), (1, 2), (1, 2), (9, 7)),
        ((3, 5), "same", (1, 2), None),
        ((3, 5), "same", (1, 2), (10, 8)),
        ((1, 3), "full", (0, 2), None),
    ],
)
def test_equals_lasagne(window, crop, cut, size, flip_filters, normal):
    """`crop` cuts as much from either side, `output_size` adds rows on the high one.

    A transposed layer turns its filters before it lays them down, unless `flip_filters`.
    """
    y, kernel = normal((2, 5, 4, 6)), normal((*window, 2, 6))
    laid = np.asarray(kernel if flip_filters else kernel[::-1, ::-1])
    whole = scattered(np.asarray(y), laid, 2)
    smallest = [n - 2 * lo for n, lo in zip(whole.shape[1:], cut, strict=False)]
    expected = window_of(whole, cut, size or smallest)
    options = {"crop": crop, "output_shape": size, "flip_kernel": not flip_filters}
    actual = conv_transpose(y, kernel, 2, **options)
    scale = conv_transpose(np.abs(y), np.abs(kernel), 2, **options)
    assert_within_rounding(actual, expected, scale, kernel.size)


def test_lasagne_s_same_in_numbers():
    y, kernel = np.arange(1.0, 6).reshape(1, 5, 1), np.array([1.0, 10, 100]).reshape(3, 1, 1)
    expected = [10, 102, 20, 203, 30, 304, 40, 405, 50, 500]
    for size in (None, 9, 10):
        x = conv_transpose(y, kernel, 2, crop="same", output_shape=size)
        np.testing.assert_array_equal(x[0, :, 0], expected[: size or 9])


@pytest.mark.parametrize(("window", "stride"), [((3, 4), 2), ((2, 5), 3), ((4, 1), 1), ((2, 2), 3)])
def test_equals_keras(window, stride, normal):
    """TensorFlow's gradient of a "same" convolution of a map of stride times the size."""
    y, kernel = normal((2, 5, 4, 6)), normal((*window, 2, 6))
    low = [max(r - stride, 0) // 2 for r in window]
    whole = scattered(np.asarray(y), np.asarray(kernel), stride)
    expected = window_of(whole, low, [stride * n for n in y.shape[1:-1]])
    scale = conv_transpose(np.abs(y), np.abs(kernel), stride, "SAME")
    assert_within_rounding(conv_transpose(y, kernel, stride, "SAME"), expected, scale, kernel.size)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("transpose_kernel", [False, True])
def test_equals_flax(padding, transpose_kernel, normal):
    layer = nnx.ConvTranspose(
        6,
        4,
        (3, 4),
        (2, 3),
        padding=padding,
        transpose_kernel=transpose_kernel,
        use_bias=False,
        param_dtype=np.float64,
        rngs=nnx.Rngs(0),
    )
    y, kernel = normal((2, 5, 4, 6)), layer.kernel[...]
    ours = partial(conv_transpose, strides=(2, 3), padding=padding)
    ours = partial(ours, transpose_kernel=transpose_kernel)
    scale = ours(np.abs(y), np.abs(kernel))
    assert_within_rounding(ours(y, kernel), layer(y), scale, kernel.size)


@pytest.mark.parametrize(
    ("theirs", "options"),
    [
        (("SAME", None, None, True), {"padding": "SAME"}),
        (("SAME",), {"padding": "SAME", "transpose_kernel": False}),
        (("VALID",), {"transpose_kernel": False}),
        ((((3, 2), (1, 4)),), {"input_padding": ((3, 2), (1, 4)), "transpose_kernel": False}),
        (
            (((3, 2), (1, 4)), None, None, True),
            {"input_padding": ((3, 2), (1, 4))},
        ),
        ((((1, 0), (2, 1)), None, None, True, None, None, True), {"padding": ((1, 0), (2, 1))}),
    ],
    ids=str,
)
def test_equals_lax_option_by_option(theirs, options, normal):
    y, kernel = normal((2, 5, 4, 6)), normal((4, 3, 6, 6))
    expected = lax.conv_transpose(y, kernel, (2, 3), *theirs)
    actual = conv_transpose(y, kernel, (2, 3), **options)
    scale = conv_transpose(np.abs(y), np.abs(kernel), (2, 3), **options)
    assert_within_rounding(actual, expected, scale, kernel.size)


def test_names_that_agree(normal):
    y, kernel = normal((2, 5, 4, 6)), normal((4, 3, 2, 6))
    chex.assert_trees_all_equal(
        conv_transpose(y, kernel, 2, 1, output_padding=1),
        conv_transpose(
            y,
            kernel,
            2,
            1,
            crop=1,
            input_padding=((2, 2), (1, 1)),
            output_shape=(11, 8),
            output_padding=1,
        ),
    )


@pytest.mark.usefixtures("no_type_checker")
def test_padding_as_an_array_or_in_lower_case(normal):
    y, kernel = normal((1, 4, 4, 4)), normal((3, 3, 2, 4))
    expected = conv_transpose(y, kernel, 2, 1)
    sides = np.array([[1, 1], [1, 1]])
    chex.assert_trees_all_equal(conv_transpose(y, kernel, 2, sides), expected)
    expected = conv_transpose(y, kernel, 2, crop=1)
    chex.assert_trees_all_equal(conv_transpose(y, kernel, 2, "valid", crop=1), expected)


def test_unrotated_kernel_in_groups(normal):
    y, kernel = normal((2, 5, 6)), normal((3, 3, 4))
    options = {"strides": 2, "feature_group_count": 2}
    whole = conv_transpose(y, kernel, transpose_kernel=False, **options)
    each = [
        conv_transpose(
            y[..., 3 * g : 3 * g + 3], kernel[..., 2 * g : 2 * g + 2], 2, transpose_kernel=False
        )
        for g in range(2)
    ]
    chex.assert_trees_all_close(whole, np.concatenate(each, -1), rtol=1e-13)


BAD_CALLS = {
    "output_padding": (lambda y, k: conv_transpose(y, k, 2, output_padding=2), "below the stride"),
    "with SAME": (lambda y, k: conv_transpose(y, k, 2, "SAME", output_padding=1), "output_shape"),
    "both": (
        lambda y, k: conv_transpose(y, k, 2, output_padding=1, output_shape=(12, 10)),
        "asks for",
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
def test_bad_input(mistake, normal):
    call, message = BAD_CALLS[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        call(np.asarray(normal((2, 5, 4, 6))), np.asarray(normal((3, 2, 4, 6))))
    assert str(caught.value).startswith("conv_transpose: ")
