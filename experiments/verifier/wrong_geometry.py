"""Wrong geometry: paddings, strides, dilations, groups, windows and overlaps, one slip each.

Each rule is planted on lax's operation and on jaxconv's, and is the same slip in both.
"""

import jax
import jax.numpy as jnp
from jax import lax

import jaxconv

from . import functions as F
from .cases import with_vjp

AXES = F.CHANNELS_LAST


def by_lax(x, kernel, padding, **options):
    return lax.conv_general_dilated(
        x, kernel, options.pop("strides", (1, 1)), padding, dimension_numbers=AXES, **options
    )


def turned(kernel):
    return kernel[::-1, ::-1].swapaxes(2, 3)


# The functions, once by lax and once by jaxconv: a name, both, and the arguments' shapes.
OPERATIONS = {
    "convolution": (
        lambda x, k: F.conv(x, k, strides=2),
        lambda x, k: jaxconv.conv(x, k, 2, "SAME"),
        ((2, 6, 6, 4), (3, 3, 4, 6)),
    ),
    "channels first": (
        lambda x, k: lax.conv_general_dilated(x, k, (2, 2), "SAME"),
        lambda x, k: jaxconv.conv(x, k, 2, "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")),
        ((2, 4, 6, 6), (4, 4, 3, 3)),
    ),
    "groups": (
        lambda x, k: F.conv(x, k, dilation=2, groups=2),
        lambda x, k: jaxconv.conv(x, k, 1, "SAME", kernel_dilation=2, feature_group_count=2),
        ((2, 6, 6, 4), (3, 3, 2, 6)),
    ),
    "transposed convolution": (
        lambda x, k: by_lax(x, turned(k), ((2, 1), (2, 1)), lhs_dilation=(2, 2)),
        lambda x, k: jaxconv.conv_transpose(x, k, 2, "SAME"),
        ((2, 6, 6, 4), (3, 3, 3, 4)),
    ),
    "average": (
        lambda x: F.windows(x, lax.add, 0.0, 2, 3, "SAME") / 9,
        lambda x: jaxconv.avg_pool(x, 3, 2, "SAME"),
        ((2, 6, 6, 4),),
    ),
    "inner average": (
        lambda x: (
            F.windows(x, lax.add, 0.0, 2, 3, "SAME")
            / F.windows(jnp.ones_like(x), lax.add, 0.0, 2, 3, "SAME")
        ),
        lambda x: jaxconv.avg_pool(x, 3, 2, "SAME", count_include_pad=False),
        ((2, 6, 6, 4),),
    ),
    "maximum": (
        lambda x: F.windows(x, lax.max, -jnp.inf, 2, 3, "SAME"),
        lambda x: jaxconv.max_pool(x, 3, 2, "SAME"),
        ((2, 6, 6, 4),),
    ),
    "upscaling": (
        lambda x: x.repeat(2, 1).repeat(2, 2),
        lambda x: jaxconv.upscale(x, 2),
        ((2, 3, 3, 4),),
    ),
}


def input_bar(lo, hi, change=lambda k: k, **options):
    """A rule for the input of the convolution that slides the turned kernel over the cotangent."""

    def rule(true, args, w):
        kernel = change(turned(args[1]))
        return by_lax(w, kernel, ((lo, hi),) * 2, **{"lhs_dilation": (2, 2)} | options), true[1]

    return rule


def kernel_bar(lo, hi, **options):
    """A rule for the kernel that slides the cotangent over the input."""

    def rule(true, args, w):
        options_ = {"rhs_dilation": (2, 2)} | options
        found = lax.conv_general_dilated(
            args[0],
            w,
            options_.pop("strides", (1, 1)),
            ((lo, hi),) * 2,
            dimension_numbers=("CHWN", "IHWO", "HWNC"),
            **options_,
        )
        return true[0], found

    return rule


def grouped(change):
    """The rule of the grouped convolution with its arguments, cotangent and result changed."""

    def rule(true, args, w):
        return change(true, args, w, lambda x, k, w: jax.vjp(OPERATIONS["groups"][0], x, k)[1](w))

    return rule


