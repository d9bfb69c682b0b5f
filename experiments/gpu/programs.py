"""The contractions of a case with jaxconv and with lax's autodiff on a device."""

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark import peers
from experiments.benchmark.cases import Case, Conv, Pool
from experiments.benchmark.peers import CONTRACTIONS, Operands

from .device import Mode

_LIBRARY_CALL = re.compile(r'"(__(?:cudnn|cublas|triton|miopen)[\w$]*)"')


class Program(NamedTuple):
    """A compiled contraction."""

    call: Callable[[], Any]
    wait: Callable[[Any], Any]
    arrays: Callable[[Any], list[np.ndarray]]  # float64, channels last
    iterations: int = 1  # the number of computations in a call
    libraries: str = ""  # the library calls in it, such as "2 __cudnn$convForward"


def contractions_of(case: Case) -> tuple[str, ...]:
    """The contractions, by the names of the benchmark. A pool has no kernel."""
    return ("F", "DX") if isinstance(case, Pool) else ("F", "DX", "DW")


def jax_program(
    peer: str, case: Case, contraction: str, given: Operands, mode: Mode, *, scan: bool = False
) -> Program:
    """The contraction with "jaxconv" or "autodiff", at top level or in a `lax.scan`."""
    operands = [None if a is None else jnp.asarray(a, mode.dtype) for a in given]
    with mode.precisely():
        function, arguments = _function(peer, case, contraction, *operands)
        looped = peers.in_loop(function) if scan else function
        executable = jax.jit(looped).lower(*arguments).compile()
    return Program(
        call=lambda: executable(*arguments),
        wait=jax.block_until_ready,
        arrays=lambda result: [np.asarray(array, np.float64) for array in result],
        iterations=peers.ITERATIONS if scan else 1,
        libraries=library_calls(executable.as_text() or ""),
    )


def _function(peer: str, case: Case, contraction: str, x, k, y) -> tuple[Callable, tuple]:
    ours = peer == "jaxconv"
    if isinstance(case, Conv):
        return (peers.ours if ours else peers.autodiff)(case, CONTRACTIONS[contraction]), (x, k, y)
    pool = peers.our_pool(case) if ours else peers.plain_pool(case)
    if contraction == "F":
        return lambda x: (pool(x),), (x,)
    # From the residuals of the forward pass, as in a training step.
    _, pull_back = jax.jit(partial(jax.vjp, pool))(x)
    return lambda pull_back, y: pull_back(y), (pull_back, y)


def library_calls(compiled: str) -> str:
    """The calls of cuDNN, cuBLAS, MIOpen and Triton's products in a compiled program's text."""
    counted = Counter(_LIBRARY_CALL.findall(compiled))
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in sorted(counted.items()))
