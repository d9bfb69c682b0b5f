"""Every public function is in the catalogue, or is excluded for a reason."""

import flax
import pytest

from experiments.verifier.world import excluded, measure

of_newer_flax = pytest.mark.skipif(
    tuple(map(int, flax.__version__.split(".")[:3])) < (0, 12, 8),
    reason="the tables have the names of Flax 0.12.8 and newer",
)


@of_newer_flax
def test_every_public_function_is_in_the_catalogue_or_excluded_for_a_reason():
    assert excluded.unaccounted() == []


def test_no_function_is_both_in_the_catalogue_and_excluded():
    catalogue = {(entry.library, entry.name) for entry in measure.entries()}
    assert not [
        f"{module}.{name}"
        for module in excluded.MODULES
        for name in excluded.excluded(module)
        if (module, name) in catalogue
    ]


@of_newer_flax
def test_a_function_that_no_table_has_is_named(monkeypatch):
    names = excluded.public("jax.nn") | {"a_new_one": lambda x: x}
    public = excluded.public
    monkeypatch.setattr(excluded, "public", lambda m: names if m == "jax.nn" else public(m))
    assert excluded.unaccounted() == ["jax.nn.a_new_one"]
