"""How far the dtypes of a function move a value, and what a rule is called with."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._draws import Draws
from jaxconv.verify._problem import Leaf, join, problem_of, typed
from jaxconv.verify.comparison import _evidence
from jaxconv.verify.comparison._evidence import Evidence, call_rule, last_rounding, smallest
from jaxconv.verify.truth._rounding import Measured

from ..rules import with_vjp

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

LEAVES = tuple(
    Leaf(name, i, (3,), jnp.dtype(name), 3 * i)
    for i, name in enumerate(("float64", "float32", "bfloat16"))
)
EPS = [2.0**-52, 2.0**-23, 2.0**-7]
TINY = [2.0**-1022, 2.0**-126, 2.0**-126]


def test_last_rounding_is_a_unit_or_the_smallest_number():
    largest = [float(jnp.finfo(leaf.dtype).max) for leaf in LEAVES]
    value = np.concatenate([[0.0, -2.5, top] for top in largest])
    expected = np.concatenate(
        [[tiny, 2.5 * eps + tiny, np.inf] for eps, tiny in zip(EPS, TINY, strict=True)]
    )
    np.testing.assert_allclose(last_rounding(LEAVES, value), expected, rtol=1e-14)
    just_below = np.repeat([top * (1 - 2 * eps) for top, eps in zip(largest, EPS, strict=True)], 3)
    assert np.isfinite(last_rounding(LEAVES, just_below)).all()
    np.testing.assert_array_equal(smallest(LEAVES, value), np.repeat(TINY, 3))


def evidence(leaves, point, value, rounding, is_wide=False):
    """Evidence with the values and roundings of three cotangents and two directions."""
    outputs = [Leaf("y", -1, (1,), np.dtype(float if is_wide else "float32"), 0)]
    problem = SimpleNamespace(leaves=leaves, outputs=outputs, size=len(point), output_size=1)
    asked = []

    def derivatives(at, ws, only, is_own, more=0):
        asked.append((at, only, is_own, more))
        return {name: Measured(value, rounding) for name in only}

    made = Evidence(
        problem,
        SimpleNamespace(cotangents=np.ones((3, 1)), directions=np.ones((2, len(point)))),
        None,
        SimpleNamespace(point=point, arithmetic=SimpleNamespace(unit=None)),
        derivatives,
        {"reverse": Measured(2 * value, rounding), "forward": Measured(value, rounding)},
        None,
        0,
    )
    return made, asked


def test_bounds_of_the_own_dtypes():
    value = np.arange(1.0, 28)
    rounding = np.where(np.arange(27) == 4, np.inf, 0.5)
    point = np.array([1.0, 0.0, 1e-310, 1.0, 0.0, 1e-40, 1.0, -1e-40, 2.0])
    made, asked = evidence(LEAVES, point, value, rounding)
    rows = value.reshape(3, 9)
    expected = _constants.MARGIN * rounding.reshape(3, 9)
    expected = expected + np.stack([last_rounding(LEAVES, row) for row in rows])
    expected[:, [2, 5, 7]] = np.inf  # subnormal arguments may be flushed to zero
    np.testing.assert_array_equal(made.own_bound(point), expected)
    assert asked == [(point, ["reverse", "forward"], True, 0)]
    made.own_bound(point)
    assert len(asked) == 1  # it is kept
    made.own_bound(point, 64)
    elsewhere = point + 1
    made.own_bound(elsewhere)
    assert [each[1:] for each in asked[1:]] == [
        (["reverse", "forward"], True, 64),
        (["reverse"], True, 0),
    ]


def test_rows_of_a_formula():
    value, rounding = np.arange(18.0), np.full(18, 0.25)
    value[3], rounding[3] = np.inf, np.inf
    leaves = (Leaf("x", 0, (6,), np.dtype(float), 0),)
    made, asked = evidence(leaves, np.ones(6), value, rounding, is_wide=True)
    rows, bound = made.rows("reverse")
    np.testing.assert_array_equal(rows, 2 * value.reshape(3, 6))
    assert bound[0, 3] == 0  # rounding makes nothing infinite
    assert made.rows("forward")[0].shape == (2, 9)
    np.testing.assert_array_equal(made.own("reverse", made.primal.point)[0], rows)
    assert not asked
    assert not made.is_narrow
    assert made.unit == 2.0**-52
    made.own("reverse", made.primal.point, 5)
    assert asked[0][1:] == (["reverse", "forward"], False, 5)
    made.primal.arithmetic.unit = 1e-3
    assert made.unit == 1e-3


def drawn(f, *args):
    problem = problem_of(f, args, None)
    return problem, Draws(problem, join(problem.point), np.ones(problem.size), 2, 0)


def test_the_rule_is_called_at_two_points():
    f = with_vjp(lambda x, y: x * y, lambda true, args, w: (2 * true[0], true[1]))
    x, y = np.array([1.0, 2.0]), np.float32([3.0, 4.0])
    problem, draws = drawn(f, x, y)
    called = call_rule(problem, draws)
    w = draws.cotangents
    rows = np.concatenate([2 * w * y, np.float32(w * x)], axis=1)
    np.testing.assert_allclose(called.rows, rows, rtol=1e-6)
    a, b = typed(problem.leaves, draws.second_point)
    second = np.concatenate([2 * w[0] * b, np.float32(w[0] * a)])
    np.testing.assert_allclose(called.elsewhere, second, rtol=1e-6)
    assert (called.repeats, called.wrong_types, called.error) == (True, (), None)


def test_what_the_call_of_a_rule_shows():
    count = []

    def changing(true, args, w):
        count.append(1)
        return (true[0] + len(count),)

    assert not call_rule(*drawn(with_vjp(jnp.sin, changing), np.ones(2))).repeats
    nothing = with_vjp(jnp.sin, lambda true, args, w: (jnp.nan * true[0],))
    assert call_rule(*drawn(nothing, np.ones(2))).repeats

    def raises(true, args, w):
        raise ZeroDivisionError("in the rule")

    called = call_rule(*drawn(with_vjp(jnp.sin, raises), np.ones(2)))
    assert isinstance(called.error, ZeroDivisionError)
    assert called.rows is None


def test_types_of_cotangents_are_compared(monkeypatch):
    problem, draws = drawn(lambda x, y, z: x * y * z, *3 * [np.ones(3)])
    vjp = jax.vjp

    def wrong(f, *xs):
        y, pull = vjp(f, *xs)
        return y, lambda w: (pull(w)[0].astype("float32"), pull(w)[1][:1], pull(w)[2])

    monkeypatch.setattr(jax, "vjp", wrong)
    assert call_rule(problem, draws).wrong_types == (
        "x: float64[3] received float32[3]",
        "y: float64[3] received float64[1]",
    )


def test_types_are_those_of_the_first_cotangent(monkeypatch):
    """A rule that changes them later is not deterministic, which is said elsewhere."""
    problem, draws = drawn(lambda x: 2 * x, np.ones(3))
    vjp, count, narrowed = jax.vjp, [], []

    def changing(f, *xs):
        y, pull = vjp(f, *xs)

        def narrow(w):
            count.append(1)
            (bar,) = pull(w)
            return (bar.astype("float32") if len(count) in narrowed else bar,)

        return y, narrow

    monkeypatch.setattr(jax, "vjp", changing)
    for first, said in ((1, ("x: float64[3] received float32[3]",)), (3, ())):
        count.clear()
        narrowed[:] = [first]
        assert call_rule(problem, draws).wrong_types == said


def test_gradients_nearby_are_known_if_those_of_both_modes_agree(monkeypatch):
    """At a first point, to half of the digits."""
    point, matrix = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0]])
    w, v = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[1.0, 0.5, -1.0]])
    leaves = (Leaf("x", 0, (3,), np.dtype(float), 0),)
    problem = SimpleNamespace(leaves=leaves, outputs=leaves, size=3, output_size=2)
    half = np.sqrt(2.0**-52)

    def known(change, traces=("true_reverse", "true_forward")):
        asked = []

        def true(at, name):
            asked.append(at)
            return w @ matrix * change if name == "reverse" else v @ matrix.T

        made = Evidence(
            *(problem, SimpleNamespace(cotangents=w, directions=v), None),
            SimpleNamespace(point=point),
            SimpleNamespace(traces=traces, true=true),
            *({}, None, 0),
        )
        return made.nearby("reverse"), made.nearby("forward"), asked

    reverse, forward, asked = known(1.0)
    count = 2 + _constants.NEARBY_POINTS
    assert (reverse.shape, forward.shape, len(asked)) == ((count, 2, 3), (count, 1, 2), 2 * count)
    np.testing.assert_array_equal(reverse[0], w @ matrix)
    np.testing.assert_array_equal(forward[0], v @ matrix.T)
    for at in asked:
        assert 0 < np.abs(at - point).max() < 8 * _constants.NEARBY
    order = np.array([1, 2, 3]) / 3
    rise, fall = ((at - point) / _constants.NEARBY for at in asked[:2])
    np.testing.assert_allclose(rise / order, np.abs(rise / order), rtol=1e-6)
    np.testing.assert_allclose(rise, -fall, rtol=1e-5)
    monkeypatch.setattr(_evidence, "is_large", lambda problem: True)
    assert len(known(1.0)[0]) == 2 + _constants.NEARBY_POINTS // 4
    monkeypatch.undo()
    assert known(1.0, ("true_reverse",))[:2] == (None, None)
    assert known(1.0, ("true_forward",))[:2] == (None, None)
    assert known(1 + half / 4)[0] is not None
    assert known(1 + 100 * half)[0] is None


def test_rounding_at_the_point():
    """Of the values in the own dtypes; of the first gradient with larger errors."""
    point, w = np.ones(2), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    for is_narrow in (False, True):
        asked = []

        def derivatives(*args, asked=asked, **options):
            asked.append((args, options))
            return {args[2][0]: Measured(np.arange(6.0), 10 + np.arange(6.0))}

        dtype = np.dtype("float32" if is_narrow else float)
        leaves = (Leaf("x", 0, (2,), dtype, 0),)
        made = Evidence(
            *(SimpleNamespace(leaves=leaves, outputs=()), SimpleNamespace(cotangents=w), None),
            *(SimpleNamespace(point=point), derivatives, {}, None, 0),
        )
        assert made.rounding_of_value().tolist() == list(range(10, 16))
        assert made.rounding_in_coarser_arithmetic().tolist() == [10, 11]
        (first, options), (second, others) = asked
        assert first[0] is second[0] is point
        assert first[1] is second[1] is w
        assert (first[2], options) == (["value"], {"is_own": True})
        assert (second[2:], others) == ((["reverse"], is_narrow), {"coarser": True})


def test_limits_of_dtypes_themselves():
    """The largest number that is not rounded to infinity, and the smallest normal one."""
    for leaf, tiny in zip(LEAVES, TINY, strict=True):
        info = jnp.finfo(leaf.dtype)
        largest = float(info.max) * (1 - float(info.eps))
        alone = (Leaf("x", 0, (2,), leaf.dtype, 0),)
        found = last_rounding(alone, np.array([largest, -np.nextafter(largest, np.inf)]))
        assert np.isfinite(found).tolist() == [True, False]
        point = np.array([tiny, np.nextafter(tiny, 0)])
        made, _ = evidence(alone, point, np.ones(6), np.zeros(6))
        assert np.isfinite(made.own_bound(point)[0]).tolist() == [True, False]
