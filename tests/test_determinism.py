"""The same program gives the same bits: run again, in and out of `jit`, in another process.

With another number of threads, XLA may divide the long sums of products of matrices in another way.
Gradients of kernels are such products, and which of them it divides depends on its version. All
other results keep their bits then, too.
"""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv

ROOT = Path(__file__).parent.parent
EXHAUSTIVE = pytest.mark.exhaustive
POOL = {"window_shape": 3, "strides": 2, "padding": "SAME"}

# Operations, and the shapes of their operands: sizes at which XLA uses several threads.
MAP = (8, 33, 32, 16)
OPERATIONS = {
    "conv": (partial(jaxconv.conv, padding="SAME"), (MAP, (3, 3, 16, 32))),
    "conv, strided": (partial(jaxconv.conv, strides=2), (MAP, (5, 5, 16, 24))),
    "conv, pointwise": (jaxconv.conv, (MAP, (1, 1, 16, 64))),
    "conv, depthwise": (partial(jaxconv.conv, feature_group_count=16), (MAP, (3, 3, 1, 16))),
    "conv, first layer": (partial(jaxconv.conv, strides=2), ((8, 64, 64, 3), (7, 7, 3, 32))),
    "conv_transpose": (partial(jaxconv.conv_transpose, strides=2), (MAP, (4, 4, 8, 16))),
    "conv_block": (partial(jaxconv.conv_block, window_shape=2), (MAP, (3, 3, 16, 16), (16,))),
    "dense": (jaxconv.dense, ((256, 1024), (1024, 128))),
    "add_bias": (jaxconv.add_bias, (MAP, (16,))),
    "max_pool": (partial(jaxconv.max_pool, **POOL), (MAP,)),
    "min_pool": (partial(jaxconv.min_pool, ties="split", **POOL), (MAP,)),
    "sum_pool": (partial(jaxconv.sum_pool, **POOL), (MAP,)),
    "avg_pool": (partial(jaxconv.avg_pool, **POOL), (MAP,)),
    "lp_pool": (partial(jaxconv.lp_pool, p=3, **POOL), (MAP,)),
    "global_avg_pool": (jaxconv.global_avg_pool, (MAP,)),
    "adaptive_avg_pool": (partial(jaxconv.adaptive_avg_pool, output_size=5), (MAP,)),
    "adaptive_max_pool": (partial(jaxconv.adaptive_max_pool, output_size=5), (MAP,)),
    "unfold": (partial(jaxconv.unfold, window_shape=3), (MAP,)),
    "fold": (partial(jaxconv.fold, window_shape=3), ((8, 16, 16, 72),)),
    "upscale": (partial(jaxconv.upscale, factor=2, method="bilinear"), (MAP,)),
}  # fmt: skip


def with_cotangents(f):
    """A function of the operands: the result and all cotangents, for a cotangent of ones."""

    def run(*operands):
        y, pull_back = jax.vjp(f, *operands)
        return y, pull_back(jnp.ones_like(y) / 3)

    return run


def operands_of(name):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in OPERATIONS[name][1]]


def bits(results):
    return [np.asarray(a).tobytes() for a in jax.tree.leaves(results)]


# Those that XLA computes with products of matrices or sums over all examples, and a pool.
SAMPLE = ("conv", "conv, pointwise", "conv, depthwise", "dense", "max_pool", "sum_pool")
ALL = [name if name in SAMPLE else pytest.param(name, marks=EXHAUSTIVE) for name in OPERATIONS]


@pytest.mark.parametrize("name", ALL)
def test_repeats_give_the_same_bits(name):
    run, operands = jax.jit(with_cotangents(OPERATIONS[name][0])), operands_of(name)
    first = bits(run(*operands))
    assert all(bits(run(*operands)) == first for _ in range(100))


@pytest.mark.parametrize("name", ALL)
def test_out_of_jit_as_in_it(name):
    """One operation is the same program either way."""
    f, operands = OPERATIONS[name][0], operands_of(name)
    assert bits(f(*operands)) == bits(jax.jit(f)(*operands))


def save(path, names):
    """The results of operations and their cotangents, in a file."""
    results = {
        f"{name}, {i}": np.asarray(a)
        for name in names
        for i, a in enumerate(
            jax.tree.leaves(jax.jit(with_cotangents(OPERATIONS[name][0]))(*operands_of(name)))
        )
    }
    np.savez(path, **results)


def in_a_process(path, names, threads):
    """What another process computes with so many threads: the arrays by name."""
    code = f"import tests.test_determinism as t; t.save({str(path)!r}, {[*names]})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"NPROC": str(threads), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as found:
        return dict(found)


def may_be_divided(result):
    """Whether XLA may divide the sums of a result among threads: the gradient of a kernel."""
    return result.startswith(("conv", "dense")) and result.endswith(", 2")


@pytest.mark.exhaustive  # each process imports and compiles: seconds
@pytest.mark.parametrize("names", [("conv", "conv, pointwise", "max_pool"), [*OPERATIONS]])
def test_another_process_gives_the_same_bits(names, tmp_path):
    first, again, alone = (
        in_a_process(tmp_path / f"{i}.npz", names, threads) for i, threads in enumerate((2, 2, 1))
    )
    for name, a in first.items():
        assert a.tobytes() == again[name].tobytes(), name
        if not may_be_divided(name):
            assert a.tobytes() == alone[name].tobytes(), name
        # Sums of at most 2^14 terms of magnitude about one.
        np.testing.assert_allclose(a, alone[name], rtol=1e-4, atol=1e-2, err_msg=name)
