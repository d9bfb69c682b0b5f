"""The algorithms for CPUs, and the pools in the form that XLA's CPU compiler runs fastest."""

from .._maxima import gather_windows as gather_windows
from .._maxima import max_and_argmax as max_and_argmax
from .._maxima import max_of_windows as max_of_windows
from .._maxima import scatter_windows as scatter_windows
from .._maxima import spread_where_equal as spread_where_equal
from .._maxima import sum_where_equal as sum_where_equal
from .._resampling import resample as resample
from .._resampling import resample_back as resample_back
from .._windows import spread_windows as spread_windows
from .._windows import sum_windows as sum_windows
