"""The diagnosis of a finding, from the finding and the evidence alone."""

import logging
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _constants
from jaxconv.verify._problem import Leaf, Problem
from jaxconv.verify.comparison._cancellation import NOTE
from jaxconv.verify.comparison._findings import Finding
from jaxconv.verify.diagnosis import _explain
from jaxconv.verify.diagnosis._explain import diagnose
from jaxconv.verify.diagnosis._true_rule import Unknown
from jaxconv.verify.truth._kinks import Kinks

pytestmark = pytest.mark.usefixtures("float64")


TRUE = np.array([1.0, -2.0, 3.0, 0.5, -1.5, 2.5])
SIZE = float(np.linalg.norm(TRUE))
ACROSS = np.array([2.0, 1.0, 0.0, 0.0, 0.0, 0.0])  # orthogonal to TRUE
ACROSS *= SIZE / np.linalg.norm(ACROSS)
OTHERS = np.stack([TRUE, TRUE[::-1].copy(), TRUE + TRUE[::-1]])
SINGLE = float(np.finfo(np.float32).eps)


def leaf_of(shape, dtype=np.float64, part="", start=0, name="x"):
    return Leaf(name, 0, shape, np.dtype(dtype), start, part)


def said_of(
    reported,
    true=TRUE,
    *,
    mode="reverse",
    note="",
    row=0,
    wrong=None,
    bound=None,
    leaf=None,
    results=((6,),),
    arguments=None,
    truth=OTHERS,
    rows=None,
    ties=None,
    slips=(),
):
    """The diagnosis and its evidence; `truth` are the true gradients and `rows` the rule's."""
    reported, true = np.asarray(reported, float), np.asarray(true, float)
    leaf = leaf or leaf_of(true.shape)
    is_wrong = np.ones(true.shape, bool) if wrong is None else np.isin(np.arange(true.size), wrong)
    bound = np.zeros(true.shape) if bound is None else np.asarray(bound)
    found = Finding(leaf, mode, reported, true, bound, is_wrong, row, note)
    outputs = tuple(Leaf(f"y{i}", -1, shape, leaf.dtype, 0) for i, shape in enumerate(results))
    leaves = (leaf,) if arguments is None else arguments
    problem = Problem("f", lambda: (), leaves, outputs, (), np.zeros(0))
    rows = np.stack([reported, 2 * reported, 3 * reported]) if rows is None else np.asarray(rows)
    evidence = SimpleNamespace(
        problem=problem, truth=SimpleNamespace(reverse=truth), rows=lambda mode: (rows, None)
    )

    def tried(of, of_reported, of_true, of_row):
        assert (of, of_row) == (leaf, row)
        assert of_reported is reported
        assert of_true is true
        yield from slips

    with np.errstate(all="ignore"):
        return diagnose(found, evidence, ties, tried)


def factor_of(number, error="0e+00"):
    return f"the reported gradient equals {number} times the true gradient, relative error {error}"


def sizes(reported, true):
    return f"the reported gradient has norm {reported}, the true gradient {true}"


NO_SLIP = "explained by no known slip"
# A gradient with two small elements, and a small change of these.
SMALL = np.array([1.0, -2.0, 3.0, 0.5, 2.0**-7, 2.0**-7])
APART = 2.0**-26 * np.array([0, 0, 0, 0, 1.0, -1.0])


def near(factor, gap):
    """A multiple of TRUE that is off by a share of it."""
    return factor * (TRUE + gap * ACROSS)


