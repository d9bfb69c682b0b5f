"""`jax.numpy.linalg` and `jax.numpy.fft`."""

import jax.numpy as jnp

from .entries import Library, of_parts, parts

LINALG = Library("jax.numpy.linalg")
_L = jnp.linalg
_lin = LINALG.add
_lin(
    "cholesky",
    "definite:3,3",
    lambda a: _L.cholesky(a),
    forms="",
    at=[([[4.0, 0], [0, 0.25]],), ([[1.0, 0], [0, 1]],)],
)
_lin("inv", "regular:3,3", forms="", at=[(jnp.eye(3),), ([[1e8, 0.0], [0, 1e-8]],)])
_lin("det", "normal:3,3", forms="zeros integers huge", at=[(jnp.eye(3),), ([[1.0, 2], [2, 4]],)])
_lin("slogdet", "normal:3,3", lambda a: _L.slogdet(a)[1], forms="huge", at=[(jnp.eye(3),)])
_lin("cond", "regular:3,3", forms="")
_lin("eigh", "symmetric:3,3", lambda a: (lambda r: (r[0], r[1] ** 2))(_L.eigh(a)), forms="")
_lin("eigvalsh", "symmetric:3,3", forms="", at=[([[2.0, 0], [0, 1]],)])
_lin("eigvals", "normal:3,3", lambda a: parts(_L.eigvals(a)), forms="", order=1)
_lin("lstsq", "normal:4,2 normal:4", lambda a, b: _L.lstsq(a, b)[0], forms="")
_lin("matrix_norm", "regular:3,3", forms="")
_lin("matrix_norm, nuclear", "regular:3,3", lambda a: _L.matrix_norm(a, ord="nuc"), forms="")
_lin("matrix_power", "normal:3,3", lambda a: _L.matrix_power(a, 3), forms="zeros integers")
_lin("matrix_power, inverse", "regular:3,3", lambda a: _L.matrix_power(a, -2), forms="")
_lin(
    "multi_dot", "normal:2,3 normal:3,2 normal:2,3", lambda *a: _L.multi_dot(a), forms="zeros mixed"
)
_lin("norm", "normal:2,3", lambda x: _L.norm(x, axis=1), forms="huge tiny mixed")
_lin("norm, one", "normal:2,3", lambda x: _L.norm(x, 1, axis=1), forms="zeros mixed")
_lin("norm, inf", "normal:2,3", lambda x: _L.norm(x, jnp.inf, axis=1), forms="zeros integers")
_lin("norm, three", "normal:2,3", lambda x: _L.norm(x, 3, axis=1), forms="tiny")
_lin("vector_norm", "normal:2,3", forms="huge tiny")
_lin("pinv", "normal:4,2", forms="")
_lin("qr", "regular:3,3", lambda a: _L.qr(a), forms="", at=[(jnp.eye(2),)])
_lin("solve", "regular:3,3 normal:3", forms="zeros", at=[(jnp.eye(2), [0.0, 1.0])])
_lin("svd", "regular:3,3", lambda a: (lambda r: (r[0] ** 2, r[1], r[2] ** 2))(_L.svd(a)), forms="")
_lin("svdvals", "normal:3,2", forms="")
_lin("tensorinv", "regular:4,4", lambda a: _L.tensorinv(a.reshape(4, 2, 2), 1), forms="")
_lin(
    "tensorsolve",
    "regular:4,4 normal:4",
    lambda a, b: _L.tensorsolve(a.reshape(4, 2, 2), b),
    forms="",
)
for name in ("cross", "outer", "vecdot"):
    _lin(name, "normal:3 normal:3", forms="zeros mixed")
for name in ("matmul", "tensordot"):
    _lin(
        name,
        "normal:3,3 normal:3,3",
        None if name == "matmul" else lambda a, b: _L.tensordot(a, b, axes=1),
        forms="zeros mixed",
    )
for name in ("diagonal", "matrix_transpose", "trace"):
    _lin(name, "normal:3,3", forms="zeros mixed")

FFT = Library("jax.numpy.fft")
_F = jnp.fft
for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "hfft"):
    FFT.add(
        name,
        "normal:3,4 normal:3,4",
        of_parts(getattr(_F, name), name != "hfft"),
        forms="zeros mixed huge",
    )
for name in ("irfft", "irfft2", "irfftn"):
    FFT.add(name, "normal:3,4 normal:3,4", of_parts(getattr(_F, name), False), forms="zeros mixed")
for name in ("rfft", "rfft2", "rfftn", "ihfft"):
    FFT.add(
        name,
        "normal:3,4",
        lambda x, name=name: parts(getattr(_F, name)(x)),
        forms="zeros mixed huge",
    )
for name in ("fftshift", "ifftshift"):
    FFT.add(name, "normal:3,4", forms="zeros mixed")