def interleaved(x):
    return x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(x.shape)


def all_channels(true, args, w):
    """The groups forgotten, the kernel repeated to fit."""
    x, k = args
    whole = jnp.concatenate([k, k], axis=2)
    return jax.vjp(lambda x: F.conv(x, whole, dilation=2), x)[1](w)[0], true[1]


def first_group(true, args, w):
    """A kernel's gradient for no groups, cut to the kernel's shape."""
    x, k = args
    whole = jnp.concatenate([k, k], axis=2)
    return true[0], jax.vjp(lambda k: F.conv(x, k, dilation=2), whole)[1](w)[0][:, :, :2]


def written(shape, step, window, lo, contribution, add=False, reverse=False):
    """A loop over positions that writes into the gradient what each contributes."""
    n, height, width, c = shape
    bar = jnp.zeros((n, height + 4, width + 4, c))
    places = [(p, q) for p in range(height // step) for q in range(width // step)]
    for p, q in reversed(places) if reverse else places:
        here = (slice(None), slice(step * p, step * p + window), slice(step * q, step * q + window))
        part = contribution(p, q)
        bar = bar.at[here].add(part) if add else bar.at[here].set(part)
    return bar[:, lo : lo + height, lo : lo + width]


def overwritten(true, args, w):
    x, k = args

    def contribution(p, q):
        return jnp.einsum("no,hwco->nhwc", w[:, p, q], k)

    return written(x.shape, 2, 3, 0, contribution), true[1]


def taps_overwritten(true, args, w):
    """The same, tap by tap: at each element the last tap, which is the first position."""
    x, k = args
    bar = jnp.zeros((2, 7, 7, 4))
    for r in range(3):
        for s in range(3):
            bar = bar.at[:, r : r + 5 : 2, s : s + 5 : 2].set(w @ k[r, s].T)
    return bar[:, :6, :6], true[1]


def pool_overwritten(true, args, w):
    def contribution(p, q):
        return jnp.broadcast_to(w[:, p : p + 1, q : q + 1] / 9, (2, 3, 3, 4))

    return (written(args[0].shape, 2, 3, 0, contribution),)


def maxima_overwritten(true, args, w):
    """Each window's gradient, zeros included, written over that of the window before."""
    (x,) = args
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-jnp.inf)

    def contribution(p, q):
        seen = padded[:, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
        is_largest = seen == seen.max((1, 2), keepdims=True)
        return jnp.where(is_largest, w[:, p : p + 1, q : q + 1], 0)

    return (written(x.shape, 2, 3, 0, contribution),)


def wrong_average(window, strides, padding, scale):
    """The transpose of a sum over other windows."""

    def rule(true, args, w):
        pool = lambda x: F.windows(x, lax.add, 0.0, strides, window, padding) * scale  # noqa: E731
        return jax.vjp(pool, args[0])[1](w)

    return rule


def counts(x):
    return F.windows(jnp.ones_like(x), lax.add, 0.0, 2, 3, "SAME")


def spread(w):
    return jax.vjp(lambda x: F.windows(x, lax.add, 0.0, 2, 3, "SAME"), jnp.ones((2, 6, 6, 4)))[1](w)


def wrong_conv(padding, **options):
    """The input's gradient of the transposed convolution, by a convolution with other options."""

    def rule(true, args, w):
        return by_lax(w, args[1], padding, **{"strides": (2, 2)} | options), true[1]

    return rule


def output_padding_left_out(true, args, w):
    f = OPERATIONS["transposed convolution"][0]
    return jax.vjp(f, *args)[1](w.at[:, -1].set(0).at[:, :, -1].set(0))


def shifted(a, axis, step):
    edge = [slice(None)] * a.ndim
    edge[axis] = 0 if step > 0 else -1
    return jnp.roll(a, step, axis).at[tuple(edge)].set(0)


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
