"""Each limit from both sides: the last value that is taken, and the first that is refused.

Calls are traced and not compiled, or a check is called by itself.

Covers jaxconv/ops/_checks.py, jaxconv/ops/_unpooling.py, jaxconv/ops/_pool_options.py,
jaxconv/ops/_options.py, jaxconv/ops/_operands.py, jaxconv/ops/_boundary.py,
jaxconv/ops/_transposed_size.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxconv
from jaxconv import conv, conv_input_vjp, conv_kernel_vjp, conv_transpose
from jaxconv.ops._checks import check_mixed_sizes
from jaxconv.ops._pool_options import PoolOptions
from jaxconv.ops._unpooling import _check_count

pytestmark = pytest.mark.usefixtures("no_type_checker")


class Limit(NamedTuple):
    """A call that takes the value `last`, and refuses the value `first` with a message."""

    call: Callable[[Any], Any]
    last: Any
    first: Any
    message: str


def traced(f, *shapes, dtype="float32", **options):
    """Trace a function of arrays of these shapes, which take no memory."""
    return jax.eval_shape(
        partial(f, **options), *(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
    )


def counted(size, window=1, strides=1, padding=0, dilation=1):
    """Check that int32 can number the positions of a max pool's windows."""
    _check_count("f", PoolOptions("f", window, strides, padding, dilation).geometry(size), "x")


X, KERNEL, Y = (2, 6, 5, 4), (3, 2, 4, 6), (2, 4, 4, 6)
MOST, LISTED = 2**31 - 1, 2**24
PIXELS = "f: int32 cannot number the pixels of"
POSITIONS = "f: int32 cannot number the positions of windows"
RANK = "needs two axes besides the spatial ones"

