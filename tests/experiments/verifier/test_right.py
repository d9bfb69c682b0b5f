"""No right gradient of the catalogue is called wrong.

The default run checks a sample, the exhaustive suite all of them and in more modes.
"""

import pytest

from experiments.verifier.peers import QUICK
from experiments.verifier.right import RIGHT

from .sampling import report_on, sampled


@pytest.mark.parametrize("case", sampled(RIGHT))
def test_right_gradient_is_called_right(case):
    report = report_on(case, ("reverse", "forward"))
    assert report.ok, str(report)


@pytest.mark.exhaustive
@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case.family}: {case.name}")
def test_right_gradient_is_called_right_in_more_modes(case):
    report = report_on(case, QUICK)
    assert report.ok, str(report)


def test_there_are_enough():
    families = {"convolution", "transposed convolution", "pooling", "normalisation", "attention"}
    assert len(RIGHT) >= 40
    assert families | {"losses"} <= {case.family for case in RIGHT}
