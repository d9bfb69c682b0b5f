"""The GPU program in a dry run on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.gpu import checks
from experiments.gpu.__main__ import main
from experiments.gpu.programs import library_calls

ROOT = Path(__file__).parents[2]

# One of each kind; the transposed one is its convolution's input gradient.
FEW = ["E", "G", "P", "T", "deeplab-28", "m32", "a2", "up"]
FEWER = ["T", "m32"]


@pytest.mark.exhaustive
def test_dry_run_of_a_convolution_in_all_modes(capsys):
    assert main(["--platform", "cpu", "--cases", "P"]) == 0
    assert "every contraction is right" in capsys.readouterr().out


def test_dry_run(tmp_path, capsys):
    output = tmp_path / "gpu.json"
    cases, modes = ["up"], ["float32", "bfloat16"]
    options = ["--output", str(output), "--cases", *cases, "--modes", *modes]
    assert main(["--platform", "cpu", *options]) == 0
    printed = capsys.readouterr().out
    assert "every contraction is right" in printed
    record = json.loads(output.read_text())
    assert {row["case"] for row in record["rows"]} == set(cases)
    assert {row["mode"] for row in record["rows"]} == set(modes)
    assert not any(row["wrong"] for row in record["rows"])
    assert all(row["seconds"]["ours"] > 0 for row in record["rows"])
    assert set(record["roofline"]["operations"]) == set(modes)


@pytest.mark.parametrize("cases", [FEWER, pytest.param(FEW, marks=pytest.mark.exhaustive)])
def test_check_only(cases, capsys):
    options = ["--check-only", "--modes", "float32", "--cases", *cases]
    assert main(["--platform", "cpu", *options]) == 0
    printed = capsys.readouterr().out
    assert f"{len(cases)} cases in float32: every contraction is right" in printed


def test_without_a_gpu_one_line_and_status_2(capsys):
    if jax.default_backend() == "gpu":
        pytest.skip("there is a GPU")
    assert main([]) == 2
    assert capsys.readouterr().out.count("\n") == 1


def test_a_wrong_contraction_is_named(monkeypatch, capsys):
    monkeypatch.setattr(checks, "exactly", lambda *_: [np.zeros(3)])
    assert main(["--platform", "cpu", "--modes", "float32", "--cases", "a2"]) == 1
    assert "float32: a2 F: shape" in capsys.readouterr().out


@pytest.mark.exhaustive
def test_jax_and_numpy_are_enough():
    """Other packages are hidden, as on a machine without them."""
    program = """if True:
        import sys
        for name in ("jaxtyping", "torch", "flax", "tyro", "rich", "optax", "matplotlib"):
            sys.modules[name] = None
        from experiments.gpu.__main__ import main
        options = ["--platform", "cpu", "--modes", "float32", "--cases", "up"]
        sys.exit(main(options))
    """
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


def test_unknown_case(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--cases", "nonesuch"])
    assert "none is called nonesuch" in capsys.readouterr().err


def test_library_calls():
    text = """
      %a = custom-call(%x, %y), custom_call_target="__cudnn$convBackwardFilter", x=1
      %b = custom-call(%x, %y), custom_call_target="__cublas$gemm"
      %c = custom-call(%x, %y), custom_call_target="__cublas$gemm"
    """
    assert library_calls(text) == "2 __cublas$gemm, __cudnn$convBackwardFilter"
