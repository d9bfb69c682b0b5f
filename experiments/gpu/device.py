"""Timing on a device that runs behind its host, and the rates that bound every program on it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Mode(NamedTuple):
    """A way to compute: the dtype of the arrays, and what the multiplications may round to."""

    dtype: str
    precision: str  # of matrix products in JAX
    eps: float  # of a product's operands

    def precisely(self) -> AbstractContextManager:
        """Within it, JAX traces matrix products and convolutions with this precision."""
        return jax.default_matmul_precision(self.precision)


MODES = {
    "float32": Mode("float32", "highest", 2.0**-23),
    "tf32": Mode("float32", "default", 2.0**-10),
    "bfloat16": Mode("bfloat16", "default", 2.0**-7),
}


class Size(NamedTuple):
    """How much to measure with."""

    matrix: int  # rows of the matrices whose product is timed
    megabytes: int  # of the array that is read and written
    seconds: float  # that one timed run takes at least, in as many calls as needed
    repeats: int  # timed runs, of which the median counts


_MOST_CALLS = 2**12  # in one run

FULL = Size(matrix=8192, megabytes=1024, seconds=0.02, repeats=9)
TINY = Size(matrix=64, megabytes=1, seconds=0.0, repeats=1)


def seconds_of(call: Callable[[], Any], wait: Callable[[Any], Any], size: Size) -> float:
    """Seconds of one call: calls are queued without waiting, so that the host is not in the way."""
    wait(call())
    count = 1
    while _run(call, wait, count) < size.seconds and count < _MOST_CALLS:
        count *= 2
    return float(np.median([_run(call, wait, count) for _ in range(size.repeats)])) / count


def _run(call, wait, count) -> float:
    start = time.perf_counter()
    for _ in range(count):
        result = call()
    wait(result)
    return time.perf_counter() - start


class Roofline(NamedTuple):
    """What no program can exceed: operations a second in each mode, and bytes a second."""

    operations: dict[str, float]
    bytes: float

    def seconds(self, mode: str, operations: float, moved: float) -> float:
        """The least time for so many operations on so many bytes."""
        return max(operations / self.operations[mode], moved / self.bytes)


def measured_roofline(size: Size, modes: list[str]) -> Roofline:
    """The rates of a large matrix product, and of a pass over a large array."""
    rates = {mode: 2 * size.matrix**3 / _product_seconds(MODES[mode], size) for mode in modes}
    array = jnp.zeros(size.megabytes * 2**18, jnp.float32)
    step = jax.jit(lambda x: x + 1).lower(array).compile()
    seconds = seconds_of(lambda: step(array), jax.block_until_ready, size)
    return Roofline(rates, 2 * array.nbytes / seconds)


def _product_seconds(mode: Mode, size: Size) -> float:
    matrix = jnp.ones((size.matrix, size.matrix), mode.dtype)
    with mode.precisely():
        product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return seconds_of(lambda: product(matrix, matrix), jax.block_until_ready, size)
