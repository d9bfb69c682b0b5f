"""`Derivation`: what it checks, what its errors say, what it shows."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxconv import derivations
from jaxconv.derivations import Derivation, Step, WrongStep
from jaxconv.derivations._plain import plain


def chain(*values, scale=lambda a: (np.abs(a), 1)):
    steps = tuple(Step(f"e_{i}", f"Reason {i}.", value) for i, value in enumerate(values))
    return Derivation("a chain", "e", {"a": "`(n,)`"}, steps, scale)


def test_check_measures_in_units_of_the_bound():
    eps = np.finfo(np.float64).eps
    derivation = chain(lambda a: a, lambda a: a * (1 + eps), lambda a: a * (1 + eps))
    differences = derivation.check(np.array([1.0, -2.0]))
    assert differences == (0.5, 0.0)  # one eps of two that are allowed


def test_one_rounding_more_than_allowed_is_wrong():
    eps = np.finfo(np.float64).eps
    derivation = chain(lambda a: a, lambda a: a * (1 + 3 * eps))
    with pytest.raises(WrongStep, match=r"a chain: step 2, e_1, .*2 of 2 elements.*Reason 1\."):
        derivation.check(np.array([1.0, -2.0]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda a: np.where(a > 0, np.nan, a), r"1 of 2 elements .* first at \(0,\): nan"),
        (lambda a: a[:1], r"its shape is \(1,\), not \(2,\)"),
    ],
)
def test_the_first_wrong_step_is_named(value, message):
    derivation = chain(lambda a: a, lambda a: a, value, lambda a: 0 * a)
    with pytest.raises(WrongStep, match=f"step 3, .*{message}"):
        derivation.check(np.array([1.0, -2.0]))


def test_terms_that_all_vanish_must_vanish():
    derivation = chain(lambda a: 0 * a, lambda a: 0 * a + 1e-30, scale=lambda a: (0 * a, 1))
    with pytest.raises(WrongStep, match="bound 0"):
        derivation.check(np.ones(2))


def test_float32_is_checked_in_float64():
    derivation = chain(lambda a: a / 3, lambda a: a / 3 + 1e-12)
    with pytest.raises(WrongStep):
        derivation.check(np.ones(2, np.float32))


def test_the_arrays_are_counted():
    with pytest.raises(TypeError, match="a chain takes the arrays a, got 2 arrays"):
        chain(lambda a: a).check(np.ones(1), np.ones(1))


def test_page_has_equations_licences_and_what_was_measured():
    derivation = chain(lambda a: a, lambda a: a)
    page = str(derivation.show())
    assert r"$$ e = e_0 \tag{1} $$" in page
    assert r"$$  = e_1 \tag{2} $$" in page
    assert "Reason 1." in page
    assert derivation._repr_markdown_() == derivation.show()._repr_markdown_() == page
    assert "(Evaluated: equal.)" not in page
    assert "(Evaluated: equal.)" in str(derivation.show(np.ones(2)))


def test_a_terminal_shows_no_latex():
    shown = str(derivations.convolution_error(strides=2))
    assert "σ'(z^l_{j,c}) Σ_{r,o} δ^{l+1}_{(e j + lo - d r)/s,o} w_{r,c,o}   (4)" in shown
    sentences = [line for line in shown.splitlines() if not line.endswith(")")]
    assert max(map(len, sentences)) <= 100
    every = (
        *(derivations.convolution_error(), derivations.kernel_gradient(strides=2)),
        *(derivations.bias_gradient(), derivations.triangle(), derivations.output_error()),
        *(derivations.max_pool_error(2), derivations.avg_pool_error(2)),
        *(derivations.upscale_error(2), derivations.transposed_convolution()),
        *(derivations.perceptron_to_convolution(), derivations.toeplitz_transpose()),
        derivations.classifier_gradient(),
    )
    for derivation in every:
        text = str(derivation)
        assert "\\" not in text, text
        assert text.count("{") == text.count("}")


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{\partial C}{\partial w^1}", "∂C/∂w¹"),
        (r"(\delta^4 {w^4}^\top) \odot \operatorname{relu}'(z^3)", "(δ⁴ w⁴ᵀ) ⊙ relu'(z³)"),
        (r"\hat{y}_{j+r',o}", "ŷ_{j+r',o}"),
        (r"\sum_{n} \mathrm{conv\_input\_vjp}(y, k)", "Σ_n conv_input_vjp(y, k)"),
    ],
)
def test_plain(latex, expected):
    assert plain(latex) == expected


def test_no_notebook_is_needed():
    program = "import sys, jaxconv.derivations as d; d.triangle().show(); print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert loaded.isdisjoint({"IPython", "matplotlib", "flax"})


LONG = (
    "A reason of many words, which a terminal breaks into lines of at most 96 characters: "
    + "so " * 9
)


def in_full(*values):
    return Derivation(
        title="a chain",
        left="e_j",
        given={"a": "`(n,)`, of $x^2$", r"\delta": "an error"},
        steps=(
            Step("x^2", "Definition.", values[0]),
            Step(r"\sum_j y_j", "Since $x^2$ is so.", values[1]),
            Step("z", LONG.strip(), values[2]),
        ),
        scale=lambda a, b: (np.abs(a), 1),
    )


def test_the_text_of_a_terminal():
    assert (
        str(in_full(None, None, None))
        == """\
