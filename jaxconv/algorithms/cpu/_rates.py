"""What the steps of an algorithm cost on a CPU: the constants that all estimates share.

The unit of an estimate is the time of one operation, an addition or a multiplication, inside a
large matrix product. An algorithm multiplies its number of operations by how much slower it makes
them, and adds what it moves through memory.

The constants, here and in the files of the algorithms, were measured in float32 on one machine with
two AVX-512 cores, as medians of `python -m experiments.benchmark`. They must only be right to
within the factor by which algorithms differ. Where they are not, a `Tuning` replaces the estimates
by measurements of the machine at hand.
"""

# Operations in the time in which one element is copied through memory, …
COPIED = 150.0
# … is copied with a stride, …
STRIDED = 250.0
# … is copied from a map into the part of its feature group, or back, …
REGROUPED = 220.0
# … or is read, and one is written, by a loop that does something else with them.
STREAMED = 30.0

# Operations in the time in which a kernel, or one more turn of a loop, is started.
LAUNCH = 5e6

# Elements of an array that fits in the cache that cores share.
CACHED = 5e6
# Elements of a convolution's kernel that fits in the cache of one core.
CACHED_KERNEL = 1e6


def thin(size: int | float, half: int = 16) -> float:
    """By how much a matrix product is slower that has a side of `size`; a factor of 2 at `half`."""
    return 1 + half / max(size, 1)
