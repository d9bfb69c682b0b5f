"""Every wrong gradient of the catalogue is found and explained.

The default run checks a sample, the exhaustive suite all of them.
"""

import pytest

from experiments.verifier.wrong import WRONG

from .sampling import COMMON, report_on, sampled


@pytest.mark.parametrize("case", sampled(WRONG))
def test_wrong_gradient_is_found_and_explained(case):
    modes = ("reverse", *case.modes)
    report = report_on(case, modes)
    assert not report.ok
    assert any(case.diagnosis in failure.diagnosis for failure in report.failures), str(report)


def test_there_are_enough():
    families = {"convolution", "transposed convolution", "pooling", "normalisation", "attention"}
    assert len(WRONG) >= 40
    assert families | {"losses"} <= {case.family for case in WRONG}


def test_every_common_slip_is_in_the_catalogue():
    explained = " ".join(case.diagnosis for case in WRONG)
    assert [slip for slip in COMMON if slip not in explained] == []
