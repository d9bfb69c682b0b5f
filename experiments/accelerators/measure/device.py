"""Timing on a device that computes asynchronously, and the rates that limit every program on it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..roofline import LAUNCH, Rates


class Mode(NamedTuple):
    """The dtype of the arrays, and the precision of multiplications."""

    dtype: str
    precision: str  # of matrix products in JAX
    eps: float  # of a product's operands

    def precisely(self) -> AbstractContextManager:
        """A context in which JAX traces matrix products and convolutions with this precision."""
        return jax.default_matmul_precision(self.precision)


MODES = {
    "float32": Mode("float32", "highest", 2.0**-23),
    "tf32": Mode("float32", "default", 2.0**-10),
    "bfloat16": Mode("bfloat16", "default", 2.0**-7),
}


class Size(NamedTuple):
    """The sizes of the measurements."""

    matrix: int  # rows of the matrices whose product is timed
    megabytes: int  # of the array that measures the memory rate
    seconds: float  # the least duration of a run, which repeats calls accordingly
    repeats: int  # the number of runs; the median counts
    batch: int  # images of a training step


_MOST_CALLS = 2**12  # in one run

FULL = Size(matrix=8192, megabytes=1024, seconds=0.02, repeats=9, batch=500)
TINY = Size(matrix=64, megabytes=1, seconds=0.0, repeats=1, batch=4)


def seconds_of(call: Callable[[], Any], wait: Callable[[Any], Any], size: Size) -> float:
    """Seconds of one call. Calls are queued without waiting, to exclude the time of the host."""
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


def measured_rates(size: Size) -> Rates:
    """The rates of large matrix products, and of a pass over a large array."""
    products = {name: 2 * size.matrix**3 / _product_seconds(MODES[name], size) for name in MODES}
    array = jnp.zeros(size.megabytes * 2**18, jnp.float32)
    step = jax.jit(lambda x: x + 1).lower(array).compile()
    seconds = seconds_of(lambda: step(array), jax.block_until_ready, size)
    return Rates(
        bytes=2 * array.nbytes / seconds,
        products=products,
        operations=products["float32"],
        link=float("inf"),  # one device
        launch=LAUNCH.get(jax.default_backend(), 0.0),
    )


def _product_seconds(mode: Mode, size: Size) -> float:
    matrix = jnp.ones((size.matrix, size.matrix), mode.dtype)
    with mode.precisely():
        product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return seconds_of(lambda: product(matrix, matrix), jax.block_until_ready, size)
