"""The diagnosis of a wrong gradient: the slip that it equals, and how exactly."""

import logging

import numpy as np

from .. import _constants
from ..comparison._cancellation import NOTE as CANCELLED
from ..comparison._evidence import Evidence
from ..comparison._findings import Finding
from ..truth._kinks import Kinks, misfit
from ..truth._operations import unit
from ._complex_slips import is_conjugate
from ._places import batch_size
from ._slips import Slips
from ._true_rule import Unknown

_log = logging.getLogger(__name__)


def diagnose(
    finding: Finding, evidence: Evidence, ties: Kinks | None, slips: Slips
) -> tuple[str, str]:
    """The slip that explains a wrong gradient, and the evidence.

    Args:
      finding: The wrong gradient.
      evidence: All that is known about the function.
      ties: The kinks of the argument, if the gradients of its elements don't fit together.
      slips: The slips of the check, shared by its findings.

    Returns:
      The diagnosis, and the sentence that supports it.
    """
    reported, true = finding.reported, finding.true
    if finding.note == CANCELLED:
        worst = int(np.where(finding.is_wrong, finding.bound, 0).argmax())
        return CANCELLED, (
            f"rounding moves an element of {true[worst]:.3g} by about {finding.bound[worst]:.3g}: "
            "the result is a difference of much larger terms"
        )
    if finding.mode == "primal_value":
        said = _by_a_factor(reported, true, _constants.CLOSE_IN_SOME, finding, evidence)
        _, evidence_of_it = said or ("", _sizes(reported, true))
        diagnosis = f"{finding.note} returns another value than the function"
        return diagnosis, evidence_of_it.replace("gradient", "value")
    bad = ~np.isfinite(reported) & finding.is_wrong
    if bad.any():
        kind = "NaN" if np.isnan(reported[bad]).any() else "inf"
        return f"{kind} in the gradient", f"{int(bad.sum())} of {bad.size} elements are {kind}"
    if (
        ties is not None and ties.is_subgradient.all()
    ):  # wrong elements elsewhere have another reason
        return _ties(ties)
    if evidence.truth.reverse is None:
        return "disagrees with the values of the function", finding.note
    exact = finding.mode in ("reverse", "forward") and not finding.note
    close = _constants.CLOSE
    if not exact:
        close = max(close, _constants.CLOSE_UNITS * unit(finding.leaf.dtype))
    found = _by_a_little(finding) or _by_a_factor(reported, true, close, finding, evidence)
    if found:
        return found
    if finding.mode == "second_point":
        return _stale(finding, evidence, close)
    if finding.note:
        return finding.note, _sizes(reported, true)
    some = _some_by_a_factor(finding, close)
    if some:
        return some
    if finding.mode == "reverse":
        ignored = _ignored(finding, evidence)
        if ignored:
            return ignored
        slip = _slip(finding, close, slips)
        if slip:
            return slip
    if finding.mode not in ("reverse", "forward"):
        return f"right in reverse mode, wrong in {finding.mode}", _sizes(reported, true)
    return "explained by no known slip", _sizes(reported, true)


def _by_a_little(finding):
    """A gradient that is nearly right: a constant with too few digits, or a solver."""
    gap = np.abs(finding.reported - finding.true)[finding.is_wrong].max()
    size = np.abs(finding.true)[finding.is_wrong].max()
    if not gap < _constants.LITTLE * size:
        return None
    return (
        f"off by {gap / size:.0e} of its size",
        "more than rounding explains: a constant has too few digits, or the function is exact to a "
        "tolerance only; pass it as tolerance=",
    )


def _relative(a, b):
    size = np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / size) if size else float("inf")


def _explains(candidate, reported, true, close):
    """Whether a gradient equals that of a slip, and is much closer to it than to the true one."""
    gap = float(np.linalg.norm(reported - candidate))
    near = gap <= close * float(np.linalg.norm(candidate))  # False for NaN
    return near and gap <= _constants.EXPLAINED * float(np.linalg.norm(reported - true))


def _sizes(reported, true):
    sizes = np.linalg.norm(reported), np.linalg.norm(true)
    return f"the reported gradient has norm {sizes[0]:.4g}, the true gradient {sizes[1]:.4g}"


