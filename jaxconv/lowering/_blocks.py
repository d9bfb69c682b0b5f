"""Examples taken a few at a time, so that what an algorithm makes of them stays in the caches."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from .._typing import Array
from ._arrays import add_up

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
    if not isinstance(n, int) or n * numbers <= NUMBERS:
        return corner(*operands)
    count = min(n, -(-n * numbers // NUMBERS))
    size = n // count

    def examples(start: int, stop: int) -> list[Array]:
        return [a[start:stop] for s, a in zip(slots, operands, strict=True) if s != "k"]

    def of(block: list[Array]) -> Array:
        some = iter(block)
        return corner(
            *(a if s == "k" else next(some) for s, a in zip(slots, operands, strict=True))
        )

    whole = [a.reshape(count, size, *a.shape[1:]) for a in examples(0, count * size)]
    rest = [of(examples(count * size, n))] if count * size < n else []
    if slot == "k":
        # The first block's is the start of the sum, not zeros: it varies over the axes of a
        # `shard_map` as the others do.
        first, others = of([a[0] for a in whole]), [a[1:] for a in whole]
        total, _ = lax.scan(lambda total, block: (total + of(block), None), first, others)
        return add_up([total, *rest])
    parts = lax.map(of, whole)
    return jnp.concatenate([parts.reshape(count * size, *parts.shape[2:]), *rest])
