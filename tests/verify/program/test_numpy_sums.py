"""Sums, extrema, solvers and transforms in NumPy, and what of them is left to JAX."""

import numpy as np
import pytest

from jaxconv.verify.program._in_numpy import in_numpy

from .equation import C, equation, of, zeros

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


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
