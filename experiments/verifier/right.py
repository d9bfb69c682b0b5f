"""Right gradients, among them those that a careless verifier calls wrong.

They include ties and kinks, values of a million and of a millionth, half precision, deep
compositions, and functions of all kinds: of pytrees, with integer arguments, with several results,
of a Flax module, and with loops.
"""

import jax
import jax.numpy as jnp
from jax import lax

import jaxconv

from . import functions as F
from .cases import Case


def _case(family, name, f, *names, dtype="float64", scale=1.0, order=1, hints=None):
    def make(draw):
        return f, draw.tuple(*names, scale=scale)

    return Case(name, family, make, dtype, order=order, hints=hints or F.hints(f))


def _true_vjp(f):
    return F.with_vjp(f, lambda true, args, y_bar: true)


def _true_jvp(f):
    return F.with_jvp(f, lambda true, args, dots: true)


XK = ("x", "k")
CONVOLUTION = [
    _case("convolution", "lax", F.conv, *XK),
    _case("convolution", "strided", F.strided_conv, *XK),
    _case("convolution", "dilated", F.dilated_conv, *XK),
    _case("convolution", "float32", F.conv, *XK, dtype="float32"),
    _case("convolution", "bfloat16", F.conv, *XK, dtype="bfloat16"),
    _case("convolution", "float16", F.conv, *XK, dtype="float16"),
    _case("convolution", "of a million", F.conv, *XK, scale=1e6),
    _case("convolution", "of a millionth", F.conv, *XK, scale=1e-6),
    _case("convolution", "of a million, float32", F.conv, *XK, scale=1e6, dtype="float32"),
    _case("convolution", "of a millionth, float32", F.conv, *XK, scale=1e-6, dtype="float32"),
    _case("convolution", "a right custom_vjp", _true_vjp(F.conv), *XK),
    _case("convolution", "a right custom_vjp, bfloat16", _true_vjp(F.conv), *XK, dtype="bfloat16"),
    _case("convolution", "a right custom_jvp", _true_jvp(F.conv), *XK),
    _case(
        "convolution",
        "jaxconv",
        lambda x, k: jaxconv.conv(x, k, 2, "SAME"),
        *XK,
        hints={"linear_in": (0, 1)},
    ),
    _case("convolution", "jaxconv, float32", lambda x, k: jaxconv.conv(x, k), *XK, dtype="float32"),
    _case("transposed convolution", "lax", F.conv_transpose, *XK),
    _case("transposed convolution", "jaxconv", lambda x, k: jaxconv.conv_transpose(x, k, 2), *XK),
]


def _tied(draw):
    x = draw("x")
    return F.max_pool, (x.at[:, 1::2].set(x[:, ::2]),)


def _tied_ours(draw):
    return lambda x: jaxconv.max_pool(x, 2), _tied(draw)[1]


def _nearly_tied(draw):
    x = draw("x")
    return F.max_pool, (x.at[:, 1::2].set(x[:, ::2] + 1e-9 * draw((2, 3, 6, 3))),)


def _coarse(draw):
    """Values on a grid, which tie often."""
    return F.max_pool, (jnp.round(2 * draw("x")) / 2,)


POOLING = [
    _case("pooling", "largest", F.max_pool, "x"),
    _case("pooling", "mean", F.avg_pool, "x"),
    Case("ties", "pooling", _tied),
    Case("ties, jaxconv", "pooling", _tied_ours),
    Case("near ties", "pooling", _nearly_tied),
    Case("near ties, float32", "pooling", _nearly_tied, "float32"),
    Case("many ties, bfloat16", "pooling", _coarse, "bfloat16"),
    _case(
        "pooling",
        "convolution before, bfloat16",
        lambda x, k: F.max_pool(F.conv(x, k)),
        *XK,
        dtype="bfloat16",
    ),
]

NORM = ("x", "gain", "gain")
NORMALISATION = [
    _case("normalisation", "of the batch", F.batch_norm, *NORM),
    _case("normalisation", "of the batch, float32", F.batch_norm, *NORM, dtype="float32"),
    _case("normalisation", "of a layer", F.layer_norm, *NORM),
    _case("normalisation", "of a layer, bfloat16", F.layer_norm, *NORM, dtype="bfloat16"),
    _case("normalisation", "of a layer, of a millionth", F.layer_norm, *NORM, scale=1e-6),
    _case("normalisation", "by root mean squares", F.rms_norm, "x", "gain"),
]

HEADS = ("q", "q", "q")
ATTENTION = [
    _case("attention", "scaled dot products", F.attention, *HEADS),
    _case("attention", "float32", F.attention, *HEADS, dtype="float32"),
    _case("attention", "bfloat16", F.attention, *HEADS, dtype="bfloat16"),
    _case("attention", "sharp", lambda *h: F.attention(*(10 * a for a in h)), *HEADS),
]


def _labelled(f, scale=1.0):
    def make(draw):
        logits, labels = draw("logits", scale=scale), draw.labels()
        return f, (logits, labels)

    return make


def _at_corners(draw):
    """The Huber loss exactly where its two parts meet, and at its minimum."""
    y = draw("logits")
    return F.huber, (y.at[0].set(1.0).at[1].set(-1.0).at[2].set(0.0), jnp.zeros_like(y))


