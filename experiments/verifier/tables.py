"""The verdicts of verifiers, counted and printed."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ..command_line.tables import print_table, table
from .peers import CRASHES, PASSES, WRONG

Row = Mapping[str, Any]


class Kind(NamedTuple):
    """A kind of gradients in a table.

    Attributes:
      heading: Its name in the heading of the table.
      expected: The verdict that each gradient of this kind should get.
      right: The word for that verdict.
      others: The words for the other verdicts.
    """

    heading: str
    expected: str
    right: str
    others: Mapping[str, str]


_WRONG = WRONG, "found", {PASSES: "missed", CRASHES: "crashes"}
CATALOGUE = {
    "wrong": Kind("wrong gradients", *_WRONG),
    "right": Kind("right gradients", PASSES, "passed", {WRONG: "called wrong", CRASHES: "crashes"}),
}
WORLD = {
    "right": Kind("right", PASSES, "passed", {WRONG: "false alarms", CRASHES: "crashes"}),
    "slip": Kind("slips", *_WRONG),
    "fault": Kind("faults of JAX", *_WRONG),
}


def of_catalogue(row: Row) -> tuple[str, str]:
    """The kind of a row of the catalogue, and its description."""
    return "right" if row["is_right"] else "wrong", f"{row['family']}, {row['case']}"


def of_world(row: Row) -> tuple[str, str]:
    """The kind of a row of the world, and its description."""
    kind = "slip" if row["slip"] else "fault" if row["fault"] else "right"
    what = ", ".join((row["function"], row["point"], row["dtype"]))
    return kind, what + (f": {row['slip']}" if row["slip"] else "")


def tally(
    rows: Iterable[Row],
    name: str,
    kinds: Mapping[str, Kind] = CATALOGUE,
    describe: Callable[[Row], tuple[str, str]] = of_catalogue,
) -> dict[str, dict[str, int]]:
    """The number of each verdict that a verifier has given, by kind of gradient."""
    counts = {kind: dict.fromkeys((PASSES, WRONG, CRASHES), 0) for kind in kinds}
    for row in rows:
        if name in row["said"]:
            counts[describe(row)[0]][row["said"][name]["verdict"]] += 1
    return counts


def mistakes(
    rows: Iterable[Row],
    name: str,
    kinds: Mapping[str, Kind],
    describe: Callable[[Row], tuple[str, str]],
) -> Counter[str]:
    """What a verifier has got wrong, and how often."""
    found: Counter[str] = Counter()
    for row in rows:
        kind, what = describe(row)
        said = row["said"].get(name)
        if said is not None and said["verdict"] != kinds[kind].expected:
            error = f": {said['error']}" if said["error"] else ""
            found[f"{kinds[kind].others[said['verdict']]}: {what}{error}"] += 1
    return found


def print_answers(
    rows: list[Row],
    names: Iterable[str],
    kinds: Mapping[str, Kind],
    describe: Callable[[Row], tuple[str, str]],
) -> None:
    """Print the table, a line for each verifier, and then what each has got wrong."""
    headings = [
        heading
        for kind in kinds.values()
        for heading in (f"{kind.heading}: {kind.right}", *kind.others.values())
    ]
    shown = table("verifier", *headings)
    for name in names:
        counts, cells = tally(rows, name, kinds, describe), []
        for key, kind in kinds.items():
            cells.append(f"{counts[key][kind.expected]} of {sum(counts[key].values())}")
            cells += [str(counts[key][verdict]) for verdict in kind.others]
        shown.add_row(name, *cells)
    print_table(shown)
    for name in names:
        for mistake, count in mistakes(rows, name, kinds, describe).items():
            print(f"{name} {mistake}" + (f" ({count} seeds)" if count > 1 else ""))
