"""The error of each kind of operation: eps times terms times scale."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

from jaxconv.verify import _constants
from jaxconv.verify.program._interpreter import computations
from jaxconv.verify.truth import _operations
from jaxconv.verify.truth._operations import FINE, Arithmetic, error, is_smooth

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

UNITS = {"float64": FINE, "float32": 2.0**-23, "bfloat16": 2.0**-7}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "bfloat16": 2.0**-126}
A = np.array([[0.3, -1.7, 2.0, 0.0], [0.7, 1.1, -0.25, 3.3]])
B = np.array([[1.5, 0.9, -0.2, 0.4], [0.0, 2.5, 0.3, -2.0]])
FUNCTIONS = _constants.UNITS_OF_FUNCTIONS


def errors(f, args, dtype, how, operands=None):
    """Scale, error of the result, error of the scale, and absolute error of a single operation."""
    args = [np.asarray(a) for a in args]
    typed = [jnp.asarray(a, dtype) if a.dtype == float else jnp.asarray(a) for a in args]
    (equation,) = computations(jax.make_jaxpr(f)(*typed))
    result = np.asarray(f(*args))
    return error(equation, operands or args, result, 0, how), result


def broadcast(found, result):
    scale, of_result, of_scale, least = found
    zero = 0 * np.abs(result)
    return tuple(
        zero + (0 if part is None else part) for part in (scale, of_result, of_scale, least)
    )


def assert_error(found, result, scale, of_result, of_scale=None, least=0.0):
    assert (found[2] is None) == (of_scale is None)
    expected = (scale, of_result, of_scale, least)
    for ours, wanted in zip(broadcast(found, result), broadcast(expected, result), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-12, atol=1e-300)


HOWS = {
    "own": Arithmetic(),
    "coarsest": Arithmetic(coarsest=2.0**-30),
    "formula": Arithmetic(unit=1e-5),
    "tolerance": Arithmetic(unit=1e-5, tolerance=1e-3),
    "own, tolerance": Arithmetic(tolerance=1e-1),
}


def of(how, dtype):
    """The unit of results and of sums, and the smallest number, for an arithmetic."""
    how = HOWS[how]
    if how.unit is not None:
        return max(how.unit, how.tolerance), FINE, 0.0
    own = min(UNITS[dtype], how.coarsest)
    return max(own, how.tolerance), own, TINY[dtype]


@pytest.mark.parametrize("dtype", UNITS)
@pytest.mark.parametrize("name", HOWS)
def test_errors_of_operations(name, dtype):
    how, (own, sums, tiny) = HOWS[name], of(name, dtype)

    def check(f, args, *expected):
        assert_error(*errors(f, args, dtype, how), *expected)

    # Rounded once, but for zeros and powers of two.
    rounds = (A != 0) & (B != 0)
    check(lax.add, [A, B], A + B, own * rounds, None, tiny * rounds)
    check(lax.sub, [A, B], A - B, own * rounds, None, tiny * rounds)
    power = np.isin(abs(A), [2.0, 0.25, 0.0]), np.isin(abs(B), [2.0, 0.0])
    rounds = ~(power[0] | power[1])
    check(lax.mul, [A, B], A * B, own * rounds, None, tiny * rounds)
    check(lax.div, [B, A + 1.5], B / (A + 1.5), own, None, tiny)
    quotient = B / np.where(A, A, 1)
    rounds = ~np.isin(abs(np.where(A, A, 1)), [2.0, 0.25, 1.0])
    check(lax.div, [B, np.where(A, A, 1)], quotient, own * rounds, None, tiny * rounds)
    check(lax.sqrt, [abs(A)], np.sqrt(abs(A)), own, None, tiny)
    # Functions.
    check(lax.exp, [A], np.exp(A), FUNCTIONS * own, None, tiny)
    # Sums of what is not zero.
    terms = np.maximum((A != 0).sum(1) - 1, 0)
    sum_of = lambda x: lax.reduce(x, np.zeros((), x.dtype), lax.add, (1,))  # noqa: E731
    check(sum_of, [A], abs(A).sum(1), 0.0, terms * sums, terms * tiny)
    few, terms = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]), np.array([[0, 0], [0, 0], [0, 1]])
    check(lambda x: lax.cumsum(x, 1), [few], np.cumsum(few, 1), 0.0, sums * terms, tiny * terms)
    # Contractions; products of half precision are added up in single precision.
    single = UNITS["float32"]
    inner = FINE if how.unit is not None else min(own, single) if own > single else own
    product = abs(A) @ abs(B.T)
    check(lambda a, b: lax.dot(a, b), [A, B.T], product, own, 4 * inner, 4 * tiny)
    x, k = A.reshape(1, 2, 4), B.reshape(2, 2, 2)
    scale = np.asarray(lax.conv(abs(x), abs(k), (1,), "VALID"))
    check(lambda x, k: lax.conv(x, k, (1,), "VALID"), [x, k], scale, own, 4 * inner, 4 * tiny)


def test_errors_of_conversions():
    traced = {
        (source, target): next(
            computations(jax.make_jaxpr(lambda x, t=target: lax.convert_element_type(x, t))(
                np.ones(2, jnp.dtype(source))))
        )
        for source, target in [("float64", "float32"), ("float32", "bfloat16"),
                               ("bfloat16", "float32"), ("float64", "bfloat16"),
                               ("int32", "float32"), ("float64", "int32")]
    }  # fmt: skip
    result = np.ones(2)
    for (source, target), equation in traced.items():
        is_rounded = source != "int32" and target != "int32" and UNITS[source] < UNITS[target]
        own = UNITS.get(target, FINE) * is_rounded
        assert_error(error(equation, [result], result, 0, Arithmetic()), result, result, own)
        how = Arithmetic(unit=1e-5)
        assert_error(error(equation, [result], result, 0, how), result, result, 0.0)


def test_sums_of_small_whole_numbers_are_exact():
    whole, halves, large = np.array([3.0, -256.0]), np.array([3.5, 2.0]), np.array([257.0, 2.0])
    for f in (lax.add, lax.sub, lax.mul):
        for a, b, is_exact in (
            *((whole, whole, True), (whole, halves, False), (halves, whole, False)),
            *((whole, large, False), (large, whole, False)),
        ):
            found, result = errors(f, [a, b], "float32", Arithmetic())
            rounded = broadcast(found, result)[1]
            assert rounded[0] == (0.0 if is_exact else UNITS["float32"])
    found, result = errors(lax.div, [whole, np.array([3.0, 2.0])], "float32", Arithmetic())
    np.testing.assert_array_equal(broadcast(found, result)[1], [UNITS["float32"], 0])
    found, result = errors(lax.div, [np.array([2.0]), np.array([3.5])], "float32", Arithmetic())
    assert broadcast(found, result)[1] == [UNITS["float32"]]  # a power of two is divided


def test_tracers_always_round():
    def traced(a, b):
        (equation,) = computations(jax.make_jaxpr(lax.add)(a, b))
        return jnp.asarray(error(equation, [a, b], a + b, 0, Arithmetic())[1])

    assert jax.jit(traced)(np.zeros(2), np.zeros(2)) == FINE


def test_stable_functions_move_with_their_operands():
    """As far as operands that are off by a unit: of each element, or of the largest of a matrix."""
    x = np.array([1.4616, 3.0, 0.5])
    for own in (1e-5, 1e-3):
        (scale, units, of_scale, least), result = errors(
            lax.digamma, [x], "float64", Arithmetic(unit=own)
        )
        slope = (np.asarray(lax.digamma(x + 1e-6)) - result) / 1e-6
        np.testing.assert_allclose(scale, abs(slope * x), rtol=0.01)
        assert (units, of_scale, least) == (FUNCTIONS * own, own, 0.0)
    z = np.array([[1.0, 1e-3, -2.0, 0.5], [5.0, 1.0, 0.0, 2.0]]) + 0j
    (equation,) = computations(jax.make_jaxpr(jnp.fft.fft)(z))
    result = np.fft.fft(z)
    scale, *_ = error(equation, [z], result, 0, Arithmetic(unit=1e-6))
    assert np.all(scale <= 4 * abs(z).max(1, keepdims=True) * (1 + 1e-6))
    # Each element moves by the largest of its row.
    largest = abs(z).max(1, keepdims=True)
    signs = (np.random.default_rng(seed).choice([-1.0, 1.0], z.shape) for seed in range(2))
    moved = [np.fft.fft(sign * largest) for sign in signs]
    np.testing.assert_allclose(scale, np.maximum(*map(abs, moved)), rtol=1e-6, atol=1e-8)


def test_operands_outside_of_the_domain_have_no_neighbours():
    matrix = np.array([[4.0, 0.0], [0.0, 9.0]])
    traced = jax.make_jaxpr(lambda x: lax.linalg.cholesky(x, symmetrize_input=False))(matrix)
    (equation,) = (e for e in computations(traced) if e.primitive.name == "cholesky")
    scale, *_ = error(equation, [matrix], np.diag([2.0, 3.0]), 0, Arithmetic(unit=1e-6))
    assert np.isfinite(scale).all()
    scale, *_ = error(equation, [-matrix], np.diag([2.0, 3.0]), 0, Arithmetic(unit=1e-6))
    np.testing.assert_array_equal(scale, 0 * matrix)


somebodys = Primitive("somebodys")
somebodys.def_abstract_eval(lambda a, b, n: b)


def test_a_primitive_of_somebody_is_a_contraction_as_long_as_its_operands_allow():
    a, b, n = np.ones(6), -np.ones(4), np.arange(3)
    (equation,) = computations(jax.make_jaxpr(lambda *args: somebodys.bind(*args))(a, b, n))
    found = error(equation, [a, b, n], b, 0, Arithmetic())  # it can't be called
    assert_error(found, b, abs(b), FINE, 4 * FINE, 4 * TINY["float64"])


@pytest.mark.parametrize(
    ("platform", "precision", "expected"),
    [
        *(("cpu", None, 2.0**-23), ("tpu", None, 2.0**-7), ("gpu", None, 2.0**-10)),
        *(("tpu", lax.Precision.HIGHEST, 2.0**-23), ("gpu", lax.Precision.HIGH, 2.0**-10)),
    ],
)
def test_products_of_accelerators(platform, precision, expected, monkeypatch):
    monkeypatch.setattr(_operations.jax, "default_backend", lambda: platform)
    a = np.ones((2, 2), np.float32)
    (equation,) = computations(
        jax.make_jaxpr(lambda a, b: lax.dot(a, b, precision=precision))(a, a)
    )
    assert error(equation, [a, a], a, 0, Arithmetic())[2] == 2 * expected
    for dtype, inner in (("bfloat16", 2.0**-23), ("float64", FINE)):
        a = np.ones((2, 2), jnp.dtype(dtype))
        (equation,) = computations(jax.make_jaxpr(lambda a, b: lax.dot(a, b))(a, a))
        assert error(equation, [a, a], a, 0, Arithmetic())[2] == 2 * inner


def test_smooth_functions():
    x = np.ones(3)
    for f, expected in (
        *((lambda x: jnp.exp(x) * x[::-1], True), (lambda x: jnp.abs(x), False)),
        *((lambda x: x * jnp.arange(3), False), (lambda x: (jnp.sin(x), jnp.maximum(x, 0)), False)),
    ):
        assert is_smooth(computations(jax.make_jaxpr(f)(x))) == expected


def test_operands_of_stable_functions_move_by_a_unit():
    """Up or down by chance, twice; where the neighbours have no value, the result does not move."""
    x, own = np.array([1.5, 3.0, 0.5, 7.0]), 2.0**-6
    (scale, *_), result = errors(lax.digamma, [x], "float64", Arithmetic(unit=own))
    found = np.zeros(4)
    for seed in range(2):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], 4)
        moved = np.asarray(lax.digamma(x * (1 + own * signs)))
        found = np.maximum(found, np.abs(moved - result))
    np.testing.assert_allclose(scale, found / own, rtol=1e-9)
    (equation,) = computations(jax.make_jaxpr(lax.digamma)(x))
    at_pole = np.array([1.5, np.inf, np.nan, 0.5])
    with np.errstate(invalid="ignore"):
        scale, *_ = error(equation, [at_pole], at_pole, 0, Arithmetic(unit=own))
    assert np.isfinite(scale).tolist() == [True] * 4
    matrix = np.array([[[4.0, 0.0], [0.0, 1.0]], [[9.0, 0.0], [0.0, 1.0]]])
    traced = jax.make_jaxpr(lambda x: lax.linalg.cholesky(x, symmetrize_input=False))(matrix)
    (equation,) = (e for e in computations(traced) if e.primitive.name == "cholesky")
    root = np.sqrt(matrix)
    scale, *_ = error(equation, [matrix], root, 0, Arithmetic(unit=1e-6))
    # All elements of a matrix move by the largest of it.
    np.testing.assert_allclose(scale[:, 0, 0], [4 / 4, 9 / 6], rtol=1e-3)
    np.testing.assert_allclose(scale[:, 1, 1], [4 / 2, 9 / 2], rtol=1e-3)


def test_the_dtype_is_that_of_the_result_asked_for():
    equation = SimpleNamespace(
        primitive=SimpleNamespace(name="exp"),
        outvars=[
            SimpleNamespace(aval=SimpleNamespace(dtype=jnp.dtype(name)))
            for name in ("float32", "bfloat16", "int32", "complex64")
        ],
    )
    result = np.ones(2)
    for which, (unit, tiny) in enumerate(
        [(2.0**-23, 2.0**-126), (2.0**-7, 2.0**-126), (FINE, 0.0), (2.0**-23, 2.0**-126)]
    ):
        scale, *found = error(equation, [result], result, which, Arithmetic())
        assert scale is result
        assert found == [FUNCTIONS * unit, None, tiny]
        formula = error(equation, [result], result, which, Arithmetic(unit=1e-5))
        assert formula[1:] == (FUNCTIONS * 1e-5, None, 0.0)


def test_number_of_products_of_an_element():
    def terms(f, *args):
        (equation,) = computations(jax.make_jaxpr(f)(*args))
        return _operations._terms(equation)

    assert terms(lax.dot, np.ones((2, 5)), np.ones((5, 3))) == 5
    assert terms(lax.dot, np.ones((2, 0)), np.ones((0, 3))) == 1
    two = (((0, 2), (1, 0)), ((), ()))
    assert terms(lambda a, b: lax.dot_general(a, b, two), np.ones((2, 5, 3)), np.ones((3, 2))) == 6
    x = np.ones((1, 4, 6))
    assert terms(lambda x, k: lax.conv(x, k, (1,), "VALID"), x, np.ones((5, 4, 3))) == 12
    for args, count in (
        ((np.ones(6), np.ones(4), np.arange(9)), 4),
        ((np.arange(6), np.arange(4), np.ones(7)), 7),
        ((np.arange(6), np.arange(4), np.arange(3)), 1),
        ((np.ones(0), np.ones(4), np.arange(3)), 1),
    ):
        assert terms(lambda *args: somebodys.bind(*args), *args) == count


def test_positions_that_a_pool_selects_stay_the_same():
    """Of a sum over selected positions only what is added up is changed."""
    x, bar = np.array([3.0, -5.0, 1.0, 2.0]), np.array([-1.0, 2.0])

    def pool(x):
        return lax.reduce_window(x, -np.inf, lax.max, (2,), (2,), "VALID")

    traced = jax.make_jaxpr(lambda x, w: jax.vjp(pool, x)[1](w))(x, bar)
    (equation,) = (e for e in computations(traced) if e.primitive.name == "select_and_scatter_add")
    result = np.array([-1.0, 0, 0, 2])
    assert _operations._on_sums(equation, [bar, x], np.abs, result, 0).tolist() == [1, 0, 0, 2]
    scale, of_result, of_scale, _ = error(equation, [bar, x], result, 0, Arithmetic())
    assert scale.tolist() == [1, 0, 0, 2]
    assert (of_result, of_scale.tolist()) == (0.0, [0, 0, 0, 0])


def test_sums_of_another_shape_are_not_used(monkeypatch):
    (equation,) = computations(jax.make_jaxpr(lambda x: lax.cumsum(x))(np.ones(3)))
    result = np.array([1.0, -2.0, 3.0])
    for found, expected in (([4.0, 5.0, -6.0], [4, 5, 6]), ([4.0], [1, 2, 3])):
        monkeypatch.setattr(_operations, "bind", lambda *_, found=found: ([np.array(found)], False))
        assert _operations._on_sums(equation, [result], np.abs, result, 0).tolist() == expected


def test_functions_of_several_operands_move_them_all():
    """Infinite gaps and operands do not count."""
    a, x = np.array([0.5, 2.0, 3.0]), np.array([0.4, 1.0, np.inf])
    with np.errstate(all="ignore"):
        (scale, *_), result = errors(lax.igamma, [a, x], "float64", Arithmetic(unit=2.0**-8))
    assert np.isfinite(scale).all()
    assert np.all(scale[:2] > 0)
    np.testing.assert_array_equal(result[2], 1)


def test_operands_that_do_not_move(monkeypatch):
    """Integers stay as they are. If a neighbour can't be evaluated, the error is the result."""
    x = np.array([1.5, 3.0])
    (equation,) = computations(jax.make_jaxpr(lax.digamma)(x))
    count, seen = np.array([1, 2]), []

    def bind(equation, operands):
        seen.append(operands)
        return [operands[1] * 2], False

    monkeypatch.setattr(_operations, "bind", bind)
    found = _operations._moved_operands(equation, [count, x], 2 * x, 0, 2.0**-4)
    assert all(operands[0] is count for operands in seen)
    assert len(seen) == 2
    np.testing.assert_array_equal(found, 2 * x * 2.0**-4)

    def fails(equation, operands):
        raise ValueError("outside of the domain")

    monkeypatch.setattr(_operations, "bind", fails)
    found = _operations._moved_operands(equation, [x], -2 * x, 0, 2.0**-4)
    np.testing.assert_array_equal(found, 2 * x)


two_sums = Primitive("two_sums")
two_sums.multiple_results = True
two_sums.def_impl(lambda a, b: [a.sum(keepdims=True), b.sum(keepdims=True)])
two_sums.def_abstract_eval(lambda a, b: [a.update(shape=(1,)), b.update(shape=(1,))])


def test_each_result_of_somebodys_primitive_has_its_own_scale():
    """The sum of the magnitudes that it adds up itself."""
    a, b = np.array([1.0, -1.0]), np.array([100.0, -300.0])
    (equation,) = computations(jax.make_jaxpr(lambda a, b: two_sums.bind(a, b))(a, b))
    results = two_sums.bind(a, b)
    for which, scale in enumerate((2.0, 400.0)):
        found = error(equation, [a, b], np.asarray(results[which]), which, Arithmetic())
        assert_error(found, results[which], [scale], FINE, 2 * FINE, 2 * TINY["float64"])
