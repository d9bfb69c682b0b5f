"""`--tune` measures every algorithm that may run unasked, and the library uses what it writes."""

import json

import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import shapes, single
from experiments.benchmark import tuning as tuning_of_cases
from jaxconv import algorithms
from jaxconv._spec import ConvSpec, Dtypes, Slot
from jaxconv.algorithms import tuning

SHAPES = ("x=(2,8,8,1) kernel=(3,3,1,4)", "x=(2,9,3) kernel=(2,3,4) padding=SAME")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The file that is written by default."""
    monkeypatch.delenv(tuning.ENVIRONMENT_VARIABLE, raising=False)
    return tmp_path / "tuning.json"


def tune(tmp_path, *shape, **options):
    config = benchmark.Config(
        tune=True, shape=shape, repeats=1, output_dir=tmp_path, malloc_tuning=False, **options
    )
    return benchmark.main(config)


def choice(file, shape, slot, dtype="float32"):
    problem = single.problem_of(slot, shapes.parse(shape))
    problem = problem._replace(dtype=algorithms.common_dtype(dtype))
    return tuning.Tuning.load(file).choice(tuning.Key(problem, "cpu"))


def test_round_trip(file, tmp_path, capsys):
    record = tune(tmp_path, SHAPES[1])
    assert record["file"] == str(file)
    assert len(json.loads(file.read_text())["choices"]) == 3
    for row in record["tune"]:
        slot = {"F": "y", "DX": "x", "DW": "k"}[row["contraction"]]
        problem = single.problem_of(slot, shapes.parse(row["case"]))
        not_asked_for = {*algorithms.cpu.CATALOGUE.algorithms} - {"fourier"}
        assert set(row["seconds"]) == {*algorithms.applicable(problem)} & not_asked_for
        assert row["errors"] == {}
        fastest = min(row["seconds"], key=lambda name: row["seconds"][name]["median"])
        assert choice(file, row["case"], slot) == row["fastest"] == fastest
        assert choice(file, row["case"], slot, "float64") is None
    out = capsys.readouterr().out
    assert str(file) in out
    # A line for each contraction and each algorithm, a title, and the file's.
    assert len(out.splitlines()) == 3 + len(record["ablation"]) + 2


def test_ablation():
    """The gain of the fastest over the next one, in geometric mean over the rows of a family."""
    cases = [
        shapes.parse(f"x=(2,{size},{size},4) kernel=(3,3,1,4) groups=4") for size in (8, 9, 10)
    ]
    measured = [{"taps": 1.0, "direct": 4.0}, {"taps": 2.0, "direct": 2.0}, {"direct": 1.0}]
    rows = [
        {
            "case": case.name,
            "contraction": "F",
            "seconds": {name: {"median": median} for name, median in seconds.items()},
        }
        for case, seconds in zip(cases, measured, strict=True)
    ]
    gains = tuning_of_cases.ablation(cases, rows)
    assert gains["taps"] == {"depthwise F": pytest.approx(2.0)}
    assert gains["direct"] == {"depthwise F": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("shape", "family"),
    {
        "x=(2,8,8,4) kernel=(3,3,4,6)": "dense",
        "x=(2,8,8,4) kernel=(1,1,4,6)": "pointwise",
        "x=(2,8,8,4) kernel=(3,3,4,6) strides=2": "strided",
        "x=(2,8,8,4) kernel=(3,3,2,6) groups=2": "grouped",
        "x=(2,8,8,4) kernel=(3,3,1,4) groups=4 strides=2": "depthwise",
        "x=(2,8,8,4) kernel=(3,3,4,6) kernel_dilation=2": "dilated",
        "x=(2,8,8,4) kernel=(3,3,4,6) input_dilation=2": "transposed",
        "x=(2,8,4) kernel=(3,4,6)": "1-D",
    }.items(),
)
def test_families(shape, family):
    assert shapes.parse(shape).family == family


def test_the_library_uses_what_is_written(file, tmp_path):
    tune(tmp_path, SHAPES[1])
    problem = single.problem_of("x", shapes.parse(SHAPES[1]))
    float32 = algorithms.common_dtype("float32")
    spec = ConvSpec(problem.geometry, Dtypes(float32, float32, float32))
    with tuning.using(file):
        plan, reason = algorithms.choose(problem, "cpu", spec)
    assert plan.name == choice(file, SHAPES[1], "x")
    assert "active tuning" in reason


@pytest.mark.exhaustive
def test_later_measurements_are_added_to_those_of_the_same_machine(file, tmp_path):
    tune(tmp_path, SHAPES[0])
    tune(tmp_path, SHAPES[1])
    assert len(tuning.Tuning.load(file).choices) == 6
    content = json.loads(file.read_text())
    content["machine"]["cores"] = 1000
    file.write_text(json.dumps(content))
    tune(tmp_path, SHAPES[1])
    assert len(tuning.Tuning.load(file).choices) == 3


def test_the_environment_names_the_file(tmp_path, monkeypatch):
    named = tmp_path / "folder" / "named.json"
    monkeypatch.setenv(tuning.ENVIRONMENT_VARIABLE, str(named))
    assert tune(tmp_path, SHAPES[1])["file"] == str(named)
    assert choice(named, SHAPES[1], "y")


@pytest.mark.usefixtures("file")
def test_wrong_algorithm_is_not_written(tmp_path, monkeypatch, capsys):
    strips = type(algorithms.ALGORITHMS["strips"])
    right = strips.input_vjp
    monkeypatch.setattr(strips, "input_vjp", lambda *args: 0 * right(*args))
    record = tune(tmp_path, SHAPES[0])
    assert "wrong" in record["tune"][1]["errors"]["strips"]
    assert choice(tmp_path / "tuning.json", SHAPES[0], Slot.INPUT) not in (None, "strips")
    assert "strips: wrong" in capsys.readouterr().out


def test_file_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "a_file").touch()
    monkeypatch.setenv(tuning.ENVIRONMENT_VARIABLE, str(tmp_path / "a_file" / "tuning.json"))
    with pytest.raises(ValueError, match="cannot write the tuning file"):
        tune(tmp_path, SHAPES[1])
