"""Functions of complex arrays, and with complex results: right rules pass, conjugates are named.

Covers jaxconv/verify/_problem.py, jaxconv/verify/diagnosis/_complex_slips.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify

from .rules import with_vjp


def complex_normal(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape), "complex64")


Z, M = complex_normal(5), complex_normal(5, 3, seed=1)


def squared_size(z):
    return (z * z.conj()).real


def _sin(z):
    return jnp.sin(z)


sin = jax.custom_jvp(_sin)
sin.defjvp(lambda primals, tangents: (_sin(*primals), jnp.cos(primals[0]) * tangents[0]))

RIGHT = {
    "holomorphic": (jnp.exp, (Z,)),
    "to real": (squared_size, (Z,)),
    "from real": (jnp.fft.rfft, (jnp.arange(6.0),)),
    "pytree": (lambda p: {"a": jnp.abs(p["z"]) * p["s"]}, ({"z": Z, "s": jnp.ones(5)},)),
    "scalar of Python": (lambda z: z * z, (1.5 + 2j,)),
    "kink": (jnp.abs, (jnp.array([0j, 1 + 1j]),)),
    "eigenvalues": (lambda z: jnp.linalg.eigh(z + z.conj().T)[0], (complex_normal(3, 3),)),
    "JVP": (sin, (Z,)),
    "VJP": (with_vjp(jnp.matmul, lambda true, args, w: true), (Z, M)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name):
    f, args = RIGHT[name]
    report = verify.check_gradients(f, args, seed=1)
    assert report.ok, report


def test_gradient_is_that_of_the_parts():
    gradients = verify.check_gradients(squared_size, (Z,), modes="reverse", order=1).gradients
    assert list(gradients) == ["z.real", "z.imag"]
    real, imag = (gradient.true for gradient in gradients.values())
    # d|z|^2 = 2a da + 2b db, so the gradients have the ratio of the parts.
    np.testing.assert_allclose(real * Z.imag, imag * Z.real, rtol=1e-6)


def fft(a):
    return jnp.fft.fft(a)


def rfft(a):
    return jnp.fft.rfft(a)


def product(a, b, c):
    return a * b * c


def _adjoint(true, args, w):
    z, m = args
    return m.conj() @ w, jnp.outer(z.conj(), w)


WRONG = {
    "gradient conjugated": (
        squared_size,
        lambda true, args, w: (true[0].conj(),),
        (Z,),
        {"z.imag": "gradient conjugated"},
    ),
    "adjoint": (
        jnp.matmul,
        _adjoint,
        (Z, M),
        dict.fromkeys(
            ("a.real", "a.imag", "b.real", "b.imag"), "adjoint in place of the transpose"
        ),
    ),
    "adjoint with another scale": (
        fft,
        lambda true, args, w: (jnp.fft.ifft(w),),
        (Z,),
        dict.fromkeys(("a.real", "a.imag"), "adjoint in place of the transpose"),
    ),
    "cotangent conjugated": (
        jnp.matmul,
        lambda true, args, w: (args[1] @ w.conj(), true[1]),
        (Z, M),
        dict.fromkeys(("a.real", "a.imag"), "cotangent conjugated"),
    ),
    "cotangent conjugated, real argument": (
        rfft,
        lambda true, args, w: (jax.vjp(rfft, args[0])[1](w.conj())[0],),
        (jnp.arange(6.0),),
        {"a": "cotangent conjugated"},
    ),
    "argument conjugated": (
        product,
        lambda true, args, w: (w * args[1].conj() * args[2], *true[1:]),
        (Z, M[:, 0].repeat(2)[:5], Z[::-1]),
        dict.fromkeys(("a.real", "a.imag"), "conjugate of an argument confused"),
    ),
    "sign of both parts": (
        squared_size,
        lambda true, args, w: (-true[0],),
        (Z,),
        dict.fromkeys(("z.real", "z.imag"), "wrong sign"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name):
    f, rule, args, expected = WRONG[name]
    report = verify.check_gradients(with_vjp(f, rule), args, modes="reverse", order=1)
    assert {failure.argument: failure.diagnosis for failure in report.failures} == expected


def test_infinite_part():
    with pytest.raises(ValueError, match=r"check_gradients: z must be finite"):
        verify.check_gradients(squared_size, (Z.at[0].set(complex(0, np.inf)),))
