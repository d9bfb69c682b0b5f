"""What an algorithm is: one class that says what it computes, when it applies and what it costs."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from .._spec import ConvSpec, Slot
from .._typing import Array, Input, Kernel, Output
from ._problem import Problem
from .shared._hints import NONE, Hints

# Computes the contraction that an algorithm leaves: slot, description and operands.
Solve: TypeAlias = Callable[[Slot, ConvSpec, Array, Array], Array]

# The names that JAX gives to the platforms of NVIDIA and AMD.
GPU_PLATFORMS = ("cuda", "rocm")


class Remainder(StrEnum):
    """What an algorithm that only rearranges a contraction leaves for another one."""

    FOLDED = "a product of matrices, or a convolution of one rank less"
    PHASES = "a convolution of stride 1 between phases"
    GROUP = "the convolution of one feature group"


class Algorithm:
    """One way to compute contractions.

    A class derives from this one for each algorithm, and defines the methods of the slots that it
    can leave empty: `forward`, `input_vjp` and `kernel_vjp`. Operands and results are channels
    last. An algorithm either computes the whole contraction, or rearranges it into another one and
    passes that to `solve`.

    Attributes:
      name: The name that `impl` takes.
      slots: The slots that it can leave empty.
      remainder: What kind of contraction it leaves, if it leaves one.
      finishes: The kinds of contraction, left by other algorithms, that it is tried on.
      transforms: Whether it works in another basis. Then it is not for integers, each element
        depends on all of its example, and rounding errors are relative to the operands' norms.
      multiplies_padding: Whether its forward pass multiplies the kernel by the zeros of padding on
        every platform and for every size.
      hints: Hints to the platform's compiler.
    """

    name: str
    slots: tuple[Slot, ...] = tuple(Slot)
    remainder: Remainder | None = None
    finishes: frozenset[Remainder] = frozenset()
    transforms: bool = False
    multiplies_padding: bool = False
    hints: Hints = NONE

    def forward(self, spec: ConvSpec, x: Input, kernel: Kernel, solve: Solve) -> Output:
        """∂T/∂y, the convolution."""
        raise NotImplementedError

    def input_vjp(self, spec: ConvSpec, kernel: Kernel, y: Output, solve: Solve) -> Input:
        """∂T/∂x, the gradient of the input."""
        raise NotImplementedError

    def kernel_vjp(self, spec: ConvSpec, x: Input, y: Output, solve: Solve) -> Kernel:
        """∂T/∂k, the gradient of the kernel."""
        raise NotImplementedError

    def run(self, slot: Slot, spec: ConvSpec, first: Array, second: Array, solve: Solve) -> Array:
        """The contraction that leaves `slot` empty. The operands are in the order x, k, y."""
        if slot == Slot.OUTPUT:
            return self.forward(spec, first, second, solve)
        if slot == Slot.INPUT:
            return self.input_vjp(spec, first, second, solve)
        return self.kernel_vjp(spec, first, second, solve)

    def why_not(self, problem: Problem) -> str:
        """Why it does not apply to a problem whose slot is among `slots`; empty if it does."""
        return ""

    def cost(self, problem: Problem) -> float:
        """Estimated time, without that of the problem it leaves, in the unit of `cpu/_rates.py`.

        Only CPUs choose by estimates.
        """
        return 0.0

    def leaves(self, problem: Problem) -> Problem | None:
        """The problem that it leaves for another algorithm, or None."""
        return None

    def repeats(self, problem: Problem) -> int:
        """How often the problem that it leaves is solved."""
        return 1

    def skips_zeros(self, dtype: np.dtype) -> bool:
        """Whether its forward pass leaves out the products of kernel and padding in a dtype."""
        return False

    def spreads(self, problem: Problem) -> bool:
        """Whether it multiplies elements by zeros of its own.

        An infinity or NaN then reaches elements that do not depend on it.
        """
        return False

    def refusal(self, problem: Problem) -> str:
        """Why it can't compute a contraction; empty if it can."""
        if self.transforms and not jnp.issubdtype(problem.dtype, jnp.inexact):
            return "its basis is not one of integers"
        if problem.slot not in self.slots:
            return "it does not compute this contraction"
        return self.why_not(problem)

    def default_refusal(self, problem: Problem, forward: Slot = Slot.OUTPUT) -> str:
        """Why it must not run without being asked for; empty if it may.

        `forward` is the slot that the forward pass leaves empty.
        """
        if reason := self.refusal(problem):
            return reason
        if self.transforms:
            return f"each element would depend on its whole example; impl={self.name!r} asks for it"
        if problem.slot == forward and self.spreads(problem):
            return "its zeros would carry an infinity to elements that do not depend on it"
        return ""
