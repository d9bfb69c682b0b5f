"""A user's mistake prints one line on standard error and gives exit status 2."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import autoencoder, classifier
from experiments.command_line import run
from experiments.command_line.tables import number

ROOT = Path(__file__).parents[3]
EXPERIMENTS = [classifier, autoencoder]

MISTAKES = [
    ("--dataset cifar", "unknown dataset 'cifar'"),
    ("--epochs 0", "--epochs must be at least 1, got 0."),
    ("--epochs -3", "--epochs must be at least 1, got -3."),
    ("--epochs many", "Error parsing --epochs"),
    ("--batch-size 0", "--batch-size must be at least 1, got 0."),
    ("--batch-size 2000", "batch size 2000 is not within 1 and the 1200 training images."),
    ("--learning-rate 0", "--learning-rate must be positive and finite, got 0.0."),
    ("--learning-rate nan", "--learning-rate must be positive and finite, got nan."),
    ("--momentum 1", "--momentum must be in [0, 1), got 1.0."),
    ("--seed -1", "--seed must be in 0..2^31 - 1, got -1."),
    ("--seeds 0", "--seeds must be at least 1, got 0."),
    ("--epocs 3", "Unrecognized options: --epocs"),
    ("--dataset fashion_mnist --data-dir nowhere", "fashion_mnist is not prepared under nowhere"),
    ("--output-dir a_file/results", "cannot write to --output-dir a_file/results"),
]


def error_line(capfd) -> str:
    captured = capfd.readouterr()
    assert captured.out == ""
    *understood, line = captured.err.splitlines()  # what the images are, where that was no mistake
    assert all(said.startswith("note: digits: ") for said in understood)
    return line


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[options for options, _ in MISTAKES])
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_mistake(experiment, options, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "a_file").touch()
    with pytest.raises(SystemExit) as end:
        run(experiment.main, experiment.Config, options.split())
    assert end.value.code == 2
    line = error_line(capfd)
    assert line.startswith(f"{experiment.__name__}: error: ")
    assert message in line


@pytest.mark.parametrize("options", ["--code-size 0", "--dropout 1", "--clip-norm 0"])
def test_mistake_of_the_autoencoder(options, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(autoencoder.main, autoencoder.Config, options.split())
    assert end.value.code == 2
    assert f"{options.split()[0]} must be" in error_line(capfd)


@pytest.mark.exhaustive
def test_module_on_the_command_line(tmp_path):
    """`python -m` has the right exit status and prints no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.classifier", "--epochs", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "experiments.classifier: error: --epochs must be at least 1, got 0."
    ]


def test_help_names_the_reasons(capsys):
    with pytest.raises(SystemExit) as end:
        run(classifier.main, classifier.Config, ["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--learning-rate" in text
    assert "Nesterov's" in text


def test_large_and_undefined_numbers_are_short():
    shown = [number(value, 2) for value in (1.005, 99_999.123, 14_621_933_568.0, np.inf, np.nan)]
    assert shown == ["1.00", "99999.12", "1.46e+10", "inf", "nan"]
