"""What is counted of the answers, and how it is printed."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..peers import CRASHES, PASSES, WRONG

# Kinds of gradients, the verdict that each should get, and words for the two others.
KINDS = {
    "right": (PASSES, {WRONG: "false alarm", CRASHES: "crash"}),
    "slip": (WRONG, {PASSES: "missed", CRASHES: "crash"}),
    "fault of JAX": (WRONG, {PASSES: "missed", CRASHES: "crash"}),
}


def kind(row: Mapping[str, Any]) -> str:
    """What an answer is about."""
    return "slip" if row["slip"] else "fault of JAX" if row["fault"] else "right"


def tally(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, dict[str, int]]:
    """How often a verifier has given each verdict, of each kind of gradient."""
    counts = {kind: dict.fromkeys((PASSES, WRONG, CRASHES), 0) for kind in KINDS}
    for row in rows:
        if name in row["said"]:
            counts[kind(row)][row["said"][name]["verdict"]] += 1
    return counts


def mistakes(rows: Iterable[Mapping[str, Any]], name: str) -> list[str]:
    """What a verifier has got wrong, a line each."""
    found = []
    for row in rows:
        expected, words = KINDS[kind(row)]
        said = row["said"].get(name, {"verdict": expected})
        if said["verdict"] != expected:
            what = ", ".join((row["function"], row["point"], row["dtype"]))
            slip = f": {row['slip']}" if row["slip"] else ""
            error = f": {said['error']}" if said["error"] else ""
            found.append(f"{words[said['verdict']]}: {what}{slip}{error}")
    return found


def print_answers(rows: list[dict[str, Any]], names: Iterable[str]) -> None:
    """The table, a line for each verifier, and the mistakes of each."""
    from ..._tables import print_table, table

    shown = table("verifier", "right: passed", "false alarms", "crashes", "slips: found", "missed",
                  "crashes", "faults of JAX: found", "missed", "crashes", "seconds")  # fmt: skip
    for name in names:
        counts, cells = tally(rows, name), []
        for kind, (expected, others) in KINDS.items():
            cells.append(f"{counts[kind][expected]} of {sum(counts[kind].values())}")
            cells += [str(counts[kind][verdict]) for verdict in others]
        seconds = sum(row["said"][name]["seconds"] for row in rows if name in row["said"])
        shown.add_row(name, *cells, f"{seconds:.0f}")
    functions = {row["function"].partition(",")[0] for row in rows}
    print(f"{len(functions)} functions, {len(rows)} gradients")
    print_table(shown)
    for name in names:
        for mistake in mistakes(rows, name):
            print(f"{name} {mistake}")
    for row in rows:
        if row["fault"]:
            print(
                f"fault of JAX: {row['function']}, {row['point']}, {row['dtype']}: {row['fault']}"
            )
