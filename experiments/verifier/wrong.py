"""Wrong gradients, one slip each: large ones, and small ones that a loss curve would not show."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from . import functions as F
from .cases import Case, with_vjp
from .wrong_convolutions import CONVOLUTION, FORWARD, TRANSPOSED
from .wrong_geometry import GEOMETRY
from .wrong_slips import SLIPS


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
    with_vjp("pooling", F.max_pool, ("x",), "gradient to the first of a window", _to_first),
    with_vjp("pooling", F.avg_pool, ("x",), "divided twice", lambda t, a, w: (t[0] / 4,), "0.25"),
    with_vjp(
        "pooling", _same_pool, ("x",), "border divided by 9", _ninths, "padding counted in the mean"
    ),
    with_vjp(
        "pooling",
        F.max_pool,
        ("x",),
        "NaN in one element",
        lambda t, a, w: (t[0].at[0, 0, 0, 0].set(jnp.nan),),
        "NaN",
    ),
    with_vjp(
        "pooling", F.max_pool, ("x",), "last row lost", lambda t, a, w: (t[0].at[:, -1].set(0),)
    ),
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
    with_vjp(
        "normalisation", F.batch_norm, NORM, "statistics taken for constants", _constant_statistics
    ),
    with_vjp("normalisation", F.batch_norm, NORM, "epsilon forgotten", _no_epsilon),
    with_vjp("normalisation", F.batch_norm, NORM, "n - 1 for n", _sample_variance),
    with_vjp("normalisation", F.layer_norm, NORM, "mean taken for a constant", _without_mean),
    with_vjp(
        "normalisation",
        F.layer_norm,
        NORM,
        "gain's gradient a mean",
        lambda t, a, w: (t[0], t[1] / 72, t[2]),
        "mean for sum over batch and positions",
    ),
    with_vjp(
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
    with_vjp("attention", F.attention, HEADS, "scale forgotten", _unscaled, "factor of 2.44949"),
    with_vjp(
        "attention",
        F.softmax,
        ("logits",),
        "diagonal of softmax alone",
        _softmax_diagonal,
        "a term is missing",
    ),
    with_vjp(
        "attention",
        F.attention,
        HEADS,
        "keys for values",
        lambda t, a, w: (t[0], t[2], t[1]),
        "exchanged",
    ),
    with_vjp(
        "attention",
        F.attention,
        HEADS,
        "1 % in one query",
        lambda t, a, w: (t[0].at[0, 2].multiply(1.01), *t[1:]),
        "factor of 1.01 in some",
    ),
    with_vjp(
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
    with_vjp(
        "losses", F.squared_error, PAIR, "factor 2 lost", lambda t, a, w: (t[0] / 2, t[1]), "0.5"
    ),
    with_vjp(
        "losses", F.huber, PAIR, "not clipped", lambda t, a, w: (w * (a[0] - a[1]) / 20, t[1])
    ),
    with_vjp(
        "losses",
        F.binary_cross_entropy,
        PAIR,
        "sign of the target",
        lambda t, a, w: (t[0], -t[1]),
        "wrong sign",
    ),
    with_vjp(
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
    with_vjp(
        "primitive",
        lambda x: x,
        ("vector",),
        "cotangent in another order",
        lambda t, a, w: (t[0][::-1],),
        "gradient flipped",
    ),
]

WRONG = [
    *(*CONVOLUTION, *FORWARD, *TRANSPOSED, *POOLING, *NORMALISATION, *ATTENTION, *LOSSES, *OTHERS),
    *(*SLIPS, *GEOMETRY),
]
assert len({(case.family, case.name) for case in WRONG}) == len(WRONG)
