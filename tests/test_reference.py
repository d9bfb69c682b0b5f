"""The definitions are right: they equal sums done by hand, SciPy's results, and each other.

The data are whole numbers. Their sums are exact in any order, so results are compared for equality.
"""

import math

import numpy as np
import pytest
from scipy import signal

from jaxconv import reference
from jaxconv.reference._convolution import output_size, per_axis, products, spatial_axes, terms
from jaxconv.reference._pooling import _one_more

equal = np.testing.assert_array_equal

# Spatial shape, window and options; no two axes alike.
GEOMETRIES = {
    "plain": ((7,), (3,), {}),
    "point": ((), (), {}),
    "window of one": ((5, 4), (1, 1), {}),
    "window of all": ((5, 4), (5, 4), {}),
    "strides": ((9, 8), (3, 2), {"strides": (2, 3)}),
    "padding": ((6, 5), (3, 4), {"padding": ((2, 1), (0, 3))}),
    "cropping": ((8, 7), (3, 2), {"padding": ((-2, 1), (1, -3)), "strides": (1, 2)}),
    "input dilation": ((4, 5), (3, 4), {"input_dilation": (3, 2), "strides": (2, 1)}),
    "kernel dilation": ((9, 8), (3, 2), {"kernel_dilation": (2, 5), "padding": "FULL"}),
    "groups": ((6, 5), (2, 3), {"feature_group_count": 2, "padding": "SAME"}),
    "flipped": ((6, 5), (2, 3), {"flip_kernel": True, "padding": ((1, 0), (2, 1))}),
    "three axes": ((5, 4, 6), (2, 3, 4), {"strides": (2, 1, 3), "padding": "SAME_LOWER"}),
    "all at once": (
        (7, 5),
        (2, 3),
        {
            "strides": (2, 3),
            "padding": ((3, -1), (-2, 4)),
            "input_dilation": (3, 2),
            "kernel_dilation": (4, 2),
            "feature_group_count": 2,
            "flip_kernel": True,
        },
    ),
}


@pytest.fixture
def draw():
    rng = np.random.default_rng(0)
    return lambda *shape: rng.integers(-9, 10, shape).astype(float)


@pytest.fixture(params=GEOMETRIES.values(), ids=GEOMETRIES.keys())
def problem(request, draw):
    """`(x, kernel, options)` with 4 input channels, 6 output channels and 2 examples."""
    size, window, options = request.param
    groups = options.get("feature_group_count", 1)
    return draw(2, *size, 4), draw(*window, 4 // groups, 6), options


def series(*values):
    """The feature map `(1, len(values), 1)`."""
    return np.array(values, float)[None, :, None]


def taps(*values):
    """The kernel `(len(values), 1, 1)`."""
    return np.array(values, float)[:, None, None]


@pytest.mark.parametrize(
    ("x", "kernel", "options", "y"),
    [
        ((1, 2, 3, 4), (1, 10), {}, (21, 32, 43)),
        ((1, 2, 3, 4), (1, 10), {"flip_kernel": True}, (12, 23, 34)),
        ((1, 2, 3, 4), (1, 10), {"strides": 2}, (21, 43)),
        ((1, 2, 3, 4), (1, 10), {"kernel_dilation": 2}, (31, 42)),
        ((1, 2, 3), (1, 10, 100), {"input_dilation": 2}, (201, 20, 302)),
        ((1, 2, 3), (1, 10), {"padding": ((1, 2),)}, (10, 21, 32, 3, 0)),
        ((1, 2, 3, 4, 5), (1, 10), {"padding": ((-1, -2),)}, (32,)),
        ((1, 2, 3), (1, 10), {"padding": "SAME"}, (21, 32, 3)),
        ((1, 2, 3), (1, 10), {"padding": "SAME_LOWER"}, (10, 21, 32)),
        ((1, 2, 3), (1, 10, 100), {"padding": "FULL"}, (100, 210, 321, 32, 3)),
    ],
)
def test_conv_by_hand(x, kernel, options, y):
    equal(reference.conv(series(*x), taps(*kernel), **options), series(*y))


def test_gradients_by_hand():
    x, kernel, y_bar = series(1, 2, 3, 4), taps(1, 10), series(1, 0, 5)
    # y_0 = x_0 + 10 x_1, y_2 = x_2 + 10 x_3
    equal(reference.conv_input_vjp(y_bar, kernel, x.shape), series(1, 10, 5, 50))
    equal(reference.conv_kernel_vjp(x, y_bar, kernel.shape), taps(1 + 5 * 3, 2 + 5 * 4))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("mode", "padding"), [("valid", "VALID"), ("full", "FULL")])
