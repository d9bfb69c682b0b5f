"""All slips of a gradient in their order, with the gradients that they lead to."""

from itertools import islice
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv.verify import _constants
from jaxconv.verify._problem import split
from jaxconv.verify.diagnosis._array_slips import (
    Layout,
    changes,
    moved,
    without_an_end,
    without_border,
)
from jaxconv.verify.diagnosis._complex_slips import complex_slips
from jaxconv.verify.diagnosis._factor_slips import factors, products
from jaxconv.verify.diagnosis._geometry_slips import geometry_slips
from jaxconv.verify.diagnosis._jacobian_slips import jacobian_slips
from jaxconv.verify.diagnosis._layouts import Layouts
from jaxconv.verify.diagnosis._slips import Slips
from jaxconv.verify.diagnosis._true_rule import TrueRule

from .evidence import evidence_of

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")

# Four functions of x and y, each with the gradient for its cotangents.
TWO = (
    lambda x, y: (x * y, (x * x).sum(1) + y[:, 0]),
    lambda x, y, v, w: (v * y + 2 * x * w[:, None], v * x + w[:, None] * np.eye(3)[0]),
    [(2, 3), (2, 3)],
)
PAIR = (
    lambda x, y: (x * y, x + y * y),
    lambda x, y, v, w: (v * y + w, v * x + 2 * w * y),
    [(2, 3), (2, 3)],
)
SCALED = (lambda x, y: x * y, lambda x, y, v: (v * y, (v * x).sum((0, 1))), [(2, 3, 4), (4,)])
ALONE = (lambda x: x * x, lambda x, v: (2 * x * v,), [(3, 2)])
CASES = {"two results": TWO, "a pair": PAIR, "a scale": SCALED, "an argument alone": ALONE}


class Case:
    """A function, its evidence, and the gradients of an argument by its formula."""

    def __init__(self, name, position, row, normal):
        f, self.formula, shapes = CASES[name]
        self.args = [np.asarray(normal(shape)) for shape in shapes]
        self.evidence = evidence_of(f, self.args)
        self.problem, self.position, self.row = self.evidence.problem, position, row
        self.ws = self.cotangents(row)
        rows = [self.formula(*self.args, *self.cotangents(row)) for row in range(3)]
        self.evidence.truth.reverse = np.stack(
            [np.concatenate([bar.ravel() for bar in row]) for row in rows]
        )
        self.leaf = self.problem.leaves[position]
        self.true = self.evidence.truth.reverse[row][self.leaf.elements]
        self.reported = np.asarray(normal(self.true.shape))
        self.results = jax.tree.leaves(f(*self.args))

    def cotangents(self, row):
        return split(self.problem.outputs, self.evidence.draws.cotangents[row])

    def at(self, args=None, ws=None):
        """The gradient for other arguments or cotangents."""
        bars = self.formula(*(args or self.args), *(ws or self.ws))
        return bars[self.position].ravel()

    def with_argument(self, i, array):
        return self.at([*self.args[:i], array, *self.args[i + 1 :]])

    def with_cotangent(self, i, array):
        return self.at(ws=[*self.ws[:i], array, *self.ws[i + 1 :]])

    def layouts(self):
        return Layouts(self.evidence)


def of_one_result(case):
    """The share of one result's cotangent times a constant, fitted to the rule's gradient."""
    for i, output in enumerate(case.problem.outputs if len(case.ws) == 2 else ()):
        share = case.true - case.with_cotangent(i, 0 * case.ws[i])
        what = f"the true gradient for a cotangent {output.name} of zeros"
        yield "cotangent of a result ignored", what, case.true - share
        ((factor,), *_) = np.linalg.lstsq(share[:, None], case.reported - case.true)
        said = f"{1 + factor:.6g}"
        yield (
            f"a factor of {said} in the cotangent of one result",
            f"the true gradient for {said} times the cotangent {output.name}",
            case.true + factor * share,
        )


