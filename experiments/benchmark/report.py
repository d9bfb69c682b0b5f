"""Tables of the benchmark's results, and geometric means."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..command_line.tables import print_table, table

Row = dict[str, Any]


def ratio(row: Row, peer: str, ours: str = "jaxconv") -> float | None:
    """The peer's time divided by ours; None if one of the two was not timed."""
    seconds = row["seconds"]
    if peer not in seconds or ours not in seconds:
        return None
    return seconds[peer]["median"] / seconds[ours]["median"]


def summary(rows: Iterable[Row], peers: Sequence[str], ours: str = "jaxconv") -> list[Row]:
    """Geometric means of the ratios to each peer, for each kind of case, mode and contraction."""
    groups: dict[tuple, list[tuple[float, str]]] = {}
    for row in rows:
        for peer in peers:
            found = ratio(row, peer, ours)
            if found is not None:
                key = (row["kind"], row["mode"], row["contraction"], peer)
                groups.setdefault(key, []).append((found, row["case"]))
    return [
        {
            **dict(zip(("kind", "mode", "contraction", "peer"), key, strict=True)),
            "cases": len(found),
            "mean": float(np.exp(np.mean(np.log([value for value, _ in found])))),
            "least": min(found)[0],
            "least_case": min(found)[1],
        }
        for key, found in groups.items()
    ]


def print_times(rows: Sequence[Row], peers: Sequence[str], ours: str = "jaxconv") -> None:
    """Print a line for each row: milliseconds, and the peers' times divided by ours."""
    found = table("case", "contraction", "mode", f"{ours} ms")
    for peer in peers:
        found.add_column(f"{peer} ms", justify="right")
        found.add_column("ratio", justify="right")
    found.add_column("runs", justify="right")
    found.add_column("GFLOP/s", justify="right")
    for row in rows:
        cells = [row["case"], row["contraction"], row["mode"], _milliseconds(row, ours)]
        for peer in peers:
            faster = ratio(row, peer, ours)
            cells += [_milliseconds(row, peer), "" if faster is None else f"{faster:.2f}"]
        runs = [row["seconds"].get(name, {}).get("runs", "-") for name in (ours, *peers)]
        found.add_row(*cells, " ".join(map(str, runs)), _rate(row, ours))
    print_table(found)


def print_summary(means: Sequence[Row]) -> None:
    """Print the geometric means, and the case with the lowest ratio."""
    found = table("mode", "kind", "contraction", "versus")
    for heading in ("cases", "geometric mean", "least", "at"):
        found.add_column(heading, justify="right")
    for mean in means:
        found.add_row(
            mean["mode"],
            mean["kind"],
            mean["contraction"],
            mean["peer"],
            str(mean["cases"]),
            f"{mean['mean']:.2f}",
            f"{mean['least']:.2f}",
            mean["least_case"],
        )
    print_table(found)


def print_errors(rows: Iterable[Row]) -> None:
    """Print a line for each result that was not timed, with the reason."""
    for row in rows:
        for peer, message in row["errors"].items():
            print(f"{row['case']} {row['contraction']} {row['mode']}: {peer}: {message}")


def _milliseconds(row: Row, name: str) -> str:
    if name in row["errors"]:
        return "error"
    if name not in row["seconds"]:
        return ""
    timing = row["seconds"][name]
    spread = (timing["upper"] - timing["lower"]) / 2
    return f"{1e3 * timing['median']:,.2f} ±{1e3 * spread:.2g}"


def _rate(row: Row, ours: str) -> str:
    if ours not in row["seconds"] or "operations" not in row:
        return ""
    return f"{row['operations'] / row['seconds'][ours]['median'] / 1e9:.0f}"
