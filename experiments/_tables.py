"""Tables in the terminal."""


def table(*headings: str):
    """An empty table without frames; columns of milliseconds are aligned to the right."""
    from rich.table import Table

    found = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        found.add_column(heading, justify="right" if heading.endswith("ms") else "left")
    return found


def print_table(table) -> None:
    """Print to standard output; a log file takes lines as long as they are."""
    from rich.console import Console

    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=200)
    console.print(table)
