"""The command `measure` in a dry run on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.accelerators.__main__ import main
from experiments.accelerators.measure import checks

ROOT = Path(__file__).parents[3]

# One of each kind; the transposed one is its convolution's input gradient.
FEW = ["E", "G", "P", "T", "deeplab-28", "m32", "a2", "up"]
FEWER = ["T", "m32"]


def measure(*options):
    return main(["measure", "--platform", "cpu", *options])


@pytest.mark.exhaustive
def test_dry_run_of_a_convolution_in_all_modes(capsys):
    assert measure("--cases", "P") == 0
    assert "every contraction is right" in capsys.readouterr().out


def test_dry_run(tmp_path, capsys):
    output = tmp_path / "measured.json"
    modes = ["float32", "bfloat16"]
    assert measure("--output", str(output), "--cases", "up", "--modes", *modes) == 0
    printed = capsys.readouterr().out
    assert "every contraction is right" in printed
    record = json.loads(output.read_text())
    assert {row["case"] for row in record["rows"]} == {"up"}
    assert {row["mode"] for row in record["rows"]} == set(modes)
    assert not any(row["wrong"] for row in record["rows"])
    for row in record["rows"]:
        for peer in ("ours", "autodiff"):
            assert row["seconds"][peer] > 0
            assert row["estimates"][peer] > 0
            assert sum(row["kernels"][peer].values()) > 0
    assert set(record["rates"]["products"]) == {"float32", "tf32", "bfloat16"}


@pytest.mark.exhaustive
def test_dry_run_of_a_training_step_with_a_profile(tmp_path, capsys):
    output, folder = tmp_path / "measured.json", tmp_path / "profile"
    options = ["--output", str(output), "--profile", str(folder), "--modes", "float32"]
    assert measure("--cases", "standard", *options) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert (row["case"], row["contraction"], row["wrong"]) == ("standard", "step", {})
    assert set(row["seconds"]) == {"ours", "autodiff"}
    assert list(folder.rglob("*.xplane.pb"))
    assert "the longest instructions" in capsys.readouterr().out


@pytest.mark.parametrize("cases", [FEWER, pytest.param(FEW, marks=pytest.mark.exhaustive)])
def test_check_only(cases, capsys):
    assert measure("--check-only", "--modes", "float32", "--cases", *cases) == 0
    printed = capsys.readouterr().out
    assert f"{len(cases)} cases in float32: every contraction is right" in printed


def test_without_an_accelerator_one_line_and_status_2(capsys):
    if jax.default_backend() != "cpu":
        pytest.skip("there is an accelerator")
    assert main(["measure"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_wrong_contraction_is_named(monkeypatch, capsys):
    monkeypatch.setattr(checks, "exactly", lambda *_: [np.zeros(3)])
    assert measure("--modes", "float32", "--cases", "a2") == 1
    assert "float32: a2 F: shape" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_jax_flax_and_optax_are_enough():
    """Other packages are hidden, as on a machine without them."""
    program = """if True:
        import sys
        others = "jaxtyping torch tyro matplotlib PIL platformdirs sklearn tensorflow_datasets"
        for name in others.split():
            sys.modules[name] = None
        from experiments.accelerators.__main__ import main
        options = ["--platform", "cpu", "--modes", "float32", "--cases", "up", "standard"]
        sys.exit(main(["measure", *options]))
    """
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


def test_unknown_case(capsys):
    assert measure("--cases", "nonesuch") == 2
    assert "no case is called nonesuch" in capsys.readouterr().err
