"""Contractions and training steps with jaxconv and with lax's autodiff, compiled for the device."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...benchmark import peers
from ...benchmark.cases import Case, Conv, Pool
from ...benchmark.peers import CONTRACTIONS, Operands
from .. import steps
from .device import Mode


class Program(NamedTuple):
    """A compiled contraction or step."""

    call: Callable[[], Any]
    wait: Callable[[Any], Any]
    arrays: Callable[[Any], list[np.ndarray]]  # float64, channels last
    iterations: int = 1  # the number of computations in a call
    compiled: Any = None  # by JAX, for an estimate


def contractions_of(case: Case) -> tuple[str, ...]:
    """The contractions, by the names of the benchmark. A pool has no kernel."""
    return ("F", "DX") if isinstance(case, Pool) else ("F", "DX", "DW", "DX+DW")


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
        compiled=executable,
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


def step_program(peer: str, name: str, mode: Mode, batch: int) -> Program:
    """Training steps of a network on random images, each from the state that the last one left.

    The result of a call is the loss.
    """
    function, state = steps.step(name, peer, mode.dtype)
    rng = np.random.default_rng(0)
    images, labels = steps.batch(batch)
    given = (
        jnp.asarray(rng.integers(0, 256, images.shape, np.uint8)),
        jnp.asarray(rng.integers(0, 10, labels.shape, np.int32)),
    )
    state = jax.tree.map(jnp.copy, state)  # donated below, and others start from it, too
    with mode.precisely():
        lowered = jax.jit(function, donate_argnums=(0, 1, 2)).lower(*state, *given)
    executable = lowered.compile()

    def call():
        nonlocal state
        *state, loss = executable(*state, *given)
        return loss

    return Program(
        call=call,
        wait=jax.block_until_ready,
        arrays=lambda loss: [np.asarray(loss, np.float64)],
        compiled=executable,
    )
