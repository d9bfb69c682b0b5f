"""Count the wrong gradients that verifiers find, and the right ones that they call wrong.

    python -m experiments.verifier
    python -m experiments.verifier --seeds 1 --cases "*tie*" --modes all
    python -m experiments.verifier --sensitivity --seeds 2
    python -m experiments.verifier --world --cases "jax.nn.*"

The cases are those of experiments/verifier/wrong/ and right.py. Each seed draws other arguments.
All verifiers get the same arguments and are asked for the same order of derivative. A verifier that
raises anything but its verdict has crashed; a crash is neither a wrong gradient found nor a right
one called wrong.

`--sensitivity` asks `jaxconv.verify` alone, again and again, each time with one constant of
jaxconv/verify/_constants.py multiplied or divided by 4.

`--world` asks about functions of JAX, Optax and Flax, see experiments/verifier/world, each with its
right gradient and with slips. The answers are written one by one, and `--resume` continues a run
that was interrupted.
"""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ..command_line import make_output_dir, require, run
from ..command_line.files import write_json
from ..command_line.progress import progress


@dataclass(frozen=True)
class Config:
    """Count the wrong gradients that verifiers find, and the right ones that they call wrong.

    All verifiers get the same arguments and are asked for the same order of derivative.
    """

    # how often each gradient is checked, each time with other arguments; 20, or 1 with --world
    seeds: int | None = None
    cases: tuple[str, ...] = ("*",)  # names of cases, or of functions with --world, or patterns
    verifiers: tuple[str, ...] = ("*",)  # names or patterns of the installed verifiers
    # what jaxconv.verify checks; quick leaves out the modes that compile the whole function
    modes: Literal["quick", "all"] = "quick"
    # instead: ask jaxconv.verify alone, with each of its constants multiplied and divided by 4
    sensitivity: bool = False
    constants: tuple[str, ...] = ("*",)  # names or patterns of these constants
    world: bool = False  # instead: ask about functions of JAX, Optax and Flax
    resume: bool = False  # with --world: keep the answers of an interrupted run
    output_dir: Path = Path("results")  # for verifier.json, verifier_sensitivity.json, ...


def main(config: Config) -> dict[str, Any]:
    """Ask the verifiers, print the table and all mistakes, and write `verifier.json`.

    Returns:
      What was written.

    Raises:
      UserError: An option can't be followed.
    """
    from . import peers, right, sensitivity, tables, wrong

    seeds = config.seeds if config.seeds is not None else 1 if config.world else 20
    require(seeds >= 1, f"--seeds must be at least 1, got {seeds}.")
    available = peers.available()
    asked = {name: available[name] for name in _matching(available, config.verifiers)}
    require(bool(asked), f"--verifiers {' '.join(config.verifiers)} fits none.")
    if config.world:
        return _world(config, asked, seeds)
    chosen = [
        (case, is_right)
        for cases, is_right in ((wrong.WRONG, False), (right.RIGHT, True))
        for case in cases
        if _matching([case.name], config.cases)
    ]
    require(bool(chosen), f"--cases {' '.join(config.cases)} fits no case.")
    constants = _matching(sensitivity.constants(), config.constants)
    require(bool(constants), f"--constants {' '.join(config.constants)} fits none.")
    make_output_dir(config.output_dir)
    if config.sensitivity:
        record = sensitivity.measure(chosen, range(seeds), constants, config.modes)
        write_json(config.output_dir / "verifier_sensitivity.json", record)
        return record
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
    record = {"seeds": seeds, "modes": config.modes, "versions": _versions(), "answers": answers}
    write_json(config.output_dir / "verifier.json", record)
    tables.print_answers(answers, asked, tables.CATALOGUE, tables.of_catalogue)
    return record


def _world(config, asked, seeds):
    """The same for the functions of the world; writes `verifier_world.json`."""
    from . import tables
    from .world import measure

    # torch would compile each of the functions once more.
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
    write_json(config.output_dir / "verifier_world.json", record)
    functions = {row["function"].partition(",")[0] for row in rows}
    print(f"{len(functions)} functions, {len(rows)} gradients")
    tables.print_answers(rows, asked, tables.WORLD, tables.of_world)
    for name in asked:
        seconds = sum(row["said"][name]["seconds"] for row in rows if name in row["said"])
        print(f"{name} took {seconds:.0f} s")
    for row in rows:
        if row["fault"]:
            print(f"fault of JAX: {tables.of_world(row)[1]}: {row['fault']}")
    return record


def _matching(names: Iterable[str], patterns: tuple[str, ...]) -> list[str]:
    return [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in patterns)]


def _versions():
    """The versions of the verifiers that are installed."""
    found = {}
    for name in ("jax", "chex", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    run(main, Config)
