"""Targets for tests that compile, which are skipped where JAX's plugin is missing."""

from functools import cache

import pytest

from experiments.accelerators.targets import target
from experiments.command_line.errors import UserError


@cache
def _found(name):
    try:
        return target(name)
    except UserError as error:
        return error


@pytest.fixture
def compiled_for(optimised, compiled_anew):
    """A function from a name to the target. It skips the test if the compiler is not installed."""

    def found(name):
        goal = _found(name)
        if isinstance(goal, UserError):
            pytest.skip(str(goal))
        return goal

    return found
