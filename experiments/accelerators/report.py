"""Tables on standard output: the rows, their summary, and two schedules side by side."""

from collections.abc import Iterable, Mapping
from itertools import zip_longest

from rich.table import Table

from ..command_line.tables import print_table, table
from .kernels import Kernel, in_words
from .roofline import Estimate
from .rows import ENOUGH, Row
from .targets import Target
from .workloads import PEERS


def print_rows(rows: Iterable[Row]) -> None:
    """Print a line for each row: the estimates, what limits them, and the kernels by kind."""
    found = table("case", "corner", "dtype")
    _add_numbers(found, "autodiff μs", "jaxconv μs", "ratio", "MB", "MB", "temp MB", "temp MB")
    found.add_column("kernels of autodiff", overflow="fold")
    found.add_column("kernels of jaxconv", overflow="fold")
    for row in rows:
        programs = row["programs"]
        cells = [_with(programs, peer, "seconds", 1e6, 1) for peer in PEERS]
        cells.append("" if row["ratio"] is None else f"{row['ratio']:.2f}")
        cells += [_with(programs, peer, "bytes", 1e-6, 1) for peer in PEERS]
        cells += [_with(programs, peer, "temporary", 1e-6, 1) for peer in PEERS]
        kinds = [
            row["errors"][peer] if peer in row["errors"] else in_words(programs[peer]["kernels"])
            for peer in PEERS
        ]
        found.add_row(row["case"], row["corner"], row["dtype"], *cells, *kinds)
    print_table(found)


def print_summary(lines: Iterable[Row]) -> None:
    """Print for each corner and dtype the mean, the least, and which rows are slower."""
    for line in lines:
        below = ", ".join(f"{case} {ratio:.2f}" for case, ratio in line["below"].items())
        print(
            f"{line['corner']} {line['dtype']}: {line['cases']} cases, geometric mean "
            f"{line['mean']:.2f}, least {line['least']:.2f}, "
            f"below {ENOUGH}: {below or 'none'}"
        )


def print_schedules(title: str, found: Mapping[str, Estimate | str], target: Target) -> None:
    """Print the kernels of both programs side by side, in the order of their schedules."""
    print(f"\n{title}")
    both = Table(box=None, header_style="bold", pad_edge=False)
    for peer in PEERS:
        both.add_column(f"{peer}: kernel")
        both.add_column("result", overflow="fold")
        _add_numbers(both, "MB", "Gop", "μs")
    columns = []
    for peer in PEERS:
        estimate = found[peer]
        if isinstance(estimate, str):
            columns.append([(estimate, "", "", "", "")])
            continue
        lines = [_line(kernel, target) for kernel in estimate.kernels]
        total = ("total", "", f"{estimate.moved / 1e6:.2f}", "", f"{1e6 * estimate.seconds:.2f}")
        columns.append([*lines, total])
    for pair in zip_longest(*columns, fillvalue=("",) * 5):
        both.add_row(*(cell for half in pair for cell in half))
    print_table(both)


def _line(kernel: Kernel, target: Target) -> tuple[str, ...]:
    times = f" ×{kernel.runs}" if kernel.runs > 1 else ""
    operations = (kernel.products + kernel.operations) / 1e9
    return (
        kernel.kind + times,
        kernel.result,
        f"{kernel.moved / 1e6:.2f}",
        f"{operations:.2f}" if operations else "",
        f"{1e6 * target.rates.seconds(kernel, target.mesh.size):.2f}",
    )


def _add_numbers(to: Table, *headings: str) -> None:
    for heading in headings:
        to.add_column(heading, justify="right")


def _with(programs: Row, peer: str, what: str, unit: float, digits: int) -> str:
    return f"{unit * programs[peer][what]:,.{digits}f}" if peer in programs else ""