# A gradient, what is known of it, the diagnosis, and the evidence where the test says so.
FINDINGS = {
    "cancelled": (
        (TRUE, {"note": NOTE, "bound": [9, 1, 4, 5, 1, 1], "wrong": [1, 2]}),
        NOTE,
        "rounding moves an element of 3 by about 4: the result is a difference of much larger "
        "terms",
    ),
    "cancelled by little": (
        (TRUE, {"note": NOTE, "bound": [9, 0.25, 0.5, 5, 1, 1], "wrong": [1, 2]}),
        NOTE,
        "rounding moves an element of 3 by about 0.5: the result is a difference of much larger "
        "terms",
    ),
    "off by the limit": (
        ([1e-6, 1.0, 3, 0.5, -1.5, 2.5], {"true": [0, 1.0, 3, 0.5, -1.5, 2.5], "wrong": [0, 1]}),
        NO_SLIP,
        None,
    ),
    "in half precision": (
        (
            near(-0.5, 0.1505),
            {"mode": "jit", "leaf": leaf_of((6,), jnp.bfloat16)},
        ),
        "a constant factor of -0.5",
        factor_of("-0.5", "2e-01"),
    ),
    "some in half precision": (
        (
            [1, -2, -0.4 * (3 - 0.1505 / 2), -0.4 * (0.5 + 0.1505 * 3), -1.5, 2.5],
            {"mode": "jit", "wrong": [2, 3], "leaf": leaf_of((6,), jnp.bfloat16)},
        ),
        "a constant factor of -0.4 in some elements",
        "the wrong elements equal -0.4 times the true ones, relative error 2e-01",
    ),
    "a slip at its limit": (
        (
            SMALL + 8.5 * APART,
            {"true": SMALL, "wrong": [4, 5], "slips": [("a slip", "it", SMALL + 7.5 * APART)]},
        ),
        "a slip",
        None,
    ),
    "a slip that explains an eighth": (
        (
            SMALL + 8 * APART,
            {"true": SMALL, "wrong": [4, 5], "slips": [("a slip", "it", SMALL + 7 * APART)]},
        ),
        "a slip",
        None,
    ),
    "a slip beyond its limit": (
        (
            SMALL + 8.5 * APART,
            {"true": SMALL, "wrong": [4, 5], "slips": [("a slip", "it", SMALL + 7.4 * APART)]},
        ),
        NO_SLIP,
        None,
    ),
    "value twice as large": (
        (2 * TRUE, {"mode": "primal_value", "note": "jax.vjp"}),
        "jax.vjp returns another value than the function",
        factor_of(2).replace("gradient", "value"),
    ),
    "value nearly twice as large": (
        (near(2, 0.9e-6), {"mode": "primal_value", "note": "jax.jvp"}),
        "jax.jvp returns another value than the function",
        factor_of(2, "9e-07").replace("gradient", "value"),
    ),
    "value that is no multiple": (
        (near(2, 1.1e-6), {"mode": "primal_value", "note": "jax.jvp"}),
        "jax.jvp returns another value than the function",
        "the reported value has norm 9.539, the true value 4.77",
    ),
    "NaN": (
        ([np.nan, np.nan, np.nan, 0, 0, 0], {"wrong": [1, 2, 3]}),
        "NaN in the gradient",
        "2 of 6 elements are NaN",
    ),
    "infinity beside an unknown NaN": (
        ([np.nan, -np.inf, 3, 0, 0, 0], {"wrong": [1, 3]}),
        "inf in the gradient",
        "1 of 6 elements are inf",
    ),
    "NaN and infinity": (
        ([np.nan, np.inf, 3, 0, 0, 0], {}),
        "NaN in the gradient",
        "2 of 6 elements are NaN",
    ),
    "without a truth": (
        (2 * TRUE, {"truth": None, "note": "the slope is wrong"}),
        "disagrees with the values of the function",
        "the slope is wrong",
    ),
    "a little off": (
        (TRUE + np.array([0, 0, 0.99e-6 * 3, 0, 0, 0]), {}),
        "off by 1e-06 of its size",
        "more than rounding explains: a constant has too few digits, or the function is exact to a "
        "tolerance only; pass it as tolerance=",
    ),
    "a little off, where it is wrong": (
        (TRUE + np.array([0, 0, 1, 4e-7, 0, 0]), {"wrong": [3]}),
        "off by 8e-07 of its size",
        None,
    ),
    "more than a little off": (
        (TRUE + np.array([0, 0, 1.01e-6 * 3, 0, 0, 0]), {"wrong": [2]}),
        "a single element is wrong",
        "it is 1 times the true one",
    ),
    "zero": ((0 * TRUE, {}), "the gradient is zero", "the true gradient has norm 4.77"),
    "zero is true": ((TRUE, {"true": 0 * TRUE}), NO_SLIP, sizes("4.77", "0")),
    "wrong sign": ((-TRUE, {}), "wrong sign", factor_of(-1)),
    "wrong sign, nearly": ((near(-1, 0.9e-8), {}), "wrong sign", factor_of(-1, "9e-09")),
    "factor beside wrong sign": (
        (-(1 + 2e-8) * TRUE, {}),
        "a constant factor of -1",
        factor_of(-1),
    ),
    "factor": ((0.7 * TRUE, {}), "a constant factor of 0.7", factor_of("0.7")),
    "factor, nearly": (
        (near(0.7, 1.1e-8), {}),
        "a constant factor of 0.7 in some elements",
        "the wrong elements equal 0.7 times the true ones, relative error 1e-08",
    ),
    "no factor": ((near(0.7, 1.1e-6), {}), NO_SLIP, sizes("3.339", "4.77")),
    "factor in float32": (
        (near(0.7, 31 * SINGLE), {"mode": "jit", "leaf": leaf_of((6,), np.float32)}),
        "a constant factor of 0.7",
        factor_of("0.7", "4e-06"),
    ),
    "no factor in float32": (
        (near(0.7, 33 * SINGLE), {"mode": "jit", "leaf": leaf_of((6,), np.float32)}),
        "right in reverse mode, wrong in jit",
        sizes("3.339", "4.77"),
    ),
    "the formula of a float32 rule is exact": (
        (near(0.7, 31 * SINGLE), {"leaf": leaf_of((6,), np.float32)}),
        NO_SLIP,
        None,
    ),
    "a rule as it is called is not exact": (
        (near(0.7, 31 * SINGLE), {"note": "more than rounding", "leaf": leaf_of((6,), np.float32)}),
        "a constant factor of 0.7",
        None,
    ),
    "another array": (
        (TRUE, {"true": 2 * TRUE, "mode": "forward"}),
        "a constant factor of 0.5",
        None,
    ),
    "forward, no slip": ((TRUE[::-1], {"mode": "forward"}), NO_SLIP, sizes("4.77", "4.77")),
    "in another mode alone": (
        (TRUE[::-1], {"mode": "vmap", "slips": [("a slip", "it", TRUE[::-1])]}),
        "right in reverse mode, wrong in vmap",
        sizes("4.77", "4.77"),
    ),
    "a note": (
        (TRUE[::-1], {"note": "the error is larger than rounding"}),
        "the error is larger than rounding",
        sizes("4.77", "4.77"),
    ),
    "stale": (
        ([3.0, 1, 1, 1, 1, 1], {"mode": "second_point", "truth": np.array([[3.0, 1, 1, 1, 1, 1]])}),
        "stale residual",
        "called at another point, the rule returns the true gradient at the first point, relative "
        "error 0e+00",
    ),
    "not stale": (
        (TRUE[::-1], {"mode": "second_point"}),
        "right at the first point, wrong at another",
        sizes("4.77", "4.77"),
    ),
    "stale by no more than the dtype": (
        (
            TRUE[::-1] * (1 + 31 * SINGLE),
            {"mode": "second_point", "truth": OTHERS[1:], "leaf": leaf_of((6,), np.float32)},
        ),
        "stale residual",
        None,
    ),
    "not stale, nearly": (
        (
            TRUE[::-1] * (1 + 33 * SINGLE),
            {"mode": "second_point", "truth": OTHERS[1:], "leaf": leaf_of((6,), np.float32)},
        ),
        "right at the first point, wrong at another",
        None,
    ),
    "zero in some": (
        ([1, -2, 0, 0, -1.5, 2.5], {"wrong": [2, 3]}),
        "zero where the true gradient is not",
        "all wrong elements are zero",
    ),
    "a factor in some": (
        ([1, -2, 6, 1, -1.5, 2.5], {"wrong": [2, 3]}),
        "a constant factor of 2 in some elements",
        "the wrong elements equal 2 times the true ones, relative error 0e+00",
    ),
    "a factor in some, nearly": (
        ([1, -2, 6, 1 + 5e-6, -1.5, 2.5], {"wrong": [2, 3]}),
        "a constant factor of 2 in some elements",
        "the wrong elements equal 2 times the true ones, relative error 8e-07",
    ),
    "no factor in some": (
        ([1, -2, 6, 1 + 7e-6, -1.5, 2.5], {"wrong": [2, 3]}),
        NO_SLIP,
        sizes("7.106", "4.77"),
    ),
    "wrong sign in some": (
        ([1, -2, -3, -0.5, -1.5, 2.5], {"wrong": [2, 3]}),
        "wrong sign in some elements",
        "the wrong elements equal -1 times the true ones, relative error 0e+00",
    ),
    "a factor near that of a wrong sign in some": (
        ([1, -2, -3 * (1 + 2e-8), -0.5 * (1 + 2e-8), -1.5, 2.5], {"wrong": [2, 3]}),
        "a constant factor of -1 in some elements",
        None,
    ),
    "one of some": (
        ([1, -2, 3, 2, -1.5, 2.5], {"wrong": [3]}),
        "a single element is wrong",
        "it is 4 times the true one",
    ),
    "some that are zero": (
        ([1, -2, 3, 0.5, -1.5, 1.0], {"true": [1, -2, 3, 0.5, -1.5, 0], "wrong": [5]}),
        NO_SLIP,
        None,
    ),
    "cotangent ignored": (
        (ACROSS, {"rows": [ACROSS, ACROSS * (1 + 0.9e-8), TRUE]}),
        "cotangent ignored",
        "two cotangents give the same gradient, relative difference 9e-09",
    ),
    "cotangent not ignored": (
        (ACROSS, {"rows": [ACROSS, ACROSS * (1 + 1.1e-8), TRUE]}),
        NO_SLIP,
        None,
    ),
    "cotangent not ignored by nothing": (
        (ACROSS, {"rows": [0 * TRUE, 0 * TRUE, TRUE]}),
        NO_SLIP,
        None,
    ),
    "the first slip": (
        (
            ACROSS,
            {
                "slips": [
                    ("far", "that", TRUE),
                    ("a slip", "this", ACROSS * (1 + 0.9e-8)),
                    ("another", "it", ACROSS),
                ]
            },
        ),
        "a slip",
        "the reported gradient equals this, relative error 9e-09",
    ),
    "no slip that is near": (
        (
            ACROSS,
            {"slips": [("a slip", "this", ACROSS * (1 + 1.1e-8)), ("NaN", "x", ACROSS * np.nan)]},
        ),
        NO_SLIP,
        None,
    ),
    "a slip that explains no more than the true gradient": (
        (near(1, 2e-6), {"slips": [("a slip", "this", near(1, 2e-6 + 0.3e-6))]}),
        NO_SLIP,
        None,
    ),
}


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize("name", FINDINGS)
def test_finding_has_its_words(name):
    (reported, known), diagnosis, evidence = FINDINGS[name]
    found = said_of(reported, **known)
    assert found[0] == diagnosis
    assert evidence is None or found[1] == evidence