@pytest.mark.parametrize(
    ("size", "window"), [((9,), (4,)), ((7, 6), (2, 3)), ((5, 4, 6), (3, 1, 2))]
)
def test_conv_is_scipys(size, window, mode, padding, flip, draw):
    x, kernel = draw(2, *size, 3), draw(*window, 3, 2)
    of_scipy = signal.convolve if flip else signal.correlate
    y = np.zeros_like(reference.conv(x, kernel, padding=padding, flip_kernel=flip))
    for n, c, o in np.ndindex(2, 3, 2):
        y[n, ..., o] += of_scipy(x[n, ..., c], kernel[..., c, o], mode, method="direct")
    equal(reference.conv(x, kernel, padding=padding, flip_kernel=flip), y)


def test_both_gradients_are_adjoints(problem, draw):
    x, kernel, options = problem
    y = reference.conv(x, kernel, **options)
    y_bar = draw(*y.shape)
    x_bar = reference.conv_input_vjp(y_bar, kernel, x.shape, **options)
    kernel_bar = reference.conv_kernel_vjp(x, y_bar, kernel.shape, **options)
    assert y.size > 0
    assert (x_bar.shape, kernel_bar.shape) == (x.shape, kernel.shape)
    assert np.vdot(y_bar, y) == np.vdot(x_bar, x) == np.vdot(kernel_bar, kernel) != 0


def test_input_gradient_is_the_textbooks(draw):
    kernel, y_bar = draw(3, 2, 4, 5), draw(2, 4, 6, 5)
    dilated = np.zeros((2, 7, 16, 5))  # strides (2, 3): y_bar's pixels 2 and 3 apart
    dilated[:, ::2, ::3] = y_bar
    x_bar = reference.conv(dilated, reference.rotate_kernel(kernel), padding="FULL")
    equal(reference.conv_input_vjp(y_bar, kernel, x_bar.shape, strides=(2, 3)), x_bar)
    equal(
        reference.conv_transpose(y_bar, kernel, (2, 3), output_shape=x_bar.shape[1:-1]),
        reference.conv_input_vjp(y_bar, kernel, x_bar.shape, (2, 3)),
    )


def test_stride_dilation_groups_and_flip_say_what_they_are(draw):
    x, kernel = draw(2, 7, 8, 4), draw(3, 2, 4, 6)
    y = reference.conv(x, kernel, padding=1)
    equal(reference.conv(x, kernel, (2, 3), padding=1), y[:, ::2, ::3])
    equal(reference.conv(x, kernel[::-1, ::-1], padding=1, flip_kernel=True), y)
    dilated_kernel = np.zeros((5, 4, 4, 6))
    dilated_kernel[::2, ::3] = kernel
    equal(reference.conv(x, kernel, kernel_dilation=(2, 3)), reference.conv(x, dilated_kernel))
    dilated_x = np.zeros((2, 13, 22, 4))
    dilated_x[:, ::2, ::3] = x
    equal(reference.conv(x, kernel, input_dilation=(2, 3)), reference.conv(dilated_x, kernel))
    halves = [
        reference.conv(x[..., :2], kernel[..., :2, :3]),
        reference.conv(x[..., 2:], kernel[..., :2, 3:]),
    ]
    equal(
        reference.conv(x, kernel[..., :2, :], feature_group_count=2),
        np.concatenate(halves, axis=-1),
    )
    equal(
        reference.conv(x, kernel, padding=((-1, -2), (0, -3))),
        reference.conv(x[:, 1:-2, :-3], kernel),
    )


