"""Conventions of the code: which package imports which, what is documented, which files there are.

Each rule is a function that returns a list of complaints. A test shows each rule a bad example.
"""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# For each package or module of jaxconv/: the parts of jaxconv that it may import, the packages of
# others that it may import, and those that only its functions may import, when they are called. All
# may import the standard library.
BASE = {"jax", "numpy", "jaxtyping"}
BELOW_OPS = {"_typing", "_geometry", "_spec", "forms", "algorithms"}
ABOVE_OPS = BELOW_OPS | {"_arguments", "ops"}
BELOW_ALGORITHMS = {
    *("_typing", "_geometry", "_spec", "_compilation"),
    "reference",  # for the trial of oneDNN
}
PACKAGES = {
    "_typing": (set(), BASE, set()),
    "_geometry": (set(), set(), set()),
    "_arguments": ({"_geometry"}, set(), set()),
    "_spec": ({"_geometry"}, {"numpy"}, set()),
    "_compilation": (set(), set(), set()),
    "_keys": (set(), {"numpy"}, set()),
    "forms": (
        {"_typing", "_compilation", "_keys", "verify"},
        BASE,
        set(),
    ),  # `verify` when a form is checked
    "algorithms": (BELOW_ALGORITHMS, BASE, set()),
    "ops": (BELOW_OPS | {"_arguments", "_keys"}, BASE, set()),
    "_accelerate": (ABOVE_OPS, BASE, set()),  # what lax's operations run as
    "lax": (ABOVE_OPS, BASE, set()),  # lax's functions under lax's names
    "nn": (ABOVE_OPS, BASE | {"flax"}, set()),
    "backprop": (ABOVE_OPS, BASE, set()),
    "derivations": (ABOVE_OPS, BASE, set()),
    "verify": (set(), {"jax", "numpy", "scipy"}, {"rich", "matplotlib"}),
    "pytest_plugin": ({"verify"}, {"pytest"}, set()),
    "reference": (set(), {"numpy"}, set()),
    "__init__": (set(), set(), set()),  # It loads on first use.
}

TOP_LEVEL = {"README.md", "pyproject.toml", "jaxconv", "experiments", "tests", "notebooks"} | {
    *("LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"),
    *(".ci", ".github", ".gitignore", ".gitattributes", ".pre-commit-config.yaml"),
}

# What works on one machine only: home and work folders, and the hosts of package registries.
OF_ONE_MACHINE = re.compile(
    r"(?<![\w.~}])/(?:work|root|home|farm|Users)/\w"
    r"|\b(?:pypi[.]org|files[.]python[h]osted|deb[.]debian[.]org|registry[.]npm[j]s)"
)


# Imports


