"""Suite `ops`: the contractions of each case, at top level and in a loop, beside the peers."""

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any

from . import torch_peer
from .cases import Case, Conv
from .checks import differs_from_definition, mismatch, terms
from .peers import CONTRACTIONS, Operands, contractions_of, jax_programs, operands
from .single import DoesNotApply
from .timing import SLOWDOWN, Machine, Program, interleaved

Row = dict[str, Any]


def count_rows(cases: Iterable[Case], modes, contractions) -> int:
    """The number of rows that `rows` yields."""
    return sum(len(modes) * len(_wanted(case, contractions)) for case in cases)


def rows(
    cases: Iterable[Case],
    *,
    modes: tuple[str, ...],
    contractions: tuple[str, ...] | None,
    peers: tuple[str, ...],
    repeats: int,
    dtype: str,
    impl: str | None,
    machine: Machine,
) -> Iterator[Row]:
    """For each case, mode and contraction the seconds of jaxconv and of each peer.

    Args:
      cases: The cases.
      modes: "entry", "scan" or both.
      contractions: Names of `CONTRACTIONS`; None for all that a case has.
      peers: "autodiff", "torch" or both. PyTorch is left out if it lacks an option of the case.
      repeats: The number of runs of each program, fewer for slow ones.
      dtype: The dtype of all operands.
      impl: An algorithm of jaxconv; None for the selected one.
      machine: Measures the rate of the machine before and after.
    """
    for case in cases:
        given = operands(case)
        makers = _makers(case, given, peers, dtype, impl)
        for mode in modes:
            for contraction in _wanted(case, contractions):
                row = _description(case, contraction, mode, dtype)
                row |= _measured(case, contraction, mode, makers, repeats, dtype, impl, machine)
                yield row


def _wanted(case: Case, contractions: tuple[str, ...] | None) -> list[str]:
    return [
        contraction
        for contraction in contractions_of(case)
        if contractions is None or contraction in contractions
    ]


def _makers(
    case: Case, given: Operands, peers, dtype: str, impl: str | None
) -> dict[str, Callable[[str, str], Program]]:
    """For each peer the function that makes its programs. jaxconv comes first."""
    makers = {"jaxconv": jax_programs("jaxconv", case, given, dtype, impl)}
    if "autodiff" in peers:
        makers["autodiff"] = jax_programs("autodiff", case, given, dtype)
    if "torch" in peers and torch_peer.supports(case):
        makers["torch"] = torch_peer.torch_programs(case, given, dtype)
    return makers


def _description(case: Case, contraction: str, mode: str, dtype: str) -> Row:
    """The part of a row that does not depend on the peer. Each array is read or written once."""
    elements = {"x": case.x_shape, "y": case.y_shape}
    if isinstance(case, Conv):
        elements["k"] = case.kernel_shape
    width = {"float64": 8, "float32": 4}.get(dtype, 2)
    return {
        "case": case.name,
        "origin": case.origin,
        "kind": "conv" if isinstance(case, Conv) else "pool",
        "contraction": contraction,
        "mode": mode,
        "operations": case.operations * len(CONTRACTIONS[contraction]),
        "bytes": width * sum(prod(shape) for shape in elements.values()),
    }


def _measured(case, contraction, mode, makers, repeats, dtype, impl, machine) -> Row:
    """Check the result of each peer, and time those that are right."""
    programs, errors = {}, {}
    try:
        wrong = differs_from_definition(case, contraction, impl)
        programs["jaxconv"] = makers["jaxconv"](contraction, mode)
    except DoesNotApply as error:
        return {"seconds": {}, "errors": {"jaxconv": str(error)}}
    if wrong:
        return {"seconds": {}, "errors": {"jaxconv": wrong}}
    expected = programs["jaxconv"].arrays(programs["jaxconv"].run())
    for peer in list(makers)[1:]:
        program = makers[peer](contraction, mode)
        wrong = mismatch(program.arrays(program.run()), expected, terms(case, contraction), dtype)
        if wrong:
            errors[peer] = wrong
        else:
            programs[peer] = program
    return timed(programs, repeats, machine) | {"errors": errors}


def timed(programs: dict[str, Program], repeats: int, machine: Machine) -> Row:
    """The seconds of each program, measured again if the machine became slower meanwhile."""

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
