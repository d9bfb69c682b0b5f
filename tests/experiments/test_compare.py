"""The comparison of runs: table, figure, and notes on folders that cannot be read."""

import numpy as np
import pytest

from experiments import compare
from experiments.command_line import UserError, run
from experiments.compare import Config
from experiments.training.records import Records


def write(folder, histories, *, measure="accuracy", experiment="classifier", **options):
    """Write the folder of a run. `histories` has pairs (validation, test) for each seed."""
    options = {"seeds": len(histories), "epochs": 9, "output_dir": str(folder)} | options
    records = Records(folder, {"experiment": experiment, "name": folder.name, "options": options})
    records.write(
        [
            [
                {
                    "epoch": epoch + 1,
                    "seconds": 2.0 + epoch,
                    "train_loss": 1.0,
                    f"validation_{measure}": validation,
                    f"test_{measure}": test,
                    "validation_loss": 0.5,
                    "test_loss": 0.25,
                }
                for epoch, (validation, test) in enumerate(entries)
            ]
            for entries in histories
        ]
    )
    records.close()
    return folder


@pytest.fixture
def two_runs(tmp_path):
    """Two runs. The first has two seeds with different best epochs."""
    first = write(
        tmp_path / "runs" / "a" / "standard",
        [[(0.7, 0.75), (0.9, 0.8), (0.8, 0.99)], [(0.5, 0.4), (0.7, 0.3), (0.8, 0.6)]],
        learning_rate=0.01,
        model="both",
    )
    second = write(
        tmp_path / "runs" / "b" / "modified", [[(0.6, 0.5)]], learning_rate=0.02, model="both"
    )
    return first, second


def test_row_has_the_test_value_at_each_seeds_best_validation_epoch(two_runs, tmp_path):
    first, second = compare.main(Config(folders=(tmp_path / "runs",)))
    assert (first["run"], second["run"]) == ("a/standard", "b/modified")
    assert (first["experiment"], first["measure"], first["epochs"]) == ("classifier", "accuracy", 3)
    np.testing.assert_array_equal(first["last_validation"], [0.8, 0.8])
    np.testing.assert_array_equal(first["best_validation"], [0.9, 0.8])
    np.testing.assert_array_equal(first["test"], [0.8, 0.6])  # not the best one, 0.99
    assert first["seconds"] == 3.0  # the median
    np.testing.assert_array_equal(second["test"], [0.5])
    # What both have in common is not shown, nor where they lie.
    assert first["options"] == {"seeds": 2, "learning_rate": 0.01}
    assert second["options"] == {"seeds": 1, "learning_rate": 0.02}


def test_table_has_mean_and_spread(two_runs, tmp_path, capsys):
    compare.main(Config(folders=two_runs))
    header, first, second, drawn = capsys.readouterr().out.splitlines()
    assert header.split()[-2:] == ["seeds", "learning_rate"]
    # 0.8 and 0.6: their standard deviation is that of two values, 0.1·√2.
    assert "80.00 ± 0.00 %" in first
    assert "85.00 ± 7.07 %" in first
    assert "70.00 ± 14.14 %" in first
    assert second.split()[:4] == ["b/modified", "classifier", "accuracy", "1"]
    assert drawn == f"learning curves: {tmp_path / 'runs' / 'compare.png'}"
    assert (tmp_path / "runs" / "compare.png").stat().st_size > 10_000


def test_errors_are_judged_by_their_least(tmp_path):
    folder = write(
        tmp_path / "tied", [[(0.02, 0.03), (0.01, 0.04), (0.05, 0.001)]], measure="mse",
        experiment="autoencoder",
    )  # fmt: skip
    (row,) = compare.main(Config(folders=(folder,)))
    assert (row["run"], row["measure"]) == ("tied", "mse")
    assert (row["last_validation"], row["best_validation"], row["test"]) == (0.05, 0.01, 0.04)
    assert (tmp_path / "compare.png").exists()  # beside the run, not in it


def test_metric_chooses_what_is_compared_and_drawn(two_runs, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(compare, "save_figure", lambda runs, file: drawn.update({file: runs}))
    (row, _) = compare.main(
        Config(folders=two_runs, metric="validation_loss", output=tmp_path / "x.png")
    )
    assert row["measure"] == "loss"
    np.testing.assert_array_equal(row["test"], [0.25, 0.25])
    (runs,) = drawn.values()
    np.testing.assert_array_equal(runs[1].values(runs[1].metric), [[0.5]])


def test_kinds_of_experiments_stand_in_one_table_and_in_panels_of_their_own(two_runs, tmp_path):
    nats = write(tmp_path / "runs" / "c" / "tied", [[(100.0, 101.0)]], measure="nats", code_size=2)
    runs = compare.read([*two_runs, nats], metric=None)
    assert [each.metric for each in runs] == ["test_accuracy", "test_accuracy", "test_nats"]
    # One run alone has a code size: that does not make it an option in which runs differ.
    assert "code_size" not in compare.differing_options(runs)
    compare.save_figure(runs, tmp_path / "compare.png")


def test_panels_draw_errors_and_keep_a_runs_colour():
    from experiments.pictures.curves import compared

    figure = compared(
        {"test error": {"a": [[0.5, 0.25]], "b": [[0.5], [0.3]]}, "test loss": {"b": [[3.0, 4.0]]}},
        fractions=["test error"],
    )
    errors, losses = figure.axes
    a, b = errors.get_lines()
    (loss,) = losses.get_lines()
    np.testing.assert_allclose(a.get_xydata(), [[1, 0.5], [2, 0.25]])
    np.testing.assert_allclose(b.get_xydata(), [[1, 0.4]])
    assert b.get_color() == loss.get_color() != a.get_color()
    assert errors.yaxis.get_major_formatter()(0.5) == "50 %"
    assert losses.yaxis.get_major_formatter()(3.5) == "3.5"


def test_what_holds_no_run_is_a_note_beside_those_that_do(two_runs, tmp_path, capsys):
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "old.png").touch()  # as a figure of an earlier comparison
    begun, damaged = (tmp_path / "runs" / name / "standard" for name in ("begun", "damaged"))
    Records(begun, {"options": {}})
    write(damaged, [[(0.5, 0.5)]])
    (damaged / "metrics.csv").write_text("seed,epoch\n0,o")
    rows = compare.main(Config(folders=tuple(sorted((tmp_path / "runs").iterdir()))))
    assert [row["run"] for row in rows] == ["a/standard", "b/modified"]
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"note: {tmp_path / 'runs' / 'empty'} holds no run"
    assert second == f"note: {begun} has no epoch yet"
    assert third.startswith(f"note: {damaged} holds no run: cannot read its metrics.csv (could not")


def test_no_run_at_all_is_an_error_in_one_line(tmp_path, capfd):
    with pytest.raises(SystemExit, match="2"):
        run(compare.main, Config, [str(tmp_path)])
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"experiments.compare: error: {tmp_path} holds no run: expected folders with config.json "
        "and metrics.csv, as training leaves in runs/."
    )
    with pytest.raises(UserError, match="expected folders of runs"):
        compare.main(Config())


def test_unknown_metric_suggests_the_near_one(two_runs):
    with pytest.raises(UserError, match=r"got test_acuracy \(did you mean test_accuracy\?\)"):
        compare.main(Config(folders=two_runs, metric="test_acuracy"))
