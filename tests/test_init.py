"""`import jaxconv` is light, and has every function and package that the README names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxconv

ROOT = Path(__file__).parent.parent
PACKAGES = {"backprop", "derivations", "forms", "lax", "nn", "reference", "verify"}


def prints(program: str) -> list[str]:
    """The lines that a program prints in a process of its own."""
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


LOADED = "print(*sorted(name for name in sys.modules if name.partition('.')[0] in {names}))\n"


def test_front_door_is_light():
    heavy = {"jax", "flax", "chex", "optax", "matplotlib", "rich", "tensorflow_datasets"}
    shown = LOADED.format(names=heavy | {"jaxconv", "jaxlib", "numpy", "jaxtyping"})
    of_jax = "import jax, jaxlib, numpy, jaxtyping\n"
    program = f"import sys, jaxconv\n{shown}{of_jax}before = {{*sys.modules}}\n"
    program += "jaxconv.conv, jaxconv.max_pool\nprint(*sorted({*sys.modules} - before))\n"
    at_first, for_operations = (set(line.split()) for line in prints(program))
    assert at_first == {"jaxconv"}
    # What an operation needs, and no more: the other packages wait until they are used.
    rooms = {name.split(".")[1] for name in for_operations if name.startswith("jaxconv.")}
    assert rooms == {
        "_arguments",
        "_compilation",
        "_geometry",
        "_keys",
        "_spec",
        "_typing",
        "algorithms",
        "forms",
        "ops",
    }
    assert {name.partition(".")[0] for name in for_operations}.isdisjoint(heavy - {"jax"})
    assert not any(name.startswith(("jax.extend", "jax._src.pallas")) for name in for_operations)


def test_names_are_found_on_first_use():
    assert PACKAGES <= set(dir(jaxconv))
    for name in dir(jaxconv):
        assert getattr(jaxconv, name) is not None
    everything = {}
    exec("from jaxconv import *", everything)
    assert everything["conv"] is jaxconv.conv
    assert jaxconv.derivations.convolution_error().title
    with pytest.raises(AttributeError, match="module 'jaxconv' has no attribute 'convolve'"):
        _ = jaxconv.convolve
    with pytest.raises(ImportError, match="cannot import name 'convolve' from 'jaxconv'"):
        exec("from jaxconv import convolve")


def test_type_checkers_are_told_of_every_name():
    source = (ROOT / "jaxconv" / "__init__.py").read_text()
    told = set(re.findall(r"^    from \.\S* import (\w+) as \1$", source, re.MULTILINE))
    found = {name for name in dir(jaxconv) if not name.startswith("_")}
    assert told == found


def test_a_missing_extra_is_named():
    program = """
import sys
sys.modules["flax"] = None  # as if it was not installed
import jaxconv
print("nn" in dir(jaxconv))
for statement in ("jaxconv.nn", "import jaxconv.nn", "from jaxconv import nn"):
    try:
        exec(statement)
    except ModuleNotFoundError as error:
        print(error)
"""
    message = 'jaxconv.nn needs Flax: pip install "jaxconv[nn]"'
    assert prints(program) == ["False", *[message] * 3]
