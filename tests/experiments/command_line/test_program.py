"""A user's mistake prints one line on standard error and gives exit status 2."""

import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import autoencoder, classifier
from experiments.command_line import options, run
from experiments.command_line.tables import number

ROOT = Path(__file__).parents[3]
EXPERIMENTS = [classifier, autoencoder]

MISTAKES = [
    ("--dataset cifar", "unknown dataset 'cifar'"),
    ("--epochs 0", "--epochs must be at least 1, got 0."),
    ("--epochs -3", "--epochs must be at least 1, got -3."),
    ("--epochs many", "--epochs: expected an integer, got many."),
    ("--epochs", "--epochs: expected an integer, got nothing."),
    ("--image-size 32 --seed 1", "--image-size: expected two integers, such as 32 32, got 32."),
    ("--image_size=a", "--image-size: expected two integers, such as 32 32, got a."),
    ("--learning-rate 0,1", "--learning-rate: expected a number, got 0,1."),
    ("--optimiser rms", "--optimiser: expected one of sgd, adam, adamw, got rms."),
    ("--batch-size 0", "--batch-size must be at least 1, got 0."),
    ("--batch-size 2000", "batch size 2000 is not within 1 and the 1200 training images."),
    ("--learning-rate 0", "--learning-rate must be positive and finite, got 0.0."),
    ("--learning-rate nan", "--learning-rate must be positive and finite, got nan."),
    ("--momentum 1", "--momentum must be in [0, 1), got 1.0."),
    ("--seed -1", "--seed must be in 0..2^31 - 1, got -1."),
    ("--seeds 0", "--seeds must be at least 1, got 0."),
    ("--epocs 3", "Unrecognized options: --epocs (did you mean --epochs?); --help"),
    ("--optimizer=adam", "--optimizer (did you mean --optimiser?)"),
    (
        "--lr 0.1 --wd 0",
        "--lr (did you mean --learning-rate?), --wd (did you mean --weight-decay?)",
    ),
    ("--size 32", "--size (did you mean --image-size or --batch-size"),
    ("--prest best", "--prest (did you mean --preset?)"),
    ("--verbose", "Unrecognized options: --verbose; --help lists the options."),
    ("--export yes", "unexpected argument 'yes'; --help lists the options."),
    ("--preset bst", "--preset: expected one of original, "),
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
        run(experiment.main, experiment.Config, options.split(), presets=experiment.PRESETS)
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


PROGRAMS = ("autoencoder", "benchmark.__main__", "classifier", "compare", "coverage.__main__")
PROGRAMS += ("predict", "verifier.__main__")


def comments(config: type) -> dict[str, list[str]]:
    """The lines of comments above, beside and in each field of a dataclass."""
    found: dict[str, list[str]] = {}
    for each in config.__mro__[-2::-1]:  # a class overrides the fields of those that it extends
        above, name = [], ""
        for line in inspect.getsource(each).partition("    def ")[0].splitlines():
            code, has_comment, comment = line.partition("  # ")
            if field := re.match(r"    (\w+): ", code):
                name, found[field[1]], above = field[1], above, []
            if has_comment and name:
                (above if not code.strip() else found[name]).append(comment)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_has_each_option_and_all_that_is_said_about_it(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    program = importlib.import_module(f"experiments.{name}")
    presets = getattr(program, "PRESETS", None)
    with pytest.raises(SystemExit) as end:
        run(program.main, program.Config, ["--help"], presets=presets)
    assert end.value.code == 0
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert presets is None or f"--preset {{None,{','.join(presets)}}} sets the" in text
    told = comments(program.Config)
    for field in dataclasses.fields(program.Config):
        is_option = field.name not in ("images", "folders")
        assert not is_option or re.search(f" --{field.name.replace('_', '-')}[ ,]", text)
        assert all(comment in text for comment in told[field.name]), field.name


def test_preset_changes_defaults_and_options_come_first():
    def parse(line):
        return options.parse(classifier.Config, line.split(), "name", classifier.PRESETS)

    assert parse("") == classifier.Config()
    for preset, values in classifier.PRESETS.items():
        assert parse(f"--preset {preset}") == classifier.Config(**values)
    assert parse("--epochs 7 --preset best --seed 3").epochs == 7


def test_large_and_undefined_numbers_are_short():
    shown = [number(value, 2) for value in (1.005, 99_999.123, 14_621_933_568.0, np.inf, np.nan)]
    assert shown == ["1.00", "99999.12", "1.46e+10", "inf", "nan"]
