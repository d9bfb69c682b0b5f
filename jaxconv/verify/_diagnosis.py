"""Why a gradient is wrong: the known slip that it equals, and how exactly it does."""

import numpy as np

from . import _constants
from ._cancellation import NOTE as CANCELLED
from ._evidence import Evidence
from ._findings import Finding
from ._kinks import Kinks, misfit
from ._operations import unit
from ._places import batch_size
from ._slips import Slips


def diagnose(
    finding: Finding, evidence: Evidence, ties: Kinks | None, slips: Slips
) -> tuple[str, str]:
    """The slip that explains a wrong gradient, and what says so.

    Args:
      finding: The wrong gradient.
      evidence: What is known of it.
      ties: The argument's kinks, if its elements' gradients don't fit together there.
      slips: Those of the check, shared by its findings.
    """
    reported, true = finding.reported, finding.true
    if finding.note == CANCELLED:
        worst = int(np.where(finding.is_wrong, finding.bound, 0).argmax())
        return CANCELLED, (
            f"rounding moves an element of {true[worst]:.3g} by about {finding.bound[worst]:.3g}: "
            "terms that cancel are larger than the result"
        )
    if finding.mode == "primal_value":
        said = _by_a_factor(reported, true, _constants.CLOSE_IN_SOME, finding, evidence)
        evidence_of_it = said[1].replace("gradient", "value") if said else _sizes(reported, true)
        return f"{finding.note} returns another value than the function", evidence_of_it
    bad = ~np.isfinite(reported) & finding.is_wrong
    if bad.any():
        kind = "NaN" if np.isnan(reported[bad]).any() else "inf"
        return f"{kind} in the gradient", f"{int(bad.sum())} of {bad.size} elements are {kind}"
    if ties is not None and ties.is_subgradient.all():  # what is wrong elsewhere is another slip
        return _ties(ties)
    if evidence.truth.reverse is None:
        return "unlike the function", finding.note
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
    return "no slip that is known", _sizes(reported, true)


def _by_a_little(finding):
    """A gradient that is nearly right, which a constant of too few digits explains, or a solver."""
    gap = np.abs(finding.reported - finding.true)[finding.is_wrong].max()
    size = np.abs(finding.true)[finding.is_wrong].max()
    if not gap < _constants.LITTLE * size:
        return None
    return (
        f"off by {gap / size:.0e} of its size",
        "more than its precision explains: a constant of too few digits, or a function that is "
        "exact to a tolerance only, which tolerance= takes",
    )


def _relative(a, b):
    size = np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / size) if size else float("inf")


def _explains(candidate, reported, true, close):
    """Whether a gradient equals a slip's, and is further from the true one than from that."""
    gap = float(np.linalg.norm(reported - candidate))
    near = gap <= close * float(np.linalg.norm(candidate))  # which NaN never is
    return near and gap <= _constants.EXPLAINED * float(np.linalg.norm(reported - true))


def _sizes(reported, true):
    sizes = np.linalg.norm(reported), np.linalg.norm(true)
    return f"its norm is {sizes[0]:.4g}, the true one's {sizes[1]:.4g}"


def _by_a_factor(reported, true, close, finding, evidence):
    if not np.linalg.norm(true):
        return None
    if not np.linalg.norm(reported):
        return "the gradient is zero", f"the true one's norm is {np.linalg.norm(true):.4g}"
    factor = float(reported @ true / (true @ true))
    error = _relative(reported, factor * true)
    if not _explains(factor * true, reported, true, close):
        return None
    if reported.size == 1 and not _is_common(factor, finding, evidence, close):
        return "a single element is off", f"it is {factor:.6g} times the true one"
    said = (
        f"the reported gradient equals {factor:.6g} times the true one, relative error {error:.0e}"
    )
    if abs(factor + 1) <= close:
        return "wrong sign", said
    for count, what in _counts(finding, evidence):
        if count > 1 and abs(factor * count - 1) <= close:
            return f"mean for sum over {what}, a factor of {factor:.6g}", said
    for count, what in _counts(finding, evidence):
        if count > 1 and abs(factor / count - 1) <= close:
            return f"sum for mean over {what}, a factor of {factor:.6g}", said
    return f"a constant factor of {factor:.6g}", said


def _is_common(factor, finding, evidence, close):
    """Whether a single element is off by the same factor for every cotangent."""
    if finding.mode != "reverse" or evidence.truth.reverse is None:
        return True
    here = finding.leaf.elements
    true = evidence.truth.reverse[:, here].ravel()
    return _explains(factor * true, evidence.rows("reverse")[0][:, here].ravel(), true, close)


def _counts(finding, evidence):
    """What one can divide by."""
    problem, batch = evidence.problem, batch_size(evidence.problem)
    is_loss = all(output.size == 1 for output in problem.outputs)
    if finding.mode == "forward":
        return
    # What has a row for each example is no sum over them, unless there is one after it.
    if is_loss or not finding.leaf.shape or finding.leaf.shape[0] != batch:
        yield batch, "the batch"
    for output in problem.outputs:
        yield output.size, "the results"
        if len(output.shape) > 2:
            yield int(np.prod(output.shape[:-1])), "batch and positions"
            yield int(np.prod(output.shape[1:-1])), "positions"


def _some_by_a_factor(finding, close):
    """Whether the wrong elements are the true ones times a number."""
    wrong, true = finding.reported[finding.is_wrong], finding.true[finding.is_wrong]
    if not true @ true:
        return None
    if not wrong.any():
        return "zero where the gradient is not", "the wrong elements are all zero"
    factor = float(wrong @ true / (true @ true))
    error = _relative(wrong, factor * true)
    if len(wrong) == 1:  # for which there always is a factor
        return "a single element is off", f"it is {factor:.6g} times the true one"
    if not _explains(factor * true, wrong, true, max(close, _constants.CLOSE_IN_SOME)):
        return None
    said = f"they equal {factor:.6g} times the true ones, relative error {error:.0e}"
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
    except Exception:  # the user's primitives run on other numbers; the verdict doesn't need them
        return None
    return None


def _ignored(finding, evidence):
    rows, _ = evidence.rows("reverse")
    a, b = (row[finding.leaf.elements] for row in rows[:2])
    error = _relative(a, b)
    if not error <= _constants.CLOSE or not np.linalg.norm(a):
        return None
    said = f"the reported gradient is the same for two cotangents, relative difference {error:.0e}"
    return "cotangent ignored", said


def _stale(finding, evidence, close):
    """Whether the gradient at the second point is that of the first."""
    assert evidence.truth.reverse is not None
    first = evidence.truth.reverse[0][finding.leaf.elements]
    error = _relative(finding.reported, first)
    if error <= close:
        return (
            "stale residual",
            "called at another point, the rule returns the true gradient of the first call's, "
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
        f"at {count} elements with a kink each gradient alone is between its two slopes, but as "
        f"all of them rise together the slope is between {low:.6g} and {high:.6g}, and theirs is "
        f"{said:.6g}",
    )
