"""Let the C library keep the memory that large arrays give back, instead of the operating system.

glibc fetches each array above 32 MiB from the system and returns it when the array is dropped: the
next result of that size pays for every page again, on a CPU several times what computing it costs.
Threads have heaps of their own, which never hold an array above 64 MiB: they all share one here.
This concerns every library of the process alike. The environment variables
`MALLOC_MMAP_THRESHOLD_`, `MALLOC_TRIM_THRESHOLD_`, `MALLOC_TOP_PAD_` and `MALLOC_ARENA_MAX` do the
same from outside.
"""

import ctypes

# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_INT_MAX = 2**31 - 1  # mallopt takes an int; the variables may be set higher
_TOP_PAD = 256 * 2**20  # fetched with each growth of the heap, so that it seldom grows


def keep_freed_memory() -> bool:
    """Ask glibc to do so from here on; call it before the first array, and the first thread.

    Returns:
      Whether it will. Other C libraries are left as they are.
    """
    try:
        libc = ctypes.CDLL(None)
    except (OSError, AttributeError, TypeError):  # Windows has no CDLL(None), a browser none at all
        return False
    if not hasattr(libc, "gnu_get_libc_version"):  # others have a mallopt with other meanings
        return False
    mallopt = libc.mallopt
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    values = {
        _M_MMAP_THRESHOLD: _INT_MAX,
        _M_TRIM_THRESHOLD: _INT_MAX,
        _M_TOP_PAD: _TOP_PAD,
        _M_ARENA_MAX: 1,
    }
    return all(mallopt(option, value) == 1 for option, value in values.items())
