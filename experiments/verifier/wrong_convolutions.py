"""Wrong gradients of convolutions, one slip each, in reverse mode and in forward mode."""

import jax
import jax.numpy as jnp
from jax import lax

from . import functions as F
from .cases import Case, with_jvp, with_vjp


def _conv(name, rule, diagnosis="", dtype="float64", f=F.conv, modes=("reverse",)):
    return with_vjp("convolution", f, ("x", "k"), name, rule, diagnosis, dtype, modes=modes)


def _shift(a, axis):
    """Moved by one, zeros following."""
    edge = [slice(None)] * a.ndim
    edge[axis] = slice(0, 1)
    return jnp.roll(a, 1, axis).at[tuple(edge)].set(0)


def _first_example(true, args, y_bar):
    x, kernel = args
    alone = jax.vjp(F.conv, x[:1], kernel)[1](y_bar[:1])
    return true[0], alone[1]


def _stride_not_dilation(true, args, y_bar):
    """The kernel's gradient with stride 2, where the cotangent needs dilation 2."""
    x, _ = args
    padded = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    kernel_bar = lax.conv_general_dilated(
        padded, y_bar, (2, 2), [(0, 0), (0, 0)], dimension_numbers=("CHWN", "IHWO", "HWNC")
    )
    return true[0], kernel_bar


def _x_bar_of_kernel(change):
    """The input's gradient with another kernel in place of its own."""

    def rule(true, args, y_bar):
        x, kernel = args
        return jax.vjp(F.conv, x, change(kernel))[1](y_bar)[0], true[1]

    return rule


def _bfloat16_only(true, args, y_bar):
    wrong = true[1] * 1.01 if args[1].dtype == jnp.bfloat16 else true[1]
    return true[0], wrong


def _in_bfloat16(true, args, y_bar):
    return true[0], true[1].astype(jnp.bfloat16).astype(true[1].dtype)


def _stale(draw):
    """A rule that keeps what the first call has left."""
    kept = []
    function = jax.custom_vjp(lambda x, kernel: jnp.tanh(F.conv(x, kernel)))

    def forward(x, kernel):
        if not kept:
            kept.append((x, kernel))
        return jnp.tanh(F.conv(x, kernel)), None

    def backward(_, y_bar):
        return jax.vjp(lambda x, k: jnp.tanh(F.conv(x, k)), *kept[0])[1](y_bar)

    function.defvjp(forward, backward)
    return function, draw("x", "k")


CONVOLUTION = [
    _conv("kernel gradient not rotated", lambda t, a, w: (t[0], t[1][::-1, ::-1]), "not rotated"),
    _conv(
        "input gradient by the unrotated kernel",
        _x_bar_of_kernel(lambda k: k[::-1, ::-1]),
        "kernel not rotated",
    ),
    _conv(
        "input gradient, channel axes not exchanged",
        _x_bar_of_kernel(lambda k: k.swapaxes(2, 3)),
        "channel axes not exchanged",
    ),
    _conv(
        "kernel gradient, channel axes exchanged",
        lambda t, a, w: (t[0], t[1].swapaxes(2, 3)),
        "channel axes not exchanged",
    ),
    _conv("sum over the batch missing", _first_example, "missing sum over the batch"),
    _conv("mean over the batch", lambda t, a, w: (t[0], t[1] / 2), "mean for sum over the batch"),
    _conv("1 % too large", lambda t, a, w: (t[0], t[1] * 1.01), "constant factor of 1.01"),
    _conv("wrong sign", lambda t, a, w: (-t[0], t[1]), "wrong sign"),
    _conv(
        "spatial axes transposed",
        lambda t, a, w: (t[0], t[1].swapaxes(0, 1)),
        "spatial axes transposed",
    ),
    _conv("stride for dilation", _stride_not_dilation, "stride taken", f=F.strided_conv),
    _conv("result shifted by one", lambda t, a, w: (_shift(t[0], 1), t[1]), "padding off by one"),
    _conv(
        "padding off by one in the kernel's gradient",
        lambda t, a, w: (t[0], jax.vjp(F.conv, _shift(a[0], 2), a[1])[1](w)[1]),
        "padding off by one",
    ),
    _conv(
        "padding off by one in the input's gradient",
        lambda t, a, w: (jax.vjp(F.conv, *a)[1](_shift(w, 1))[0], t[1]),
        "padding off by one",
    ),
    _conv(
        "cotangent ignored",
        lambda t, a, w: jax.vjp(F.conv, *a)[1](jnp.ones_like(w)),
        "cotangent ignored",
    ),
    Case(
        "residual of the first call",
        "convolution",
        _stale,
        diagnosis="stale residual",
        modes=("second_point",),
    ),
    _conv("zero gradient", lambda t, a, w: (jnp.zeros_like(t[0]), t[1]), "gradient is zero"),
    _conv("a row of zeros", lambda t, a, w: (t[0].at[:, 0].set(0), t[1]), "zero where"),
    _conv(
        "1 % in one tap",
        lambda t, a, w: (t[0], t[1].at[0, 2].multiply(1.01)),
        "constant factor of 1.01 in some",
    ),
    _conv(
        "1 % in one element",
        lambda t, a, w: (t[0].at[1, 2, 3, 1].multiply(1.01), t[1]),
        "single element",
    ),
    _conv("1 % in one channel", lambda t, a, w: (t[0].at[..., 2].multiply(1.01), t[1]), "factor"),
    _conv(
        "1 % in one example", lambda t, a, w: (t[0].at[1].multiply(0.99), t[1]), "factor of 0.99"
    ),
    _conv(
        "border of zeros",
        lambda t, a, w: (jnp.pad(t[0][:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0))), t[1]),
    ),
    _conv("not linear in the cotangent", lambda t, a, w: (t[0] * jnp.abs(w).mean(), t[1])),
    _conv(
        "NaN for a zero cotangent",
        lambda t, a, w: (t[0] * (w.sum() / w.sum()), t[1]),
        modes=("zero_cotangent",),
    ),
    _conv("bfloat16 branch 1 % off", _bfloat16_only, "factor of 1.0", "bfloat16"),
    _conv("float32 through bfloat16", _in_bfloat16, "rounding", "float32"),
    _conv("dilated, 1 % too small", lambda t, a, w: (t[0] * 0.99, t[1]), "0.99", f=F.dilated_conv),
]


