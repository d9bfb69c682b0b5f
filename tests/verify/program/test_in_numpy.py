"""Primitives in NumPy: what JAX computes, for numbers that are none, too.

Covers jaxconv/verify/program/_numpy_moves.py, jaxconv/verify/program/_numpy_sums.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program import _in_numpy
from jaxconv.verify.program._wide import equations
from tests.oracles import together

pytestmark = pytest.mark.usefixtures("float64")

RNG = np.random.default_rng(0)
A = np.array([[0.3, -1.7, 2.0, 2.5], [np.nan, np.inf, -0.0, -0.5]])
B = np.array([[1.5, -1.7, -0.2, 0.0], [1.0, -np.inf, 0.0, -2.0]])
CUBE = np.arange(24.0).reshape(2, 3, 4) / 7
I = np.array([7, -7, 5, 0, -(2**31), 2**31 - 1, 3], np.int32)
J = np.array([2, 2, -3, 4, -1, 0, 33], np.int32)
U = I.astype(np.uint32)
TRUE = np.array([True, False, True, False])
C = np.array([1 + 2j, -0.5j, 3.0, -1 - 1j])
D = np.array([0.5 - 1j, 2j, -3.0, 1e3 + 1j])
INSIDE = np.array([-0.9, -0.3, 0.0, 1e-9, 0.5, 0.999, 1.0, -1.0, np.nan])
OVER = np.array([1.0, 1.5, 1e3, np.inf, np.nan])
WIDE = np.array([-30.0, -4.5, -0.3, 0.0, 1e-12, 0.7, 3.0, 9.0, 30.0, np.inf, -np.inf, np.nan])
BIG = np.array([1e20, -1e20, np.nan, np.inf, -np.inf, 2.7, -2.7, 2147483647.0, -2147483649.0])
TIES = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 1e17, np.nan, np.inf])
POLES = np.array([0.3, 1.0, 2.5, 40.0, -0.5, -2.5, -1.0, np.inf, np.nan])
SQUARE = RNG.normal(size=(2, 4, 4)) + 4 * np.eye(4)
RIGHT = RNG.normal(size=(2, 4, 3))
SYMMETRIC = SQUARE @ SQUARE.transpose(0, 2, 1)
STARTS = np.array([[0, 1], [1, 3], [2, -1], [-5, 0], [1, 1]], np.int32)
ROWS = np.array([2, 0, -1, 5, 2], np.int32)
AT_MODES = ("clip", "fill", "promise_in_bounds")


def _batched(x, i):
    return jax.vmap(lambda x, i: x[i])(x, i)


def _numbers(at_mode):
    def gather(x, starts):
        numbers = lax.GatherDimensionNumbers((0, 2), (1,), (1, 0))
        return lax.gather(x, starts, numbers, (2, 1, 3), mode=at_mode)

    return gather


def _scatter(function, at_mode):
    def scatter(x, starts, new):
        numbers = lax.ScatterDimensionNumbers((0, 2), (1,), (1, 0))
        return function(x, starts, new, numbers, mode=at_mode)

    return scatter


def _at(method, at_mode):
    return lambda x, i, new: getattr(x.at[i], method)(new, mode=at_mode)


GATHERED = STARTS[:, ::-1] % 3
NEW = RNG.normal(size=(2, 5, 3))
LOOSE = np.array([[0, 0], [3, 0], [2, 1], [1, 0], [1, -1]], np.int32)
SCATTERS = {
    "scatter-add": (lax.scatter_add, "add"),
    "scatter-mul": (lax.scatter_mul, "multiply"),
    "scatter-min": (lax.scatter_min, "min"),
    "scatter-max": (lax.scatter_max, "max"),
}

# A function for each primitive, and its arguments.
CALLS = [
    *[(name, getattr(lax, name), A, B) for name in ("add", "sub", "mul", "div", "max", "min")],
    *[(name, getattr(lax, name), A, B) for name in ("pow", "rem", "atan2")],
    *[(name, getattr(lax, name), A, B) for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    *[(name, getattr(lax, name), A) for name in ("neg", "abs", "sign", "square", "sqrt", "rsqrt")],
    *[(name, getattr(lax, name), WIDE) for name in ("exp", "exp2", "expm1", "log", "log1p")],
    *[(name, getattr(lax, name), WIDE) for name in ("tanh", "sin", "cos", "tan", "cbrt")],
    *[(name, getattr(lax, name), WIDE) for name in ("sinh", "cosh", "asinh", "atan", "logistic")],
    *[(name, getattr(lax, name), INSIDE) for name in ("asin", "acos", "atanh", "erf_inv")],
    *[(name, getattr(lax, name), WIDE) for name in ("erf", "erfc", "bessel_i0e", "bessel_i1e")],
    ("acosh", lax.acosh, OVER),
    ("lgamma", lax.lgamma, np.append(POLES, 0.0)),
    ("digamma", lax.digamma, POLES),
    *[(n, getattr(lax, n), np.array([0.5, 2, 30, 1, 3]), np.array([0.1, 3, 25, 0, np.inf]))
      for n in ("igamma", "igammac")],
    ("zeta", lax.zeta, np.array([1.5, 2.0, 8.0, 3.0]), np.array([1.0, 0.3, 2.0, 50.0])),
    ("regularized_incomplete_beta", lax.betainc, np.array([0.5, 2.0, 5.0]),
     np.array([1.5, 3.0, 0.2]), np.array([0.2, 0.9, 0.5])),
    ("log2", jnp.log2, np.abs(WIDE)),
    *[(name, getattr(lax, name), A) for name in ("floor", "ceil", "is_finite")],
    ("round", lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), TIES),
    ("round", lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), TIES),
    ("clamp", lambda x: lax.clamp(-1.0, x, 1.0), A),
    ("clamp", lambda x: lax.clamp(np.int32(-2), x, np.int32(4)), I),
    ("add_any", lambda x: jax.vjp(lambda x: x * x, x)[1](x)[0], A),
    ("one_minus_square", lambda x: jax.grad(lambda x: jnp.tanh(x).sum())(x), A),
    ("polynomial", lambda x: jnp.polyval(jnp.array([2.0, -1.0, 0.5]), x), A),
    ("integer_pow", lambda x: lax.integer_pow(x, -3), A),
    ("integer_pow", lambda x: lax.integer_pow(x, 3), I),
    ("pow", lambda x: lax.pow(x, jnp.int32(3)), A),
    *[(name, getattr(lax, name), I, J) for name in ("add", "sub", "mul", "div", "max", "min")],
    *[(name, getattr(lax, name), I, J) for name in ("rem", "eq", "ne", "lt", "le", "gt", "ge")],
    *[(name, getattr(lax, name), U, J.astype(np.uint32)) for name in ("add", "div", "rem")],
    *[(name, getattr(lax, name), I) for name in ("neg", "abs", "sign", "population_count")],
    *[(n, getattr(lax, f"bitwise_{n}"), I, J) for n in ("and", "or", "xor")],
    *[(n, getattr(lax, f"bitwise_{n}"), TRUE, TRUE[::-1]) for n in ("and", "or", "xor")],
    ("not", lax.bitwise_not, I),
    ("not", lax.bitwise_not, TRUE),
    *[
        (name, getattr(lax, name), x, y)
        for name in ("shift_left", "shift_right_logical", "shift_right_arithmetic")
        for x, y in ((I, J), (U, J.astype(np.uint32)))
    ],
    *[(name, getattr(lax, name), C, D) for name in ("add", "sub", "mul", "div", "eq", "ne")],
    *[(name, getattr(lax, name), C) for name in ("neg", "abs", "exp", "sin", "cos", "real")],
    *[(name, getattr(lax, name), C) for name in ("imag", "conj", "square")],
    ("complex", lax.complex, A, B),
    *[("convert_element_type", lambda x, t=t: x.astype(t), BIG) for t in (int, np.int32, bool)],
    *[("convert_element_type", lambda x, t=t: x.astype(t), BIG) for t in (np.uint8, np.uint64)],
    *[("convert_element_type", lambda x, t=t: x.astype(t), I) for t in (float, np.uint8, bool)],
    ("convert_element_type", lambda x: x.astype(complex), A),
    ("convert_element_type", lambda x: x.astype(float), TRUE),
    ("select_n", lambda w, a, b: lax.select_n(w, a, b), TRUE[None], A[:1], B[:1]),
    ("select_n", lambda w, *xs: lax.select_n(w, *xs), np.int32(2), A, B, A + 1),
    ("select_n", lambda w, *xs: lax.select_n(w, *xs), (I % 3), I, J, I + J),
    ("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 2, 5, 4), (1, 3)), A),
    ("reshape", lambda x: x.reshape(4, 6), CUBE),
    ("reshape", lambda x: lax.reshape(x, (4, 6), (2, 0, 1)), CUBE),
    ("squeeze", lambda x: lax.squeeze(x, (0, 2)), CUBE[:1, :, :1]),
    ("expand_dims", lambda x: lax.expand_dims(x, (1,)), CUBE),
    ("transpose", lambda x: x.transpose(2, 0, 1), CUBE),
    ("rev", lambda x: lax.rev(x, (0, 2)), CUBE),
    ("tile", lambda x: jnp.tile(x, (2, 3, 1)), CUBE),
    ("slice", lambda x: lax.slice(x, (0, 1, 0), (2, 3, 4), (1, 1, 3)), CUBE),
    ("pad", lambda x: lax.pad(x, 9.0, ((1, 2, 0), (-1, 1, 1), (0, -2, 2))), CUBE),
    ("pad", lambda x: lax.pad(x, 9.0, ((-1, -1, 0), (0, -4, 2), (3, 0, 0))), CUBE),
    ("concatenate", lambda x: lax.concatenate([x, x[:, :1]], 1), CUBE),
    ("stack", lambda x, y: jnp.stack([x, y], 1), A, B),
    ("unstack", lambda x: jax.vjp(lambda *a: jnp.stack(a), *x)[1](x), CUBE),
    ("split", lambda x: jnp.split(x, [1, 3], 2), CUBE),
    ("iota", lambda: lax.broadcasted_iota(np.float64, (3, 2, 2), 0)),
    ("iota", lambda: lax.broadcasted_iota(np.int32, (3, 2, 2), 1)),
    ("dynamic_slice", lambda x, i: lax.dynamic_slice(x, (i, 5, 1), (1, 2, 2)), CUBE, np.int64(1)),
    (
        "dynamic_update_slice",
        lambda x, i: lax.dynamic_update_slice(x, x[:1, :2] + 1, (i, 5, 1)),
        CUBE,
        np.int64(-7),
    ),
    *[("gather", lambda x, i, m=m: x.at[i].get(mode=m), A.T, ROWS) for m in AT_MODES],
    *[("gather", lambda x, i: x.at[i].get(mode="fill"), I, ROWS)],
    *[("gather", lambda x, i: x.at[i].get(mode="fill", fill_value=3.0), A, ROWS)],
    *[("gather", _numbers(m), CUBE.transpose(1, 0, 2), LOOSE) for m in AT_MODES],
    ("gather", _batched, CUBE.reshape(6, 4), np.array([0, 3, 1, 9, 2, -1])),
    ("gather", jax.vmap(lambda x, i: x[i], in_axes=(1, 0)), CUBE[0], np.array([0, 2, 9, -1])),
    ("gather", jax.vmap(jax.vmap(lambda x, i: x[i])), CUBE, np.array([[0, 3, 1], [9, 2, -1]])),
    ("scatter-add", jax.vmap(lambda x, i: x.at[i].add(2.0), in_axes=(1, 0)), CUBE[0],
     np.array([0, 2, 9, -1])),
    ("gather", lambda x: jnp.take_along_axis(x, jnp.argsort(x, 1), 1), RNG.normal(size=(3, 4))),
    *[("scatter", _at("set", m), A.T, np.array([3, 0, 9]), A.T[:3] + 1) for m in AT_MODES],
    *[(n, _at(m, mode), A.T, ROWS, np.ones((5, 2)) * 3) for n, (_, m) in SCATTERS.items()
      for mode in AT_MODES],
    *[(n, _scatter(f, mode), CUBE.transpose(1, 0, 2), LOOSE, NEW) for n, (f, _) in SCATTERS.items()
      for mode in AT_MODES],
    ("scatter-add", lambda x, i: jax.grad(lambda x: (_batched(x, i) ** 2).sum())(x),
     CUBE.reshape(6, 4), np.array([0, 3, 1, 9, 2, -1])),
    ("sort", lambda x: lax.sort(x, 1), A),
    ("sort", lambda x: lax.sort((x, jnp.arange(x.size).reshape(x.shape)), 1, num_keys=1),
     np.array([[1.0, 0.0, -0.0, np.nan, 1.0, -np.inf], [2.0, 1.0, 2.0, 1.0, 0.0, np.nan]])),
    ("sort", lambda a, b, c: lax.sort((a, b, c), num_keys=2), J // 3, I % 2, I),
    ("top_k", lambda x: lax.top_k(x, 2), RNG.integers(0, 3, (3, 5)).astype(float)),
    ("argmax", lambda x: jnp.argmax(x, 1), A),
    ("argmin", lambda x: jnp.argmin(x, 0), B),
    ("dot_general", lambda a, b: lax.dot_general(a, b, (((0,), (1,)), ((2,), (0,)))), CUBE,
     CUBE.transpose(2, 0, 1)[:, :, :2] - 1),
    ("dot_general", lambda a, b: a @ b, I, J),
    ("dot_general", lambda a, b: a @ b, C, D),
    ("reduce_max", lambda x: x.max(1), A),
    ("reduce_min", lambda x: x.min(0), A),
    ("reduce_max", lambda x: x.max(), I),
    ("reduce_sum", lambda x: x.sum((0, 2)), CUBE),
    ("reduce_sum", lambda x: lax.reduce(x, np.int32(0), lax.add, (0,)), I),
    ("reduce_prod", lambda x: x.prod(1), CUBE),
    ("reduce_and", lambda x: x.all(), TRUE),
    ("reduce_or", lambda x: x.any(), TRUE),
    ("reduce_xor", lambda x: lax.reduce(x, np.int32(0), lax.bitwise_xor, (0,)), I),
    *[(n, lambda x, n=n, r=r: getattr(lax, n)(x, 1, reverse=r), CUBE) for r in (False, True)
      for n in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")],
    ("cumsum", lambda x: lax.cumsum(x), I),
    *[("triangular_solve",
       lambda a, b, kw=kw: lax.linalg.triangular_solve(a, b, **kw), SQUARE, b)
      for kw, b in (
          ({"left_side": True, "lower": True}, RIGHT),
          ({"left_side": False, "lower": False}, RIGHT.transpose(0, 2, 1)),
          ({"left_side": True, "lower": False, "transpose_a": True}, RIGHT),
          ({"left_side": True, "lower": True, "unit_diagonal": True}, RIGHT))],
    ("triangular_solve",
     lambda a, b: lax.linalg.triangular_solve(
         a, b, left_side=True, lower=True, transpose_a=True, conjugate_a=True),
     SQUARE + 1j * SQUARE[::-1], RIGHT + 0j),
    ("lu", lax.linalg.lu, SQUARE),
    ("lu_pivots_to_permutation", lambda p: lax.linalg.lu_pivots_to_permutation(p, 4),
     np.array([[2, 1, 3], [0, 3, 2]], np.int32)),
    ("lu", lax.linalg.lu, SQUARE[:, :3]),
    ("lu", lax.linalg.lu, SQUARE + 1j * SQUARE[::-1]),
    ("cholesky", lambda x: lax.linalg.cholesky(x, symmetrize_input=False), SYMMETRIC),
    ("fft", lambda x: jnp.fft.fft2(x), C.reshape(2, 2)),
    ("fft", lambda x: jnp.fft.ifft(x), C),
    ("fft", lambda x: jnp.fft.rfft2(x), CUBE),
    ("fft", lambda x: jnp.fft.irfft(x, 5), C),
    ("stop_gradient", lax.stop_gradient, A),
    ("copy", jnp.copy, A),
    ("optimization_barrier", lax.optimization_barrier, A),
]  # fmt: skip

# Sums of JAX's own that cancel near a zero, where SciPy's are the more exact.
LESS_EXACT = {"lgamma", "igamma", "igammac", "digamma", "zeta", "regularized_incomplete_beta"}
# In NumPy, and not in every version of JAX, or only inside of something else.
NOT_CALLED = {
    *("copy_p", "name", "pvary", "sharding_constraint", "reshard", "layout_constraint"),
    *("pbroadcast", "reduced_vary_cast", "vary_unreduced_cast", "device_put", "empty", "empty2"),
    *("one_minus_square", "polynomial", "stack", "unstack", "tile", "broadcast_to", "log2"),
    *("scatter_add", "scatter_mul", "scatter_min", "scatter_max", "scatter-sub", "expand_dims"),
    *("stop_gradient", "copy", "top_k", "split"),
}


def test_every_primitive_is_tried():
    known = set(_in_numpy.NAMES)
    assert known - {name for name, *_ in CALLS} <= NOT_CALLED


@pytest.mark.parametrize("name", sorted({name for name, *_ in CALLS}))
def test_equals_jax(name):
    tried = []
    for _, function, *args in (call for call in CALLS if call[0] == name):
        traced = jax.make_jaxpr(function)(*args)
        outer = [e for e in equations(traced) if e.primitive.name == name]
        if not outer and name in NOT_CALLED:
            continue
        # The primitive on what reaches it, as found by evaluating what stands before it.
        seen = _operands_of(traced, args, name)
        assert seen
        tried += seen
    assert tried or name in NOT_CALLED
    in_jax = together([(partial(_bound, equation), *operands) for equation, operands in tried])
    for (equation, operands), expected in zip(tried, in_jax, strict=True):
        actual = _in_numpy.in_numpy(equation, operands)
        assert actual is not None
        for ours, theirs in zip(actual, expected, strict=True):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            rtol = 3e-14 if name in LESS_EXACT else 2e-15
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-300)


def _bound(equation, *operands):
    """The results of an equation, as a list."""
    results = equation.primitive.bind(*map(jnp.asarray, operands), **equation.params)
    return results if equation.primitive.multiple_results else [results]


# Functions that could take the dtype of an equation, and what they are of float64 numbers.
SINGLE = {
    "cumsum": (lambda x: lax.cumsum(x, 1), lambda x: np.cumsum(x, 1)),
    "cumprod": (lambda x: lax.cumprod(x, 1), lambda x: np.cumprod(x, 1)),
    "cummax": (lambda x: lax.cummax(x, 1), lambda x: np.maximum.accumulate(x, 1)),
    "reduce_sum": (lambda x: lax.reduce(x, np.float32(0), lax.add, (1,)), lambda x: x.sum(1)),
    "reduce_prod": (lambda x: lax.reduce(x, np.float32(1), lax.mul, (1,)), lambda x: x.prod(1)),
    "convert_element_type": (
        lambda x: lax.convert_element_type(x, "bfloat16"),
        lambda x: x.astype(float),
    ),
    "sort": (lambda x: lax.sort(x, 1), lambda x: np.sort(x, 1)),
    "mul": (lambda x: lax.mul(x, x), np.square),
}


@pytest.mark.parametrize("name", SINGLE)
def test_programs_of_single_precision_are_computed_in_double(name):
    function, expected = SINGLE[name]
    x = RNG.normal(size=(3, 4))
    (equation,) = equations(jax.make_jaxpr(function)(x.astype(np.float32)))
    assert equation.primitive.name == name
    (found,) = _in_numpy.in_numpy(equation, [x] * len(equation.invars))
    assert found.dtype == float
    np.testing.assert_array_equal(found, expected(x))


def _operands_of(traced, args, name):
    """Each equation of a primitive, with what JAX hands to it."""
    seen = []

    def run(traced, args, is_read):
        """The results, if they are read. What the last equation computes alone is not computed."""
        jaxpr, consts = getattr(traced, "jaxpr", traced), getattr(traced, "consts", ())
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

        def read(atom):
            return np.asarray(atom.val, atom.aval.dtype) if hasattr(atom, "val") else values[atom]

        for equation in jaxpr.eqns:
            operands = [np.asarray(read(atom)) for atom in equation.invars]
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            if equation.primitive.name == name:
                seen.append((equation, operands))
            needed = is_read or equation is not jaxpr.eqns[-1]
            if inner is not None:
                results = run(inner, operands, needed)
            else:
                results = _bound(equation, *operands) if needed else None
            if needed:
                values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars] if is_read else None

    run(traced, args, is_read=False)
    return seen


def test_large_arrays_are_left_to_jax():
    many = np.ones(1 << 15)
    (equation,) = equations(jax.make_jaxpr(lax.add)(many, many))
    assert _in_numpy.in_numpy(equation, [many, many]) is None


def test_what_numpy_has_no_number_for_is_left_to_jax():
    nothing = np.ones((0, 2))
    traced = jax.make_jaxpr(lambda x: lax.reduce(x, -np.inf, lax.max, (0,)))(nothing)
    (equation,) = (e for e in equations(traced) if e.primitive.name == "reduce_max")
    assert _in_numpy.in_numpy(equation, [nothing]) is None
