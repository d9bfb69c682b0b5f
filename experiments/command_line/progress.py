"""A progress bar on standard error, or one line a step if standard error is not a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as bars
from rich.console import Console


@contextmanager
def progress(
    title: str, total: int, *, waiting: str = "", done: int = 0, shown: bool = True
) -> Iterator[Callable[[str], None]]:
    """Yield a function `report(text)`, to be called after each step.

    Args:
      title: The text before the bar.
      total: The number of steps.
      waiting: The text shown before the first report.
      done: The number of steps that were taken before.
      shown: False prints nothing.
    """
    console = Console(stderr=True, quiet=not shown)
    bar = bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[text]}"),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
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
