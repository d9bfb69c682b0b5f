"""The other modules of `jax.scipy`, and `jax.image` and `jax.ops`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import scipy

from .entries import Library, parts

SIGNAL = Library("jax.scipy.signal")
_S = scipy.signal
for name in ("convolve", "correlate", "fftconvolve"):
    SIGNAL.add(name, "normal:6 normal:3", forms="zeros integers mixed")
for name in ("convolve2d", "correlate2d"):
    SIGNAL.add(name, "normal:3,3 normal:2,2", forms="zeros integers")
SIGNAL.add("detrend", "normal:6", lambda x: _S.detrend(x), forms="zeros integers huge")
SIGNAL.add("stft", "normal:16", lambda x: parts(_S.stft(x, nperseg=8)[2]), forms="zeros huge")
SIGNAL.add(
    "istft",
    "normal:5,5 normal:5,5",
    lambda re, im: _S.istft(re + 1j * im, nperseg=8)[1],
    forms="zeros",
)
SIGNAL.add("welch", "normal:16", lambda x: _S.welch(x, nperseg=8)[1], forms="zeros huge")
SIGNAL.add(
    "csd", "normal:16 normal:16", lambda x, y: parts(_S.csd(x, y, nperseg=8)[1]), forms="zeros"
)

LINALG = Library("jax.scipy.linalg")
_L = scipy.linalg
_add = LINALG.add
_add("block_diag", "normal:2,2 normal:3,2", forms="zeros mixed")
_add("cholesky", "definite:3,3", lambda a: _L.cholesky(a, lower=True), forms="")
_add("cho_factor", "definite:3,3", lambda a: _L.cho_factor(a)[0], forms="")
_add("cho_solve", "lower:3,3 normal:3", lambda a, b: _L.cho_solve((a, True), b), forms="zeros")
for name in ("circulant", "hankel", "toeplitz", "fiedler"):
    _add(
        name,
        "distinct:4",
        getattr(_L, name, None),
        forms="zeros mixed" if name != "fiedler" else "integers",
    )
_add("companion", "positive:4", forms="")
_add("fiedler_companion", "positive:4", forms="")
_add("leslie", "positive:3 positive:2", forms="")
_add("convolution_matrix", "normal:3", lambda a: _L.convolution_matrix(a, 4), forms="zeros")
_add("det", "normal:3,3", lambda a: _L.det(a), forms="zeros integers")
_add("inv", "regular:3,3", lambda a: _L.inv(a), forms="", at=[(jnp.eye(3),)])
_add("eigh", "symmetric:3,3", lambda a: (lambda r: (r[0] ** 2, r[1]))(_L.eigh(a)), forms="")
_add(
    "eigh_tridiagonal",
    "distinct:4 positive:3",
    lambda d, e: _L.eigh_tridiagonal(d, e, eigvals_only=True),
    forms="",
    order=1,
)
_add(
    "expm",
    "normal:3,3",
    lambda a: _L.expm(a),
    forms="zeros",
    at=[(jnp.eye(2),), ([[0.0, 1], [0, 0]],)],
)
_add("expm_frechet", "normal:2,2 normal:2,2", lambda a, e: _L.expm_frechet(a, e)[1], forms="")
_add("lu", "regular:3,3", lambda a: _L.lu(a)[1:], forms="")
_add("lu_factor", "regular:3,3", lambda a: _L.lu_factor(a)[0], forms="")
_add(
    "lu_solve",
    "regular:3,3 normal:3",
    lambda a, b: _L.lu_solve((a, np.array([0, 1, 2], "int32")), b),
    forms="zeros",
)
_add("polar", "regular:3,3", lambda a: _L.polar(a, method="svd"), forms="")
_add("qr", "regular:3,3", lambda a: _L.qr(a), forms="")
_add("solve", "regular:3,3 normal:3", lambda a, b: _L.solve(a, b), forms="zeros")
_add(
    "solve, positive definite",
    "definite:3,3 normal:3",
    lambda a, b: _L.solve(a, b, assume_a="pos"),
    forms="zeros",
)
_add(
    "solve_triangular",
    "lower:3,3 normal:3",
    lambda a, b: _L.solve_triangular(a, b, lower=True),
    forms="zeros",
)
_add("svd", "regular:3,3", lambda a: _L.svd(a, compute_uv=False), forms="")

FFT = Library("jax.scipy.fft")
for name in ("dct", "dctn", "idct", "idctn"):
    FFT.add(name, "normal:3,4", forms="zeros integers mixed")
    FFT.add(
        f"{name}, orthonormal",
        "normal:3,4",
        lambda x, name=name: getattr(scipy.fft, name)(x, norm="ortho"),
        forms="zeros",
    )

INTEGRATE = Library("jax.scipy.integrate")
INTEGRATE.add(
    "trapezoid",
    "normal:4 distinct:4",
    lambda y, x: scipy.integrate.trapezoid(y, x),
    forms="zeros mixed",
)

INTERPOLATE = Library("jax.scipy.interpolate")
for method in ("linear", "nearest"):
    INTERPOLATE.add(
        f"RegularGridInterpolator, {method}",
        "normal:3,4 unit:2,2",
        lambda v, x, method=method: __import__(
            "jax.scipy.interpolate"
        ).scipy.interpolate.RegularGridInterpolator(
            (jnp.linspace(0, 1, 3), jnp.linspace(0, 1, 4)), v, method
        )(x),
        forms="zeros",
    )

NDIMAGE = Library("jax.scipy.ndimage")
for order in (0, 1):
    NDIMAGE.add(
        f"map_coordinates, order {order}",
        "normal:3,4 positive:2,3",
        lambda x, c, order=order: scipy.ndimage.map_coordinates(x, list(0.6 * c), order),
        forms="zeros",
    )
NDIMAGE.add(
    "map_coordinates, at pixels",
    "normal:3,4",
    lambda x: scipy.ndimage.map_coordinates(x, [np.array([0.0, 1.0]), np.array([2.0, 3.0])], 1),
    forms="zeros",
)

IMAGE = Library("jax.image")
for method in ("nearest", "linear", "cubic", "lanczos3", "lanczos5"):
    IMAGE.add(
        f"resize, {method}",
        "normal:1,3,4,2",
        lambda x, method=method: jax.image.resize(x, (1, 5, 3, 2), method),
        forms="zeros mixed",
    )
IMAGE.add(
    "scale_and_translate",
    "normal:4,3 positive:2 normal:2",
    lambda x, s, t: jax.image.scale_and_translate(x, (5, 4), (0, 1), s, t, "linear"),
    forms="zeros",
)
IMAGE.add(
    "scale_and_translate, cubic",
    "normal:4,3 positive:2 normal:2",
    lambda x, s, t: jax.image.scale_and_translate(x, (5, 4), (0, 1), s, t, "cubic"),
    forms="zeros",
)

SEGMENTS = np.array([0, 1, 1, 2, 1])
OPS = Library("jax.ops")
for name in ("segment_sum", "segment_max", "segment_min"):
    OPS.add(
        name,
        "distinct:5,2",
        lambda x, name=name: getattr(jax.ops, name)(x, SEGMENTS, 3),
        forms="zeros integers mixed",
    )
OPS.add(
    "segment_prod",
    "distinct:3,2",
    # JAX has a derivative only for segments of one element.
    lambda x: jax.ops.segment_prod(x, np.array([0, 2, 1]), 3, unique_indices=True),
    forms="zeros integers",
)

STATS = Library("jax.scipy.stats")
STATS.add("sem", "normal:4", forms="huge")
