"""Wrong gradients, one slip each: large ones, and small ones that a loss curve would not show."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from . import functions as F
from .cases import Case


def _vjp(family, f, names, name, rule, diagnosis="", dtype="float64"):
    """A case with a reverse rule of its own, over normal arguments."""

    def make(draw):
        drawn = draw(*names)
        return F.with_vjp(f, rule), drawn if isinstance(drawn, tuple) else (drawn,)

    return Case(name, family, make, dtype, diagnosis)


def _jvp(family, f, names, name, rule, diagnosis="", dtype="float64"):
    """A case with a forward rule of its own, over normal arguments."""

    def make(draw):
        drawn = draw(*names)
        return F.with_jvp(f, rule), drawn if isinstance(drawn, tuple) else (drawn,)

    return Case(name, family, make, dtype, diagnosis)


def _conv(name, rule, diagnosis="", dtype="float64", f=F.conv):
    return _vjp("convolution", f, ("x", "k"), name, rule, diagnosis, dtype)


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
    Case("residual of the first call", "convolution", _stale, diagnosis="stale residual"),
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
    _conv("NaN for a zero cotangent", lambda t, a, w: (t[0] * (w.sum() / w.sum()), t[1])),
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
    _jvp("forward mode", F.conv, ("x", "k"), "JVP of zero", lambda d, a, v: 0 * d, "is zero"),
    _jvp("forward mode", F.conv, ("x", "k"), "JVP doubled", lambda d, a, v: 2 * d, "factor of 2"),
    _jvp("forward mode", F.conv, ("x", "k"), "JVP negated", lambda d, a, v: -d, "wrong sign"),
    _jvp("forward mode", F.conv, ("x", "k"), "JVP without the input", _keeps_kernel),
    _jvp("second order", lambda x: x**3, ("vector",), "slope held constant", _frozen_slope),
    Case("wrong for symbolic zeros", "forward mode", _zeros_wrong),
]


TRANSPOSED = [
    _vjp("transposed convolution", F.conv_transpose, ("x", "k"), name, rule, diagnosis)
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


def _equal_to_maximum(true, args, y_bar):
    """The gradient to every element that equals its window's maximum."""
    (x,) = args
    spread = jax.vjp(lambda x: F.avg_pool(x) * 4, x)[1]
    return ((spread(y_bar)[0]) * (x == spread(F.max_pool(x))[0]),)


def _tied(draw):
    x = draw("x")
    return F.with_vjp(F.max_pool, _equal_to_maximum), (x.at[:, 1::2].set(x[:, ::2]),)


def _to_first(true, args, y_bar):
    (x,) = args
    return (jnp.zeros_like(x).at[:, ::2, ::2].set(y_bar),)


def _same_pool(x):
    """Means over 3×3 windows, of what is inside the map."""
    total = F.windows(x, lax.add, 0.0, 1, 3, "SAME")
    return total / F.windows(jnp.ones_like(x), lax.add, 0.0, 1, 3, "SAME")


def _ninths(true, args, y_bar):
    return jax.vjp(lambda x: F.windows(x, lax.add, 0.0, 1, 3, "SAME") / 9, *args)[1](y_bar)


POOLING = [
    Case("maxima of equals counted twice", "pooling", _tied, diagnosis="ties counted twice"),
    _vjp("pooling", F.max_pool, ("x",), "gradient to the first of a window", _to_first),
    _vjp("pooling", F.avg_pool, ("x",), "divided twice", lambda t, a, w: (t[0] / 4,), "0.25"),
    _vjp("pooling", _same_pool, ("x",), "border divided by 9", _ninths),
    _vjp(
        "pooling",
        F.max_pool,
        ("x",),
        "NaN in one element",
        lambda t, a, w: (t[0].at[0, 0, 0, 0].set(jnp.nan),),
        "NaN",
    ),
    _vjp("pooling", F.max_pool, ("x",), "last row lost", lambda t, a, w: (t[0].at[:, -1].set(0),)),
]


def _constant_statistics(true, args, y_bar):
    x, gain, _ = args
    return y_bar * gain / jnp.sqrt(x.var((0, 1, 2)) + 1e-3), *true[1:]


def _no_epsilon(true, args, y_bar):
    def forgetful(x, gain, bias):
        mean = x.mean((0, 1, 2))
        return gain * (x - mean) / jnp.sqrt(((x - mean) ** 2).mean((0, 1, 2))) + bias

    return jax.vjp(forgetful, *args)[1](y_bar)


def _sample_variance(true, args, y_bar):
    def unbiased(x, gain, bias):
        return gain * (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2), ddof=1) + 1e-3) + bias

    return jax.vjp(unbiased, *args)[1](y_bar)


def _without_mean(true, args, y_bar):
    def frozen(x, gain, bias):
        mean = lax.stop_gradient(x.mean(-1, keepdims=True))
        return gain * (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-3) + bias

    return jax.vjp(frozen, *args)[1](y_bar)


NORM = ("x", "gain", "gain")
NORMALISATION = [
    _vjp(
        "normalisation", F.batch_norm, NORM, "statistics taken for constants", _constant_statistics
    ),
    _vjp("normalisation", F.batch_norm, NORM, "epsilon forgotten", _no_epsilon),
    _vjp("normalisation", F.batch_norm, NORM, "n - 1 for n", _sample_variance),
    _vjp("normalisation", F.layer_norm, NORM, "mean taken for a constant", _without_mean),
    _vjp(
        "normalisation",
        F.layer_norm,
        NORM,
        "gain's gradient a mean",
        lambda t, a, w: (t[0], t[1] / 72, t[2]),
        "mean for sum over batch and positions",
    ),
    _vjp(
        "normalisation",
        F.rms_norm,
        ("x", "gain"),
        "1 % in one channel of the gain",
        lambda t, a, w: (t[0], t[1].at[1].multiply(1.01)),
    ),
]


