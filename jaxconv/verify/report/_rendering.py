"""A report as text, as HTML, as a dict for JSON, and for a terminal."""

import html
import math
from collections.abc import Iterator
from typing import Any

from ._contents import Contents, Failure

# How many subgradients and non-finite elements a text lists.
LISTED = 5


def as_text(report: Contents) -> str:
    """The report as plain text."""
    lines = [_verdict(report)]
    lines += [f"  {line}" for line in _facts(report)]
    for failure in report.failures:
        lines += ["", f"  {_title(failure)}"]
        lines += [f"    {line}" for line in _explained(failure)]
    return "\n".join(lines)


def as_rich(report: Contents) -> Any:
    """The report for a terminal: a coloured verdict, a table of facts, a panel for each failure."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    colour = "green" if report.ok else "red"
    parts: list[Any] = [Text(_verdict(report), style=f"bold {colour}")]
    table = Table(box=None, show_header=False, pad_edge=False)
    for line in _facts(report):
        name, _, rest = line.partition("  ")
        table.add_row(Text(name, style="bold"), Text(rest.strip()))
    parts.append(table)
    for failure in report.failures:
        body = Text("\n".join(_explained(failure)))
        parts.append(
            Panel(body, title=Text(_title(failure)), title_align="left", border_style="red")
        )
    return Group(*parts)


def as_html(report: Contents) -> str:
    """The report for a notebook."""
    colour = "#1a7f37" if report.ok else "#c62828"
    rows = []
    for line in _facts(report):
        name, _, rest = line.partition("  ")
        rows.append(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
            f"<td style='text-align:left'>{html.escape(rest.strip())}</td></tr>"
        )
    parts = [
        f"<p style='color:{colour}'><b>{html.escape(_verdict(report))}</b></p>",
        f"<table>{''.join(rows)}</table>",
    ]
    for failure in report.failures:
        lines = "<br>".join(html.escape(line) for line in _explained(failure))
        parts.append(f"<p><b>{html.escape(_title(failure))}</b><br>{lines}</p>")
    return "".join(parts)


def as_dict(report: Contents) -> dict[str, Any]:
    """The report without its arrays. NaN and infinity, which JSON does not have, are strings."""
    return {
        "function": report.function,
        "ok": report.ok,
        "arguments": list(report.arguments),
        "truth": report.truth,
        "failures": [
            _plain(vars(f) | {"worst": [vars(e) for e in f.worst]}) for f in report.failures
        ],
        "modes": [dict(vars(mode)) for mode in report.modes],
        "taylor": _plain(dict(report.taylor)),
        "subgradients": [_plain(vars(s)) for s in report.subgradients],
        "nonfinite": list(report.nonfinite),
        "seconds": report.seconds,
    }


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _verdict(report):
    if report.ok:
        return f"{report.function}: the gradient is right"
    names = dict.fromkeys(n for failure in report.failures for n in failure.argument.split(", "))
    return f"{report.function}: the gradient is wrong: {', '.join(names)}"


def _facts(report) -> Iterator[str]:
    """The facts about the check, one per line: a name, two spaces and the fact."""
    yield f"arguments  {', '.join(report.arguments)}"
    yield f"truth      {report.truth}"
    by_status: dict[str, list[str]] = {}
    for mode in report.modes:
        by_status.setdefault(mode.status, []).append(mode.name)
    for status, names in by_status.items():
        yield f"{status:<9}  {', '.join(names)}"
    if report.taylor:
        slopes = (
            f"{name} {'exact' if slope is None else format(slope, '.2f')}"
            for name, slope in report.taylor.items()
        )
        yield f"Taylor     order of the remainder, 2 if the gradient is right: {', '.join(slopes)}"
    if report.subgradients:
        shown = ", ".join(
            f"{s.argument}{list(s.index)} = {s.reported:.4g} in [{s.low:.4g}, {s.high:.4g}]"
            for s in report.subgradients[:LISTED]
        )
        count = len(report.subgradients)
        yield f"kinks      accepted subgradients ({count}): {shown}{_more(report.subgradients)}"
    if report.nonfinite:
        shown = ", ".join(report.nonfinite[:LISTED])
        yield f"not finite  {shown}{_more(report.nonfinite)}"
    yield f"duration   {report.seconds:.1f} s"


def _more(items):
    return ", ..." if len(items) > LISTED else ""


def _title(failure: Failure) -> str:
    return f"{failure.argument}, {failure.mode} mode: {failure.diagnosis}"


def _explained(failure: Failure) -> Iterator[str]:
    if failure.evidence:
        yield failure.evidence
    if failure.where:
        yield f"wrong: {failure.where}; relative error {failure.relative_error:.2g}"
    if failure.also:
        yield f"also wrong in: {', '.join(failure.also)}"
    for element in failure.worst:
        yield f"{failure.argument}{element}"
