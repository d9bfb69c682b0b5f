"""Timing of several programs on a machine whose speed changes."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LEAST_RUNS = 3  # of each program, so that the median means something
LONG = 0.5  # seconds; programs that take longer run less often, but at least LEAST_RUNS times
SLOWDOWN = 0.85  # the machine is slow if a matrix product falls to this fraction of its rate


class Program(NamedTuple):
    """A computation of one peer."""

    run: Callable[[], Any]  # computes and waits for the result
    arrays: Callable[[Any], list[np.ndarray]]  # converts the result of `run`, channels last
    iterations: int = 1  # the number of computations in a run


class Timing(NamedTuple):
    """Seconds of one computation, over several runs."""

    median: float
    lower: float  # quartile
    upper: float
    runs: int


def interleaved(programs: Mapping[str, Program], repeats: int) -> dict[str, Timing]:
    """Time programs in turn, round by round, so that a slow phase affects all of them alike.

    Each round has another order: a program is up to a tenth slower after one that used up the
    caches, and no peer shall always be that one. Each program must have run before. Programs that
    take longer than `LONG` run in fewer rounds.
    """
    estimates = {name: _seconds(program) for name, program in programs.items()}
    runs = {
        name: max(LEAST_RUNS, min(repeats, int(repeats * LONG / max(seconds, 1e-9))))
        for name, seconds in estimates.items()
    }
    # The start has little effect on a long run, so that the estimate counts as its first run.
    seconds = {name: [first] if first > LONG else [] for name, first in estimates.items()}
    rng, names = np.random.default_rng(0), list(programs)
    for _ in range(max(runs.values(), default=0)):
        for place in rng.permutation(len(names)):
            name = names[place]
            if len(seconds[name]) < runs[name]:
                if estimates[name] < LONG / 10:
                    _settle(programs[name])
                seconds[name].append(_seconds(programs[name]))
    return {name: _summary(values, programs[name].iterations) for name, values in seconds.items()}


def _settle(program: Program) -> None:
    """Wait for the threads of the last program, and load the data of this one into the caches.

    The threads of a library spin for a moment before they sleep, and slow down the next program.
    """
    time.sleep(0.005)
    program.run()


def _seconds(program: Program) -> float:
    start = time.perf_counter()
    program.run()
    return time.perf_counter() - start


def _summary(seconds: list[float], iterations: int) -> Timing:
    lower, median, upper = np.quantile(seconds, [0.25, 0.5, 0.75]) / iterations
    return Timing(float(median), float(lower), float(upper), len(seconds))


# ---- the machine -----------------------------------------------------------------------------


class Machine:
    """The rates of this machine, which limit every algorithm."""

    def __init__(self, size: int = 2048, megabytes: int = 128):
        self._matrix = jnp.ones((size, size), jnp.float32)
        self._product = jax.jit(jnp.matmul).lower(self._matrix, self._matrix).compile()
        self._megabytes = megabytes

    def gemm_rate(self) -> float:
        """Operations per second of a large float32 matrix product, the best of three."""
        best = min(_seconds(Program(self._multiply, list)) for _ in range(3))
        return 2 * len(self._matrix) ** 3 / best

    def bandwidth(self) -> float:
        """Bytes per second to and from memory, the best of several passes over a large array."""
        # In place, because new memory would cause page faults.
        step = jax.jit(lambda x: x + 1, donate_argnums=0)
        x = step(jnp.zeros(self._megabytes * 2**18, jnp.float32))
        best = float("inf")
        for _ in range(7):
            start = time.perf_counter()
            x = jax.block_until_ready(step(x))
            best = min(best, time.perf_counter() - start)
        return 2 * x.nbytes / best

    def _multiply(self):
        return jax.block_until_ready(self._product(self._matrix, self._matrix))
