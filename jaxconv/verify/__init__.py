"""Whether a gradient is right and, if not, where and why; for any function that JAX can trace.

    report = verify.check_gradients(f, args)       a report to read
    verify.assert_gradients(f, args)               the same as an assertion, for tests
    python -m jaxconv.verify package.module:f --arg "f32[2,8,8,3]"

The files, in the order in which a check uses them:

    _check, _problem, _report, __main__       the front door, what is asked, and what is answered
    _primal, _interpreter, _plan, _loops,     the function's values in float64, one primitive after
    _wide, _in_numpy, _numpy_moves, _sums     the other, without custom rules
    _precision                                how exact those values are
    _truth, _differences, _linear_truth       what the derivative is
    _rounding, _operations, _constants        how far rounding can move it
    _modes, _derivatives, _evidence           what the rules say
    _first_order, _kinks, _other_modes,       the comparisons, by what is compared
    _second_order, _linearity,
    _primal_values, _cancellation
    _diagnosis, _slips, _places, ...          why a wrong gradient is wrong: the slips by kind
"""

from ._check import assert_gradients as assert_gradients
from ._check import check_gradients as check_gradients
from ._modes import ALL as MODES
from ._report import GradientReport as GradientReport

__all__ = ["MODES", "GradientReport", "assert_gradients", "check_gradients"]