def of_cotangents(case):
    """The slips of cotangents."""
    names = [output.name for output in case.problem.outputs]
    batch, shape = case.args[0].shape[0], case.leaf.shape
    if len(case.args) > 1 and shape[0] != batch:
        for kept in (0, batch - 1):
            ws = [w * (np.arange(batch) == kept).reshape(-1, *[1] * (w.ndim - 1)) for w in case.ws]
            what = f"the true gradient of example {kept} of the batch alone"
            yield "missing sum over the batch", what, case.at(ws=ws)
    ones = [np.ones_like(w) for w in case.ws]
    yield "cotangent ignored", "the true gradient for a cotangent of ones", case.at(ws=ones)
    if len(case.ws) == 2:
        a, b = case.ws
        if a.shape == b.shape:
            for slip, what, pair in (
                ("cotangents of two results exchanged", "exchanged", [b, a]),
                ("cotangent of one result used twice", "both replaced by the first", [a, a]),
                ("cotangent of one result used twice", "both replaced by the second", [b, b]),
                (
                    "cotangent of one result carried back as that of another",
                    "both used as the first",
                    [a + b, 0 * b],
                ),
                (
                    "cotangent of one result carried back as that of another",
                    "both used as the second",
                    [0 * a, a + b],
                ),
                ("cotangents of the results added", "both replaced by their sum", [a + b] * 2),
                (
                    "cotangents of the results added",
                    "both replaced by their mean",
                    [(a + b) / 2] * 2,
                ),
            ):
                what = f"the true gradient with the cotangents of {names[0]} and {names[1]} {what}"
                yield slip, what, case.at(ws=pair)
    for i, (w, y) in enumerate(zip(case.ws, case.results, strict=True)):
        name = f" {names[i]}" if len(names) > 1 else ""
        border = "border of the cotangent ignored, as by a wrong output padding"
        end = "end of the cotangent ignored, as by a range that is too short"
        for slip, what, changed in (
            *changes(w, "cotangent", Layout()),
            *((border, what, cut) for what, cut in without_border(w, Layout())),
            *((end, what, cut) for what, cut in without_an_end(w)),
            ("cotangent squared", "squared", w * w),
            ("absolute value of the cotangent", "replaced by its absolute value", abs(w)),
            ("sign of the cotangent", "reduced to its signs", np.sign(w)),
            ("cotangent clipped", "clipped to [-1, 1]", np.minimum(np.maximum(w, -1), 1)),
            ("cotangent multiplied by the result", "multiplied by the result", w * y),
            ("cotangent divided by the result", "divided by the result", w / y),
        ):
            said = f"the true gradient for a cotangent{name} {what}"
            yield slip, said, case.with_cotangent(i, changed)


def of_other_arrays(case):
    for other in case.problem.leaves:
        if other != case.leaf and other.shape == case.leaf.shape:
            theirs = case.evidence.truth.reverse[case.row][other.elements]
            yield (
                "cotangents of two arguments exchanged",
                f"the true gradient of {other.name}",
                theirs,
            )
            slip = "gradients of two arguments added"
            for what, divisor in (
                ("sum of the true gradient", 1),
                ("mean of the true gradient", 2),
            ):
                both = (case.true + theirs) / divisor
                yield slip, f"the {what} and that of {other.name}", both


def others(case):
    """The arguments whose values a rule may confuse."""
    for i, leaf in enumerate(case.problem.leaves):
        if i != case.position or len(case.args) == 1:
            yield i, leaf


def of_arguments(case):
    for i, leaf in others(case):
        for slip, what, changed in moved(case.args[i], "argument", case.layouts().of(leaf)):
            said = f"the true gradient for {leaf.name} {what}"
            yield slip, said, case.with_argument(i, changed)
    if len(case.args) == 2 and case.args[0].shape == case.args[1].shape:
        what = "the true gradient with x and y exchanged"
        yield "residuals of two arguments exchanged", what, case.at(case.args[::-1])
    for i, leaf in enumerate(case.problem.leaves):
        for output, y in zip(case.problem.outputs, case.results, strict=True):
            if output.shape == leaf.shape:
                what = f"the true gradient with {leaf.name} replaced by the result {output.name}"
                yield "result taken for the argument", what, case.with_argument(i, np.asarray(y))


def of_borders(case):
    for i, leaf in others(case):
        for what, cut in without_border(case.args[i], case.layouts().of(leaf)):
            said = f"the true gradient for {leaf.name} {what}"
            yield "border of an argument ignored", said, case.with_argument(i, cut)


def expected(case, are_several, most=None, few=None):
    """All slips; `most` changed arrays, and `few` changed arguments and changed cotangents."""
    program = TrueRule(case.evidence, case.row)
    yield from of_one_result(case)
    cotangents = list(islice(of_cotangents(case), few))
    yield from cotangents if are_several else ()
    array = case.true.reshape(case.leaf.shape)
    layout = case.layouts().of(case.leaf)
    for slip, what, changed in islice(changes(array, "gradient", layout), most):
        yield slip, f"the true gradient {what}", changed.ravel()
    yield from of_other_arrays(case)
    found = factors(case.evidence, case.leaf, case.reported, case.true, case.row)
    yield from islice(found, most)
    yield from islice(of_arguments(case), few)
    yield from () if are_several else cotangents
    if most is not None:
        return
    yield from jacobian_slips(program, case.leaf, case.problem, case.layouts())
    yield from of_borders(case)
    yield from products(case.evidence, case.leaf, case.reported, case.row)