LIMITS = {
    # What int32 can number: the pixels, and where a window may lie in the padded map.
    "pixels": Limit(lambda n: counted((n,)), MOST, MOST + 1, PIXELS),
    "pixels of two axes": Limit(counted, (2**16, 2**15 - 1), (2**16, 2**15), PIXELS),
    "strides": Limit(lambda s: counted((4,), 2, s), MOST, MOST + 1, POSITIONS),
    "low padding": Limit(lambda lo: counted((4,), 1, MOST, ((lo, 0),)), MOST, MOST + 1, POSITIONS),
    "last window": Limit(
        lambda hi: counted((4,), padding=((0, hi),)), MOST - 3, MOST - 2, POSITIONS
    ),
    "last of strided windows": Limit(
        lambda hi: counted((4,), 2, 2, ((0, hi),)), MOST - 3, MOST - 1, POSITIONS
    ),
    "last of long strides": Limit(
        lambda hi: counted((4,), 1, 2**30, ((0, hi),)), MOST - 3, MOST - 2, POSITIONS
    ),
    "last tap": Limit(lambda d: counted((4,), 2, 1, ((0, d - 3),), d), MOST, MOST + 1, POSITIONS),
    "last of three taps": Limit(
        lambda hi: counted((4,), 3, 1, ((0, hi),), 2**30 - 1), MOST - 3, MOST - 2, POSITIONS
    ),
    # What is listed element by element.
    "mixed sizes": Limit(
        lambda n: check_mixed_sizes("f: factor", [n, 3]), LISTED, LISTED + 1, "f: factor gives"
    ),
    "mixed sizes of another axis": Limit(
        lambda n: check_mixed_sizes("f: factor", [3, n]), LISTED, LISTED + 1, "16777217 elements"
    ),
    # Ranks.
    "rank of a map": Limit(
        lambda rank: traced(jaxconv.sum_pool, (3,) * rank, window_shape=1), 3, 2, r"\*spatial, c\)"
    ),
    "rank of a convolution": Limit(
        lambda rank: traced(conv, (3,) * rank, (3,) * rank), 2, 1, f"conv: x {RANK}"
    ),
    "rank of a kernel": Limit(
        lambda rank: traced(conv, (3, 3), (3,) * rank), 2, 1, f"conv: kernel {RANK}"
    ),
    "rank of input_shape": Limit(
        lambda rank: traced(conv_input_vjp, (3, 3), (3, 3), input_shape=(3,) * rank),
        2,
        1,
        "conv_input_vjp: input_shape must be a shape",
    ),
    "rank of a rotated kernel": Limit(
        lambda rank: traced(jaxconv.rotate_kernel, (3,) * rank), 2, 1, "rotate_kernel: kernel must"
    ),
    "rank of features with a bias": Limit(
        lambda rank: traced(jaxconv.add_bias, (3,) * rank, (3,)), 1, 0, "add_bias: bias must"
    ),
    "rank of dense features": Limit(
        lambda rank: traced(jaxconv.dense, (3,) * rank, (3, 4)), 1, 0, "dense: x must"
    ),
    "rank of scores": Limit(lambda rank: traced(jaxconv.softmax, (3,) * rank), 1, 0, "softmax: z"),
    "rank of lax's convolution": Limit(
        lambda rank: traced(
            jaxconv.conv_general_dilated,
            (3,) * rank,
            (3,) * rank,
            window_strides=(),
            padding=(),
        ),
        2,
        1,
        "conv_general_dilated: lhs needs two axes",
    ),
    # Sizes that may be 0, and options that may not.
    "sizes of input_shape": Limit(
        lambda n: traced(conv_input_vjp, (2, 0, 3), (1, 4, 3), input_shape=(2, n, 4)),
        0,
        -1,
        "input_shape must be at least 0",
    ),
    "sizes of output_shape": Limit(
        lambda n: traced(conv_transpose, (2, 0, 6), (3, 4, 6), output_shape=(n,)),
        0,
        -1,
        "output_shape must be at least 0",
    ),
    "sizes of output_size": Limit(
        lambda n: traced(jaxconv.fold, (2, 0, 6), window_shape=3, output_size=(n,)),
        0,
        -1,
        "fold: output_size must be at least 0",
    ),
    "output_padding": Limit(
        lambda a: traced(conv_transpose, Y, KERNEL, strides=2, output_padding=a),
        0,
        -1,
        "output_padding must be at least 0",
    ),
    "padding of a pool": Limit(
        lambda lo: traced(jaxconv.max_pool, X, window_shape=2, padding=((lo, 0), (0, 0))),
        0,
        -1,
        "padding must not be negative",
    ),
    "high padding of a pool": Limit(
        lambda hi: traced(jaxconv.max_pool, X, window_shape=2, padding=((0, 0), (0, hi))),
        0,
        -1,
        "padding must not be negative",
    ),
    "low padding of an axis without pixels": Limit(
        lambda lo: traced(conv, (2, 0, 5, 4), KERNEL, padding=((lo, 0), 0), padding_mode="reflect"),
        0,
        1,
        r"padding \(1, 0\) along spatial axis 0 needs a pixel",
    ),
    "high padding of an axis without pixels": Limit(
        lambda hi: traced(
            conv, (2, 5, 0, 4), KERNEL, padding=(0, (0, hi)), padding_mode="circular"
        ),
        0,
        1,
        r"padding \(0, 1\) along spatial axis 1 needs a pixel",
    ),
    "dilation with a padding mode": Limit(
        lambda e: traced(conv, X, KERNEL, input_dilation=(1, e), padding_mode="replicate"),
        1,
        2,
        "needs input_dilation = 1",
    ),
    "rate": Limit(
        lambda rate: traced(lambda x: jaxconv.dropout(x, x > 0, rate), X),
        np.nextafter(1, 0),
        1,
        r"dropout: rate must be in \[0, 1\)",
    ),
    "no rate": Limit(
        lambda rate: traced(lambda x: jaxconv.dropout(x, x > 0, rate), X),
        0,
        np.nextafter(0, -1),
        r"dropout: rate must be in \[0, 1\)",
    ),
    "exponent": Limit(
        lambda p: traced(jaxconv.lp_pool, X, p=p, window_shape=2),
        1,
        np.nextafter(1, 0),
        "p must be at least 1 and finite",
    ),
    "large exponent": Limit(
        lambda p: traced(jaxconv.lp_pool, X, p=p, window_shape=2),
        np.finfo(float).max,
        np.inf,
        "p must be at least 1 and finite",
    ),
    # Transposed convolutions.
    "output_padding below the stride": Limit(
        lambda a: traced(conv_transpose, Y, KERNEL, strides=3, output_padding=(0, a)),
        2,
        3,
        "output_padding must be below the stride or the kernel dilation",
    ),
    "output_padding below the dilation": Limit(
        lambda a: traced(
            conv_transpose, Y, KERNEL, strides=2, kernel_dilation=(4, 1), output_padding=(a, 1)
        ),
        3,
        4,
        "output_padding must be below the stride or the kernel dilation",
    ),
    "largest output_shape": Limit(
        lambda n: traced(conv_transpose, Y, KERNEL, strides=3, output_shape=(n, 11)),
        14,
        15,
        "output_shape must be from 12 to 14 along spatial axis 0",
    ),
    "smallest output_shape": Limit(
        lambda n: traced(conv_transpose, Y, KERNEL, strides=3, output_shape=(12, n)),
        11,
        10,
        "output_shape must be from 11 to 13 along spatial axis 1",
    ),
    "empty output_shape": Limit(
        lambda n: traced(
            conv_transpose, (2, 1, 6), (3, 4, 6), strides=3, padding=((1, 1),), output_shape=(n,)
        ),
        1,
        0,
        "output_shape must be from 1 to 3",
    ),
    # Channels, groups and taps.
    "groups of outputs": Limit(
        lambda o: traced(conv, X, (3, 2, 2, o), feature_group_count=2), 4, 5, "must divide"
    ),
    "groups of an unrotated kernel": Limit(
        lambda c: traced(
            conv_transpose, Y, (3, 2, 3, c), feature_group_count=2, transpose_kernel=False
        ),
        4,
        5,
        "must divide the kernel's c = 5",
    ),
    "taps of patches": Limit(
        lambda c: traced(jaxconv.fold, (2, 3, c), window_shape=4), 8, 9, "multiple of the 4 taps"
    ),
    "channels of a shuffle": Limit(
        lambda c: traced(jaxconv.pixel_shuffle, (2, 3, 5, c), factor=(2, 3)),
        12,
        11,
        "multiple of 6 channels",
    ),
    "sizes of an unshuffle": Limit(
        lambda n: traced(jaxconv.pixel_unshuffle, (2, 3, n, 4), factor=(1, 2)),
        6,
        7,
        "must divide the spatial sizes",
    ),
    "output of a kernel gradient": Limit(
        lambda p: traced(conv_kernel_vjp, X, (2, p, 4, 6), kernel_shape=KERNEL),
        4,
        5,
        r"y_bar must have the shape of the convolution's output, \(2, 4, 4, 6\)",
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_lies_where_it_is_said_to_lie(name):
    call, last, first, message = LIMITS[name]
    call(last)
    with pytest.raises(ValueError, match=message):
        call(first)
