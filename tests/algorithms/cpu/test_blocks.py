"""Examples in blocks give what all of them give at once."""

import jax
import numpy as np
import pytest

from jaxconv import algorithms
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.cpu import _blocks
from tests.algorithms.problems import geometry_of, operands_of, spec_of


@pytest.mark.parametrize("n", [7, 12])  # with and without a rest
@pytest.mark.parametrize("slot", Slot)
def test_blocks_give_what_the_whole_gives(slot, n, normal, monkeypatch):
    problem = Problem(slot, geometry_of((6, 5), (3, 2)), n, 2, 4)
    operands, spec = operands_of(problem, normal, "float32"), spec_of(problem.geometry, "float32")

    def contraction(*operands):
        return algorithms.run_algorithm("input_patches", slot, spec, *operands)

    whole = jax.jit(lambda *operands: contraction(*operands))(*operands)
    monkeypatch.setattr(_blocks, "BLOCK_ELEMENTS", 500)  # 240 an example: blocks of 2
    assert "scan" in str(jax.make_jaxpr(contraction)(*operands))
    in_blocks = jax.jit(lambda *operands: contraction(*operands))(*operands)
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-5, atol=1e-5)
