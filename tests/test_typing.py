"""Type checkers accept a program written against the library, and find its mistakes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # checkers read all of JAX
ROOT = Path(__file__).parent.parent

PROGRAM = """
import jax
import jax.numpy as jnp
from flax import nnx

from jaxconv import accelerate, avg_pool, conv, explain, max_pool_with_argmax, nn, reference, verify
from jaxconv.backprop import Network
from jaxconv.forms import linear_pair


class Classifier(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nn.Conv(3, 4, (3, 3), strides=2, padding="SAME", rngs=rngs)
        self.pool = nn.MaxPool(2)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pool(self.conv(x))


def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = conv(x, kernel, strides=(2, 1), padding=((1, 1), (0, 1)), kernel_dilation=1)
    return avg_pool(y, 2).sum()


def double(x: jax.Array) -> jax.Array:
    return 2 * x


x = jnp.ones((1, 8, 8, 3))
largest, places = max_pool_with_argmax(x, 2)
y: jax.Array = Classifier(nnx.Rngs(0))(x) + largest.sum() + places.sum()
gradient: jax.Array = jax.grad(loss)(jnp.ones((3, 3, 3, 4)), x)
faster: jax.Array = accelerate(loss)(gradient, x)
text: str = str(explain(loss, gradient, x))
report: verify.GradientReport = verify.check_gradients(double, (x,), order=1)
forward, transpose = linear_pair(double, double)
"""
MISTAKES = {
    "conv(x, x, stride=2)  # no such option": "stride",
    "conv(x, x, impl=3)  # a name": "impl",
    "verify.check_gradients(double)  # no arguments": "args",
    "y = nn.Conv(3, 4)  # no window": "",
    "max_pool_with_argmax(x, 2).sum()  # a pair": "sum",
}

CHECKERS = {
    "mypy": ["mypy", "--strict", "--follow-imports=silent"],  # of the program only
    "pyright": ["pyright", "--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_typed_program(checker, tmp_path, monkeypatch):
    pytest.importorskip(checker)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM + "\n".join(MISTAKES))
    run = subprocess.run(
        [sys.executable, "-m", *CHECKERS[checker], program.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    wrong = {int(line) for line in re.findall(r"program\.py:(\d+):.*error", run.stdout)}
    first = PROGRAM.count("\n") + 1
    assert wrong == set(range(first, first + len(MISTAKES))), run.stdout + run.stderr
