"""Which algorithm runs for each convolution of a program, and why.

And what `jaxconv.accelerate` replaces in it: it says so while the program is traced (`note`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

import jax
from jax.experimental.xla_metadata import set_xla_metadata

from .. import algorithms
from .._geometry import Geometry
from .._spec import ConvSpec, Slot
from ._form import SLOT_OF

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_FUNCTIONS = {
    Slot.INPUT: "conv_input_vjp",
    Slot.KERNEL: "conv_kernel_vjp",
    Slot.OUTPUT: "conv",
}


@dataclass(frozen=True)
class ExplainedConvolution:
    """One convolution, or one gradient of a convolution, as it would be compiled.

    Attributes:
      function: `"conv"`, `"conv_input_vjp"` or `"conv_kernel_vjp"`.
      x_shape: Shape of the input, channels last.
      kernel_shape: Shape of the kernel, channels last.
      y_shape: Shape of the output, channels last.
      dtypes: Dtypes of input, kernel and output.
      geometry: Strides, padding, dilations and feature groups.
      algorithm: The algorithm that runs, or a chain such as `"phases > direct"` where an algorithm
        rearranges the convolution for another one. `impl` takes the first name.
      reason: Why this algorithm runs.
      considered: Each algorithm that may run by default, with its estimated time in units of the
        time of the fastest.
      refused: Each other algorithm, with the reason why it does not run by default.
      times: How often the program contains the convolution. The body of a loop counts once.
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
        times = f"  ({self.times} times)" if self.times > 1 else ""
        lines = [
            f"{self.function}  {shapes}  {self.dtypes[0]}{times}",
            f"  runs      {self.algorithm}: {self.reason}",
        ]
        others = [f"{name} {cost:.1f}x" for name, cost in self.considered.items()]
        if others:
            lines.append(f"  estimate  {', '.join(others)}")
        lines += [f"  not       {name}: {why}" for name, why in self.refused.items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class ExplainedPrimitive:
    """A convolution or a pool of `jax.lax` that `jaxconv.accelerate` met.

    Attributes:
      path: The operations around it, outermost first, and its own name, such as
        `("jit", "scan", "conv_general_dilated")`. The path of a custom derivative rule starts at
        the operation that has the rule.
      operands: Shapes of the operands. A size may be a symbol of `jax.export`.
      results: Shapes of the results.
      dtypes: Dtypes of the operands.
      runs: What runs in its place, or None if it stays.
      reason: Why it stays, or None.
      times: How often the program contains it. The body of a loop counts once.
    """

    path: tuple[str, ...]
    operands: tuple[tuple[Any, ...], ...]
    results: tuple[tuple[Any, ...], ...]
    dtypes: tuple[str, ...]
    runs: str | None
    reason: str | None
    times: int = 1

    def inside(self, path: tuple[str, ...]) -> "ExplainedPrimitive":
        """The same primitive in a program that other operations hold."""
        return replace(self, path=(*path, *self.path)) if path else self

    def __str__(self) -> str:
        operands, results = (", ".join(map(str, s)) for s in (self.operands, self.results))
        times = f"  ({self.times} times)" if self.times > 1 else ""
        says = f"runs      {self.runs}" if self.runs else f"stays     {self.reason}"
        return (
            f"{' > '.join(self.path)}  {operands} -> {results}  {self.dtypes[0]}{times}\n  {says}"
        )


@dataclass(frozen=True)
class Explanation:
    """The convolutions of a program, in the order in which JAX traces them.

    Attributes:
      platform: `"cpu"`, `"cuda"`, `"rocm"` or `"tpu"`.
      convolutions: One entry for each different convolution.
      accelerated: One entry for each different primitive of `jax.lax` that `jaxconv.accelerate`
        met, if the program is accelerated, or a part of it.
    """

    platform: str
    convolutions: tuple[ExplainedConvolution, ...]
    accelerated: tuple[ExplainedPrimitive, ...] = ()

    def __str__(self) -> str:
        lines = [f"platform {self.platform}", *map(str, self.convolutions)]
        if not self.convolutions:
            lines = [f"No convolution of jaxconv's in this program (platform {self.platform})."]
        if self.accelerated:
            met = sum(primitive.times for primitive in self.accelerated)
            replaced = sum(primitive.times for primitive in self.accelerated if primitive.runs)
            lines.append(f"accelerate replaces {replaced} of {met} convolutions and pools of lax")
        return "\n".join([*lines, *map(str, self.accelerated)])


_met: ContextVar[list[ExplainedPrimitive] | None] = ContextVar("met", default=None)
_unique = count()


def note(met: Iterable[ExplainedPrimitive], path: tuple[str, ...]) -> None:
    """Say which primitives were met inside which operations, if `explain` is asking."""
    rows = _met.get()
    if rows is not None:
        rows.extend(row.inside(path) for row in met)


def _traced(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, list[ExplainedPrimitive]]:
    """The program of a call, and what `accelerate` met while it was traced."""
    rows: list[ExplainedPrimitive] = []
    token = _met.set(rows)
    try:
        # Metadata that no other trace has, so that JAX does not take a part from an earlier trace.
        with set_xla_metadata(jaxconv_explain=next(_unique)):
            return jax.make_jaxpr(f)(*args).jaxpr, rows
    finally:
        _met.reset(token)


def _counted(rows: Iterable[ExplainedPrimitive]) -> tuple[ExplainedPrimitive, ...]:
    times: dict[ExplainedPrimitive, int] = {}
    for row in rows:
        times[row] = times.get(row, 0) + 1
    return tuple(replace(row, times=n) for row, n in times.items())


def explain(f: Callable[..., Any], *args: Any, platform: str | None = None) -> Explanation:
    """Say which algorithm runs for each of jaxconv's convolutions in a call, and why.

        print(jaxconv.explain(jax.grad(loss), params, batch))

    `explain` traces `f` as `jax.jit` would trace it. It neither compiles nor runs `f`. It finds the
    convolutions and their gradients in loops and conditions, too.

    Of a program with `jaxconv.accelerate` in it, `explain` also says which convolutions and pools
    of `jax.lax` are replaced, by what, and why the others stay:

        print(jaxconv.explain(jaxconv.accelerate(train_step), params, batch))

    Args:
      f: Any function that JAX can trace.
      *args: Arguments of `f`: arrays, or `jax.ShapeDtypeStruct`s with their shapes and dtypes, or
        pytrees of them.
      platform: `"cpu"`, `"cuda"`, `"rocm"` or `"tpu"`. None means JAX's default backend.

    Returns:
      An `Explanation`. Programs read its `convolutions`; people print it.

    Raises:
      ValueError: The platform is none of these.

    >>> x, kernel = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.ones((3, 3, 3, 4))
    >>> explanation = explain(lambda x, k: jax.numpy.sum(x), x, kernel)
    >>> print(explanation)
    No convolution of jaxconv's in this program (platform ...).
    """
    if platform is None:
        backend = jax.default_backend()
        platform = "cuda" if backend == "gpu" else backend
    if platform not in PLATFORMS:
        raise ValueError(f"explain: platform must be one of {PLATFORMS}, got {platform!r}.")
    program, met = _traced(f, args)
    counts: dict[_Found, int] = {}
    for found in _contractions(program):
        counts[found] = counts.get(found, 0) + 1
    explained = (_explained(found, platform, times) for found, times in counts.items())
    return Explanation(platform, tuple(explained), _counted(met))


class _Found(NamedTuple):
    """A contraction in a program."""

    slot: Slot
    shapes: tuple[tuple[int, ...], tuple[int, ...]]  # of its operands
    spec: ConvSpec


def _contractions(jaxpr: Any) -> Iterator[_Found]:
    """Each contraction in a program and in the programs inside it."""
    for equation in jaxpr.eqns:
        slot = SLOT_OF.get(equation.primitive)
        if slot is not None:
            first, second = (operand.aval.shape for operand in equation.invars)
            yield _Found(slot, (first, second), equation.params["spec"])
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _contractions(inner)


def _explained(found: _Found, platform: str, times: int) -> ExplainedConvolution:
    slot, shapes, spec = found
    geometry = spec.geometry
    problem = algorithms.problem_of(slot, shapes, spec)
    n, c, o = problem.sizes
    is_empty = 0 in (n, c, o, *geometry.input_size, *geometry.output_size)
    if is_empty:
        choice = algorithms.Choice(algorithms.Plan("zeros", 0.0), "the sums have no terms")
    elif spec.impl == "textbook":
        plan = algorithms.Plan("textbook", 0.0)
        choice = algorithms.Choice(plan, "the call asks for the formula of the derivation")
    else:
        choice = algorithms.choose(problem, platform, spec)
    has_estimates = platform == "cpu" and not is_empty
    plans = [*algorithms.plans(problem, forward=spec.forward)] if has_estimates else []
    refused = {
        name: algorithms.why_not_by_default(name, problem, spec.forward)
        for name in algorithms.ALGORITHMS
    }
    return ExplainedConvolution(
        function=_FUNCTIONS[slot],
        x_shape=(n, *geometry.input_size, c),
        kernel_shape=(*geometry.window, c // geometry.groups, o),
        y_shape=(n, *geometry.output_size, o),
        dtypes=tuple(map(str, spec.dtypes)),
        geometry=geometry,
        algorithm=str(choice.plan),
        reason=choice.reason,
        considered={str(plan): plan.cost / plans[0].cost for plan in plans},
        refused={name: why for name, why in refused.items() if why and plans},
        times=times,
    )