@pytest.mark.parametrize("sides", [((1, 2), (0, 1)), ((8, 0), (3, 11)), ((0, 4), (-1, 5))], ids=str)
def test_padding_modes_are_those_of_numpy(sides, draw):
    x, kernel = draw(2, 4, 3, 2), draw(3, 2, 2, 3)
    wide = [(max(lo, 0), max(hi, 0)) for lo, hi in sides]
    cut = tuple(slice(max(-lo, 0), None) for lo, _ in sides)
    for mode, in_numpy in {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}.items():
        padded = np.pad(x, [(0, 0), *wide, (0, 0)], in_numpy)[:, *cut]
        y = reference.conv(x, kernel, padding=sides, padding_mode=mode)
        equal(y, reference.conv(padded, kernel))
        y_bar, x_dot = draw(*y.shape), draw(*x.shape)
        x_bar = reference.conv_input_vjp(y_bar, kernel, x.shape, padding=sides, padding_mode=mode)
        y_dot = reference.conv(x_dot, kernel, padding=sides, padding_mode=mode)
        assert np.vdot(x_bar, x_dot) == np.vdot(y_bar, y_dot) != 0
    one = np.full((1, 1, 1), 3.0)
    equal(
        reference.conv(one, np.ones((3, 1, 1)), padding=2, padding_mode="reflect"), series(9, 9, 9)
    )


def test_rotate_kernel():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    rotated = reference.rotate_kernel(kernel)
    assert rotated.shape == (2, 3, 5, 4)
    assert rotated[0, 2, 1, 3] == kernel[1, 0, 3, 1]
    equal(reference.rotate_kernel(rotated), kernel)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 6, 7])
def test_same_padding_gives_one_output_a_stride(size, window, stride):
    for padding in ("SAME", "SAME_LOWER"):
        y = reference.conv(np.ones((1, size, 1)), np.ones((window, 1, 1)), stride, padding)
        assert y.shape == (1, math.ceil(size / stride), 1)


def test_pools_by_hand():
    x = series(3, 1, 4, 1, 5)
    equal(reference.max_pool(x, 2), series(3, 4))
    equal(reference.max_pool(x, 2, strides=1), series(3, 4, 4, 5))
    equal(reference.max_pool(x, 2, 1, window_dilation=2), series(4, 1, 5))
    equal(reference.max_pool(-x, 2, 2, ((1, 0),)), series(-3, -1, -1))  # padding is no zero
    equal(reference.min_pool(x, 3, 2), series(1, 1))
    equal(reference.min_pool(x, 2, 2, ((1, 0),)), series(3, 1, 1))
    equal(reference.sum_pool(x, 2, 2, "SAME"), series(4, 5, 5))
    equal(reference.avg_pool(x, 2, 2, "SAME"), series(2, 2.5, 2.5))
    equal(reference.avg_pool(x, 2, 2, "SAME", count_include_pad=False), series(2, 2.5, 5))
    equal(reference.upscale(series(1, 2), 3), series(1, 1, 1, 2, 2, 2))


@pytest.mark.parametrize(
    ("x", "options", "x_bar"),
    [
        ((3, 1, 4, 1, 5), {}, (1, 0, 10, 0, 0)),  # the last pixel is in no window
        ((3, 1, 4, 1, 5), {"strides": 1}, (1, 0, 110, 0, 1000)),  # windows that overlap add up
        ((2, 2, 0, 0), {}, (1, 0, 10, 0)),  # the first of equals
        ((1, np.nan, 2, np.nan), {}, (0, 1, 0, 10)),
        ((np.nan, np.nan, 9, np.nan), {}, (1, 0, 0, 10)),  # the first NaN
        ((-1, -2, -3), {"padding": ((1, 0),)}, (1, 10, 0)),  # padding gets nothing
        ((-np.inf, -np.inf), {"padding": ((1, 1),)}, (1, 10)),  # not even where it is equal
        ((7, 8), {"padding": ((2, 0),)}, (0, 10)),  # a window of padding only sends nothing
    ],
)
def test_max_pool_vjp_by_hand(x, options, x_bar):
    x = series(*x)
    y_bar = 10.0 ** np.arange(reference.max_pool(x, 2, **options).size).reshape(1, -1, 1)
    equal(reference.max_pool_vjp(x, y_bar, 2, **options), series(*x_bar))


def test_max_pool_takes_the_first_maximum_row_by_row():
    x = np.array([[0, 7], [7, 7]], float)[None, :, :, None]
    x_bar = reference.max_pool_vjp(x, np.ones((1, 1, 1, 1)), 2)
    equal(x_bar[0, ..., 0], [[0, 1], [0, 0]])


