"""The API reference is built from the docstrings without a warning, and has every public name."""

import html
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("pdoc", reason='the API reference needs pdoc: pip install -e ".[docs]"')
import jaxconv

BUILD = Path(__file__).parent.parent / ".ci" / "docs" / "build.py"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages' text by the name of the package, and the names that each exports."""
    spec = importlib.util.spec_from_file_location("build_docs", BUILD)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        modules = [jaxconv, *(getattr(jaxconv, name) for name in build.PACKAGES)]
        for module in modules:  # the build sets it
            patch.setattr(module, "__all__", build.public_names(module), raising=False)
        exported = {module.__name__: build.public_names(module) for module in modules}
        names = build.build(folder)
    texts = {name: (folder / f"{name.replace('.', '/')}.html").read_text("utf8") for name in names}
    assert (folder / "index.html").exists()
    return texts, exported


def test_every_public_name_has_a_section(pages):
    texts, exported = pages
    assert set(texts) == set(exported)
    assert {*jaxconv.ops.__dict__, "accelerate"} >= {*exported["jaxconv"]}
    assert {*exported["jaxconv"]} >= {"accelerate", "conv", "max_pool", "explain"}
    lacking = [
        f"{module}.{name}"
        for module, names in exported.items()
        for name in names
        if f'<section id="{name}">' not in texts[module]
    ]
    assert lacking == []


def test_sections_are_those_of_docstrings(pages):
    texts, _ = pages
    for page in texts.values():
        headings = set(re.findall(r"<h6[^>]*>([^<]*):</h6>", page))
        assert headings <= {"Arguments", "Attributes", "Returns", "Yields", "Raises"}


def test_each_argument_is_an_item_of_its_own(pages):
    """A line that names several arguments and runs on is no item, and would be shown as text."""
    texts, _ = pages
    lists = re.compile(r"<h6[^>]*>(?:Arguments|Attributes):</h6>\s*<ul>(.*?)</ul>", re.DOTALL)
    items = [
        item
        for page in texts.values()
        for found in lists.findall(page)
        for item in re.findall(r"<li>(?:<p>)?\s*(.*)", found)
    ]
    assert len(items) > 300
    assert [item for item in items if not re.match(r"<strong>[*]*[\w, ]+:</strong>", item)] == []


def test_formulas_stay_as_they_are_written(pages):
    texts, exported = pages
    page = html.unescape(re.sub("<[^>]*>", "", texts["jaxconv"]))
    docstrings = [inspect.getdoc(getattr(jaxconv, name)) for name in exported["jaxconv"]]
    lines = [line for text in docstrings for line in text.splitlines() if line.startswith("    ")]
    formulas = [line.strip() for line in lines if re.search(r" = .*[Σ∂<]", line)]
    assert len(formulas) > 20
    assert any(formula.startswith("<conv(x, k), y> = <x,") for formula in formulas)
    assert [formula for formula in formulas if formula not in page] == []
