"""The command `compile`: a table, JSON and a figure of programs for devices that need not exist."""

import argparse
from typing import Any

from ..benchmark import shapes
from ..command_line.errors import require
from ..command_line.files import write_figure, write_json
from ..command_line.progress import progress
from . import report
from .rows import Row, estimates, row, summary
from .targets import Target, target
from .workloads import Workload, matching, models, workloads


def run(options: argparse.Namespace) -> int:
    """Compile, print and write what the options ask for; return the exit status."""
    chosen = _chosen(options)
    targets = [target(name) for name in options.target]
    if options.explain:
        _explain(chosen, options.dtypes, targets)
        return 0
    rows: list[Row] = []
    record: dict[str, Any] = {"rows": rows, "summary": {}}
    todo = [(goal, *which) for goal in targets for which in _in_dtypes(chosen, options.dtypes)]
    with progress("compiling", len(todo)) as compiled:
        for goal, workload, dtype in todo:
            rows.append(row(workload, dtype, goal))
            if options.output:  # after each row: the whole may take an hour
                write_json(options.output, record)
            compiled(f"{goal.name} {workload.case} {workload.corner} {dtype}")
    for goal in targets:
        here = [row for row in rows if row["target"] == goal.name]
        print(f"{goal.name}: {goal.mesh.size} × {goal.kind}, estimates")
        report.print_rows(here)
        record["summary"][goal.name] = summary(here)
        report.print_summary(record["summary"][goal.name])
    if options.output:
        write_json(options.output, record)
    if options.figure:
        from .figure import ratios  # Matplotlib takes a second to import

        write_figure(options.figure, ratios(rows))
    return int(any(row["errors"] for row in rows))


def _chosen(options: argparse.Namespace) -> list[Workload]:
    """The workloads that the options name. With --shape or --explain, --cases has no default."""
    of_models = options.suite == "models"
    named = models if of_models else matching
    own = [shapes.parse(text) for text in options.shape]
    require(not (own and of_models), "--shape is a convolution, and --suite models has models.")
    patterns = options.explain or options.cases or ([] if own else ["*"])
    for pattern in patterns:
        require(bool(named([pattern])), f"no case of --suite {options.suite} is called {pattern}.")
    chosen = workloads(own, (), ()) + named(patterns)
    require(
        bool(_in_dtypes(chosen, options.dtypes)),
        f"--suite {options.suite} computes in {chosen[0].dtypes[0]}.",
    )
    return chosen


def _in_dtypes(chosen: list[Workload], dtypes: list[str]) -> list[tuple[Workload, str]]:
    """Each workload with each of the dtypes that it can be made in."""
    return [
        (workload, dtype) for workload in chosen for dtype in dtypes if dtype in workload.dtypes
    ]


def _explain(chosen: list[Workload], dtypes: list[str], targets: list[Target]) -> None:
    for goal in targets:
        for workload, dtype in _in_dtypes(chosen, dtypes):
            title = f"{goal.name}: {workload.case}, {workload.corner}, {dtype}"
            report.print_schedules(title, estimates(workload, dtype, goal), goal)
