"""No module imports itself, however many modules lie between."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def imported(source: str, package: str, modules: frozenset[str]) -> Iterator[str]:
    """The modules that a module of `package` imports, those inside its functions included.

    `from a import b` imports `a.b` if that is a module, else `a`. Imports for a type checker only
    are left out: they don't run.
    """

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                above = package.split(".")[: -child.level + 1 or None] if child.level else []
                start = ".".join([*above, *([child.module] if child.module else [])])
                for alias in child.names:
                    name = f"{start}.{alias.name}"
                    yield name if name in modules else start
            elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield from visit(child)

    yield from (name for name in visit(ast.parse(source)) if name in modules)


def cycle(sources: Mapping[str, tuple[str, str]]) -> list[str]:
    """A circle of modules that import each other, or nothing.

    Args:
      sources: Of each module, the package that its relative imports start from and its source.
    """
    modules = frozenset(sources)
    graph = {
        name: set(imported(source, package, modules)) for name, (package, source) in sources.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def sources_of(folder: str) -> dict[str, tuple[str, str]]:
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parts[:-1])
        name = package if parts[-1] == "__init__" else ".".join(parts)
        found[name] = package, path.read_text(encoding="utf-8")
    return found


@pytest.mark.parametrize("folder", ["jaxconv", "experiments"])
def test_no_module_imports_itself(folder):
    assert cycle(sources_of(folder)) == []


def test_a_circle_is_found():
    report = "def plot():\n    from ._figure import figure"
    circle = {"p._report": ("p", report), "p._figure": ("p", "from . import _report")}
    assert set(cycle(circle)) == {"p._report", "p._figure"}
    for_types = "if TYPE_CHECKING:\n    from ._report import Report"
    assert cycle({"p._report": ("p", report), "p._figure": ("p", for_types)}) == []
    assert cycle({"p": ("p", "from ._a import f"), "p._a": ("p", "from ._b import g"),
                  "p._b": ("p", "import math")}) == []  # fmt: skip
    assert cycle({"p": ("p", "from .q import f"), "p.q": ("p.q", "from .. import f")}) != []