def _batch_of(*shapes):
    return tuple(leaf_of(shape, name=f"x{i}") for i, shape in enumerate(shapes))


MAP = (2, 3, 4, 5)
# The shapes of the arguments, of which the last one is wrong, of the results, the factor, the
# words.
COUNTS = [
    ((MAP, (5,)), (MAP,), 1 / 2, "mean for sum over the batch, a factor of 0.5"),
    ((MAP, (5,)), (MAP,), 2, "sum for mean over the batch, a factor of 2"),
    ((MAP, (5,)), (MAP,), 1 / 12, "mean for sum over positions, a factor of 0.0833333"),
    ((MAP, (5,)), (MAP,), 24, "sum for mean over batch and positions, a factor of 24"),
    ((MAP, (5,)), (MAP,), 1 / 120, "mean for sum over the results, a factor of 0.00833333"),
    ((MAP, (5,)), (MAP,), 1 / 60, "a constant factor of 0.0166667"),
    ((MAP, (5,)), (MAP,), 0.5 * (1 + 2e-8), "a constant factor of 0.5"),
    ((MAP, (5,)), (MAP,), 2 * (1 + 2e-8), "a constant factor of 2"),
    ((MAP, (5,)), (MAP,), 0.5 * (1 + 0.9e-8), "mean for sum over the batch, a factor of 0.5"),
    ((MAP,), (MAP,), 1 / 2, "a constant factor of 0.5"),  # has a row per example
    ((MAP,), ((),), 1 / 2, "mean for sum over the batch, a factor of 0.5"),  # a loss
    (((2, 3), ()), ((2, 3),), 1 / 6, "mean for sum over the results, a factor of 0.166667"),
    (((2, 3), ()), ((2, 3),), 1 / 2, "mean for sum over the batch, a factor of 0.5"),
    (((2, 3), ()), ((2, 3),), 1 / 3, "a constant factor of 0.333333"),
    (((2, 3, 4), (4,)), ((2, 3, 4), (2, 5)), 10, "sum for mean over the results, a factor of 10"),
    (((2, 3, 4), (4,)), ((2, 3, 4), (2, 5)), 3, "sum for mean over positions, a factor of 3"),
    (((5, 4), (4,)), ((6, 3),), 1 / 6, "a constant factor of 0.166667"),
    (((2, 3, 4), (4,)), ((1,),), 1, "explained by no known slip"),
]


