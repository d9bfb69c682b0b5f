"""The part of the catalogues that the default run checks, and how it checks a case."""

import jax
import pytest

from experiments.verifier.cases import Draw
from jaxconv import verify

# The slips that are most common. The sample has a case of each.
COMMON = (
    *("kernel not rotated", "channel axes not exchanged", "missing sum over the batch"),
    *("mean for sum", "constant factor", "wrong sign", "spatial axes transposed"),
    *("stride taken", "padding off by one", "cotangent ignored", "stale residual"),
    *("ties counted twice", "overlaps written over", "cotangent summed", "is missing"),
)


def sampled(cases):
    """All cases as parameters; those outside of the sample are marked exhaustive.

    The sample has a case of each common slip and of each dtype; of right gradients, it has a case
    of each family, and the ties and kinks. It has no deep network, whose check takes seconds.
    """

    def shows(case):
        """What a case is in the sample for."""
        slips = [slip for slip in COMMON if slip in case.diagnosis]
        shown = {*slips, ("dtype", case.dtype)}
        if case.diagnosis:
            return shown
        is_at_kink = "ties" in case.name or case.family == "kinks"
        return shown | {("family", case.family)} | ({("kink", case.name)} if is_at_kink else set())

    shown = {id(case): shows(case) for case in cases if case.family != "deep"}
    missing, chosen = set().union(*shown.values()), set()
    while missing:  # the case that shows most of what is missing
        best = max(shown, key=lambda case: len(shown[case] & missing))
        chosen.add(best)
        missing -= shown[best]
    return [
        pytest.param(
            case,
            id=f"{case.family}: {case.name}",
            marks=() if id(case) in chosen else pytest.mark.exhaustive,
        )
        for case in cases
    ]


def report_on(case, modes):
    """The report about a case, with second derivatives if the case is about them."""
    modes = (*modes, "second_order")  # order 1 leaves it out
    with jax.enable_x64(case.dtype == "float64"):
        f, args = case.make(Draw(0, case.dtype))
        return verify.check_gradients(f, args, modes=modes, order=case.order)
