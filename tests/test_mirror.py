"""The tests mirror the package file by file.

`tests/a/test_b.py` tests `jaxconv/a/_b.py`, `jaxconv/a/b.py` or the package `jaxconv/a/b/`. A test
file that tests more modules, or others, lists them in its docstring, in a paragraph such as
`Covers jaxconv/a/_c.py, jaxconv/a/d/.`; a folder stands for every module in it. Modules that define
no function and no class need no test. `tests/experiments/` is arranged by what a user does.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Test files that are about the whole project, and what each is about.
OF_THE_PROJECT = {
    "tests/fuzz/test_rooms.py": "what the generated calls reach",
    "tests/test_api_reference.py": "the API reference that is built from the docstrings",
    "tests/test_conventions.py": "imports, docstrings and files",
    "tests/test_determinism.py": "equal bits in every run of a program",
    "tests/test_import_cycles.py": "cycles among the modules of jaxconv and experiments",
    "tests/test_memory.py": "what operations keep for the reverse pass, and what a process keeps",
    "tests/test_mirror.py": "this table",
    "tests/test_mutation.py": ".ci/mutation/",
    "tests/test_notebooks.py": "notebooks/",
    "tests/test_packaging.py": "the wheel and the source distribution",
    "tests/test_porting.py": "notebooks/how_to_port_weights.py",
    "tests/test_readme.py": "README.md and the other pages for readers",
    "tests/test_typing.py": "a typed program that calls jaxconv, under mypy and pyright",
    "tests/test_transforms.py": "JAX transforms of a network with every operation in it",
}


def python_files(folder: str, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern))


def defines(name: str) -> bool:
    body = ast.parse((ROOT / name).read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in body)


def by_name(test: str, known: list[str]) -> set[str]:
    """The modules that a test file is for by its own name."""
    stem = "jaxconv" / Path(test).relative_to("tests").parent / Path(test).stem[len("test_") :]
    path, name = stem.parent, stem.name
    inside = {module for module in known if module.startswith(f"{stem}/")}
    return {str(path / f"{n}.py") for n in (name, f"_{name}", f"__{name}__")}.intersection(
        known
    ) | inside


def listed(docstring: str) -> list[str]:
    """The modules and folders after the word Covers."""
    found = re.search(r"^Covers\s+(.*?)\.$", docstring, re.MULTILINE | re.DOTALL)
    return re.split(r",\s+", found[1]) if found else []


def complaints(tests: dict[str, str], known: list[str], trivial=()) -> list[str]:
    """What the rule finds wrong, given the tests' docstrings and the modules there are.

    `trivial` are the modules that need no test.
    """
    told, tested = [], set()
    for test, docstring in tests.items():
        found = by_name(test, known)
        for entry in listed(docstring):
            inside = entry if entry.endswith("/") else entry + "/"
            those = {name for name in known if name == entry or name.startswith(inside)}
            told += [] if those else [f"{test}: there is no {entry}"]
            found |= those
        told += [] if found or test in OF_THE_PROJECT else [f"{test} tests no module"]
        tested |= found
    tested.update(trivial)
    return told + [f"{name} has no test file" for name in known if name not in tested]


def docstrings() -> dict[str, str]:
    tests = [
        name
        for name in python_files("tests", "test_*.py")
        if not name.startswith("tests/experiments/")
    ]
    sources = {name: (ROOT / name).read_text(encoding="utf-8") for name in tests}
    return {name: ast.get_docstring(ast.parse(text)) or "" for name, text in sources.items()}


def test_each_module_has_a_test_file_and_each_test_file_a_module():
    known = python_files("jaxconv", "*.py")
    trivial = [name for name in known if not defines(name)]
    found = complaints(docstrings(), known, trivial)
    assert found == [], "\n".join(found)


def test_the_table_of_the_project_is_true():
    assert set(OF_THE_PROJECT) <= set(docstrings())


def test_the_rule_sees_and_allows():
    known = ["jaxconv/__init__.py", "jaxconv/lax.py", "jaxconv/ops/_a.py", "jaxconv/ops/_b.py"]
    known += ["jaxconv/ops/c/_d.py", "jaxconv/ops/c/_e.py"]
    tests = {
        "tests/test_init.py": "",
        "tests/test_lax.py": "",
        "tests/ops/test_a.py": "What a does.\n\nCovers\njaxconv/ops/_b.py,\njaxconv/ops/c/.",
    }
    assert complaints(tests, known) == []
    assert complaints(tests, [*known, "jaxconv/_typing.py"], ["jaxconv/_typing.py"]) == []
    extra = {**tests, "tests/ops/test_f.py": ""}
    assert complaints(extra, known) == ["tests/ops/test_f.py tests no module"]
    less = {**tests, "tests/ops/test_a.py": "Covers jaxconv/ops/c/."}
    assert complaints(less, known) == ["jaxconv/ops/_b.py has no test file"]
    moved = {**extra, "tests/ops/test_f.py": "Covers jaxconv/ops/_b.py, jaxconv/ops/_g.py."}
    assert complaints(moved, known) == ["tests/ops/test_f.py: there is no jaxconv/ops/_g.py"]
