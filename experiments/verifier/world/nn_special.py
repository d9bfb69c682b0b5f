"""`jax.nn` and `jax.scipy.special`."""

import jax
import jax.numpy as jnp

from .entries import Library

NN = Library("jax.nn")
NN.each(
    "celu elu gelu hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid mish relu relu6 selu"
)
NN.each("sigmoid silu soft_sign softplus sparse_plus sparse_sigmoid squareplus tanh identity")
NN.each("hard_swish swish")
NN.each("gelu", label="exact", call=lambda f: lambda x: f(x, approximate=False))
NN.each("log1mexp", "positive")
NN.each(
    "celu elu",
    label="alpha",
    args="normal positive",
    rows=((0, 1), (-1, 2), (1, 0.5), (-30, 1)),
    call=lambda f: lambda x, a: f(x, a),
)
NN.each(
    "leaky_relu",
    label="slope",
    args="normal normal",
    rows=((0, 1), (-1, 2), (1, 0.5)),
    call=lambda f: lambda x, a: f(x, a),
)
for name in ("softmax", "log_softmax", "logsumexp", "logmeanexp"):
    NN.add(name, "normal:2,4", forms="zeros integers mixed huge")
NN.add(
    "softmax, masked",
    "normal:2,4",
    lambda x: jax.nn.softmax(x, where=jnp.arange(4) < 3),
    forms="zeros integers",
)
NN.add(
    "logsumexp, weighted",
    "normal:2,4 positive:2,4",
    lambda x, b: jax.nn.logsumexp(x, 1, b=b),
    forms="zeros integers huge",
)
NN.add("glu", "normal:2,4", forms="zeros integers mixed")
NN.add("standardize", "normal:2,4", forms="integers mixed tiny")
NN.add(
    "dot_product_attention", "normal:1,3,2,4 normal:1,3,2,4 normal:1,3,2,4", forms="zeros integers"
)
NN.add(
    "dot_product_attention, causal",
    "normal:1,3,2,4 normal:1,3,2,4 normal:1,3,2,4",
    lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=True),
    forms="zeros integers",
)
NN.add(
    "dot_product_attention, bias",
    "normal:1,3,2,4 normal:1,3,2,4 normal:1,3,2,4 normal:1,2,3,3",
    lambda q, k, v, b: jax.nn.dot_product_attention(q, k, v, b),
    forms="zeros",
)

