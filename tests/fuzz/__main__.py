"""Long runs, each property in a process of its own, so that one that dies is reported."""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
MEMORY = 24 * 2**30  # bytes of addresses: a call that asks for more fails, and not the machine
CRASHED = (-4, -6, -7, -8, -9, -11)  # signals; pytest itself ends with 0 to 5


def properties(rooms):
    """The names of the tests, as pytest takes them."""
    for path in sorted(FOLDER.glob("test_*.py")):
        if not rooms or any(room in path.stem for room in rooms):
            found = re.findall(r"^@fuzzed[\s\S]*?^def (test_\w+)", path.read_text(), re.MULTILINE)
            yield from (f"{path.relative_to(FOLDER.parent.parent)}::{name}" for name in found)


def run(name, seconds, seed):
    """One property for so many seconds; returns how it ended, its examples, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        last = Path(folder) / "last"
        last.write_text("0\n")
        fuzz = {"FUZZ": "1000", "FUZZ_SECONDS": str(seconds), "FUZZ_LAST": str(last)}
        command = [sys.executable, "-m", "pytest", name, "-n0", "-q", "-x", "--tb=short"]
        command += [f"--hypothesis-seed={seed}", "-o", "faulthandler_timeout=300"]
        done = subprocess.run(
            command,
            env=os.environ | fuzz,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        )
        count, _, example = last.read_text().partition("\n")
    ended = {0: "passed", 1: "failed"}.get(done.returncode, f"ended with {done.returncode}")
    printed = done.stdout + done.stderr
    if done.returncode in CRASHED:
        printed += f"\nThe process died in this example:\n{example}"
    return ended, int(count), printed


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("rooms", nargs="*", help="parts of the names of files; all by default")
    parser.add_argument("--seconds", type=float, default=600, help="for all properties together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = list(properties(options.rooms))
    failures, examples = 0, 0
    for name in names:
        ended, count, printed = run(name, options.seconds / len(names), options.seed)
        print(f"{name}: {count} examples, {ended}", flush=True)
        examples += count
        if ended != "passed":
            failures += 1
            print(printed, flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    print(f"seed {options.seed}: {examples} examples in {seconds:.0f} s of CPU, {failures} failed")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
