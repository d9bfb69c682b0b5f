"""What is known of the tests: which are a module's, their times and lines, what they noticed."""

import ast
import hashlib
import json
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

from mutants import ROOT, Mutant  # of this folder

# Test files of programs rather than of the library.
LEFT_OUT = (
    r"tests/experiments/(?!verifier/)|tests/test_(api|conv|imp|mirror|mut|note|pack|read|typ)"
)


@cache
def files_of_tests() -> dict[str, set[str]]:
    """Each test file, and the modules and folders that it is for."""
    from tests.test_mirror import by_name, docstrings, listed, python_files

    known, told = python_files("jaxconv", "*.py"), docstrings()
    every = [test for test in python_files("tests", "test_*.py") if not re.match(LEFT_OUT, test)]
    return {test: by_name(test, known) | {*listed(told.get(test, ""))} for test in every}


def tests_of(path: str) -> tuple[list[str], list[str]]:
    """The test files of a module, its doctests among them, and the others of its folder."""
    own = [test for test, of in files_of_tests().items() if any(map(path.startswith, of))]
    folder = (Path(path).parts[1:-1] or ("ops",))[0].lstrip("_")
    # The operations are what runs an algorithm on arguments of every kind.
    near = {"verify": "verify|experiments/verifier", "algorithms": "algorithms|ops"}
    near = f"tests/({near.get(folder, f'{folder}|experiments/{folder}')})/"
    wider = [t for t in files_of_tests() if t not in own and re.match(near, t)]
    return [*own, *([path] if ">>>" in (ROOT / path).read_text("utf-8") else [])], wider


class Known:
    """What is known: the tests' times and lines, and which mutants were noticed by which test."""

    def __init__(self, results: Path | None):
        self.results, self.tests, self.noticed = results, {}, {}
        for line in results.read_text("utf-8").splitlines() if results and results.exists() else ():
            match json.loads(line):
                case {"file": file, "digest": digest, "tests": tests}:
                    self.tests[file] = digest, tests
                case {"by": by, **mutant}:
                    self.noticed[Mutant(**mutant)] = by

    def save(self, line: dict):
        if self.results:
            with self.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def has(self, file: str) -> bool:
        return self.tests.get(file, [None])[0] == digest(file)

    def files(self, mutant: Mutant, wide: bool) -> list[str]:
        """The test files of a mutant."""
        own, wider = tests_of(mutant.path)
        return [*own, *(wider if wide else [])]

    def learn(self, file: str, tests: list | str):
        if isinstance(tests, str):
            print(f"{file} is left out, for it ends without a mutant: {tests}")
            tests = []
        for name in (name for name, _, fails, _ in tests if fails):
            print(f"{name} is left out, for it fails without a mutant")
        tests = [test for test in tests if not test[2]]
        self.tests[file] = digest(file), tests
        self.save({"file": file, "digest": digest(file), "tests": tests})

    def notice(self, mutant: Mutant, by: str | None):
        self.noticed[mutant] = by
        self.save(asdict(mutant) | {"by": by})
        print(f"noticed by {by}" if by else f"not noticed: {mutant.diff()}", flush=True)

    def chosen(self, mutant: Mutant, wide: bool, at_import: bool) -> list[dict[str, float]]:
        """The tests of a mutant with their seconds, in the order in which they run."""
        own, wider = tests_of(mutant.path)
        lines = {mutant.path: set(range(mutant.first, mutant.last + 1))}
        if at_import:  # a constant's users; a function that an import calls runs in tests, too
            for path, at in lines_with(names_of(mutant)).items():
                lines[path] = lines.get(path, set()) | at
        run_it, others = ({}, {}), {}
        for is_wider, files in enumerate([own, wider if wide else []]):
            for name, seconds, _, those in (
                t for f in files for t in self.tests.get(f, (0, []))[1]
            ):
                if any(not at.isdisjoint(those.get(path, ())) for path, at in lines.items()):
                    run_it[is_wider][name] = seconds
                elif not is_wider:
                    others[name] = seconds
        if not any(run_it) and not at_import:
            return []
        return [
            dict(sorted(tests.items(), key=lambda test: test[1]))
            for tests in (*run_it, others)
            if tests
        ]


def digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()


def names_of(mutant: Mutant) -> set[str]:
    """The names that a statement of a module or a class gives values to, or the function's."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / mutant.path).read_bytes())):
        if getattr(node, "lineno", 0) == mutant.first:
            for target in [*getattr(node, "targets", []), getattr(node, "target", None)]:
                found |= {n.id for n in ast.walk(target or ast.Pass()) if isinstance(n, ast.Name)}
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
    return found


def lines_with(names: set[str]) -> dict[str, set[int]]:
    """The lines of the library in which a name occurs."""
    if not names:
        return {}
    word, found = re.compile(rf"\b({'|'.join(names)})\b"), {}
    for path in (ROOT / "jaxconv").rglob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        at = {number for number, line in enumerate(lines, 1) if word.search(line)}
        found |= {str(path.relative_to(ROOT)): at} if at else {}
    return found
