"""The table of mechanisms: what is tried, and that each verdict can occur."""

from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

from experiments.forms import rivals
from experiments.forms.__main__ import MODES, Config, _verdict, main

X, K = jnp.arange(7.0), jnp.array([1.0, -2.0, 0.5])


def test_verdicts():
    """Of two modes; the table has all of them."""
    maps = rivals.of_x, rivals.of_k, rivals.of_y
    found = {}
    with jax.enable_x64(True):
        x, k = X.astype("float64"), K.astype("float64")
        for mode in ("forward", "reverse"):
            of = partial(MODES[mode], x=x, k=k)
            expected = jax.tree.leaves(of(rivals.of_y))
            for name, mechanism in rivals.MECHANISMS.items():
                planted = rivals.planted(mechanism)
                found[name, mode] = _verdict(mode, of, mechanism(*maps), planted, expected)
    assert found["forms", "forward"] == found["forms", "reverse"] == "stated"
    assert found["custom_vjp", "reverse"] == "stated"
    assert found["custom_vjp", "forward"] == "raises"
    assert found["custom_jvp", "reverse"] == "derived"


@pytest.mark.exhaustive
def test_the_table(capsys):
    found = main(Config(repeats=1, length=8))
    of = {name: {row: cells[name] for row, cells in found.items()} for name in rivals.MECHANISMS}
    assert {of["forms"][mode] for mode in MODES} == {"stated"}
    assert of["custom_vjp"]["reverse"] == "stated"
    assert of["custom_vjp"]["forward"] == "raises"
    assert of["custom_jvp"]["reverse"] == "derived"
    assert found["lines of code"]["forms"] == 1
    if find_spec("torch"):  # the last column, which is left out without it
        cells = [found[mode]["torch"] for mode in MODES]
        assert set(cells) == {"stated", "absent"}
        assert cells.count("stated") == 9
    assert "| forward | ✓ | – |" in capsys.readouterr().out


def test_a_wrong_result_is_seen():
    def wrong(*maps):
        return lambda x, k: 2 * rivals.of_y(x, k)

    with jax.enable_x64(True):
        f = wrong(rivals.of_x, rivals.of_k, rivals.of_y)
        reverse = partial(MODES["reverse"], x=X, k=K)
        assert _verdict("reverse", reverse, f, f, jax.tree.leaves(reverse(rivals.of_y))) == "wrong"


@pytest.mark.exhaustive  # the garbage of all tests is collected before each timing
def test_overheads(capsys):
    found = main(Config(overhead=True, repeats=1, length=8))
    assert all(float(row["ratio"]) > 0 for row in found.values())
    assert "run, compiled" in capsys.readouterr().out