def _unscaled(true, args, y_bar):
    q, k, v = args
    return true[0] * q.shape[-1] ** 0.5, true[1], true[2]


def _softmax_diagonal(true, args, y_bar):
    p = F.softmax(*args)
    return (p * y_bar,)


HEADS = ("q", "q", "q")
ATTENTION = [
    _vjp("attention", F.attention, HEADS, "scale forgotten", _unscaled, "factor of 2.44949"),
    _vjp("attention", F.softmax, ("logits",), "diagonal of softmax alone", _softmax_diagonal),
    _vjp(
        "attention",
        F.attention,
        HEADS,
        "keys for values",
        lambda t, a, w: (t[0], t[2], t[1]),
        "exchanged",
    ),
    _vjp(
        "attention",
        F.attention,
        HEADS,
        "1 % in one query",
        lambda t, a, w: (t[0].at[0, 2].multiply(1.01), *t[1:]),
        "factor of 1.01 in some",
    ),
    _vjp(
        "attention",
        F.attention,
        HEADS,
        "last key ignored",
        lambda t, a, w: (t[0], t[1].at[:, -1].set(0), t[2]),
        "zero where",
    ),
]


def _with_labels(name, rule, diagnosis=""):
    """Cross-entropy with a reverse rule of its own for the logits."""

    def make(draw):
        logits, labels = draw("logits"), draw.labels()

        @jax.custom_vjp
        def loss(logits):
            return F.cross_entropy(logits, labels)

        def backward(logits, loss_bar):
            true = jax.grad(F.cross_entropy)(logits, labels)
            return (rule(true, logits, labels) * loss_bar,)

        loss.defvjp(lambda z: (F.cross_entropy(z, labels), z), backward)
        return loss, (logits,)

    return Case(name, "losses", make, diagnosis=diagnosis)


def _wrong_class(true, logits, labels):
    one_hot = jax.nn.one_hot((labels + 1) % 5, 5, dtype=logits.dtype)
    return (F.softmax(logits) - one_hot) / 4


PAIR = ("logits", "logits")
LOSSES = [
    _with_labels("sum for mean", lambda t, z, n: t * 4, "sum for mean"),
    _with_labels("label of the next class", _wrong_class),
    _with_labels("last example ignored", lambda t, z, n: t.at[-1].set(0), "zero where"),
    _vjp("losses", F.squared_error, PAIR, "factor 2 lost", lambda t, a, w: (t[0] / 2, t[1]), "0.5"),
    _vjp("losses", F.huber, PAIR, "not clipped", lambda t, a, w: (w * (a[0] - a[1]) / 20, t[1])),
    _vjp(
        "losses",
        F.binary_cross_entropy,
        PAIR,
        "sign of the target",
        lambda t, a, w: (t[0], -t[1]),
        "wrong sign",
    ),
    _vjp(
        "losses",
        F.binary_cross_entropy,
        PAIR,
        "0.1 % too large",
        lambda t, a, w: (t[0] * 1.001, t[1]),
        "factor of 1.001",
        "float32",
    ),
]


def _primitive():
    """A linear operation of somebody's own, its transpose off by 1 % in the first element."""
    double = Primitive("verifier_double")
    halve = Primitive("verifier_double_transpose")
    for primitive, last in ((double, 2.0), (halve, 2.02)):

        def run(x, last=last):
            x = jnp.asarray(x)
            return (2 * x).at[0].set(last * x[0])

        primitive.def_impl(run)
        primitive.def_abstract_eval(lambda x: x)
        mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
        batching.primitive_batchers[primitive] = lambda args, axes, run=run: (
            jax.vmap(run, in_axes=axes[0])(*args),
            0,
        )
    ad.deflinear(double, lambda y_bar: [halve.bind(y_bar)])
    ad.deflinear(halve, lambda y_bar: [double.bind(y_bar)])
    return double


DOUBLE = _primitive()


def _scaled(name, scale, dtype="float64"):
    def make(draw):
        x, kernel = draw("x", "k", scale=scale)
        return F.with_vjp(F.conv, lambda t, a, w: (t[0], t[1] * 1.01)), (x, kernel)

    return Case(name, "scale", make, dtype, "factor of 1.01")


def _inner_layer(draw):
    """One of twelve layers has a rule that is 1 % off in one row."""
    layer = F.with_vjp(
        lambda x, k: jnp.tanh(F.conv(x, k)), lambda t, a, w: (t[0].at[:, 3].multiply(1.01), t[1])
    )

    def network(x, kernel):
        for i in range(12):
            x = layer(x, kernel) if i == 5 else jnp.tanh(F.conv(x, kernel))
        return x

    return network, (draw("x"), draw("k", scale=0.3))


OTHERS = [
    _scaled("1 % at a scale of a million", 1e6),
    _scaled("1 % at a scale of a millionth", 1e-6),
    _scaled("1 % at a scale of a million, float32", 1e6, "float32"),
    Case("1 % in a row of one layer of twelve", "deep", _inner_layer),
    Case(
        "primitive with a wrong transpose",
        "primitive",
        lambda draw: (lambda x: jnp.sin(DOUBLE.bind(x)), (draw("vector"),)),
    ),
    _vjp(
        "primitive",
        lambda x: x,
        ("vector",),
        "cotangent in another order",
        lambda t, a, w: (t[0][::-1],),
    ),
]

WRONG = [
    *(*CONVOLUTION, *FORWARD, *TRANSPOSED, *POOLING, *NORMALISATION, *ATTENTION, *LOSSES, *OTHERS)
]
assert len({(case.family, case.name) for case in WRONG}) == len(WRONG)
