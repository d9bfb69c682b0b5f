"""The command `measure`: check every contraction, then time them and the training steps."""

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from ...benchmark import shapes
from ...benchmark.cases import Case, matching, matching_networks
from ...benchmark.peers import operands
from ...command_line.errors import require
from ...command_line.files import write_json
from ...command_line.notes import first_line
from ..kernels import counted, in_words
from ..roofline import Rates, estimate
from . import checks
from .device import FULL, MODES, TINY, Size, measured_rates, seconds_of
from .profile import profiled
from .programs import Program, contractions_of, jax_program, step_program
from .torch_programs import torch_program

Row = dict[str, Any]
COLUMNS = "{:<16}{:<6}{:<9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}  {}"
_PAIRS = (("autodiff", "ours"), ("autodiff scan", "ours scan"), ("torch", "ours"))


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    # By default JAX reserves most of the device's memory, and PyTorch needs some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    cases, networks = _chosen(options)
    platform = options.platform or _accelerator()
    require(_has(platform), f"JAX has no {platform}; --platform cpu is a dry run.")
    tiny = platform == "cpu"
    with jax.default_device(jax.devices(platform)[0]):
        if not _check(cases, options.modes):
            return 1
        if options.check_only:
            return 0
        cases = [case.shrunk() for case in cases] if tiny else cases
        return _time(cases, networks, options, platform, TINY if tiny else FULL)


def _chosen(options: argparse.Namespace) -> tuple[list[Case], list[str]]:
    patterns = options.cases or ([] if options.shape else ["*"])
    for pattern in patterns:
        fits = matching([pattern]) or matching_networks([pattern])
        require(bool(fits), f"no case is called {pattern}.")
    own: list[Case] = [shapes.parse(text) for text in options.shape]
    return own + matching(patterns), matching_networks(patterns)


def _accelerator() -> str:
    return next((platform for platform in ("gpu", "tpu") if _has(platform)), "accelerator")


def _has(platform: str) -> bool:
    try:
        return bool(jax.devices(platform))
    except RuntimeError:
        return False


def _check(cases: Sequence[Case], modes: Sequence[str]) -> bool:
    """Print which contractions are wrong; return whether all are right."""
    complaints = [
        f"{mode}: {wrong}"
        for mode in modes
        for case in cases
        for wrong in checks.wrong_contractions(case, MODES[mode])
    ]
    print(f"{len(cases)} cases in {', '.join(modes)}: ", end="")
    verdict = ["wrong", *complaints] if complaints else ["every contraction is right"]
    print("\n".join(verdict), flush=True)
    return not complaints


def _time(cases, networks, options: argparse.Namespace, platform: str, size: Size) -> int:
    rates = measured_rates(size)
    for mode, rate in rates.products.items():
        print(f"matrix product in {mode}: {rate / 1e12:.1f} TFLOP/s")
    print(f"memory: {rates.bytes / 1e9:.0f} GB/s\n")
    print(COLUMNS.format("case", "", "", "ours", "", "autodiff", "", "", "torch", "kernels"))
    headings = ("", "", "", "ms", "estimate", "estimate", "entry", "scan", "", "")
    print(COLUMNS.format(*headings), flush=True)
    rows: list[Row] = []
    record: Row = {"device": jax.devices(platform)[0].device_kind, "jax": jax.__version__}
    record |= {"rates": rates._asdict(), "rows": rows}
    measured = _Measured(rates, platform, size)
    for row in measured.rows(cases, networks, options.modes):
        rows.append(row)
        print(_line(row), flush=True)
        if options.output:  # after each row, in case the machine is taken back
            write_json(options.output, record)
    print(_summary(rows))
    if options.profile:
        record["profile"] = _profile(networks, options, size)
        if options.output:
            write_json(options.output, record)
    return int(any(row["wrong"] for row in rows))


