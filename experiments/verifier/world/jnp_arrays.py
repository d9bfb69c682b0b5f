"""Functions of `jax.numpy` of whole arrays."""

import jax.numpy as jnp
import numpy as np

from .entries import Library, parts

ARRAYS = Library("jax.numpy")
_add = ARRAYS.add
MASK = np.array([[True, False, True], [True, True, False]])

# Functions that move elements, and linear reductions.
for name in (
    *("ravel", "transpose", "matrix_transpose", "flip", "fliplr", "flipud"),
    *("rot90", "squeeze", "atleast_1d", "atleast_2d", "atleast_3d", "array", "asarray"),
    *("copy", "tril", "triu", "diagonal", "trace", "block"),
):
    _add(name, "normal:3,3", forms="zeros mixed")
ARRAYS.all(
    {
        "reshape": lambda x: jnp.reshape(x, (3, 2)),
        "permute_dims": lambda x: jnp.permute_dims(x, (1, 0)),
        "resize": lambda x: jnp.resize(x, (4, 3)),
        "moveaxis": lambda x: jnp.moveaxis(x, 0, 1),
        "rollaxis": lambda x: jnp.rollaxis(x, 1),
        "swapaxes": lambda x: jnp.swapaxes(x, 0, 1),
        "roll": lambda x: jnp.roll(x, 1, 1),
        "expand_dims": lambda x: jnp.expand_dims(x, 1),
        "broadcast_to": lambda x: jnp.broadcast_to(x, (4, 2, 3)),
        "repeat": lambda x: jnp.repeat(x, np.array([2, 0, 1]), 1, total_repeat_length=3),
        "tile": lambda x: jnp.tile(x, (2, 2)),
        "pad": lambda x: jnp.pad(x, ((1, 2), (0, 1))),
        "pad, reflect": lambda x: jnp.pad(x, 1, mode="reflect"),
        "pad, mean": lambda x: jnp.pad(x, 1, mode="mean"),
        "pad, linear_ramp": lambda x: jnp.pad(x, 2, mode="linear_ramp"),
        "take": lambda x: jnp.take(x, np.array([0, 2, 2]), 1),
        "take_along_axis": lambda x: jnp.take_along_axis(x, np.array([[0], [2]]), 1),
        "choose": lambda x: jnp.choose(np.array([0, 1, 1]), list(x), mode="clip"),
        "compress": lambda x: jnp.compress(np.array([True, False, True]), x, 1, size=2),
        "extract": lambda x: jnp.extract(MASK, x, size=4),
        "delete": lambda x: jnp.delete(x, 1, 1),
        "diag": lambda x: jnp.diag(x[0]),
        "diagflat": lambda x: jnp.diagflat(x),
        "split": lambda x: jnp.split(x, 3, 1),
        "array_split": lambda x: jnp.array_split(x, 2, 1),
        "hsplit": lambda x: jnp.hsplit(x, 3),
        "vsplit": lambda x: jnp.vsplit(x, 2),
        "dsplit": lambda x: jnp.dsplit(x[None], 3),
        "unstack": lambda x: jnp.unstack(x),
        "apply_along_axis": lambda x: jnp.apply_along_axis(jnp.cumsum, 1, x),
        "apply_over_axes": lambda x: jnp.apply_over_axes(jnp.sum, x, [0, 1]),
        "vectorize": lambda x: jnp.vectorize(jnp.sin)(x),
        "frompyfunc": lambda x: jnp.frompyfunc(lambda a, b: a + jnp.sin(b), 2, 1)(x, x),
        "full": lambda x: jnp.full((2, 2), x[0, 0]),
        "full_like": lambda x: jnp.full_like(x, x[0, 0]),
        "sum": lambda x: jnp.sum(x, 1),
        "mean": lambda x: jnp.mean(x, 1),
        "nansum": jnp.nansum,
        "nanmean": jnp.nanmean,
        "cumsum": lambda x: jnp.cumsum(x, 1),
        "nancumsum": lambda x: jnp.nancumsum(x, 1),
        "cumulative_sum": lambda x: jnp.cumulative_sum(x, axis=1),
        "diff": lambda x: jnp.diff(x, n=2),
        "ediff1d": jnp.ediff1d,
        "gradient": lambda x: jnp.gradient(x, axis=1),
        "trapezoid": jnp.trapezoid,
        "real, complex": lambda x: jnp.real(x * (1 + 2j)),
        "vander": lambda x: jnp.vander(x[0], 3),
        "polyder": lambda x: jnp.polyder(x[0]),
        "polyint": lambda x: jnp.polyint(x[0]),
        "sort_complex": lambda x: parts(jnp.sort_complex(x[0] + 0j)),
        "meshgrid": lambda x: jnp.meshgrid(x[0], x[1]),
    },
    "distinct:2,3",
    "zeros mixed",
)
_two = "normal:2,3 normal:2,3"
ARRAYS.all(
    {
        "concatenate": lambda x, y: jnp.concatenate([x, y], 1),
        "concat": lambda x, y: jnp.concat([x, y], axis=1),
        "append": lambda x, y: jnp.append(x, y),
        "stack": lambda x, y: jnp.stack([x, y]),
        "hstack": lambda x, y: jnp.hstack([x, y]),
        "vstack": lambda x, y: jnp.vstack([x, y]),
        "dstack": lambda x, y: jnp.dstack([x, y]),
        "column_stack": lambda x, y: jnp.column_stack([x, y]),
        "broadcast_arrays": lambda x, y: jnp.broadcast_arrays(x[:, :1], y),
        "insert": lambda x, y: jnp.insert(x, 1, y[:, 0], axis=1),
        "put": lambda x, y: jnp.put(x, np.array([0, 4]), y[0, :2], inplace=False),
        "put_along_axis": lambda x, y: jnp.put_along_axis(
            x, np.array([[0], [2]]), y[:, :1], 1, inplace=False
        ),
        "place": lambda x, y: jnp.place(x, MASK, y[0], inplace=False),
        "fill_diagonal": lambda x, y: jnp.fill_diagonal(x, y[0, 0], inplace=False),
        "dot": lambda x, y: jnp.dot(x, y.T),
        "vdot": jnp.vdot,
        "inner": jnp.inner,
        "outer": jnp.outer,
        "matmul": lambda x, y: jnp.matmul(x, y.T),
        "matvec": lambda x, y: jnp.matvec(x, y[0]),
        "vecmat": lambda x, y: jnp.vecmat(x[:, 0], y),
        "vecdot": jnp.vecdot,
        "tensordot": lambda x, y: jnp.tensordot(x, y, ((1,), (1,))),
        "einsum": lambda x, y: jnp.einsum("ij,kj->ik", x, y),
        "kron": jnp.kron,
        "cross": jnp.cross,
        "convolve": lambda x, y: jnp.convolve(x[0], y[0]),
        "correlate": lambda x, y: jnp.correlate(x[0], y[0], "full"),
        "polyadd": lambda x, y: jnp.polyadd(x[0], y[0, :2]),
        "polysub": lambda x, y: jnp.polysub(x[0], y[0]),
        "polymul": lambda x, y: jnp.polymul(x[0], y[0]),
        "polyval": lambda x, y: jnp.polyval(x[0], y),
        "linspace": lambda x, y: jnp.linspace(x, y, 4),
        "trapezoid, of both": lambda x, y: jnp.trapezoid(x, y),
        "piecewise, two": lambda x, y: jnp.piecewise(x, [x < y], [lambda x: x**2, lambda x: -x]),
    },
    _two,
    "zeros integers mixed",
)
ARRAYS.all(
    {
        "max": lambda x: jnp.max(x, 1),
        "min": lambda x: jnp.min(x, 1),
        "amax": jnp.amax,
        "amin": jnp.amin,
        "nanmax": jnp.nanmax,
        "nanmin": jnp.nanmin,
        "minmax": lambda x: jnp.minmax(x),
        "ptp": jnp.ptp,
        "sort": lambda x: jnp.sort(x, 1),
        "partition": lambda x: jnp.partition(x, 1, 1),
        "top_k": lambda x: jnp.top_k(x, 2)[0],
        "median": lambda x: jnp.median(x, 1),
        "nanmedian": jnp.nanmedian,
        "percentile": lambda x: jnp.percentile(x, 30.0),
        "nanpercentile": lambda x: jnp.nanpercentile(x, 30.0),
        "quantile": lambda x: jnp.quantile(x, 0.7, 1),
        "nanquantile": lambda x: jnp.nanquantile(x, 0.7),
    },
    "distinct:2,4",
    "zeros integers mixed",
)
for name in ("prod", "nanprod", "cumprod", "nancumprod"):
    _add(name, "normal:2,3", lambda x, name=name: getattr(jnp, name)(x, 1), forms="zeros integers")
