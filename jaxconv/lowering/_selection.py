"""Which algorithm computes a corner, by platform, shape and dtype.

Each candidate says what it would cost, in operations weighted by how slowly it makes them; the
cheapest runs. The weights were measured on two AVX-512 cores in float32; they need only be right to
within the factor by which algorithms differ. Candidates that do not apply have no cost, and the
direct convolution always applies.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from jax import lax

from .._geometry import Geometry
from .._typing import Array
from . import _cudnn, _direct, _fourier, _patches, _shifts, _strips
from ._arrays import Dtypes
from ._gpu import gpu_algorithm

Algorithm: TypeAlias = Callable[..., Array]

# Time of an operation, in units of that of a direct forward convolution. XLA convolves the input
# with a window as large as the error's map for a kernel gradient, and does so badly.
_DIRECT_KERNEL_VJP = 3.5
_FOURIER = 1.2
_STRIPS = 2.0
# Operations that a byte to or from memory is worth, for arrays that no cache holds.
_BYTE = 20.0
# With fewer channels than these, a direct convolution fills vector registers badly.
_FEW_CHANNELS = 4
_FEW_CHANNELS_PENALTY = 4.0

# Names that JAX gives to the platforms of NVIDIA and AMD.
GPU_PLATFORMS = ("cuda", "rocm")

ALGORITHMS: dict[str, dict[str, Algorithm]] = {
    "direct": {
        "x": _direct.direct_input_vjp,
        "k": _direct.direct_kernel_vjp,
        "y": _direct.direct_forward,
    },
    "fourier": {
        "x": _fourier.fourier_input_vjp,
        "k": _fourier.fourier_kernel_vjp,
        "y": _fourier.fourier_forward,
    },
    "strips": {"x": _strips.strip_input_vjp, "k": _strips.strip_kernel_vjp},
    "cudnn": {
        "x": _cudnn.cudnn_input_vjp,
        "k": _cudnn.cudnn_kernel_vjp,
        "y": _cudnn.cudnn_forward,
    },
    "patches": {
        "x": _patches.patch_input_vjp,
        "k": _patches.patch_kernel_vjp,
        "y": _patches.patch_forward,
    },
    "shifts": {
        "x": _shifts.shift_input_vjp,
        "k": _shifts.shift_kernel_vjp,
        "y": _shifts.shift_forward,
    },
}


def run(
    slot: str,
    platform: str,
    *operands: Array,
    geometry: Geometry,
    dtypes: Dtypes,
    precision: lax.PrecisionLike,
) -> Array:
    """Compute the corner that leaves `slot` out, with the algorithm that suits the platform."""
    name = "direct"
    if platform == "cpu" and all(dtype in (np.float32, np.float64) for dtype in dtypes):
        name = cheapest(slot, geometry, *_sizes(slot, operands, geometry))
    if platform in GPU_PLATFORMS:
        _, c, _ = _sizes(slot, operands, geometry)
        name = gpu_algorithm(geometry, c)
    algorithm = ALGORITHMS[name][slot]
    return algorithm(*operands, geometry=geometry, dtypes=dtypes, precision=precision)


def cheapest(slot: str, geometry: Geometry, n: int, c: int, o: int) -> str:
    """The name of the algorithm with the lowest cost on a CPU."""
    found = costs(slot, geometry, n, c, o)
    return min(found, key=lambda name: found[name])


def costs(slot: str, geometry: Geometry, n: int, c: int, o: int) -> dict[str, float]:
    """Cost of each algorithm that applies, in direct forward operations."""
    inputs, outputs = math.prod(geometry.input_size), math.prod(geometry.output_size)
    taps, products = math.prod(geometry.window), n * c * o / geometry.groups
    # A strided input gradient is a convolution at every input position, most of it over zeros.
    positions = inputs if slot == "x" else outputs
    direct = 2.0 * positions * taps * products
    weight = _DIRECT_KERNEL_VJP if slot == "k" else 1.0
    found = {"direct": direct * weight}
    if slot != "y" and c <= _FEW_CHANNELS and _strips.strip_length(geometry):
        found["direct"] *= _FEW_CHANNELS_PENALTY
        strip, row = _strips.strip_length(geometry), geometry.window[-1]
        wasted = (strip + row - 1) / row
        found["strips"] = _STRIPS * wasted * 2.0 * outputs * taps * products
    if _fourier.fits(geometry):
        frequencies = math.prod(_fourier.circle(geometry)) / 2
        maps = {"x": inputs * c * n, "y": outputs * o * n, "k": taps * c * o}
        operations = 4 * frequencies * sum(maps.values()) + 8 * frequencies * products
        # Written once and read once: transformed maps, and the kernel, also as real matrices.
        numbers = 2 * frequencies * ((c + o) * n + 3 * c * o)
        found["fourier"] = _FOURIER * operations + _BYTE * 2 * 4 * numbers
    return found


def _sizes(slot: str, operands: tuple[Array, ...], geometry: Geometry) -> tuple[int, int, int]:
    """The sizes n, c and o of a corner's operands."""
    first, second = (operand.shape for operand in operands)
    if slot == "x":
        n, c, o = second[0], first[-2] * geometry.groups, first[-1]
    else:
        n, c, o = first[0], first[-1], second[-1]
    # An exported program may leave the number of examples open; many is the case to be fast for.
    return n if isinstance(n, int) else 256, c, o
