"""Convolutions of lax, read as contractions of the trilinear form.

`ops/_readings.py` derives the readings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import lax

from .. import algorithms
from ..ops import _readings
from ._replacement import Kept, Replacement, rule


@rule(lax.conv_general_dilated_p)
def _convolution(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    lhs, rhs = avals
    convolution = _readings.convolution_of(lhs, rhs, params)
    if reason := _readings.why_not(convolution):
        return Kept(reason)
    reading = _readings.read(convolution)
    platform = jax.default_backend()
    if _has_only_the_form_of_lax(platform, reading):
        return Kept(f"on a {platform.upper()} it would run as lax writes it")

    def run(lhs, rhs):
        return [_readings.run("conv_general_dilated", convolution, reading, lhs, rhs)]

    return Replacement(run, reading.description)


def _has_only_the_form_of_lax(platform: str, reading: _readings.Reading) -> bool:
    """Whether a platform runs a contraction by the convolution that lax has for it.

    To read it could only add a reversal or a transposition that XLA does not remove.
    """
    if platform in ("cpu", "gpu"):  # which have other layouts and patterns than lax
        return False
    problem = algorithms.problem_of(reading.slot, reading.shapes, reading.spec)
    return algorithms.choose(problem, platform, reading.spec).plan.name == "direct"
