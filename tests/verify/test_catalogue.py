"""Every planted error is found and explained, and no right gradient is called wrong."""

import jax
import pytest

from experiments.verifier.cases import Draw
from experiments.verifier.correct import CORRECT
from experiments.verifier.peers import QUICK
from experiments.verifier.wrong import WRONG
from jaxconv import verify


def _name(case):
    return f"{case.family}: {case.name}"


def _report(case, **options):
    modes = (*QUICK, "second_order") if case.family == "second order" else QUICK
    options = {"modes": modes} | case.options | options
    with jax.enable_x64(case.dtype == "float64"):
        f, args = case.make(Draw(0, case.dtype))
        return verify.check_gradients(f, args, **options)


@pytest.mark.parametrize("case", WRONG, ids=_name)
def test_wrong_gradient_is_found_and_explained(case):
    report = _report(case)
    assert not report.ok
    assert any(case.diagnosis in failure.diagnosis for failure in report.failures), str(report)


@pytest.mark.parametrize("case", CORRECT, ids=_name)
def test_right_gradient_is_called_right(case):
    report = _report(case, modes=("reverse", "forward", "second_point"), order=1)
    assert report.ok, str(report)


def test_there_are_enough_of_both():
    families = {"convolution", "transposed convolution", "pooling", "normalisation", "attention"}
    assert len(WRONG) >= 40 <= len(CORRECT)
    for cases in (WRONG, CORRECT):
        assert families | {"losses"} <= {case.family for case in cases}


def test_every_slip_that_is_known_is_planted():
    explained = " ".join(case.diagnosis for case in WRONG)
    for slip in (
        *("kernel not rotated", "channel axes not exchanged", "missing sum over the batch"),
        *("mean for sum", "constant factor", "wrong sign", "spatial axes transposed"),
        *("stride taken", "padding off by one", "cotangent ignored", "stale residual"),
        "ties counted twice",
    ):
        assert slip in explained
