"""Wrong gradients of pools, normalisations, attention, losses and others."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .. import functions as F
from ..cases import Case, first, second, wrong_vjps


def _equal_to_maximum(true, args, y_bar):
    """The gradient to every element that equals the maximum of its window."""
    (x,) = args
    spread = jax.vjp(lambda x: F.avg_pool(x) * 4, x)[1]
    return ((spread(y_bar)[0]) * (x == spread(F.max_pool(x))[0]),)


def _tied(draw):
    x = draw("x")
    return F.with_vjp(F.max_pool, _equal_to_maximum), (x.at[:, 1::2].set(x[:, ::2]),)


def _to_first(true, args, y_bar):
    return (jnp.zeros_like(args[0]).at[:, ::2, ::2].set(y_bar),)


def _sum_of_nine(x):
    return F.windows(x, lax.add, 0.0, 1, 3, "SAME")


def _same_pool(x):
    """Means over 3×3 windows, of the elements inside the map."""
    return _sum_of_nine(x) / _sum_of_nine(jnp.ones_like(x))


def _ninths(true, args, y_bar):
    return jax.vjp(lambda x: _sum_of_nine(x) / 9, *args)[1](y_bar)


MAX_POOL = {
    "gradient to the first of a window": _to_first,
    "NaN in one element": (first(lambda g: g.at[0, 0, 0, 0].set(jnp.nan)), "NaN"),
    "last row lost": first(lambda g: g.at[:, -1].set(0)),
}
POOLING = [
    Case("maxima of equals counted twice", "pooling", _tied, diagnosis="ties counted twice"),
    *wrong_vjps("pooling", F.max_pool, ("x",), MAX_POOL),
    *wrong_vjps("pooling", F.avg_pool, ("x",), {"divided twice": (first(lambda g: g / 4), "0.25")}),
    *wrong_vjps(
        "pooling",
        _same_pool,
        ("x",),
        {"border divided by 9": (_ninths, "padding counted in the mean")},
    ),
]


def _of_other(f):
    """The gradients of another function."""
    return lambda true, args, y_bar: jax.vjp(f, *args)[1](y_bar)


def _constant_statistics(true, args, y_bar):
    x, gain, _ = args
    return y_bar * gain / jnp.sqrt(x.var((0, 1, 2)) + 1e-3), *true[1:]


def _no_epsilon(x, gain, bias):
    mean = x.mean((0, 1, 2))
    return gain * (x - mean) / jnp.sqrt(((x - mean) ** 2).mean((0, 1, 2))) + bias


def _sample_variance(x, gain, bias):
    return gain * (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2), ddof=1) + 1e-3) + bias


def _frozen_mean(x, gain, bias):
    mean = lax.stop_gradient(x.mean(-1, keepdims=True))
    return gain * (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-3) + bias


NORM = ("x", "gain", "gain")
BATCH_NORM = {
    "statistics taken for constants": _constant_statistics,
    "epsilon forgotten": _of_other(_no_epsilon),
    "n - 1 for n": _of_other(_sample_variance),
}
LAYER_NORM = {
    "mean taken for a constant": _of_other(_frozen_mean),
    "gain's gradient a mean": (second(lambda g: g / 72), "mean for sum over batch and positions"),
}
RMS_NORM = {"1 % in one channel of the gain": second(lambda g: g.at[1].multiply(1.01))}
NORMALISATION = [
    *wrong_vjps("normalisation", F.batch_norm, NORM, BATCH_NORM),
    *wrong_vjps("normalisation", F.layer_norm, NORM, LAYER_NORM),
    *wrong_vjps("normalisation", F.rms_norm, NORM[:2], RMS_NORM),
]


def _softmax_diagonal(true, args, y_bar):
    return (F.softmax(*args) * y_bar,)


ATTENTIONS = {
    "scale forgotten": (first(lambda g: g * g.shape[-1] ** 0.5), "factor of 2.44949"),
    "keys for values": (lambda t, a, w: (t[0], t[2], t[1]), "exchanged"),
    "1 % in one query": (first(lambda g: g.at[0, 2].multiply(1.01)), "factor of 1.01 in some"),
    "last key ignored": (second(lambda g: g.at[:, -1].set(0)), "zero where"),
}
SOFTMAX = {"diagonal of softmax alone": (_softmax_diagonal, "a term is missing")}
ATTENTION = [
    *wrong_vjps("attention", F.attention, ("q", "q", "q"), ATTENTIONS),
    *wrong_vjps("attention", F.softmax, ("logits",), SOFTMAX),
]


def _with_labels(name, rule, diagnosis=""):
    """Cross-entropy with a reverse rule for the scores."""

    def make(draw):
        logits, labels = draw("logits"), draw.labels()
        loss = jax.custom_vjp(lambda logits: F.cross_entropy(logits, labels))

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
BINARY = {
    "sign of the target": (second(lambda g: -g), "wrong sign"),
    "0.1 % too large": (first(lambda g: g * 1.001), "factor of 1.001", "float32"),
}
LOSSES = [
    _with_labels("sum for mean", lambda t, z, n: t * 4, "sum for mean"),
    _with_labels("label of the next class", _wrong_class),
    _with_labels("last example ignored", lambda t, z, n: t.at[-1].set(0), "zero where"),
    *wrong_vjps(
        "losses", F.squared_error, PAIR, {"factor 2 lost": (first(lambda g: g / 2), "0.5")}
    ),
    *wrong_vjps(
        "losses", F.huber, PAIR, {"not clipped": lambda t, a, w: (w * (a[0] - a[1]) / 20, t[1])}
    ),
    *wrong_vjps("losses", F.binary_cross_entropy, PAIR, BINARY),
]


def _primitive():
    """A linear primitive whose transpose is 1 % off in the first element."""
    double, halve = Primitive("verifier_double"), Primitive("verifier_double_transpose")
    for primitive, last in ((double, 2.0), (halve, 2.02)):

        def run(x, last=last):
            x = jnp.asarray(x)
            return (2 * x).at[0].set(last * x[0])

        def batch(args, axes, run=run):
            return jax.vmap(run, in_axes=axes[0])(*args), 0

        primitive.def_impl(run)
        primitive.def_abstract_eval(lambda x: x)
        mlir.register_lowering(primitive, mlir.lower_fun(run, multiple_results=False))
        batching.primitive_batchers[primitive] = batch
    ad.deflinear(double, lambda y_bar: [halve.bind(y_bar)])
    ad.deflinear(halve, lambda y_bar: [double.bind(y_bar)])
    return double


DOUBLE = _primitive()


def _sine_of_double(draw):
    return lambda x: jnp.sin(DOUBLE.bind(x)), draw.tuple("vector")


def _scaled(name, scale, dtype="float64"):
    def make(draw):
        return F.with_vjp(F.conv, second(lambda g: g * 1.01)), draw("x", "k", scale=scale)

    return Case(name, "scale", make, dtype, "factor of 1.01")


def _inner_layer(draw):
    """The rule of one of twelve layers is 1 % off in one row."""

    def layer(x, kernel):
        return jnp.tanh(F.conv(x, kernel))

    wrong = F.with_vjp(layer, first(lambda g: g.at[:, 3].multiply(1.01)))

    def network(x, kernel):
        for i in range(12):
            x = (wrong if i == 5 else layer)(x, kernel)
        return x

    return network, (draw("x"), draw("k", scale=0.3))


FLIPPED = {"cotangent in another order": (first(lambda g: g[::-1]), "gradient flipped")}
OTHERS = [
    _scaled("1 % at a scale of a million", 1e6),
    _scaled("1 % at a scale of a millionth", 1e-6),
    _scaled("1 % at a scale of a million, float32", 1e6, "float32"),
    Case("1 % in a row of one layer of twelve", "deep", _inner_layer),
    Case("primitive with a wrong transpose", "primitive", _sine_of_double),
    *wrong_vjps("primitive", lambda x: x, ("vector",), FLIPPED),
]

LAYERS = [*POOLING, *NORMALISATION, *ATTENTION, *LOSSES, *OTHERS]