@pytest.mark.usefixtures("no_type_checker")
@pytest.mark.parametrize(("arguments", "results", "factor", "words"), COUNTS)
def test_means_have_their_counts(arguments, results, factor, words, normal):
    leaves = _batch_of(*arguments)
    true = np.asarray(normal((leaves[-1].size,)))
    truth = np.asarray(normal((3, leaves[-1].size)))
    if factor == 1:
        factor = 1 + np.linspace(0, 1, true.size)
    known = {"arguments": leaves, "leaf": leaves[-1], "results": results, "truth": truth}
    assert said_of(factor * true, true, rows=factor * truth, **known)[0] == words
    if "constant" not in words and "no known" not in words:
        said = said_of(factor * true, true, mode="forward", **known)[0]
        assert said == f"a constant factor of {factor:.6g}"  # a result is no sum over the results


@pytest.mark.usefixtures("no_type_checker")
def test_a_number_is_a_multiple_for_every_cotangent_or_for_none():
    truth = np.array([[2.0], [3.0], [5.0]])
    known = {"leaf": leaf_of(()), "truth": truth, "results": ((),)}
    for gap, words in ((0.9e-8, "a constant factor of 4"), (1.1e-7, "a single element is wrong")):
        rows = 4 * truth * [[1], [1], [1 + gap]]
        assert said_of([8.0], [2.0], rows=rows, **known)[0] == words
    assert said_of([8.0], [2.0], mode="forward", rows=truth, **known)[0] == "a constant factor of 4"
    found = said_of([8.0], [2.0], rows=truth, **known)
    assert found == ("a single element is wrong", "it is 4 times the true one")


