"""The functions of JAX, Optax and Flax: right gradients are called right, slips are found.

The default run checks a sample of the catalogue in experiments/verifier/world, each function at one
point, and every second one with a slip. The exhaustive suite checks every fourth function at all
points and with all slips; `python -m experiments.verifier --world` checks all of them.
"""

import pytest

from experiments.verifier.peers import PASSES, WRONG, ours
from experiments.verifier.world import measure

from ....verify.rules import some

# One function of each kind of table, and the quick ones of their kinds.
SAMPLE = (
    *("jax.numpy.arcsin", "jax.numpy.sort", "jax.numpy.linalg.outer", "jax.lax.bessel_i1e"),
    *("jax.lax.approx_min_k", "jax.scipy.special.i1", "jax.scipy.stats.pareto.logsf"),
    *("jax.scipy.linalg.solve_triangular", "flax.nnx.avg_pool"),
)
# The exhaustive suite has one function in so many, in so many tests.
EVERY, TESTS = 4, 40


def _entry(name):
    """The catalogue takes a second to build, so only tests that run build it."""
    return {str(entry): entry for entry in measure.entries()}[name]


def _assert_right(check):
    answer = measure.ask({"ours": ours}, check)["ours"]
    assert answer["verdict"] == (WRONG if check.fault else PASSES), (check.key, answer)


def _assert_found(check):
    answer = measure.ask({"ours": ours}, check)["ours"]
    assert answer["verdict"] == WRONG, (check.key, answer)


@pytest.mark.parametrize("name", SAMPLE)
def test_right_gradient_is_called_right(name):
    checks = list(measure.right_checks(_entry(name)))
    _assert_right(checks[SAMPLE.index(name) % min(4, len(checks))])


@pytest.mark.parametrize("name", some(SAMPLE, SAMPLE[::2]))
def test_slip_is_found(name):
    number = SAMPLE.index(name)
    checks = list(measure.slip_checks(_entry(name), number))
    _assert_found(checks[number % len(checks)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(TESTS))
def test_all_verdicts_on_every_fourth_function(number):
    entries = list(enumerate(measure.entries()))[::EVERY]
    for place, entry in entries[number::TESTS]:
        for check in measure.right_checks(entry):
            _assert_right(check)
        for check in measure.slip_checks(entry, place):
            _assert_found(check)


def test_names_of_entries_are_their_own():
    entries = measure.entries()
    assert len({str(entry) for entry in entries}) == len(entries)
    assert len({(entry.library, entry.name) for entry in entries}) > 700
