"""Wrong geometry: paddings, strides, dilations, groups, windows and overlaps, one slip each.

The rules of an operation are given to lax's function and to jaxconv's, and are the same slip in
both.
"""

import jax
import jax.numpy as jnp
from jax import lax

from .. import functions as F
from ..cases import first, second, wrong_vjps
from . import geometry_rules as G
from .geometry_rules import OPERATIONS, shifted


def _overwritten_channels_first(true, args, w):
    last = jnp.moveaxis(args[0], 1, -1), jnp.transpose(args[1], (2, 3, 1, 0))
    x_bar, _ = G.overwritten(true, last, jnp.moveaxis(w, 1, -1))
    return jnp.moveaxis(x_bar, -1, 1), true[1]


def _padding_of_one_axis(true, args, w):
    sides = ((2, 1), (1, 2))
    return G.by_lax(w, F.rotated(args[1]), sides, lhs_dilation=(2, 2)), true[1]


def _no_stride_for_the_kernel(true, args, w):
    return G.kernel_bar(0, -1, rhs_dilation=(1, 1))(true, (args[0][:, :6, :6], args[1]), w)


def _last_positions(true, args, w):
    kept = w.at[:, :2].set(0).at[:, :, :2].set(0)
    return true[0], jax.vjp(OPERATIONS["convolution"][0], *args)[1](kept)[1]


def _other_groups(**options):
    """The input's gradient of the grouped convolution with other options."""

    def rule(true, args, w):
        def f(x):
            return F.conv(x, args[1], groups=2, **options)

        return jax.vjp(f, args[0])[1](w)[0], true[1]

    return rule


def _no_dilation_for_the_kernel(true, args, w):
    return true[0], jax.vjp(lambda k: F.conv(args[0], k, groups=2), args[1])[1](w)[0]


def _kernel_not_rotated_for_the_input(true, args, w):
    return G.by_lax(w, args[1][::-1, ::-1], ((0, 1),) * 2, strides=(2, 2)), true[1]


def _strides_of_one(true, args, w):
    def pool(x):
        return F.windows(x, lax.add, 0.0, 1, 3, "SAME")[:, 1:4, 1:4] / 9

    return jax.vjp(pool, args[0])[1](w)


def _shifted_cotangent(operation):
    return lambda t, a, w: jax.vjp(OPERATIONS[operation][0], *a)[1](shifted(w, 1, 1))