PAIR = ("logits", "logits")
LOSSES = [
    Case("cross-entropy", "losses", _labelled(F.cross_entropy)),
    Case(
        "cross-entropy, float32, large scores",
        "losses",
        _labelled(F.cross_entropy, 50.0),
        "float32",
    ),
    Case("cross-entropy, jaxconv", "losses", _labelled(jaxconv.softmax_cross_entropy)),
    _case("losses", "squared error", F.squared_error, *PAIR),
    _case("losses", "Huber", F.huber, *PAIR),
    Case("Huber, at its corners", "losses", _at_corners),
    _case(
        "losses", "binary cross-entropy, float32", F.binary_cross_entropy, *PAIR, dtype="float32"
    ),
]


def _network(x, kernel):
    """The sum of squares of six convolutions with ReLU."""
    for _ in range(6):
        x = jax.nn.relu(F.conv(x, kernel))
    return (x**2).sum()


def _shrinking(draw):
    return F.deep, (draw("x"), draw("k", scale=0.3))


def _at_zero(f):
    def make(draw):
        return f, (draw("vector").at[::3].set(0.0),)

    return make


def _near_zero(draw):
    return jax.nn.relu, (draw("vector", scale=1e-9),)


def _recurrent(draw):
    def run(x, matrix):
        def step(h, a):
            h = jnp.tanh(h @ matrix + a)
            return h, h

        return lax.scan(step, jnp.zeros(5, x.dtype), x)

    return run, (draw("logits"), draw((5, 5)))


def _choice(draw):
    return lambda x: lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), (draw("vector"),)


def _table(draw):
    indices = draw.labels(6, 4)
    return lambda table: jnp.tanh(table[indices]).sum(0), (draw("logits"),)


def _straight_through(x):
    return (x + lax.stop_gradient(jnp.round(x) - x)) ** 2


def _tree(draw):
    params = {"w": draw((5, 3)), "b": draw("gain"), "steps": 3}
    return lambda params, x: {"y": x @ params["w"] + params["b"], "n": params["steps"]}, (
        params,
        draw("logits"),
    )


def _flax(draw):
    from flax import nnx

    layer = nnx.Linear(5, 3, rngs=nnx.Rngs(0))
    return lambda layer, x: jnp.tanh(layer(x)), (layer, draw("logits"))


def _dropout(draw):
    key = jax.random.key(0)
    return lambda x, key: jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0), (
        draw("vector"),
        key,
    )


def _solve(a, b):
    return jnp.linalg.solve(a @ a.T + jnp.eye(len(a)), b)


def _log_sum_exp(x):
    """With a rule of its own that does not overflow."""

    @jax.custom_jvp
    def f(x):
        top = x.max()
        return jnp.log(jnp.exp(x - top).sum()) + top

    @f.defjvp
    def _(args, dots):
        return f(*args), F.softmax(args[0]) @ dots[0]

    return f(1e3 * x)


OTHERS = [
    Case("twelve convolutions with tanh", "deep", _shrinking),
    Case("twelve convolutions with tanh, float32", "deep", _shrinking, "float32"),
    _case("deep", "six convolutions with ReLU", _network, *XK),
    _case("deep", "six convolutions with ReLU, float32", _network, *XK, dtype="float32"),
    Case("ReLU at 0", "kinks", _at_zero(jax.nn.relu)),
    Case("modulus at 0", "kinks", _at_zero(jnp.abs)),
    Case("ReLU of a billionth", "kinks", _near_zero),
    Case(
        "cube root next to 0", "kinks", lambda draw: (jnp.cbrt, (jnp.abs(draw("vector")) + 1e-3,))
    ),
    _case("kinks", "clipping", lambda x: jnp.clip(x, -0.5, 0.5), "vector", dtype="float32"),
    _case("kinks", "sorting", jnp.sort, "vector"),
    Case("scan", "loops", _recurrent),
    Case("branch", "loops", _choice),
    _case(
        "loops", "power of a matrix", lambda a: lax.fori_loop(0, 4, lambda i, b: b @ a, a), (3, 3)
    ),
    Case("rows of a table", "gathers", _table),
    _case("gathers", "cumulative sums", lambda x: jnp.cumsum(x**2), "vector", dtype="float32"),
    Case("pytrees and integers", "arguments", _tree),
    Case("a Flax module", "arguments", _flax, "float32"),
    Case("dropout with a key", "arguments", _dropout),
    _case(
        "arguments",
        "two results",
        lambda x, y: (x * y, jnp.sum(x / (1 + y**2))),
        "vector",
        "vector",
    ),
    _case("arguments", "a number", lambda x: x**3, ()),
    _case("smooth", "GELU, float32", jax.nn.gelu, "vector", dtype="float32"),
    _case("smooth", "error function, bfloat16", jax.scipy.special.erf, "vector", dtype="bfloat16"),
    _case("smooth", "logarithm of a sum", _log_sum_exp, "vector"),
    _case("smooth", "solution of equations", _solve, (3, 3), "gain"),
    _case("smooth", "Fourier transform", lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2, "vector"),
    _case("smooth", "straight-through rounding", _straight_through, "vector"),
    _case("smooth", "checkpointed", jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), "vector"),
]

SECOND_ORDER = [
    _case("second order", "a right custom_jvp", _true_jvp(lambda x: x**3), "vector", order=2),
    _case("second order", "convolution and tanh", lambda *a: jnp.tanh(F.conv(*a)), *XK, order=2),
    _case("second order", "of a layer", F.layer_norm, *NORM, order=2),
    _case("second order", "attention, float32", F.attention, *HEADS, dtype="float32", order=2),
]

RIGHT = [*CONVOLUTION, *POOLING, *NORMALISATION, *ATTENTION, *LOSSES, *OTHERS, *SECOND_ORDER]
assert len({(case.family, case.name) for case in RIGHT}) == len(RIGHT)
