"""The algorithms that compute a convolution's contractions, and the choice between them.

`ops` holds the mathematics, and this package how it is computed. An algorithm is a class that says
all about itself: what it computes, when it applies, what it costs, and what it leaves to another.
Each platform's folder lists its algorithms and chooses among them:

    cpu/            a dozen algorithms, of which the one with the lowest estimate runs
    gpu/            the forms that XLA turns into cuDNN's routines, shifts, tiles, pools
    tpu/            XLA's own convolution, here and on all other platforms; windows on TPUs
    shared/         the mathematics that they share, and the pools

    _algorithm      what an algorithm is
    _problem        a contraction and its sizes
    _catalogue      plans: chains of algorithms
    _selection      which plan runs, for a call on a platform
    tuning          measured choices in place of estimates, switched on explicitly

To add an algorithm, write its class in a file of its own and add it to the list in its platform's
`__init__.py`.

The pools here have a form for every platform. `cpu` has the same functions with hints to XLA's CPU
compiler; `gpu` and `tpu` have forms of their own for some.
"""

from . import cpu as cpu
from . import gpu as gpu
from . import tpu as tpu
from . import tuning as tuning
from ._algorithm import GPU_PLATFORMS as GPU_PLATFORMS
from ._algorithm import Algorithm as Algorithm
from ._catalogue import Choice as Choice
from ._catalogue import Plan as Plan
from ._problem import Problem as Problem
from ._problem import problem_of as problem_of
from ._selection import ALGORITHMS as ALGORITHMS
from ._selection import applicable as applicable
from ._selection import choose as choose
from ._selection import every_plan as every_plan
from ._selection import plans as plans
from ._selection import run as run
from ._selection import run_algorithm as run_algorithm
from ._selection import why_not as why_not
from ._selection import why_not_by_default as why_not_by_default
from .shared._arrays import rotate_kernel as rotate_kernel
from .shared._arrays import with_zeros_multiplied as with_zeros_multiplied
from .shared._dtypes import accumulator as accumulator
from .shared._dtypes import common_dtype as common_dtype
from .shared._dtypes import of_whole_bytes as of_whole_bytes
from .shared._maxima import gather_windows as gather_windows
from .shared._maxima import index_dtype as index_dtype
from .shared._maxima import lowest_of as lowest_of
from .shared._maxima import max_and_argmax as max_and_argmax
from .shared._maxima import max_of_windows as max_of_windows
from .shared._maxima import scatter_windows as scatter_windows
from .shared._maxima import spread_where_equal as spread_where_equal
from .shared._maxima import sum_where_equal as sum_where_equal
from .shared._resampling import Mixing as Mixing
from .shared._resampling import resample as resample
from .shared._resampling import resample_back as resample_back
from .shared._sums import spread_windows as spread_windows
from .shared._sums import sum_windows as sum_windows
from .shared._unfolding import fold_windows as fold_windows
from .shared._unfolding import unfold_windows as unfold_windows
