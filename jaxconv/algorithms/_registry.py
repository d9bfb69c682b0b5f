"""Every algorithm by its name: what it computes, when it applies, what it leaves to others."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from .._typing import Array
from . import (
    _costs,
    _cudnn,
    _direct,
    _fourier,
    _group_by_group,
    _halves,
    _patches,
    _phases,
    _pointwise,
    _shifts,
    _strips,
    _taps,
    _tiles,
    _widened,
)
from ._problem import Problem

Corner: TypeAlias = Callable[..., Array]


@dataclass(frozen=True)
class Algorithm:
    """One way to compute corners.

    Attributes:
      corners: For each slot that may be left out, the function that does it.
      why_not: `why_not(problem)` says what keeps it from being used; empty if nothing does.
      cost: Cost of a problem, without that of the problem that it leaves.
      leaves: The problem that it leaves for another algorithm, or None. The corner then takes
        `solve(slot, *operands, geometry=…, dtypes=…)` in place of a precision.
      then: The algorithms to leave it to.
      times: How often the problem that it leaves is solved.
      transforms: Whether it works in another basis. It is then not for integers, each element sees
        all of its example, and rounding errors are relative to the norms of the operands.
      spreads: Whether it multiplies numbers of the error, or of the input, by zeros of its own, so
        that an infinity or NaN reaches elements that do not see it.
      skips_zeros: Whether it computes "y" without the products of kernel and padding.
    """

    corners: Mapping[str, Corner]
    why_not: Callable[[Problem], str]
    cost: Callable[[Problem], float]
    leaves: Callable[[Problem], Problem | None] = lambda problem: None
    then: tuple[str, ...] = ("direct", "widened", "halves", "pointwise")
    times: Callable[[Problem], int] = lambda problem: 1
    transforms: bool = False
    spreads: Callable[[Problem], bool] = lambda problem: False
    skips_zeros: bool = False


def _folding(
    into: Callable[[int], str], slots: str = "xky", *, skips_zeros: bool = False
) -> Algorithm:
    """Taps folded into channels; `into(rank)` says which axes join which slot."""

    def fold(slot, *operands, geometry, **options):
        return _patches.fold(
            slot, *operands, into=into(geometry.rank), geometry=geometry, **options
        )

    return Algorithm(
        {slot: partial(fold, slot) for slot in slots},
        lambda problem: _patches.why_not(problem, into(problem.geometry.rank)),
        lambda problem: _costs.patches(problem, into(problem.geometry.rank)),
        lambda problem: _patches.leaves(problem, into(problem.geometry.rank)),
        times=lambda problem: _patches.times(problem, into(problem.geometry.rank)),
        skips_zeros=skips_zeros,
    )


ALL: dict[str, Algorithm] = {
    "direct": Algorithm(
        {
            "x": _direct.direct_input_vjp,
            "k": _direct.direct_kernel_vjp,
            "y": _direct.direct_forward,
        },
        lambda problem: "",
        _costs.direct,
    ),
    "widened": Algorithm(
        {slot: partial(_widened.widened, slot) for slot in "xky"},
        _widened.why_not,
        _costs.widened,
    ),
    "halves": Algorithm({"k": _halves.halves_kernel_vjp}, _halves.why_not, _costs.halves),
    "pointwise": Algorithm(
        {"x": _pointwise.pointwise_input_vjp, "y": _pointwise.pointwise_forward},
        _pointwise.why_not,
        _costs.pointwise,
    ),
    "strips": Algorithm(
        {"x": _strips.strip_input_vjp, "k": _strips.strip_kernel_vjp},
        _strips.why_not,
        _costs.strips,
        _strips.leaves,
        spreads=lambda problem: True,  # a band of zeros
    ),
    "fourier": Algorithm(
        {
            "x": _fourier.fourier_input_vjp,
            "k": _fourier.fourier_kernel_vjp,
            "y": _fourier.fourier_forward,
        },
        _fourier.why_not,
        _costs.fourier,
        transforms=True,
    ),
    "taps": Algorithm(
        {"x": _taps.taps_input_vjp, "k": _taps.taps_kernel_vjp, "y": _taps.taps_forward},
        _taps.why_not,
        _costs.taps,
    ),
    "tiles": Algorithm(
        {"x": _tiles.tile_input_vjp, "k": _tiles.tile_kernel_vjp, "y": _tiles.tile_forward},
        _tiles.why_not,
        _costs.tiles,
        _tiles.leaves,
    ),
    "phases": Algorithm(
        {slot: partial(_phases.merged, slot) for slot in "xky"},
        _phases.why_not,
        _costs.phases,
        _phases.leaves,
        ("direct", "widened", "strips", "taps", "input_patches", "error_patches", "split_patches"),
        spreads=_phases.fills_up,
    ),
    "input_patches": _folding(lambda rank: "x" * rank),
    "error_patches": _folding(lambda rank: "y" * rank, skips_zeros=True),
    "split_patches": _folding(
        lambda rank: "y" + "x" * (rank - 1) if rank > 1 else "", skips_zeros=True
    ),
    "input_depth": _folding(lambda rank: "x" if rank > 1 else "", "xy"),
    "error_depth": _folding(lambda rank: "y" if rank > 1 else "", "xy", skips_zeros=True),
    "group_by_group": Algorithm(
        {slot: partial(_group_by_group.group_by_group, slot) for slot in "xky"},
        _group_by_group.why_not,
        _costs.group_by_group,
        _group_by_group.leaves,
        (
            "direct",
            "widened",
            "strips",
            "tiles",
            "phases",
            "input_patches",
            "error_patches",
            "split_patches",
            "input_depth",
            "error_depth",
        ),
        lambda problem: problem.geometry.groups,
    ),
    "cudnn": Algorithm(
        {
            "x": _cudnn.cudnn_input_vjp,
            "k": _cudnn.cudnn_kernel_vjp,
            "y": _cudnn.cudnn_forward,
        },
        _cudnn.why_not,
        _costs.for_gpus,
        spreads=_cudnn.fills_up_phases,
    ),
    "shifts": Algorithm(
        {
            "x": _shifts.shift_input_vjp,
            "k": _shifts.shift_kernel_vjp,
            "y": _shifts.shift_forward,
        },
        _shifts.why_not,
        _costs.for_gpus,
    ),
}


def why_not(name: str, problem: Problem, dtypes: Iterable[np.dtype] = ()) -> str:
    """What keeps an algorithm from computing a corner of these dtypes; empty if nothing does."""
    algorithm = ALL[name]
    if algorithm.transforms and not all(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes):
        return "its basis is not one of integers"
    if problem.slot not in algorithm.corners:
        return "it has no such corner"
    return algorithm.why_not(problem)


def applicable(problem: Problem) -> tuple[str, ...]:
    """The names of the algorithms that can compute a corner."""
    return tuple(name for name in ALL if not why_not(name, problem))