@pytest.mark.parametrize("window", [2, (3, 2)], ids=str)
@pytest.mark.parametrize("strides", [None, 1, (2, 3)], ids=str)
def test_pools_are_numpys_windows(window, strides, draw):
    x = draw(2, 7, 8, 3)
    f_h, f_w = (window, window) if isinstance(window, int) else window
    s_h, s_w = (f_h, f_w) if strides is None else (strides, strides) if strides == 1 else strides
    views = np.lib.stride_tricks.sliding_window_view(x, (f_h, f_w), (1, 2))[:, ::s_h, ::s_w]
    equal(reference.max_pool(x, window, strides), views.max((-2, -1)))
    equal(reference.min_pool(x, window, strides), views.min((-2, -1)))
    equal(reference.sum_pool(x, window, strides), views.sum((-2, -1)))
    equal(reference.avg_pool(x, window, strides), views.sum((-2, -1)) / (f_h * f_w))


def test_max_pool_vjp_is_the_derivative_along_a_line(draw):
    window, options = (3, 2), {"strides": (2, 1), "padding": "SAME"}
    x = np.random.default_rng(1).permutation(2 * 7 * 6 * 3).reshape(2, 7, 6, 3).astype(float)
    x_dot, step = draw(*x.shape), 2.0**-6  # too short to change which of the distinct x is largest
    there, here = (reference.max_pool(x + t * x_dot, window, **options) for t in (step, 0))
    y_bar = draw(*here.shape)
    x_bar = reference.max_pool_vjp(x, y_bar, window, **options)
    assert np.vdot(y_bar, there - here) / step == np.vdot(x_bar, x_dot) != 0


def test_upscale_is_the_adjoint_of_sum_pool(draw):
    x, y_bar = draw(2, 3, 4, 2), draw(2, 6, 12, 2)
    y, x_bar = reference.upscale(x, (2, 3)), reference.sum_pool(y_bar, (2, 3))
    assert np.vdot(y_bar, y) == np.vdot(x_bar, x) != 0


def test_every_dtype_is_computed_in_double():
    x, kernel = series(300, 1).astype(np.float16), taps(300, 1).astype(np.float16)
    equal(reference.conv(x, kernel), series(90_001))  # float16 ends at 65,504
    equal(reference.sum_pool(x * 200, 2), series(60_200))  # and above 2048 it has gaps
    assert reference.conv(x + 1j, kernel).dtype == np.complex128
    equal(reference.max_pool(np.array([[[3], [4]]]), 2), series(4))


# What else is defined: by hand, or against NumPy, PyTorch's formulas and each other.


def grid(*rows):
    """The feature map `(1, rows, columns, 1)`."""
    return np.array(rows, float)[None, ..., None]


def test_every_tap_of_every_output_meets_a_pixel_or_a_zero():
    """e·i + lo = s·p + d·r on two axes; `products` has the zeros, too, and `terms` has not."""
    axes = spatial_axes((3, 2), (2, 1), (2, 1), ((1, 0), (0, 1)), (1, 2), (1, 1))
    assert axes == [(3, 2, 2, 1, 0, 1, 1), (2, 1, 1, 0, 1, 2, 1)]
    assert output_size(axes) == (2, 4)
    met = {}
    for i, r, p in products(axes):
        row, column = 2 * p[0] + r[0] - 1, p[1] / 2
        inside = 0 <= row < 3 and column in (0, 1)
        assert i == ((row, column) if inside else None)
        met[p, r] = i
    assert list(met) == [(p, r) for p in np.ndindex(2, 4) for r in np.ndindex(2, 1)]
    assert list(terms(axes)) == [(i, r, p) for (p, r), i in met.items() if i is not None]
    flipped = {(p, r): i for i, r, p in products(axes, flip=True)}
    assert flipped == {(p, (1 - r[0], 0)): i for (p, r), i in met.items()}


