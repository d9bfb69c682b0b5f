"""Convolutions of lax, read as contractions of the trilinear form.

`ops/_readings.py` derives the readings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jax import lax

from ..ops import _readings
from ._replacement import Kept, Replacement, rule


@rule(lax.conv_general_dilated_p)
def _convolution(avals: Sequence[Any], params: Mapping[str, Any]) -> Replacement | Kept:
    lhs, rhs = avals
    convolution = _readings.convolution_of(lhs, rhs, params)
    if reason := _readings.why_not(convolution):
        return Kept(reason)
    reading = _readings.read(convolution)

    def run(lhs, rhs):
        return [_readings.run("conv_general_dilated", convolution, reading, lhs, rhs)]

    return Replacement(run, reading.description)
