"""Every planted error is found and explained, and no right gradient is called wrong.

Here are, of the catalogue in experiments/verifier, a case of each diagnosis, of each family, of
each family without a diagnosis and of each dtype, and all right gradients at ties and kinks; a
wrong gradient is looked for in the mode in which it shows. All of it, in more modes and over many
seeds:

    VERIFY_CATALOGUE=all pytest tests/verify/test_catalogue.py
    python -m experiments.verifier
"""

import os

import jax
import pytest

from experiments.verifier.cases import Draw
from experiments.verifier.correct import CORRECT
from experiments.verifier.peers import QUICK
from experiments.verifier.wrong import WRONG
from jaxconv import verify

ALL = os.environ.get("VERIFY_CATALOGUE") == "all"


def _name(case):
    return f"{case.family}: {case.name}"


def _some(cases):
    """The first of each kind and of each dtype; all of them if the environment asks for it."""
    kinds, families, dtypes = {}, {}, {}
    for case in cases:
        has_kinks = not case.diagnosis and case.family in ("pooling", "kinks")
        kind = case.name if ALL or has_kinks else case.diagnosis
        kinds.setdefault(kind or (case.family, kind), case)
        families.setdefault(case.family, case)
        dtypes.setdefault(case.dtype, case)
    chosen = [*kinds.values(), *families.values(), *dtypes.values()]
    return [case for case in cases if any(case is one for one in chosen)]


def _report(case, modes):
    modes = (*modes, "second_order")  # which order 1 leaves out
    with jax.enable_x64(case.dtype == "float64"):
        f, args = case.make(Draw(0, case.dtype))
        return verify.check_gradients(f, args, modes=modes, order=case.order)


@pytest.mark.parametrize("case", _some(WRONG), ids=_name)
def test_wrong_gradient_is_found_and_explained(case):
    modes = ("reverse", *case.modes)
    report = _report(case, (*QUICK, *modes) if ALL else modes)
    assert not report.ok
    assert any(case.diagnosis in failure.diagnosis for failure in report.failures), str(report)


@pytest.mark.parametrize("case", _some(CORRECT), ids=_name)
def test_right_gradient_is_called_right(case):
    report = _report(case, QUICK if ALL else ("reverse", "forward"))
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
