"""The functions of JAX, Optax and Flax: right gradients are called right, slips are found.

Here is a sample of the catalogue in experiments/verifier/world, spread over its libraries, each
with one of the slips. All of it:

    VERIFY_CATALOGUE=all pytest tests/verify/test_world.py
    python -m experiments.verifier --world
"""

import os

import pytest

from experiments.verifier.peers import PASSES, WRONG, ours
from experiments.verifier.world import excluded, measure

ALL = os.environ.get("VERIFY_CATALOGUE") == "all"
EVERY, FIRST = 29, 0  # one function of so many is in the sample, none that takes long
ENTRIES = measure.entries()
SAMPLE = list(enumerate(ENTRIES)) if ALL else list(enumerate(ENTRIES))[FIRST::EVERY]


def _name(numbered):
    return str(numbered[1])


def _right_checks(number, entry):
    checks = list(measure.right_checks(entry))
    return checks if ALL else [checks[number // EVERY % min(4, len(checks))]]


def _slip_checks(number, entry):
    checks = list(measure.slip_checks(entry, number))
    return checks if ALL or not checks else [checks[number // EVERY % len(checks)]]


@pytest.mark.parametrize("numbered", SAMPLE, ids=_name)
def test_right_gradient_is_called_right(numbered):
    for check in _right_checks(*numbered):
        answer = measure.ask({"ours": ours}, check)["ours"]
        assert answer["verdict"] == (WRONG if check.fault else PASSES), (check.key, answer)


@pytest.mark.parametrize("numbered", SAMPLE, ids=_name)
def test_slip_is_found(numbered):
    for check in _slip_checks(*numbered):
        answer = measure.ask({"ours": ours}, check)["ours"]
        assert answer["verdict"] == WRONG, (check.key, answer)


def test_every_public_function_is_in_the_catalogue_or_excluded_for_a_reason():
    assert excluded.unaccounted() == []


def test_no_function_is_both_in_the_catalogue_and_excluded():
    catalogue = {(entry.library, entry.name) for entry in ENTRIES}
    assert not [
        f"{module}.{name}"
        for module in excluded.MODULES
        for name in excluded.excluded(module)
        if (module, name) in catalogue
    ]


def test_a_function_that_no_table_has_is_named(monkeypatch):
    names = excluded.public("jax.nn") | {"a_new_one": lambda x: x}
    public = excluded.public
    monkeypatch.setattr(excluded, "public", lambda m: names if m == "jax.nn" else public(m))
    assert excluded.unaccounted() == ["jax.nn.a_new_one"]


def test_names_of_entries_are_their_own():
    assert len({str(entry) for entry in ENTRIES}) == len(ENTRIES)
    assert len({(entry.library, entry.name) for entry in ENTRIES}) > 700