A chain

  a: `(n,)`, of x²
  δ: an error

  e_j = x²   (1)
    Definition.

      = Σ_j y_j   (2)
    Since x² is so.

      = z   (3)
    A reason of many words, which a terminal breaks into lines of at most 96 characters: so so
    so so so so so so so"""
    )


def test_the_source_of_a_page():
    eps = np.finfo(np.float64).eps
    derivation = in_full(lambda a, b: a, lambda a, b: a, lambda a, b: a * (1 + eps))
    page = f"""\
**A chain**

- $a$: `(n,)`, of $x^2$
- $\\delta$: an error

$$ e_j = x^2 \\tag{{1}} $$

Definition.

$$  = \\sum_j y_j \\tag{{2}} $$

Since $x^2$ is so.@

$$  = z \\tag{{3}} $$

{LONG.strip()}@
"""
    assert str(derivation.show()) == page.replace("@", "")
    first, second = " *(Evaluated: equal.)*", " *(Evaluated: equal to 0.5 of the rounding bound.)*"
    expected = page.replace("@", first, 1).replace("@", second)
    assert str(derivation.show(np.ones(2), np.ones(2))) == expected


def test_only_floats_become_float64():
    seen = []
    derivation = Derivation(
        "kinds",
        "e",
        dict.fromkeys("abc", ""),
        (Step("e", "", lambda *given: seen.extend(a.dtype.name for a in given) or 0),),
        lambda *given: (0, 1),
    )
    derivation.check([1.5], np.ones(1, np.int32), np.ones(1, bool))
    derivation.check(np.ones(1, np.float16), np.ones(1, np.float64), np.ones(1, np.complex64))
    assert seen == ["float64", "int32", "bool", "float64", "float64", "complex64"]


@pytest.mark.parametrize(("units", "right"), [(0, True), (12, True), (13, False)])
def test_the_bound_is_two_roundings_for_each_term(units, right):
    """2·N·eps·magnitude, with N = 3 terms of magnitude 2: twelve eps."""
    off = units * np.finfo(np.float64).eps
    derivation = chain(lambda a: 0 * a, lambda a: 0 * a + off, scale=lambda a: (2 * a, 3))
    if right:
        assert derivation.check(np.ones((2, 2))) == (units / 12,)
    else:
        with pytest.raises(
            WrongStep, match=r"4 of 4 elements .* first at \(0, 0\): .* bound 2.7e-15"
        ):
            derivation.check(np.ones((2, 2)))


def test_differences_are_those_of_the_worst_element_and_scalars_have_one():
    eps = np.finfo(np.float64).eps
    off = lambda a: a + np.array([0, -1.5, 1]) * eps  # noqa: E731
    assert chain(lambda a: a, off).check(np.ones(3)) == (0.75,)
    scalar = chain(lambda a: a[0], lambda a: a[0], scale=lambda a: (1.0, 1))
    assert scalar.check(np.ones(1)) == (0.0,)
    with pytest.raises(WrongStep, match=r"1 of 1 elements .* first at \(0,\): 0.0 against 1.0"):
        chain(lambda a: a[0], lambda a: 0.0, scale=lambda a: (1.0, 1)).check(np.ones(1))
    nothing = chain(lambda a: a, lambda a: a)
    assert nothing.check(np.ones(0)) == (0.0,)
    vanishing = chain(lambda a: 0 * a, lambda a: 0 * a, scale=lambda a: (0 * a, 1))
    assert vanishing.check(np.ones(2)) == (0.0,)


def test_an_element_of_the_middle_is_pointed_at():
    def wrong(a):
        return a + (np.arange(6).reshape(2, 3) >= 4)

    with pytest.raises(WrongStep, match=r"2 of 6 elements .* at \(1, 1\): 2.0 against 1.0, bound"):
        chain(lambda a: a, wrong).check(np.ones((2, 3)))


def test_the_steps_run_in_float64_and_a_part_has_fewer_of_them():
    seen = []
    derivation = chain(*[lambda a: seen.append(jax.config.read("jax_enable_x64")) or a] * 3)
    with jax.enable_x64(False):
        derivation.check(np.ones(1))
    assert seen == [True] * 3
    assert (len(derivation), len(derivation[:-1]), len(derivation[1:])) == (3, 2, 2)
    assert derivation[:-1].steps == derivation.steps[:2]
    assert derivation[:-1].title == derivation.title


@pytest.mark.parametrize("make", [derivations.convolution_error, derivations.kernel_gradient])
@pytest.mark.parametrize(
    "options",
    [{"strides": 2}, {"padding": "SAME"}, {"input_dilation": 2}, {"kernel_dilation": 2},
     {"feature_group_count": 2}],
)  # fmt: skip
def test_any_option_asks_for_the_general_equations(make, options):
    simple, general = str(make()), str(make(**options))
    assert "[k + r = j]" in simple
    assert "[e j + lo = s k + d r]" in general or "[s k + d r = e j + lo]" in general
    assert "[k + r = j]" not in general
    assert str(make(strides=1, padding="VALID")) == simple
