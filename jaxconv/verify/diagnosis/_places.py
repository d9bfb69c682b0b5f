"""What the indices of wrong elements have in common."""

import numpy as np

from .._problem import Leaf, Problem


def where(is_wrong: np.ndarray, leaf: Leaf, problem: Problem) -> str:
    """The number of wrong elements, and the border, channel, tap or row that they share."""
    count = int(is_wrong.sum())
    if not leaf.shape or leaf.size == 1:
        return "the only element"
    said = "all elements" if count == leaf.size else f"{count} of {leaf.size} elements"
    shared = _shared(np.argwhere(is_wrong.reshape(leaf.shape)), leaf, problem)
    return f"{said}, {shared}" if shared else said


def _shared(indices, leaf, problem):
    """The index along an axis that all share, or the border that all lie on."""
    if len(indices) == leaf.size:
        return ""
    fixed = {
        axis: int(column[0])
        for axis, column in enumerate(indices.T)
        if (column == column[0]).all() and leaf.shape[axis] > 1
    }
    if fixed:
        if len(fixed) == len([n for n in leaf.shape if n > 1]):
            return f"at {[int(i) for i in indices[0]]}"
        return "all at " + ", ".join(_named(axis, i, leaf, problem) for axis, i in fixed.items())
    spatial = _spatial(leaf, problem)
    borders = [axis for axis in spatial if leaf.shape[axis] > 2]
    on_border = np.zeros(len(indices), bool)
    for axis in borders:
        on_border |= (indices[:, axis] == 0) | (indices[:, axis] == leaf.shape[axis] - 1)
    if borders and on_border.all():
        return f"all on the border of axes {', '.join(map(str, borders))}"
    few = {
        axis: np.unique(column)
        for axis, column in enumerate(indices.T)
        if len(np.unique(column)) <= leaf.shape[axis] // 2
    }
    parts = [f"indices {_listed(values)} of axis {axis}" for axis, values in few.items()]
    return "all at " + ", ".join(parts) if parts else ""


def _listed(values):
    return ", ".join(map(str, values[:6])) + (", ..." if len(values) > 6 else "")


def _named(axis, index, leaf, problem):
    rank, spatial = len(leaf.shape), _spatial(leaf, problem)
    if axis == rank - 1:
        return f"channel {index} (axis {axis})"
    if axis == 0 and not is_kernel(leaf, problem):
        return f"row {index} of the batch (axis 0)"
    if axis in spatial:
        place = "tap" if is_kernel(leaf, problem) else "position"
        return f"{place} {index} along axis {axis}"
    return f"index {index} of axis {axis}"


def is_kernel(leaf: Leaf, problem: Problem) -> bool:
    """Whether an array is a kernel: its first axis is not the batch."""
    return len(leaf.shape) >= 2 and leaf.shape[0] != batch_size(problem)


def batch_size(problem: Problem) -> int:
    """The size of the first axis that an argument and a result share; 0 if none do."""
    firsts = {leaf.shape[0] for leaf in problem.leaves if len(leaf.shape) > 1}
    for output in problem.outputs:
        if output.shape and output.shape[0] in firsts:
            return output.shape[0]
    # A loss has no batch axis, but its first argument does.
    return next((leaf.shape[0] for leaf in problem.leaves if len(leaf.shape) > 1), 0)


def _spatial(leaf: Leaf, problem: Problem) -> list[int]:
    rank = len(leaf.shape)
    if rank < 3:
        return []
    return list(range(rank - 2)) if is_kernel(leaf, problem) else list(range(1, rank - 1))