@pytest.mark.usefixtures("no_type_checker")
def test_a_conjugate_has_the_real_part_of_the_gradient():
    leaf = leaf_of((6,), part="imag", start=6)
    truth = np.concatenate([TRUE[::-1], TRUE])[None].repeat(3, 0)
    for gap, words in ((0, "gradient conjugated"), (0.9e-8, "gradient conjugated"),
                       (2e-8, "wrong sign")):  # fmt: skip
        rows = truth * np.repeat([1 + gap * np.sqrt(2), -1], 6)
        said = said_of(-TRUE, leaf=leaf, truth=truth, rows=rows)
        assert said[0] == words
    said = said_of(-TRUE, leaf=leaf, truth=truth, rows=truth * np.repeat([1, -1], 6))
    assert said[1] == f"the real part is right; of the imaginary part, {factor_of(-1)}"
    assert said_of(-TRUE, leaf=leaf, truth=truth, mode="jit")[0] == "wrong sign"
    real = leaf_of((6,), part="real")
    assert said_of(-TRUE, leaf=real, truth=truth, rows=truth)[0] == "wrong sign"


@pytest.mark.usefixtures("no_type_checker")
def test_ties_that_do_not_fit_together():
    ones, zeros = np.ones(2), np.zeros(2)

    def kinks(*together, accepted=(True, True)):
        return Kinks(np.ones(2, bool), np.array(accepted), zeros, ones, together)

    said = said_of(2 * TRUE, ties=kinks((0.5, 0.0, 1.0), (2.0, 0.0, 1.0)))
    assert said == (
        "ties counted twice",
        "each of 2 elements has a gradient between the two slopes of its kink, but if all of them "
        "rise together the slope is between 0 and 1, and their gradients sum to 2",
    )
    for end in (0.0, 1.0):  # a slope at the end of the range is one
        said = said_of(2 * TRUE, ties=kinks((end, 0.0, 1.0), (-0.1, 0.0, 1.0)))
        assert said[1].endswith("gradients sum to -0.1")
    said = said_of(2 * TRUE, ties=kinks((2.0, 0.0, 1.0), accepted=(True, False)))
    assert said[0] == "a constant factor of 2"


