"""Slips of complex arrays: something is conjugated that must not be, or is not.

A complex array z = a + ib is checked as its parts a and b. For y = f(z) with the Jacobian J, JAX's
VJP is the transpose Jᵀ w, and the gradient of a real function is ∂/∂a - i ∂/∂b. Other libraries
return conjugates of these, and textbooks write the adjoint Jᴴ w, the conjugate of Jᵀ applied to the
conjugate of w.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .._problem import Leaf, split
from ..comparison._evidence import Evidence
from ._array_slips import Change
from ._factor_slips import multiple
from ._true_rule import TrueRule


def complex_slips(program: TrueRule, evidence: Evidence, leaf: Leaf, row: int) -> list[Change]:
    """The gradient of an array, flat, after each slip, times a constant.

    One part alone may equal several slips. So the first of them is the one that is closest in both
    parts. There is none if nothing is complex.
    """
    both = _of_both_parts(leaf)
    own = slice(leaf.start - both.start, leaf.elements.stop - both.start)
    reported = evidence.rows("reverse")[0][row][both]
    found = []
    for name, description, gradient in _slips(program, evidence, leaf):
        for slip, what, candidate in multiple(name, description, reported, gradient[both]):
            gap = float(np.linalg.norm(reported - candidate))
            found.append((gap, (slip, what, candidate[own])))
    return [change for _, change in sorted(found, key=lambda slip: slip[0])]


def _slips(program: TrueRule, evidence: Evidence, leaf: Leaf) -> Iterator[Change]:
    """The gradients of all arrays, flat."""
    leaves, outputs = evidence.problem.leaves, evidence.problem.outputs
    if any(output.part for output in outputs):
        gradient = program.at(_conjugated(outputs, split(outputs, program.w)))
        what = "the true gradient for the conjugated cotangent"
        yield "cotangent conjugated", what, gradient
        if leaf.part:
            conjugate = np.concatenate(
                [part.ravel() for part in _conjugated(leaves, split(leaves, gradient))]
            )
            yield "adjoint in place of the transpose", f"the conjugate of {what}", conjugate
    arrays = split(leaves, evidence.primal.point)
    for other, array, variable in zip(leaves, arrays, program.inputs, strict=True):
        if other.part == "imag":
            what = f"the true gradient for {other.name.removesuffix('.imag')} conjugated"
            yield "conjugate of an argument confused", what, program({variable: -array})


def _of_both_parts(leaf: Leaf) -> slice:
    """The elements of a complex array of which the leaf is a part; else those of the leaf."""
    start, stop = leaf.elements.start, leaf.elements.stop
    return slice(
        start - leaf.size * (leaf.part == "imag"), stop + leaf.size * (leaf.part == "real")
    )


def is_conjugate(leaf: Leaf, evidence: Evidence, row: int, close: float) -> bool:
    """Whether the rule returns the conjugate of the true gradient of a complex array."""
    if leaf.part != "imag" or evidence.truth.reverse is None:
        return False
    both = _of_both_parts(leaf)
    reported, true = evidence.rows("reverse")[0][row][both], evidence.truth.reverse[row][both]
    gap = (reported - true)[: leaf.size]  # of the real part
    return bool(np.linalg.norm(gap) <= close * np.linalg.norm(true))


def _conjugated(leaves: Sequence[Leaf], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        -array if leaf.part == "imag" else array for leaf, array in zip(leaves, arrays, strict=True)
    ]
