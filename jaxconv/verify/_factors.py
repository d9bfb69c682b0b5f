"""A true gradient times a number for each element: an argument, the result, or what is left out."""

from collections.abc import Iterator

import numpy as np

from . import _constants
from ._arrays import Change
from ._evidence import Evidence
from ._problem import Leaf, split


def factors(
    evidence: Evidence, leaf: Leaf, reported: np.ndarray, true: np.ndarray, row: int
) -> Iterator[Change]:
    """The true gradient multiplied or divided by what a rule multiplies by, times a constant.

    Args, yields: As `Slips`.
    """
    yield "gradient squared", "the square of the true one", true**2
    parts = _of_this_shape(evidence, leaf, row)
    for name, part in parts:
        slip = "the derivative is missing"
        yield slip, f"the cotangent of {name}", _fitted(reported, part)[1]
    for name, factor in _all_forms(evidence, leaf, row):
        slip = f"a factor of {name} too many"
        yield from _multiple(slip, f"the true one times {name}", reported, true * factor)
        with np.errstate(all="ignore"):
            quotient = true / factor
        slip = f"a factor of {name} is missing"
        yield from _multiple(slip, f"the true one divided by {name}", reported, quotient)


def products(evidence: Evidence, leaf: Leaf, reported: np.ndarray, row: int) -> Iterator[Change]:
    """The cotangent times a number for each element, all other terms being left out.

    Args, yields: As `Slips`.
    """
    for output, part in _of_this_shape(evidence, leaf, row):
        for name, factor in _all_forms(evidence, leaf, row):
            what = f"the cotangent of {output} times {name}, and no more"
            yield from _multiple("a term is missing", what, reported, part * factor)


def _of_this_shape(evidence, leaf, row):
    """The cotangents that an element-wise function has."""
    outputs = evidence.problem.outputs
    parts = split(outputs, evidence.draws.cotangents[row])
    return [
        (output.name, part.ravel())
        for output, part in zip(outputs, parts, strict=True)
        if output.shape == leaf.shape
    ]


def _multiple(slip, what, reported, candidate):
    if np.isfinite(candidate).all():
        scale, fitted = _fitted(reported, candidate)
        yield slip, what if scale == 1 else f"{scale:.6g} times {what}", fitted


def _fitted(reported, candidate):
    """The multiple of a candidate that is next to the reported gradient, and its constant."""
    size = candidate @ candidate
    if len(candidate) < _constants.SLIP_FITTED or not size or not np.isfinite(size):
        return 1.0, candidate
    scale = float(reported @ candidate / size)
    scale = round(scale) if abs(scale - round(scale)) < 1e-8 else scale
    return scale, scale * candidate


def _all_forms(evidence, leaf, row):
    """Numbers for each element: arguments, results, cotangents, and functions of them."""
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
