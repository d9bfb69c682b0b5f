"""How the properties of this folder are run: a few fixed examples, or many new ones.

The default run takes half as many as a property names, which are the least that a long run takes.
"""

import functools
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

# A long run multiplies the number of examples and draws new ones in each run. `__main__.py` gives
# each property a process of its own, which ends when its time is up.
FACTOR = int(os.environ.get("FUZZ", "0"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "inf"))
# The example that runs, and the number of examples before it: what is left of a process that died.
LAST = os.environ.get("FUZZ_LAST")

# Examples are small as they are drawn. To shrink one would compile hundreds of programs.
QUIET = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)


def fuzzed(count, *strategies, examples=()):
    """Run a test on drawn arguments: half of `count`, fixed, or in a long run many new ones.

    `examples` are arguments with which a fault was found; these always run. The type checker that
    the tests put around the library is off, as it is for users.
    """

    def decorate(test):
        state = {"start": None, "count": 0}

        @functools.wraps(test)
        def run(**drawn):
            state["start"] = state["start"] or time.monotonic()
            if time.monotonic() - state["start"] > SECONDS:
                os._exit(0)  # hypothesis would take any other end for a failure
            if LAST:
                Path(LAST).write_text(f"{state['count']}\n{drawn}")
            test(**drawn)
            state["count"] += 1

        chosen = settings(
            QUIET,
            max_examples=count * FACTOR or (count + 1) // 2,
            derandomize=not FACTOR,
            print_blob=False,
        )
        for arguments in examples:
            run = example(*arguments)(run)
        return pytest.mark.usefixtures("no_type_checker")(chosen(given(*strategies)(run)))

    return decorate


def attempt(call, name):
    """The result of a call and None; or None and its ValueError, which names the function."""
    try:
        return call(), None
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"{name}: "), message
    return None, message