def _by_a_factor(reported, true, close, finding, evidence):
    if not np.linalg.norm(true):
        return None
    if not np.linalg.norm(reported):
        return "the gradient is zero", f"the true gradient has norm {np.linalg.norm(true):.4g}"
    factor = float(reported @ true / (true @ true))
    error = _relative(reported, factor * true)
    if not _explains(factor * true, reported, true, close):
        return None
    if reported.size == 1 and not _is_common(factor, finding, evidence, close):
        return "a single element is wrong", f"it is {factor:.6g} times the true one"
    said = (
        f"the reported gradient equals {factor:.6g} times the true gradient, "
        f"relative error {error:.0e}"
    )
    if abs(factor + 1) <= close:
        if finding.mode == "reverse" and is_conjugate(finding.leaf, evidence, finding.row, close):
            return (
                "gradient conjugated",
                f"the real part is right; of the imaginary part, {said}",
            )
        return "wrong sign", said
    for count, what in _counts(finding, evidence):
        if count > 1 and abs(factor * count - 1) <= close:
            return f"mean for sum over {what}, a factor of {factor:.6g}", said
    for count, what in _counts(finding, evidence):
        if count > 1 and abs(factor / count - 1) <= close:
            return f"sum for mean over {what}, a factor of {factor:.6g}", said
    return f"a constant factor of {factor:.6g}", said


def _is_common(factor, finding, evidence, close):
    """Whether a single element is wrong by the same factor for every cotangent."""
    if finding.mode != "reverse" or evidence.truth.reverse is None:
        return True
    here = finding.leaf.elements
    true = evidence.truth.reverse[:, here].ravel()
    return _explains(factor * true, evidence.rows("reverse")[0][:, here].ravel(), true, close)


def _counts(finding, evidence):
    """The sizes that a mean may divide by."""
    problem, batch = evidence.problem, batch_size(evidence.problem)
    is_loss = all(output.size == 1 for output in problem.outputs)
    if finding.mode == "forward":
        return
    # An array with a row per example is not a sum over the examples, unless a loss follows.
    if is_loss or not finding.leaf.shape or finding.leaf.shape[0] != batch:
        yield batch, "the batch"
    for output in problem.outputs:
        yield output.size, "the results"
        if len(output.shape) > 2:
            yield int(np.prod(output.shape[:-1])), "batch and positions"
            yield int(np.prod(output.shape[1:-1])), "positions"


def _some_by_a_factor(finding, close):
    """Whether the wrong elements are a multiple of the true ones."""
    wrong, true = finding.reported[finding.is_wrong], finding.true[finding.is_wrong]
    if not true @ true:
        return None
    if not wrong.any():
        return "zero where the true gradient is not", "all wrong elements are zero"
    factor = float(wrong @ true / (true @ true))
    error = _relative(wrong, factor * true)
    if len(wrong) == 1:  # a factor always exists
        return "a single element is wrong", f"it is {factor:.6g} times the true one"
    if not _explains(factor * true, wrong, true, max(close, _constants.CLOSE_IN_SOME)):
        return None
    said = f"the wrong elements equal {factor:.6g} times the true ones, relative error {error:.0e}"
    if abs(factor + 1) <= close:
        return "wrong sign in some elements", said
    return f"a constant factor of {factor:.6g} in some elements", said


def _slip(finding, close, slips):
    reported = finding.reported
    try:
        with np.errstate(all="ignore"):
            for slip, what, candidate in slips(finding.leaf, reported, finding.true, finding.row):
                if _explains(candidate, reported, finding.true, close):
                    error = _relative(reported, candidate)
                    said = f"the reported gradient equals {what}, relative error {error:.0e}"
                    return slip, said
    except Unknown:
        return None
    except Exception as error:  # the verdict stands without a slip
        _log.warning("the diagnosis is incomplete: %r", error, exc_info=True)
    return None


def _ignored(finding, evidence):
    rows, _ = evidence.rows("reverse")
    a, b = (row[finding.leaf.elements] for row in rows[:2])
    error = _relative(a, b)
    if not error <= _constants.CLOSE or not np.linalg.norm(a):
        return None
    said = f"two cotangents give the same gradient, relative difference {error:.0e}"
    return "cotangent ignored", said


def _stale(finding, evidence, close):
    """Whether the gradient at the second point is that of the first."""
    assert evidence.truth.reverse is not None
    first = evidence.truth.reverse[0][finding.leaf.elements]
    error = _relative(finding.reported, first)
    if error <= close:
        return (
            "stale residual",
            "called at another point, the rule returns the true gradient at the first point, "
            f"relative error {error:.0e}",
        )
    return "right at the first point, wrong at another", _sizes(finding.reported, finding.true)


def _ties(kinks):
    found = misfit(kinks)
    assert found is not None
    said, low, high = found
    count = int(kinks.is_subgradient.sum())
    return (
        "ties counted twice",
        f"each of {count} elements has a gradient between the two slopes of its kink, but if all "
        f"of them rise together the slope is between {low:.6g} and {high:.6g}, and their gradients "
        f"sum to {said:.6g}",
    )
