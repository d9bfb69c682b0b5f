"""The fixture `gradient_check`, in a run of pytest of its own."""

import tomllib
from importlib import import_module
from pathlib import Path

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parent.parent
TESTS = """
import sys

def test_jax_is_not_imported_yet():
    assert "jaxconv.pytest_plugin" in sys.modules
    assert "jax" not in sys.modules

def test_right(gradient_check):
    import jax.numpy as jnp
    assert gradient_check(jnp.tanh, (jnp.array([0.5, -1.0]),), order=1).ok

def test_wrong(gradient_check):
    import jax, jax.numpy as jnp
    square = jax.custom_vjp(lambda x: x**2)
    square.defvjp(lambda x: (x**2, x), lambda x, y_bar: (x * y_bar,))
    square.__name__ = "square"
    gradient_check(square, (jnp.array([1.0, 2.0, 3.0]),), order=1)
"""


def test_the_report_is_in_the_failure(pytester, monkeypatch):
    pytester.makepyfile(TESTS)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # An installed plugin is loaded under the name of its entry point, and may not be so twice.
    plugins = ("-p", "no:jaxconv", "-p", "jaxconv.pytest_plugin", "-p", "no:cacheprovider")
    run = pytester.runpytest_subprocess(*plugins)
    run.assert_outcomes(passed=2, failed=1)
    run.stdout.fnmatch_lines(
        [
            "*the gradient of square is wrong: a constant factor of 0.5*",
            "*gradient of square*",
            "*a constant factor of 0.5*",
        ]
    )


def test_pytest_finds_the_plugin_where_it_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module = import_module(project["entry-points"]["pytest11"]["jaxconv"])
    assert hasattr(module, "gradient_check")
