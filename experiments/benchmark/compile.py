"""Suite `compile`: the time to compile a value and its gradient, and training loops of networks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from ..data import Split
from ..training.trainer import Trainer
from .cases import Case, Conv
from .networks import flax_network
from .ops import timed
from .peers import forward, in_loop, shapes
from .step import noise
from .timing import Machine, Program

Row = dict[str, Any]
PEERS = ("jaxconv", "autodiff")  # PyTorch's eager mode does not compile
CORNER = "value_and_grad"


def count_rows(cases: Sequence[Case], networks: Sequence[str], modes: tuple[str, ...]) -> int:
    """The number of rows that `rows` yields."""
    return len(cases) * len(modes) + len(networks) * ("scan" in modes)


def rows(
    cases: Iterable[Case],
    networks: Iterable[str],
    *,
    modes: tuple[str, ...],
    repeats: int,
    dtype: str,
    impl: str | None,
    machine: Machine,
    batch_size: int = 500,
) -> Iterator[Row]:
    """For each case and mode the seconds from a Python function to an executable.

    Args:
      cases: The cases.
      networks: Names of `cases.NETWORKS`. Their training loops are scans.
      modes: "entry", "scan" or both.
      repeats: As in `ops.rows`.
      dtype: As in `ops.rows`.
      impl: As in `ops.rows`.
      machine: As in `ops.rows`.
      batch_size: The number of images of a training step.
    """
    for case in cases:
        for mode in modes:
            programs = {
                peer: _program(peer, case, mode, dtype, impl if peer == "jaxconv" else None)
                for peer in PEERS
            }
            kind = "conv" if isinstance(case, Conv) else "pool"
            yield _row(case.name, kind, CORNER, mode, programs, repeats, machine)
    images = noise(batch_size)
    for name in networks if "scan" in modes else ():
        programs = {peer: _training(peer, name, images) for peer in PEERS}
        yield _row(name, "step", f"batch {batch_size}", "scan", programs, repeats, machine)


def _row(case: str, kind: str, contraction: str, mode: str, programs, repeats, machine) -> Row:
    for program in programs.values():
        program.run()
    names = {"case": case, "kind": kind, "contraction": contraction, "mode": mode}
    return names | timed(programs, repeats, machine) | {"errors": {}}


def _value_and_grad(f: Callable[..., jax.Array], count: int) -> Callable[..., Any]:
    """`<f(...), y_bar>` and its gradient by the first `count` arguments. The last one is y_bar."""

    def loss(*arguments):
        return jnp.vdot(f(*arguments[:-1]), arguments[-1])

    return jax.value_and_grad(loss, tuple(range(count)))


def _program(peer: str, case: Case, mode: str, dtype: str, impl: str | None) -> Program:
    arguments = shapes(case, dtype)
    f = _value_and_grad(forward(peer, case, impl), len(arguments) - 1)

    def run():
        # A new function each time, because JAX caches what it has compiled.
        def fresh(*arguments):
            return f(*arguments)

        return jax.jit(fresh if mode == "entry" else in_loop(fresh)).lower(*arguments).compile()

    return Program(run, lambda _: [])


def _training(peer: str, name: str, images: Split) -> Program:
    model, score = flax_network(peer, name)

    def run():
        trainer = Trainer(score, optax.sgd(0.01), images, batch_size=images.size)
        trainer.start(nnx.clone(model), seed=0)  # compiles, because the trainer is new

    return Program(run, lambda _: [])