class _Measured:
    """Makes the rows: the seconds, estimates, errors and kernels of each peer's program."""

    def __init__(self, rates: Rates, platform: str, size: Size):
        self.rates, self.platform, self.size = rates, platform, size

    def rows(self, cases, networks, modes: Sequence[str]) -> Iterator[Row]:
        for case in cases:
            for mode in modes:
                given = checks.rounded(operands(case), MODES[mode])
                for contraction in contractions_of(case):
                    yield self._contraction(case, contraction, given, mode)
        for name in networks:
            for mode in modes:
                yield self._step(name, mode)

    def _contraction(self, case: Case, contraction: str, given, mode: str) -> Row:
        options = (case, contraction, given, MODES[mode])
        device = "cuda" if self.platform == "gpu" else "cpu"
        makers = {
            "ours": lambda: jax_program("jaxconv", *options),
            "ours scan": lambda: jax_program("jaxconv", *options, scan=True),
            "autodiff": lambda: jax_program("autodiff", *options),
            "autodiff scan": lambda: jax_program("autodiff", *options, scan=True),
            "torch": lambda: torch_program(*options, device) if self.platform != "tpu" else None,
        }
        expected = checks.plainly(case, contraction, given)
        tolerance = checks.bound(case, contraction, MODES[mode])

        def wrong(program: Program) -> str | None:
            return checks.disagreement(checks.results(program), expected, tolerance)

        return self._row(case.name, contraction, mode, makers, wrong)

    def _step(self, name: str, mode: str) -> Row:
        makers = {
            "ours": lambda: step_program("jaxconv", name, MODES[mode], self.size.batch),
            "autodiff": lambda: step_program("autodiff", name, MODES[mode], self.size.batch),
        }

        def wrong(program: Program) -> str | None:
            (loss,) = checks.results(program)
            return None if np.isfinite(loss) else f"the loss is {loss}"

        return self._row(name, "step", mode, makers, wrong)

    def _row(self, case: str, contraction: str, mode: str, makers, wrong) -> Row:
        row: Row = {"case": case, "contraction": contraction, "mode": mode}
        row |= {what: {} for what in ("seconds", "estimates", "kernels", "temporary", "wrong")}
        for peer, make in makers.items():
            try:
                program = make()
                complaint = wrong(program) if program else None
                if program is None:
                    continue
                if complaint:
                    row["wrong"][peer] = complaint
                    continue
                seconds = seconds_of(program.call, program.wait, self.size)
                row["seconds"][peer] = seconds / program.iterations
                if program.compiled is not None:
                    self._estimate(row, peer, program)
            except (RuntimeError, ValueError) as error:  # out of memory, or no algorithm: go on
                row["wrong"][peer] = first_line(error)
        return row

    def _estimate(self, row: Row, peer: str, program: Program) -> None:
        found = estimate(program.compiled, self.rates, self.platform)
        row["estimates"][peer] = found.seconds / program.iterations
        row["temporary"][peer] = found.temporary
        row["kernels"][peer] = counted(found.kernels)


def _line(row: Row) -> str:
    seconds, estimates, kernels = row["seconds"], row["estimates"], row["kernels"]
    ours = seconds.get("ours")
    text = in_words(kernels.get("ours", {}))
    if kernels.get("autodiff") != kernels.get("ours"):
        text += f" (autodiff: {in_words(kernels.get('autodiff', {}))})"
    return COLUMNS.format(
        row["case"][:15],
        row["contraction"],
        row["mode"],
        "-" if ours is None else f"{1e3 * ours:.3f}",
        "-" if not ours or "ours" not in estimates else f"{estimates['ours'] / ours:.0%}",
        _times(estimates, "autodiff", "ours"),
        *(_times(seconds, *pair) for pair in _PAIRS),
        "; ".join([text, *(f"{peer}: {wrong}" for peer, wrong in row["wrong"].items())]),
    )


def _times(numbers: Row, peer: str, ours: str) -> str:
    if numbers.get(peer) is None or not numbers.get(ours):
        return "-"
    return f"{numbers[peer] / numbers[ours]:.2f}×"


def _summary(rows: list[Row]) -> str:
    """Geometric means over all rows, and the lowest ratios: measured, and estimated."""
    lines = [""]
    for what in ("seconds", "estimates"):
        for peer, ours in _PAIRS:
            pairs = [(row[what].get(peer), row[what].get(ours)) for row in rows]
            ratios = [theirs / our for theirs, our in pairs if theirs and our]
            if ratios:
                mean = np.exp(np.mean(np.log(ratios)))
                how = "measured" if what == "seconds" else "estimated"
                lines.append(
                    f"{peer}, {how}: {mean:.2f}× our time in the mean, {min(ratios):.2f}× at worst"
                )
    return "\n".join(lines)


def _profile(networks: Sequence[str], options: argparse.Namespace, size: Size) -> Row:
    """Profile a step of the first network, and print where its time goes."""
    require(bool(networks), "--profile needs a network among --cases.")
    mode = options.modes[-1]
    program = step_program("jaxconv", networks[0], MODES[mode], size.batch)
    found = profiled(program.call, options.profile)
    print(f"\n{networks[0]} in {mode}: the longest instructions, in microseconds a step")
    for name, seconds in list(found.items())[:20]:
        print(f"{1e6 * seconds:10.1f}  {name}")
    return found
