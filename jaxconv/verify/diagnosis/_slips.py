"""All slips, applied to the true gradient of one argument.

A slip transforms the true gradient, or takes it at other arguments, for another cotangent, or with
another geometry of a convolution.
"""

from collections.abc import Iterator
from itertools import combinations, islice

import numpy as np

from .. import _constants
from .._problem import Leaf, split
from ..comparison._evidence import Evidence
from ..truth._truth import is_large
from ._array_slips import Change, Layout, changes, moved, without_an_end, without_border
from ._complex_slips import complex_slips
from ._factor_slips import factors, fit, products
from ._geometry_slips import geometry_slips
from ._jacobian_slips import jacobian_slips
from ._layouts import Layouts
from ._places import batch_size
from ._true_rule import TrueRule


class Slips:
    """The slips of one check, with the results that they share.

    Args:
      evidence: All that is known about the function.
      are_several: Whether the gradients of several arguments are wrong.
    """

    def __init__(self, evidence: Evidence, are_several: bool):
        self.evidence, self.problem = evidence, evidence.problem
        # If all gradients are wrong, the mistake is probably in the cotangent that all are computed
        # from.
        self._are_several = are_several
        self._layouts = Layouts(evidence)
        self._programs: dict[int, TrueRule | None] = {}
        self._geometry: dict[int, list[Change]] = {}

    def __call__(
        self, leaf: Leaf, reported: np.ndarray, true: np.ndarray, row: int
    ) -> Iterator[Change]:
        """Every slip that applies to the gradient of an array, the simplest first.

        Args:
          leaf: The array.
          reported: Its gradient by the rule, flat.
          true: Its true gradient, flat.
          row: The row of the cotangent.

        Yields:
          The name of a slip, a description of the gradient, and the gradient after the slip, flat.
        """
        # For a large array only the simplest slips are tried.
        some = max(_constants.SLIP_FEWEST, _constants.SLIP_ELEMENTS // max(1, leaf.size))
        program = self._program(row)
        if program is not None:
            yield from complex_slips(program, self.evidence, leaf, row)
        cotangents = self._some_cotangents(leaf, row)
        if program is not None:
            yield from self._of_one_result(program, leaf, reported, true)
        if self._are_several:
            yield from cotangents
        found = changes(true.reshape(leaf.shape), "gradient", self._layouts.of(leaf))
        for slip, what, changed in islice(found, some):
            yield slip, f"the true gradient {what}", changed.ravel()
        yield from self._other_arrays(leaf, true, row)
        yield from islice(factors(self.evidence, leaf, reported, true, row), some)
        if program is None:
            return
        for slip, what, gradient in islice(self._arguments(program, leaf), self._each(program)):
            yield slip, what, gradient[leaf.elements]
        if not self._are_several:
            yield from cotangents
        if is_large(self.problem):
            return
        yield from jacobian_slips(program, leaf, self.problem, self._layouts)
        for slip, what, gradient in self._borders(program, leaf):
            yield slip, what, gradient[leaf.elements]
        if row not in self._geometry:
            self._geometry[row] = list(geometry_slips(program))
        for slip, what, gradient in self._geometry[row]:
            yield slip, f"the true gradient with {what}", gradient[leaf.elements]
        yield from products(self.evidence, leaf, reported, row)

    def _some_cotangents(self, leaf, row):
        program = self._program(row)
        if program is not None:
            found = self._cotangents(program, leaf)
            for slip, what, gradient in islice(found, self._each(program)):
                yield slip, what, gradient[leaf.elements]

    def _each(self, program):
        """The number of changed arguments, and of changed cotangents, to try; None is all."""
        if is_large(self.problem):
            return _constants.SLIP_FEWEST
        return None if program.jacobian is not None else _constants.SLIP_FEW

    def _program(self, row):
        if row not in self._programs:
            evidence = self.evidence
            known = evidence.truth.is_autodiff and "true_reverse" in evidence.derivatives.traces
            self._programs[row] = TrueRule(evidence, row) if known else None
        return self._programs[row]

    def _other_arrays(self, leaf, true, row):
        """The true gradient of another array, or its sum with this one."""
        if self.evidence.truth.reverse is None:
            return
        for other in self.problem.leaves:
            if other != leaf and other.shape == leaf.shape:
                theirs = self.evidence.truth.reverse[row][other.elements]
                yield (
                    "cotangents of two arguments exchanged",
                    f"the true gradient of {other.name}",
                    theirs,
                )
                slip = "gradients of two arguments added"
                yield slip, f"the sum of the true gradient and that of {other.name}", true + theirs
                yield (
                    slip,
                    f"the mean of the true gradient and that of {other.name}",
                    (true + theirs) / 2,
                )

    def _arguments(self, program, leaf):
        """The true gradient for an argument that is rotated, transposed, shifted or replaced."""
        leaves = self.problem.leaves
        arrays = split(leaves, self.evidence.primal.point)
        for other, array, variable in zip(leaves, arrays, program.inputs, strict=True):
            if other == leaf and len(leaves) > 1:
                continue
            for slip, what, changed in moved(array, "argument", self._layouts.of(other)):
                if not np.array_equal(changed, array):
                    yield (
                        slip,
                        f"the true gradient for {other.name} {what}",
                        program({variable: changed}),
                    )
        for a, b in combinations(range(len(leaves)), 2):
            if leaves[a].shape == leaves[b].shape:
                swapped = {program.inputs[a]: arrays[b], program.inputs[b]: arrays[a]}
                what = f"the true gradient with {leaves[a].name} and {leaves[b].name} exchanged"
                yield "residuals of two arguments exchanged", what, program(swapped)
        results = split(self.problem.outputs, self.evidence.primal(self.evidence.primal.point))
        for other, variable in zip(leaves, program.inputs, strict=True):
            for output, result in zip(self.problem.outputs, results, strict=True):
                if output.shape == other.shape and np.isfinite(result).all():
                    what = (
                        f"the true gradient with {other.name} replaced by the result {output.name}"
                    )
                    yield "result taken for the argument", what, program({variable: result})

    def _borders(self, program, leaf):
        """The true gradient without the border of an argument."""
        leaves = self.problem.leaves
        arrays = split(leaves, self.evidence.primal.point)
        for other, array, variable in zip(leaves, arrays, program.inputs, strict=True):
            if other == leaf and len(leaves) > 1:
                continue
            for what, cut in without_border(array, self._layouts.of(other)):
                what = f"the true gradient for {other.name} {what}"
                yield "border of an argument ignored", what, program({variable: cut})

    def _cotangents(self, program, leaf):
        """The true gradient for a part of the cotangent, or for a changed one."""
        arrays = split(self.problem.outputs, program.w)
        batch = batch_size(self.problem)
        # An array with a row per example is not a sum over the examples.
        sums = batch > 1 and (not leaf.shape or leaf.shape[0] != batch)
        for kept in (0, batch - 1) if sums else ():
            if all(array.ndim and array.shape[0] == batch for array in arrays):
                masked = [np.where(_row(array, kept), array, 0) for array in arrays]
                what = f"the true gradient of example {kept} of the batch alone"
                yield "missing sum over the batch", what, program.at(masked)
        ones = [np.ones_like(array) for array in arrays]
        yield ("cotangent ignored", "the true gradient for a cotangent of ones", program.at(ones))
        yield from self._of_results(program, arrays)
        results = split(self.problem.outputs, self.evidence.primal(self.evidence.primal.point))
        for j, (array, result) in enumerate(zip(arrays, results, strict=True)):
            if j < _constants.SLIP_CONVOLUTIONS:
                name = "" if len(arrays) == 1 else f" {self.problem.outputs[j].name}"
                layout = self._layouts.of_result(self.problem.outputs[j])
                for slip, what, changed in _of_cotangent(array, result, layout):
                    others = [*arrays[:j], changed, *arrays[j + 1 :]]
                    what = f"the true gradient for a cotangent{name} {what}"
                    yield slip, what, program.at(others)

    def _of_one_result(self, program, leaf, reported, true):
        """The true gradient with the share of one result's cotangent times a constant."""
        outputs, arrays = self.problem.outputs, split(self.problem.outputs, program.w)
        for j, output in enumerate(outputs if 1 < len(outputs) <= _constants.SLIP_FEW else ()):
            alone = [np.where(i == j, array, 0) for i, array in enumerate(arrays)]
            share = program.at(alone)[leaf.elements]
            yield (
                "cotangent of a result ignored",
                f"the true gradient for a cotangent {output.name} of zeros",
                true - share,
            )
            added, fitted = fit(reported - true, share)
            slip = (
                "wrong sign"
                if abs(added + 2) < _constants.SLIP_SIGN
                else f"a factor of {1 + added:.6g}"
            )
            yield (
                f"{slip} in the cotangent of one result",
                f"the true gradient for {1 + added:.6g} times the cotangent {output.name}",
                true + fitted,
            )

    def _of_results(self, program, arrays):
        """The cotangents of several results confused with each other."""
        outputs = self.problem.outputs
        for a, b in islice(combinations(range(len(outputs)), 2), _constants.SLIP_CONVOLUTIONS):
            if outputs[a].shape != outputs[b].shape:
                continue
            names = f"{outputs[a].name} and {outputs[b].name}"
            first, second = arrays[a], arrays[b]
            for slip, what, pair in (
                ("cotangents of two results exchanged", "exchanged", (second, first)),
                (
                    "cotangent of one result used twice",
                    "both replaced by the first",
                    (first, first),
                ),
                (
                    "cotangent of one result used twice",
                    "both replaced by the second",
                    (second, second),
                ),
                (
                    "cotangent of one result carried back as that of another",
                    "both used as the first",
                    (first + second, np.zeros_like(second)),
                ),
                (
                    "cotangent of one result carried back as that of another",
                    "both used as the second",
                    (np.zeros_like(first), first + second),
                ),
                (
                    "cotangents of the results added",
                    "both replaced by their sum",
                    (first + second,) * 2,
                ),
                (
                    "cotangents of the results added",
                    "both replaced by their mean",
                    ((first + second) / 2,) * 2,
                ),
            ):
                changed = list(arrays)
                changed[a], changed[b] = pair
                yield (
                    slip,
                    f"the true gradient with the cotangents of {names} {what}",
                    program.at(changed),
                )


def _of_cotangent(array: np.ndarray, result: np.ndarray, layout: Layout) -> Iterator[Change]:
    """The cotangent of one result after each slip."""
    yield from changes(array, "cotangent", layout)
    for what, cut in without_border(array, layout):
        yield "border of the cotangent ignored, as by a wrong output padding", what, cut
    for what, cut in without_an_end(array):
        yield "end of the cotangent ignored, as by a range that is too short", what, cut
    yield "cotangent squared", "squared", array**2
    yield "absolute value of the cotangent", "replaced by its absolute value", np.abs(array)
    yield "sign of the cotangent", "reduced to its signs", np.sign(array)
    yield "cotangent clipped", "clipped to [-1, 1]", np.clip(array, -1, 1)
    if np.isfinite(result).all():
        yield "cotangent multiplied by the result", "multiplied by the result", array * result
        if result.all():
            yield "cotangent divided by the result", "divided by the result", array / result


def _row(array, kept):
    index = np.arange(len(array)) == kept
    return index.reshape(-1, *(1 for _ in array.shape[1:]))
