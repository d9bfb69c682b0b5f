"""Plans: chains of algorithms, each of which leaves its contraction's remainder to the next."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from .._geometry import Axis, Geometry
from .._spec import ConvSpec, Slot, operand_of, with_operand
from .._typing import Array
from ._algorithm import Algorithm
from ._problem import Problem
from .shared._arrays import kernel_with_zeros_multiplied, with_zeros_multiplied
from .shared._dtypes import common_dtype


class Plan(NamedTuple):
    """An algorithm, by name, and the plan for the contraction that it leaves, if it leaves one.

    `cost` is the estimate for the whole chain.
    """

    name: str
    cost: float
    rest: "Plan | None" = None

    def __str__(self) -> str:
        return self.name if self.rest is None else f"{self.name} > {self.rest}"


class Choice(NamedTuple):
    """What runs, and why."""

    plan: Plan
    reason: str


class Catalogue:
    """The algorithms of a platform, by name, and the plans that can be made of them.

    Of two plans with equal estimates the one of the earlier algorithm is taken.
    """

    def __init__(self, algorithms: Iterable[Algorithm]):
        self.algorithms = {algorithm.name: algorithm for algorithm in algorithms}

    def plan(self, name: str, problem: Problem, forward: Slot = Slot.OUTPUT) -> Plan:
        """The plan that begins with an algorithm, which must apply."""
        algorithm = self.algorithms[name]
        own, left = algorithm.cost(problem), algorithm.leaves(problem)
        if left is None:
            return Plan(name, own)
        rest = next(
            plan
            for plan in self.plans(left, forward)
            if algorithm.remainder in self.algorithms[plan.name].finishes
        )
        return Plan(name, own + algorithm.repeats(problem) * rest.cost, rest)

    def plans(self, problem: Problem, forward: Slot = Slot.OUTPUT) -> tuple[Plan, ...]:
        """The plans of all algorithms that may run without being asked for, the cheapest first."""
        return _plans(self, problem, forward)

    def run(self, plan: Plan, slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
        """Compute a contraction as planned, and in a forward pass multiply all zeros, too."""
        geometry = spec.geometry
        if slot != spec.forward or not self._skips_zeros(plan, slot, spec):
            return self.execute(plan, slot, spec, first, second)
        if _meets_elements(geometry.transposed() if slot == Slot.INPUT else geometry):
            # Added to the kernel, the products reach every element, without a pass over the result.
            first, second = with_operand(
                Slot.KERNEL,
                slot,
                (first, second),
                lambda kernel: kernel_with_zeros_multiplied(slot, kernel, geometry.groups),
            )
            return self.execute(plan, slot, spec, first, second)
        result = self.execute(plan, slot, spec, first, second)
        kernel = operand_of(Slot.KERNEL, slot, (first, second))
        return with_zeros_multiplied(slot, result, kernel, geometry.groups)

    def execute(self, plan: Plan, slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
        """Compute a contraction as planned."""
        if spec.geometry.crops_all:
            # All products are with padding. Most algorithms would have nothing to slice.
            shape = spec.shape_of(slot, first.shape, second.shape)
            return jnp.zeros(shape, spec.dtypes.of(slot))

        def solve(slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
            assert plan.rest is not None
            return self.execute(plan.rest, slot, spec, first, second)

        return self.algorithms[plan.name].run(slot, spec, first, second, solve)

    def _skips_zeros(self, plan: Plan, slot: Slot, spec: ConvSpec) -> bool:
        """Whether a forward pass leaves out products of the kernel with zeros.

        Backends differ in whether they multiply the zeros between elements, and those of padding
        where the window is larger than the map. A transposed convolution is the convolution (G'),
        whose padding and gaps several algorithms skip.
        """
        geometry = spec.geometry
        if geometry.crops_all:
            return True
        if slot == Slot.INPUT:
            geometry = geometry.transposed()
        gaps = any(e > 1 for e in geometry.input_dilation)
        padded = any(side > 0 for sides in geometry.padding for side in sides)
        is_larger = math.prod(geometry.window) > math.prod(geometry.input_size)
        exchanged = is_larger and not self.algorithms[plan.name].multiplies_padding
        dtype = common_dtype(*spec.dtypes)
        skipped = any(self.algorithms[name].skips_zeros(dtype) for name in str(plan).split(" > "))
        return gaps or (padded and (slot == Slot.INPUT or exchanged or skipped))


def _meets_elements(geometry: Geometry) -> bool:
    """Whether every window of a convolution contains an element of the map."""
    return all(_every_window_meets_one(axis) for axis in geometry.axes())


@lru_cache(maxsize=4096)
def _every_window_meets_one(axis: Axis) -> bool:
    places = axis.s * np.arange(axis.p)[:, None] + axis.d * np.arange(axis.r) - axis.lo
    met = (places % axis.e == 0) & (0 <= places) & (places < axis.e * axis.i)
    return bool(met.any(axis=1).all())


@lru_cache(maxsize=4096)
def _plans(catalogue: Catalogue, problem: Problem, forward: Slot) -> tuple[Plan, ...]:
    found = (
        catalogue.plan(name, problem, forward)
        for name, algorithm in catalogue.algorithms.items()
        if not algorithm.default_refusal(problem, forward)
    )
    return tuple(sorted(found, key=lambda plan: plan.cost))
