"""Which algorithm runs for each convolution of a program, and why."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from .. import algorithms
from .._geometry import Geometry
from ._triangle import SLOT_OF

_FUNCTIONS = {"y": "conv", "x": "conv_input_vjp", "k": "conv_kernel_vjp"}


@dataclass(frozen=True)
class ExplainedCorner:
    """One convolution, or one gradient of one, as it would be compiled.

    Attributes:
      function: `"conv"`, `"conv_input_vjp"` or `"conv_kernel_vjp"`.
      x_shape, kernel_shape, y_shape: Shapes of input, kernel and output, channels last.
      dtypes: Their dtypes.
      geometry: Strides, padding, dilations and groups.
      algorithm: What runs: the name of an algorithm, or `"phases > direct"` where one rearranges
        the corner for another. The first name is one that `impl` takes.
      reason: Why this one.
      considered: Every algorithm that may run unasked, with its estimated time relative to the
        first one's.
      refused: Every other algorithm, with the reason: it does not apply, or it runs only where
        `impl` names it.
      times: How often the program holds it; once for the body of a loop.
    """

    function: str
    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    geometry: Geometry
    algorithm: str
    reason: str
    considered: Mapping[str, float]
    refused: Mapping[str, str]
    times: int = 1

    def __str__(self) -> str:
        shapes = f"x {self.x_shape}  kernel {self.kernel_shape}  y {self.y_shape}"
        often = f"  ({self.times} times)" if self.times > 1 else ""
        lines = [
            f"{self.function}  {shapes}  {self.dtypes[0]}{often}",
            f"  runs      {self.algorithm}: {self.reason}",
        ]
        others = [f"{name} {cost:.1f}x" for name, cost in self.considered.items()]
        if others:
            lines.append(f"  estimate  {', '.join(others)}")
        lines += [f"  not       {name}: {why}" for name, why in self.refused.items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Explanation:
    """The convolutions of a program, in the order in which they are traced; printed as text."""

    platform: str
    corners: tuple[ExplainedCorner, ...]

    def __str__(self) -> str:
        if not self.corners:
            return f"No convolution of jaxconv's in this program (platform {self.platform})."
        return "\n".join([f"platform {self.platform}", *map(str, self.corners)])


def explain(f: Callable[..., Any], *args: Any, platform: str | None = None) -> Explanation:
    """Say which algorithm runs for each of jaxconv's convolutions in a call, why, and what else.

        print(jaxconv.explain(jax.grad(loss), params, batch))

    Nothing is compiled or run: `f` is traced, as `jax.jit` would trace it, and every convolution
    and gradient found in it, loops and conditions included, is put to the selection.

    Args:
      f: Any function that JAX can trace.
      *args: Its arguments: arrays, or only their shapes and dtypes as `jax.ShapeDtypeStruct`, or
        pytrees of them.
      platform: "cpu", "cuda", "rocm" or "tpu"; None is that of JAX's default backend.

    Returns:
      An `Explanation`: `.corners` for programs, `str()` for people.

    Raises:
      ValueError: The platform is none of these.

    Source: the cost model of `jaxconv.algorithms`, derived from measurements.

    >>> x, kernel = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.ones((3, 3, 3, 4))
    >>> explanation = explain(lambda x, k: jax.numpy.sum(x), x, kernel)
    >>> print(explanation)
    No convolution of jaxconv's in this program (platform ...).
    """
    platforms = ("cpu", "cuda", "rocm", "tpu")
    if platform is None:
        backend = jax.default_backend()
        platform = "cuda" if backend == "gpu" else backend
    if platform not in platforms:
        raise ValueError(f"explain: platform must be one of {platforms}, got {platform!r}.")
    counts: dict[Any, int] = {}
    for corner in _corners(jax.make_jaxpr(f)(*args).jaxpr):
        counts[corner] = counts.get(corner, 0) + 1
    found = (_explained(*corner, platform=platform, times=n) for corner, n in counts.items())
    return Explanation(platform, tuple(found))


def _corners(jaxpr: Any) -> Iterator[tuple]:
    """Slot, operand shapes and parameters of each corner in a program, inner programs included."""
    for equation in jaxpr.eqns:
        slot = SLOT_OF.get(equation.primitive)
        if slot is not None:
            shapes = tuple(operand.aval.shape for operand in equation.invars)
            yield slot, shapes, tuple(sorted(equation.params.items()))
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _corners(inner)


def _explained(slot, shapes, params, *, platform: str, times: int) -> ExplainedCorner:
    params = dict(params)
    geometry, impl, forward = params["geometry"], params["impl"], params["forward"]
    problem = algorithms.problem_of(slot, *shapes, geometry=geometry)
    n, c, o = problem.n, problem.c, problem.o
    nothing = 0 in (n, c, o, *geometry.input_size, *geometry.output_size)
    if nothing:
        choice = algorithms.Choice(algorithms.Plan("zeros", 0.0), "there is nothing to add up")
    elif impl == "textbook":
        choice = algorithms.Choice(
            algorithms.Plan("textbook", 0.0), "asked for, the formula of the derivation"
        )
    else:
        choice = algorithms.choose(problem, platform, params["dtypes"], impl, forward)
    estimated = platform == "cpu" and not nothing
    plans = [*algorithms.plans(problem, forward=forward)] if estimated else []
    refused = {
        name: algorithms.why_not_by_default(name, problem, forward)
        for name in algorithms.ALGORITHMS
    }
    refused |= {plan.name: "made for GPUs" for plan in plans if plan.cost == math.inf}
    return ExplainedCorner(
        function=_FUNCTIONS[slot],
        x_shape=(n, *geometry.input_size, c),
        kernel_shape=(*geometry.window, c // geometry.groups, o),
        y_shape=(n, *geometry.output_size, o),
        dtypes=tuple(str(dtype) for dtype in params["dtypes"]),
        geometry=geometry,
        algorithm=str(choice.plan),
        reason=choice.reason,
        considered={str(plan): plan.cost / plans[0].cost for plan in plans if plan.cost < math.inf},
        refused={name: why for name, why in refused.items() if why and plans},
        times=times,
    )
