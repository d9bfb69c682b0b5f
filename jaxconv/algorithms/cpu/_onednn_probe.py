"""A trial of oneDNN's convolution: `python -m jaxconv.algorithms.cpu._onednn_probe`.

Small convolutions of every kind are compared with their definition. A call that oneDNN refuses ends
the process, which `_onednn_support.py` sees by the exit status and by the missing last word.
"""

import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import reference
from ..._geometry import Geometry
from ._onednn_call import convolve


class Trial(NamedTuple):
    """A small convolution."""

    input_size: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    c: int
    o: int


TRIALS = (
    Trial((9,), (3,), (1,), ((1, 1),), (1,), 1, 8, 16),
    Trial((12, 13), (3, 3), (1, 1), ((1, 1), (0, 2)), (1, 1), 1, 8, 16),
    Trial((12, 13), (3, 2), (2, 1), ((1, 0), (2, 1)), (1, 2), 1, 3, 5),
    Trial((9, 8), (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1, 1, 32),
    Trial((9, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 32, 32, 32),
    Trial((9, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 6, 6, 12),
    Trial((9, 8), (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2, 8, 6),
    Trial((5, 6, 7), (3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (2, 0)), (1, 1, 2), 1, 4, 16),
)
_EXAMPLES = 2


def geometry_of(trial: Trial) -> Geometry:
    """The geometry of a trial, with the output's size by (G)."""
    axes = zip(
        trial.input_size, trial.window, trial.strides, trial.padding, trial.dilation, strict=True
    )
    output = tuple((i + lo + hi - d * (r - 1) - 1) // s + 1 for i, r, s, (lo, hi), d in axes)
    return Geometry(
        input_size=trial.input_size,
        window=trial.window,
        output_size=output,
        strides=trial.strides,
        padding=trial.padding,
        input_dilation=(1,) * len(output),
        kernel_dilation=trial.dilation,
        groups=trial.groups,
    )


def main() -> int:
    """Run all trials. Prints the first that is wrong, or "passed"; returns the exit status."""
    rng = np.random.default_rng(0)
    for trial in TRIALS:
        shapes = (
            (_EXAMPLES, *trial.input_size, trial.c),
            (*trial.window, trial.c // trial.groups, trial.o),
        )
        x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)
        geometry = geometry_of(trial)
        actual = np.asarray(jax.jit(convolve, static_argnums=2)(x, kernel, geometry), np.float64)
        wide = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
        options = {"kernel_dilation": trial.dilation, "feature_group_count": trial.groups}
        expected = reference.conv(*wide, trial.strides, trial.padding, **options)
        of_each_element = reference.conv(
            *map(np.abs, wide), trial.strides, trial.padding, **options
        )
        terms = np.prod(kernel.shape[:-1])
        rounding = terms * np.finfo(np.float32).eps * of_each_element
        if not np.all(np.abs(actual - expected) <= rounding):
            print(f"wrong: {trial}")
            return 1
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
