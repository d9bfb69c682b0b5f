"""Whether a gradient is right and, if not, where and why; for any function that JAX can trace.

    report = verify.check_gradients(f, args)       a report to read
    verify.assert_gradients(f, args)               the same as an assertion, for tests
    python -m jaxconv.verify package.module:f --arg "f32[2,8,8,3]"

`_truth.py` says what the derivative is, `_rounding.py` how far rounding can move it. With what the
rules say (`_evidence.py`) it is compared in `_first_order.py`, `_other_modes.py` (which `_modes.py`
lists) and `_second_order.py`; `_diagnosis.py` names the slip (`_slips.py`).
"""

from ._check import assert_gradients as assert_gradients
from ._check import check_gradients as check_gradients
from ._modes import ALL as MODES
from ._report import GradientReport as GradientReport

__all__ = ["MODES", "GradientReport", "assert_gradients", "check_gradients"]
