"""Every Python and shell block of the pages for readers runs, and prints what the page shows.

A page's Python blocks are one program, in order. A `text` block after a Python block is what it
prints, where `...` stands for anything. A page's commands run in one folder, in this process, as
`python -m` would run them: starting Python and JAX anew for each would take minutes. Training is
cut short by options that are added at the end.
"""

import doctest
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

from experiments.benchmark import cases
from experiments.networks import classifiers
from experiments.training import processes

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "experiments/README.md", "notebooks/README.md")
PYTHON, SHELL, OUTPUT = {"python"}, {"bash", "sh"}, {"text"}


def fenced(page):
    """The language and the text of each block, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(page, languages):
    return [block for language, block in fenced(page) if language in languages]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_kind_that_runs(page):
    fences = re.findall(r"^ *[`~]{3,}.*$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(blocks(page, PYTHON | SHELL | OUTPUT)) == len(fences) / 2 > 0


@pytest.mark.parametrize(
    "page",
    [*PAGES, "CHANGELOG.md", "experiments/coverage/README.md", "experiments/forms/README.md"],
)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        other = (ROOT / page).parent / target if target else ROOT / page
        headings = re.findall(r"^#+ (.*)$", other.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert anchor in slugs


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:\.?\w+/)*\w+\.(?:py|md)|(?:\w+/)+)`", text)
    places = (ROOT, ROOT / "jaxconv", (ROOT / page).parent)
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert [name for name in missing if not name.startswith(("runs/", "site/"))] == []


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_picture_is_that_of_its_script():
    script = runpy.run_path(str(ROOT / "experiments/gallery/triangle.py"))
    assert script["FILE"].read_text(encoding="utf-8") == script["drawing"]()


# ---- Python ----------------------------------------------------------------------------------


def run_python(page, capsys, names):
    """Run a page's Python blocks, and compare what they print with what the page shows."""
    language_before = None
    for number, (language, block) in enumerate(fenced(page)):
        if language in PYTHON:
            capsys.readouterr()
            exec(compile(block, f"{page}, block {number}", "exec"), names)
            printed = capsys.readouterr().out
            assert not printed or fenced(page)[number + 1][0] in OUTPUT, printed
        elif language in OUTPUT:
            assert language_before in PYTHON
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            if not doctest.OutputChecker().check_output(block, printed, flags):
                pytest.fail(f"{page} shows\n{block}\nand the block before it prints\n{printed}")
        language_before = language
    return names


def test_the_readme_runs(capsys):
    names = run_python("README.md", capsys, {"__name__": "readme"})
    assert names["k_bar"].shape == (5, 5, 3, 16)
    assert sum(language == "text" for language, _ in fenced("README.md")) == 2


def test_the_networks_shown_are_those_of_the_experiment(capsys):
    names = run_python("experiments/README.md", capsys, dict(vars(classifiers)))
    for name in ("standard", "modified"):
        shown, ours = (network(nnx.Rngs(0)) for network in (names[name], vars(classifiers)[name]))
        assert names[name] is not vars(classifiers)[name]
        assert nnx.graphdef(shown) == nnx.graphdef(ours)


# ---- commands --------------------------------------------------------------------------------


def commands(page):
    lines = "".join(blocks(page, SHELL)).splitlines()
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
    if module == "experiments.benchmark":  # the options are real, the timing is of a small case
        assert cases.matching([words[words.index("--cases") + 1]])
        words[words.index("--cases") + 1] = "m2s"
        words += ["--no-malloc-tuning"]
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


SMALL = {
    "experiments.classifier": ("--model", "small"),
    "experiments.autoencoder": ("--hidden", "8", "--draws", "1"),
}
SHORT = ("--batch-size", "8", "--cache-dir", "cache", "--no-malloc-tuning")


def run_tool(*command):
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


def tests_exist(*arguments):
    """What `pytest` is told to run exists; running it here is another test's business."""
    for argument in arguments:
        if "/" in argument:
            assert (ROOT / argument.partition("::")[0]).exists(), argument


# What runs a command, by how it begins, with the words that follow.
HOW = {
    "python -m": run_module,
    "python .ci/docs/build.py": lambda *folder: None,  # tests/test_api_reference.py runs it
    "pip install": extras_exist,
    "pytest": tests_exist,
    "ruff format": lambda: run_tool("ruff", "format", "--check", "--quiet"),
    "ruff check": lambda: run_tool("ruff", "check", "--quiet"),
    "pyright": lambda: run_tool("pyright", "--version"),  # its verdict, of a minute, is CI's
    "pre-commit install": lambda: None,  # would change the checkout
    "bash .ci/run": lambda: subprocess.run(["bash", "-n", ROOT / ".ci/run"], check=True),  # minutes
    "jupyter lab": lambda: None,
    "jupytext": lambda *arguments: None,  # tests/test_notebooks.py holds the two forms together
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


@pytest.mark.parametrize(
    "page",
    # Nine training runs: the default run leaves them out.
    [pytest.param(p, marks=[pytest.mark.exhaustive] * p.startswith("experiments")) for p in PAGES],
)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_commands_run(page, folder, monkeypatch, capsys):
    met = []
    # How processes meet, and what they do together, is tested with real ones.
    monkeypatch.setattr(processes, "join", lambda *place: met.append(place))
    for command in commands(page):
        (start,) = (start for start in HOW if f"{' '.join(command)} ".startswith(f"{start} "))
        HOW[start](*command[len(start.split()) :])
    if page == "experiments/README.md":
        assert met == [("host0:1234", 2, 0), ("host0:1234", 2, 1)]
        runs = sorted(path.name for path in folder.glob("runs/*-*"))
        assert runs == ["autoencoder-001", *(f"classifier-{n:03}" for n in range(1, 8))]
        assert len((folder / "runs/classifier-001/standard/metrics.csv").read_text().split()) == 3
        assert (folder / "runs/compare.png").exists()
        assert (folder / "results/benchmark.json").exists()
        assert "digit.png" in capsys.readouterr().out


def test_ci_installs_what_the_pages_say():
    install = 'pip install -e ".[test]" && pytest'
    assert install in (ROOT / ".ci" / "run").read_text()
    assert install in "".join(blocks("CONTRIBUTING.md", SHELL))