def _keeps_kernel(y_dot, args, dots):
    return jax.jvp(lambda k: F.conv(args[0], k), args[1:], dots[1:])[1]


def _frozen_slope(y_dot, args, dots):
    """Right to first order, but a constant to the second."""
    return lax.stop_gradient(3 * args[0] ** 2) * dots[0]


def _zeros_wrong(draw):
    """1 % off, but only while the other argument stands still."""

    @jax.custom_jvp
    def product(x, y):
        return x * y

    def rule(args, dots):
        (x, y), (x_dot, y_dot) = args, dots
        is_zero = [isinstance(dot, jax.custom_derivatives.SymbolicZero) for dot in dots]
        out = jnp.zeros_like(x)
        if not is_zero[0]:
            out = out + y * x_dot * (1.01 if is_zero[1] else 1)
        if not is_zero[1]:
            out = out + x * y_dot
        return x * y, out

    product.defjvp(rule, symbolic_zeros=True)
    return product, draw("vector", "vector")


FORWARD = [
    with_jvp("forward mode", F.conv, ("x", "k"), "JVP of zero", lambda d, a, v: 0 * d, "is zero"),
    with_jvp(
        "forward mode", F.conv, ("x", "k"), "JVP doubled", lambda d, a, v: 2 * d, "factor of 2"
    ),
    with_jvp("forward mode", F.conv, ("x", "k"), "JVP negated", lambda d, a, v: -d, "wrong sign"),
    with_jvp("forward mode", F.conv, ("x", "k"), "JVP without the input", _keeps_kernel),
    with_jvp(
        "second order",
        lambda x: x**3,
        ("vector",),
        "slope held constant",
        _frozen_slope,
        modes=("second_order",),
        order=2,
    ),
    with_vjp(
        "second order",
        lambda x: x**3,
        ("vector",),
        "slope of the reverse rule held constant",
        lambda t, a, w: (lax.stop_gradient(3 * a[0] ** 2) * w,),
        modes=("second_order",),
        order=2,
    ),
    Case("wrong for symbolic zeros", "forward mode", _zeros_wrong, modes=("symbolic_zeros",)),
]


TRANSPOSED = [
    with_vjp("transposed convolution", F.conv_transpose, ("x", "k"), name, rule, diagnosis)
    for name, rule, diagnosis in [
        ("kernel not rotated", lambda t, a, w: (t[0], t[1][::-1, ::-1]), "kernel not rotated"),
        (
            "stride's offset off by one",
            lambda t, a, w: (jax.vjp(F.conv_transpose, *a)[1](_shift(w, 1))[0], t[1]),
            "padding off by one",
        ),
        ("last column ignored", lambda t, a, w: (t[0].at[:, :, -1].set(0), t[1]), "zero where"),
        ("1 % too large", lambda t, a, w: (t[0], t[1] * 1.01), "factor of 1.01"),
    ]
]
