"""Wrong gradients of convolutions, in reverse mode and in forward mode."""

import jax
import jax.numpy as jnp
from jax import lax

from .. import functions as F
from ..cases import Case, first, second, wrong_jvps, wrong_vjps

XK = ("x", "k")


def _shift(a, axis):
    """Shifted by one, with zeros at the start."""
    edge = [slice(None)] * a.ndim
    edge[axis] = slice(0, 1)
    return jnp.roll(a, 1, axis).at[tuple(edge)].set(0)


def _first_example(true, args, y_bar):
    x, kernel = args
    return true[0], jax.vjp(F.conv, x[:1], kernel)[1](y_bar[:1])[1]


def _stride_not_dilation(true, args, y_bar):
    """The kernel's gradient with stride 2, where the cotangent needs dilation 2."""
    padded = jnp.pad(args[0], ((0, 0), (0, 1), (0, 1), (0, 0)))
    numbers = ("CHWN", "IHWO", "HWNC")
    return true[0], lax.conv_general_dilated(
        padded, y_bar, (2, 2), [(0, 0), (0, 0)], dimension_numbers=numbers
    )


def _x_bar_of_kernel(change):
    """The input's gradient with another kernel."""
    return lambda true, args, w: (jax.vjp(F.conv, args[0], change(args[1]))[1](w)[0], true[1])


def _bfloat16_only(true, args, y_bar):
    return true[0], true[1] * 1.01 if args[1].dtype == jnp.bfloat16 else true[1]


def _in_bfloat16(gradient):
    return gradient.astype(jnp.bfloat16).astype(gradient.dtype)


def _border_of_zeros(gradient):
    return jnp.pad(gradient[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1), (0, 0)))


def _tanh_conv(x, kernel):
    return jnp.tanh(F.conv(x, kernel))


def _stale(draw):
    """A rule that keeps the arguments of its first call."""
    kept = []
    function = jax.custom_vjp(_tanh_conv)

    def forward(x, kernel):
        if not kept:
            kept.append((x, kernel))
        return _tanh_conv(x, kernel), None

    function.defvjp(forward, lambda _, y_bar: jax.vjp(_tanh_conv, *kept[0])[1](y_bar))
    return function, draw(*XK)


CONVOLUTION = {
    "kernel gradient not rotated": (second(lambda g: g[::-1, ::-1]), "not rotated"),
    "input gradient by the unrotated kernel": (
        _x_bar_of_kernel(lambda k: k[::-1, ::-1]),
        "kernel not rotated",
    ),
    "input gradient, channel axes not exchanged": (
        _x_bar_of_kernel(lambda k: k.swapaxes(2, 3)),
        "channel axes not exchanged",
    ),
    "kernel gradient, channel axes exchanged": (
        second(lambda g: g.swapaxes(2, 3)),
        "channel axes not exchanged",
    ),
    "sum over the batch missing": (_first_example, "missing sum over the batch"),
    "mean over the batch": (second(lambda g: g / 2), "mean for sum over the batch"),
    "1 % too large": (second(lambda g: g * 1.01), "constant factor of 1.01"),
    "wrong sign": (first(lambda g: -g), "wrong sign"),
    "spatial axes transposed": (second(lambda g: g.swapaxes(0, 1)), "spatial axes transposed"),
    "result shifted by one": (first(lambda g: _shift(g, 1)), "padding off by one"),
    "padding off by one in the kernel's gradient": (
        lambda t, a, w: (t[0], jax.vjp(F.conv, _shift(a[0], 2), a[1])[1](w)[1]),
        "padding off by one",
    ),
    "padding off by one in the input's gradient": (
        lambda t, a, w: (jax.vjp(F.conv, *a)[1](_shift(w, 1))[0], t[1]),
        "padding off by one",
    ),
    "cotangent ignored": (
        lambda t, a, w: jax.vjp(F.conv, *a)[1](jnp.ones_like(w)),
        "cotangent ignored",
    ),
    "zero gradient": (first(jnp.zeros_like), "gradient is zero"),
    "a row of zeros": (first(lambda g: g.at[:, 0].set(0)), "zero where"),
    "1 % in one tap": (
        second(lambda g: g.at[0, 2].multiply(1.01)),
        "constant factor of 1.01 in some",
    ),
    "1 % in one element": (first(lambda g: g.at[1, 2, 3, 1].multiply(1.01)), "single element"),
    "1 % in one channel": (first(lambda g: g.at[..., 2].multiply(1.01)), "factor"),
    "1 % in one example": (first(lambda g: g.at[1].multiply(0.99)), "factor of 0.99"),
    "border of zeros": first(_border_of_zeros),
    "not linear in the cotangent": lambda t, a, w: (t[0] * jnp.abs(w).mean(), t[1]),
    "bfloat16 branch 1 % off": (_bfloat16_only, "factor of 1.0", "bfloat16"),
    "float32 through bfloat16": (second(_in_bfloat16), "rounding", "float32"),
}
AT_ZERO = {"NaN for a zero cotangent": lambda t, a, w: (t[0] * (w.sum() / w.sum()), t[1])}
STRIDED = {"stride for dilation": (_stride_not_dilation, "stride taken")}
DILATED = {"dilated, 1 % too small": (first(lambda g: g * 0.99), "0.99")}

