"""A rule that is not linear in cotangents or tangents is found."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify import _constants
from jaxconv.verify._problem import Leaf
from jaxconv.verify.comparison import _linearity
from jaxconv.verify.comparison._linearity import judge_cotangents, judge_tangents
from jaxconv.verify.truth._rounding import Measured

from ..rules import some, with_rule


def _slope(x):
    return 1 - jnp.tanh(x) ** 2


NOT_LINEAR = {
    "small ones dropped": lambda w: jnp.where(jnp.abs(w) < 1e-3, 0, w),
    "small beside the largest dropped": lambda w: jnp.where(
        jnp.abs(w) < 1e-3 * jnp.abs(w).max(), 0, w
    ),
    "far smaller than the largest dropped": lambda w: jnp.where(
        jnp.abs(w) < 1e-6 * jnp.abs(w).max(), 0, w
    ),
    "large ones clipped": lambda w: jnp.clip(w, -100, 100),
    "norm clipped": lambda w: w * jnp.minimum(1, 1e3 / jnp.linalg.norm(w)),
    "rounded to a grid": lambda w: jnp.round(w * 16) / 16,
    "ignored where most are zero": lambda w: jnp.where((w != 0).mean() > 0.5, w, 0),
}
X = jnp.array([0.3, -1.2, 0.7, 2.0, -0.4, 0.9])


@pytest.mark.parametrize("dtype", some(["float32", "bfloat16"], ["float32"]))
@pytest.mark.parametrize("name", NOT_LINEAR)
def test_rule_that_is_not_linear_in_the_cotangent(name, dtype):
    change = NOT_LINEAR[name]
    f = with_rule(jnp.tanh, lambda x, y_bar: change(y_bar) * _slope(x))
    modes = ["reverse", "cotangent_linearity"]
    report = verify.check_gradients(f, (X.astype(dtype),), modes=modes, order=1)
    assert any("not linear in the cotangent" in f.diagnosis for f in report.failures)


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_rule_that_is_not_linear_in_the_tangent(name):
    f, change = jax.custom_jvp(jnp.tanh), NOT_LINEAR[name]
    f.defjvp(lambda p, t: (jnp.tanh(p[0]), change(t[0]) * _slope(p[0])))
    report = verify.check_gradients(f, (X,), modes=["forward", "tangent_linearity"], order=1)
    assert not report.ok


def test_linear_rule_is_linear():
    report = verify.check_gradients(
        with_rule(jnp.tanh, lambda x, y_bar: y_bar * _slope(x)),
        (X,),
        modes=["cotangent_linearity", "primal_value"],
        order=1,
    )
    assert report.ok
    assert {mode.status for mode in report.modes} == {"ok"}


# The equations that are tried, of rules in NumPy.

MATRIX = np.random.default_rng(0).normal(size=(6, 4))
LEAVES = tuple(Leaf(name, 0, (3,), np.dtype(float), 3 * i) for i, name in enumerate("ab"))
A, B = np.random.default_rng(1).normal(size=(2, 4)) + 3.0
SUM = ": the result for a sum is not the sum of the results"
SIZES = [2.0**-12, 2.0**12, 2.0**-40, 2.0**40]


def complaints(rule, kind="cotangent", vectors=None, rounding=0.0, size=None):
    """What is said of a rule that maps the rows of an array, and for which vectors it is called."""
    asked = []
    vectors = np.stack([A, B, A + B]) if vectors is None else vectors
    rows = np.stack([rule(row) for row in vectors])

    def values(ws):
        asked.append(ws)
        return np.stack([rule(row) for row in ws])

    class Derivatives:
        def reverse(self, point, ws):
            return values(ws)

        def forward(self, point, vs):
            return values(vs).ravel()

        def __call__(self, point, ws, only, vs=None):
            assert only == ["reverse" if kind == "cotangent" else "forward"]
            found = values(ws if vs is None else vs).ravel()
            return {only[0]: Measured(found, np.full(found.shape, rounding))}

    said = []
    evidence = SimpleNamespace(
        problem=SimpleNamespace(leaves=LEAVES, outputs=LEAVES, size=size or 6, output_size=4),
        draws=SimpleNamespace(cotangents=vectors, directions=vectors),
        primal=SimpleNamespace(point=None),
        derivatives=Derivatives(),
        rows=lambda mode: (rows, np.full(rows.shape, rounding)),
        unit=2.0**-52,
        seed=0,
    )
    findings = SimpleNamespace(complain=lambda name, found: said.append((name, found)))
    judge = judge_cotangents if kind == "cotangent" else judge_tangents
    judge(evidence, findings)
    ((name, found),) = said
    assert name == f"{kind}_linearity"
    return found, asked


no_checker = pytest.mark.usefixtures("no_type_checker")


def of(kind, what, arrays="ab"):
    result = "gradient" if kind == "cotangent" else "tangent"
    return [
        f"the {result} of {name} is not linear in the {kind}: wrong for {kind}s{what}"
        for name in arrays
    ]


@no_checker
@pytest.mark.parametrize("kind", ["cotangent", "tangent"])
def test_what_a_linear_rule_is_called_with(kind):
    found, asked = complaints(lambda w: MATRIX @ w, kind)
    assert found == []
    vectors = np.stack([A, B, A + B])
    for factor, ws in zip(SIZES, asked[:4], strict=True):
        np.testing.assert_array_equal(ws, factor * vectors)
    parts = asked[4:7]
    np.testing.assert_allclose(sum(parts), vectors)
    chosen = [(part != 0).all(0) for part in parts]
    assert np.sum(chosen, axis=0).tolist() == [1] * 4
    for part, own in zip(parts, chosen, strict=True):
        np.testing.assert_array_equal(part, np.where(own, vectors, 0))
    for large, mixed in ((2.0**12, asked[7]), (2.0**40, asked[8])):
        expected = parts[0] / large + parts[1] + parts[2] * large
        np.testing.assert_allclose(mixed, expected, rtol=1e-15)
    assert len(asked) == 9


@no_checker
@pytest.mark.parametrize("kind", ["cotangent", "tangent"])
def test_what_is_said_of_rules_that_are_not_linear(kind):
    for factor in SIZES:
        least, most = np.abs(A).min(), np.abs(A + B).max()
        limits = (most * factor * 2, np.inf) if factor < 1 else (0, least * factor / 2)

        def rule(w, low=limits[0], high=limits[1], is_small=factor < 1):
            size = np.abs(w).max()
            keeps = size >= low if is_small else size <= high
            return np.concatenate([MATRIX[:3] @ w * keeps, MATRIX[3:] @ w])

        found, _ = complaints(rule, kind)
        assert of(kind, f" {factor:.1e} times as large", "a")[0] in found
        assert not any(" of b " in text for text in found)
    found, asked = complaints(lambda w: MATRIX @ w * (w != 0).all(), kind)
    different = of(kind, " with elements of different sizes")
    assert found == [*of(kind, " that are mostly zero"), *different]
    found, asked = complaints(
        lambda w: MATRIX @ w * (np.abs(w).max() < 1e4 * np.abs(w[w != 0]).min(initial=np.inf)), kind
    )
    assert found == different
    # A large function is tried with whole vectors only.
    found, asked = complaints(lambda w: MATRIX @ w * (w != 0).all(), kind, size=100_000)
    assert (found, len(asked)) == ([], 4)


@no_checker
def test_sums_of_cotangents_come_first():
    found, asked = complaints(lambda w: np.abs(MATRIX) @ np.abs(w - 3.0))
    assert found == [f"the gradient of {name} is not linear in the cotangent{SUM}" for name in "ab"]
    assert not asked
    # Tangents are not drawn so that their sum is exact.
    assert SUM not in str(complaints(lambda w: np.abs(MATRIX) @ np.abs(w), "tangent")[0])


@no_checker
@pytest.mark.parametrize("kind", ["cotangent", "tangent"])
def test_rounding_and_the_ends_of_the_range_are_excused(kind):
    def rule(w):
        return MATRIX @ w * (1 + 1e-9 * (np.abs(w).max() > 1e3))

    assert complaints(rule, kind)[0]
    assert not complaints(rule, kind, rounding=1e-7)[0]
    vectors = np.stack([A, B, A + B])
    for factor in (1e-251, 1e251):
        found, asked = complaints(rule, kind, factor * vectors)
        assert (found, asked) == ([], [])
    for factor in (1e-249, 1e249):
        assert complaints(rule, kind, factor * vectors)[1]
    zeros = complaints(lambda w: 0 * MATRIX @ w, kind, 0 * vectors)
    assert zeros[0] == []
    assert _constants.SMALLEST == 1e-250


@no_checker
@pytest.mark.parametrize("kind", ["cotangent", "tangent"])
def test_ends_of_the_range_themselves(kind):
    """Vectors there are still tried, zeros among them; results there are not compared."""
    least, most = _constants.SMALLEST, 1 / _constants.SMALLEST
    for size, is_tried in (
        *((least, True), (np.nextafter(least, 0), False), (most, True)),
        (np.nextafter(most, np.inf), False),
    ):
        vectors = np.array([[size, 0.0, 1.0, 1.0]] * 3)
        vectors[2] = 2 * vectors[2] if kind == "cotangent" and size == least else vectors[2]
        with np.errstate(over="ignore"):
            _, asked = complaints(lambda w: 0 * MATRIX @ w, kind, vectors)
        assert bool(asked) == is_tried
    rule = SimpleNamespace(kind=kind, leaves=LEAVES)
    for size, is_compared in (
        *((0.0, True), (least, False), (np.nextafter(least, 1), True)),
        *((most, False), (np.nextafter(most, 0), True)),
    ):
        expected = np.full(6, size)
        check = " x", expected + max(size, 1.0), expected, np.zeros(6)
        assert bool(_linearity._complaints(rule, check)) == is_compared
    check = " x", np.ones(6) + 1e-251, np.ones(6), np.full(6, np.nan)  # an unknown bound
    assert not _linearity._complaints(rule, check)


@no_checker
@pytest.mark.parametrize("kind", ["cotangent", "tangent"])
@pytest.mark.parametrize("factor", SIZES)
def test_bound_of_each_size(kind, factor):
    """It is 8 times the rounding, and grows with the size."""
    rounding = 1e-6
    sizes = np.abs(np.stack([A, B, A + B])).max(axis=1)

    def complained(share):
        def rule(w):
            size = np.abs(w).max()
            is_this = np.any(np.isclose(size, factor * sizes, rtol=1e-9))
            return MATRIX @ w + is_this * share * _constants.MARGIN * rounding * factor

        found, _ = complaints(rule, kind, rounding=rounding, size=100_000)
        return [text for text in found if f"{factor:.1e}" in text]

    assert not complained(0.99)
    assert len(complained(1.01)) == 2
