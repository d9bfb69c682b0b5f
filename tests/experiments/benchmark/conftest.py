"""A benchmark that takes no time: nothing here looks at what it measures."""

import pytest

from experiments.benchmark.timing import Machine


@pytest.fixture
def machine():
    return Machine(size=64, megabytes=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A small matrix product, and no waiting between runs."""
    monkeypatch.setattr(Machine.__init__, "__defaults__", (64, 1))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