TRANSPOSED = {
    "kernel not rotated": (second(lambda g: g[::-1, ::-1]), "kernel not rotated"),
    "stride's offset off by one": (
        lambda t, a, w: (jax.vjp(F.conv_transpose, *a)[1](_shift(w, 1))[0], t[1]),
        "padding off by one",
    ),
    "last column ignored": (first(lambda g: g.at[:, :, -1].set(0)), "zero where"),
    "1 % too large": (second(lambda g: g * 1.01), "factor of 1.01"),
}


def _without_input(y_dot, args, dots):
    return jax.jvp(lambda k: F.conv(args[0], k), args[1:], dots[1:])[1]


FORWARD = {
    "JVP of zero": (lambda y_dot, a, v: 0 * y_dot, "is zero"),
    "JVP doubled": (lambda y_dot, a, v: 2 * y_dot, "factor of 2"),
    "JVP negated": (lambda y_dot, a, v: -y_dot, "wrong sign"),
    "JVP without the input": _without_input,
}


def _frozen_slope(y_dot, args, dots):
    """Right to first order, but constant."""
    return lax.stop_gradient(3 * args[0] ** 2) * dots[0]


def _frozen_reverse_slope(true, args, w):
    return (lax.stop_gradient(3 * args[0] ** 2) * w,)


def _cube(x):
    return x**3


def _zeros_wrong(draw):
    """1 % off, but only while the other argument is constant."""

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


TO_SECOND_ORDER = {"modes": ("second_order",), "order": 2}
CONVOLUTIONS = [
    *wrong_vjps("convolution", F.conv, XK, CONVOLUTION),
    *wrong_vjps("convolution", F.conv, XK, AT_ZERO, modes=("zero_cotangent",)),
    *wrong_vjps("convolution", F.strided_conv, XK, STRIDED),
    *wrong_vjps("convolution", F.dilated_conv, XK, DILATED),
    Case(
        "residual of the first call",
        "convolution",
        _stale,
        diagnosis="stale residual",
        modes=("second_point",),
    ),
    *wrong_vjps("transposed convolution", F.conv_transpose, XK, TRANSPOSED),
    *wrong_jvps("forward mode", F.conv, XK, FORWARD),
    Case("wrong for symbolic zeros", "forward mode", _zeros_wrong, modes=("symbolic_zeros",)),
    *wrong_jvps(
        "second order",
        _cube,
        ("vector",),
        {"slope held constant": _frozen_slope},
        **TO_SECOND_ORDER,
    ),
    *wrong_vjps(
        "second order",
        _cube,
        ("vector",),
        {"slope of the reverse rule held constant": _frozen_reverse_slope},
        **TO_SECOND_ORDER,
    ),
]
