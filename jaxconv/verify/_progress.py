"""A progress bar for a check that takes longer than a second."""

import sys
import time
from typing import Any

STEPS = 8


class Progress:
    """Shows the progress of a check; called with the name of each step.

    It draws a bar if there is a terminal and rich is installed.
    """

    def __init__(self, title: str):
        self.title, self.done, self.began, self.bar = title, 0, time.perf_counter(), None

    def __enter__(self) -> "Progress":
        return self

    def __call__(self, text: str) -> None:
        self.done += 1
        if self.bar is None and time.perf_counter() - self.began > 1 and sys.stderr.isatty():
            self.bar = _bar()
            if self.bar is not None:
                self.bar.start()
                self.bar.add_task(self.title, total=STEPS)
        if self.bar is not None:
            self.bar.update(0, completed=self.done - 1, description=f"{self.title}: {text}")

    def __exit__(self, *exception: Any) -> None:
        if self.bar is not None:
            self.bar.stop()


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress as Bar
    except ImportError:  # the bar is optional
        return None
    return Bar(console=Console(stderr=True), transient=True)
