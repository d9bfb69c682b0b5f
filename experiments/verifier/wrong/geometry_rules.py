"""The operations whose geometry is made wrong, and the parts of the wrong rules.

A rule takes the true gradients, the arguments and the cotangent, and returns wrong gradients.
"""

import jax
import jax.numpy as jnp
from jax import lax

import jaxconv

from .. import functions as F

AXES = F.CHANNELS_LAST


def by_lax(x, kernel, padding, **options):
    return lax.conv_general_dilated(
        x, kernel, options.pop("strides", (1, 1)), padding, dimension_numbers=AXES, **options
    )


# For each operation the function in lax, the function in jaxconv, and the shapes of the arguments.
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
        lambda x, k: by_lax(x, F.rotated(k), ((2, 1), (2, 1)), lhs_dilation=(2, 2)),
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
    """An input gradient of the convolution: the rotated kernel slides over the cotangent."""

    def rule(true, args, w):
        kernel = change(F.rotated(args[1]))
        return by_lax(w, kernel, ((lo, hi),) * 2, **{"lhs_dilation": (2, 2)} | options), true[1]

    return rule


def kernel_bar(lo, hi, **options):
    """A kernel gradient of the convolution: the cotangent slides over the input."""

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
    """The rule of the grouped convolution with arguments, cotangent or result changed."""

    def rule(true, args, w):
        return change(true, args, w, lambda x, k, w: jax.vjp(OPERATIONS["groups"][0], x, k)[1](w))

    return rule


def interleaved(x):
    return x.reshape(*x.shape[:-1], 2, -1).swapaxes(-1, -2).reshape(x.shape)


def all_channels(true, args, w):
    """The groups ignored, with the kernel repeated to fit."""
    x, k = args
    whole = jnp.concatenate([k, k], axis=2)
    return jax.vjp(lambda x: F.conv(x, whole, dilation=2), x)[1](w)[0], true[1]


def first_group(true, args, w):
    """The kernel's gradient without groups, cropped to the shape of the kernel."""
    x, k = args
    whole = jnp.concatenate([k, k], axis=2)
    return true[0], jax.vjp(lambda k: F.conv(x, k, dilation=2), whole)[1](w)[0][:, :, :2]


def written(shape, step, window, contribution):
    """A loop over positions in which each contribution overwrites those before it."""
    n, height, width, c = shape
    bar = jnp.zeros((n, height + 4, width + 4, c))
    for p in range(height // step):
        for q in range(width // step):
            rows, columns = (slice(step * i, step * i + window) for i in (p, q))
            bar = bar.at[:, rows, columns].set(contribution(p, q))
    return bar[:, :height, :width]


def overwritten(true, args, w):
    x, k = args

    def contribution(p, q):
        return jnp.einsum("no,hwco->nhwc", w[:, p, q], k)

    return written(x.shape, 2, 3, contribution), true[1]


def taps_overwritten(true, args, w):
    """The same tap by tap: the last tap, which is the first position, remains at each element."""
    x, k = args
    bar = jnp.zeros((2, 7, 7, 4))
    for r in range(3):
        for s in range(3):
            bar = bar.at[:, r : r + 5 : 2, s : s + 5 : 2].set(w @ k[r, s].T)
    return bar[:, :6, :6], true[1]


def pool_overwritten(true, args, w):
    def contribution(p, q):
        return jnp.broadcast_to(w[:, p : p + 1, q : q + 1] / 9, (2, 3, 3, 4))

    return (written(args[0].shape, 2, 3, contribution),)


def maxima_overwritten(true, args, w):
    """The gradient of each window, zeros included, overwrites that of the window before."""
    (x,) = args
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-jnp.inf)

    def contribution(p, q):
        seen = padded[:, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
        is_largest = seen == seen.max((1, 2), keepdims=True)
        return jnp.where(is_largest, w[:, p : p + 1, q : q + 1], 0)

    return (written(x.shape, 2, 3, contribution),)


def wrong_average(window, strides, padding, scale):
    """The transpose of a sum over other windows."""

    def rule(true, args, w):
        def pool(x):
            return F.windows(x, lax.add, 0.0, strides, window, padding) * scale

        return jax.vjp(pool, args[0])[1](w)

    return rule


def counts(x):
    return F.windows(jnp.ones_like(x), lax.add, 0.0, 2, 3, "SAME")


def spread(w):
    return jax.vjp(lambda x: F.windows(x, lax.add, 0.0, 2, 3, "SAME"), jnp.ones((2, 6, 6, 4)))[1](w)


def wrong_conv(padding, **options):
    """The input gradient of the transposed convolution by a convolution with other options."""

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
