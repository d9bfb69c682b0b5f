"""Wrong gradients that take the right one for another cotangent, at another point, or elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np

from . import functions as F
from .cases import with_vjp


def _for_cotangent(change, f=F.conv):
    """The true rule, called with another cotangent."""
    return lambda true, args, w: jax.vjp(f, *args)[1](change(w))


def _like(sum_of):
    return lambda w: jnp.broadcast_to(sum_of(w), w.shape)


def _reordered(w):
    return w.transpose(0, 3, 1, 2).reshape(w.shape)


COTANGENTS = [
    with_vjp("cotangents", F.conv, ("x", "k"), name, _for_cotangent(change), diagnosis)
    for name, change, diagnosis in [
        ("summed over the batch", _like(lambda w: w.sum(0)), "cotangent summed"),
        ("summed over channels", _like(lambda w: w.sum(-1, keepdims=True)), "cotangent summed"),
        ("mean over the batch", _like(lambda w: w.mean(0)), "cotangent averaged"),
        (
            "mean over positions",
            _like(lambda w: w.mean((1, 2), keepdims=True)),
            "cotangent averaged",
        ),
        ("flipped along the batch", lambda w: w[::-1], "cotangent flipped"),
        ("flipped along an axis", lambda w: w[:, ::-1], "cotangent flipped"),
        ("flipped along both", lambda w: w[:, ::-1, ::-1], "cotangent flipped"),
        ("flipped along channels", lambda w: w[..., ::-1], "cotangent flipped"),
        ("moved on by a channel", lambda w: jnp.roll(w, 1, -1), "cotangent shifted by one"),
        ("squared", jnp.square, "cotangent squared"),
        ("without its sign", jnp.abs, "absolute value of the cotangent"),
        ("its sign alone", jnp.sign, "sign of the cotangent"),
        ("clipped", lambda w: jnp.clip(w, -1, 1), "cotangent clipped"),
        ("axes in another order", _reordered, "cotangent reshaped"),
        (
            "last row forgotten",
            lambda w: w.at[:, -1].set(0),
            "border of the cotangent ignored",
        ),
    ]
]


def _both(x):
    return jnp.sin(x), x**3


RESULTS = [
    with_vjp(
        "cotangents",
        _both,
        ("vector",),
        name,
        _for_cotangent(lambda w, change=change: change(*w), _both),
        said,
    )
    for name, change, said in [
        ("of two results exchanged", lambda a, b: (b, a), "cotangents of two results exchanged"),
        ("of the first result twice", lambda a, b: (a, a), "cotangent of one result used twice"),
        ("of two results added", lambda a, b: (a + b,) * 2, "cotangents of the results added"),
        ("of a result forgotten", lambda a, b: (a, 0 * b), "cotangent of a result ignored"),
    ]
]


GRADIENTS = [
    with_vjp("gradients", F.conv, ("x", "k"), name, lambda t, a, w, c=change: (c(t[0]), t[1]), said)
    for name, change, said in [
        ("summed over the batch", _like(lambda g: g.sum(0)), "gradient summed"),
        ("mean over positions", _like(lambda g: g.mean((1, 2), keepdims=True)), "averaged"),
        ("flipped along the batch", lambda g: g[::-1], "gradient flipped"),
        ("moved on by an example", lambda g: jnp.roll(g, 1, 2), "gradient shifted by one"),
        ("axes in another order", _reordered, "gradient reshaped"),
        ("without its sign", jnp.abs, "wrong sign in some elements"),
        ("squared", jnp.square, "gradient squared"),
    ]
]


def _cubes(x):
    return x**3


def _product(x, y):
    return x * y**2


MATRIX = np.random.default_rng(0).normal(size=(12, 12))


def _map(x):
    return jnp.asarray(MATRIX, x.dtype) @ x


def _off_diagonal(true, args, w):
    p = F.softmax(*args)
    return (-p * ((p * w).sum(-1, keepdims=True) - p * w),)


FACTORS = [
    with_vjp("factors", f, names, name, rule, said)
    for f, names, name, rule, said in [
        (_cubes, ("vector",), "x lost", lambda t, a, w: (3 * a[0] * w,), "[0] is missing"),
        (_cubes, ("vector",), "x too often", lambda t, a, w: (a[0] * t[0],), "[0] too many"),
        (jnp.tanh, ("vector",), "no derivative", lambda t, a, w: (w,), "derivative is missing"),
        (jnp.tanh, ("vector",), "twice", lambda t, a, w: (t[0] ** 2 / w,), "y**2 too many"),
        (
            F.batch_norm,
            ("x", "gain", "gain"),
            "gain lost",
            lambda t, a, w: (t[0] / a[1], *t[1:]),
            "[1] is missing",
        ),
        (
            jnp.tanh,
            ("vector",),
            "at the result",
            lambda t, a, w: jax.vjp(jnp.tanh, jnp.tanh(a[0]))[1](w),
            "result taken for the argument",
        ),
        (
            _product,
            ("vector", "vector"),
            "the other's residual",
            lambda t, a, w: (a[0] ** 2 * w, t[1]),
            "residuals of two arguments exchanged",
        ),
        (
            _product,
            ("vector", "vector"),
            "both gradients",
            lambda t, a, w: (t[0] + t[1], t[1]),
            "gradients of two arguments added",
        ),
        (
            F.softmax,
            ("logits",),
            "no diagonal",
            _off_diagonal,
            "diagonal of the Jacobian is missing",
        ),
        (
            F.softmax,
            ("logits",),
            "diagonal alone",
            lambda t, a, w: (lambda p: (p * (1 - p) * w,))(F.softmax(*a)),
            "only the diagonal of the Jacobian",
        ),
        (_map, ("vector",), "not transposed", lambda t, a, w: (_map(w),), "not transposed"),
        (
            _map,
            ("vector",),
            "applied twice",
            lambda t, a, w: jax.vjp(_map, a[0])[1](t[0]),
            "derivative applied twice",
        ),
    ]
]

SLIPS = [*COTANGENTS, *RESULTS, *GRADIENTS, *FACTORS]
