"""Runs the suites that were asked for, with a progress bar, and prints what they found."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import jax

from jaxconv import lowering

from .._command_line import require
from .._user_error import UserError
from . import machine, ops, report, torch_peer, tuning
from .cases import Case, Conv
from .timing import Machine

Row = dict[str, Any]
SUITES = ("ops",)


def check_options(config) -> None:
    """Check what the benchmark can follow, before anything slow starts.

    Raises:
      UserError: It can't.
    """
    require(config.repeats >= 1, f"--repeats must be at least 1, got {config.repeats}.")
    known = (None, "textbook", "lax", *lowering.ALGORITHMS)
    require(
        config.impl in known,
        f"--impl must be one of {', '.join(known[1:])}, got {config.impl!r}.",
    )
    if "torch" in (config.peers or ()):
        require(torch_peer.version() is not None, "--peers torch: PyTorch is not installed.")


def precision_of(dtype: str):
    """JAX as it has to be for operands of a dtype."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def run(cases: list[Case], config) -> Row:
    """Run the chosen suites; their rows under their names, and what they ran on."""
    rates = Machine()
    record = {"machine": machine.description() | {"gemm": rates.gemm_rate()}}
    record["machine"]["bandwidth"] = rates.bandwidth()
    peers = available(config.peers)
    if config.suite in ("ops", "all"):
        record["ops"] = run_ops(cases, config, peers, rates)
        record["means"] = report.summary(record["ops"], peers)
        report.print_times(record["ops"], peers)
        report.print_summary(record["means"])
        report.print_errors(record["ops"])
    return record


def available(peers: tuple[str, ...] | None) -> tuple[str, ...]:
    """The peers asked for, by default those that are installed."""
    if peers is not None:
        return peers
    return ("autodiff", "torch") if torch_peer.version() else ("autodiff",)


def run_ops(cases: list[Case], config, peers, rates: Machine) -> list[Row]:
    """The rows of the suite `ops`."""
    total = ops.count_rows(cases, config.modes, config.corners)
    rows = ops.rows(
        cases,
        modes=config.modes,
        corners=config.corners,
        peers=peers,
        repeats=config.repeats,
        dtype=config.dtype,
        impl=config.impl,
        machine=rates,
    )
    return list(with_progress("ops", rows, total))


def tune(cases: list[Case], config) -> Row:
    """Time the algorithms of each convolution, print them and remember the fastest."""
    convolutions = [case for case in cases if isinstance(case, Conv)]
    options = {"repeats": config.repeats, "dtype": config.dtype, "machine": Machine()}
    total = len(convolutions) * len(tuning.SINGLE)
    rows = list(with_progress("tune", tuning.rows(convolutions, **options), total))
    tuning.print_table(rows)
    try:
        file = tuning.remember(convolutions, rows, config.dtype)
    except OSError as error:
        raise UserError(f"cannot write the tuning file: {error}.") from error
    print(f"Remembered in {file}; JAXCONV_TUNING_FILE names another file.")
    return {"tune": rows, "file": str(file)}


def with_progress(title: str, rows: Iterable[Row], total: int) -> Iterator[Row]:
    """Pass the rows on, with a bar on standard error where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[last]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=total, last="")
        for done, row in enumerate(rows, start=1):
            last = f"{row['case']} {row['corner']} {row['mode']}"
            bar.update(task, advance=1, last=last)
            if not console.is_terminal:
                print(f"{title} {done}/{total} {last}", file=console.file, flush=True)
            yield row
