"""Every Python and shell block of README.md and CONTRIBUTING.md is run.

A file's Python blocks are one program, in order, and so are its commands, in one folder. Commands
run in this process, as `python -m` would run them: starting Python and JAX anew for each would take
minutes. Training is cut short by options that are added at the end.
"""

import glob
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from experiments import classifier, processes

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "CONTRIBUTING.md")
PYTHON, SHELL = {"python"}, {"bash", "sh"}


def blocks(file, languages):
    text = (ROOT / file).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


@pytest.mark.parametrize("file", FILES)
def test_every_block_is_one_or_the_other(file):
    fences = re.findall(r"^ *[`~]{3,}.*$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(blocks(file, PYTHON | SHELL)) == len(fences) / 2 > 0


# ---- Python ----------------------------------------------------------------------------------


def test_python_blocks_run(capsys):
    names = dict(vars(classifier))  # of which two blocks are excerpts
    for number, block in enumerate(blocks("README.md", PYTHON)):
        exec(compile(block, f"README.md, Python block {number}", "exec"), names)
    assert names["y"].shape == (8, 14, 14, 32)
    # x is all ones: each tap meets a one wherever its window has its maximum, at 8·12·12 places.
    np.testing.assert_array_equal(names["k_bar"], np.full((5, 5, 1, 32), 8 * 12 * 12))
    assert names["edges"].gradients["conv"]["kernel"].shape == (5, 5, 1, 8)
    for name in ("standard", "modified"):  # the network shown is that of the experiment
        shown, ours = (network(nnx.Rngs(0)) for network in (names[name], vars(classifier)[name]))
        assert names[name] is not vars(classifier)[name]
        assert nnx.graphdef(shown) == nnx.graphdef(ours)
    out = capsys.readouterr().out
    assert re.search(r"conv_kernel_vjp.*\n(.*\n)*.*runs ", out)  # what `explain` prints
    assert "softplus" in out  # what `check_gradients` prints


# ---- commands --------------------------------------------------------------------------------


def commands(file):
    lines = "".join(blocks(file, SHELL)).splitlines()
    parts = (part for line in lines for part in " ".join(shlex.split(line, True)).split(" && "))
    return [part.split() for part in parts if part]


def extras_exist(*what):
    """Installing takes minutes, and is left to CI, which does it in fresh environments."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if what[0] == "-e":
        directory, _, extras = what[1].partition("[")
        assert directory == "."
        assert set(filter(None, extras.rstrip("]").split(","))) <= {
            *project["optional-dependencies"]
        }
    else:
        assert what == ("pre-commit",)
        assert (ROOT / ".pre-commit-config.yaml").exists()


def run_module(module, *arguments):
    """What `python -m` does, after the shell has replaced patterns by the names of files."""
    words = [word for argument in arguments for word in sorted(glob.glob(argument)) or [argument]]
    if module in SMALL:
        is_plain = module == "experiments.classifier" and words in ([], ["--resume"])
        words += ["--model", "standard"] if is_plain else SMALL[module]
        words += ["--epochs", "2" if "--resume" in words else "1", *SHORT]
        if not re.search("(folder|npz):", " ".join(words)):  # it would be digits, or MNIST
            words += ["--dataset", "npz:pathmnist.npz"]
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


SMALL = {
    "experiments.classifier": ("--model", "small"),
    "experiments.autoencoder": ("--hidden", "8", "--draws", "1"),
}
SHORT = ("--batch-size", "8", "--cache-dir", "cache", "--no-malloc-tuning")


def run_tool(*command):
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


# What runs a command, by how it begins, with the words that follow.
HOW = {
    "python -m": run_module,
    "pip install": extras_exist,
    "pytest": lambda: None,  # which is what runs this
    "ruff format": lambda: run_tool("ruff", "format", "--check", "--quiet"),
    "ruff check": lambda: run_tool("ruff", "check", "--quiet"),
    "pyright": lambda: run_tool("pyright", "--version"),  # its verdict, of a minute, is CI's
    "pre-commit install": lambda: None,  # would change the checkout
    "bash .ci/run": lambda: subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True),  # minutes
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a reader, with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["python"])
    rng, parts = np.random.default_rng(0), ("train", "val", "test")
    few = {f"{part}_images": rng.integers(0, 255, (32, 28, 28), np.uint8) for part in parts}
    np.savez("pathmnist.npz", **few, **{f"{part}_labels": np.arange(32) % 4 for part in parts})
    for index, image in enumerate(few["train_images"]):
        photo = Path("photos", ("cat", "dog")[index % 2], f"{index}.png")
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(photo)
    Image.fromarray(few["test_images"][0]).save("digit.png")
    return tmp_path


@pytest.mark.parametrize("file", FILES)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_commands_run(file, folder, monkeypatch, capsys):
    met = []
    # How processes meet, and what they do together, is tested with real ones.
    monkeypatch.setattr(processes, "join", lambda *place: met.append(place))
    for command in commands(file):
        (start,) = (start for start in HOW if f"{' '.join(command)} ".startswith(f"{start} "))
        HOW[start](*command[len(start.split()) :])
    if file == "README.md":
        assert met == [("host0:1234", 2, 0), ("host0:1234", 2, 1)]
        runs = sorted(path.name for path in folder.glob("runs/*-*"))
        assert runs == ["autoencoder-001", *(f"classifier-{n:03}" for n in range(1, 8))]
        assert len((folder / "runs/classifier-001/standard/metrics.csv").read_text().split()) == 3
        assert (folder / "runs/compare.png").exists()
        assert "digit.png" in capsys.readouterr().out


def test_ci_installs_and_tests_as_the_readme_says():
    assert """tests='pip install -e ".[test]" && pytest'""" in (ROOT / ".ci" / "run").read_text()
    assert 'pip install -e ".[test]" && pytest\n' in "".join(blocks("README.md", SHELL))