@pytest.mark.parametrize(
    ("axis", "size"),
    [
        ((7, 3, 2, 0, 0, 1, 1), 3),
        ((7, 3, 2, 0, 1, 1, 1), 3),
        ((7, 3, 2, 1, 1, 1, 1), 4),
        ((7, 3, 1, 0, 0, 1, 3), 1),
        ((7, 3, 1, 0, 0, 1, 4), 0),  # the window does not fit
        ((2, 5, 1, -1, 0, 1, 1), 0),
        ((3, 2, 1, 0, 0, 3, 1), 6),
        ((0, 2, 1, 1, 1, 1, 1), 1),  # padding alone
        ((0, 1, 1, 0, 0, 2, 1), 0),
    ],
)
def test_the_number_of_outputs(axis, size):
    assert output_size([axis]) == (size,)


@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        ("VALID", (0, 0)),
        ("FULL", (6, 6)),
        ("SAME", (2, 3)),
        ("SAME_LOWER", (3, 2)),
        (2, (2, 2)),
        ((4, -1), (4, -1)),
    ],
)
def test_named_paddings(padding, sides):
    """An input of 4 dilated to 7, a window of 3 dilated to 7, stride 3: SAME has ceil(7 / 3)."""
    ((*_, lo, hi, e, d),) = spatial_axes((4,), (3,), 3, (padding,), 2, 3)
    expected = (3, 3) if isinstance(padding, str) and padding.startswith("SAME") else sides
    assert (lo, hi, e, d) == (*expected, 2, 3)


@pytest.mark.parametrize(("size", "stride", "total"), [(7, 1, 3), (7, 3, 3), (8, 3, 2), (8, 9, 0)])
def test_same_padding_is_the_least_and_its_odd_one_is_high(size, stride, total):
    for name in ("SAME", "SAME_LOWER"):
        ((_, _, _, lo, hi, _, _),) = spatial_axes((size,), (4,), stride, name, 1, 1)
        small, large = total // 2, (total + 1) // 2
        assert (lo, hi) == ((small, large) if name == "SAME" else (large, small))


@pytest.mark.parametrize("option", [3, "SAME", (1, 2), [1, 2]])
def test_an_option_for_each_axis(option):
    expected = (option,) * 2 if isinstance(option, int | str) else (1, 2)
    assert per_axis(option, 2) == expected


def test_infinite_taps_reach_outputs_that_see_padding():
    """0 · inf is NaN: in the padding and in the gaps of a dilated input."""
    y = reference.conv(series(1, 2, 3), taps(np.inf, 1), padding=((1, 0),))
    equal(y, series(np.nan, np.inf, np.inf))
    with_gaps = reference.conv(series(1, 2), taps(np.inf, 1), input_dilation=2)
    equal(with_gaps, series(np.inf, np.nan))
    # As a convolution of the dilated and padded map, so does the transposed one.
    x = reference.conv_transpose(series(1, 2), taps(np.inf, 1), 2, output_shape=(4,))
    equal(x, series(np.inf, np.nan, np.inf, np.nan))
    x = reference.conv_transpose(series(1), taps(1, np.inf), output_shape=(2,))
    equal(x, series(np.nan, np.inf))


def test_the_transpose_of_groups(draw):
    kernel, y = draw(2, 3, 2, 6), draw(2, 3, 2, 6)
    options = {"strides": (1, 2), "padding": 1, "feature_group_count": 2}
    x = reference.conv_transpose(y, kernel, output_shape=(2, 4), **options)
    assert x.shape == (2, 2, 4, 4)
    x_dot = draw(*x.shape)
    assert np.vdot(x, x_dot) == np.vdot(y, reference.conv(x_dot, kernel, **options)) != 0


@pytest.mark.parametrize(
    ("x", "ties", "x_bar"),
    [
        ((2, 2, 1, 1), "all", (1, 1, 10, 10)),
        ((2, 2, 1, 1), "split", (0.5, 0.5, 5, 5)),
        ((2, 2, 1, 1), "first", (1, 0, 10, 0)),
        ((np.nan, np.nan, np.nan, 7), "split", (0.5, 0.5, 10, 0)),
        ((np.nan, 7, np.nan, np.nan), "all", (1, 0, 10, 10)),
    ],
)
def test_equal_maxima(x, ties, x_bar):
    y_bar = series(1, 10)
    equal(reference.max_pool_vjp(series(*x), y_bar, 2, ties=ties), series(*x_bar))


