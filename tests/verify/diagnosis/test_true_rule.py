"""The equations of a gradient run with other values, and only those that depend on them."""

import jax
import numpy as np
import pytest
from jax.extend.core import Primitive

from jaxconv.verify import _constants
from jaxconv.verify._problem import split
from jaxconv.verify.diagnosis import _true_rule
from jaxconv.verify.diagnosis._true_rule import TrueRule, Unknown

from .evidence import evidence_of

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def f(x, y):
    return x * y, (x * x).sum(0) + 3.0


def gradient(x, y, v, w):
    return np.concatenate([(v * y + 2 * x * w).ravel(), (v * x).ravel()])


@pytest.fixture
def case(normal):
    x, y = (np.asarray(normal((2, 3))) for _ in range(2))
    evidence = evidence_of(f, (x, y))
    return evidence, x, y


@pytest.mark.parametrize("row", [0, 1, 2])
def test_gradients_with_other_values(row, case):
    evidence, x, y = case
    rule, w = TrueRule(evidence, row), evidence.draws.cotangents[row]
    v, u = split(evidence.problem.outputs, w)
    np.testing.assert_array_equal(rule.w, w)
    of_x, of_y = rule.inputs
    of_v, of_u = rule.cotangents
    np.testing.assert_allclose(rule({}), gradient(x, y, v, u))
    np.testing.assert_allclose(rule({of_x: y, of_y: x}), gradient(y, x, v, u))
    np.testing.assert_allclose(rule({of_y: x}), gradient(x, x, v, u))
    np.testing.assert_allclose(rule({of_v: v**2}), gradient(x, y, v**2, u))
    np.testing.assert_allclose(rule({of_u: 0 * u}), gradient(x, y, v, 0 * u))
    for others in ([v**2, u], [v, np.abs(u)]):
        np.testing.assert_allclose(rule.at(others), gradient(x, y, *others))
    np.testing.assert_allclose(rule.jacobian.T @ w, gradient(x, y, v, u))
    columns = [gradient(x, y, *split(evidence.problem.outputs, e)) for e in np.eye(len(w))]
    np.testing.assert_allclose(rule.jacobian, columns)


def test_variables_of_the_program(case):
    rule = TrueRule(case[0], 0)
    names = [e.primitive.name for e in rule.live]
    assert "add" not in names  # the results, which no gradient needs
    known = {v for e in rule.live for v in (*e.invars, *e.outvars) if not hasattr(v, "val")}
    assert known <= set(rule.values)
    for start in (rule.inputs, rule.cotangents[:1], rule.cotangents[1:]):
        found = set(start)
        while True:
            more = {
                v
                for e in rule.live
                if any(not hasattr(a, "val") and a in found for a in e.invars)
                for v in e.outvars
            }
            if more <= found:
                break
            found |= more
        assert rule.depends(start) == found


def test_what_does_not_change_is_not_computed_again(case, monkeypatch):
    rule, bound = TrueRule(case[0], 0), []
    bind = _true_rule.bind

    def count(equation, operands):
        bound.append(equation)
        return bind(equation, operands)

    monkeypatch.setattr(_true_rule, "bind", count)
    rule({})
    assert not bound
    (of_v, _), everything = rule.cotangents, rule.live
    rule({of_v: np.ones((2, 3))})
    changed = rule.depends([of_v])
    assert bound == [e for e in everything if set(e.outvars) <= changed]
    assert 0 < len(bound) < len(everything)
    del bound[:]
    last = rule.live[-1].outvars[0]
    rule({last: rule.values[last]})
    assert not bound


def test_rows_of_a_jacobian_in_one_batch(case, monkeypatch):
    evidence, *_ = case
    one_by_one = TrueRule(evidence, 0).jacobian
    monkeypatch.setattr(_true_rule, "_ONE_BY_ONE", 0)
    np.testing.assert_allclose(TrueRule(evidence, 0).jacobian, one_by_one, rtol=1e-14)


def test_a_large_jacobian_is_not_computed(case, monkeypatch):
    evidence, x, y = case
    elements = 9 * 12  # results times arguments, which are more than any intermediate result
    for most, is_known in ((elements, True), (elements - 1, False)):
        monkeypatch.setattr(_constants, "SLIP_JACOBIAN", most)
        rule = TrueRule(evidence, 0)
        assert (rule.jacobian is not None) == is_known
        v, w = split(evidence.problem.outputs, rule.w)
        np.testing.assert_allclose(rule.at([v**2, w]), gradient(x, y, v**2, w))


def test_a_large_intermediate_result_is_counted(monkeypatch):
    def wide(x):
        return (x[:, None] * np.ones((1, 50)) * x[:, None]).sum(1)

    evidence = evidence_of(wide, (np.arange(1.0, 4),))
    for most, is_known in ((3 * 150, True), (3 * 150 - 1, False)):
        monkeypatch.setattr(_constants, "SLIP_JACOBIAN", most)
        assert (TrueRule(evidence, 0).jacobian is not None) == is_known


refused = Primitive("refused")
refused.def_abstract_eval(lambda aval: aval)


@refused.def_impl
def _(x):
    if np.min(x) < 0:
        raise RuntimeError("no negative numbers")
    return np.asarray(x) * 2


def test_a_primitive_that_refuses_values_is_unknown(monkeypatch):
    ruled = jax.custom_vjp(lambda x: 2 * x)
    ruled.defvjp(lambda x: (2 * x, None), lambda _, w: (refused.bind(w),))
    evidence = evidence_of(ruled, (np.ones(3),))
    evidence.draws.cotangents = np.abs(evidence.draws.cotangents)
    rule = TrueRule(evidence, 0)
    np.testing.assert_allclose(rule({}), 2 * rule.w)
    with pytest.raises(Unknown):
        rule({rule.cotangents[0]: -rule.w})
    monkeypatch.setattr(_true_rule, "_ONE_BY_ONE", 0)
    assert rule.jacobian is None  # it has no batching rule
    with pytest.raises(Unknown):
        rule.at([-rule.w])


def test_rows_are_computed_one_by_one_up_to_a_cost(case, monkeypatch):
    evidence, *_ = case
    rule, asked = TrueRule(evidence, 0), []
    cost = 9 * sum(map(_true_rule.cost_of, rule.live))
    monkeypatch.setattr(
        jax, "vmap", lambda f, out_axes: asked.append(1) or (lambda w: [*map(f, w)])
    )
    for most, is_batched in ((cost, False), (cost - 1e-9, True)):
        asked.clear()
        monkeypatch.setattr(_true_rule, "_ONE_BY_ONE", most)
        assert TrueRule(evidence, 0).jacobian.shape == (9, 12)
        assert bool(asked) == is_batched
