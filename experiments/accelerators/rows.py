"""The rows of the table: each workload compiled for a target, ours beside autodiff's."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..command_line.notes import first_line
from .kernels import counted
from .roofline import Estimate, estimate
from .targets import Target
from .workloads import CORNERS, PEERS, Workload

Row = dict[str, Any]
ENOUGH = 0.97  # a row with a lower ratio is listed


def estimates(workload: Workload, dtype: str, target: Target) -> dict[str, Estimate | str]:
    """The estimate of each peer's program, or why it did not compile."""
    found: dict[str, Estimate | str] = {}
    for peer in PEERS:
        try:
            compiled = workload.compiled(peer, dtype, target.mesh)
        except Exception as error:  # the compiler's, of whatever kind: the other rows still count
            found[peer] = first_line(error)
        else:
            found[peer] = estimate(compiled, target.rates, target.platform, target.mesh.size)
    return found


def row(workload: Workload, dtype: str, target: Target) -> Row:
    """What the two programs of a workload do, as JSON can hold it."""
    of_peers = estimates(workload, dtype, target)
    programs = {
        peer: {
            "seconds": found.seconds,
            "bytes": found.moved,
            "temporary": found.temporary,
            "kernels": counted(found.kernels),
        }
        for peer, found in of_peers.items()
        if isinstance(found, Estimate)
    }
    errors = {peer: found for peer, found in of_peers.items() if isinstance(found, str)}
    return {
        "case": workload.case,
        "corner": workload.corner,
        "dtype": dtype,
        "target": target.name,
        "programs": programs,
        "errors": errors,
        "ratio": None if errors else ratio(programs, "seconds"),
    }


def ratio(programs: Row, what: str) -> float:
    """Autodiff's number divided by ours; 1 if both are zero."""
    theirs, ours = (programs[peer][what] for peer in PEERS)
    return theirs / ours if ours else (1.0 if not theirs else float("inf"))


def summary(found: Iterable[Row]) -> list[Row]:
    """For each corner and dtype the geometric mean of the ratios, the least, and the rows below."""
    compiled = [row for row in found if row["ratio"] is not None]
    groups = dict.fromkeys((row["corner"], row["dtype"]) for row in compiled)
    lines = []
    for corner, dtype in sorted(groups, key=lambda group: (CORNERS.index(group[0]), group[1])):
        here = [row for row in compiled if (row["corner"], row["dtype"]) == (corner, dtype)]
        ratios = [row["ratio"] for row in here]
        lines.append(
            {
                "corner": corner,
                "dtype": dtype,
                "cases": len(here),
                "mean": float(np.exp(np.mean(np.log(ratios)))),
                "least": min(ratios),
                "below": {row["case"]: row["ratio"] for row in here if row["ratio"] < ENOUGH},
            }
        )
    return lines
