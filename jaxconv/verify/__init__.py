"""Check whether a gradient is right and, if it is not, say where and why.

    report = verify.check_gradients(f, args)       a report to read
    verify.assert_gradients(f, args)               the same check as an assertion, for tests
    python -m jaxconv.verify package.module:f --arg "f32[2,8,8,3]"

The steps of a check, and the modules that take them:

    1. `_check` receives the call; `__main__` and `_arguments` read it from a command line.
       `_problem` checks and flattens `f` and `args`. `_draws` draws cotangents and directions.
    2. `comparison/_evidence` calls the rule of `f` as a user would.
    3. `program/` evaluates the jaxpr of `f` in float64 without custom rules. `truth/_primal` gives
       its values at any point, and `truth/_precision` says how exact these are.
    4. `comparison/_derivatives` traces the derivatives by the rules and the true ones.
       `truth/_rounding` evaluates them and estimates how far rounding moves each element.
    5. `truth/_truth` compares autodiff with finite differences and settles what is true.
    6. `comparison/` compares: `_first_order`, `_primal_values`, `_linearity`, `_cancellation`,
       `_other_modes` (the ways of taking a derivative, listed in `_modes`) and `_second_order`.
       `_findings` collects what is wrong.
    7. `diagnosis/` looks for the slip that explains each wrong gradient. A *slip* is a known
       mistake, such as a kernel that was not rotated or a mean in place of a sum.
    8. `report/` holds the result and shows it.

`_constants` names every number that a verdict depends on and that no arithmetic determines.
"""

from ._check import assert_gradients as assert_gradients
from ._check import check_gradients as check_gradients
from ._modes import ALL as MODES
from .report._report import GradientReport as GradientReport

__all__ = ["MODES", "GradientReport", "assert_gradients", "check_gradients"]