def test_maxima_and_where_they_are():
    x = grid((0, 7, 1), (9, 2, 8))
    y, argmax = reference.max_pool_with_argmax(x, 2, (1, 1))
    equal(y, grid((9, 8)))
    equal(argmax, grid((3, 5)))
    y, argmax = reference.max_pool_with_argmax(series(2, 2, 1), 1, 1, ((1, 1),))
    equal(y, series(-np.inf, 2, 2, 1, -np.inf))
    equal(argmax, series(-1, 0, 1, 2, -1))
    equal(reference.max_pool_with_argmax(series(3, 3), 2)[1], series(0))  # the first of equals
    equal(reference.max_pool(grid((0, 7, 1), (9, 2, 8)), (1, 2), 1), grid((7, 7), (9, 8)))


def test_maxima_are_put_back():
    y, argmax = series(1, 2, 4, 8), series(0, 2, 2, -1).astype(int)
    equal(reference.max_unpool(y, argmax, (4,)), series(1, 0, 6, 0))
    equal(reference.max_unpool(y, argmax, (4,), overlap="mean"), series(1, 0, 3, 0))
    two = np.stack([y[0], 10 * y[0]])[..., [0, 0]] * [1, 100]  # two examples of two channels
    places = np.stack([argmax[0], argmax[0, ::-1]])[..., [0, 0]]
    back = reference.max_unpool(two, places, (2, 2))
    assert back.shape == (2, 2, 2, 2)
    equal(back[0, ..., 1], [[100, 0], [600, 0]])
    equal(back[1, ..., 0], [[80, 0], [60, 0]])


def test_windows_are_unfolded_and_folded():
    x = np.stack([grid((1, 2), (3, 4))[..., 0], grid((5, 6), (7, 8))[..., 0]], axis=-1)
    y = reference.unfold(x, (2, 1), 1, ((1, 0), (0, 0)))
    assert y.shape == (1, 2, 2, 4)
    equal(y[0, 0], [[0, 0, 1, 5], [0, 0, 2, 6]])
    equal(y[0, 1], [[1, 5, 3, 7], [2, 6, 4, 8]])
    folded = reference.fold(y, (2, 2), (2, 1), 1, ((1, 0), (0, 0)))
    equal(folded, x * [[[[2], [2]], [[1], [1]]]])  # the first row is in two windows
    equal(reference.unfold(series(1, 2, 3), 2)[0], [[1, 2], [2, 3]])  # strides 1
    equal(reference.fold(np.array([[[1.0, 2], [4, 8]]]), (3,), 2), series(1, 6, 8))


def test_averages_count_what_they_should():
    x = series(1, 2, 4, 8, 16)
    sides = {"padding": ((1, 1),)}
    equal(reference.avg_pool(x, 3, 2, **sides), series(1, 14 / 3, 8))
    equal(reference.avg_pool(x, 3, 2, count_include_pad=False, **sides), series(1.5, 14 / 3, 12))
    equal(reference.avg_pool(series(5), 1, 1, 1, count_include_pad=False), series(0, 5, 0))
    # The window that `ceil_mode` adds has taps beyond the padding, which do not count.
    equal(reference.avg_pool(x, 2, 2, ceil_mode=True), series(1.5, 6, 16))
    equal(reference.avg_pool(x, 4, 3, ((0, 1),), ceil_mode=True), series(15 / 4, 24 / 3))
    equal(reference.avg_pool(x, 2, 2, window_dilation=2, ceil_mode=True), series(2.5, 10))
    corner = reference.avg_pool(np.ones((1, 3, 3, 1)), 2, ceil_mode=True)
    equal(corner, np.ones((1, 2, 2, 1)))


@pytest.mark.parametrize(
    ("axis", "high"),
    [
        ((5, 2, 2, 0, 0, 1, 1), 1),  # the fifth pixel is in no window
        ((6, 2, 2, 0, 0, 1, 1), 0),
        ((5, 3, 2, 0, 0, 1, 1), 0),  # covered, though the step leaves no rest
        ((5, 1, 3, 0, 0, 1, 1), 0),  # a window would start behind the input
        ((4, 1, 3, 0, 1, 1, 1), 1),  # or in its high padding: covered already
        ((4, 2, 3, 1, 1, 1, 1), 1),
        ((4, 3, 3, 1, 1, 1, 1), 1),
        ((4, 2, 2, 1, 0, 1, 1), 1),  # low padding counts for the windows
        ((5, 2, 2, 0, 1, 1, 2), 2),
        ((4, 2, 4, 0, 1, 1, 1), 1),  # the next one would start in the high padding
    ],
)
def test_one_window_more(axis, high):
    n, w, s, lo, _, e, d = axis
    assert _one_more(axis) == (n, w, s, lo, high, e, d)