_add(
    "cumulative_prod",
    "normal:2,3",
    lambda x: jnp.cumulative_prod(x, axis=1),
    forms="zeros integers",
)
for name in ("var", "nanvar"):
    _add(
        name,
        "normal:2,3",
        lambda x, name=name: getattr(jnp, name)(x, 1),
        forms="zeros integers mixed huge tiny",
    )
for name in ("std", "nanstd"):
    _add(name, "distinct:2,3", lambda x, name=name: getattr(jnp, name)(x, 1), forms="huge tiny")
_add(
    "average", "normal:2,3 positive:2,3", lambda x, w: jnp.average(x, 1, w), forms="zeros ones huge"
)
_add("cov", "normal:2,4", jnp.cov, forms="zeros integers huge")
_add("corrcoef", "normal:2,4", lambda x: jnp.corrcoef(x)[0, 1], forms="huge")
_add(
    "interp",
    "unit:4 normal:4",
    lambda x, y: jnp.interp(x, jnp.linspace(0, 1, 4), y),
    forms="zeros huge",
)
_add(
    "interp, of the grid",
    "unit:3",
    lambda x: jnp.interp(x, np.array([0.0, 0.4, 1.0]), np.array([1.0, 3.0, 2.0])),
    forms="",
    at=[([0.4, 0.0, 1.0],)],
)
_add("unwrap", "distinct:5", jnp.unwrap, forms="mixed")
_add("geomspace", "positive:2 positive:2", lambda x, y: jnp.geomspace(x, y, 4), forms="huge")
_add("logspace", "normal:2 normal:2", lambda x, y: jnp.logspace(x, y, 4), forms="zeros integers")
_add("polyfit", "distinct:5 normal:5", lambda x, y: jnp.polyfit(x, y, 2), forms="")
_add("polydiv", "normal:4 above_one:2", lambda x, y: jnp.polydiv(x, y)[0], forms="zeros")
_add("poly", "normal:3", jnp.poly, forms="zeros integers")
_add(
    "roots",
    "normal:()",
    lambda a: parts(jnp.roots(jnp.stack([1 + 0 * a, a, -2 + 0 * a]), strip_zeros=False)),
    forms="",
    order=1,
)
_add(
    "histogram",
    "positive:5",
    lambda w: jnp.histogram(jnp.arange(5.0), 3, weights=w)[0],
    forms="huge",
)
_add(
    "histogram2d",
    "positive:5",
    lambda w: jnp.histogram2d(jnp.arange(5.0), jnp.arange(5.0) % 3, 3, weights=w)[0],
    forms="huge",
)
_add(
    "histogramdd",
    "positive:5",
    lambda w: jnp.histogramdd(jnp.arange(10.0).reshape(5, 2), 3, weights=w)[0],
    forms="huge",
)
_add(
    "bincount",
    "normal:4",
    lambda w: jnp.bincount(np.array([0, 2, 2, 1]), w, length=3),
    forms="zeros mixed",
)
_add(
    "histogram_bin_edges",
    "distinct:5",
    lambda x: jnp.histogram_bin_edges(x, 3),
    forms="zeros mixed",
)
_add(
    "fromfunction",
    "normal:2,3",
    lambda x: jnp.fromfunction(lambda i, j: x * i + j, (2, 3)),
    forms="zeros",
)
_add("kaiser", "positive:()", lambda beta: jnp.kaiser(5, beta), forms="huge")
