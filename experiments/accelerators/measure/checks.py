"""Whether results are right on this device. Wrong results are not timed."""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from ...benchmark.cases import Case, Pool
from ...benchmark.peers import Operands, operands
from .device import MODES, Mode
from .programs import Program, contractions_of, jax_program

_EXACT = Mode("float64", "highest", 2.0**-52)


def wrong_contractions(case: Case, mode: Mode) -> list[str]:
    """What is wrong with our contractions of a case, an empty list if they are right.

    The sizes are shrunk, so that they can be compared with float64 on the CPU.
    """
    small = case.shrunk()
    given = rounded(operands(small), mode)
    complaints = []
    for contraction in contractions_of(case):
        wrong = disagreement(
            results(jax_program("jaxconv", small, contraction, given, mode)),
            exactly(small, contraction, given),
            bound(small, contraction, mode),
        )
        if wrong:
            complaints.append(f"{case.name} {contraction}: {wrong}")
    return complaints


def rounded(given: Operands, mode: Mode) -> Operands:
    """The operands rounded to the dtype of a mode, so that all programs start from the same."""
    return Operands(
        *(None if a is None else np.array(jnp.asarray(a, mode.dtype), np.float32) for a in given)
    )


def exactly(case: Case, contraction: str, given: Operands) -> list[np.ndarray]:
    """A contraction with lax's autodiff, in float64 on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return results(jax_program("autodiff", case, contraction, given, _EXACT))


def plainly(case: Case, contraction: str, given: Operands) -> list[np.ndarray]:
    """A contraction with lax's autodiff on the device, in float32 at the highest precision."""
    return results(jax_program("autodiff", case, contraction, given, MODES["float32"]))


def results(program: Program) -> list[np.ndarray]:
    """The results of a program."""
    return program.arrays(program.call())


def bound(case: Case, contraction: str, mode: Mode) -> float:
    """By how much rounding may change a contraction, relative to its norm.

    The two operands of a product and the result are each rounded to the mode's eps. A sum of N
    terms in float32 changes by at most N of its eps, on both sides of a comparison.
    """
    if isinstance(case, Pool):
        terms = prod(case.window)
    else:
        taps, groups = prod(case.window), case.groups
        of_contraction = {
            "F": taps * case.c // groups,
            "DX": taps * case.o // groups,
            "DW": case.n * prod(case.output),
        }
        terms = max(of_contraction[part] for part in contraction.split("+"))
    return 3 * mode.eps + 2 * terms * MODES["float32"].eps


def disagreement(
    actual: list[np.ndarray], expected: list[np.ndarray], tolerance: float
) -> str | None:
    """How two results differ by more than the tolerance; None if they agree."""
    for array, other in zip(actual, expected, strict=True):
        if array.shape != other.shape:
            return f"shape {array.shape}, expected {other.shape}"
        norm = np.linalg.norm(other.ravel()) or 1.0
        error = np.linalg.norm((array - other).ravel()) / norm
        if not error <= tolerance:  # also if it is NaN
            return f"relative error {error:.1e}, rounding explains {tolerance:.1e}"
    return None
