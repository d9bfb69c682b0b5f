"""Change the library in one place at a time, and see whether the tests notice.

    pip install -e ".[test]"
    python .ci/mutation/mutate.py jaxconv/ops --sample 25     # 25 mutants of a part
    python .ci/mutation/mutate.py --changed main              # of the lines that differ from main

A mutant is the library with one operator, constant, comparison, condition or order of arguments
changed. The test files that `tests/test_mirror.py` names for the changed module run until one
fails, and with `--wide` the others of its folder after them. A mutant that no test notices is
printed as a diff. It shows what is not tested, or code that has no effect, or it computes the same
in another way.

Each process starts with JAX and pytest already imported, and reads the mutant in place of the
module's file. Nothing is written into the checkout. Programs that a test starts read the file,
and are those of the original. `JAX_COMPILATION_CACHE_DIR=some/folder` makes further runs faster.

mutmut 3 leaves out decorated functions, classes' constants and modules' constants, which hold most
of the rules here; Cosmic Ray imports JAX for every mutant.
"""

import argparse
import ast
import contextlib
import difflib
import importlib
import importlib.machinery
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What each operator becomes, as Python writes it.
OPERATORS = {
    **{"+": "-", "-": "+", "*": "+", "/": "*", "//": "*", "%": "//", "**": "*", "@": "*"},
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"is": "is not", "is not": "is", "in": "not in", "not in": "in", "and": "or", "or": "and"},
    **{"|": "&", "&": "|", "<<": ">>", ">>": "<<"},
}
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "argmin": "argmax"}
NAMES |= {new: old for old, new in NAMES.items()}

