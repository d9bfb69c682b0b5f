"""Change the library in one place at a time, and see whether the tests notice.

    pip install -e ".[test]"                                  # Python 3.12 or later
    python .ci/mutation/mutate.py jaxconv/ops --sample 25     # 25 mutants of a part
    python .ci/mutation/mutate.py --changed main              # of the lines that differ from main

A mutant is the library with one operator, constant, comparison, condition or order of arguments
changed. First each test runs once as it is. Its time and the lines that it runs are noted. Of each
mutant, the tests that run its statement come first, the quickest one before the others. Then follow
the rest of the test files that `tests/test_mirror.py` names for its module. They run until one
fails. With `--wide` the first ones are those of the whole folder, and not of these files alone. A
mutant that no test notices is printed as a diff. It shows what is not tested, or code that has no
effect, or it computes the same in another way.

The library is imported once. Each mutant has a process of its own, forked from there, in which the
changed functions get their new code before the tests are collected. What runs while the library is
imported, such as constants and defaults, is changed in a process that imports the library anew.
Nothing is written into the checkout. Programs that a test starts read the files, and are those of
the original. `JAX_COMPILATION_CACHE_DIR=some/folder` makes further runs faster.

mutmut 3 leaves out decorated functions, classes' constants and modules' constants, which hold most
of the rules here; Cosmic Ray imports JAX for every mutant.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType

import pytest

# Of this folder.
from imported import TOOL, Imported, monitoring, nested, read_in_place
from known import Known
from mutants import ROOT, Mutant, all_mutants

PYTEST = [
    "-qq",
    "-s",
    "-n0",
    "--no-summary",
    "--no-header",
    "-pno:cacheprovider",
    "-pno:faulthandler",
]
PYTEST += ["-Wignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported already
# From pytest 9.2 on it would rewrite the library's own files, where they are installed for editing.
PYTEST += ["--assert=plain"]


class Child:
    """A plugin of pytest in a process that runs some tests: which fail, and how long each takes.

    Args:
      names: The tests to run, in order, until one fails. None runs all tests of the files.
    """

    def __init__(self, names: Sequence[str] | None):
        self.place = names and {name: place for place, name in enumerate(names)}
        self.seconds, self.failed = defaultdict(float), []

    def pytest_collection_modifyitems(self, items: list[pytest.Item]):
        if self.place:
            found = [item for item in items if item.nodeid in self.place]
            items[:] = sorted(found, key=lambda item: self.place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport):
        if report.failed:
            self.failed.append(report.nodeid)

    def found(self, code: int) -> str | None:
        """The first test that failed, given how pytest ended."""
        usual = pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
        return next(iter(self.failed), None if code in usual else f"pytest ended with {int(code)}")


class Measuring(Child):
    """Notes also which lines of the library each test runs."""

    def __init__(self, functions: Iterable[CodeType]):
        super().__init__(None)
        self.lines, self.of_all, self.tests = defaultdict(set), {}, {}
        monitoring.register_callback(TOOL, monitoring.events.LINE, self._line)
        for outer in functions:
            for code in nested(outer):
                monitoring.set_local_events(TOOL, code, monitoring.events.LINE)

    def _line(self, code: CodeType, number: int):
        self.lines[code.co_filename.removeprefix(f"{ROOT}/")].add(number)
        return monitoring.DISABLE

    def pytest_collection_finish(self):
        self.of_all = self._taken()

    def pytest_runtest_logfinish(self, nodeid: str):
        lines = self._taken()
        lines |= {path: lines.get(path, set()) | those for path, those in self.of_all.items()}
        self.tests[nodeid] = {path: sorted(those) for path, those in lines.items()}

    def _taken(self) -> dict[str, set[int]]:
        lines = dict(self.lines)
        self.lines.clear()
        monitoring.restart_events()
        return lines

    def found(self, code: int) -> list:
        """`[name, seconds, fails, {module: lines}]` of each test."""
        return [
            [name, self.seconds[name], name in self.failed, lines]
            for name, lines in self.tests.items()
        ]


def fork(told: Path, limit: float) -> tuple[bool, object]:
    """Fork: whether this is the child; for the parent what the child told, or how it ended."""
    told.write_text("", "utf-8")
    with warnings.catch_warnings(action="ignore"):  # no program of JAX runs yet
        child = os.fork()
    if child == 0:
        os.setsid()
        signal.setitimer(signal.ITIMER_REAL, limit)  # ends the process
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        return True, None
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started
    if status == 0 and (text := told.read_text("utf-8")):
        return False, json.loads(text)
    return False, "too long" if status == -signal.SIGALRM else f"the process ended with {status}"


def tell(told: Path, thing: object):
    told.write_text(json.dumps(thing), "utf-8")
    os._exit(0)


class Loop:
    """A plugin of pytest: runs the tests, and the mutants that change no import, in processes.

    Each process is forked before the collection, and goes on with it.
    """

    def __init__(self, known: Known, mutants: list[Mutant], wide: bool, end: float, told: Path):
        self.known, self.mutants, self.wide, self.end = known, mutants, wide, end
        self.told, self.imported, self.child = told, Imported(), None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        self.imported.done()
        jobs = self.jobs(session)
        try:
            limit = next(jobs)
            while True:
                is_child, found = fork(self.told, limit)
                limit = jobs.send(None if is_child else (found,))
                if is_child:
                    return None  # pytest collects, and runs
        except StopIteration:
            session.items = []
            return True

    def jobs(self, session: pytest.Session) -> Iterator[float | None]:
        """For each process, how long it may take. It is sent nothing in the process itself."""
        for mutant in self.mutants:
            for file in self.known.files(mutant, self.wide):
                if time.monotonic() > self.end:
                    return
                if not self.known.has(file):
                    if (found := (yield 600)) is None:
                        yield self.become(session, [file], Measuring(self.imported.functions))
                    self.known.learn(file, *found)
            if not (changed := self.imported.change(mutant)):
                continue
            by = None
            for tests in self.known.chosen(mutant, self.wide, at_import=False):
                if by is None:
                    if time.monotonic() > self.end:
                        return
                    if (found := (yield 60 + 5 * sum(tests.values()))) is None:
                        self.imported.put_in_place(changed)
                        yield self.become(session, list(files_of(tests)), Child(list(tests)))
                    (by,) = found
            self.known.notice(mutant, by)

    def become(self, session: pytest.Session, files: list[str], child: Child):
        """Go on as a process that runs some test files."""
        self.child, session.config.args = child, files
        session.config.option.maxfail = 1 if child.place else 0
        session.config.pluginmanager.register(child)


def files_of(tests: Iterable[str]) -> list[str]:
    """The files of tests. Doctests come last: pytest imports a module that no test has imported."""
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return sorted(files, key=lambda file: file.startswith("jaxconv/"))


def run(chosen: list[Mutant], wide: bool, results: Path | None, minutes: float) -> Known:
    """Run the tests of mutants that are not in the results yet, as far as the time allows."""
    for name in ("flax.nnx", "hypothesis", "jax.experimental.pallas"):
        importlib.import_module(name)
    folder = Path(tempfile.mkdtemp())
    results, told = results or folder / "results.jsonl", folder / "told.json"
    known, end = Known(results), time.monotonic() + 60 * minutes
    if left := [mutant for mutant in chosen if mutant not in known.noticed]:
        if (child := os.fork()) == 0:  # no program of JAX runs yet
            loop = Loop(known, left, wide, end, told)
            code = pytest.main([*PYTEST, "tests"], plugins=[loop])
            if loop.child:
                tell(told, loop.child.found(code))
            sys.stdout.flush()
            os._exit(code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED))
        if os.waitpid(child, 0)[1]:
            sys.exit("The tests can't be run.")
        known = Known(results)
    for mutant in left:
        if mutant in known.noticed or not all(map(known.has, known.files(mutant, wide))):
            continue
        by = None
        for tests in known.chosen(mutant, wide, at_import=True):
            if by is None:
                if time.monotonic() > end:
                    return known
                is_child, by = fork(told, 60 + 5 * sum(tests.values()))
                if is_child:
                    read_in_place(mutant)
                    child = Child(list(tests))
                    code = pytest.main([*PYTEST, "-x", *files_of(tests)], plugins=[child])
                    tell(told, child.found(code))
        known.notice(mutant, by)
    return known


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", default=["jaxconv"], help="files and folders to change")
    parser.add_argument("--sample", type=int, metavar="N", help="this many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--changed", metavar="REV", help="only in lines that differ from REV")
    parser.add_argument("--wide", action="store_true", help="run the tests of the whole folder")
    parser.add_argument("--minutes", type=float, default=10, help="begin no mutant after that")
    parser.add_argument("--results", type=Path, help="JSON lines; those in it are not run again")
    parser.add_argument("--list", action="store_true", help="print the mutants only")
    args = parser.parse_args()

    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    chosen = list(all_mutants(args.paths, args.changed))
    random.Random(args.seed).shuffle(chosen)
    chosen = chosen[: args.sample]
    if args.list:
        print(*(mutant.diff() for mutant in chosen), sep="\n")
        return
    known = run(chosen, args.wide, args.results, args.minutes)
    done = [known.noticed[mutant] is not None for mutant in chosen if mutant in known.noticed]
    print(f"{len(done)} of {len(chosen)} mutants run, {sum(done)} noticed")
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
