"""How many wrong gradients verifiers find, and how many right ones they call wrong.

    python -m experiments.verifier
    python -m experiments.verifier --seeds 1 --cases "*tie*" --modes all

The cases are those of experiments/verifier/wrong.py and correct.py. Each seed draws other
arguments, and other directions for ours; every verifier gets the same ones.
"""

import fnmatch
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .._command_line import make_output_dir, require, run
from .._progress import progress


@dataclass(frozen=True)
class Config:
    """Ask every verifier about every case."""

    seeds: int = 20  # other arguments and directions each time
    cases: tuple[str, ...] = ("*",)  # names or shell patterns, see verifier/wrong.py, correct.py
    verifiers: tuple[str, ...] = ("*",)  # names or shell patterns of verifiers; those installed
    modes: Literal["quick", "all"] = "quick"  # of ours: without those that are compiled as a whole
    output_dir: Path = Path("results")  # for verifier.json


def main(config: Config) -> dict[str, Any]:
    """Ask, print the table and what each has missed, write `verifier.json`; returns the record.

    Raises:
      UserError: An option can't be followed.
    """
    from . import correct, peers, wrong

    require(config.seeds >= 1, f"--seeds must be at least 1, got {config.seeds}.")
    asked = {
        name: verifier
        for name, verifier in peers.available().items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in config.verifiers)
    }
    require(bool(asked), f"--verifiers {' '.join(config.verifiers)} fits none.")
    chosen = [
        (case, is_right)
        for cases, is_right in ((wrong.WRONG, False), (correct.CORRECT, True))
        for case in cases
        if any(fnmatch.fnmatch(case.name, pattern) for pattern in config.cases)
    ]
    require(bool(chosen), f"--cases {' '.join(config.cases)} fits no case.")
    make_output_dir(config.output_dir)
    answers = []
    with progress("verifiers", len(chosen)) as report:
        for case, is_right in chosen:
            for seed in range(config.seeds):
                said = {name: ask(v, case, seed, config.modes) for name, v in asked.items()}
                answers.append({"case": case.name, "family": case.family, "seed": seed,
                                "is_right": is_right, "said": said})  # fmt: skip
            report(f"{case.family}: {case.name}")
    record = {"seeds": config.seeds, "modes": config.modes, "answers": answers}
    text = json.dumps(record, indent=1)
    (config.output_dir / "verifier.json").write_text(text + "\n", encoding="utf-8")
    _print(answers, list(asked))
    return record


def ask(verifier, case, seed: int, modes: str) -> bool:
    """Whether a verifier calls the gradient of a case right, on arguments drawn with a seed."""
    import jax

    from . import peers
    from .cases import Draw

    options: dict[str, Any] = {"seed": seed, **case.options}
    if modes == "quick":
        options = {"modes": (*peers.QUICK, "second_order")} | options
        if case.family != "second order":
            options["order"] = 1
    with jax.enable_x64(case.dtype == "float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of float32
        f, args = case.make(Draw(seed, case.dtype))
        return verifier(f, args, options)


def _print(answers, names):
    from .._tables import print_table, table

    found = table("verifier", "wrong gradients found", "right gradients called wrong")
    for name in names:
        counts = []
        for is_right in (False, True):
            asked = [a for a in answers if a["is_right"] == is_right]
            rejected = [a for a in asked if not a["said"][name]]
            cases = {(a["family"], a["case"]) for a in asked}
            counts.append(f"{len(rejected)} of {len(asked)} ({len(cases)} cases)")
        found.add_row(name, *counts)
    print_table(found)
    for name in names:
        mistakes: dict[str, int] = {}
        for a in answers:
            if a["said"][name] != a["is_right"]:
                key = f"{'false alarm' if a['is_right'] else 'missed'}: {a['family']}, {a['case']}"
                mistakes[key] = mistakes.get(key, 0) + 1
        for key, count in mistakes.items():
            print(f"{name} {key} ({count} seeds)")


if __name__ == "__main__":
    run(main, Config)
