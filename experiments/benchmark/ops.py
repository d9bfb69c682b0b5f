"""Suite `ops`: every corner of every case, at top level and in a loop, beside its peers."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import torch_peer
from .cases import Case, Conv
from .checks import differs_from_definition, mismatch, terms
from .peers import CORNERS, Operands, corners_of, jax_programs, operands
from .single import DoesNotApply
from .timing import SLOWDOWN, Machine, Program, interleaved

Row = dict[str, Any]


def count_rows(cases: Iterable[Case], modes, corners) -> int:
    """How many rows `rows` will yield."""
    return sum(len(modes) * len(_wanted(case, corners)) for case in cases)


def rows(
    cases: Iterable[Case],
    *,
    modes: tuple[str, ...],
    corners: tuple[str, ...] | None,
    peers: tuple[str, ...],
    repeats: int,
    dtype: str,
    impl: str | None,
    machine: Machine,
) -> Iterator[Row]:
    """For each case, mode and corner the seconds of ours and of every peer.

    Args:
      cases: What to time.
      modes: "entry", "scan" or both.
      corners: Which of `CORNERS`; None for all that a case has.
      peers: Of "autodiff" and "torch". PyTorch is left out where it lacks an option of the case.
      repeats: Runs of each program, fewer for slow ones.
      dtype: Of all operands.
      impl: The algorithm of jaxconv; None for its own choice.
      machine: Measures the rate of the machine before and after.
    """
    for case in cases:
        given = operands(case)
        makers = _makers(case, given, peers, dtype, impl)
        for mode in modes:
            for corner in _wanted(case, corners):
                row = _description(case, corner, mode, dtype)
                row |= _measured(case, corner, mode, makers, repeats, dtype, impl, machine)
                yield row


def _wanted(case: Case, corners: tuple[str, ...] | None) -> list[str]:
    return [corner for corner in corners_of(case) if corners is None or corner in corners]


def _makers(
    case: Case, given: Operands, peers, dtype: str, impl: str | None
) -> dict[str, Callable[[str, str], Program]]:
    """For each peer the function that makes its programs; ours comes first."""
    makers = {"jaxconv": jax_programs("jaxconv", case, given, dtype, impl)}
    if "autodiff" in peers:
        makers["autodiff"] = jax_programs("autodiff", case, given, dtype)
    if "torch" in peers and torch_peer.supports(case):
        makers["torch"] = torch_peer.torch_programs(case, given, dtype)
    return makers


def _description(case: Case, corner: str, mode: str, dtype: str) -> Row:
    """What does not depend on the peer; operations and bytes are the least that a corner needs."""
    elements = {"x": case.x_shape, "y": case.y_shape}
    if isinstance(case, Conv):
        elements["k"] = case.kernel_shape
    width = {"float64": 8, "float32": 4}.get(dtype, 2)
    return {
        "case": case.name,
        "origin": case.origin,
        "kind": "conv" if isinstance(case, Conv) else "pool",
        "corner": corner,
        "mode": mode,
        "operations": case.operations * len(CORNERS[corner]),
        "bytes": width * sum(_product(shape) for shape in elements.values()),
    }


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _measured(case, corner, mode, makers, repeats, dtype, impl, machine) -> Row:
    """Check every peer's result, then time those that are right."""
    programs, errors = {}, {}
    try:
        wrong = differs_from_definition(case, corner, impl)
        programs["jaxconv"] = makers["jaxconv"](corner, mode)
    except DoesNotApply as error:
        return {"seconds": {}, "errors": {"jaxconv": str(error)}}
    if wrong:
        return {"seconds": {}, "errors": {"jaxconv": wrong}}
    expected = programs["jaxconv"].arrays(programs["jaxconv"].run())
    for peer in list(makers)[1:]:
        program = makers[peer](corner, mode)
        wrong = mismatch(program.arrays(program.run()), expected, terms(case, corner), dtype)
        if wrong:
            errors[peer] = wrong
        else:
            programs[peer] = program
    return timed(programs, repeats, machine) | {"errors": errors}


def timed(programs: dict[str, Program], repeats: int, machine: Machine) -> Row:
    """The seconds of each program, taken again if the machine slowed down meanwhile."""

    def once():
        before = machine.gemm_rate()
        timings = interleaved(programs, repeats)
        return timings, {"before": before, "after": machine.gemm_rate()}

    timings, gemm = once()
    repeated = gemm["after"] < SLOWDOWN * gemm["before"]
    if repeated:
        timings, gemm = once()
    seconds = {name: timing._asdict() for name, timing in timings.items()}
    return {"seconds": seconds, "gemm": gemm, "repeated": repeated}
