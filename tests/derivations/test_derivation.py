"""`Derivation`: what it checks, what its errors say, what it shows."""

import subprocess
import sys

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
