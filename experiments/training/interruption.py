"""Ctrl-C and SIGTERM end a run after the running step, when its state can be saved."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or SIGTERM came. A second one ends the program."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def receive(number, _):
        received.append(number)
        signal.signal(number, before[number])
        print("stopping after the running step; once more ends at once", file=sys.stderr)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, receive)
    except ValueError:  # only the main thread may handle signals
        pass
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
