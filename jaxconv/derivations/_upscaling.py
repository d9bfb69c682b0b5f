"""The error of a layer before an upscaling: a sum over blocks."""

import numpy as np

from .. import ops
from .._arguments import Size, per_axis
from ._derivation import Derivation, steps
from ._positions import derivative


def upscale_error(factor: Size) -> Derivation:
    """Derive that the transpose of upscaling is a sum pool.

    Args:
      factor: The block size f. As in `jaxconv.upscale`.

    Returns:
      The derivation. Its arrays are the input x `(n, *spatial, c)` and the error δ of the output
      `(n, *(f · spatial), c)`. Its last step is `jaxconv.sum_pool`.

    >>> rng = np.random.default_rng(0)
    >>> x, delta = rng.normal(size=(1, 2, 3, 2)), rng.normal(size=(1, 4, 6, 2))
    >>> max(upscale_error(2)[:-1].check(x, delta)) < 1
    True
    """

    def blocks(x):
        return per_axis(factor, x.ndim - 2, "upscale_error: factor")

    def upscaled(x):
        for axis, f in enumerate(blocks(x), start=1):
            x = x.take(np.arange(f * x.shape[axis]) // f, axis)
        return x

    def brackets(x, delta):
        for axis, f in enumerate(blocks(x), start=1):
            p, i = np.arange(delta.shape[axis]), np.arange(x.shape[axis])
            delta = np.moveaxis(np.tensordot(delta, p[:, None] // f == i, (axis, 0)), -1, axis)
        return delta

    def block_sums(x, delta):
        total = np.zeros(x.shape)
        for offset in np.ndindex(*blocks(x)):
            pixels = (slice(a, None, f) for a, f in zip(offset, blocks(x), strict=True))
            total += delta[:, *pixels]
        return total

    return Derivation(
        title="the error before an upscaling",
        left=r"\delta^x_{i,c}",
        given={
            "x": "`(n, *spatial, c)`, the input",
            r"\delta": "`(n, *(f · spatial), c)`, the error of the output",
        },
        steps=steps(
            (
                r"\frac{\partial C}{\partial x_{i,c}}",
                "Definition.",
                lambda x, delta: derivative(lambda x: np.sum(delta * upscaled(x)), x),
            ),
            (
                r"\sum_p \delta_{p,c} \, \frac{\partial y_{p,c}}{\partial x_{i,c}}",
                "Chain rule. Channels don't mix.",
                lambda x, delta: np.tensordot(delta, derivative(upscaled, x), delta.ndim),
            ),
            (
                r"\sum_p \delta_{p,c} \, [\lfloor p/f \rfloor = i]",
                "Each pixel of the output is a copy of a pixel of the input, "
                r"$y_p = x_{\lfloor p/f \rfloor}$.",
                brackets,
            ),
            (
                r"\sum_{a < f} \delta_{f i + a,\,c}",
                "The copies of pixel i fill a block of size f. Their errors add up. Nothing is "
                "divided.",
                block_sums,
            ),
            (
                r"\mathrm{sum\_pool}(\delta)_{i,c}",
                "This is a sum over windows side by side: `jaxconv.sum_pool`. Its transpose is the "
                "upscaling again.",
                lambda x, delta: np.asarray(ops.sum_pool(delta, factor)),
            ),
        ),
        scale=lambda x, delta: (block_sums(x, np.abs(delta)), int(np.prod(blocks(x)))),
    )
