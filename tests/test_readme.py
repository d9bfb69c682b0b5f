"""The example that a newcomer reads first runs as it stands."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).parent.parent / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_runs():
    names = {}
    exec(blocks("python")[0], names)
    assert names["y"].shape == (8, 14, 14, 32)
    # x is all ones: each tap meets a one wherever its window has its maximum, at 8·12·12 places.
    np.testing.assert_array_equal(names["k_bar"], np.full((5, 5, 1, 32), 8 * 12 * 12))


def test_the_explanation_is_of_what_runs(capsys):
    names = {}
    exec(blocks("python")[0], names)
    exec(next(block for block in blocks("python") if "explain(" in block), names)
    shown = capsys.readouterr().out
    assert "conv_kernel_vjp" in shown
    assert "runs " in shown


def test_the_networks_shown_are_those_of_the_experiment():
    source = (README.parent / "experiments" / "classifier.py").read_text(encoding="utf-8")
    without_comments = re.sub(r"\n *# .*|  # .*", "", source)
    shown = [block for block in blocks("python") if block.startswith("def ")]
    assert len(shown) == 2
    for network in shown:
        assert network in without_comments
