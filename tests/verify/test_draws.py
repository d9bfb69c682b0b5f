"""Random cotangents and directions in the dtypes of a function."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._draws import Draws
from jaxconv.verify._problem import join, problem_of, typed
from jaxconv.verify.comparison import _linearity
from jaxconv.verify.comparison._evidence import Evidence
from jaxconv.verify.truth._kinks import look
from jaxconv.verify.truth._operations import Arithmetic
from jaxconv.verify.truth._rounding import Measured, Measurement
from jaxconv.verify.truth._search import worst_by_halves

from .truth.values import Values

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def draws_of(f, *args, scale=1.0, count=2, seed=0):
    problem = problem_of(f, args, None)
    return problem, Draws(problem, join(problem.point), np.full(problem.size, scale), count, seed)


def test_cotangents_are_multiples_of_a_sixteenth_whose_sum_is_exact():
    x = np.ones(500)
    _, draws = draws_of(lambda x: x.astype("bfloat16"), x)
    sixteenths = 16 * draws.cotangents[:2]
    np.testing.assert_array_equal(sixteenths, np.round(sixteenths))
    assert set(np.unique(np.abs(sixteenths))) == set(
        range(_constants.SMALLEST_COTANGENT, _constants.LARGEST_COTANGENT + 1)
    )
    assert 0.4 < (sixteenths > 0).mean() < 0.6
    np.testing.assert_array_equal(draws.cotangents[2], draws.cotangents[0] + draws.cotangents[1])
    for w, (typed_w,) in zip(draws.cotangents, draws.ws, strict=True):
        assert typed_w.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.asarray(typed_w, float), w)


def test_directions_have_the_sizes_of_the_steps():
    problem, draws = draws_of(lambda x, y: (x, y), np.ones(400), np.ones(300, np.float32), scale=3)
    assert draws.directions.shape == (2, 700)
    np.testing.assert_allclose(draws.directions.std(), 3, rtol=0.1)
    np.testing.assert_array_equal(draws.directions[:, 400:], np.float32(draws.directions[:, 400:]))
    for v, parts in zip(draws.directions, draws.vs, strict=True):
        np.testing.assert_array_equal(join(parts), v)
        assert [part.dtype for part in parts] == [leaf.dtype for leaf in problem.leaves]
    assert draws.xs is problem.point
    _, others = draws_of(lambda x, y: (x, y), np.ones(400), np.ones(300), count=5, seed=1)
    assert others.directions.shape == (5, 700)
    assert not np.array_equal(others.cotangents[0], draws.cotangents[0])


def test_second_point_is_near_the_first_and_every_result_exists_there():
    _, draws = draws_of(lambda x: x, np.ones(400))
    np.testing.assert_allclose((draws.second_point - 1).std(), _constants.SECOND_POINT, rtol=0.2)
    tried = []

    def f(x, end):
        tried.append(1)
        return jnp.where(jnp.abs(x - 1).max() <= end, x, jnp.nan)

    gaps = {}
    for end, shrinkings in ((1e9, 0), (0.2, 1), (0.05, 2), (1e-9, None)):
        _, draws = draws_of(lambda x, end=end: f(x, end), np.ones(400))
        gaps[shrinkings] = draws.second_point - 1
    factor = _constants.STEP_FACTOR
    for shrinkings in (1, 2):
        np.testing.assert_allclose(gaps[shrinkings], gaps[0] / factor**shrinkings, rtol=1e-9)
    assert not gaps[None].any()  # nothing but the point itself


def test_results_that_do_not_exist_need_not_exist_elsewhere():
    problem, draws = draws_of(lambda x: jnp.log(x), np.array([-1.0, 2.0]))
    assert np.isnan(problem.values).tolist() == [True, False]
    assert (draws.second_point != [-1.0, 2.0]).all()
    (x,) = typed(problem.leaves, draws.second_point)
    assert x[1] > 0


def test_each_kind_of_random_numbers_has_its_own_stream(monkeypatch):
    """Of the seed and a number, so that no two of them depend on each other."""
    asked, generator = [], np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: asked.append(seed) or generator(0))
    problem, draws = draws_of(lambda x: 2 * x, np.ones(3), seed=7)
    x, w = join(problem.point), draws.cotangents
    primal = Values(lambda x: 2 * x, x)
    (leaf,) = primal.problem.leaves
    traced = jax.make_jaxpr(lambda x: 2 * x)(x)
    Measurement({"f": traced}, Arithmetic(), 7, 3, {})
    monkeypatch.setattr(_constants, "KINK_ELEMENTS", 2)
    look(primal, leaf, np.arange(3), x, w[0], 7)
    worst_by_halves(primal, leaf, 2 * w[0], w[0], 7)
    derivatives = SimpleNamespace(
        traces=("true_reverse", "true_forward"),
        true=lambda at, name: 2 * (w if name == "reverse" else draws.directions),
    )
    evidence = Evidence(problem, draws, None, primal, derivatives, {}, None, 7)
    assert evidence.nearby("reverse") is not None
    rule = SimpleNamespace(vectors=w, value=w, rounding=0 * w, values=lambda a: a)
    rule.measure = lambda a: Measured(np.ravel(a), 0 * np.ravel(a))
    evidence.primal.arithmetic = Arithmetic()
    list(_linearity._mixed(evidence, rule))
    assert asked == [[7, stream] for stream in range(6)]