def assert_same(found, wanted):
    found, wanted = list(found), list(wanted)
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    for (_, what, actual), (*_, gradient) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(actual, gradient, rtol=1e-10, atol=1e-12, err_msg=what)


EACH = [(name, i) for name, (_, _, shapes) in CASES.items() for i in range(len(shapes))]


@pytest.mark.parametrize(("name", "position"), EACH)
def test_these_slips_are_tried_in_this_order(name, position, normal):
    case = Case(name, position, position, normal)
    for are_several in (False, True):
        slips = Slips(case.evidence, are_several)
        found = slips(case.leaf, case.reported, case.true, case.row)
        assert_same(found, expected(case, are_several))


@pytest.mark.parametrize(("name", "position"), EACH)
def test_of_a_large_function_few_are_tried(name, position, normal, monkeypatch):
    case = Case(name, position, 0, normal)
    size = case.problem.size + case.problem.output_size
    fewest = _constants.SLIP_FEWEST
    for large, elements, most in ((size - 1, 0, fewest), (size - 1, 10 * case.leaf.size, 10)):
        monkeypatch.setattr(_constants, "LARGE", large)
        monkeypatch.setattr(_constants, "SLIP_ELEMENTS", elements)
        found = Slips(case.evidence, False)(case.leaf, case.reported, case.true, 0)
        assert_same(found, expected(case, False, most, fewest))


def test_without_a_jacobian_few_cotangents_and_arguments_are_tried(normal, monkeypatch):
    case = Case("two results", 0, 0, normal)
    wanted = list(expected(case, False, None, _constants.SLIP_FEW))
    at = list(jacobian_slips(TrueRule(case.evidence, 0), case.leaf, case.problem, case.layouts()))
    monkeypatch.setattr(_constants, "SLIP_JACOBIAN", 0)
    found = list(Slips(case.evidence, False)(case.leaf, case.reported, case.true, 0))
    assert len(found) == len(wanted) - len(at)
    assert [each[:2] for each in found] == [
        each[:2] for each in wanted if each[:2] not in {a[:2] for a in at}
    ]


def test_without_the_equations_only_arrays_are_changed(normal):
    case = Case("a pair", 1, 0, normal)
    array = case.true.reshape(2, 3)
    wanted = [
        *((slip, f"the true gradient {what}", changed.ravel())
          for slip, what, changed in changes(array, "gradient", case.layouts().of(case.leaf))),
        *of_other_arrays(case),
        *factors(case.evidence, case.leaf, case.reported, case.true, 0),
    ]  # fmt: skip
    for evidence in (
        SimpleNamespace(**vars(case.evidence) | {"truth": SimpleNamespace(
            is_autodiff=False, reverse=case.evidence.truth.reverse)}),
        SimpleNamespace(**vars(case.evidence) | {"derivatives": SimpleNamespace(traces={})}),
    ):  # fmt: skip
        found = Slips(evidence, False)(case.leaf, case.reported, case.true, 0)
        assert_same(found, wanted)
    case.evidence.truth = SimpleNamespace(is_autodiff=False, reverse=None)
    found = Slips(case.evidence, False)(case.leaf, case.reported, case.true, 0)
    names = {slip for slip, *_ in found}
    assert not names & {"cotangents of two arguments exchanged", "gradients of two arguments added"}


