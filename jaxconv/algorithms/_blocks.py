"""Examples taken a few at a time, so that what an algorithm makes of them stays in the caches."""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import lax

from .._typing import Array
from ._arrays import add_up, sum_in_loop

# Numbers that a block may make: a few megabytes, what the caches of a core hold.
NUMBERS = 750_000


def in_blocks(
    corner: Callable[..., Array], slot: str, operands: tuple[Array, ...], numbers: int
) -> Array:
    """Evaluate the corner that leaves `slot` out, for some examples at a time.

    Each example makes so many `numbers`. Kernel gradients of the blocks are added up, the other
    corners' results follow one another. A symbolic number of examples is one block.
    """
    slots = [s for s in "xky" if s != slot]
    n = next(a.shape[0] for s, a in zip(slots, operands, strict=True) if s != "k")
    if not isinstance(n, int) or (size := block(n, numbers)) == n:
        return corner(*operands)
    count = n // size

    def examples(start: int, stop: int) -> list[Array]:
        return [
            lax.slice_in_dim(a, start, stop)
            for s, a in zip(slots, operands, strict=True)
            if s != "k"
        ]

    def of(part: list[Array]) -> Array:
        some = iter(part)
        return corner(
            *(a if s == "k" else next(some) for s, a in zip(slots, operands, strict=True))
        )

    whole = [a.reshape(count, size, *a.shape[1:]) for a in examples(0, count * size)]
    rest = [of(examples(count * size, n))] if count * size < n else []
    if slot == "k":
        # Brackets around the index of a loop take milliseconds to trace.
        take = partial(lax.dynamic_index_in_dim, keepdims=False)
        total = sum_in_loop(lambda i: of([take(a, i) for a in whole]), count)
        return add_up([total, *rest])
    parts = lax.map(of, whole)
    return jnp.concatenate([parts.reshape(count * size, *parts.shape[2:]), *rest])


def block(n: int, numbers: int) -> int:
    """How many of `n` examples to take at a time, where each makes so many `numbers`.

    All of them, rather than a loop of hardly two turns; else as many as the caches hold, or fewer
    by up to half so that none are left over, which would take a program of their own.
    """
    if n * numbers < 2 * NUMBERS:
        return n
    most = min(n, max(NUMBERS // numbers, 1))
    return next((size for size in range(most, most // 2, -1) if n % size == 0), most)
