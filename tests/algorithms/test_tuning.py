"""A tuning is used where it is switched on, and nowhere else."""

import json
import os
import platform
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxconv import algorithms, conv
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem, tuning
from jaxconv.algorithms.tuning import Key, Machine, Tuning

from .problems import geometry_of, spec_of

ROOT = Path(__file__).parents[2]
GEOMETRY = geometry_of((12, 11), (5, 3), (2, 1), "SAME", 1, (1, 2), 2)
PROBLEM = Problem(Slot.INPUT, GEOMETRY, 500, 32, 64)
KEY = Key(PROBLEM, "cpu")
HERE = Machine.here()
MEASURED = Tuning(HERE, ((KEY, "phases"),))


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch):
    monkeypatch.delenv(tuning.ENVIRONMENT_VARIABLE, raising=False)
    tuning._of_environment.cache_clear()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "folder" / "tuning.json"
    MEASURED.save(path)
    return path


def chosen(problem=PROBLEM):
    return tuning.choice(problem, "cpu")


def test_what_is_saved_is_loaded(file):
    loaded = Tuning.load(file)
    assert loaded == MEASURED
    assert hash(loaded) == hash(MEASURED)
    assert [other.name for other in file.parent.iterdir()] == [file.name]


def test_nothing_is_used_unless_it_is_switched_on(file, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent))
    assert tuning.active() is None
    assert chosen() is None


@pytest.mark.parametrize("as_file", [False, True])
def test_a_context_switches_it_on_and_off(as_file, file):
    with tuning.using(file if as_file else MEASURED) as used:
        assert used == MEASURED
        assert chosen() == "phases"
        with tuning.using(None):
            assert chosen() is None
        assert chosen() == "phases"
    assert chosen() is None


def test_the_environment_switches_it_on(file, monkeypatch):
    monkeypatch.setenv(tuning.ENVIRONMENT_VARIABLE, str(file))
    assert chosen() == "phases"
    with tuning.using(None):
        assert chosen() is None


OTHERS = [
    KEY._replace(problem=PROBLEM._replace(slot=Slot.KERNEL)),
    KEY._replace(problem=PROBLEM._replace(geometry=replace(GEOMETRY, input_size=(13, 11)))),
    KEY._replace(problem=PROBLEM._replace(geometry=GEOMETRY.with_groups(1))),
    KEY._replace(problem=PROBLEM._replace(n=499)),
    KEY._replace(problem=PROBLEM._replace(c=64, o=32)),
    KEY._replace(problem=PROBLEM._replace(dtype=np.dtype("float64"))),
    KEY._replace(platform="cuda"),
]


@pytest.mark.parametrize("other", OTHERS, ids=range(len(OTHERS)))
def test_a_key_holds_everything_that_decides(other):
    assert MEASURED.choice(other) is None
    both = MEASURED.updated([(other, "strips")])
    assert (both.choice(KEY), both.choice(other)) == ("phases", "strips")
    assert both.updated([(KEY, "direct")]).choice(KEY) == "direct"


def test_what_must_be_asked_for_is_not_chosen_by_a_tuning():
    problem = Problem(Slot.OUTPUT, geometry_of((12, 12), (5, 5)), 500, 32, 32)
    key, spec = Key(problem, "cpu"), spec_of(problem.geometry, "float32")
    for name, expected in [("fourier", "direct"), ("split_patches", "split_patches")]:
        with tuning.using(Tuning(HERE, ((key, name),))):
            untuned = algorithms.plans(problem)[0].name
            plan, _ = algorithms.choose(problem, "cpu", spec)
            assert plan.name == (expected if name != "fourier" else untuned)
            asked, _ = algorithms.choose(problem, "cpu", spec.replace(impl="fourier"))
            assert asked.name == "fourier"


def test_a_compiled_function_is_compiled_again_inside_the_context(normal):
    x, kernel = normal((2, 6, 5, 3), "float32"), normal((3, 2, 3, 4), "float32")
    problem = Problem(Slot.OUTPUT, geometry_of((6, 5), (3, 2)), 2, 3, 4)
    measured = Tuning(HERE, ((Key(problem, "cpu"), "split_patches"),))
    compiled = jax.jit(conv)

    def program():
        return compiled.lower(x, kernel).as_text()

    outside = program()
    with tuning.using(measured):
        inside, result = program(), compiled(x, kernel)
    assert inside != outside
    assert program() == outside
    np.testing.assert_allclose(result, compiled(x, kernel), rtol=1e-4, atol=1e-5)


def broken(good):
    """What may stand in a file in place of a tuning."""
    content = json.loads(good)
    entry = content["choices"][0]
    without_window = {k: v for k, v in entry["geometry"].items() if k != "window"}
    return {
        "empty": "",
        "no JSON": good[: len(good) // 2],
        "a list": "[]",
        "nothing in it": "{}",
        "another format": json.dumps(content | {"format": 1}),
        "no choices": json.dumps(content | {"choices": None}),
        "no geometry": json.dumps(content | {"choices": [entry | {"geometry": 3}]}),
        "no window": json.dumps(content | {"choices": [entry | {"geometry": without_window}]}),
        "sizes": json.dumps(content | {"choices": [entry | {"n": "many"}]}),
        "no name": json.dumps(content | {"choices": [entry | {"algorithm": 7}]}),
        "no slot": json.dumps(content | {"choices": [entry | {"slot": "z"}]}),
    }


BROKEN = broken(MEASURED.to_json())


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_asked_for_must_hold_a_tuning(how, file):
    file.write_text(BROKEN[how])
    with pytest.raises(ValueError, match=r"tuning\.json: not a tuning"), tuning.using(file):
        pass


def test_a_file_that_is_asked_for_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError), tuning.using(tmp_path / "none.json"):
        pass


@pytest.mark.parametrize("text", [None, "[]"])
def test_a_broken_file_of_the_environment_is_ignored_with_one_warning(text, file, monkeypatch):
    file.unlink() if text is None else file.write_text(text)
    monkeypatch.setenv(tuning.ENVIRONMENT_VARIABLE, str(file))
    with pytest.warns(UserWarning, match=r"JAXCONV_TUNING_FILE.*tuning\.json"):
        assert chosen() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert chosen() is None


def test_a_failed_write_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        MEASURED.updated([(KEY, "strips")]).save(file)
    assert file.read_bytes() == before
    assert [other.name for other in file.parent.iterdir()] == [file.name]


def test_import_reads_nothing(file):
    file.write_text("broken")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import jaxconv.algorithms.tuning"],
        cwd=ROOT,
        env=os.environ | {tuning.ENVIRONMENT_VARIABLE: str(file)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_processor_without_a_name_is_known_by_its_kind(monkeypatch):
    def refuse(*args, **options):
        raise OSError

    monkeypatch.setattr("builtins.open", refuse)
    assert tuning._processor() == (platform.processor() or platform.machine())
