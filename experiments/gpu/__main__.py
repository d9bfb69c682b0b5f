"""`python -m experiments.gpu`: check and time every contraction; see the package."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmark.cases import Case, Conv, matching
from experiments.benchmark.peers import operands

from . import checks
from .device import FULL, MODES, TINY, Roofline, Size, measured_roofline, seconds_of
from .programs import Program, contractions_of, jax_program
from .torch_programs import torch_program

COLUMNS = "{:<16}{:<4}{:<9}{:>9}{:>11}{:>11}{:>9}{:>6}  {}"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 if a result is wrong, 2 without a GPU."""
    options = _parsed(args)
    # By default JAX reserves most of the device's memory, and PyTorch needs some.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    if options.platform != "cpu" and not _has_gpu():
        print("experiments.gpu: no GPU that JAX can use; --platform cpu is a dry run", flush=True)
        return 2
    tiny = options.platform == "cpu"
    with jax.default_device(jax.devices("cpu" if tiny else "gpu")[0]):
        return _run(options, tiny)


def _run(options: argparse.Namespace, tiny: bool) -> int:
    cases = matching(options.cases)
    complaints = [
        f"{mode}: {wrong}"
        for mode in options.modes
        for case in cases
        for wrong in checks.wrong_contractions(case, MODES[mode])
    ]
    print(f"{len(cases)} cases in {', '.join(options.modes)}: ", end="")
    print(
        "\n".join(["wrong", *complaints]) if complaints else "every contraction is right",
        flush=True,
    )
    if options.check_only or complaints:
        return int(bool(complaints))
    return _time([case.shrunk() for case in cases] if tiny else cases, options, tiny)


def _time(cases: Sequence[Case], options: argparse.Namespace, tiny: bool) -> int:
    size = TINY if tiny else FULL
    roofline = measured_roofline(size, options.modes)
    for mode, rate in roofline.operations.items():
        print(f"matrix product in {mode}: {rate / 1e12:.1f} TFLOP/s")
    print(f"memory: {roofline.bytes / 1e9:.0f} GB/s\n")
    print(COLUMNS.format("case", "", "", "ours", "autodiff", "", "torch", "roof", "calls"))
    print(COLUMNS.format("", "", "", "ms", "entry", "scan", "", "", ""), flush=True)
    rows = []
    record = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    record |= {"roofline": roofline._asdict(), "rows": rows}
    for row in _rows(cases, options.modes, roofline, size, "cpu" if tiny else "cuda"):
        rows.append(row)
        print(_line(row), flush=True)
        if options.output:  # after each row, in case the machine is taken back
            options.output.write_text(json.dumps(record, indent=1) + "\n")
    print(_summary(rows))
    return int(any(row["wrong"] for row in rows))


def _rows(
    cases: Sequence[Case], modes: Sequence[str], roofline: Roofline, size: Size, device: str
) -> Iterator[dict[str, Any]]:
    for case in cases:
        for mode in modes:
            given = checks.rounded(operands(case), MODES[mode])
            for contraction in contractions_of(case):
                row = {"case": case.name, "contraction": contraction, "mode": mode}
                row |= _timed(case, contraction, given, mode, size, device)
                row["roof"] = _fraction(case, contraction, mode, row["seconds"]["ours"], roofline)
                yield row


def _timed(
    case: Case, contraction: str, given, mode: str, size: Size, device: str
) -> dict[str, Any]:
    """The seconds, the errors and the library calls of each peer's program."""
    options = (case, contraction, given, MODES[mode])
    make = {
        "ours": lambda: jax_program("jaxconv", *options),
        "ours scan": lambda: jax_program("jaxconv", *options, scan=True),
        "autodiff": lambda: jax_program("autodiff", *options),
        "autodiff scan": lambda: jax_program("autodiff", *options, scan=True),
        "torch": lambda: torch_program(*options, device),
    }
    expected = checks.plainly(case, contraction, given)
    tolerance = checks.bound(case, contraction, MODES[mode])
    found: dict[str, Any] = {"seconds": {}, "wrong": {}, "calls": {}}
    for peer, program in make.items():
        try:
            seconds, wrong, calls = _measured(program(), expected, tolerance, size)
        except RuntimeError as error:  # out of memory, or no algorithm: report it and continue
            seconds, wrong, calls = None, str(error).splitlines()[0], ""
        found["seconds"][peer] = seconds
        found["calls"][peer] = calls
        if wrong:
            found["wrong"][peer] = wrong
    return found


def _measured(program: Program | None, expected, tolerance: float, size: Size):
    if program is None:
        return None, None, ""
    wrong = checks.disagreement(checks.results(program), expected, tolerance)
    if wrong:
        return None, wrong, program.libraries
    seconds = seconds_of(program.call, program.wait, size) / program.iterations
    return seconds, None, program.libraries


def _fraction(
    case: Case, contraction: str, mode: str, seconds: float | None, roofline: Roofline
) -> float | None:
    """The fraction of the device's rate that a program reaches, if each array is moved once."""
    if seconds is None:
        return None
    elements = prod(case.x_shape) + prod(case.y_shape)
    products = 0
    if isinstance(case, Conv):
        elements += prod(case.kernel_shape)
        products = case.operations
    width = np.dtype("float32").itemsize if MODES[mode].dtype == "float32" else 2
    return roofline.seconds(mode, products, elements * width) / seconds


def _line(row: dict[str, Any]) -> str:
    seconds, calls = row["seconds"], row["calls"]
    ours = seconds["ours"]
    libraries = calls["ours"] or "none"
    if calls["autodiff"] != calls["ours"]:
        libraries += f" (autodiff: {calls['autodiff'] or 'none'})"
    return COLUMNS.format(
        row["case"],
        row["contraction"],
        row["mode"],
        "-" if ours is None else f"{1e3 * ours:.3f}",
        _times(seconds["autodiff"], ours),
        _times(seconds["autodiff scan"], seconds["ours scan"]),
        _times(seconds["torch"], ours),
        "-" if row["roof"] is None else f"{row['roof']:.0%}",
        "; ".join([libraries, *(f"{peer}: {wrong}" for peer, wrong in row["wrong"].items())]),
    )


def _times(theirs: float | None, ours: float | None) -> str:
    return "-" if theirs is None or ours is None else f"{theirs / ours:.2f}×"


def _summary(rows: list[dict[str, Any]]) -> str:
    """Geometric means over all rows, and the lowest ratios."""
    lines = [""]
    for peer, other in [("autodiff", "ours"), ("autodiff scan", "ours scan"), ("torch", "ours")]:
        pairs = [(row["seconds"][peer], row["seconds"][other]) for row in rows]
        ratios = [theirs / ours for theirs, ours in pairs if theirs and ours]
        if ratios:
            mean = np.exp(np.mean(np.log(ratios)))
            lines.append(f"{peer}: {mean:.2f}× our time in the mean, {min(ratios):.2f}× at worst")
    return "\n".join(lines)


def _has_gpu() -> bool:
    try:
        return bool(jax.devices("gpu"))
    except RuntimeError:
        return False


def _parsed(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m experiments.gpu")
    parser.add_argument("--platform", choices=("gpu", "cpu"), default="gpu", help="cpu: a dry run")
    parser.add_argument("--check-only", action="store_true", help="time nothing")
    parser.add_argument("--cases", nargs="+", default=["*"], help="names, or shell patterns")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--output", type=Path, help="a file for all results, as JSON")
    options = parser.parse_args(args)
    if not matching(options.cases):
        parser.error(f"--cases: none is called {' or '.join(options.cases)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
