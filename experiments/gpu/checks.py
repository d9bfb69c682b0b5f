"""Is a corner right on this device? No time is reported for a wrong result."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.cases import Case, Pool
from experiments.benchmark.peers import Operands, operands

from .device import MODES, Mode
from .programs import Program, corners_of, jax_program

_EXACT = Mode("float64", "highest", 2.0**-52)


def wrong_corners(case: Case, mode: Mode) -> list[str]:
    """What is wrong with our corners of a case; nothing, if all is well.

    Sizes are shrunk, so that float64 on the CPU can tell: no device has to vouch for itself.
    """
    small = case.shrunk()
    given = rounded(operands(small), mode)
    complaints = []
    for corner in corners_of(case):
        wrong = disagreement(
            results(jax_program("jaxconv", small, corner, given, mode)),
            exactly(small, corner, given),
            bound(small, corner, mode),
        )
        if wrong:
            complaints.append(f"{case.name} {corner}: {wrong}")
    return complaints


def rounded(given: Operands, mode: Mode) -> Operands:
    """The operands as a mode stores them, so that all computations start from the same numbers."""
    return Operands(
        *(None if a is None else np.array(jnp.asarray(a, mode.dtype), np.float32) for a in given)
    )


def exactly(case: Case, corner: str, given: Operands) -> list[np.ndarray]:
    """A corner as lax's autodiff has it in float64 on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return results(jax_program("autodiff", case, corner, given, _EXACT))


def plainly(case: Case, corner: str, given: Operands) -> list[np.ndarray]:
    """A corner as lax's autodiff has it on the device, in float32 without shortcuts."""
    return results(jax_program("autodiff", case, corner, given, MODES["float32"]))


def results(program: Program) -> list[np.ndarray]:
    """What a program computes."""
    return program.arrays(program.call())


def bound(case: Case, corner: str, mode: Mode) -> float:
    """How far rounding may move a corner, relative to its norm.

    Each operand of a product is rounded to the mode's eps, and so is the result; adding up N terms
    in float32, on both sides of a comparison, moves them by N of its eps at most.
    """
    if isinstance(case, Pool):
        terms = prod(case.window)
    else:
        taps, groups = prod(case.window), case.groups
        of_corner = {
            "F": taps * case.c // groups,
            "DX": taps * case.o // groups,
            "DW": case.n * prod(case.output),
        }
        terms = of_corner[corner]
    return 3 * mode.eps + 2 * terms * MODES["float32"].eps


def disagreement(
    actual: list[np.ndarray], expected: list[np.ndarray], tolerance: float
) -> str | None:
    """How two results differ by more than the tolerance; None if they do not."""
    for array, other in zip(actual, expected, strict=True):
        if array.shape != other.shape:
            return f"shape {array.shape}, expected {other.shape}"
        norm = np.linalg.norm(other.ravel()) or 1.0
        error = np.linalg.norm((array - other).ravel()) / norm
        if not error <= tolerance:  # NaN, too
            return f"relative error {error:.1e}, rounding explains {tolerance:.1e}"
    return None
