"""Which mutants `.ci/mutation/mutate.py` makes, and whether it sees that tests notice one."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "mutation" / "mutate.py"
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


@pytest.fixture(scope="module")
def mutate():
    spec = importlib.util.spec_from_file_location("mutate", SCRIPT)
    sys.modules["mutate"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mutate"]


def test_mutants_of_a_module(mutate, tmp_path, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE, encoding="utf-8")
    found = mutate.Mutants("module.py").found
    assert [(mutant.old, mutant.new) for mutant in found] == EXPECTED
    for mutant in found:
        compile(mutant.source(), "module.py", "exec")
    removed, added = found[6].diff().splitlines()[1:]
    assert removed == "-    if a <= 7 and b:"
    assert added == "+    if a < 7 and b:"


def test_each_module_has_tests(mutate):
    own, wider = mutate.tests_of("jaxconv/ops/_upscaling.py")
    assert own[-1] == "jaxconv/ops/_upscaling.py"
    assert "tests/ops/test_upscaling.py" in own
    assert not set(own) & set(wider)
    assert all((ROOT / test).exists() for test in own + wider)


@pytest.mark.exhaustive
def test_of_two_mutants_one_is_noticed():
    program = f"""
import dataclasses, sys
sys.path[:0] = [{str(SCRIPT.parent)!r}, {str(ROOT)!r}]
import mutate
wrong = next(m for m in mutate.Mutants("jaxconv/_geometry.py").found if m.old == "*")
same = dataclasses.replace(wrong, new="*  ")
for mutant in (wrong, same):
    print(*mutate.outcome(["tests/test_geometry.py"], 100, mutant)[1])
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["tests/test_geometry.py", ""]
