"""What runs for one primitive: its replacement, checked and with the types of the primitive.

A rule says what replaces a primitive (`_replacement.py`). It knows no weak types, shardings, or
settings of the user. This file sees to these, for all rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp

from ..ops._explain import ExplainedPrimitive
from . import _jax
from ._replacement import Kept, Replacement, replacement_of


@dataclass(frozen=True)
class Choice:
    """What runs for a primitive.

    Attributes:
      run: From the operands to the results, or None if the primitive stays.
      program: The program of `run`, or None.
      met: The primitive, as `explain` shows it.
    """

    run: Callable[..., Sequence[Any]] | None
    program: _jax.Program
    met: ExplainedPrimitive


def choose(primitive: Any, avals: Sequence[Any], params: Mapping[str, Any]) -> Choice:
    """What runs for a primitive that has a rule."""
    key = primitive, tuple(avals), tuple(sorted(params.items()))
    # What a trace of the replacement depends on.
    settings = jax.sharding.get_abstract_mesh(), jax.config.read("jax_enable_x64")
    return _chosen(*key, settings)


@lru_cache(maxsize=4096)
def _chosen(primitive: Any, avals: tuple[Any, ...], params: tuple[Any, ...], _: Any) -> Choice:
    def original(*operands):
        return primitive.bind(*operands, **dict(params))

    results = _jax.program_of(original, avals).out_avals
    answer = _answer(primitive, avals, dict(params))
    run = program = None
    if isinstance(answer, Replacement):
        run = _with_types(answer.run, results)
        try:
            program = _jax.program_of(run, avals)
        except ValueError as error:
            if not any(_is_sharded(aval) for aval in avals):
                raise
            # The library's functions say which axes they do not take sharded.
            answer = Kept(str(error))
        else:
            if list(program.out_avals) != list(results):
                types = ", ".join(str(aval) for aval in program.out_avals)
                answer = Kept(f"its replacement returns {types}")
        if isinstance(answer, Kept):
            run = program = None
    return Choice(run, program, _explained(primitive, avals, results, answer))


def _answer(primitive: Any, avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    if not all(isinstance(size, int) for aval in avals for size in aval.shape):
        return Kept("its shapes have symbols in them")
    return replacement_of(primitive, avals, params)


def _with_types(
    run: Callable[..., Sequence[Any]], results: Sequence[Any]
) -> Callable[..., Sequence[Any]]:
    """A replacement that keeps weak types and does not see the user's settings.

    The settings went into the primitive's parameters when it was bound.
    """

    def typed(*operands):
        with (
            jax.default_matmul_precision(None),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            arrays = run(*map(jnp.asarray, operands))  # NumPy's arrays come as they are
            return [
                _jax.weak(array) if aval.weak_type else array
                for array, aval in zip(arrays, results, strict=True)
            ]

    return typed


def _is_sharded(aval: Any) -> bool:
    return any(axes is not None for axes in aval.sharding.spec)


def _explained(
    primitive: Any, avals: Sequence[Any], results: Sequence[Any], answer: Replacement | Kept
) -> ExplainedPrimitive:
    replaced = isinstance(answer, Replacement)
    return ExplainedPrimitive(
        path=(primitive.name,),
        operands=tuple(aval.shape for aval in avals),
        results=tuple(aval.shape for aval in results),
        dtypes=tuple(str(aval.dtype) for aval in avals),
        runs=answer.description if replaced else None,
        reason=None if replaced else answer.reason,
    )
