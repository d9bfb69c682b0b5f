"""The table of options and libraries: each verdict can occur, and is right."""

import numpy as np
import pytest

from experiments.command_line import UserError
from experiments.coverage import modes
from experiments.coverage.__main__ import Config, main, verdict


def test_a_row_of_the_table(capsys):
    """A dilated max pool is right in jaxconv, raises an error in lax, and is absent in Flax."""
    config = Config(rows=("max pool, window dilation",), libraries=("jaxconv", "lax", "flax"))
    ((name, cells),) = main(config).items()
    assert set(cells["jaxconv"].values()) == {"right"}
    assert [cells["lax"][mode] for mode in modes.MODES][:2] == ["right", "raises"]
    assert set(cells["flax"].values()) == {"absent"}
    assert f"| {name} | ✓✓✓✓✓ | ✓–" in capsys.readouterr().out


def test_verdicts():
    truth = np.array([1.0, np.nan, np.inf])

    def fails():
        raise NotImplementedError

    assert verdict(lambda: truth, truth) == "right"
    assert verdict(lambda: truth * (1 + 1e-6), truth) == "wrong"
    assert verdict(lambda: np.zeros(3), truth) == "wrong"
    assert verdict(lambda: truth[:2], truth) == "wrong"
    assert verdict(fails, truth) == "raises"
    assert verdict(None, truth) == "absent"


def test_no_such_row():
    with pytest.raises(UserError, match="matches no row"):
        main(Config(rows=("nothing",)))
