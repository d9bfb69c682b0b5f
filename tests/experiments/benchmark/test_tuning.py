"""`--tune` measures every algorithm that applies, and what it writes is found by the library."""

import json

import pytest

from experiments.benchmark import __main__ as benchmark
from experiments.benchmark import shapes, single
from jaxconv import algorithms
from jaxconv.algorithms import _tuning

SHAPES = ("x=(2,8,8,1) kernel=(3,3,1,4)", "x=(2,9,3) kernel=(2,3,4) padding=SAME")


@pytest.fixture
def file(tmp_path, monkeypatch):
    """An empty place for the file."""
    file = tmp_path / "tuning.json"
    monkeypatch.setenv("JAXCONV_TUNING_FILE", str(file))
    _tuning.forget()
    yield file
    _tuning.forget()


def tune(tmp_path, *shape, **options):
    config = benchmark.Config(
        tune=True, shape=shape, repeats=1, output_dir=tmp_path, malloc_tuning=False, **options
    )
    return benchmark.main(config)


def choice(shape, slot, dtype="float32"):
    case = shapes.parse(shape)
    sizes = case.n, case.c, case.o
    return _tuning.choice(slot, single.geometry_of(case), sizes, dtype, "cpu")


def test_round_trip(file, tmp_path, capsys):
    record = tune(tmp_path, *SHAPES)
    assert record["file"] == str(file)
    assert len(json.loads(file.read_text())["choices"]) == 6
    for row in record["tune"]:
        slot = {"F": "y", "DX": "x", "DW": "k"}[row["corner"]]
        case = shapes.parse(row["case"])
        assert set(row["seconds"]) == {*single.applicable(slot, case)} - {"fourier"}
        assert row["errors"] == {}
        fastest = min(row["seconds"], key=lambda name: row["seconds"][name]["median"])
        assert choice(row["case"], slot) == row["fastest"] == fastest
        assert choice(row["case"], slot, "float64") is None
    out = capsys.readouterr().out
    assert str(file) in out
    assert len(out.splitlines()) == 7


def test_wrong_algorithm_is_not_remembered(file, tmp_path, monkeypatch, capsys):
    direct, strips = algorithms.ALGORITHMS["direct"], algorithms.ALGORITHMS["strips"]
    wrong = strips | {"x": lambda k, y, **options: 0 * direct["x"](k, y, **options)}
    monkeypatch.setitem(algorithms.ALGORITHMS, "strips", wrong)
    record = tune(tmp_path, SHAPES[0])
    assert "wrong" in record["tune"][1]["errors"]["strips"]
    assert choice(SHAPES[0], "x") not in (None, "strips")
    assert "strips: wrong" in capsys.readouterr().out


def test_file_that_cannot_be_written(file, tmp_path):
    (tmp_path / "a_file").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXCONV_TUNING_FILE", str(tmp_path / "a_file" / "tuning.json"))
        with pytest.raises(ValueError, match="cannot write the tuning file"):
            tune(tmp_path, SHAPES[1])
