"""Which algorithm computes a corner, by platform, shape and dtype.

Some algorithms do all the work; others rearrange the corner into another one, without strides or
with fewer axes, and leave that to the algorithm that suits it best. So what runs is a *plan*, a
chain of algorithms. Every plan has a cost (see `_costs.py`) and the cheapest one runs, unless the
call names an algorithm or `--tune` has measured another to be faster. Algorithms that do not apply
to a corner say why.

What runs without being asked for keeps to the definition, element by element:

- The bits of an element do not depend on finite values that it does not see, and its rounding error
  is relative to its own terms. An algorithm in another basis breaks this (`transforms`), so it runs
  only where the call names it.
- In the forward pass, an infinity or NaN reaches the elements that see it and no others. Some
  algorithms multiply zeros of their own with pixels, and 0 · inf is NaN (`spreads`). They are left
  to the gradients.
- The zeros of padding and of a dilated map are multiplied by the kernel as all pixels are, so a
  tap that is infinite or NaN reaches every element of its channel. Algorithms that skip these zeros
  (`skips_zeros`) have the products added in the forward pass.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from .._geometry import Geometry
from .._spec import ConvSpec, Slot, shape_of
from .._typing import Array
from . import _tuning
from ._arrays import Dtypes, with_zeros_multiplied
from ._gpu import gpu_algorithm
from ._problem import Problem
from ._registry import ALL, Corner, applicable, why_not

# Names that JAX gives to the platforms of NVIDIA and AMD.
GPU_PLATFORMS = ("cuda", "rocm")


class Plan(NamedTuple):
    """An algorithm, and, where it rearranges the corner into another, what computes that one."""

    name: str
    cost: float
    rest: "Plan | None" = None

    def __str__(self) -> str:
        return self.name if self.rest is None else f"{self.name} > {self.rest}"


def run(slot: Slot, platform: str, spec: ConvSpec, first: Array, second: Array) -> Array:
    """Compute the contraction that leaves `slot` empty, with the platform's algorithm for it.

    `spec.impl` names an algorithm to prefer wherever it applies. `spec.forward` is the slot that
    the forward pass leaves empty.
    """
    problem = problem_of(slot, (first.shape, second.shape), spec.geometry)
    plan, _ = choose(problem, platform, spec)
    return run_plan(
        plan,
        first,
        second,
        slot=slot,
        geometry=spec.geometry,
        dtypes=spec.dtypes,
        precision=spec.precision,
        forward=spec.forward,
    )


def run_algorithm(name: str, slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
    """Compute a contraction with one algorithm, which must apply; `spec.impl` is ignored."""
    return ALGORITHMS[name][slot](
        first, second, geometry=spec.geometry, dtypes=spec.dtypes, precision=spec.precision
    )


def run_plan(
    plan: "Plan",
    *operands: Array,
    slot: str,
    geometry: Geometry,
    dtypes: Dtypes,
    precision: lax.PrecisionLike,
    forward: str,
) -> Array:
    """Compute a corner as planned; a forward pass multiplies the zeros around the pixels, too."""
    result = execute(
        plan, *operands, slot=slot, geometry=geometry, dtypes=dtypes, precision=precision
    )
    if slot == forward and _skips_zeros(plan, slot, geometry):
        kernel = operands["xky".replace(slot, "").index("k")]
        return with_zeros_multiplied(slot, result, kernel, geometry.groups)
    return result


class Choice(NamedTuple):
    """What runs, and why."""

    plan: Plan
    reason: str


def choose(problem: Problem, platform: str, spec: ConvSpec) -> Choice:
    """The plan for a contraction: the algorithm asked for, the one measured, or the cheapest."""
    impl, forward, dtypes = spec.impl, spec.forward, spec.dtypes
    if impl in ALL and not why_not(impl, problem, dtypes):
        return Choice(_plan(impl, problem), "asked for by impl")
    if platform in GPU_PLATFORMS:
        name = gpu_algorithm(problem)
        if why_not_by_default(name, problem, forward):
            name = "direct"
        return Choice(_direct_plan(name, problem), "what XLA runs best on a GPU")
    if platform != "cpu":
        return Choice(Plan("direct", 0.0), f"the convolution that XLA knows best on {platform}")
    if not all(dtype in (np.float32, np.float64) for dtype in dtypes):
        return Choice(Plan("direct", 0.0), "the others are for float32 and float64")
    found = plans(problem, forward=forward)
    measured = _tuning.choice(
        problem.slot, problem.geometry, problem.sizes, str(dtypes[0]), platform
    )
    for plan in found:
        if plan.name == measured:
            return Choice(plan, "measured to be the fastest on this machine")
    return Choice(found[0], "the lowest estimate")


@lru_cache(maxsize=4096)
def plans(problem: Problem, *, forward: str = "y") -> tuple[Plan, ...]:
    """A plan for each algorithm that may run without being asked for, the cheapest first."""
    names = (name for name in ALL if not why_not_by_default(name, problem, forward))
    found = (_plan(name, problem, forward) for name in names)
    return tuple(sorted(found, key=lambda plan: plan.cost))


def every_plan(problem: Problem) -> tuple[Plan, ...]:
    """A plan for each algorithm that applies, those that must be asked for among them."""
    return tuple(_plan(name, problem) for name in applicable(problem))


def _plan(name: str, problem: Problem, forward: str = "y") -> Plan:
    algorithm = ALL[name]
    own = algorithm.cost(problem)
    left = algorithm.leaves(problem)
    if left is None:
        return Plan(name, own)
    rest = next(plan for plan in plans(left, forward=forward) if plan.name in algorithm.then)
    return Plan(name, own + algorithm.times(problem) * rest.cost, rest)


def _direct_plan(name: str, problem: Problem) -> Plan:
    """An algorithm without estimates, what it leaves being computed directly."""
    left = ALL[name].leaves(problem)
    return Plan(name, 0.0, None if left is None else Plan("direct", 0.0))


def execute(
    plan: Plan,
    *operands: Array,
    slot: str,
    geometry: Geometry,
    dtypes: Dtypes,
    precision: lax.PrecisionLike,
) -> Array:
    """Compute a corner as planned."""
    if geometry.crops_all:  # no pixel is met, and most algorithms have nothing to cut
        shape = shape_of(Slot(slot), *(a.shape for a in operands), geometry)
        return jnp.zeros(shape, dtypes["xky".index(slot)])
    corner = ALL[plan.name].corners[slot]
    rest = plan.rest
    if rest is None:
        return corner(*operands, geometry=geometry, dtypes=dtypes, precision=precision)

    def solve(slot: str, *operands: Array, geometry: Geometry, dtypes: Dtypes) -> Array:
        return execute(
            rest, *operands, slot=slot, geometry=geometry, dtypes=dtypes, precision=precision
        )

    return corner(*operands, geometry=geometry, dtypes=dtypes, solve=solve)


def why_not_by_default(name: str, problem: Problem, forward: str = "y") -> str:
    """What keeps an algorithm from running without being asked for; empty if nothing does."""
    reason = why_not(name, problem)
    if reason:
        return reason
    if ALL[name].transforms:
        return f"each element would see all of its example; impl={name!r} asks for it"
    if problem.slot == forward and ALL[name].spreads(problem):
        return "its zeros would carry an infinity to elements that do not see it"
    return ""


def _skips_zeros(plan: Plan, slot: str, geometry: Geometry) -> bool:
    """Whether a forward pass leaves out products of the kernel with zeros around the pixels.

    Backends differ in whether they multiply zeros between pixels, and padding where the window is
    larger than the map. A transposed convolution is the convolution of (G'): its zeros count, and
    several algorithms skip them.
    """
    if geometry.crops_all:
        return True
    if slot == "x":
        geometry = geometry.transposed()
    gaps = any(e > 1 for e in geometry.input_dilation)
    padded = any(side > 0 for sides in geometry.padding for side in sides)
    exchanged = math.prod(geometry.window) > math.prod(geometry.input_size)
    skipped = any(ALL[name].skips_zeros for name in str(plan).split(" > "))
    return gaps or (padded and (slot == "x" or exchanged or skipped))


def problem_of(
    slot: Slot, shapes: tuple[tuple[int, ...], tuple[int, ...]], geometry: Geometry
) -> Problem:
    """The problem that the operands of a contraction, of these shapes, pose."""
    first, second = shapes
    if slot == "x":
        n, c, o = second[0], first[-2] * geometry.groups, first[-1]
    else:
        n, c, o = first[0], first[-1], second[-1]
    # An exported program may leave the number of examples open; many is the case to be fast for.
    return Problem(slot, geometry, n if isinstance(n, int) else 256, c, o)


def _corner(name: str, slot: str) -> Corner:
    """A corner as one function of the operands, whatever it leaves to other algorithms."""

    def corner(*operands, geometry, **options):
        problem = problem_of(Slot(slot), tuple(a.shape for a in operands), geometry)
        reason = why_not(name, problem)
        assert not reason, f"{name} does not apply: {reason}"
        return execute(_plan(name, problem), *operands, slot=slot, geometry=geometry, **options)

    return corner


# Every algorithm's corners by name, for geometries to which it applies.
ALGORITHMS: dict[str, dict[str, Corner]] = {
    name: {slot: _corner(name, slot) for slot in algorithm.corners}
    for name, algorithm in ALL.items()
}
