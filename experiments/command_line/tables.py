"""Tables on standard output."""

from rich.console import Console
from rich.table import Table


def table(*headings: str) -> Table:
    """An empty table without frames. Columns whose heading ends in "ms" are right-aligned."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        found.add_column(heading, justify="right" if heading.endswith("ms") else "left")
    return found


def print_table(table: Table) -> None:
    """Print a table. If standard output is not a terminal, lines may be up to 200 columns wide."""
    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=200)).print(table)


def number(value: float, digits: int) -> str:
    """A number with so many decimals; large or non-finite numbers in scientific notation."""
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}"
