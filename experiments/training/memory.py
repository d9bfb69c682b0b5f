"""Let the C library keep the memory of freed arrays.

By default, glibc requests each array above 32 MiB from the operating system and returns it when the
array is freed. The next array of that size causes a page fault for every page, which on a CPU can
take longer than computing the array. Threads allocate from heaps of their own, which cannot hold an
array above 64 MiB; here all threads share one heap.

No Python library wraps `mallopt`. The environment variables `MALLOC_MMAP_THRESHOLD_`,
`MALLOC_TRIM_THRESHOLD_`, `MALLOC_TOP_PAD_` and `MALLOC_ARENA_MAX` have the same effect, but must be
set before Python starts.
"""

import ctypes

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_INT_MAX = 2**31 - 1  # mallopt takes an int
_TOP_PAD = 256 * 2**20  # bytes by which the heap grows at least, so that it rarely grows


def keep_freed_memory() -> bool:
    """Change glibc's settings. Call it before the first array and the first thread exist.

    Returns:
      Whether the settings were changed. Other C libraries are left alone.
    """
    try:
        libc = ctypes.CDLL(None)
    except (OSError, AttributeError, TypeError):  # Windows, or Python in a browser
        return False
    if not hasattr(libc, "gnu_get_libc_version"):  # elsewhere, mallopt has other options
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
