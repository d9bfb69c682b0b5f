"""Which axes of an array are batch, positions, taps and channels."""

import numpy as np

from .._problem import Leaf
from ..comparison._evidence import Evidence
from ..program._wide import equations
from ._array_slips import Layout
from ._places import is_kernel

# The primitives of jaxconv's convolutions, and the slots of their operands.
_OURS = {"jaxconv_y": "xk", "jaxconv_x": "ky", "jaxconv_k": "xy"}


class Layouts:
    """The layouts of the arguments and results of a function.

    A convolution of lax states the layout of its arrays. One of jaxconv shows it by the
    transpositions around it. The layout is used for all arrays of the same shape. Others have their
    channels last.
    """

    def __init__(self, evidence: Evidence):
        self._problem = evidence.problem
        self._maps: dict[tuple[int, ...], Layout] = {}
        self._kernels: dict[tuple[int, ...], Layout] = {}
        found = list(equations(evidence.primal.traced))
        transposed = [e for e in found if e.primitive.name == "transpose"]
        before = {e.outvars[0]: e for e in transposed}
        after = {e.invars[0]: e for e in transposed if not hasattr(e.invars[0], "val")}
        for equation in found:
            if equation.primitive.name == "conv_general_dilated":
                self._add(equation)
            elif equation.primitive.name in _OURS:
                self._add_ours(equation, before, after)

    def of(self, leaf: Leaf) -> Layout:
        """The layout of an argument."""
        if leaf.shape in self._kernels and leaf.shape not in self._maps:
            return self._kernels[leaf.shape]
        return self._maps.get(leaf.shape, Layout(_has_taps(leaf, self._problem)))

    def of_result(self, output: Leaf) -> Layout:
        """The layout of a result."""
        return self._maps.get(output.shape, Layout())

    def _add(self, equation):
        numbers = equation.params["dimension_numbers"]
        x, kernel = (v.aval.shape for v in equation.invars)
        y = equation.outvars[0].aval.shape
        for shape, (batch, channel, *spatial) in ((x, numbers.lhs_spec), (y, numbers.out_spec)):
            self._maps.setdefault(shape, _layout(False, (batch, *spatial, channel)))
        out, into, *taps = numbers.rhs_spec
        self._kernels.setdefault(kernel, _layout(True, (*taps, into, out)))

    def _add_ours(self, equation, before, after):
        slots = zip(_OURS[equation.primitive.name], equation.invars, strict=True)
        for slot, variable in slots:
            if variable in before:
                moved = before[variable]
                self._add_one(slot, moved.invars[0], tuple(moved.params["permutation"]))
        (result,) = equation.outvars
        if result in after:
            order = np.argsort(after[result].params["permutation"])
            slot = equation.primitive.name[-1]
            self._add_one(slot, after[result].outvars[0], tuple(map(int, order)))

    def _add_one(self, slot, variable, order):
        arrays = self._kernels if slot == "k" else self._maps
        arrays.setdefault(variable.aval.shape, _layout(slot == "k", order))


def _layout(is_kernel, order):
    return Layout(is_kernel, None if order == tuple(range(len(order))) else order)


def _has_taps(leaf, problem):
    """Whether an array is a kernel, including one with as many taps as there are examples."""
    if is_kernel(leaf, problem):
        return True
    earlier = problem.leaves[: problem.leaves.index(leaf)]
    return len(leaf.shape) > 2 and any(
        len(other.shape) == len(leaf.shape) and other.shape != leaf.shape for other in earlier
    )
