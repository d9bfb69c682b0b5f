"""The execution: which algorithm computes a corner of the triangle, on which platform.

The mathematics lives in `ops`; here live its algorithms, one file each. All of them are pure
functions of the operands in slot order (x, k, y, less the corner's own) and three static values:
the `Geometry`, the dtypes of the three slots, and the precision that lax understands.
"""

from ._arrays import Dtypes as Dtypes
from ._arrays import accumulator as accumulator
from ._selection import ALGORITHMS as ALGORITHMS
from ._selection import GPU_PLATFORMS as GPU_PLATFORMS
from ._selection import run as run
from ._windows import gather_windows as gather_windows
from ._windows import max_and_argmax as max_and_argmax
from ._windows import max_of_windows as max_of_windows
from ._windows import scatter_windows as scatter_windows
from ._windows import spread_windows as spread_windows
from ._windows import sum_windows as sum_windows
