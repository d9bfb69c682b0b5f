"""Primitives in NumPy that combine elements: products, sums, extrema, solvers and transforms.

Each function takes an equation and returns its function of arrays, or None if NumPy has none.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import fft as scipy_fft
from scipy import linalg


def _product(equation):
    (over_a, over_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    shape_a, shape_b = (atom.aval.shape for atom in equation.invars)
    free_a = [axis for axis in range(len(shape_a)) if axis not in (*over_a, *batch_a)]
    free_b = [axis for axis in range(len(shape_b)) if axis not in (*over_b, *batch_b)]
    sizes = [shape_a[axis] for axis in batch_a]
    inner = math.prod(shape_a[axis] for axis in over_a)
    rows, columns = [shape_a[axis] for axis in free_a], [shape_b[axis] for axis in free_b]
    order_a, order_b = (*batch_a, *free_a, *over_a), (*batch_b, *over_b, *free_b)
    left_shape = (*sizes, math.prod(rows), inner)
    right_shape = (*sizes, inner, math.prod(columns))
    shape = (*sizes, *rows, *columns)
    if equation.invars[0].aval.dtype == bool:
        return None

    def product(a, b):
        left = np.transpose(a, order_a).reshape(left_shape)
        return (left @ np.transpose(b, order_b).reshape(right_shape)).reshape(shape)

    return product


def _reduction(function):
    def maker(equation):
        axes = tuple(equation.params["axes"])
        aval = equation.invars[0].aval
        if any(aval.shape[axis] == 0 for axis in axes) and function in (np.max, np.min):
            return None  # NumPy has no maximum of an empty array
        dtype = equation.outvars[0].aval.dtype
        if np.dtype(dtype).kind in "iub":  # NumPy would widen the dtype
            if function in (np.sum, np.prod):
                return lambda x: function(x, axis=axes, dtype=dtype)
        elif np.dtype(dtype).kind == "c" and function in (np.max, np.min):
            return None
        return lambda x: function(x, axis=axes)

    return maker


def _bits(function):
    def maker(equation):
        axes = tuple(equation.params["axes"])
        return lambda x: function.reduce(x, axis=axes)

    return maker


def _arg(function):
    def maker(equation):
        axes, dtype = equation.params["axes"], equation.outvars[0].aval.dtype
        if len(axes) != 1 or equation.invars[0].aval.shape[axes[0]] == 0:
            return None
        return lambda x: np.asarray(function(x, axis=axes[0])).astype(dtype)

    return maker


def _cumulative(function):
    def maker(equation):
        axis, is_reversed = equation.params["axis"], equation.params["reverse"]
        dtype = equation.outvars[0].aval.dtype
        kind = np.dtype(dtype).kind
        if kind == "c" and function not in (np.add, np.multiply):
            return None
        options = {"dtype": dtype} if kind in "iu" and function in (np.add, np.multiply) else {}

        def cumulative(x):
            x = np.flip(x, axis) if is_reversed else x
            found = function.accumulate(x, axis=axis, **options)
            return np.flip(found, axis) if is_reversed else found

        return cumulative

    return maker


def _triangular_solve(equation):
    params = equation.params
    kind = np.dtype(equation.invars[0].aval.dtype).kind
    name = "ztrsm" if kind == "c" else "dtrsm"
    trans = (2 if params["conjugate_a"] else 1) if params["transpose_a"] else 0
    options = {
        "side": 0 if params["left_side"] else 1,
        "lower": int(params["lower"]),
        "trans_a": trans,
        "diag": int(params["unit_diagonal"]),
    }
    if params["conjugate_a"] and not params["transpose_a"]:
        return None
    shape = equation.outvars[0].aval.shape
    batch = shape[:-2]

    def solve(a, b):
        found = np.empty(shape, b.dtype)
        for i in np.ndindex(batch):
            found[i] = getattr(linalg.blas, name)(1.0, a[i], b[i], **options)
        return found

    return solve if math.prod(shape) else None


def _lu(equation):
    shape = equation.invars[0].aval.shape
    batch, (rows, columns) = shape[:-2], shape[-2:]
    least = min(rows, columns)
    is_complex = np.dtype(equation.invars[0].aval.dtype).kind == "c"
    (function,) = linalg.get_lapack_funcs(("getrf",), dtype=complex if is_complex else float)

    def factors(x):
        found, pivots = np.empty(shape, x.dtype), np.empty((*batch, least), np.int32)
        order = np.empty((*batch, rows), np.int32)
        for i in np.ndindex(batch):
            found[i], pivots[i], info = function(x[i])
            if info > 0 or not np.isfinite(x[i]).all():
                return None
            order[i] = _permutation(pivots[i], rows)
        return [found, pivots, order]

    return factors if math.prod(shape) else None


def _permutation(pivots, rows):
    order = np.arange(rows, dtype=np.int32)
    for i, j in enumerate(pivots):
        order[i], order[j] = order[j], order[i]
    return order


def _pivots_to_permutation(equation):
    size, batch = equation.params["permutation_size"], equation.invars[0].aval.shape[:-1]

    def permutation(pivots):
        found = np.empty((*batch, size), np.int32)
        for i in np.ndindex(batch):
            found[i] = _permutation(pivots[i], size)
        return found

    return permutation


def _cholesky(equation):
    def cholesky(x):
        try:
            factor = np.linalg.cholesky(x) if np.isfinite(x).all() else None
        except np.linalg.LinAlgError:
            return None
        # JAX leaves the elements above the diagonal as they are.
        return None if factor is None else factor + np.triu(x, 1)

    return cholesky


def _fft(equation):
    kind, lengths = str(equation.params["fft_type"]).upper(), equation.params["fft_lengths"]
    axes = tuple(range(-len(lengths), 0))
    if 0 in equation.invars[0].aval.shape:
        return None
    if "IRFFT" in kind or kind == "3":
        return lambda x: scipy_fft.irfftn(x, s=lengths, axes=axes)
    if "RFFT" in kind or kind == "2":
        return lambda x: scipy_fft.rfftn(x, axes=axes)
    if "IFFT" in kind or kind == "1":
        return lambda x: scipy_fft.ifftn(x, axes=axes)
    return lambda x: scipy_fft.fftn(x, axes=axes)


SUMS: dict[str, Callable[[Any], Any]] = {
    "dot_general": _product,
    "reduce_sum": _reduction(np.sum),
    "reduce_prod": _reduction(np.prod),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
    "reduce_and": _bits(np.bitwise_and),
    "reduce_or": _bits(np.bitwise_or),
    "reduce_xor": _bits(np.bitwise_xor),
    "argmax": _arg(np.argmax),
    "argmin": _arg(np.argmin),
    "cumsum": _cumulative(np.add),
    "cumprod": _cumulative(np.multiply),
    "cummax": _cumulative(np.maximum),
    "cummin": _cumulative(np.minimum),
    "cumlogsumexp": _cumulative(np.logaddexp),
    "triangular_solve": _triangular_solve,
    "lu": _lu,
    "lu_pivots_to_permutation": _pivots_to_permutation,
    "cholesky": _cholesky,
    "fft": _fft,
}
