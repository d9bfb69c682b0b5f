"""The hints about the functions are true."""

import numpy as np

from experiments.verifier import functions
from experiments.verifier.cases import Draw


def test_hints_are_true():
    """A function that is linear in x has f(2x) - f(x) = f(x) - f(0)."""
    draw = Draw(0, "float32")
    for f, positions in functions.LINEAR_IN.items():
        args = draw("x", "k") if len(positions) > 1 else (draw("x"),)
        for i in positions:
            start, once, twice = (f(*args[:i], t * args[i], *args[i + 1 :]) for t in (0, 1, 2))
            assert np.allclose(twice - once, once - start, atol=1e-4)
