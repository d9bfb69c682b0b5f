"""Which mutants `.ci/mutation/` makes, which tests it runs, and whether it sees one fail."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".ci" / "mutation"
SOURCE = '''"""Docstrings stay: 1 + 1."""
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
HALF: float = 0.5


@decorator(2)
def f(a: "1", b=-3) -> 4:
    """5 < 6"""
    if a <= 7 and b:
        raise ValueError(f"{a + b}", 8)
    é = zip(a, b, strict=True)
    return max(a, b) * (
        g(b, a)  # a * b
        // a
    ), a not in b
'''
EXPECTED = [
    ("0.5", "2.0"),
    ("-", ""),
    ("3", "4"),
    ("3", "2"),
    ("a <= 7 and b", "not (a <= 7 and b)"),
    ("and", "or"),
    ("<=", "<"),
    ("7", "8"),
    ("7", "6"),
    ("a, b", "b, a"),
    ("*", "+"),
    ("max", "min"),
    ("//", "*"),
    ("b, a", "a, b"),
    ("not in", "in"),
]


needs_monitoring = pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring")


@pytest.fixture
def imported():
    """A function that imports a script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module
    for name in ("mutants", "mutate", "known", "imported"):
        sys.modules.pop(name, None)


def test_mutants_of_a_module(imported, tmp_path, monkeypatch):
    mutants = imported("mutants")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE, encoding="utf-8")
    found = mutants.Mutants("module.py").found
    assert [(mutant.old, mutant.new) for mutant in found] == EXPECTED
    for mutant in found:
        compile(mutant.source(), "module.py", "exec")
    removed, added = found[6].diff().splitlines()[1:]
    assert removed == "-    if a <= 7 and b:"
    assert added == "+    if a < 7 and b:"
    statements = [(mutant.first, mutant.last) for mutant in found]
    assert statements[0] == (7, 7)
    assert statements[1:4] == [(11, 11)] * 3
    assert statements[4:9] == [(13, 13)] * 5
    assert statements[-1] == (16, 19)


@needs_monitoring
def test_each_module_has_tests(imported):
    own, wider = imported("known").tests_of("jaxconv/ops/_upscaling.py")
    assert own[-1] == "jaxconv/ops/_upscaling.py"
    assert "tests/ops/test_upscaling.py" in own
    assert not set(own) & set(wider)
    assert all((ROOT / test).exists() for test in own + wider)


@needs_monitoring
def test_the_quickest_tests_of_a_statement_come_first(imported, monkeypatch):
    mutants, module = imported("mutants"), imported("known")
    known = module.Known(None)
    monkeypatch.setattr(module, "tests_of", lambda path: (["own"], ["other"]))
    known.tests = {
        "own": (
            "",
            [
                ["a", 3.0, False, {"m": [1, 2]}],
                ["b", 1.0, False, {"m": [9]}],
                ["e", 4.0, False, {"m": [3]}],
            ],
        ),
        "other": ("", [["c", 2.0, False, {"m": [2]}], ["d", 0.1, False, {"n": [2]}]]),
    }
    mutant = mutants.Mutant("m", 2, 0, 1, "1", "2", 2, 3)
    assert [*map(list, known.chosen(mutant, False, False))] == [["a", "e"], ["b"]]
    assert [*map(list, known.chosen(mutant, True, False))] == [["a", "e"], ["c"], ["b"]]
    elsewhere = mutants.Mutant("m", 5, 0, 1, "1", "2", 5, 5)
    assert known.chosen(elsewhere, True, False) == []  # no test runs it
    # What runs in an import: the tests of the statement, and of the names that it gives values to.
    monkeypatch.setattr(module, "names_of", lambda mutant: {"NAME"})
    monkeypatch.setattr(module, "lines_with", lambda names: {"n": {2}})
    assert [*map(list, known.chosen(mutant, True, True))] == [["a", "e"], ["d", "c"], ["b"]]


@pytest.mark.exhaustive
@needs_monitoring
def test_wrong_mutants_are_noticed_and_others_are_not(tmp_path):
    program = f"""
import dataclasses, sys
from pathlib import Path
sys.path[:0] = [{str(FOLDER)!r}, {str(ROOT)!r}]
import mutants, mutate
found = mutants.Mutants("jaxconv/verify/diagnosis/_array_slips.py").found
function = next(m for m in found if m.old == "<")
constant = next(m for m in found if b"is_kernel: bool = True" in m.source())
same = dataclasses.replace(function, new="<  ")
known = mutate.run([function, constant, same], False, Path({str(tmp_path / "results")!r}), 10)
print(*(known.noticed[m] is not None for m in (function, constant, same)))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[-1] == "True True False"
