"""Examples taken a few at a time, so that what an algorithm makes of them stays in the caches."""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from jax import lax

from ..._spec import Slot
from ..._typing import Array
from ..shared._arrays import add_up, sum_in_loop

# Elements that an algorithm makes of one block: a few megabytes, what the caches of a core hold.
BLOCK_ELEMENTS = 750_000


def in_blocks(
    contraction: Callable[..., Array], slot: Slot, operands: Sequence[Array], elements: int
) -> Array:
    """Compute the contraction that leaves `slot` empty, for some examples at a time.

    Args:
      contraction: The contraction, as a function of its two operands.
      slot: Its empty slot.
      operands: Both operands, for all examples. A kernel is not cut.
      elements: How many elements the contraction makes of one example.

    Returns:
      The sum of the blocks' results where the kernel's slot is empty, else one after the other. A
      symbolic number of examples is one block.
    """
    slots = slot.others
    n = next(a.shape[0] for s, a in zip(slots, operands, strict=True) if s != Slot.KERNEL)
    if not isinstance(n, int) or (size := block_size(n, elements)) == n:
        return contraction(*operands)
    count = n // size

    def examples(start: int, stop: int) -> list[Array]:
        return [
            lax.slice_in_dim(a, start, stop)
            for s, a in zip(slots, operands, strict=True)
            if s != Slot.KERNEL
        ]

    def of_block(part: list[Array]) -> Array:
        some = iter(part)
        pairs = zip(slots, operands, strict=True)
        return contraction(*(a if s == Slot.KERNEL else next(some) for s, a in pairs))

    whole = [a.reshape(count, size, *a.shape[1:]) for a in examples(0, count * size)]
    rest = [of_block(examples(count * size, n))] if count * size < n else []
    if slot == Slot.KERNEL:
        # a[i] with the index of a loop takes milliseconds to trace.
        take = partial(lax.dynamic_index_in_dim, keepdims=False)
        total = sum_in_loop(lambda i: of_block([take(a, i) for a in whole]), count)
        return add_up([total, *rest])
    parts = lax.map(of_block, whole)
    return jnp.concatenate([parts.reshape(count * size, *parts.shape[2:]), *rest])


def block_size(n: int, elements: int) -> int:
    """How many of `n` examples to take at a time, if each makes so many `elements`.

    If that gives fewer than two blocks, all examples are taken at once. Otherwise a block has as
    many examples as the caches hold. It has up to half as many if the number of examples is then a
    multiple of it, because a rest needs a program of its own.
    """
    if n * elements < 2 * BLOCK_ELEMENTS:
        return n
    most = min(n, max(BLOCK_ELEMENTS // elements, 1))
    return next((size for size in range(most, most // 2, -1) if n % size == 0), most)
