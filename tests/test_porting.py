"""The how-to on porting: its functions and tables against torch, and against Keras and Lasagne.

torch is called where it is installed. Keras and Lasagne are compared by the definitions that their
documentation gives, written in NumPy.
"""

import numpy as np
import pytest
from scipy import signal

import jaxconv
from tests.notebook_cells import read, run

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")
pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def port():
    """What the notebook defines. Running it also runs its own comparisons."""
    names, _ = run(read("how_to_port_weights"), "how_to_port_weights")
    return names


@pytest.fixture
def draw():
    rng = np.random.default_rng(0)
    return lambda *shape: rng.normal(size=shape)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def of_torch(layer, x):
    """The layer in float64, applied to an array; the result channels last."""
    with torch.no_grad():
        return np.moveaxis(layer.double()(torch.tensor(x)).numpy(), 1, -1)


@needs_torch
@pytest.mark.parametrize(
    "options",
    [
        {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2},
        {"padding": "same", "dilation": 2},
        {"padding": 2, "padding_mode": "reflect"},
    ],
    ids=str,
)
def test_convolution_of_torch(options, port, draw):
    layer, x = torch.nn.Conv2d(4, 6, (3, 2), bias=False, **options), draw(2, 4, 7, 8)
    padding = options["padding"]
    y = jaxconv.conv(
        port["channels_last"](x),
        port["kernel_from_torch"](layer.double().weight.detach()),
        options.get("stride", 1),
        padding.upper() if padding == "same" else padding,
        kernel_dilation=options.get("dilation", 1),
        feature_group_count=options.get("groups", 1),
        padding_mode=options.get("padding_mode", "zeros"),
    )
    close(y, of_torch(layer, x))


@needs_torch
def test_transposed_convolution_of_torch(port, draw):
    options = {"stride": (3, 2), "padding": (1, 2), "output_padding": (2, 1), "groups": 2}
    layer = torch.nn.ConvTranspose2d(4, 6, (3, 4), bias=False, dilation=(2, 1), **options)
    x = draw(2, 4, 5, 3)
    y = jaxconv.conv_transpose(
        port["channels_last"](x),
        port["kernel_from_torch"](layer.double().weight.detach()),
        (3, 2),
        (1, 2),
        output_padding=(2, 1),
        kernel_dilation=(2, 1),
        feature_group_count=2,
    )
    close(y, of_torch(layer, x))


@needs_torch
def test_pools_of_torch(port, draw):
    x = draw(2, 3, 7, 8)
    largest = torch.nn.MaxPool2d((3, 2), (2, 3), 1, dilation=(1, 2), ceil_mode=True)
    options = {"window_dilation": (1, 2), "ceil_mode": True}
    close(jaxconv.max_pool(port["channels_last"](x), (3, 2), (2, 3), 1, **options),
          of_torch(largest, x))  # fmt: skip
    for counted in (True, False):
        mean = torch.nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=counted)
        y = jaxconv.avg_pool(
            port["channels_last"](x), 3, 2, 1, ceil_mode=True, count_include_pad=counted
        )
        close(y, of_torch(mean, x))


@pytest.mark.parametrize("map_shape", [(2, 3, 4), None], ids=str)
def test_dense_layer_after_a_flattening(map_shape, port, draw):
    weight, x = draw(5, 24), draw(7, 2, 3, 4)
    kernel = port["dense_from_torch"](weight, map_shape)
    flat = (x if map_shape is None else port["channels_last"](x)).reshape(7, 24)
    close(jaxconv.dense(flat, kernel), x.reshape(7, 24) @ weight.T)
    np.testing.assert_array_equal(port["dense_to_torch"](kernel, map_shape), weight)


def test_conversions_have_inverses(port, draw):
    weight, x = draw(6, 2, 3, 4), draw(5, 2, 3, 4)
    assert port["kernel_from_torch"](weight).shape == (3, 4, 2, 6)
    np.testing.assert_array_equal(
        port["kernel_to_torch"](port["kernel_from_torch"](weight)), weight
    )
    np.testing.assert_array_equal(port["channels_first"](port["channels_last"](x)), x)