# For each operation the rules by name, each with the words of its diagnosis.
RULES = {
    "channels first": {
        "kernel not rotated": (second(lambda g: g[..., ::-1, ::-1]), "kernel not rotated"),
        "channel axes exchanged": (
            second(lambda g: g.swapaxes(0, 1)),
            "channel axes not exchanged",
        ),
        "shifted by one": (first(lambda g: shifted(g, 3, 1)), "padding off by one"),
        "overlaps": (_overwritten_channels_first, "overlaps written over"),
    },
    "convolution": {
        "low padding too large": (G.input_bar(3, 0), "padding off by one"),
        "low padding too small": (G.input_bar(1, 2), "padding off by one"),
        "padding of one axis": (_padding_of_one_axis, "padding off by one"),
        "padding too small by two": (G.input_bar(0, 3), "wrong padding"),
        "kernel's padding": (G.kernel_bar(1, 0), "padding off by one"),
        "no stride": (G.input_bar(2, 3, lhs_dilation=(1, 1), rhs_dilation=(1, 1)), "wrong stride"),
        "stride of three": (G.kernel_bar(0, 3, rhs_dilation=(3, 3)), "wrong stride"),
        "no stride for the kernel": (_no_stride_for_the_kernel, "wrong stride"),
        "stride for dilation": (
            G.kernel_bar(0, 1, rhs_dilation=(1, 1), strides=(2, 2)),
            "stride taken for dilation",
        ),
        "kernel dilated": (G.input_bar(2, 3, rhs_dilation=(2, 2)), "wrong dilation"),
        "kernel not rotated": (
            G.input_bar(2, 1, change=lambda k: k[::-1, ::-1]),
            "kernel not rotated",
        ),
        "overlaps": (G.overwritten, "overlaps written over"),
        "overlaps by tap": (G.taps_overwritten, "overlaps written over"),
        "last position": (_last_positions, "missing sum over the positions"),
    },
    "groups": {
        "dilation left out": (_other_groups(), "wrong dilation"),
        "dilation too large": (_other_groups(dilation=3), "wrong dilation"),
        "dilation left out for the kernel": (_no_dilation_for_the_kernel, "wrong dilation"),
        "groups ignored": (G.all_channels, "groups ignored"),
        "groups ignored for the kernel": (G.first_group, "groups ignored"),
        "groups of the result interleaved": (first(G.interleaved), "channel groups interleaved"),
        "groups of the cotangent interleaved": (
            G.grouped(lambda t, a, w, pull: (pull(*a, G.interleaved(w))[0], t[1])),
            "channel groups interleaved",
        ),
        "groups of the input interleaved": (
            G.grouped(lambda t, a, w, pull: (t[0], pull(G.interleaved(a[0]), a[1], w)[1])),
            "channel groups interleaved",
        ),
        "groups of the kernel exchanged": (
            G.grouped(lambda t, a, w, pull: (pull(a[0], jnp.roll(a[1], 3, -1), w)[0], t[1])),
            "channel groups exchanged",
        ),
        "groups exchanged": (first(lambda g: jnp.roll(g, 2, -1)), "channel groups exchanged"),
    },
    "transposed convolution": {
        "low padding too large": (G.wrong_conv(((1, 0),) * 2), "padding off by one"),
        "stride of one": (G.wrong_conv(((0, -4),) * 2, strides=(1, 1)), "wrong stride"),
        "kernel dilated": (G.wrong_conv(((0, 3),) * 2, rhs_dilation=(2, 2)), "wrong dilation"),
        "output padding": (G.output_padding_left_out, "output padding"),
        "kernel not rotated": (second(lambda g: g[::-1, ::-1]), "kernel not rotated"),
        "kernel not rotated for the input": (
            _kernel_not_rotated_for_the_input,
            "kernel not rotated",
        ),
    },
    "average": {
        "padding off by one": (
            G.wrong_average(3, 2, ((0, 0), (1, 0), (1, 0), (0, 0)), 1 / 9),
            "padding off by one",
        ),
        "window too small": (G.wrong_average(2, 2, "SAME", 1 / 4), "wrong window"),
        "window too large, its mean of nine": (
            G.wrong_average(4, 2, "SAME", 1 / 9),
            "wrong window",
        ),
        "strides of one": (_strides_of_one, "wrong stride"),
        "overlaps": (G.pool_overwritten, "overlaps written over"),
        "padding not counted": (
            lambda t, a, w: G.spread(w / G.counts(a[0])),
            "padding not counted in the mean",
        ),
    },
    "inner average": {
        "padding counted": (lambda t, a, w: G.spread(w / 9), "padding counted in the mean")
    },
    "maximum": {
        "padding off by one": (
            first(lambda g: shifted(shifted(g, 1, 1), 2, 1)),
            "padding off by one",
        ),
        "overlaps": (G.maxima_overwritten, "overlaps written over"),
        "shifted cotangent": (_shifted_cotangent("maximum"), "padding off by one"),
    },
    "upscaling": {
        "one pixel of a block": (lambda t, a, w: (w[:, ::2, ::2],), "overlaps written over"),
        "windows off by one": (_shifted_cotangent("upscaling"), "padding off by one"),
    },
}

GEOMETRY = [
    case
    for operation, (_, ours, shapes) in OPERATIONS.items()
    for case in wrong_vjps(
        "geometry",
        ours,
        shapes,
        {f"{operation}: {name}": rule for name, rule in RULES[operation].items()},
    )
]
