"""Wrong gradients that are right ones for another cotangent, at another point, or rearranged."""

import jax
import jax.numpy as jnp
import numpy as np

from .. import functions as F
from ..cases import first, wrong_vjps


def _for_cotangent(change, f=F.conv):
    """The true rule for a changed cotangent."""
    return lambda true, args, w: jax.vjp(f, *args)[1](change(w))


def _like(sum_of):
    return lambda w: jnp.broadcast_to(sum_of(w), w.shape)


def _reordered(w):
    return w.transpose(0, 3, 1, 2).reshape(w.shape)


POSITIONS = (1, 2)
COTANGENTS = {
    "summed over the batch": (_like(lambda w: w.sum(0)), "cotangent summed"),
    "summed over channels": (_like(lambda w: w.sum(-1, keepdims=True)), "cotangent summed"),
    "mean over the batch": (_like(lambda w: w.mean(0)), "cotangent averaged"),
    "mean over positions": (
        _like(lambda w: w.mean(POSITIONS, keepdims=True)),
        "cotangent averaged",
    ),
    "flipped along the batch": (lambda w: w[::-1], "cotangent flipped"),
    "flipped along an axis": (lambda w: w[:, ::-1], "cotangent flipped"),
    "flipped along both": (lambda w: w[:, ::-1, ::-1], "cotangent flipped"),
    "flipped along channels": (lambda w: w[..., ::-1], "cotangent flipped"),
    "moved on by a channel": (lambda w: jnp.roll(w, 1, -1), "cotangent shifted by one"),
    "squared": (jnp.square, "cotangent squared"),
    "without its sign": (jnp.abs, "absolute value of the cotangent"),
    "its sign alone": (jnp.sign, "sign of the cotangent"),
    "clipped": (lambda w: jnp.clip(w, -1, 1), "cotangent clipped"),
    "axes in another order": (_reordered, "cotangent reshaped"),
    "last row forgotten": (lambda w: w.at[:, -1].set(0), "border of the cotangent ignored"),
}


def _both(x):
    return jnp.sin(x), x**3


# Changes of the cotangents of two results.
RESULTS = {
    "of two results exchanged": (lambda w: (w[1], w[0]), "cotangents of two results exchanged"),
    "of the first result twice": (lambda w: (w[0], w[0]), "cotangent of one result used twice"),
    "of two results added": (lambda w: (w[0] + w[1],) * 2, "cotangents of the results added"),
    "of a result forgotten": (lambda w: (w[0], 0 * w[1]), "cotangent of a result ignored"),
}

GRADIENTS = {
    "summed over the batch": (_like(lambda g: g.sum(0)), "gradient summed"),
    "mean over positions": (_like(lambda g: g.mean(POSITIONS, keepdims=True)), "averaged"),
    "flipped along the batch": (lambda g: g[::-1], "gradient flipped"),
    "moved on by an example": (lambda g: jnp.roll(g, 1, 2), "gradient shifted by one"),
    "axes in another order": (_reordered, "gradient reshaped"),
    "without its sign": (jnp.abs, "wrong sign in some elements"),
    "squared": (jnp.square, "gradient squared"),
}


def _cube(x):
    return x**3


def _product(x, y):
    return x * y**2


MATRIX = np.random.default_rng(0).normal(size=(12, 12))


def _map(x):
    return jnp.asarray(MATRIX, x.dtype) @ x


def _off_diagonal(true, args, w):
    p = F.softmax(*args)
    return (-p * ((p * w).sum(-1, keepdims=True) - p * w),)


def _diagonal(true, args, w):
    p = F.softmax(*args)
    return (p * (1 - p) * w,)


CUBE = {
    "x lost": (lambda t, a, w: (3 * a[0] * w,), "[0] is missing"),
    "x too often": (lambda t, a, w: (a[0] * t[0],), "[0] too many"),
}
TANH = {
    "no derivative": (lambda t, a, w: (w,), "derivative is missing"),
    "twice": (lambda t, a, w: (t[0] ** 2 / w,), "y**2 too many"),
    "at the result": (
        lambda t, a, w: jax.vjp(jnp.tanh, jnp.tanh(a[0]))[1](w),
        "result taken for the argument",
    ),
}
GAIN = {"gain lost": (lambda t, a, w: (t[0] / a[1], *t[1:]), "[1] is missing")}
PRODUCT = {
    "the other's residual": (
        lambda t, a, w: (a[0] ** 2 * w, t[1]),
        "residuals of two arguments exchanged",
    ),
    "both gradients": (lambda t, a, w: (t[0] + t[1], t[1]), "gradients of two arguments added"),
}
SOFTMAX = {
    "no diagonal": (_off_diagonal, "diagonal of the Jacobian is missing"),
    "diagonal alone": (_diagonal, "only the diagonal of the Jacobian"),
}
LINEAR = {
    "not transposed": (lambda t, a, w: (_map(w),), "not transposed"),
    "applied twice": (lambda t, a, w: jax.vjp(_map, a[0])[1](t[0]), "derivative applied twice"),
}


def _changed(family, f, names, table, make_rule):
    rules = {name: (make_rule(change), said) for name, (change, said) in table.items()}
    return wrong_vjps(family, f, names, rules)


SLIPS = [
    *_changed("cotangents", F.conv, ("x", "k"), COTANGENTS, _for_cotangent),
    *_changed("cotangents", _both, ("vector",), RESULTS, lambda c: _for_cotangent(c, _both)),
    *_changed("gradients", F.conv, ("x", "k"), GRADIENTS, first),
    *wrong_vjps("factors", _cube, ("vector",), CUBE),
    *wrong_vjps("factors", jnp.tanh, ("vector",), TANH),
    *wrong_vjps("factors", F.batch_norm, ("x", "gain", "gain"), GAIN),
    *wrong_vjps("factors", _product, ("vector", "vector"), PRODUCT),
    *wrong_vjps("factors", F.softmax, ("logits",), SOFTMAX),
    *wrong_vjps("factors", _map, ("vector",), LINEAR),
]
