"""Which plan runs: what the call asks for, or what the platform's folder chooses.

What runs without being asked for keeps to the definition, element by element:

- The bits of an element do not depend on finite values that its sum does not contain, and its
  rounding error is relative to its own terms. An algorithm in another basis breaks this
  (`transforms`), so it runs only where the call names it.
- In the forward pass, an infinity or NaN reaches the elements whose sums contain it and no others.
  Some algorithms multiply elements by zeros of their own, and 0 · inf is NaN (`spreads`). They are
  left to the gradients.
- The zeros of padding and of a dilated map are multiplied by the kernel as all elements are, so a
  tap that is infinite or NaN reaches every element of its channel. Algorithms that skip these zeros
  (`skips_zeros`) have the products added in the forward pass.
"""

from .._spec import ConvSpec, Slot
from .._typing import Array
from . import cpu, gpu, tpu
from ._algorithm import GPU_PLATFORMS, Algorithm
from ._catalogue import Catalogue, Choice, Plan
from ._problem import Problem, problem_of

# Every algorithm by its name. Where two platforms have one of the same name, the CPU's is listed.
ALGORITHMS: dict[str, Algorithm] = cpu.CATALOGUE.algorithms | {
    name: algorithm
    for name, algorithm in gpu.CATALOGUE.algorithms.items()
    if name not in cpu.CATALOGUE.algorithms
}


def run(slot: Slot, platform: str, spec: ConvSpec, first: Array, second: Array) -> Array:
    """Compute the contraction that leaves `slot` empty, with the platform's algorithm for it.

    `spec.impl` names an algorithm to use wherever it applies. In the contraction that leaves
    `spec.forward` empty, infinities and NaN are those of the definition. `spec.kernel_dtype` is
    ignored: the kernel must have been rounded before.
    """
    problem = problem_of(slot, (first.shape, second.shape), spec)
    plan, _ = choose(problem, platform, spec)
    return _catalogue_with(plan.name, platform).run(plan, slot, spec, first, second)


def run_algorithm(
    name: str, slot: Slot, spec: ConvSpec, first: Array, second: Array, *, platform: str = "any"
) -> Array:
    """Compute a contraction with one algorithm, which must apply, and the best for what it leaves.

    Args:
      name: The algorithm's name.
      slot: The slot that the contraction leaves empty.
      spec: The convolution; `impl`, `forward` and `kernel_dtype` are ignored.
      first: The first operand, in the order x, k, y.
      second: The second operand.
      platform: The platform whose form of the algorithm runs. By default it has no hints to a
        compiler, if there is such a form.

    Returns:
      The contraction. Products with the zeros that the algorithm skips are not added.
    """
    problem = problem_of(slot, (first.shape, second.shape), spec)
    catalogue = _catalogue_with(name, platform)
    reason = catalogue.algorithms[name].refusal(problem)
    assert not reason, f"{name} does not apply: {reason}"
    return catalogue.execute(catalogue.plan(name, problem), slot, spec, first, second)


def choose(problem: Problem, platform: str, spec: ConvSpec) -> Choice:
    """The plan for a contraction: the algorithm asked for, or the platform's choice."""
    if spec.impl in ALGORITHMS:
        catalogue = _catalogue_with(spec.impl, platform)
        if not catalogue.algorithms[spec.impl].refusal(problem):
            return Choice(catalogue.plan(spec.impl, problem), "asked for by impl")
    if platform == "cpu":
        return cpu.choose(problem, spec)
    if platform in GPU_PLATFORMS:
        return gpu.choose(problem)
    return tpu.choose(problem, platform)


def why_not(name: str, problem: Problem) -> str:
    """Why an algorithm can't compute a contraction; empty if it can."""
    return ALGORITHMS[name].refusal(problem)


def why_not_by_default(name: str, problem: Problem, forward: Slot = Slot.OUTPUT) -> str:
    """Why an algorithm must not run on a CPU without being asked for; empty if it may."""
    refusal = ALGORITHMS[name].default_refusal(problem, forward)
    return refusal or ("" if name in cpu.CATALOGUE.algorithms else "it is made for GPUs")


def applicable(problem: Problem) -> tuple[str, ...]:
    """The names of the algorithms that can compute a contraction."""
    return tuple(name for name in ALGORITHMS if not why_not(name, problem))


def plans(problem: Problem, *, forward: Slot = Slot.OUTPUT) -> tuple[Plan, ...]:
    """A plan for each algorithm that may run unasked on a CPU, the cheapest first."""
    return cpu.catalogue().plans(problem, forward)


def every_plan(problem: Problem) -> tuple[Plan, ...]:
    """A plan for each algorithm that applies, also for those that must be asked for."""
    return tuple(_catalogue_with(name, "cpu").plan(name, problem) for name in applicable(problem))


def _catalogue_with(name: str, platform: str) -> Catalogue:
    """The platform's catalogue, or where it lacks an algorithm the first one that has it."""
    of_cpu = cpu.catalogue()
    own = {"cpu": of_cpu, "tpu": tpu.CATALOGUE} | dict.fromkeys(GPU_PLATFORMS, gpu.CATALOGUE)
    catalogues = (own.get(platform, tpu.OTHERS), gpu.CATALOGUE, of_cpu, cpu.CATALOGUE)
    return next(catalogue for catalogue in catalogues if name in catalogue.algorithms)
