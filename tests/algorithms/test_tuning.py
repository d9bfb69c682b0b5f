"""What was measured is found again, holds for its machine only, and never breaks a convolution."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._geometry import convolution_geometry
from jaxconv.algorithms import _tuning
from jaxconv.algorithms._tuning import Key, choice, remember

ROOT = Path(__file__).parents[2]
GEOMETRY = convolution_geometry("test", (12, 11), (5, 3), (2, 1), "SAME", 1, (1, 2), 2)
KEY = Key("x", GEOMETRY, (500, 32, 64), "float32", "cpu")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """An empty place for the file, and nothing read so far."""
    file = tmp_path / "cache" / "tuning.json"
    monkeypatch.setenv("JAXCONV_TUNING_FILE", str(file))
    _tuning.forget()
    yield file
    _tuning.forget()


def test_remembered_is_found(file):
    assert choice(*KEY) is None
    assert remember([(KEY, "fourier")]) == file
    assert choice(*KEY) == "fourier"
    _tuning.forget()
    assert choice(*KEY) == "fourier"
    assert [other.name for other in file.parent.iterdir()] == [file.name]


def test_what_must_be_asked_for_is_not_chosen_by_a_file(file):
    geometry = convolution_geometry("test", (12, 12), (5, 5), 1, "VALID", 1, 1, 1)
    problem, dtypes = algorithms.Problem("y", geometry, 500, 32, 32), (np.dtype("float32"),) * 3
    key = Key("y", geometry, (500, 32, 32), "float32", "cpu")
    remember([(key, "fourier")])
    assert "fourier" not in str(algorithms.choose(problem, "cpu", dtypes).plan)
    remember([(key, "input_depth")])
    assert algorithms.choose(problem, "cpu", dtypes).plan.name == "input_depth"
    assert algorithms.choose(problem, "cpu", dtypes, "fourier").plan.name == "fourier"


OTHERS = [
    KEY._replace(slot="k"),
    KEY._replace(geometry=replace(GEOMETRY, input_size=(13, 11))),
    KEY._replace(geometry=replace(GEOMETRY, padding=((2, 1), (2, 2)))),
    KEY._replace(geometry=replace(GEOMETRY, input_dilation=(1, 2))),
    KEY._replace(geometry=GEOMETRY.with_groups(1)),
    KEY._replace(sizes=(499, 32, 64)),
    KEY._replace(sizes=(500, 64, 32)),
    KEY._replace(dtype="float64"),
    KEY._replace(platform="cuda"),
]


@pytest.mark.parametrize("other", OTHERS, ids=range(len(OTHERS)))
def test_key_holds_everything_that_decides(other, file):
    remember([(KEY, "fourier")])
    assert choice(*other) is None
    remember([(other, "strips")])
    assert (choice(*KEY), choice(*other)) == ("fourier", "strips")
    remember([(KEY, "direct")])
    assert (choice(*KEY), choice(*other)) == ("direct", "strips")


@pytest.mark.parametrize(
    ("what", "value"), [("jaxlib", "0.0.1"), ("processor", "another"), ("cores", 1000)]
)
def test_file_of_another_machine_is_ignored_and_replaced(what, value, file, monkeypatch):
    here = _tuning.machine()
    monkeypatch.setattr(_tuning, "machine", lambda: here | {what: value})
    remember([(KEY, "fourier")])
    monkeypatch.undo()
    monkeypatch.setenv("JAXCONV_TUNING_FILE", str(file))
    _tuning.forget()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choice(*KEY) is None
    remember([(KEY._replace(slot="y"), "direct")])
    assert len(json.loads(file.read_text())["choices"]) == 1


def _broken(good: str) -> dict[str, str]:
    content = json.loads(good)
    entry = content["choices"][0]
    without_window = {k: v for k, v in entry["geometry"].items() if k != "window"}
    return {
        "empty": "",
        "no JSON": good[: len(good) // 2],
        "a list": "[]",
        "nothing in it": "{}",
        "no choices": json.dumps(content | {"choices": None}),
        "no geometry": json.dumps(content | {"choices": [entry | {"geometry": 3}]}),
        "no window": json.dumps(content | {"choices": [entry | {"geometry": without_window}]}),
        "sizes": json.dumps(content | {"choices": [entry | {"sizes": [1, 2]}]}),
        "no name": json.dumps(content | {"choices": [entry | {"algorithm": 7}]}),
        "unhashable": json.dumps(content | {"choices": [entry | {"sizes": [1, 2, {}]}]}),
    }


BROKEN = list(_broken(json.dumps({"choices": [{"geometry": {}}]})))


@pytest.mark.parametrize("how", BROKEN)
def test_broken_file_gives_a_warning_that_names_it(how, file):
    remember([(KEY, "fourier")])
    file.write_text(_broken(file.read_text())[how])
    _tuning.forget()
    with pytest.warns(UserWarning, match="tuning.json") as caught:
        assert choice(*KEY) is None
    assert len(caught) == 1
    assert choice(*KEY) is None  # and no second warning
    with pytest.warns(UserWarning, match="tuning.json"):
        remember([(KEY, "strips")])
    assert choice(*KEY) == "strips"


def test_folder_in_place_of_the_file(file):
    file.mkdir(parents=True)
    with pytest.warns(UserWarning, match="IsADirectoryError"):
        assert choice(*KEY) is None


def test_failed_write_leaves_the_old_file(file, monkeypatch):
    remember([(KEY, "fourier")])
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(OSError, match="no space left"):
        remember([(KEY, "strips")])
    assert file.read_bytes() == before
    assert [other.name for other in file.parent.iterdir()] == [file.name]


def test_default_paths(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXCONV_TUNING_FILE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _tuning.path() == tmp_path / "jaxconv" / "tuning.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _tuning.path() == tmp_path / ".cache" / "jaxconv" / "tuning.json"


def test_import_reads_nothing(file):
    file.parent.mkdir()
    file.write_text("broken")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import jaxconv.algorithms._tuning"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
