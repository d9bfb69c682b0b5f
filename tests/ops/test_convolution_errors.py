"""Bad input to the three corners: refused at the door, saying what was expected and what came."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import conv, conv_input_vjp, conv_kernel_vjp

pytestmark = pytest.mark.usefixtures("float64")

BAD_CALLS = {
    "list for an array": (lambda x, k: conv([1.0], k), TypeError, "conv: x must be an array"),
    "bool operand": (lambda x, k: conv(x > 0, k), TypeError, "dtype bool"),
    "rank": (lambda x, k: conv(x[0], k), ValueError, "same rank"),
    "channels": (lambda x, k: conv(x[..., :3], k), ValueError, "c_in = 4 channels but x has c = 3"),
    "window too large": (lambda x, k: conv(x[:, :2], k), ValueError, "covers 3 positions"),
    "zero stride": (lambda x, k: conv(x, k, 0), ValueError, "strides must be at least 1"),
    "negative stride": (lambda x, k: conv(x, k, (1, -2)), ValueError, "strides must be at least 1"),
    "too many strides": (lambda x, k: conv(x, k, (1, 1, 1)), ValueError, "strides needs 2 values"),
    "float stride": (lambda x, k: conv(x, k, 1.5), TypeError, "strides must be an integer"),
    "zero dilation": (lambda x, k: conv(x, k, kernel_dilation=0), ValueError, "kernel_dilation"),
    "groups": (lambda x, k: conv(x, k[:, :, :2], feature_group_count=3), ValueError, "3 groups"),
    "groups of outputs": (
        lambda x, k: conv(x, k[:, :, :2, :3], feature_group_count=2),
        ValueError,
        "must divide the kernel's c_out = 3",
    ),
    "mixed dtypes": (
        lambda x, k: conv(x, jnp.ones(k.shape, int)),
        TypeError,
        "x has float64, kernel has int64",
    ),
    "unknown padding": (lambda x, k: conv(x, k, 1, "SAMEISH"), ValueError, "got 'SAMEISH'"),
    "short padding": (lambda x, k: conv(x, k, 1, ((1, 1),)), ValueError, "each of 2 spatial axes"),
    "padding of floats": (lambda x, k: conv(x, k, 1, (0.5, 1)), TypeError, "pairs of integers"),
    "unknown layout": (
        lambda x, k: conv(x, k, dimension_numbers=("NHWC", "HWIO")),
        TypeError,
        "conv: dimension_numbers",
    ),
    "unknown impl": (lambda x, k: conv(x, k, impl="fastest"), ValueError, "impl must be one of"),
    "cotangent's shape": (
        lambda x, k: conv_input_vjp(x, k[..., :4], (2, 8, 8, 4)),
        ValueError,
        "y_bar must have the shape of the convolution's output",
    ),
    "kernel_shape": (
        lambda x, k: conv_kernel_vjp(x, x, 3),
        ValueError,
        "kernel_shape must be a shape",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake, normal):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message) as caught:
        call(np.asarray(normal((2, 7, 6, 4))), np.asarray(normal((3, 2, 4, 5))))
    assert str(caught.value).startswith("conv"), "the message names the function"
