"""Wrong gradients, one slip each: large mistakes, and small ones that no loss curve shows."""

from .convolutions import CONVOLUTIONS
from .geometry import GEOMETRY
from .layers import LAYERS
from .slips import SLIPS

WRONG = [*CONVOLUTIONS, *LAYERS, *SLIPS, *GEOMETRY]
assert len({(case.family, case.name) for case in WRONG}) == len(WRONG)
