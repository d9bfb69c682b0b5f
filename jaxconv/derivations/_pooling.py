"""The error of a layer before a pool: it goes to the maximum, or all elements share it."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy import ndarray

from .. import ops
from .._arguments import Padding, Size
from .._geometry import Geometry
from ._derivation import Derivation, steps
from ._positions import derivative, flat, lookup, meets, pool_windows, table

_GIVEN = {
    "x": "`(n, *spatial, c)`, the pool's input",
    r"\delta": "`(n, *output, c)`, the error of its output",
}


def max_pool_error(
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Derivation:
    """Derive that the error of a window goes to its largest element, and to no other.

    Args:
      window_shape: As in `jaxconv.max_pool`.
      strides: As in `jaxconv.max_pool`.
      padding: As in `jaxconv.max_pool`.
      window_dilation: As in `jaxconv.max_pool`.

    Returns:
      The derivation. Its arrays are the pool's input x `(n, *spatial, c)`, in which no two elements
      of a window are equal, and the error δ `(n, *output, c)`. Its last step is the VJP of
      `jaxconv.max_pool`.

    >>> rng = np.random.default_rng(0)
    >>> x, delta = rng.normal(size=(1, 6, 6, 2)), rng.normal(size=(1, 3, 3, 2))
    >>> max(max_pool_error(2)[:-1].check(x, delta)) < 1
    True
    """
    options = (window_shape, strides, padding, window_dilation)
    chain = (
        *_chain_rule(maxima),
        (
            r"\sum_p \delta_{p,c} \, [s p + d m_{p,c} - \mathrm{lo} = i]",
            "Let $m_p$ be the tap of the largest element of window p, so that "
            r"$y_p = x_{s p + d m_p - \mathrm{lo}}$. "
            "A unique maximum stays the maximum for all x nearby. So m is locally constant, and "
            "$y_p$ has slope 1 in the element that won and 0 in all others.",
            _brackets,
        ),
        (
            r"\sum_{p \,:\, i \text{ wins } p} \delta_{p,c}",
            "Only the windows that i wins remain: at most one, where windows lie side by side. "
            "The other elements of a window receive nothing.",
            unpooled,
        ),
        (
            r"\operatorname{scatter}(\delta, m)_{i,c}",
            "The reverse pass needs m and not x. This is the VJP of `jaxconv.max_pool`.",
            lambda x, delta, geometry: _vjp(
                partial(ops.max_pool, window_dilation=window_dilation), x, delta, *options[:3]
            ),
        ),
    )
    return _derivation("the error before a max pool", chain, options, _largest_scale)


def avg_pool_error(
    window_shape: Size,
    strides: Size | None = None,
    padding: Padding = "VALID",
    *,
    window_dilation: Size = 1,
) -> Derivation:
    """Derive that the elements of a window share its error equally.

    Args:
      window_shape: As in `jaxconv.avg_pool`.
      strides: As in `jaxconv.avg_pool`.
      padding: As in `jaxconv.avg_pool`.
      window_dilation: As in `jaxconv.avg_pool`.

    Returns:
      The derivation. Its arrays are the pool's input x `(n, *spatial, c)` and the error δ
      `(n, *output, c)`. Its last step is the VJP of `jaxconv.avg_pool`.

    >>> rng = np.random.default_rng(0)
    >>> x, delta = rng.normal(size=(1, 6, 6, 2)), rng.normal(size=(1, 3, 3, 2))
    >>> max(avg_pool_error(2)[:-1].check(x, delta)) < 1
    True
    """
    options = (window_shape, strides, padding, window_dilation)
    chain = (
        *_chain_rule(_means),
        (
            r"\frac{1}{R} \sum_p \delta_{p,c} \sum_r [s p + d r - \mathrm{lo} = i]",
            "$y_p$ is the sum of the R elements of its window, divided by R. It has slope 1/R in "
            "each of them.",
            _shares,
        ),
        (
            r"\frac{1}{R} \sum_r \delta_{(i + \mathrm{lo} - d r)/s,\,c}",
            "For each tap at most one window remains. It gives each of its pixels an equal share. "
            "Where windows lie side by side, this is upscaling, divided by R.",
            _from_each_tap,
        ),
        (
            r"\operatorname{spread}(\delta / R)_{i,c}",
            "This is the transpose of a sum over windows: the VJP of `jaxconv.avg_pool`.",
            lambda x, delta, geometry: _vjp(
                partial(ops.avg_pool, window_dilation=window_dilation), x, delta, *options[:3]
            ),
        ),
    )
    return _derivation("the error before an average pool", chain, options, _mean_scale)


def maxima(x: ndarray, geometry: Geometry) -> ndarray:
    """The largest element of each window. Complex elements are ordered by their real parts."""
    met, winner = _winners(x, geometry)
    y = np.take_along_axis(met, winner[:, :, None], 2)
    return y.reshape(len(x), *geometry.output_size, x.shape[-1])


def unpooled(x: ndarray, delta: ndarray, geometry: Geometry) -> ndarray:
    """Zeros, with each error added where the largest element of its window is in `x`."""
    _, winner = _winners(x, geometry)
    n, p, c = winner.shape
    place = _places(geometry)[np.arange(p)[:, None], winner]
    pixels = int(np.prod(geometry.input_size))
    x_bar = np.zeros((n, pixels + 1, c))  # the last pixel stands for padding
    examples, channels = np.arange(n)[:, None, None], np.arange(c)
    np.add.at(x_bar, (examples, place, channels), delta.reshape(winner.shape))
    return x_bar[:, :pixels].reshape(x.shape)


@lru_cache(maxsize=32)
def _places(geometry: Geometry) -> ndarray:
    """The index of the pixel under each tap of each window, `(p, r)`; padding counts last."""
    pixels = int(np.prod(geometry.input_size))
    counted = np.arange(pixels).reshape(1, *geometry.input_size, 1) - pixels
    tables = [table(-a.lo, a.p, a.s, a.r, a.d) for a in geometry.axes()]
    return lookup(counted, tables, [1] * geometry.rank)[0, :, :, 0] + pixels


def _winners(x, geometry):
    """The element under each tap of each window, `(n, p, r, c)`, and the tap of the largest."""
    n, *_, c = x.shape
    pixels = x.reshape(n, int(np.prod(geometry.input_size)), c)
    places = _places(geometry)
    met = np.concatenate([pixels, np.zeros((n, 1, c))], axis=1)[:, places]
    real = np.where(places[..., None] < pixels.shape[1], met.real, -np.inf)
    return met, np.argmax(real, axis=2)


def _brackets(x, delta, geometry):
    _, winner = _winners(x, geometry)
    taps = np.arange(np.prod(geometry.window))
    chosen = winner[:, :, None] == taps[:, None]  # (n, p, r, c)
    errors = delta.reshape(winner.shape)
    return np.einsum("npc,nprc,irp->nic", errors, chosen, meets(geometry)).reshape(x.shape)


def _means(x, geometry):
    sums = np.einsum("nigc,irp->npc", flat(x, 1), meets(geometry))
    return sums.reshape(len(x), *geometry.output_size, x.shape[-1]) / np.prod(geometry.window)


def _shares(x, delta, geometry):
    spread = np.einsum("npgc,irp->nic", flat(delta, 1), meets(geometry))
    return spread.reshape(x.shape) / np.prod(geometry.window)


def _from_each_tap(x, delta, geometry):
    tables = [table(a.lo, a.i, 1, a.r, -a.d) for a in geometry.axes()]
    heard = lookup(delta, tables, geometry.strides).sum(axis=2)
    return (heard / np.prod(geometry.window)).reshape(x.shape)


def _vjp(pool, x, delta, *options):
    _, pull_back = jax.vjp(lambda x: pool(x, *options), jnp.asarray(x))
    return np.asarray(pull_back(jnp.asarray(delta))[0])


def _largest_scale(x, delta, geometry):
    return unpooled(x, np.abs(delta), geometry), int(np.prod(geometry.window)) + 1


def _mean_scale(x, delta, geometry):
    return _shares(x, np.abs(delta), geometry), int(np.prod(geometry.window)) + 1


def _chain_rule(pool):
    """The first two steps of both derivations, for `pool(x, geometry)`."""
    return (
        (
            r"\frac{\partial C}{\partial x_{i,c}}",
            "Definition.",
            lambda x, delta, geometry: derivative(lambda x: np.sum(delta * pool(x, geometry)), x),
        ),
        (
            r"\sum_p \delta_{p,c} \, \frac{\partial y_{p,c}}{\partial x_{i,c}}",
            "Chain rule. Channels don't mix.",
            lambda x, delta, geometry: np.tensordot(
                delta, derivative(lambda x: pool(x, geometry), x), delta.ndim
            ),
        ),
    )


def _derivation(title, chain, options, scale):
    def on_windows(value):
        return lambda x, delta: value(x, delta, pool_windows(x.shape[1:-1], *options))

    return Derivation(
        title=title,
        left=r"\delta^x_{i,c}",
        given=_GIVEN,
        steps=steps(*((tex, why, on_windows(value)) for tex, why, value in chain)),
        scale=on_windows(scale),
    )
