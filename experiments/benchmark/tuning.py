"""`--tune`: time jaxconv's algorithms against each other, and write the fastest to a file.

Algorithms that run only where a call names them, such as `fourier`, are left out. The file holds a
`jaxconv.algorithms.tuning.Tuning`, whose documentation says how to use it.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import tuning

from .cases import Conv
from .checks import mismatch, terms
from .ops import timed
from .peers import CONTRACTIONS, compiled, operands
from .single import filler, problem_of
from .timing import Machine, Program

Row = dict[str, Any]
SINGLE = ("F", "DX", "DW")


def rows(cases: Iterable[Conv], *, repeats: int, dtype: str, machine: Machine) -> Iterator[Row]:
    """For each case and contraction the seconds of every algorithm that applies."""
    for case in cases:
        arrays = tuple(jnp.asarray(array, dtype) for array in operands(case))
        for contraction in SINGLE:
            programs, errors = _programs(case, contraction, arrays, dtype)
            row = timed(programs, repeats, machine) | {"errors": errors}
            seconds = {name: timing["median"] for name, timing in row["seconds"].items()}
            names = {"case": case.name, "contraction": contraction, "mode": "entry"}
            yield names | row | {"fastest": min(seconds, key=lambda name: seconds[name])}


def _programs(case: Conv, contraction: str, arrays, dtype: str) -> tuple[dict[str, Program], Row]:
    """The programs that agree with the direct convolution, and the errors of the others."""
    make = partial(compiled, arguments=arrays, mode="entry")
    programs = {"direct": make(filler("direct", case, CONTRACTIONS[contraction]))}
    expected = programs["direct"].arrays(programs["direct"].run())
    errors = {}
    for name in _candidates(CONTRACTIONS[contraction], case):
        program = make(filler(name, case, CONTRACTIONS[contraction]))
        wrong = mismatch(program.arrays(program.run()), expected, terms(case, contraction), dtype)
        if wrong:
            errors[name] = wrong
        else:
            programs[name] = program
    return programs, errors


def _candidates(slot: str, case: Conv) -> list[str]:
    """The algorithms that may run without being asked for, in a forward pass or in a gradient."""
    problem = problem_of(slot, case)
    plans = (
        plan
        for forward in (Slot.INPUT, Slot.OUTPUT)
        for plan in algorithms.plans(problem, forward=forward)
    )
    return list(dict.fromkeys(plan.name for plan in plans))


def save(cases: Iterable[Conv], rows: Iterable[Row], dtype: str, path: Path) -> None:
    """Write the fastest algorithm of each row to a file, beside what was measured here before.

    A file that was measured on another machine, or with another jaxlib, is replaced, and so is one
    that can't be read.

    Raises:
      OSError: The file can't be written.
    """
    by_name = {case.name: case for case in cases}
    platform = jax.default_backend()

    def key(row: Row) -> tuning.Key:
        problem = problem_of(CONTRACTIONS[row["contraction"]], by_name[row["case"]])
        return tuning.Key(problem._replace(dtype=np.dtype(dtype)), platform)

    here, before = tuning.Machine.here(), None
    with suppress(OSError, ValueError):
        before = tuning.Tuning.load(path)
    if before is None or before.machine != here:
        before = tuning.Tuning(here, onednn=not algorithms.cpu.probe_onednn())
    before.updated((key(row), row["fastest"]) for row in rows).save(path)


def print_table(rows: Iterable[Row]) -> None:
    """Print a line for each contraction: its algorithms in milliseconds, the fastest first."""
    for row in rows:
        seconds = sorted((t["median"], name) for name, t in row["seconds"].items())
        times = "  ".join(f"{name} {1e3 * median:,.2f}" for median, name in seconds)
        print(f"{row['case']}  {row['contraction']}  {times}")
        for name, message in row["errors"].items():
            print(f"{row['case']}  {row['contraction']}  {name}: {message}")


def ablation(cases: Iterable[Conv], rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """What each algorithm gains, by family of the cases.

    That is how many times as long the fastest of the others takes, where the algorithm is the
    fastest, and 1 elsewhere: the geometric mean over a family's rows.
    """
    families = {case.name: case.family for case in cases}
    gains: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        seconds = {name: timing["median"] for name, timing in row["seconds"].items()}
        for name, own in seconds.items():
            others = (s for other, s in seconds.items() if other != name)
            family = f"{families[row['case']]} {row['contraction']}"
            gain = max(1.0, min(others, default=own) / own)
            gains.setdefault(name, {}).setdefault(family, []).append(gain)
    return {
        name: {family: float(np.exp(np.log(found).mean())) for family, found in of_name.items()}
        for name, of_name in gains.items()
    }


def print_ablation(gains: dict[str, dict[str, float]]) -> None:
    """Print a line for each algorithm: the families in which it gains a hundredth or more."""
    print("Without an algorithm a family of cases would take so many times as long:")
    for name, of_name in sorted(gains.items(), key=lambda found: -max(found[1].values())):
        found = sorted(((gain, family) for family, gain in of_name.items()), reverse=True)
        told = "  ".join(f"{family} {gain:.2f}" for gain, family in found if gain >= 1.01)
        print(f"{name}: {told or 'no less'}")
