"""The bar of a long check: when it is drawn, and what it shows."""

import sys

import pytest

from jaxconv.verify import _progress
from jaxconv.verify._progress import STEPS, Progress


class Bar:
    """A bar that records what is done with it."""

    def __init__(self):
        self.done = []

    def start(self):
        self.done.append("start")

    def stop(self):
        self.done.append("stop")

    def add_task(self, title, total):
        self.done.append((title, total))

    def update(self, task, completed, description):
        self.done.append((task, completed, description))


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand, a terminal, and a bar."""
    clock = {"now": 100.0, "is_terminal": True, "bar": Bar()}
    monkeypatch.setattr(_progress.time, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: clock["is_terminal"], raising=False)
    monkeypatch.setattr(_progress, "_bar", lambda: clock["bar"])
    return clock


def test_a_bar_is_drawn_after_a_second(clock):
    with Progress("f") as step:
        step("one")
        clock["now"] = 101.0
        step("two")
        assert clock["bar"].done == []
        clock["now"] = 101.5
        step("three")
        step("four")
    assert clock["bar"].done == [
        "start",
        ("f", STEPS),
        (0, 2, "f: three"),
        (0, 3, "f: four"),
        "stop",
    ]
    assert STEPS == 8


@pytest.mark.parametrize("missing", ["terminal", "rich"])
def test_no_bar_without_a_terminal_or_rich(missing, clock):
    bar = clock["bar"]
    clock |= {"is_terminal": missing != "terminal", "bar": None if missing == "rich" else bar}
    with Progress("f") as step:
        clock["now"] = 200.0
        step("one")
        assert step.bar is None
    assert bar.done == []


def test_the_bar_is_that_of_rich(monkeypatch):
    bar = _progress._bar()
    assert bar.live.transient
    assert bar.console.stderr
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert _progress._bar() is None