def imports(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """Each name that a module of `package` imports, absolute, and whether inside a function.

    Imports for a type checker are left out.
    """

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                above = package.split(".")[: -child.level + 1 or None] if child.level else []
                start = ".".join([*above, *([child.module] if child.module else [])])
                yield from ((f"{start}.{alias.name}", lazy) for alias in child.names)
            elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
                yield from visit(child, lazy or isinstance(child, ast.FunctionDef | ast.Lambda))

    yield from visit(ast.parse(source), False)


def import_complaints(source: str, path: str) -> list[str]:
    """The imports that a file, such as `path` "jaxconv/ops/_pooling.py", must not have."""
    parts = Path(path).with_suffix("").parts
    package = parts[1]
    if package not in PACKAGES:
        return [f"{path}: {package!r} has no entry in PACKAGES"]
    ours, others, others_later = PACKAGES[package]
    complaints = []
    for name, lazy in imports(source, package=".".join(parts[:-1])):
        top, *inside = name.split(".")
        if top == "jaxconv":
            other = inside[0] if inside and inside[0] in PACKAGES else "__init__"
            allowed = other in ours or other == package
            other = f"jaxconv.{other}"
        else:
            allowed = top in others or top in sys.stdlib_module_names
            allowed = allowed or (lazy and top in others_later)
            other = top
        if not allowed:
            complaints.append(f"{path}: {package} may not import {other} ({name})")
    return complaints


def python_files(folder: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", python_files("jaxconv"))
def test_imports_go_one_way(path):
    assert import_complaints((ROOT / path).read_text(), path) == []


@pytest.mark.parametrize("path", python_files("experiments"))
def test_experiments_import_no_tests(path):
    package = ".".join(Path(path).parent.parts)
    named = {name.split(".")[0] for name, _ in imports((ROOT / path).read_text(), package)}
    assert named.isdisjoint({"tests", "notebooks", "conftest"})


@pytest.mark.parametrize(
    ("path", "source", "named"),
    [
        ("jaxconv/_geometry.py", "import jax", "jax"),
        ("jaxconv/forms/_rules.py", "from .._geometry import Geometry", "jaxconv._geometry"),
        ("jaxconv/algorithms/_taps.py", "from ..ops import conv", "jaxconv.ops"),
        ("jaxconv/algorithms/_taps.py", "from .. import ops, _geometry", "jaxconv.ops"),
        ("jaxconv/ops/_pooling.py", "import jaxconv.nn as nn", "jaxconv.nn"),
        ("jaxconv/ops/_pooling.py", "from .. import conv", "jaxconv.__init__"),
        ("jaxconv/ops/_pooling.py", "def f():\n  if 1:\n    import flax", "flax"),
        ("jaxconv/nn/__init__.py", "from ..verify import check_gradients", "jaxconv.verify"),
        ("jaxconv/verify/__init__.py", "import rich.table", "rich"),
        ("jaxconv/verify/_report.py", "from .._typing import Array", "jaxconv._typing"),
        ("jaxconv/reference.py", "from jax import lax", "jax"),
        ("jaxconv/reference.py", "from tests.helpers import helper", "tests"),
        ("jaxconv/__init__.py", "from .nn import Conv", "jaxconv.nn"),
        ("jaxconv/attic/old.py", "", "attic"),
    ],
)
def test_import_rule_sees(path, source, named):
    (complaint,) = import_complaints(source, path)
    assert named in complaint


def test_import_rule_allows():
    source = """
        import math
        import jax.numpy as jnp
        from .. import algorithms
        from .._geometry import Geometry
        from ._call import Call
    """
    assert import_complaints(textwrap.dedent(source), "jaxconv/ops/_pooling.py") == []
    lazily = "def show():\n    from rich.table import Table"
    assert import_complaints(lazily, "jaxconv/verify/_report.py") == []
    for_types = "if TYPE_CHECKING:\n    from . import nn"
    assert import_complaints(for_types, "jaxconv/__init__.py") == []


# Documentation


def documentation_complaints(thing) -> list[str]:
    """The parts that the docstring of a public function or class lacks."""
    doc, is_class = inspect.getdoc(thing) or "", inspect.isclass(thing)
    # A class states its arguments; how it is built is its __init__'s business, less `self`.
    signature = inspect.signature(thing.__init__ if is_class else thing)
    parameters = [p for p in signature.parameters if p not in ("self", "args", "kwargs")]
    arguments = section(doc, "Args") or section(doc, "Attributes")
    validates = not is_class or "raise " in inspect.getsource(thing)
    lacks = {
        "a docstring": not doc,
        "Args": bool(parameters) and not arguments,
        "Returns": not is_class and not section(doc, "Returns"),
        "Raises": validates and not section(doc, "Raises"),
        "a Source or a derivation": states_mathematics(doc)
        and not re.search(r"\bSource:|\bderiv", doc, re.IGNORECASE),
        "shapes": not re.search(r"`\(\*?\w+, |\bshape", doc),
        "an example": ">>> " not in doc,
    }
    missing = [p for p in parameters if arguments and not re.search(rf"\b{p}\b", arguments)]
    return [what for what, is_lacking in lacks.items() if is_lacking] + missing


def states_mathematics(doc: str) -> bool:
    """Whether a docstring has an equation with a number."""
    return bool(re.search(r" \(\d+\)$", doc, re.MULTILINE))


def section(doc: str, heading: str) -> str:
    """The indented text under `heading:`, or nothing."""
    found = re.search(rf"^{heading}:\n((?:[ \t]+\S.*\n?|\n)+)", doc, re.MULTILINE)
    return found.group(1) if found else ""


def public_names(entry: str) -> list[str]:
    """The public functions and classes that a module, or a package, defines."""
    module = importlib.import_module(entry)
    things = {name: getattr(module, name) for name in dir(module) if not name.startswith("_")}
    return sorted(
        f"{entry}.{name}"
        for name, thing in things.items()
        if callable(thing) and getattr(thing, "__module__", "").startswith(entry)
    )


ENTRY_POINTS = ("jaxconv", "jaxconv.forms", "jaxconv.lax", "jaxconv.nn", "jaxconv.verify")


@pytest.mark.parametrize("name", [name for entry in ENTRY_POINTS for name in public_names(entry)])
def test_public_name_is_documented(name):
    entry, _, name = name.rpartition(".")
    assert documentation_complaints(getattr(importlib.import_module(entry), name)) == []


def test_documentation_rule_sees_what_lacks():
    def bare(x, strides):
        return x, strides

    def partly(x, strides):
        """Return the feature map `(n, h, w, c)`.

            y = x                                                                    (1)

        Args:
          x: Feature map.

        Returns:
          The feature map.
        """
        return x, strides

    class Module:
        """A module. Derived here.

        Args:
          c: Channels of `(n, h, w, c)`.

        >>> Module
        """

        def __init__(self, c):
            if c < 1:
                raise ValueError(c)

    assert documentation_complaints(bare) == [
        "a docstring",
        "Args",
        "Returns",
        "Raises",
        "shapes",
        "an example",
    ]
    assert documentation_complaints(partly) == [
        "Raises",
        "a Source or a derivation",
        "an example",
        "strides",
    ]
    assert documentation_complaints(Module) == ["Raises"]


# Sources

SOURCES = (
    "Convolutional Neural Networks backpropagation: from intuition to derivation",
    "Deep Learning Frameworks Overview",
    "Convolutional Autoencoder for Dummies",
    "convolutional branch",
    "Neural Networks and Deep Learning",
    "Convolutions and More as Einsum",
    "Lasagne",
)


def test_the_readme_names_what_it_comes_from():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert [source for source in SOURCES if source not in text] == []


def nameless(text: str) -> bool:
    """Whether a text refers to somebody's work without the author's name."""
    return bool(re.search(r"\b[Tt]he (original|post|study)\b", text)) and "Gwardys" not in text


def test_the_original_is_named_where_it_is_spoken_of():
    files = [*python_files("jaxconv"), *python_files("experiments"), *python_files("notebooks")]
    files += ["README.md", "CONTRIBUTING.md"]
    assert [name for name in files if nameless((ROOT / name).read_text(encoding="utf-8"))] == []
    assert nameless("The original found that the branch helps.")


# Files


def files_of_the_project() -> list[str]:
    """The files that git tracks, or would track if they were added."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_nothing_new_on_the_top_level():
    assert {Path(name).parts[0] for name in files_of_the_project()} <= TOP_LEVEL


def machine_complaints(text: str) -> list[str]:
    return [line for line in text.splitlines() if OF_ONE_MACHINE.search(line)]


def test_no_file_speaks_of_one_machine():
    complaints = {}
    for name in files_of_the_project():
        content = (ROOT / name).read_bytes()
        if b"\0" not in content:
            complaints[name] = machine_complaints(content.decode())
    assert {name: lines for name, lines in complaints.items() if lines} == {}


def test_machine_rule_sees_and_allows():
    assert machine_complaints("data = '/" + "home/me/data'")
    assert machine_complaints("--index-url https://pypi" + ".org/simple")
    assert not machine_complaints("TFDS_DATA_DIR=~/home/data .github/workflows/ci.yml ../data/x")