def test_norms_means_and_parts():
    x = np.stack([series(3, -4, 0, 1)[..., 0], series(1, 1, 2, 2)[..., 0]], axis=-1)
    np.testing.assert_allclose(reference.lp_pool(x, 2, 2), [[[5, 2**0.5], [1, 8**0.5]]])
    np.testing.assert_allclose(reference.lp_pool(x, 1, 2, 1)[0, :, 0], [7, 4, 1])
    equal(reference.global_avg_pool(x), [[0, 1.5]])
    equal(reference.global_max_pool(x), [[3, 2]])
    image = grid((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12))
    equal(reference.global_avg_pool(image), [[6.5]])
    equal(reference.global_max_pool(image), [[12]])
    # Rows 0-1 and 1-2; columns 0-1, 1-2 and 2-3.
    equal(reference.adaptive_avg_pool(image, (2, 3)), grid((3.5, 4.5, 5.5), (7.5, 8.5, 9.5)))
    equal(reference.adaptive_max_pool(image, (2, 3)), grid((6, 7, 8), (10, 11, 12)))
    equal(reference.adaptive_max_pool(image, 1), grid((12,)))
    equal(reference.adaptive_avg_pool(image, (3, 4)), image)
    pair = np.concatenate([image, -image], axis=-1)
    equal(reference.adaptive_max_pool(pair, (1, 2))[..., 1], grid((-1, -3))[..., 0])


def test_minima():
    equal(reference.min_pool(series(3, np.nan, 4, 1), 2), series(np.nan, 1))
    equal(reference.min_pool(series(3, 1), 1, 1, 1), series(np.inf, 3, 1, np.inf))


def test_enlarged_maps():
    x = series(1, 5, 3)
    equal(reference.upscale(x, 2, "zeros"), series(1, 0, 5, 0, 3, 0))
    equal(reference.upscale(x, 2), series(1, 1, 5, 5, 3, 3))
    equal(reference.upscale(x, 2, "bilinear"), series(1, 2, 4, 4.5, 3.5, 3))
    corners = reference.upscale(x, 3, "bilinear", align_corners=True)
    equal(corners, series(1, 2, 3, 4, 5, 4.5, 4, 3.5, 3))
    equal(reference.upscale(series(7), 2, "bilinear", align_corners=True), series(7, 7))
    for same in (series(7), series(7, 3), x):
        equal(reference.upscale(same, 1, "bilinear", align_corners=True), same)
        equal(reference.upscale(same, 1, "bilinear"), same)
    equal(reference.upscale(series(1, 2, 3), (2,), "bilinear")[0, 1:4, 0], [1.25, 1.75, 2.25])
    image = grid((1, 2), (3, 4))
    equal(reference.upscale(image, (1, 2)), grid((1, 1, 2, 2), (3, 3, 4, 4)))
    equal(reference.upscale(image, (2, 1), "zeros"), grid((1, 2), (0, 0), (3, 4), (0, 0)))
    # A weight of zero is no term: an infinity stays where it is.
    equal(reference.upscale(series(np.inf, 1), 2), series(np.inf, np.inf, 1, 1))


def test_channels_and_pixels_change_places():
    """y[i f + a, j g + b, c] = x[i, j, (c f + a) g + b]."""
    x = np.arange(2 * 1 * 4 * 12.0).reshape(2, 1, 4, 12)
    y = reference.pixel_shuffle(x, (2, 3))
    assert y.shape == (2, 2, 12, 2)
    for n, i, j, a, b, c in np.ndindex(2, 1, 4, 2, 3, 2):
        assert y[n, 2 * i + a, 3 * j + b, c] == x[n, i, j, (c * 2 + a) * 3 + b]
    equal(reference.pixel_unshuffle(y, (2, 3)), x)
    equal(reference.pixel_shuffle(series(1, 2)[..., [0, 0]] * [1, 10], 2), series(1, 10, 2, 20))
