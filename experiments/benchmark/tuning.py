"""`--tune`: time jaxconv's algorithms against each other, and have later runs use the fastest.

Algorithms that run only where a call names them, as `fourier`, are left out. The file that is
written, and how it is read, is the library's business: `jaxconv.algorithms._tuning`.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import algorithms
from jaxconv.algorithms import _tuning

from .cases import Conv
from .checks import mismatch, terms
from .ops import timed
from .peers import CORNERS, compiled, operands
from .single import filler, geometry_of
from .timing import Machine, Program

Row = dict[str, Any]
SINGLE = ("F", "DX", "DW")


def rows(cases: Iterable[Conv], *, repeats: int, dtype: str, machine: Machine) -> Iterator[Row]:
    """For each case and corner the seconds of every algorithm that applies."""
    for case in cases:
        arrays = tuple(jnp.asarray(array, dtype) for array in operands(case))
        for corner in SINGLE:
            programs, errors = _programs(case, corner, arrays, dtype)
            row = timed(programs, repeats, machine) | {"errors": errors}
            seconds = {name: timing["median"] for name, timing in row["seconds"].items()}
            names = {"case": case.name, "corner": corner, "mode": "entry"}
            yield names | row | {"fastest": min(seconds, key=lambda name: seconds[name])}


def _programs(case: Conv, corner: str, arrays, dtype: str) -> tuple[dict[str, Program], Row]:
    """The programs that agree with the direct convolution, and what is wrong with the others."""
    make = partial(compiled, arguments=arrays, mode="entry")
    programs = {"direct": make(filler("direct", case, CORNERS[corner]))}
    expected = programs["direct"].arrays(programs["direct"].run())
    errors = {}
    for name in _candidates(CORNERS[corner], case):
        program = make(filler(name, case, CORNERS[corner]))
        wrong = mismatch(program.arrays(program.run()), expected, terms(case, corner), dtype)
        if wrong:
            errors[name] = wrong
        else:
            programs[name] = program
    return programs, errors


def _candidates(slot: str, case: Conv) -> list[str]:
    """The algorithms that may run without being asked for, in a forward pass or in a gradient."""
    problem = algorithms.Problem(slot, geometry_of(case), case.n, case.c, case.o)
    plans = (plan for forward in "xy" for plan in algorithms.plans(problem, forward=forward))
    return list(dict.fromkeys(plan.name for plan in plans))


def remember(cases: Iterable[Conv], rows: Iterable[Row], dtype: str):
    """Write the fastest algorithm of each row; returns the file's path."""
    by_name = {case.name: case for case in cases}
    platform = jax.default_backend()

    def key(row: Row) -> _tuning.Key:
        case = by_name[row["case"]]
        sizes = case.n, case.c, case.o
        return _tuning.Key(CORNERS[row["corner"]], geometry_of(case), sizes, dtype, platform)

    return _tuning.remember((key(row), row["fastest"]) for row in rows)


def print_table(rows: Iterable[Row]) -> None:
    """A line a corner: its algorithms, the fastest first, in milliseconds."""
    for row in rows:
        seconds = sorted((t["median"], name) for name, t in row["seconds"].items())
        times = "  ".join(f"{name} {1e3 * median:,.2f}" for median, name in seconds)
        print(f"{row['case']}  {row['corner']}  {times}")
        for name, message in row["errors"].items():
            print(f"{row['case']}  {row['corner']}  {name}: {message}")