# Keras, by the formulas of its documentation, along one axis.


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("window", "stride", "extra"),
    [(3, 2, None), (2, 3, None), (4, 2, None), (3, 1, None), (3, 2, 0), (3, 2, 1), (4, 3, 2)],
)
def test_transposed_convolution_of_keras(window, stride, extra, padding, port, draw):
    """Each pixel of the input adds its multiple of the kernel to the result.

    The multiples are `stride` apart. What the padding of the forward convolution would hold is cut
    off, and of an odd padding the larger part is at the end.
    """
    n, x, kernel = 4, draw(1, 4, 2), draw(window, 3, 2)
    reach = (n - 1) * stride + window
    if extra is None:
        size = n * stride + (max(window - stride, 0) if padding == "valid" else 0)
    else:
        size = reach + extra - (2 * (window // 2) if padding == "same" else 0)
    before = max(reach - size, 0) // 2 if padding == "same" else 0
    whole = np.zeros((1, max(before + size, reach), 3))
    for i in range(n):
        multiple = np.einsum("no,rco->nrc", x[:, i], kernel)
        whole[:, i * stride : i * stride + window] += multiple
    pads = None if extra is None else (extra,)
    y = port["keras_conv_transpose"](x, kernel, (stride,), padding, pads)
    close(y, whole[:, before : before + size])


def test_average_pool_of_keras(draw):
    """With "same" padding, the mean is over the pixels of the input that the window covers."""
    x = draw(1, 5, 1)
    y = jaxconv.avg_pool(x, 3, 2, "SAME", count_include_pad=False)
    close(y[0, :, 0], [x[0, :2].mean(), x[0, 1:4].mean(), x[0, 3:].mean()])


# Lasagne, by the definitions of its documentation.


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize(
    ("pad", "padding"), [("valid", "VALID"), ("full", "FULL"), ("same", (3 // 2, 5 // 2))]
)
def test_convolution_of_lasagne(pad, padding, flip, port, draw):
    """`flip_filters` slides the reversed filter: a convolution in the sense of mathematics."""
    x, weight = draw(2, 3, 6, 7), draw(4, 3, 3, 5)
    slide = signal.convolve if flip else signal.correlate
    y = np.zeros((2, 4, *slide(x[0, 0], weight[0, 0], pad).shape))
    for n, o, c in np.ndindex(2, 4, 3):
        y[n, o] += slide(x[n, c], weight[o, c], pad, method="direct")
    operands = port["channels_last"](x), port["kernel_from_torch"](weight)
    ours = jaxconv.conv(*operands, padding=padding, flip_kernel=flip)
    close(ours, port["channels_last"](y))


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("crop", ["valid", "same"])
def test_transposed_convolution_of_lasagne(crop, flip, port, draw):
    """The filters slide over the input with zeros between its pixels; the result is cropped."""
    x, weight, (s_h, s_w) = draw(2, 4, 4, 3), draw(4, 3, 3, 5), (2, 3)
    dilated = np.zeros((2, 4, 3 * s_h + 1, 2 * s_w + 1))
    dilated[:, :, ::s_h, ::s_w] = x
    slide = signal.convolve if flip else signal.correlate
    y = np.zeros((2, 3, dilated.shape[2] + 2, dilated.shape[3] + 4))
    for n, i, o in np.ndindex(2, 4, 3):
        y[n, o] += slide(dilated[n, i], weight[i, o], "full", method="direct")
    if crop == "same":
        y = y[:, :, 1:-1, 2:-2]
    operands = port["channels_last"](x), port["kernel_from_torch"](weight)
    ours = jaxconv.conv_transpose(*operands, (s_h, s_w), crop=crop, flip_kernel=not flip)
    close(ours, port["channels_last"](y))


@pytest.mark.parametrize("ignore_border", [True, False])
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (2, 3)])
def test_max_pool_of_lasagne(window, stride, ignore_border, draw):
    """Without `ignore_border`, windows that go over the end count as long as pixels are left."""
    x = draw(1, 6, 1)
    if ignore_border:
        starts = range(0, 6 - window + 1, stride)
    elif stride >= window:
        starts = range(0, 6, stride)
    else:
        starts = range(0, -(-(6 - window) // stride) * stride + 1, stride)
    expected = [x[0, start : start + window].max() for start in starts]
    close(jaxconv.max_pool(x, window, stride, ceil_mode=not ignore_border)[0, :, 0], expected)
