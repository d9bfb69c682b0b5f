"""A progress bar on standard error, and lines in its place where that is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(
    title: str, total: int, *, waiting: str = "", done: int = 0, shown: bool = True
) -> Iterator[Callable[[str], None]]:
    """Yield `report(text)`, to be called after each of `total` steps; `waiting` stands till then.

    `done` of them were taken before.

    A terminal shows a bar; a log file gets a line a step.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, quiet=not shown)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(title, total=total, completed=done, text=waiting)

        def report(text: str) -> None:
            nonlocal done
            done += 1
            bar.update(task, advance=1, text=text)
            if not console.is_terminal:
                console.print(f"{title}  {done}/{total}  {text}", highlight=False, soft_wrap=True)

        yield report