PYTEST = ["-q", "-n0", "-pno:cacheprovider", "-pno:faulthandler"]
PYTEST += ["-Wignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported already


@dataclass(frozen=True)
class Mutant:
    """A module with the text from `start` to `end`, counted in bytes, replaced by `new`."""

    path: str
    line: int
    start: int
    end: int
    new: str
    old: str

    def source(self) -> bytes:
        """The changed module."""
        text = (ROOT / self.path).read_bytes()
        return text[: self.start] + self.new.encode() + text[self.end :]

    def diff(self) -> str:
        """The change, as a diff without context."""
        before, after = ((ROOT / self.path).read_text("utf-8"), self.source().decode())
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        return "\n".join([f"{self.path}:{self.line}", *list(lines)[3:]])


class Mutants(ast.NodeVisitor):
    """Collects the mutants of a module. Error texts, annotations and docstrings stay."""

    def __init__(self, path: str):
        self.path, self.found = path, []
        self.text = (ROOT / path).read_bytes()
        lengths = [0, *(len(line) for line in self.text.splitlines(keepends=True))]
        self.lines = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        self.visit(ast.parse(self.text))

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Where a node's text begins and ends."""
        start = self.lines[node.lineno - 1] + node.col_offset
        return start, self.lines[node.end_lineno - 1] + node.end_col_offset

    def code(self, node: ast.expr) -> str:
        return self.text[slice(*self.span(node))].decode()

    def replace(self, start: int, end: int, new: str):
        line = self.text.count(b"\n", 0, start) + 1
        old = self.text[start:end].decode()
        self.found.append(Mutant(self.path, line, start, end, new, old))

    def replace_operator(self, left: ast.expr, right: ast.expr):
        """Replace the operator that stands between two nodes."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = re.sub(rb"#.*", lambda found: b" " * len(found[0]), self.text[start:end])
        found = re.search(rb"[^\s()]+(?: (?:not|in))?(?=[\s(]|$)", gap)
        if found and (new := OPERATORS.get(found[0].decode())):
            self.replace(start + found.start(), start + found.end(), new)

    # What is not changed.

    def visit_Raise(self, node: ast.Raise): ...
    def visit_Assert(self, node: ast.Assert): ...
    def visit_JoinedStr(self, node: ast.JoinedStr): ...
    def visit_Import(self, node: ast.Import): ...
    def visit_arg(self, node: ast.arg): ...

    def visit_keyword(self, node: ast.keyword):
        if node.arg != "strict":  # of zip: a check, not a value
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef):
        for child in [node.args, *node.body]:  # no decorators and no type of what is returned
            self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign):
        if node.value:
            self.visit(node.value)

    # What is changed.

    def visit_BinOp(self, node: ast.BinOp):
        if not any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right)):
            self.replace_operator(node.left, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.replace_operator(left, right)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare):
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.replace_operator(left, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp):
        if isinstance(node.op, ast.Not | ast.USub):
            start = self.span(node)[0]
            self.replace(start, start + len("not " if isinstance(node.op, ast.Not) else "-"), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant):
        match node.value:
            case bool():
                self.replace(*self.span(node), str(not node.value))
            case int():
                for new in (node.value + 1, node.value - 1):
                    self.replace(*self.span(node), str(new))
            case float():
                self.replace(*self.span(node), repr(2 * node.value + 1))

    def visit_Name(self, node: ast.Name):
        if node.id in NAMES:
            self.replace(*self.span(node), NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute):
        if node.attr in NAMES:
            end = self.span(node)[1]
            self.replace(end - len(node.attr), end, NAMES[node.attr])
        self.visit(node.value)

    def visit_Call(self, node: ast.Call):
        in_any_order = re.split(r"\W", self.code(node.func))[-1] in NAMES
        for left, right in zip(node.args, node.args[1:], strict=False):
            a, b = self.code(left), self.code(right)
            if a != b and not in_any_order and ast.Starred not in (type(left), type(right)):
                (start, middle), (after, end) = self.span(left), self.span(right)
                self.replace(start, end, b + self.text[middle:after].decode() + a)
        self.generic_visit(node)

    def visit_condition(self, node: ast.If | ast.IfExp | ast.While):
        test = node.test
        if not isinstance(test, ast.Compare | ast.UnaryOp) and self.code(test) != "TYPE_CHECKING":
            self.replace(*self.span(test), f"not ({self.code(test)})")
        self.generic_visit(node)

    visit_If = visit_IfExp = visit_While = visit_condition
    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ImportFrom = visit_Import


def all_mutants(paths: list[str], changed: str | None) -> Iterator[Mutant]:
    """The mutants of files and folders; with `changed`, of lines that differ from a revision."""
    for path in paths:
        inside = sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        for name in (str(file.resolve().relative_to(ROOT)) for file in inside):
            lines = changed_lines(name, changed) if changed else None
            for mutant in Mutants(name).found:
                if lines is None or mutant.line in lines:
                    yield mutant


def changed_lines(path: str, revision: str) -> set[int]:
    """The lines of a file that are not the same in a revision."""
    command = ["git", "diff", "--unified=0", revision, "--", path]
    diff = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hunks = re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE)
    return {int(at) + i for at, count in hunks for i in range(int(count or 1))}


def tests_of(path: str) -> tuple[list[str], list[str]]:
    """The test files of a module, and the others that run next: its folder's, the library's."""
    from tests.test_mirror import OF_THE_PROJECT, by_name, docstrings, listed, python_files

    known, own, wider = python_files("jaxconv", "*.py"), [], []
    folder = f"tests/{(Path(path).parts[1:-1] or ('ops',))[0].lstrip('_')}/"
    for test, docstring in docstrings().items():
        entries = [name if name.endswith(".py") else name.rstrip("/") for name in listed(docstring)]
        if path in by_name(test, known) or any(Path(path).is_relative_to(e) for e in entries):
            own.append(test)
        elif test.startswith(folder) and test not in OF_THE_PROJECT:
            wider.append(test)
    # Doctests come last: pytest imports a module a second time if no test has imported it before.
    return [*own, path], [*wider, "tests/test_transforms.py"]


class Outcome:
    """A plugin of pytest: how long each test file takes, and the first test of each that fails."""

    def __init__(self):
        self.seconds, self.failed = {}, {}

    def pytest_runtest_logreport(self, report: pytest.TestReport):
        name = report.nodeid.partition("::")[0]
        self.seconds[name] = self.seconds.get(name, 0) + report.duration
        if report.failed:
            self.failed.setdefault(name, report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport):
        if report.failed:
            self.failed.setdefault(report.nodeid, report.nodeid)


def outcome(tests: list[str], limit: float, mutant: Mutant | None = None) -> tuple[dict, dict]:
    """The seconds and the failures, by file, of tests that run in a process of their own."""
    with tempfile.NamedTemporaryFile() as file:
        if (child := os.fork()) == 0:
            os.setsid()
            signal.setitimer(signal.ITIMER_REAL, limit)  # ends the process
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            if mutant:
                put_in_place(mutant)
            told, stop = Outcome(), ["-x"] if mutant else []
            code = pytest.main([*PYTEST, *stop, *tests], plugins=[told])
            if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                told.failed = told.failed or {tests[0]: f"pytest ended with {int(code)}"}
            Path(file.name).write_text(json.dumps([told.seconds, told.failed]), "utf-8")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what the tests have started
        if status == 0:
            return tuple(json.loads(Path(file.name).read_text("utf-8")))
        reason = "too long" if status == -signal.SIGALRM else f"the process ended with {status}"
        return {}, {tests[0]: reason}


def put_in_place(mutant: Mutant):
    """Let Python's loader of source files read the mutant."""
    loader, path, source = importlib.machinery.SourceFileLoader, mutant.path, mutant.source()
    read, stats = loader.get_data, loader.path_stats

    def is_mutant(name: str) -> bool:
        return os.path.realpath(name) == str(ROOT / path)

    def no_compiled_file(self, name):
        if is_mutant(name):
            raise OSError("a mutant is not the file that was compiled")
        return stats(self, name)

    loader.get_data = lambda self, name: source if is_mutant(name) else read(self, name)
    loader.path_stats = no_compiled_file


class Runner:
    """Runs the tests of mutants. `known` are the seconds of each test file without a mutant."""

    def __init__(self, results: Path | None):
        self.results, self.known, self.noticed = results, {}, {}
        for line in results.read_text("utf-8").splitlines() if results and results.exists() else ():
            match json.loads(line):
                case {"test": test, "seconds": seconds}:
                    self.known[test] = seconds
                case {"by": by, **mutant}:
                    self.noticed[Mutant(**mutant)] = by

    def save(self, line: dict):
        if self.results:
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def learn(self, tests: list[str]):
        """Measure the tests that are not known yet. Those that fail as it is are left out."""
        if new := [test for test in tests if test not in self.known]:
            seconds, failed = outcome(new, limit=600)
            for test in new:
                self.known[test] = None if test in failed else seconds.get(test, 0)
                self.save({"test": test, "seconds": self.known[test]})
            for test, reason in failed.items():
                print(f"{test} is left out, for it fails without a mutant: {reason}")

    def run(self, mutant: Mutant, wide: bool) -> str | None:
        """What notices a mutant: its own tests, or else, with `wide`, the others; or nothing."""
        by = None
        for tests in tests_of(mutant.path)[: 1 + wide]:
            if by is None:
                self.learn(tests)
                usable = {test: self.known[test] for test in tests if self.known[test] is not None}
                limit = 60 + 5 * sum(usable.values())
                failed = outcome(list(usable), limit, mutant)[1] if usable else {}
                by = next(iter(failed.values()), None)
        self.noticed[mutant] = by
        self.save(asdict(mutant) | {"by": by})
        return by


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="*", default=["jaxconv"], help="files and folders to change")
    parser.add_argument("--sample", type=int, metavar="N", help="this many mutants, at random")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--changed", metavar="REV", help="only in lines that differ from REV")
    parser.add_argument("--wide", action="store_true", help="run the wider tests, too")
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
    for name in ("flax.nnx", "hypothesis", "jax.experimental.pallas"):
        importlib.import_module(name)
    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # no program of JAX runs yet

    runner, end = Runner(args.results), time.monotonic() + 60 * args.minutes
    for mutant in chosen:
        if mutant not in runner.noticed and time.monotonic() < end:
            by = runner.run(mutant, args.wide)
            print(f"noticed by {by}" if by else f"not noticed: {mutant.diff()}", flush=True)
    done = [runner.noticed[mutant] is not None for mutant in chosen if mutant in runner.noticed]
    print(f"{len(done)} of {len(chosen)} mutants run, {sum(done)} noticed")
    sys.exit(not all(done))


if __name__ == "__main__":
    main()
