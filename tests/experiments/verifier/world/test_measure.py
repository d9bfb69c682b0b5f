"""The functions of JAX, Optax and Flax: right gradients are called right, slips are found.

The default run checks a sample of the catalogue in experiments/verifier/world, each function at one
point and with one slip. The exhaustive suite checks every fourth function at all points and with
all slips; `python -m experiments.verifier --world` checks all of them.
"""

import pytest

from experiments.verifier.peers import PASSES, WRONG, ours
from experiments.verifier.world import measure

ENTRIES = measure.entries()
# The sample has one function in so many, and so has the exhaustive suite.
EVERY, EVERY_EXHAUSTIVE = 97, 4
SAMPLE = list(enumerate(ENTRIES))[13::EVERY]
MORE = list(enumerate(ENTRIES))[::EVERY_EXHAUSTIVE]


def _name(numbered):
    return str(numbered[1])


def _assert_right(check):
    answer = measure.ask({"ours": ours}, check)["ours"]
    assert answer["verdict"] == (WRONG if check.fault else PASSES), (check.key, answer)


def _assert_found(check):
    answer = measure.ask({"ours": ours}, check)["ours"]
    assert answer["verdict"] == WRONG, (check.key, answer)


@pytest.mark.parametrize("numbered", SAMPLE, ids=_name)
def test_right_gradient_is_called_right(numbered):
    number, entry = numbered
    checks = list(measure.right_checks(entry))
    _assert_right(checks[number // EVERY % min(4, len(checks))])


@pytest.mark.parametrize("numbered", SAMPLE, ids=_name)
def test_slip_is_found(numbered):
    number, entry = numbered
    checks = list(measure.slip_checks(entry, number))
    if checks:  # no slip changes a gradient of zero
        _assert_found(checks[number // EVERY % len(checks)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("numbered", MORE, ids=_name)
def test_all_verdicts_on_a_function(numbered):
    number, entry = numbered
    for check in measure.right_checks(entry):
        _assert_right(check)
    for check in measure.slip_checks(entry, number):
        _assert_found(check)


def test_names_of_entries_are_their_own():
    assert len({str(entry) for entry in ENTRIES}) == len(ENTRIES)
    assert len({(entry.library, entry.name) for entry in ENTRIES}) > 700
