"""Short runs for the tests of the benchmark, which do not examine the times."""

import pytest

from experiments.benchmark import timing
from experiments.benchmark.timing import Machine


@pytest.fixture
def machine():
    return Machine(size=64, megabytes=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A small matrix product, one run of each program, and no waiting between runs."""
    monkeypatch.setattr(timing, "LEAST_RUNS", 1)
    monkeypatch.setattr(Machine.__init__, "__defaults__", (64, 1))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
