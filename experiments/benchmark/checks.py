"""Whether the results are right. Wrong results are not timed."""

from math import prod

import jax.numpy as jnp
import numpy as np

from jaxconv import reference

from .cases import Case, Conv, Pool
from .peers import CONTRACTIONS, conv_options, jax_programs, operands


def mismatch(
    actual: list[np.ndarray], expected: list[np.ndarray], terms: list[int], dtype: str
) -> str | None:
    """What is wrong with a peer's results; None if they agree with ours.

    Rounding changes a sum of N terms by at most N·eps of their magnitudes, where eps is that of the
    accumulator, and the stored result by eps of its dtype. Norms of arrays are compared.
    """
    eps = float(jnp.finfo(dtype).eps)
    sum_eps = min(eps, float(np.finfo(np.float32).eps))  # half precision is summed in float32
    for array, other, count in zip(actual, expected, terms, strict=True):
        if array.shape != other.shape:
            return f"wrong shape: {array.shape} for {other.shape}"
        norm = np.linalg.norm(other.ravel())
        error = np.linalg.norm((array - other).ravel()) / (norm or 1.0)
        bound = 2 * (count * sum_eps + eps)
        if not error <= bound:  # NaN too
            return f"wrong result: relative error {error:.1e}, rounding explains {bound:.1e}"
    return None


def terms(case: Case, contraction: str) -> list[int]:
    """The number of terms in each element of the results: products, or elements of a window."""
    if isinstance(case, Pool):
        return [prod(case.window)] * len(CONTRACTIONS[contraction])
    taps = prod(case.window)
    of_slot = {
        "y": taps * case.c // case.groups,
        "x": taps * case.o // case.groups,
        "k": case.n * prod(case.output),
    }
    return [of_slot[slot] for slot in CONTRACTIONS[contraction]]


def differs_from_definition(case: Case, contraction: str, impl: str | None = None) -> str | None:
    """What is wrong with our results on a shrunk case; None if they equal the definition."""
    small = case.shrunk()
    given = operands(small)
    if isinstance(small, Conv):
        expected = _conv_definition(small, contraction, given)
    else:
        contraction, expected = "F", [_pool_definition(small, given.x)]
    # The small case may use another algorithm. The bound is that of the large case.
    program = jax_programs("jaxconv", small, given, "float32", impl)(contraction, "entry")
    return mismatch(program.arrays(program.run()), expected, terms(case, contraction), "float32")


def _conv_definition(case: Conv, contraction: str, given) -> list[np.ndarray]:
    x, k, y = given
    options = conv_options(case)
    fill = {
        "x": lambda: reference.conv_input_vjp(y, k, case.x_shape, **options),
        "k": lambda: reference.conv_kernel_vjp(x, y, case.kernel_shape, **options),
        "y": lambda: reference.conv(x, k, **options),
    }
    return [fill[slot]() for slot in CONTRACTIONS[contraction]]


def _pool_definition(case: Pool, x: np.ndarray) -> np.ndarray:
    if case.kind == "up":
        return reference.upscale(x, case.window)
    pool = reference.max_pool if case.kind == "max" else reference.avg_pool
    return pool(x, case.window, case.strides, case.padding)