def test_geometry_is_computed_once_for_all_arguments(normal, monkeypatch):
    def conv(x, k):
        return lax.conv_general_dilated(x, k, (2,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    args = [np.asarray(normal(shape)) for shape in ((2, 5, 2), (3, 2, 2))]
    evidence = evidence_of(conv, args)
    slips = Slips(evidence, False)
    for row in (0, 1):
        program = TrueRule(evidence, row)
        wanted = list(geometry_slips(program))
        assert wanted
        whole = program({})
        for leaf in evidence.problem.leaves:
            true = whole[leaf.elements]
            found = slips(leaf, true, true, row)
            of_geometry = [each for each in found if "of a convolution or pool" in each[1]]
            assert_same(
                of_geometry,
                [(s, f"the true gradient with {w}", g[leaf.elements]) for s, w, g in wanted],
            )


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_result_without_a_quotient_is_no_factor(value):
    evidence = evidence_of(lambda x: x * np.array([value, 1.0, 1.0]), (np.array([0.5, 1.0, 2.0]),))
    true = np.ones(3)
    leaf = evidence.problem.leaves[0]
    names = {slip for slip, *_ in Slips(evidence, False)(leaf, true, true, 0)}
    assert "cotangent divided by the result" not in names
    assert ("cotangent multiplied by the result" in names) == (value == 0)
    assert ("result taken for the argument" in names) == (value == 0)


def test_few_results_are_changed(monkeypatch):
    """Of many results only the first ones, and no pair of them."""
    monkeypatch.setattr(_constants, "SLIP_CONVOLUTIONS", 2)
    x = np.arange(1.0, 4)
    for count, is_few in ((3, True), (4, False)):
        monkeypatch.setattr(_constants, "SLIP_FEW", 3)
        monkeypatch.setattr(_constants, "SLIP_JACOBIAN", 1 << 20)
        evidence = evidence_of(lambda x, n=count: tuple(x * (i + 2.0) for i in range(n)), (x,))
        found = list(Slips(evidence, False)(evidence.problem.leaves[0], x, x, 0))
        squared = [what for slip, what, _ in found if slip == "cotangent squared"]
        assert squared == [f"the true gradient for a cotangent y[{i}] squared" for i in range(2)]
        exchanged = [
            what for slip, what, _ in found if slip == "cotangents of two results exchanged"
        ]
        start = "the true gradient with the cotangents of"
        assert exchanged == [f"{start} y[0] and y[{i}] exchanged" for i in (1, 2)]
        ignored = [what for slip, what, _ in found if slip == "cotangent of a result ignored"]
        assert len(ignored) == (count if is_few else 0)


def test_slips_of_complex_arrays_come_first(normal):
    z = np.asarray(normal((3,))) + 1j * np.asarray(normal((3,)))
    evidence = evidence_of(lambda z: z * z, (z,))
    evidence.rows = lambda mode: (np.tile(np.arange(1.0, 7), (3, 1)), None)
    leaf = evidence.problem.leaves[0]
    wanted = complex_slips(TrueRule(evidence, 1), evidence, leaf, 1)
    assert wanted
    true = np.ones(3)
    assert_same(islice(Slips(evidence, True)(leaf, true, true, 1), len(wanted)), wanted)


def test_a_batch_of_one_is_not_summed(normal):
    x, y = np.asarray(normal((1, 3))), np.asarray(normal((3,)))
    evidence = evidence_of(lambda x, y: x * y, (x, y))
    leaf = evidence.problem.leaves[1]
    evidence.truth.reverse = np.ones((3, 6))
    names = {slip for slip, *_ in Slips(evidence, False)(leaf, y, y, 0)}
    assert "missing sum over the batch" not in names


@pytest.mark.parametrize(
    ("second", "is_summed"), [(lambda x: x[:, 0], True), (jnp.sum, False), (lambda x: x[0], False)]
)
def test_a_batch_is_summed_if_every_result_has_it(second, is_summed, normal):
    x, y = np.asarray(normal((2, 3))), np.asarray(normal((3,)))
    evidence = evidence_of(lambda x, y: (x * y, second(x * y)), (x, y))
    leaf = evidence.problem.leaves[1]
    evidence.truth.reverse = np.ones((3, 9))
    names = {slip for slip, *_ in Slips(evidence, False)(leaf, y, y, 0)}
    assert ("missing sum over the batch" in names) == is_summed


def test_constants_of_one_result_near_a_wrong_sign(normal):
    case = Case("two results", 0, 0, normal)
    share = case.true - case.with_cotangent(0, 0 * case.ws[0])
    for gap, slip in ((0.9e-4, "wrong sign"), (1.1e-4, "a factor of -0.99989")):
        reported = case.true + (gap - 2) * share
        found = list(Slips(case.evidence, False)(case.leaf, reported, case.true, 0))
        assert f"{slip} in the cotangent of one result" in {name for name, *_ in found}


def test_an_end_of_an_axis_is_set_to_zero():
    """Of each axis of two rows or more."""
    array = np.arange(1.0, 7).reshape(2, 1, 3)
    found = list(without_an_end(array))
    said = [f"with its {side} row along axis {axis} set to zero"
            for axis in (0, 2) for side in ("last", "first")]  # fmt: skip
    assert [what for what, _ in found] == said
    for (_, cut), index in zip(
        found, (np.s_[1], np.s_[0], np.s_[..., 2], np.s_[..., 0]), strict=True
    ):
        expected = array.copy()
        expected[index] = 0
        np.testing.assert_array_equal(cut, expected)
