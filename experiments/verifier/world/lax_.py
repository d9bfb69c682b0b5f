"""`jax.lax` and `jax.lax.linalg`."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .entries import Library, parts

LAX = Library("jax.lax")
# Scatters the rows of a matrix to given indices.
ROWS = lax.ScatterDimensionNumbers((1,), (0,), (0,))
ONE_EACH = np.array([1, 1], "int32")
LAST, FIRST, TWICE = np.array([[1]]), np.array([[0], [1], [1]]), np.array([[1], [1]])
_APART = ((2.0, -1.0), (-2.0, 3.0), (0.0, 1e-3), (0.5, 0.0), (1e8, -1e8))
_PAIRS = ((0.0, 0.0), (1.0, 1.0), (-2.0, 3.0), (1e-30, 1.0), (1e8, -1e8), (1.0, 1e12))

LAX.each("sin cos", off=(1e30,))
LAX.each("abs neg atan asinh square erf logistic bessel_i0e bessel_i1e")
LAX.each("exp exp2 expm1 sinh cosh", off=(1e4, 1e30, -1e8))
LAX.each("erfc tanh", off=(1e30,))
LAX.each("tan", off=(1e30,))
LAX.each("asin acos atanh erf_inv one_minus_square", "inner")
LAX.each("acosh", "above_one")
LAX.each("log log2 sqrt rsqrt reciprocal", "positive")
LAX.each("log1p", "positive", also=(0.0, -0.5, -1e-8, -0.999))
LAX.each("cbrt", off=(0.0,))
LAX.each("digamma lgamma", "positive", off=(1e30, 1e-30))
LAX.each("sign floor ceil round", "normal", rows=(0.4, -0.7, 2.3, 1e-8, 1234.4))
LAX.each("conj", call=lambda f: lambda x: parts(f(x + 2j * x)))
LAX.each("real imag", call=lambda f: lambda x: f(x + 2j * x))
LAX.each("complex", "normal normal", rows=_PAIRS, call=lambda f: lambda x, y: parts(f(x, y)))
LAX.each("add sub mul max min", "normal normal", rows=_PAIRS)
LAX.each("div", "normal positive", rows=((1, 1), (-2, 3), (1e-30, 1), (0, 2), (1, 1e12)))
LAX.each("rem", "normal positive", rows=((0.5, 1), (-0.5, 1), (2.5, 1), (1e-8, 3)))
LAX.each("pow", "positive normal", rows=((1, 0), (1, 2), (2, 0), (2, -1), (1e-8, 2), (3, 0.5)))
LAX.each("integer_pow", call=lambda f: lambda x: f(x, 3))
LAX.each(
    "integer_pow", "positive", label="negative", call=lambda f: lambda x: f(x, -2), off=(1e-30,)
)
LAX.each("atan2", "normal normal", rows=((0, 1), (1, 0), (-1, 1e-8), (1, -1), (1e8, 1)))
LAX.each("nextafter", "normal normal", rows=((1, 2),), order=1)
LAX.each("clamp", "normal", call=lambda f: lambda x: f(-1.0, x, 2.0))
LAX.each(
    "clamp",
    "normal normal",
    label="by an array",
    rows=((-1, 0.5), (0, 3), (1, 1)),
    call=lambda f: lambda low, x: f(low, x, 5.0),
)
LAX.each("select", "normal normal", rows=_APART, call=lambda f: lambda x, y: f(x > y, x, 2 * y))
LAX.each("select_n", "normal normal", rows=_APART, call=lambda f: lambda x, y: f(x > y, x, 2 * y))
LAX.each(
    "igamma igammac",
    "positive",
    label="of x",
    rows=(0.5, 1.0, 1e-3, 5.0, 20.0),
    call=lambda f: lambda x: f(jnp.full_like(x, 2.5), x),
)
LAX.each(
    "igamma igammac", "positive positive", rows=((0.5, 1), (1, 1), (2, 1e-3), (5, 20)), order=1
)
LAX.each(
    "betainc",
    "unit",
    label="of x",
    rows=(0.5, 1e-3, 0.999),
    call=lambda f: lambda x: f(jnp.full_like(x, 2), jnp.full_like(x, 3.5), x),
)
LAX.each(
    "polygamma",
    "positive",
    rows=(1.0, 0.5, 4.0),
    call=lambda f: lambda x: f(jnp.full_like(x, 2), x),
)
LAX.each(
    "reduce_precision",
    "normal",
    rows=(0.5, -2.0),
    # As many bits as the dtype has, since the rule rounds the tangent, too.
    call=lambda f: lambda x: f(x, *((11, 52) if x.dtype == jnp.float64 else (8, 23))),
    order=1,
)
LAX.each("stop_gradient optimization_barrier", "normal")
LAX.each("convert_element_type", call=lambda f: lambda x: f(x, x.dtype))
LAX.each(
    "polynomial", "normal", rows=(0, 1, -2, 1e-8), call=lambda f: lambda x: f(x, [1.0, -2.0, 0.5])
)

# Functions that move elements, and linear reductions.
for name, f in {
    "broadcast": lambda x: lax.broadcast(x, (2,)),
    "broadcast_in_dim": lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)),
    "broadcast_like": lambda x: lax.broadcast_like(x[:1], x),
    "broadcast_to_rank": lambda x: lax.broadcast_to_rank(x, 3),
    "collapse": lambda x: lax.collapse(x, 0),
    "expand_dims": lambda x: lax.expand_dims(x, (1,)),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (1, 1), (1, 2)),
    "dynamic_slice_in_dim": lambda x: lax.dynamic_slice_in_dim(x, 1, 2, 1),
    "dynamic_index_in_dim": lambda x: lax.dynamic_index_in_dim(x, 1, 1),
    "index_in_dim": lambda x: lax.index_in_dim(x, 1, 1),
    "index_take": lambda x: lax.index_take(x, (np.array([0, 1, 1]), np.array([2, 2, 0])), (0, 1)),
    "slice": lambda x: lax.slice(x, (0, 0), (2, 3), (1, 2)),
    "slice_in_dim": lambda x: lax.slice_in_dim(x, 0, 3, 2, 1),
    "split": lambda x: lax.split(x, (1, 2), 1),
    "unstack": lambda x: lax.unstack(x),
    "pad": lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((1, 0, 1), (-1, 2, 0))),
    "reshape": lambda x: lax.reshape(x, (3, 2)),
    "rev": lambda x: lax.rev(x, (1,)),
    "squeeze": lambda x: lax.squeeze(x[None], (0,)),
    "tile": lambda x: lax.tile(x, (2, 2)),
    "transpose": lambda x: lax.transpose(x, (1, 0)),
    "gather": lambda x: lax.gather(x, FIRST, lax.GatherDimensionNumbers((1,), (0,), (0,)), (1, 3)),
    "full": lambda x: lax.full((2, 2), x[0, 0]),
    "full_like": lambda x: lax.full_like(x, 0) + x,
    "cumsum": lambda x: lax.cumsum(x, 1),
    "reduce_sum": lambda x: lax.reduce_sum(x, (1,)),
    "reduce": lambda x: lax.reduce(x, jnp.zeros((), x.dtype), lax.add, (1,)),
    "reduce_window": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "SAME"),
    "associative_scan": lambda x: lax.associative_scan(jnp.add, x, axis=1),
    "fft": lambda x: parts(lax.fft(x + 0j, "fft", (3,))),
    "map": lambda x: lax.map(jnp.sin, x),
    "scan": lambda x: lax.scan(lambda c, a: (jnp.sin(c) + a, c * a), x[0], x),
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) + x, x),
    "cond": lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
    "switch": lambda x: lax.switch(1, [jnp.sin, jnp.tanh], x),
    "platform_dependent": lambda x: lax.platform_dependent(x, default=jnp.sin),
    "conv_general_dilated_patches": lambda x: lax.conv_general_dilated_patches(
        x[None, None], (2, 2), (1, 1), "SAME"
    ),
    "approx_max_k": lambda x: lax.approx_max_k(x, 1)[0],
    "approx_min_k": lambda x: lax.approx_min_k(x, 1)[0],
}.items():
    LAX.add(
        name,
        "distinct:2,3",
        f,
        forms="zeros mixed"
        if name not in ("scan", "map", "fori_loop", "cond", "switch", "platform_dependent")
        else "zeros integers",
    )
for name, f in {
    "concatenate": lambda x, y: lax.concatenate([x, y], 1),
    "stack": lambda x, y: lax.stack([x, y], 0),
    "dynamic_update_slice": lambda x, y: lax.dynamic_update_slice(x, y[:1, :2], (1, 1)),
    "dynamic_update_slice_in_dim": lambda x, y: lax.dynamic_update_slice_in_dim(x, y[:, :1], 1, 1),
    "dynamic_update_index_in_dim": lambda x, y: lax.dynamic_update_index_in_dim(x, y[0], 1, 0),
    "scatter": lambda x, y: lax.scatter(x, LAST, y[:1], ROWS, unique_indices=True),
    "scatter_add": lambda x, y: lax.scatter_add(x, TWICE, y, ROWS),
    "scatter_sub": lambda x, y: lax.scatter_sub(x, TWICE, y, ROWS),
    "scatter_mul": lambda x, y: lax.scatter_mul(x, LAST, y[:1], ROWS, unique_indices=True),
    "scatter_min": lambda x, y: lax.scatter_min(x, LAST, y[:1], ROWS),
    "scatter_max": lambda x, y: lax.scatter_max(x, LAST, y[:1], ROWS),
    "dot": lambda x, y: lax.dot(x, y.T),
    "dot_general": lambda x, y: lax.dot_general(x, y, (((1,), (1,)), ((), ()))),
    "batch_matmul": lambda x, y: lax.batch_matmul(x[:, None], y[:, :, None]),
    "ragged_dot": lambda x, y: lax.ragged_dot(x, jnp.stack([y.T, 2 * y.T]), ONE_EACH),
    "ragged_dot_general": lambda x, y: lax.ragged_dot_general(
        x,
        jnp.stack([y.T, 2 * y.T]),
        ONE_EACH,
        lax.RaggedDotDimensionNumbers((((1,), (1,)), ((), ())), [0], [0]),
    ),
}.items():
    LAX.add(
        name,
        "normal:2,3 distinct:2,3",
        f,
        forms="zeros integers mixed" if "scatter_m" not in name else "integers mixed",
    )
LAX.all(
    {
        "cummax": lambda x: lax.cummax(x, 1),
        "cummin": lambda x: lax.cummin(x, 1),
        "reduce_max": lambda x: lax.reduce_max(x, (1,)),
        "reduce_min": lambda x: lax.reduce_min(x, (1,)),
        "sort": lambda x: lax.sort(x, dimension=1),
        "sort_key_val": lambda x: lax.sort_key_val(x[0], x[1]),
        "top_k": lambda x: lax.top_k(x, 2)[0],
        "reduce_window, largest": lambda x: lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 2), (1, 1), "VALID"
        ),
    },
    "distinct:2,4",
    "zeros integers mixed",
)
LAX.add("cumlogsumexp", "normal:2,3", lambda x: lax.cumlogsumexp(x, 1), forms="zeros integers huge")
LAX.add("cumprod", "normal:2,3", lambda x: lax.cumprod(x, 1), forms="zeros integers")
LAX.add("reduce_prod", "normal:2,3", lambda x: lax.reduce_prod(x, (1,)), forms="zeros integers")
LAX.all(
    {
        "conv": lambda x, k: lax.conv(x, k, (1, 1), "SAME"),
        "conv_with_general_padding": lambda x, k: lax.conv_with_general_padding(
            x, k, (2, 2), ((1, 1), (0, 1)), (1, 1), (1, 1)
        ),
        "conv_general_dilated": lambda x, k: lax.conv_general_dilated(
            x, k, (1, 1), ((1, 1), (1, 0)), (2, 2), (1, 2)
        ),
        "conv_transpose": lambda x, k: lax.conv_transpose(
            x, k, (2, 2), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        ),
    },
    "normal:1,2,4,4 normal:2,2,2,2",
    "zeros mixed",
)
LAX.add(
    "conv_general_dilated_local",
    "normal:1,1,3,3 normal:1,4,2,2",
    lambda x, k: lax.conv_general_dilated_local(x, k, (1, 1), "VALID", (2, 2)),
    forms="zeros",
)
LAX.add(
    "custom_root",
    "positive:3",
    lambda a: lax.custom_root(
        lambda x: x**3 - a,
        jnp.ones_like(a),
        lambda f, x: lax.fori_loop(0, 40, lambda i, x: x - f(x) / (3 * x**2), x),
        lambda g, y: y / g(jnp.ones_like(y)),
    ),
    forms="",
    order=1,
)
LAX.add(
    "custom_linear_solve",
    "regular:3,3 normal:3",
    lambda a, b: lax.custom_linear_solve(
        lambda x: a @ x, b, lambda _, b: jnp.linalg.inv(a) @ b, lambda _, b: jnp.linalg.inv(a).T @ b
    ),
    forms="zeros",
)

for name, f in {
    "psum": lambda x: lax.psum(x, "n"),
    "pmean": lambda x: lax.pmean(x, "n"),
    "ppermute": lambda x: lax.ppermute(x, "n", [(0, 1), (1, 2), (2, 0)]),
    "pshuffle": lambda x: lax.pshuffle(x, "n", [2, 0, 1]),
    "all_gather": lambda x: lax.all_gather(x, "n"),
    "all_to_all": lambda x: lax.all_to_all(x, "n", 0, 0),
    "pswapaxes": lambda x: lax.pswapaxes(x, "n", 0),
    "psum_scatter": lambda x: lax.psum_scatter(x, "n"),
}.items():
    LAX.add(name, "normal:3,3", jax.vmap(f, axis_name="n"), forms="zeros mixed")

LINALG = Library("jax.lax.linalg")
_L = lax.linalg
LINALG.add("cholesky", "definite:3,3", lambda a: _L.cholesky(a), forms="")
LINALG.add("eigh", "symmetric:3,3", lambda a: (lambda r: (r[0] ** 2, r[1]))(_L.eigh(a)), forms="")
LINALG.add(
    "eig",
    "normal:3,3",
    lambda a: parts(
        _L.eig(a, compute_left_eigenvectors=False, compute_right_eigenvectors=False)[0]
    ),
    forms="",
    order=1,
)
LINALG.add("lu", "regular:3,3", lambda a: _L.lu(a)[0], forms="")
LINALG.add("qr", "regular:3,3", lambda a: _L.qr(a, full_matrices=False), forms="")
LINALG.add("svd", "regular:3,3", lambda a: _L.svd(a)[1], forms="")
LINALG.add(
    "triangular_solve",
    "lower:3,3 normal:3,2",
    lambda a, b: _L.triangular_solve(a, b, left_side=True, lower=True),
    forms="zeros",
)
LINALG.add(
    "tridiagonal_solve",
    "above_one:4 positive:4 normal:4,2",
    lambda d, l, b: _L.tridiagonal_solve(0.3 * l.at[0].set(0), d + 2, 0.2 * l.at[-1].set(0), b),
    forms="",
)
