"""What is left to JAX, and where NumPy begins: each condition at both of its sides.

Covers jaxconv/verify/program/_in_numpy.py, jaxconv/verify/program/_numpy_moves.py,
jaxconv/verify/program/_numpy_sums.py, jaxconv/verify/program/_plan.py.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify.program import _in_numpy, _plan
from jaxconv.verify.program._in_numpy import SMALL, in_numpy, quick_function
from jaxconv.verify.program._numpy_moves import MOVES, _fill, _keys
from jaxconv.verify.program._numpy_sums import SUMS
from jaxconv.verify.program._wide import equations

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

C = np.array([1 + 2j, -3.0])


def equation(name, operands, results, **params):
    """An equation of arrays like those given."""

    def atoms(arrays):
        avals = (SimpleNamespace(shape=a.shape, dtype=a.dtype, size=a.size) for a in arrays)
        return [SimpleNamespace(aval=aval) for aval in avals]

    return SimpleNamespace(
        primitive=SimpleNamespace(name=name),
        params=params,
        invars=atoms(map(np.asarray, operands)),
        outvars=atoms(map(np.asarray, results)),
    )


def of(name, *operands, result=None, **params):
    """The results of a primitive; None if they are left to JAX."""
    operands = [np.asarray(a) for a in operands]
    results = [operands[0] if result is None else np.asarray(result)]
    found = in_numpy(equation(name, operands, results, **params), operands)
    return None if found is None else found[0]


def zeros(*shape, dtype=float):
    return np.zeros(shape, dtype)


# Reductions


@pytest.mark.parametrize("name", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize(
    ("shape", "axes", "is_known"),
    [
        *(((2, 3), (0, 1), True), ((0, 3), (0, 1), False), ((3, 0), (0, 1), False)),
        *(((0, 3), (1,), True), ((3, 0), (1,), False), ((0, 3), (0,), False)),
    ],
)
def test_extrema_of_no_elements(name, shape, axes, is_known):
    kept = tuple(n for axis, n in enumerate(shape) if axis not in axes)
    found = of(name, zeros(*shape), result=zeros(*kept), axes=axes)
    assert (found is not None) == is_known
    assert found is None or found.shape == kept
    # A sum of no elements is known.
    total = of("reduce_sum", zeros(*shape), result=zeros(*kept), axes=axes)
    np.testing.assert_array_equal(total, zeros(*kept))


def test_reductions_of_each_kind():
    """Integers keep their dtype, which NumPy would widen; complex numbers have no order."""
    small = np.array([100, 100], np.int8)
    for name, expected in (("reduce_sum", -56), ("reduce_prod", 16)):
        found = of(name, small, result=np.int8(0), axes=(0,))
        assert (found, found.dtype) == (expected, np.int8)
    assert of("reduce_max", small, result=np.int8(0), axes=(0,)) == 100
    assert of("reduce_max", C, result=C[0], axes=(0,)) is None
    assert of("reduce_min", C, result=C[0], axes=(0,)) is None
    assert of("reduce_sum", C, result=C[0], axes=(0,)) == C.sum()
    bits = np.array([[True, False], [True, True]])
    for name, expected in (
        *(("reduce_and", [True, False]), ("reduce_or", [True, True])),
        ("reduce_xor", [False, True]),
    ):
        np.testing.assert_array_equal(of(name, bits, result=bits[0], axes=(0,)), expected)


def test_places_of_extrema():
    x, place = np.array([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]]), np.zeros(2, np.int32)
    found = of("argmax", x, result=place, axes=(1,))
    np.testing.assert_array_equal(found, [1, 2])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(of("argmin", x, result=place, axes=(1,)), [0, 1])
    assert of("argmax", x, result=place, axes=(0, 1)) is None
    assert of("argmax", x, result=place, axes=()) is None
    assert of("argmax", zeros(2, 0), result=place, axes=(1,)) is None
    assert of("argmax", zeros(0, 2), result=place[:0], axes=(1,)).shape == (0,)


@pytest.mark.parametrize("is_reversed", [False, True])
def test_running_results_of_each_kind(is_reversed):
    options = {"axis": 1, "reverse": is_reversed}
    step = -1 if is_reversed else 1
    small = np.array([[100, 100, 1]], np.int8)
    for name, total in (("cumsum", np.cumsum), ("cumprod", np.cumprod)):
        found = of(name, small, **options)
        assert found.dtype == np.int8
        np.testing.assert_array_equal(found[:, ::step], total(small[:, ::step], 1, np.int8))
        z = C[None]
        np.testing.assert_array_equal(of(name, z, **options)[:, ::step], total(z[:, ::step], 1))
    assert of("cummax", small, **options).dtype == np.int8
    for name in ("cummax", "cummin", "cumlogsumexp"):
        assert of(name, C[None], **options) is None


def test_products():
    numbers = (((1,), (0,)), ((), ()))
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    found = of("dot_general", a, b, result=zeros(2, 4), dimension_numbers=numbers)
    np.testing.assert_array_equal(found, a @ b)
    booleans = np.ones((2, 2), bool)
    assert of("dot_general", booleans, booleans, dimension_numbers=numbers) is None


def test_solvers_of_each_kind():
    """A conjugate alone, without a transpose, is left to JAX, and so are empty systems."""
    a = np.array([[2.0, 0, 0], [1, 4, 0], [3, -1, 5]])
    b = np.arange(1.0, 7).reshape(3, 2)
    z = a + 1j * np.tril(np.ones((3, 3)), -1)

    def solve(a, b, **given):
        options = dict.fromkeys(
            ("left_side", "lower", "transpose_a", "conjugate_a", "unit_diagonal"), False
        )
        options |= {"left_side": True, "lower": True}
        return of("triangular_solve", a, b, result=b, **options | given)

    unit = np.tril(a, -1) + np.eye(3)
    for found, matrix in (
        (solve(a, b), a),
        (solve(a.T, b, lower=False), a.T),
        (solve(a, b, transpose_a=True), a.T),
        (solve(a, b, unit_diagonal=True), unit),
        (solve(z, b + 0j), z),
        (solve(z, b + 0j, transpose_a=True), z.T),
        (solve(z, b + 0j, transpose_a=True, conjugate_a=True), z.conj().T),
    ):
        np.testing.assert_allclose(matrix @ found, b, atol=1e-12)
    np.testing.assert_allclose(solve(a, b.T, left_side=False) @ a, b.T, atol=1e-12)
    assert solve(z, b + 0j, conjugate_a=True) is None
    assert solve(a, b[:, :0]) is None


def test_factors_of_matrices():
    singular, lost = np.zeros((2, 2)), np.array([[1.0, np.nan], [0, 1]])
    three = [zeros(2, 2), zeros(2, dtype=np.int32), zeros(2, dtype=np.int32)]
    for x, is_known in ((np.eye(2)[::-1], True), (singular, False), (lost, False)):
        found = in_numpy(equation("lu", [x], three), [x])
        assert (found is not None) == is_known
    found = in_numpy(equation("lu", [np.eye(2)], three), [np.eye(2)[::-1]])
    assert [a.dtype for a in found] == [np.float64, np.int32, np.int32]
    np.testing.assert_array_equal(found[2], [1, 0])
    nothing = zeros(2, 0, 0)
    assert in_numpy(equation("lu", [nothing], three), [nothing]) is None
    for x, is_known in (
        (4 * np.eye(2), True),
        (-np.eye(2), False),
        (np.diag([1.0, np.inf]), False),
    ):
        assert (of("cholesky", x) is not None) == is_known
    upper = np.array([[4.0, 7.0], [2.0, 5.0]])  # what is above the diagonal stays
    np.testing.assert_array_equal(of("cholesky", upper), [[2, 7], [1, 2]])


@pytest.mark.parametrize(("kind", "number"), [("FFT", 0), ("IFFT", 1), ("RFFT", 2), ("IRFFT", 3)])
def test_transforms_by_name_and_by_number(kind, number):
    x = np.arange(1.0, 6) if kind == "RFFT" else np.array([1 + 1j, 2.0, -1j])
    length = 4 if kind == "IRFFT" else len(x)
    expected = {
        "FFT": np.fft.fft,
        "IFFT": np.fft.ifft,
        "RFFT": np.fft.rfft,
        "IRFFT": lambda x: np.fft.irfft(x, 4),
    }[kind](x)
    for name in (f"FftType.{kind}", str(number)):
        options = {"fft_type": name, "fft_lengths": (length,)}
        np.testing.assert_allclose(of("fft", x, result=expected, **options), expected)
        assert of("fft", x[:0], result=expected, **options) is None
        two = np.stack([x, 2 * x])
        found = of("fft", two, result=expected, **options)
        np.testing.assert_allclose(found, np.stack([expected, 2 * expected]))


# Moves


def test_shapes_that_are_operands():
    """A size that is computed is a further operand, which NumPy has no function for."""
    size = np.int32(3)
    options = {"shape": (3, 2), "broadcast_dimensions": (1,)}
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(
        of("broadcast_in_dim", x, result=zeros(3, 2), **options), [x, x, x]
    )
    assert MOVES["broadcast_in_dim"](equation("", [x, size], [x], **options)) is None
    options = {"new_sizes": (2, 1), "dimensions": None}
    np.testing.assert_array_equal(of("reshape", x, result=zeros(2, 1), **options), x[:, None])
    assert MOVES["reshape"](equation("", [x, size], [x], **options)) is None
    cube = np.arange(6.0).reshape(2, 3)
    options = {"new_sizes": (6,), "dimensions": (1, 0)}
    np.testing.assert_array_equal(of("reshape", cube, result=zeros(6), **options), cube.T.ravel())
    i = np.int32(1)
    found = of("dynamic_slice", cube, i, i, result=zeros(1, 2), slice_sizes=(1, 2))
    np.testing.assert_array_equal(found, cube[1:, 1:])
    assert MOVES["dynamic_slice"](equation("", [cube, i, i, i], [x], slice_sizes=(1, 2))) is None


def test_broadcasts_of_other_versions():
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(of("broadcast_to", x, result=zeros(3, 2)), [x, x, x])


@pytest.mark.parametrize("mode", ["clip", "drop"])
def test_scatter_into_an_array_without_elements(mode):
    """No window fits into it. JAX refuses to gather from it."""
    for size, is_known in ((0, False), (2, True)):
        traced = jax.make_jaxpr(lambda x, i: x.at[i].set(1.0, mode=mode))(
            jnp.zeros(size), np.array([0, 1])
        )
        (scatter,) = (e for e in equations(traced) if e.primitive.name == "scatter")
        assert (quick_function(scatter)[0] is not None) == is_known
    with pytest.raises(TypeError, match="Slice size"):
        jax.make_jaxpr(lambda x, i: x.at[i].get(mode=mode))(jnp.zeros(0), np.array([0, 1]))


@pytest.mark.parametrize("size", [1, 3])
def test_places_beyond_an_array(size):
    """They are filled when they are read, and dropped when they are written."""
    x, starts = np.arange(5.0, 5 + size), np.array([[0], [size], [-1]])
    numbers = SimpleNamespace(
        **{"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,)},
        **dict.fromkeys(("operand_batching_dims", "start_indices_batching_dims"), ()),
    )
    options = {"dimension_numbers": numbers, "slice_sizes": (1,), "fill_value": 9.0}
    found = of("gather", x, starts, result=zeros(3), mode="FILL_OR_DROP", **options)
    np.testing.assert_array_equal(found, [5, 9, 9])
    clipped = of("gather", x, starts, result=zeros(3), mode="CLIP", **options)
    np.testing.assert_array_equal(clipped, [5, 4 + size, 5])
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": ()},
        scatter_indices_batching_dims=(),
    )
    options = {"dimension_numbers": numbers, "mode": "FILL_OR_DROP"}
    found = of("scatter-add", x, starts, np.array([1.0, 2.0, 4.0]), **options)
    np.testing.assert_array_equal(found, x + np.eye(size)[0])


@pytest.mark.parametrize(
    ("name", "expected"), [("add", 9.0), ("mul", 14.0), ("min", 2.0), ("max", 7.0), ("sub", 5.0)]
)
def test_scatters_by_both_of_their_names(name, expected):
    """Versions of JAX write them with a hyphen or with an underscore."""
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": ()},
        scatter_indices_batching_dims=(),
    )
    options = {"dimension_numbers": numbers, "mode": "CLIP"}
    names = [f"scatter-{name}", f"scatter_{name}"] if name != "sub" else ["scatter-sub"]
    for each in names:
        found = of(each, np.array([7.0, 1.0]), np.array([[0]]), np.array([2.0]), **options)
        np.testing.assert_array_equal(found, [expected, 1])


def test_batches_of_another_axis():
    """The batch of the array is its second axis, that of the places their first."""
    x, rows = np.arange(12.0).reshape(4, 3), np.array([[2], [0], [3]])
    numbers = SimpleNamespace(
        **{"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,)},
        **{"operand_batching_dims": (1,), "start_indices_batching_dims": (0,)},
    )
    options = {"dimension_numbers": numbers, "slice_sizes": (1, 1), "mode": "CLIP"}
    found = of("gather", x, rows, result=zeros(3), fill_value=None, **options)
    np.testing.assert_array_equal(found, x[[2, 0, 3], [0, 1, 2]])
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": (1,)},
        scatter_indices_batching_dims=(0,),
    )
    expected = x.copy()
    expected[[2, 0, 3], [0, 1, 2]] += [10, 20, 30]
    options = {"dimension_numbers": numbers, "mode": "CLIP"}
    found = of("scatter-add", x, rows, np.array([10.0, 20.0, 30.0]), **options)
    np.testing.assert_array_equal(found, expected)


def test_order_of_numbers():
    np.testing.assert_array_equal(np.signbit(_keys(np.array([-0.0, 0.0, -1.0]))), [0, 0, 1])
    integers = np.array([1, 2])
    assert _keys(integers) is integers
    x = np.array([[3.0, 1.0, np.nan, -1.0]])
    pair = [x[:, :2], np.zeros((1, 2), np.int32)]
    assert in_numpy(equation("top_k", [x], pair, k=2), [x]) is None  # JAX puts NaN first
    found = in_numpy(equation("top_k", [x[:, :2]], pair, k=2), [x[:, :2]])
    np.testing.assert_array_equal(found, [[[3, 1]], [[0, 1]]])
    found = in_numpy(equation("top_k", [x[:, :2].T], pair, k=1, axis=0), [x[:, :2].T])
    np.testing.assert_array_equal(found[0], [[3.0]])
    line = [x[0, :2], np.zeros(1, np.int32)]
    found = in_numpy(equation("top_k", line[:1], line, k=1), line[:1])
    np.testing.assert_array_equal(found, [[3], [0]])
    whole = np.array([[3, 1]])
    assert in_numpy(equation("top_k", [whole], pair, k=2), [whole]) is None
    assert of("sort", C, dimension=0, num_keys=1) is None
    found = in_numpy(
        equation("sort", 3 * [integers], 3 * [integers], dimension=0, num_keys=2),
        [np.array([1, 1, 0]), np.array([5, 4, 9]), np.array([0, 1, 2])],
    )
    np.testing.assert_array_equal(found, [[0, 1, 1], [9, 4, 5], [2, 1, 0]])


def test_what_is_read_beyond_an_array():
    for dtype, expected in (
        *((np.float64, np.nan), (np.int8, -128), (np.uint8, 255), (np.bool_, True)),
        (np.complex128, complex(np.nan)),
    ):
        found = _fill(None, np.dtype(dtype))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    assert (_fill(3.0, np.dtype("int8")), _fill(3.0, np.dtype("int8")).dtype) == (3, np.int8)


# Elementwise functions


def test_functions_by_the_kinds_of_their_operands():
    whole, real, boolean = np.array([4, 9]), np.array([4.0, 9.0]), np.array([True, False])
    key = SimpleNamespace(shape=(), dtype=jax.random.key(0).dtype, size=1)
    tables = _in_numpy._INTEGERS, _in_numpy._FLOATING, _in_numpy._ANY
    for name in sorted(set().union(*tables)):
        for x, table in ((whole, tables[:1]), (real, tables[1:]), (C, tables[2:])):
            expected = next((t[name] for t in table if name in t), None)
            assert quick_function(equation(name, [x, x], [x])) == (expected, False)
        for pair in ([whole, real], [real, C], [C, whole]):
            assert quick_function(equation(name, pair, [real])) == (None, False)
        for pair in ([boolean, boolean], [whole, boolean]):
            is_left = name in ("sub", "neg", "abs", "sign", "square")
            found = quick_function(equation(name, pair, [boolean]))[0]
            assert (found is None) == (is_left or name not in tables[0])
        other = equation(name, [real], [real])
        other.outvars[0].aval = key
        assert quick_function(other) == (None, False)
    assert quick_function(equation("no such thing", [real], [real])) == (None, False)
    for name in _in_numpy._IDENTITIES:
        function, has_many = quick_function(equation(name, [C], [C]))
        assert (function(C) is C, has_many) == (True, False)
    for name in _in_numpy._IDENTITIES_OF_MANY:
        function, has_many = quick_function(equation(name, [C, real], [C, real]))
        assert (function(C, real), has_many) == ([C, real], True)


def test_kinds_of_arrays():
    def kind(dtype):
        return _in_numpy._kind(SimpleNamespace(aval=SimpleNamespace(dtype=dtype)))

    for names, expected in (
        (("float64", "float32", "bfloat16", "float16"), "f"),
        (("complex64", "complex128"), "c"),
        (("int8", "uint64", "bool", "int32"), "i"),
        (("int4", "uint2"), ""),
    ):
        assert {kind(jnp.dtype(name)) for name in names} == {expected}
    assert kind(jax.random.key(0).dtype) == ""
    assert _in_numpy._kind(SimpleNamespace(aval=None)) == ""


def test_powers():
    whole, real = np.array([2, -3]), np.array([2.0, -3.0])
    for y in (-2, -1, 0, 1, 3):
        np.testing.assert_array_equal(of("integer_pow", real, y=y), real**y)
        found = of("integer_pow", whole, y=y)
        assert (found is None) == (y < 0)
        if found is not None:
            np.testing.assert_array_equal(found, whole**y)
    assert of("integer_pow", C, y=2) is None
    np.testing.assert_array_equal(of("pow", real, real), real**real)
    np.testing.assert_array_equal(of("pow", real, whole), real**whole)
    assert of("pow", C, C) is None
    assert of("pow", whole, whole) is None
    assert of("pow", C, real) is None


def test_rounding_to_whole_numbers():
    x = np.array([0.5, 1.5, 2.5, -0.5, -2.5, 0.25, -0.75, 3.0])
    even = of("round", x, rounding_method=lax.RoundingMethod.TO_NEAREST_EVEN)
    np.testing.assert_array_equal(even, [0, 2, 2, 0, -2, 0, -1, 3])
    away = of("round", x, rounding_method=lax.RoundingMethod.AWAY_FROM_ZERO)
    np.testing.assert_array_equal(away, [1, 2, 3, -1, -3, 0, -1, 3])


def test_cases_that_are_chosen():
    a, b, c = (np.full(3, float(i)) for i in range(3))
    which = np.array([0, 1, 2], np.int32)
    np.testing.assert_array_equal(of("select_n", which, a, b, c, result=a), [0, 1, 2])
    np.testing.assert_array_equal(of("select_n", which + 2, a, b, c, result=a), [2, 2, 2])
    np.testing.assert_array_equal(of("select_n", which - 2, a, b, c, result=a), [0, 0, 0])
    np.testing.assert_array_equal(of("select_n", which > 0, a, b, result=a), [0, 1, 1])
    np.testing.assert_array_equal(of("select_n", which, a, result=a), [0, 0, 0])
    np.testing.assert_array_equal(of("select_n", np.int32(1), a, b, c, result=a), b)


def test_conversions_of_each_kind():
    real, whole = np.array([1.5, -2.5, np.nan, 1e30, -1e30]), np.array([0, 300])

    def converted(x, dtype):
        return of("convert_element_type", x, result=np.zeros(1, dtype))

    np.testing.assert_array_equal(converted(real, np.int8), [1, -2, 0, 127, -128])
    np.testing.assert_array_equal(converted(real, np.uint8), [1, 0, 0, 255, 0])
    np.testing.assert_array_equal(converted(np.array([127.0, -128.0]), np.int8), [127, -128])
    np.testing.assert_array_equal(converted(np.array([126.5, -127.5]), np.int8), [126, -127])
    np.testing.assert_array_equal(converted(real, bool), [True] * 5)
    np.testing.assert_array_equal(converted(whole, bool), [False, True])
    np.testing.assert_array_equal(converted(whole, np.uint8), [0, 44])
    np.testing.assert_array_equal(converted(real, np.float32), real)
    np.testing.assert_array_equal(converted(C, np.float32), C.real)
    assert converted(whole, np.float32).dtype == np.float64
    assert converted(whole, np.complex64).dtype == np.complex128
    np.testing.assert_array_equal(converted(C, np.complex64), C)
    assert converted(C, np.int32) is None
    assert converted(real, jnp.int4) is None


def test_poles_of_digamma():
    assert of("digamma", np.array([0.0, 1.0])) is None
    found = of("digamma", np.array([-1.0, -0.5, 1.0, 2.0]))
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, False])


def test_places_without_operands():
    for axis, expected in ((0, [[0, 0], [1, 1], [2, 2]]), (1, [[0, 1]] * 3)):
        for dtype, wide in ((np.float32, np.float64), (np.int8, np.int8)):
            result = np.zeros((3, 2), dtype)
            iota = equation("iota", [], [result], shape=(3, 2), dimension=axis)
            (found,) = in_numpy(iota, [])
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == wide
    for dtype, wide in (("float32", "float64"), ("complex64", "complex128"), ("int8", "int8")):
        (found,) = in_numpy(equation("empty", [], [np.ones((2, 1), dtype)]), [])
        assert (found.dtype, found.shape, found.any()) == (wide, (2, 1), False)


# Sizes


def test_the_largest_array_of_numpy():
    small, large = np.ones(SMALL), np.ones(SMALL + 1)
    one = np.ones(1)
    for operands, result, is_known in (
        ([small, small], small, True),
        ([one, large], small, False),
        ([large, one], small, False),
        ([one, one], large, False),
        ([one, one], small, True),
    ):
        add = equation("add", operands, [result])
        assert (in_numpy(add, operands) is not None) == is_known
        assert (_plan.cost_of(add) < 80) == is_known
    wider = equation("add", [one, one], [one])  # the operand that is given counts, too
    assert in_numpy(wider, [one, large]) is None
    assert in_numpy(wider, [one, 2.0])[0] == 3

    def inside(x):
        assert in_numpy(wider, [one, x]) is None
        return x

    jax.eval_shape(inside, 1.0)
    assert _plan._numbers(equation("empty", [], [])) == 0
    assert _plan._numbers(equation("add", [one, small], [one])) == SMALL


def test_constants_of_a_program():
    narrow, small, large = jnp.ones(2, jnp.float32), jnp.ones(SMALL), jnp.ones(SMALL + 1)
    assert isinstance(_plan._constant(narrow), np.ndarray)
    assert _plan._constant(narrow).dtype == np.float64
    assert isinstance(_plan._constant(small), np.ndarray)
    assert _plan._constant(large) is large
    key = jax.random.key(0)
    assert _plan._constant(key) is key
    assert _plan._constant("a token") == "a token"


def test_a_plan_with_a_tracer_is_not_kept():
    kept = []

    def inside(x):
        traced = jax.make_jaxpr(lambda y: y * x)(1.0)
        kept.append(_plan.plan_of(traced) is _plan.plan_of(traced))
        return x

    jax.eval_shape(inside, 1.0)
    traced = jax.make_jaxpr(lambda y: y * np.ones(3))(1.0)
    kept.append(_plan.plan_of(traced) is _plan.plan_of(traced))
    assert kept == [False, True]
    assert set(SUMS) & set(MOVES) == set()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_shifts_by_all_bits_and_more(dtype):
    """Nothing is left, or the sign."""
    x = np.array([-128, -3, 5, 127]).astype(dtype)
    for by in (0, 1, 7, 8, 9, *((-1,) if dtype == np.int8 else ())):
        amount = np.full(4, by, dtype)
        is_out = not 0 <= by < 8
        left = 0 * x if is_out else (x.astype(int) << by).astype(dtype)
        logical = 0 * x if is_out else (x.view(np.uint8) >> by).view(dtype)
        kept = (x.view(np.int8) >> (7 if is_out else by)).view(dtype)
        for name, expected in (
            ("shift_left", left),
            ("shift_right_logical", logical),
            ("shift_right_arithmetic", kept),
        ):
            found = of(name, x, amount)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {by}")