@pytest.mark.usefixtures("no_type_checker")
def test_an_error_in_the_diagnosis_is_logged_and_a_primitive_that_refuses_values_is_not(caplog):
    class Refusing:
        def __init__(self, error):
            self.error = error

        def __iter__(self):
            raise self.error

    logger = logging.getLogger("jaxconv.verify")
    handlers, logger.handlers = logger.handlers, []  # those of the tests raise
    try:
        for error, count in ((Unknown(), 0), (KeyError("x"), 1)):
            caplog.clear()
            assert said_of(ACROSS, slips=Refusing(error))[0] == NO_SLIP
            assert len(caplog.records) == count
        assert caplog.records[0].getMessage() == "the diagnosis is incomplete: KeyError('x')"
    finally:
        logger.handlers = handlers
    with pytest.raises(KeyError):
        said_of(ACROSS, slips=Refusing(KeyError("x")))


@pytest.mark.usefixtures("no_type_checker")
def test_exactness_that_is_asked_for():
    assert (_constants.CLOSE, _constants.CLOSE_IN_SOME, _constants.LITTLE) == (1e-8, 1e-6, 1e-6)
    assert (_constants.CLOSE_UNITS, _constants.EXPLAINED) == (32, 1 / 8)


@pytest.mark.usefixtures("no_type_checker")
def test_words_at_the_limits_themselves():
    """In half precision a quarter is close; all numbers are exact."""
    half = {"mode": "jit", "leaf": leaf_of((4,), jnp.bfloat16)}
    assert _constants.CLOSE_UNITS * 2.0**-7 == 0.25
    true = np.array([2.0, 2.0, 2.0, 2.0])
    for factor, words in (
        *((-1.25, "wrong sign"), (-0.75, "wrong sign"), (-1.375, "a constant factor of -1.375")),
        *((0.625, "mean for sum over the results, a factor of 0.625"),),
        *((2.5, "sum for mean over the results, a factor of 2.5"),),
        *((0.75, "a constant factor of 0.75"), (2.75, "a constant factor of 2.75")),
    ):
        assert said_of(factor * true, true, results=((2,),), **half)[0] == words
    wrong = np.array([-2.5, -2.5, 2.0, 2.0])
    assert said_of(wrong, true, wrong=[0, 1], **half)[0] == "wrong sign in some elements"
    first = np.array([[4.0, 0.0, 0.0, 0.0]])
    stale = {"mode": "second_point", "truth": first, "leaf": leaf_of((4,), jnp.bfloat16)}
    for gap, words in ((1.0, "stale residual"), (1.125, "right at the first point, wrong at")):
        assert said_of([4.0, gap, 0, 0], np.array([0, 9.0, 1, 1]), **stale)[0].startswith(words)
    for gap, words in ((1e-8, "cotangent ignored"), (1.01e-8, NO_SLIP)):
        rows = np.array([[1.0, gap, 0, 0], [1.0, 0, 0, 0], [2.0, 0, 0, 0]])
        known = {"rows": rows, "leaf": leaf_of((4,))}
        assert said_of([0.0, 1, 2, 5], np.array([4.0, -1, 3, 1]), **known)[0] == words
    unit = np.array([1.0, 0.0])
    for gap, is_near in ((1e-8, True), (1.01e-8, False)):
        found = _explain._explains(unit, np.array([1.0, gap]), np.array([0.0, 5.0]), 1e-8)
        assert found == is_near
    for gap, explains in ((0.125, True), (0.1875, False)):
        true = unit + np.array([0, gap + 1.0])
        assert _explain._explains(unit, unit + np.array([0, gap]), true, 1.0) == explains
