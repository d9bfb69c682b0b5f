"""How the verdicts of `jaxconv.verify` depend on each of its constants.

Every case is checked again with one constant of jaxconv/verify/_constants.py multiplied or divided
by 4. A check that never reads a constant does not depend on it and is not repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from jaxconv.verify import _constants

from ..command_line.progress import progress
from ..command_line.tables import print_table, table
from .cases import Case
from .peers import CRASHES, PASSES, WRONG, ask, ours

FACTOR = 4

# The limits of some constants. A factor of 1 would make no smaller steps, and an extrapolation with
# an error estimate takes four steps.
LIMITS: dict[str, tuple[float, float]] = {
    "STEP_FACTOR": (2, 64),
    "STEP_COUNT": (4 + _constants.SKIPPED_OF_COORDINATES, 64),
    "STEP_COUNT_OF_LARGE": (4 + _constants.SKIPPED_OF_COORDINATES, 64),
    "SKIPPED_OF_COORDINATES": (0, _constants.STEP_COUNT - 4),
    "SKIPPED_OF_LARGE": (0, _constants.STEP_COUNT - 4 - _constants.SKIPPED_OF_COORDINATES),
}
# What is counted, in the order of the columns of the table.
COUNTED = ("missed", "false alarms", "crashes", "other words")


def constants() -> dict[str, float]:
    """The public constants of jaxconv/verify/_constants.py and their values."""
    return {name: value for name, value in vars(_constants).items() if name.isupper()}


def variations(name: str) -> dict[str, float]:
    """The values that a constant is set to, by name; integers stay integers."""
    value = constants()[name]
    least, most = LIMITS.get(name, (0 if isinstance(value, float) else 1, float("inf")))
    changed = {f"× {FACTOR}": value * FACTOR, f"÷ {FACTOR}": value / FACTOR}
    return {
        how: type(value)(min(max(round(new) if isinstance(value, int) else new, least), most))
        for how, new in changed.items()
    }


@contextmanager
def varied(name: str, value: float) -> Iterator[None]:
    """Set a constant for a while."""
    before = getattr(_constants, name)
    setattr(_constants, name, value)
    try:
        yield
    finally:
        setattr(_constants, name, before)


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The names of the constants that are read in this context."""
    read: set[str] = set()

    class Recorder(ModuleType):
        def __getattribute__(self, name):
            if name.isupper():
                read.add(name)
            return super().__getattribute__(name)

    module: Any = _constants
    module.__class__ = Recorder
    try:
        yield read
    finally:
        module.__class__ = ModuleType


def measure(
    chosen: Sequence[tuple[Case, bool]], seeds: Sequence[int], names: Sequence[str], modes: str
) -> dict[str, Any]:
    """Vary each constant over the cases, and print the table.

    Args:
      chosen: The cases, each with whether its gradient is right.
      seeds: The seeds of the arguments.
      names: The names of the constants.
      modes: As in `ask`.

    Returns:
      For each constant its value, the number of checks that read it, and for each variation the new
      value and the counts; and the counts without variation.
    """
    asked = {name: variations(name) for name in names}
    found = {
        name: {
            "value": constants()[name],
            "read": 0,
            "varied": {how: {"value": new} | _none() for how, new in ways.items()},
        }
        for name, ways in asked.items()
    }
    as_they_are = _none()
    with progress("constants", len(seeds) * len(chosen)) as report:
        for seed in seeds:
            for case, is_right in chosen:
                with recorded() as read:
                    usual = _judged(ask(ours, case, seed, modes), case, is_right)
                _count(as_they_are, usual)
                for name, ways in asked.items():
                    found[name]["read"] += name in read
                    for how, new in ways.items():
                        judged = usual
                        if name in read:
                            with varied(name, new):
                                judged = _judged(ask(ours, case, seed, modes), case, is_right)
                        _count(found[name]["varied"][how], judged)
                report(f"{case.family}: {case.name}")
    wrong = len(seeds) * sum(not is_right for _, is_right in chosen)
    record = {
        "seeds": list(seeds),
        "modes": modes,
        "wrong": wrong,
        "right": len(seeds) * len(chosen) - wrong,
        "as they are": as_they_are,
        "constants": found,
    }
    _print(record)
    return record


def _none():
    return dict.fromkeys(COUNTED, 0)


def _judged(answer, case, is_right):
    """What an answer counts as; None if it is as it should be."""
    if answer.verdict == CRASHES:
        return "crashes"
    if answer.verdict == (WRONG if is_right else PASSES):
        return "false alarms" if is_right else "missed"
    return None if case.diagnosis in answer.error else "other words"


def _count(counts, judged):
    if judged is not None:
        counts[judged] += 1


def _print(record: Mapping[str, Any]) -> None:
    counts = ", ".join(f"{count} {what}" for what, count in record["as they are"].items())
    print(f"{record['wrong']} wrong gradients and {record['right']} right ones")
    print(f"with the constants as they are: {counts}")
    shown = table("constant", "read by", "is", "becomes", *COUNTED)
    for name, of_name in record["constants"].items():
        for variation in of_name["varied"].values():
            shown.add_row(
                name,
                str(of_name["read"]),
                f"{of_name['value']:g}",
                f"{variation['value']:g}",
                *(str(variation[counted]) for counted in COUNTED),
            )
    print_table(shown)
