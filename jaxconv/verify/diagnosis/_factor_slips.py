"""Slips by elementwise factors: an argument, a result or a derivative too many or too few."""

from collections.abc import Iterator

import numpy as np

from .. import _constants
from .._problem import Leaf, split
from ..comparison._evidence import Evidence
from ._array_slips import Change


def factors(
    evidence: Evidence, leaf: Leaf, reported: np.ndarray, true: np.ndarray, row: int
) -> Iterator[Change]:
    """The true gradient multiplied or divided by values that rules multiply by, times a constant.

    Arguments and results are those of `Slips.__call__`.
    """
    yield "gradient squared", "the square of the true gradient", true**2
    added, constant = fit(reported - true, np.ones_like(true))
    yield "a constant added", f"the true gradient plus {added:.6g}", true + constant
    parts = _of_this_shape(evidence, leaf, row)
    for name, part in parts:
        slip = "the derivative is missing"
        yield slip, f"the cotangent of {name}", fit(reported, part)[1]
    for name, factor in _all_forms(evidence, leaf, row):
        slip = f"a factor of {name} too many"
        yield from multiple(slip, f"the true gradient times {name}", reported, true * factor)
        with np.errstate(all="ignore"):
            quotient = true / factor
        slip = f"a factor of {name} is missing"
        yield from multiple(slip, f"the true gradient divided by {name}", reported, quotient)


def products(evidence: Evidence, leaf: Leaf, reported: np.ndarray, row: int) -> Iterator[Change]:
    """The cotangent times an elementwise factor, without all other terms.

    Arguments and results are those of `Slips.__call__`.
    """
    for output, part in _of_this_shape(evidence, leaf, row):
        for name, factor in _all_forms(evidence, leaf, row):
            what = f"the cotangent of {output} times {name}, without other terms"
            yield from multiple("a term is missing", what, reported, part * factor)


def _of_this_shape(evidence, leaf, row):
    """The cotangents of the results that have the shape of the argument."""
    outputs = evidence.problem.outputs
    parts = split(outputs, evidence.draws.cotangents[row])
    return [
        (output.name, part.ravel())
        for output, part in zip(outputs, parts, strict=True)
        if output.shape == leaf.shape
    ]


def multiple(slip: str, what: str, reported: np.ndarray, candidate: np.ndarray) -> Iterator[Change]:
    """The multiple of a candidate that is closest to the reported gradient."""
    if np.isfinite(candidate).all():
        scale, fitted = fit(reported, candidate)
        yield slip, what if scale == 1 else f"{scale:.6g} times {what}", fitted


def fit(reported: np.ndarray, candidate: np.ndarray) -> tuple[float, np.ndarray]:
    """The factor by which a candidate is closest to the reported gradient, and the multiple.

    Of few elements it is 1, since a factor would fit any.
    """
    size = candidate @ candidate
    if len(candidate) < _constants.SLIP_FITTED or not size or not np.isfinite(size):
        return 1.0, candidate
    scale = float(reported @ candidate / size)
    scale = float(round(scale)) if abs(scale - round(scale)) < 1e-8 else scale
    return scale, scale * candidate


def _all_forms(evidence, leaf, row):
    """Elementwise factors: arguments, results, cotangents, and functions of them."""
    for name, values in _bases(evidence, leaf, row):
        with np.errstate(all="ignore"):
            forms = list(_forms(name, values))
        yield from ((of_name, factor) for of_name, factor in forms if np.isfinite(factor).all())


def _bases(evidence, leaf, row):
    problem, point = evidence.problem, evidence.primal.point
    outputs, w = problem.outputs, evidence.draws.cotangents[row]
    arrays = split(problem.leaves, point)
    named = [(other.name, a) for other, a in zip(problem.leaves, arrays, strict=True)]
    for before, flat in (("", evidence.primal(point)), ("the cotangent of ", w)):
        arrays = split(outputs, flat)
        named += [(before + other.name, a) for other, a in zip(outputs, arrays, strict=True)]
    for name, array in named:
        if array.size > 1 and _reaches(array.shape, leaf.shape):
            yield name, np.broadcast_to(array, leaf.shape).ravel()


def _reaches(shape, whole):
    try:
        return np.broadcast_shapes(shape, whole) == whole
    except ValueError:
        return False


def _forms(name, values):
    yield name, values
    yield f"{name}**2", values**2
    yield f"{name}**3", values**3
    yield f"|{name}|", np.abs(values)
    yield f"the sign of {name}", np.sign(values)
    yield f"1 - {name}", 1 - values
    yield f"1 - {name}**2", 1 - values**2
    yield f"{name} (1 - {name})", values * (1 - values)
    yield f"1 + {name}**2", 1 + values**2