SPECIAL = Library("jax.scipy.special")
_S = jax.scipy.special
SPECIAL.each("erf erfc ndtr log_ndtr expit dawsn", "normal")
SPECIAL.each("i0 i1 i0e i1e", "normal", off=(1e4, -1e8, 1e30))
SPECIAL.each("erfcx", "normal", off=(-20.0, -1e8))
SPECIAL.each("erfinv", "inner", also=(1 - 2.0**-20,))
SPECIAL.each("erfcinv", "unit", rows=(0.5, 1.0, 1e-3, 1.5, 1e-8, 1.999))
SPECIAL.each("logit ndtri", "unit")
SPECIAL.each("digamma gammaln loggamma gamma", "positive", off=(1e4, 1e30, 1e-30))
SPECIAL.each(
    "gammaln digamma gamma", "normal", label="negative", rows=(-0.5, -1.5, -2.25, -10.3, 1e-8)
)
SPECIAL.each("factorial", "positive", rows=(0.5, 1.0, 2.0, 5.0), call=lambda f: lambda x: f(x))
SPECIAL.each("spence", "positive", off=(1e30,))
SPECIAL.each("expi exp1", "positive", off=(1e4, 1e30))
SPECIAL.each("expi", "normal", label="negative", rows=(-1.0, -1e-3, -5.0, -30.0))
SPECIAL.each("entr", "positive", off=(1e30,))
SPECIAL.each("sici fresnel", "normal", off=(1e30, 1e4, -1e8))
SPECIAL.each(
    "wofz",
    "normal positive",
    rows=((0, 1), (1, 0.5), (-3, 2), (1e-8, 1)),
    call=lambda f: lambda x, y: (f(x + 1j * y).real, f(x + 1j * y).imag),
)
SPECIAL.each("zeta", "above_one positive", rows=((2, 1), (3, 0.5), (1.5, 4), (10, 1)), order=1)
SPECIAL.each(
    "zeta", "positive", label="of q", rows=(1.0, 0.5, 4.0, 10.0), call=lambda f: lambda q: f(2.5, q)
)
SPECIAL.each("polygamma", "positive", rows=(1.0, 0.5, 4.0, 10.0), call=lambda f: lambda x: f(2, x))
SPECIAL.each(
    "beta betaln", "positive positive", rows=((1, 1), (2, 0.5), (1e-3, 3), (10, 20), (0.5, 0.5))
)
SPECIAL.each("poch", "positive positive", rows=((1, 1), (2, 0.5), (3, 2)), order=1)
SPECIAL.each("poch", "positive", label="of z", rows=(1, 2, 0.5), call=lambda f: lambda z: f(z, 2.0))
SPECIAL.each("comb", "positive positive", rows=((5, 2), (4.5, 1.5)), order=1)
SPECIAL.each(
    "betainc",
    "unit",
    rows=(0.5, 0.25, 1e-3, 0.999),
    call=lambda f: lambda x: f(2.0, 3.5, x),
    label="of x",
)
SPECIAL.each(
    "gammainc gammaincc",
    "positive",
    rows=(0.5, 1.0, 1e-3, 5.0, 20.0),
    call=lambda f: lambda x: f(2.5, x),
    label="of x",
)
SPECIAL.each(
    "gammainc gammaincc",
    "positive positive",
    rows=((0.5, 1.0), (1, 1), (2, 1e-3), (5, 20)),
    order=1,
)
SPECIAL.each(
    "boxcox boxcox1p", "positive normal", rows=((1, 1), (2, 0.5), (3, 0), (0.5, -1), (2, 1e-8))
)
SPECIAL.each(
    "xlogy xlog1py", "normal positive", rows=((0, 1), (0, 2), (1, 1), (-2, 1e-8), (1e-30, 3))
)
SPECIAL.each("kl_div rel_entr", "positive positive", rows=((1, 1), (2, 0.5), (1e-8, 1), (3, 4)))
SPECIAL.each(
    "hyp1f1",
    "normal",
    rows=(0.5, -1.0, 2.0, 1e-8),
    call=lambda f: lambda x: f(1.5, 2.5, x),
    label="of x",
)
SPECIAL.each(
    "hyp2f1",
    "inner",
    rows=(0.5, -0.5, 0.25, 1e-8),
    call=lambda f: lambda x: f(1.5, 2.5, 3.2, x),
    label="of x",
)
SPECIAL.each("owens_t", "normal normal", rows=((0, 1), (1, 0), (-1, 2), (3, 0.5)))
SPECIAL.each("expn", "positive", rows=(0.5, 1.0, 3.0, 10.0), call=lambda f: lambda x: f(3, x))
SPECIAL.each(
    "multigammaln", "positive", rows=(3.0, 2.5, 10.0), call=lambda f: lambda x: f(x + 2, 3)
)
SPECIAL.each(
    "bessel_jn", "positive", rows=(0.5, 1.0, 3.0), call=lambda f: lambda x: f(x, v=3, n_iter=12)
)
SPECIAL.add(
    "sph_harm_y",
    "positive:2 positive:2",
    lambda t, p: _S.sph_harm_y(jnp.array([2]), jnp.array([1]), t, p, n_max=2).real,
    forms="",
)
SPECIAL.add("logsumexp", "normal:2,4", forms="zeros integers mixed huge")
SPECIAL.add(
    "logsumexp, signs",
    "normal:2,4 normal:2,4",
    lambda x, b: _S.logsumexp(x, 1, b=b, return_sign=True)[0],
    forms="",
)
SPECIAL.add("softmax", "normal:2,4", forms="zeros integers mixed huge")
SPECIAL.add("log_softmax", "normal:2,4", forms="zeros integers mixed huge")
