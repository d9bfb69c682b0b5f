"""Build the API reference, a page for each public package, from the docstrings with pdoc.

    pip install -e ".[docs]" && python .ci/docs/build.py site

Any warning of pdoc's, such as a name that does not resolve, is an error.
"""

import re
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import markdown2
import pdoc
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

import jaxconv

# In the order of the navigation. `jaxconv.ops` is left out: `jaxconv` has all of its functions.
PACKAGES = ("forms", "nn", "verify", "derivations", "backprop", "lax", "reference")

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def public_names(module: ModuleType) -> list[str]:
    """The names that a module exports, in its order: `__all__`, or what it imports by name."""
    names = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and callable(thing) and thing.__module__.startswith("jaxconv.")
    ]
    if module is jaxconv:  # convolutions first
        return sorted(names, key=lambda name: not name.startswith("conv"))
    return list(names)


def declare_public_names() -> list[str]:
    """Set `__all__`, which pdoc reads, in each package; returns the packages' names."""
    modules = [jaxconv, *(import_module(f"jaxconv.{name}") for name in PACKAGES)]
    for module in modules:
        module.__all__ = public_names(module)
    jaxconv.__all__ = [*PACKAGES, *jaxconv.__all__]  # pdoc finds the packages by their names here
    return [module.__name__ for module in modules]


@pass_context
def to_markdown(context: Context, docstring: str) -> str:
    """Convert sections such as "Args:"; a sentence that ends with a colon begins no section."""
    sentence = rf"^(?!(?:{'|'.join(SECTIONS)}):$)([A-Z][A-Z a-z]+:)$"
    docstring = re.sub(sentence, r"\1 ", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^( +)(\*+)(?=\w+:)", escape_stars, docstring, flags=re.MULTILINE)
    return pdoc.render_helpers.to_markdown_with_context(context, docstring)


def escape_stars(found: re.Match) -> str:
    """The indentation and the stars of an argument such as `*args`."""
    return found[1] + found[2].replace("*", r"\*")


def to_html(docstring: str) -> str:
    """Render Markdown, in which `<x, y>` is an inner product and a year begins no numbered list."""
    helpers = pdoc.render_helpers
    extras = helpers.markdown_extensions.copy()
    del extras["cuddled-lists"]
    html = markdown2.markdown(
        docstring,
        extras=extras,
        link_patterns=helpers.markdown_link_patterns,
        safe_mode="escape",
    )
    once = type(html)(html.replace("&amp;lt;", "&lt;"))  # code blocks were escaped twice
    once.toc_html = html.toc_html
    return once


def format_signature(*args, **options) -> Markup:
    """Write types by public names, as `jax.lax.Precision` for `jax._src.lax.lax.Precision`."""
    html = pdoc.render_helpers.format_signature(*args, **options)
    dot = r'</span><span class="o">\.</span><span class="n">'
    html = re.sub(rf"jax{dot}_src{dot}(?:lax{dot}\w+|typing){dot}", "jax.lax.", html)
    return Markup(re.sub(rf"jaxconv(?:{dot}\w+)*{dot}_\w+{dot}(?=[A-Z])", "", html))


def build(folder: Path) -> list[str]:
    """Write the reference to `folder`; returns the names of the packages documented."""
    names = declare_public_names()
    pdoc.render.configure(
        docformat="google",
        footer_text=f"jaxconv {jaxconv.__version__}",
        template_directory=Path(__file__).parent,
    )
    pdoc.render.env.filters |= {
        "to_markdown": to_markdown,
        "to_html": to_html,
        "format_signature": format_signature,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc("jaxconv", output_directory=folder)
    return names


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print("Documented", ", ".join(build(Path(sys.argv[1]))))
