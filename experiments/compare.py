"""One table and one figure of several runs.

    python -m experiments.compare runs/*
    python -m experiments.compare runs/classifier-001 runs/classifier-004/standard
    python -m experiments.compare runs/* --metric test_loss --output losses.png

A folder is that of a run, with its config.json and metrics.csv, or holds runs. For each seed, the
best epoch is the one with the best validation value, and the test value is that of the same epoch:
an epoch chosen by test images would favour long runs. Several seeds give mean ± standard deviation.
Only the options in which the runs differ are shown.
"""

import difflib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

from .command_line import UserError, make_output_dir, note, require, run, write_figure
from .command_line.tables import number, print_table, table
from .training.records import Entry, read_config, read_metrics, runs_in

_SPLITS = ("train_", "validation_", "test_")
_MEASURES = ("accuracy", "nats", "mse", "loss")  # a run is compared by the first that it has
# Options that do not affect the result, and `epochs`, which has a column.
_NOT_COMPARED = frozenset(
    {
        *("data_dir", "cache_dir", "output_dir", "checkpoint_epochs", "checkpoint_seconds", "keep"),
        *("resume", "profile", "export", "epochs"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compare runs: a table, and a figure of their learning curves."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()  # runs, or folders that hold runs
    metric: str | None = None  # column of metrics.csv; default: test_accuracy, _nats or _mse
    output: Path | None = None  # the figure; default: compare.png beside the runs


class Run(NamedTuple):
    """A run as its folder describes it."""

    label: str
    config: dict[str, Any]
    histories: list[list[Entry]]  # of each seed, an entry an epoch
    metric: str  # the metric that it is compared by, such as "test_accuracy"

    def values(self, name: str) -> np.ndarray:
        """A metric `(seeds, epochs)`."""
        return np.array([[entry[name] for entry in history] for history in self.histories])

    @property
    def measure(self) -> str:
        """The metric without the split, such as "accuracy"."""
        return next((self.metric[len(s) :] for s in _SPLITS if self.metric.startswith(s)), "")


def main(config: Config) -> list[dict[str, Any]]:
    """Print the table and write the figure; return the rows of the table.

    Raises:
      UserError: No folder holds a run, or none has the metric.
    """
    require(bool(config.folders), "expected folders of runs: compare runs/*")
    runs = read(config.folders, config.metric)
    rows = [summary(each) for each in runs]
    options = differing_options(runs)
    for row, each in zip(rows, runs, strict=True):
        row["options"] = {name: _settings(each).get(name, "") for name in options}
    print_rows(rows, options)
    file = _beside(config.folders) if config.output is None else config.output
    save_figure(runs, file)
    return rows


def read(folders: Sequence[Path], metric: str | None) -> list[Run]:
    """The runs in these folders. If some cannot be read, notes name them."""
    found = list(dict.fromkeys(each for folder in folders for each in runs_in(folder)))
    # runs/* may match the figure of an earlier comparison: files are ignored.
    problems = [
        f"{folder} holds no run"
        for folder in folders
        if not folder.is_file() and not runs_in(folder)
    ]
    runs, metrics = [], set()
    labels = _labels(found)
    for folder in found:
        try:
            if not (folder / "metrics.csv").exists():
                raise UserError(f"{folder} has no epoch yet")
            settings, histories = read_config(folder), read_metrics(folder)
        except UserError as error:
            problems.append(str(error).removesuffix("."))
            continue
        there = [name for name in histories[0][0] if name.startswith(_SPLITS)]
        metrics.update(there)
        judged_by = metric or next(f"test_{m}" for m in _MEASURES if f"test_{m}" in there)
        if judged_by in there:
            runs.append(Run(labels[folder], settings, histories, judged_by))
        else:
            problems.append(f"{folder} has no {metric}")
    if metric is not None and metrics and metric not in metrics:
        near = difflib.get_close_matches(metric, metrics, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(
            f"--metric must be one of {', '.join(sorted(metrics))}, got {metric}{meant}."
        )
    if not runs:
        expected = "expected folders with config.json and metrics.csv, as training leaves in runs/"
        raise UserError(f"{'; '.join(problems) or 'no folder among these'}: {expected}.")
    for problem in problems:
        note(problem)
    return runs


def summary(each: Run) -> dict[str, Any]:
    """A row of the table. Values are arrays with an element for each seed."""
    validation = each.values(f"validation_{each.measure}")
    test = each.values(f"test_{each.measure}")
    sign = -1 if each.measure == "accuracy" else 1
    best = np.argmin(sign * validation, axis=1)[:, None]
    return {
        "run": each.label,
        "experiment": each.config.get("experiment", ""),
        "measure": each.measure,
        "epochs": validation.shape[1],
        "last_validation": validation[:, -1],
        "best_validation": np.take_along_axis(validation, best, axis=1)[:, 0],
        "test": np.take_along_axis(test, best, axis=1)[:, 0],
        # The median, because other programs may slow down single epochs.
        "seconds": float(np.median(each.values("seconds"))),
    }


def differing_options(runs: Sequence[Run]) -> list[str]:
    """The names of the options that differ between the runs that have them."""
    values: dict[str, set[str]] = {}
    for each in runs:
        for name, value in _settings(each).items():
            values.setdefault(name, set()).add(json.dumps(value))
    return [name for name, all_of_them in values.items() if len(all_of_them) > 1]


def _settings(each: Run) -> dict[str, Any]:
    """The options of a run, and its device, on which the times depend."""
    device = each.config.get("environment", {}).get("device")
    options = {k: v for k, v in each.config["options"].items() if k not in _NOT_COMPARED}
    return options | {"device": device}


def print_rows(rows: Sequence[dict[str, Any]], options: Sequence[str]) -> None:
    found = table("run", "experiment", "measure")
    for heading in ("epochs", "last validation", "best validation", "test at best", "s/epoch"):
        found.add_column(heading, justify="right")
    for column in found.columns:
        column.no_wrap = True
    for name in options:  # long values continue in the next line
        found.add_column(name, overflow="fold")
    for row in rows:
        figures = (row[name] for name in ("last_validation", "best_validation", "test"))
        found.add_row(
            *(row["run"], row["experiment"], row["measure"], str(row["epochs"])),
            *(_spread(values, row["measure"]) for values in figures),
            f"{row['seconds']:.3g}",
            *(_plain(row["options"][name]) for name in options),
        )
    print_table(found)


def _spread(values: np.ndarray, measure: str) -> str:
    scale, digits, unit = (100, 2, " %") if measure == "accuracy" else (1, 4, "")
    mean = scale * values.mean()
    if measure != "accuracy" and abs(mean) >= 10:
        digits = 2
    shown = number(mean, digits)
    if len(values) > 1:
        shown += f" ± {number(scale * values.std(ddof=1), digits)}"
    return shown + unit


def _plain(value: Any) -> str:
    return "-" if value is None else str(value)


def save_figure(runs: Sequence[Run], file: Path) -> None:
    from .pictures.curves import compared  # Matplotlib takes a second to import

    panels: dict[str, dict[str, Any]] = {}
    fractions = set()
    for each in runs:
        title, values = each.metric.replace("_", " "), each.values(each.metric)
        if each.measure == "accuracy":  # a logarithmic axis separates 99 % and 99.5 %
            title, values = title.replace("accuracy", "error"), 1 - values
            fractions.add(title)
        panels.setdefault(title, {})[each.label] = values
    make_output_dir(file.parent)
    write_figure(file, compared(panels, fractions=sorted(fractions)))
    print(f"learning curves: {file}")


def _labels(folders: Sequence[Path]) -> dict[Path, str]:
    """The paths without their common part."""
    if not folders:
        return {}
    above = os.path.commonpath([folder.absolute().parent for folder in folders])
    return {folder: str(folder.absolute().relative_to(above)) for folder in folders}


def _beside(folders: Sequence[Path]) -> Path:
    """The file of the figure, in the folder that holds the runs."""
    folder = Path(os.path.commonpath([folder.absolute() for folder in folders]))
    if (folder / "config.json").exists():
        folder = folder.parent
    here = Path.cwd()
    return (folder.relative_to(here) if folder.is_relative_to(here) else folder) / "compare.png"


if __name__ == "__main__":
    run(main, Config)
