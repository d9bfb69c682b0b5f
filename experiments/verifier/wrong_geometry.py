"""Wrong geometry: paddings, strides, dilations, groups, windows and overlaps, one slip each.

Each rule is planted on lax's operation and on jaxconv's, and is the same slip in both.
"""

import jax
import jax.numpy as jnp
from jax import lax

from . import functions as F
from .cases import with_vjp
from .geometry_rules import (
    OPERATIONS,
    all_channels,
    by_lax,
    counts,
    first_group,
    grouped,
    input_bar,
    interleaved,
    kernel_bar,
    maxima_overwritten,
    output_padding_left_out,
    overwritten,
    pool_overwritten,
    shifted,
    spread,
    taps_overwritten,
    turned,
    wrong_average,
    wrong_conv,
)

# The slip, the operation that it is planted on, the rule, and the diagnosis.
RULES = [
    (
        "kernel not rotated",
        "channels first",
        lambda t, a, w: (t[0], t[1][..., ::-1, ::-1]),
        "kernel not rotated",
    ),
    (
        "channel axes exchanged",
        "channels first",
        lambda t, a, w: (t[0], t[1].swapaxes(0, 1)),
        "channel axes not exchanged",
    ),
    (
        "shifted by one",
        "channels first",
        lambda t, a, w: (shifted(t[0], 3, 1), t[1]),
        "padding off by one",
    ),
    (
        "overlaps",
        "channels first",
        lambda t, a, w: (
            jnp.moveaxis(
                overwritten(
                    t,
                    (jnp.moveaxis(a[0], 1, -1), jnp.transpose(a[1], (2, 3, 1, 0))),
                    jnp.moveaxis(w, 1, -1),
                )[0],
                -1,
                1,
            ),
            t[1],
        ),
        "overlaps written over",
    ),
    ("low padding too large", "convolution", input_bar(3, 0), "padding off by one"),
    ("low padding too small", "convolution", input_bar(1, 2), "padding off by one"),
    (
        "padding of one axis",
        "convolution",
        lambda t, a, w: (by_lax(w, turned(a[1]), ((2, 1), (1, 2)), lhs_dilation=(2, 2)), t[1]),
        "padding off by one",
    ),
    ("padding too small by two", "convolution", input_bar(0, 3), "wrong padding"),
    ("kernel's padding", "convolution", kernel_bar(1, 0), "padding off by one"),
    (
        "no stride",
        "convolution",
        input_bar(2, 3, lhs_dilation=(1, 1), rhs_dilation=(1, 1)),
        "wrong stride",
    ),
    ("stride of three", "convolution", kernel_bar(0, 3, rhs_dilation=(3, 3)), "wrong stride"),
    (
        "no stride for the kernel",
        "convolution",
        lambda t, a, w: kernel_bar(0, -1, rhs_dilation=(1, 1))(t, (a[0][:, :6, :6], a[1]), w),
        "wrong stride",
    ),
    (
        "stride for dilation",
        "convolution",
        kernel_bar(0, 1, rhs_dilation=(1, 1), strides=(2, 2)),
        "stride taken for dilation",
    ),
    ("kernel dilated", "convolution", input_bar(2, 3, rhs_dilation=(2, 2)), "wrong dilation"),
    (
        "kernel not rotated",
        "convolution",
        input_bar(2, 1, change=lambda k: k[::-1, ::-1]),
        "kernel not rotated",
    ),
    ("overlaps", "convolution", overwritten, "overlaps written over"),
    ("overlaps by tap", "convolution", taps_overwritten, "overlaps written over"),
    (
        "last position",
        "convolution",
        lambda t, a, w: (
            t[0],
            jax.vjp(OPERATIONS["convolution"][0], *a)[1](w.at[:, :2].set(0).at[:, :, :2].set(0))[1],
        ),
        "missing sum over the positions",
    ),
    (
        "dilation left out",
        "groups",
        lambda t, a, w: (jax.vjp(lambda x: F.conv(x, a[1], groups=2), a[0])[1](w)[0], t[1]),
        "wrong dilation",
    ),
    (
        "dilation too large",
        "groups",
        lambda t, a, w: (
            jax.vjp(lambda x: F.conv(x, a[1], dilation=3, groups=2), a[0])[1](w)[0],
            t[1],
        ),
        "wrong dilation",
    ),
    (
        "dilation left out for the kernel",
        "groups",
        lambda t, a, w: (t[0], jax.vjp(lambda k: F.conv(a[0], k, groups=2), a[1])[1](w)[0]),
        "wrong dilation",
    ),
    ("groups ignored", "groups", all_channels, "groups ignored"),
    ("groups ignored for the kernel", "groups", first_group, "groups ignored"),
    (
        "groups of the result interleaved",
        "groups",
        lambda t, a, w: (interleaved(t[0]), t[1]),
        "channel groups interleaved",
    ),
    (
        "groups of the cotangent interleaved",
        "groups",
        grouped(lambda t, a, w, pull: (pull(*a, interleaved(w))[0], t[1])),
        "channel groups interleaved",
    ),
    (
        "groups of the input interleaved",
        "groups",
        grouped(lambda t, a, w, pull: (t[0], pull(interleaved(a[0]), a[1], w)[1])),
        "channel groups interleaved",
    ),
    (
        "groups of the kernel exchanged",
        "groups",
        grouped(lambda t, a, w, pull: (pull(a[0], jnp.roll(a[1], 3, -1), w)[0], t[1])),
        "channel groups exchanged",
    ),
    (
        "groups exchanged",
        "groups",
        lambda t, a, w: (jnp.roll(t[0], 2, -1), t[1]),
        "channel groups exchanged",
    ),
    (
        "low padding too large",
        "transposed convolution",
        wrong_conv(((1, 0),) * 2),
        "padding off by one",
    ),
    (
        "stride of one",
        "transposed convolution",
        wrong_conv(((0, -4),) * 2, strides=(1, 1)),
        "wrong stride",
    ),
    (
        "kernel dilated",
        "transposed convolution",
        wrong_conv(((0, 3),) * 2, rhs_dilation=(2, 2)),
        "wrong dilation",
    ),
    ("output padding", "transposed convolution", output_padding_left_out, "output padding"),
    (
        "kernel not rotated",
        "transposed convolution",
        lambda t, a, w: (t[0], t[1][::-1, ::-1]),
        "kernel not rotated",
    ),
    (
        "kernel not rotated for the input",
        "transposed convolution",
        lambda t, a, w: (by_lax(w, a[1][::-1, ::-1], ((0, 1),) * 2, strides=(2, 2)), t[1]),
        "kernel not rotated",
    ),
    (
        "padding off by one",
        "average",
        wrong_average(3, 2, ((0, 0), (1, 0), (1, 0), (0, 0)), 1 / 9),
        "padding off by one",
    ),
    ("window too small", "average", wrong_average(2, 2, "SAME", 1 / 4), "wrong window"),
    (
        "window too large, its mean of nine",
        "average",
        wrong_average(4, 2, "SAME", 1 / 9),
        "wrong window",
    ),
    (
        "strides of one",
        "average",
        lambda t, a, w: jax.vjp(
            lambda x: F.windows(x, lax.add, 0.0, 1, 3, "SAME")[:, 1:4, 1:4] / 9, a[0]
        )[1](w),
        "wrong stride",
    ),
    ("overlaps", "average", pool_overwritten, "overlaps written over"),
    (
        "padding not counted",
        "average",
        lambda t, a, w: spread(w / counts(a[0])),
        "padding not counted in the mean",
    ),
    (
        "padding counted",
        "inner average",
        lambda t, a, w: spread(w / 9),
        "padding counted in the mean",
    ),
    (
        "padding off by one",
        "maximum",
        lambda t, a, w: (shifted(shifted(t[0], 1, 1), 2, 1),),
        "padding off by one",
    ),
    ("overlaps", "maximum", maxima_overwritten, "overlaps written over"),
    (
        "shifted cotangent",
        "maximum",
        lambda t, a, w: jax.vjp(OPERATIONS["maximum"][0], *a)[1](shifted(w, 1, 1)),
        "padding off by one",
    ),
    (
        "one pixel of a block",
        "upscaling",
        lambda t, a, w: (w[:, ::2, ::2],),
        "overlaps written over",
    ),
    (
        "windows off by one",
        "upscaling",
        lambda t, a, w: jax.vjp(OPERATIONS["upscaling"][0], *a)[1](shifted(w, 1, 1)),
        "padding off by one",
    ),
]

GEOMETRY = [
    with_vjp("geometry", ours, shapes, f"{operation}: {name}", rule, said)
    for name, operation, rule, said in RULES
    for _, ours, shapes in [OPERATIONS[operation]]
]
