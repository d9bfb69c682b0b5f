"""Suite `compile`: how long XLA takes for a value and its gradient, at top level and in a loop."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from .cases import Case, Conv
from .ops import timed
from .peers import forward, in_loop, shapes
from .timing import Machine, Program

Row = dict[str, Any]
PEERS = ("jaxconv", "autodiff")  # PyTorch's eager mode compiles nothing
CORNER = "value_and_grad"


def rows(
    cases: Iterable[Case],
    *,
    modes: tuple[str, ...],
    repeats: int,
    dtype: str,
    impl: str | None,
    machine: Machine,
) -> Iterator[Row]:
    """For each case and mode the seconds from a Python function to an executable.

    Args:
      cases, modes, repeats, dtype, impl, machine: As for the suite `ops`.
    """
    for case in cases:
        for mode in modes:
            programs = {
                peer: _program(peer, case, mode, dtype, impl if peer == "jaxconv" else None)
                for peer in PEERS
            }
            for program in programs.values():
                program.run()
            kind = "conv" if isinstance(case, Conv) else "pool"
            names = {"case": case.name, "kind": kind, "corner": CORNER, "mode": mode}
            yield names | timed(programs, repeats, machine) | {"errors": {}}


def _value_and_grad(f: Callable[..., jax.Array], count: int) -> Callable[..., Any]:
    """`<f(...), y_bar>` and its gradient in the first `count` arguments; the last one is y_bar."""

    def loss(*arguments):
        return jnp.vdot(f(*arguments[:-1]), arguments[-1])

    return jax.value_and_grad(loss, tuple(range(count)))


def _program(peer: str, case: Case, mode: str, dtype: str, impl: str | None) -> Program:
    arguments = shapes(case, dtype)
    f = _value_and_grad(forward(peer, case, impl), len(arguments) - 1)

    def run():
        # A new function each time: JAX remembers what it compiled for the old one.
        def fresh(*arguments):
            return f(*arguments)

        return jax.jit(fresh if mode == "entry" else in_loop(fresh)).lower(*arguments).compile()

    return Program(run, lambda _: [])
