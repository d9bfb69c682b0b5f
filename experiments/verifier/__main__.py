"""How many wrong gradients verifiers find, and how many right ones they call wrong.

    python -m experiments.verifier
    python -m experiments.verifier --seeds 1 --cases "*tie*" --modes all
    python -m experiments.verifier --sensitivity --seeds 2
    python -m experiments.verifier --world --cases "jax.nn.*"

The cases are those of experiments/verifier/wrong.py and correct.py. Each seed draws other
arguments, and other directions for ours; every verifier gets the same arguments and is asked for
the same order. A verifier that raises anything but its verdict has crashed: it has neither found a
wrong gradient nor called a right one wrong.

With `--sensitivity` ours alone is asked, again and again, with one constant of
jaxconv/verify/_constants.py four times as large or a quarter as large as it is.

With `--world` the functions are those of JAX, Optax and Flax, see experiments/verifier/world, each
with its right gradient and with slips. What is asked is written down answer by answer, and a run
that was interrupted goes on with `--resume`.
"""

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from .._command_line import make_output_dir, require, run
from .._progress import progress


@dataclass(frozen=True)
class Config:
    """Count the wrong gradients that verifiers find, and the right ones that they call wrong.

    All verifiers get the same arguments and are asked for the same order of derivative.
    """

    # how often each gradient is checked, with other arguments each time; 20, and 1 with --world
    seeds: int | None = None
    cases: tuple[str, ...] = ("*",)  # names or shell patterns, see verifier/wrong.py, correct.py
    verifiers: tuple[str, ...] = ("*",)  # names or shell patterns, of those that are installed
    # what jaxconv.verify checks; quick leaves out what compiles the function as a whole
    modes: Literal["quick", "all"] = "quick"
    # instead: ask jaxconv.verify alone, with each of its constants times 4 and divided by 4
    sensitivity: bool = False
    constants: tuple[str, ...] = ("*",)  # which constants, names or shell patterns
    world: bool = False  # instead: the functions of JAX, Optax and Flax
    resume: bool = False  # of --world: keep the answers that are there, and ask for the others
    output_dir: Path = Path("results")  # for verifier.json, verifier_sensitivity.json, ...


def main(config: Config) -> dict[str, Any]:
    """Ask, print the table and what each has missed, write `verifier.json`; returns the record.

    Raises:
      UserError: An option can't be followed.
    """
    from . import correct, peers, sensitivity, wrong

    seeds = config.seeds if config.seeds is not None else 1 if config.world else 20
    require(seeds >= 1, f"--seeds must be at least 1, got {seeds}.")
    available = peers.available()
    asked = {name: available[name] for name in _matching(available, config.verifiers)}
    require(bool(asked), f"--verifiers {' '.join(config.verifiers)} fits none.")
    if config.world:
        return _world(config, asked, seeds)
    chosen = [
        (case, is_right)
        for cases, is_right in ((wrong.WRONG, False), (correct.CORRECT, True))
        for case in cases
        if _matching([case.name], config.cases)
    ]
    require(bool(chosen), f"--cases {' '.join(config.cases)} fits no case.")
    constants = _matching(sensitivity.constants(), config.constants)
    require(bool(constants), f"--constants {' '.join(config.constants)} fits none.")
    make_output_dir(config.output_dir)
    if config.sensitivity:
        record = sensitivity.measure(chosen, range(seeds), constants, config.modes)
        return _write(record, config.output_dir / "verifier_sensitivity.json")
    answers = []
    with progress("verifiers", len(chosen)) as report:
        for case, is_right in chosen:
            for seed in range(seeds):
                said = {
                    name: peers.ask(verifier, case, seed, config.modes)._asdict()
                    for name, verifier in asked.items()
                }
                answers.append({"case": case.name, "family": case.family, "order": case.order,
                                "seed": seed, "is_right": is_right, "said": said})  # fmt: skip
            report(f"{case.family}: {case.name}")
    record = {"seeds": seeds, "modes": config.modes, "versions": _versions(),
              "answers": answers}  # fmt: skip
    _write(record, config.output_dir / "verifier.json")
    _print(answers, asked)
    return record


def _world(config, asked, seeds):
    """The same for the functions of the world; writes `verifier_world.json`."""
    from .world import measure, table

    # Those that take the functions as they are; torch would compile each of them once more.
    asked = {name: v for name, v in asked.items() if name in measure.ASKED}
    require(bool(asked), f"--verifiers must fit some of {', '.join(measure.ASKED)}.")
    chosen = [e for e in measure.entries() if _matching([str(e)], config.cases)]
    require(bool(chosen), f"--cases {' '.join(config.cases)} fits no function.")
    make_output_dir(config.output_dir)
    path = config.output_dir / "verifier_world.jsonl"
    if not config.resume:
        path.unlink(missing_ok=True)
    with progress("functions", len(chosen)) as report:
        rows = measure.measure(asked, chosen, range(seeds), path, report)
    record = {"seeds": seeds, "versions": _versions(), "answers": rows}
    _write(record, config.output_dir / "verifier_world.json")
    table.print_answers(rows, asked)
    return record


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> list[str]:
    return [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in patterns)]


def _write(record, path):
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def _versions():
    """Of what was asked, as far as it is installed."""
    found = {}
    for name in ("jax", "chex", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def tally(answers: list[dict[str, Any]], name: str) -> dict[str, dict[str, int]]:
    """How often a verifier has given each verdict, of wrong gradients and of right ones."""
    from .peers import CRASHES, PASSES, WRONG

    said = {
        kind: [a["said"][name]["verdict"] for a in answers if a["is_right"] == (kind == "right")]
        for kind in ("wrong", "right")
    }
    verdicts = (WRONG, PASSES, CRASHES)
    return {kind: {verdict: said[kind].count(verdict) for verdict in verdicts} for kind in said}


def _print(answers, names):
    from .._tables import print_table, table
    from .peers import CRASHES, PASSES, WRONG

    shown = table("verifier", "wrong gradients: found", "missed", "crashes",
                  "right gradients: passed", "called wrong", "crashes")  # fmt: skip
    for name in names:
        counts = tally(answers, name)
        row = []
        for kind, verdicts in (
            ("wrong", (WRONG, PASSES, CRASHES)),
            ("right", (PASSES, WRONG, CRASHES)),
        ):
            first, *rest = (counts[kind][verdict] for verdict in verdicts)
            row += [f"{first} of {sum(counts[kind].values())}", *map(str, rest)]
        shown.add_row(name, *row)
    print_table(shown)
    for name in names:
        for mistake, count in _mistakes(answers, name).items():
            print(f"{name} {mistake} ({count} seeds)")


def _mistakes(answers, name):
    """What a verifier has missed, has called wrong though it is right, and has crashed at."""
    from .peers import CRASHES, PASSES, WRONG

    counts: dict[str, int] = {}
    for a in answers:
        verdict = a["said"][name]["verdict"]
        if verdict == (PASSES if a["is_right"] else WRONG):
            continue
        kind = {PASSES: "missed", WRONG: "false alarm", CRASHES: "crashed"}[verdict]
        key = f"{kind}: {a['family']}, {a['case']}"
        if verdict == CRASHES:
            key += f": {a['said'][name]['error']}"
        counts[key] = counts.get(key, 0) + 1
    return counts


if __name__ == "__main__":
    run(main, Config)
