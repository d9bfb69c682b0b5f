"""Run the chosen suites with a progress bar, and print their tables."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

from jaxconv import algorithms
from jaxconv.algorithms.tuning import ENVIRONMENT_VARIABLE

from ..command_line import UserError, require
from ..command_line.progress import progress
from . import compile as compiling
from . import machine, memory, models, ops, report, step, tuning
from .cases import Case, Conv, matching_models, matching_networks
from .timing import Machine

Row = dict[str, Any]


def check_options(config) -> None:
    """Check the options before anything slow starts.

    Raises:
      UserError: They cannot be followed.
    """
    require(config.repeats >= 1, f"--repeats must be at least 1, got {config.repeats}.")
    general = ("textbook", "lax")
    known = (None, *general, *algorithms.ALGORITHMS)
    require(
        config.impl in known,
        f"--impl must be one of {', '.join(known[1:])}, got {config.impl!r}.",
    )
    require(
        config.suite == "ops" or config.impl in (None, *general),
        f"--impl {config.impl} is for --suite ops.",
    )
    if "torch" in (config.peers or ()):
        require(machine.torch_version() is not None, "--peers torch: PyTorch is not installed.")


def precision_of(dtype: str):
    """A context in which JAX computes in a dtype."""
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()


def run(cases: list[Case], config, record: Row, save: Callable[[], None]) -> None:
    """Run the chosen suites, and add the rows of each, and the machine, to `record`.

    Args:
      cases: The cases of the suites that have them.
      config: The options.
      record: The results.
      save: Is called after each row, so that a run that is stopped has its rows.
    """
    rates = Machine()
    record["machine"] = machine.description() | {"gemm": rates.gemm_rate()}
    record["machine"]["bandwidth"] = rates.bandwidth()
    peers, means = available(config.peers), []
    chosen = SUITES if config.suite == "all" else {config.suite: SUITES[config.suite]}
    for name, suite in chosen.items():
        rows, total = suite(cases, config, peers, rates)
        record[name] = []
        for row in with_progress(name, rows, total):
            record[name].append(row)
            save()
        if name in _OWN_TABLES:
            _OWN_TABLES[name](record[name])
            continue
        compared = tuple(peer for peer in peers if name != "compile" or peer != "torch")
        report.print_times(record[name], compared)
        report.print_errors(record[name])
        means += report.summary(record[name], compared)
    if means:
        report.print_summary(means)
    record["means"] = means


def available(peers: tuple[str, ...] | None) -> tuple[str, ...]:
    """The peers, by default those that are installed."""
    if peers is not None:
        return peers
    return ("autodiff", "torch") if machine.torch_version() else ("autodiff",)


# Each function returns an iterator over the rows of a suite, and their number.


def _ops(cases, config, peers, rates) -> tuple[Iterator[Row], int]:
    rows = ops.rows(
        cases,
        modes=config.modes,
        contractions=config.contractions,
        peers=peers,
        repeats=config.repeats,
        dtype=config.dtype,
        impl=config.impl,
        machine=rates,
    )
    return rows, ops.count_rows(cases, config.modes, config.contractions)


def _step(cases, config, peers, rates) -> tuple[Iterator[Row], int]:
    networks = matching_networks(config.cases)
    rows = step.rows(networks, peers=peers, repeats=config.repeats, machine=rates)
    return rows, len(networks)


def _compile(cases, config, peers, rates) -> tuple[Iterator[Row], int]:
    networks = matching_networks(config.cases)
    rows = compiling.rows(
        cases,
        networks,
        modes=config.modes,
        repeats=config.repeats,
        dtype=config.dtype,
        impl=config.impl,
        machine=rates,
    )
    return rows, compiling.count_rows(cases, networks, config.modes)


def _memory(cases, config, peers, rates) -> tuple[Iterator[Row], int]:
    networks = matching_networks(config.cases)
    rows = memory.rows(cases, networks, dtype=config.dtype, impl=config.impl)
    return rows, memory.count_rows(cases, networks)


def _models(cases, config, peers, rates) -> tuple[Iterator[Row], int]:
    names = matching_models(config.cases)
    rows = models.rows(names, modes=config.modes, repeats=config.repeats, machine=rates)
    return rows, len(names) * len(config.modes)


SUITES = {
    "ops": _ops,
    "step": _step,
    "compile": _compile,
    "memory": _memory,
    "models": _models,
}
_OWN_TABLES = {"memory": memory.print_table, "models": models.print_table}


# ---- tuning ----------------------------------------------------------------------------------


def tune(cases: list[Case], config) -> Row:
    """Time the algorithms of each convolution, print them and write the fastest to a file.

    The file is `tuning.json` in the output folder, or the one that JAXCONV_TUNING_FILE names.
    """
    convolutions = [case for case in cases if isinstance(case, Conv)]
    options = {"repeats": config.repeats, "dtype": config.dtype, "machine": Machine()}
    total = len(convolutions) * len(tuning.SINGLE)
    rows = list(with_progress("tune", tuning.rows(convolutions, **options), total))
    tuning.print_table(rows)
    gains = tuning.ablation(convolutions, rows)
    tuning.print_ablation(gains)
    file = Path(os.environ.get(ENVIRONMENT_VARIABLE) or config.output_dir / "tuning.json")
    try:
        tuning.save(convolutions, rows, config.dtype, file)
    except OSError as error:
        raise UserError(f"cannot write the tuning file: {error}.") from error
    print(f"Written to {file}. Set {ENVIRONMENT_VARIABLE} to its path to use it.")
    return {"tune": rows, "ablation": gains, "file": str(file)}


def with_progress(title: str, rows: Iterable[Row], total: int) -> Iterator[Row]:
    """Yield the rows, and show the progress on standard error."""
    with progress(title, total) as report:
        for row in rows:
            report(f"{row['case']} {row['contraction']} {row['mode']}")
            yield row
