r"""The error of a convolutional layer, and why the kernel is rotated.

The layer l+1 is z^{l+1} = w * a^l + b with a^l = σ(z^l). The error of a unit is the derivative of
the cost by its weighted input, δ^l = ∂C/∂z^l. As usual in the field, `*` runs through pixels and
taps in the same direction, (w * a)_k = Σ_r w_r a_{k+r}.
"""

from functools import partial

import numpy as np
from numpy import ndarray

from .. import ops
from .._arguments import Padding, Size
from .._geometry import Geometry
from ._derivation import Derivation, steps
from ._positions import (
    Spacing,
    convolved,
    derivative,
    dilate_and_pad,
    flat,
    flat_kernel,
    lookup,
    meets,
    paired,
    split_groups,
    table,
)

GIVEN = {
    "z^l": "`(n, *spatial, c)`, the weighted input of layer l",
    "w": "`(*window, c / groups, o)`, the kernel of layer l+1",
    r"\delta^{l+1}": "`(n, *output, o)`, the error of layer l+1",
}


def convolution_error(
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
) -> Derivation:
    r"""Derive δ^l = (δ^{l+1} * rot180(w)) ⊙ σ'(z^l), the error of a layer before a convolution.

    Without options the equations are those of stride 1 and no padding, where the reason for the
    rotation is easy to see. With any option they are those of the general geometry: on each spatial
    axis, pixel i, tap r and output p meet where e·i + lo = s·p + d·r.

    The activation σ is tanh. The derivation uses only that σ acts on each unit separately.

    Args:
      strides: As in `jaxconv.conv`.
      padding: As in `jaxconv.conv`.
      input_dilation: As in `jaxconv.conv`.
      kernel_dilation: As in `jaxconv.conv`.
      feature_group_count: As in `jaxconv.conv`.

    Returns:
      The derivation. Its arrays are z^l `(n, *spatial, c)`, w `(*window, c / groups, o)` and
      δ^{l+1} `(n, *output, o)`. Its last step is `jaxconv.conv_input_vjp`.

    Source: for one stride and no dilation G. Gwardys, "Convolutional Neural Networks
    backpropagation: from intuition to derivation", 2016; M. Nielsen, "Neural Networks and Deep
    Learning", 2015, chapter 6, leaves it as a problem. The general geometry is derived here.

    >>> rng = np.random.default_rng(0)
    >>> z, w, delta = (rng.normal(size=s) for s in [(1, 5, 5, 2), (3, 3, 2, 2), (1, 3, 3, 2)])
    >>> max(convolution_error()[:-1].check(z, w, delta)) < 1
    True
    """
    spacing = Spacing(strides, padding, input_dilation, kernel_dilation, feature_group_count)
    chain = _SIMPLE if spacing == Spacing() else _GENERAL
    return Derivation(
        title="the error of a convolutional layer",
        left=r"\delta^l_{j,c}",
        given=GIVEN,
        steps=steps(*((tex, why, partial(value, spacing=spacing)) for tex, why, value in chain)),
        scale=partial(_scale, spacing=spacing),
    )


# The expressions, without the slope of the activation. The derivation of the transposed convolution
# uses them, too. They take y for δ^{l+1}, and the `shape` of z^l.


def single_terms(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """Σ_{k,r,o} y_k w_r [e·j + lo = s·k + d·r], over all triples. Most brackets are zero."""
    geometry, groups = _geometry(w, shape, spacing), spacing.groups
    sides = flat(y, groups), flat_kernel(w, groups), meets(geometry)
    return np.einsum("npgo,rcgo,irp->nigc", *sides, optimize=True).reshape(shape)


def one_position_left(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """Σ_{r,o} y_k w_r with k = (e·j + lo - d·r) / s, over the r for which k is a position."""
    geometry = _geometry(w, shape, spacing)
    places = [table(a.lo, a.i, a.e, a.r, -a.d) for a in geometry.axes()]
    return _over_taps(lookup(y, places, geometry.strides), w, shape, spacing)


def dilated_error(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """Σ_{r,o} y↑_{e·j + lo - d·r} w_r, where y↑ has s-1 zeros between the pixels of y."""
    geometry = _geometry(w, shape, spacing)
    places = [table(a.lo, a.i, a.e, a.r, -a.d) for a in geometry.axes()]
    return _over_taps(lookup(_dilated(y, geometry), places, _ones(y)), w, shape, spacing)


def taps_backwards(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """Σ_{r',o} y↑_{e·j - lo' + d·r'} w_{R-1-r'} with lo' = d(R-1) - lo."""
    geometry = _geometry(w, shape, spacing)
    places = [table(a.lo - a.d * (a.r - 1), a.i, a.e, a.r, a.d) for a in geometry.axes()]
    met = lookup(_dilated(y, geometry), places, _ones(y))
    return _over_taps(met, _rotated(w), shape, spacing)


def full_convolution(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """Σ_{r',o} ŷ_{e·j + d·r'} rot180(w)_{r'}, where ŷ is y↑ behind lo' zeros: a convolution."""
    geometry = _geometry(w, shape, spacing)
    lows = [a.d * (a.r - 1) - a.lo for a in geometry.axes()]
    sizes = [a.e * (a.i - 1) + a.d * (a.r - 1) + 1 for a in geometry.axes()]
    padded = dilate_and_pad(y, geometry.strides, lows, sizes)
    for axis, a in enumerate(geometry.axes()):
        padded = padded.take(table(0, a.i, a.e, a.r, a.d), 1 + 2 * axis)
    return _over_taps(paired(padded), _rotated(w), shape, spacing)


def library(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> ndarray:
    """What `jaxconv.conv_input_vjp` computes."""
    return np.asarray(ops.conv_input_vjp(y, w, shape, **spacing.options()))


def magnitude(w: ndarray, y: ndarray, shape, *, spacing: Spacing) -> tuple[ndarray, int]:
    """The sum of the magnitudes of each element's terms, and the number of terms."""
    terms = single_terms(np.abs(w), np.abs(y), shape, spacing=spacing)
    return terms, w[..., 0, :].size // spacing.groups


def _geometry(w: ndarray, shape: tuple[int, ...], spacing: Spacing) -> Geometry:
    return spacing.geometry(np.empty(shape), w)


def _dilated(y: ndarray, geometry: Geometry) -> ndarray:
    sizes = [a.s * (a.p - 1) + 1 for a in geometry.axes()]
    return dilate_and_pad(y, geometry.strides, [0] * len(sizes), sizes)


def _ones(y: ndarray) -> tuple[int, ...]:
    return (1,) * (y.ndim - 2)


def _rotated(w: ndarray) -> ndarray:
    return np.flip(w, tuple(range(w.ndim - 2)))


def _over_taps(met: ndarray, w: ndarray, shape, spacing: Spacing) -> ndarray:
    """Σ_{r,o} met_{j,r,o} w_{r,c,o}, where `met` `(n, j, r, o)` is the element under each tap."""
    sides = split_groups(met, spacing.groups), flat_kernel(w, spacing.groups)
    return np.einsum("njrgo,rcgo->njgc", *sides, optimize=True).reshape(shape)


# The chain.


def _cost(z, w, delta, *, spacing):
    """A cost whose derivative by z^{l+1} is δ^{l+1}. Any such cost has the same errors."""
    return np.sum(delta * convolved(np.tanh(z), w, spacing))


def _definition(z, w, delta, *, spacing):
    return derivative(lambda z: _cost(z, w, delta, spacing=spacing), z)


def _chain_rule(z, w, delta, *, spacing):
    slopes = derivative(lambda z: convolved(np.tanh(z), w, spacing), z)
    return np.tensordot(delta, slopes, delta.ndim)


def _through(expression):
    """The product of the activation's slope and an expression of w and δ^{l+1}."""

    def value(z, w, delta, *, spacing):
        slope = 1 - np.tanh(z) ** 2
        return slope * expression(w, delta, z.shape, spacing=spacing)

    return value


def _scale(z, w, delta, *, spacing):
    terms, number = magnitude(w, delta, z.shape, spacing=spacing)
    return terms, number + 4  # σ' ≤ 1 takes three roundings, and the product with it one


_START = (
    (
        r"\frac{\partial C}{\partial z^l_{j,c}}",
        "Definition. The error of a unit, here pixel j of channel c, is the derivative of the cost "
        "by its weighted input.",
        _definition,
    ),
    (
        r"\sum_{k,o} \frac{\partial C}{\partial z^{l+1}_{k,o}}"
        r" \frac{\partial z^{l+1}_{k,o}}{\partial z^l_{j,c}}",
        "Chain rule. C depends on layer l only through the units k of layer l+1.",
        _chain_rule,
    ),
)

_SIMPLE = (
    *_START,
    (
        r"\sum_{k,o} \delta^{l+1}_{k,o} \sum_r w_{r,c,o} \, [k + r = j] \, \sigma'(z^l_{j,c})",
        "The first factor is the error of layer l+1. In the second, unit k has the weighted input "
        r"$\sum_{r,c} w_{r,c,o} \, \sigma(z_{k+r,c}) + b_o$, with the z of layer l. The derivative "
        r"of $\sigma(z_{k+r})$ by $z_j$ vanishes unless k + r = j and the channels agree. The "
        "bracket is 1 where it is true and 0 elsewhere.",
        _through(single_terms),
    ),
    (
        r"\sigma'(z^l_{j,c}) \sum_{r,o} \delta^{l+1}_{j-r,o} \, w_{r,c,o}",
        "For each tap r one position remains, k = j - r. Mind the sign: forward, unit k reads the "
        "pixels j = k + r to its right; backward, pixel j receives errors from the units k = j - r "
        "to its left. (Where j - r is no position there is no unit, and no term.)",
        _through(one_position_left),
    ),
    (
        r"\sigma'(z^l_{j,c}) \sum_{r',o} \delta^{l+1}_{j-(R-1)+r',o} \, w_{R-1-r',c,o}",
        "Count the R taps from the other end, r = R-1-r'. The index of the error now grows with "
        "r', as in a convolution, and the index of the kernel falls. This is the rotation.",
        _through(taps_backwards),
    ),
    (
        r"\sigma'(z^l_{j,c}) \sum_{r',o} \hat{\delta}_{j+r',o} \operatorname{rot180}(w)_{r',o,c}",
        r"Name the two factors: δ̂ is $\delta^{l+1}$ with R-1 zeros on either side, and rot180(w) "
        "is the kernel with its taps reversed along every spatial axis and its channel axes "
        "exchanged, since the outputs' channels are now the input's.",
        _through(full_convolution),
    ),
    (
        r"\left( \delta^{l+1} \ast \operatorname{rot180}(w) \right)_{j,c} \odot \sigma'(z^l_{j,c})",
        "This sum is a convolution over every overlap, called full: `jaxconv.conv_input_vjp`.",
        _through(library),
    ),
)

_GENERAL = (
    *_START,
    (
        r"\sum_{k,o} \delta^{l+1}_{k,o} \sum_r w_{r,c,o} \, [e j + \mathrm{lo} = s k + d r]"
        r" \, \sigma'(z^l_{j,c})",
        "The first factor is the error of layer l+1. In the second, a term vanishes if tap r of "
        "unit k does not lie on pixel j. With stride s, input dilation e, kernel dilation d and "
        "low padding lo, it lies there where the bracket is true. The sum over o runs over the "
        "outputs of the group of c: other groups do not read channel c.",
        _through(single_terms),
    ),
    (
        r"\sigma'(z^l_{j,c})"
        r" \sum_{r,o} \delta^{l+1}_{(e j + \mathrm{lo} - d r)/s,\,o} \, w_{r,c,o}",
        "For each tap at most one position remains, k = (e j + lo - d r) / s. Where this is no "
        "integer or no position, the term is zero.",
        _through(one_position_left),
    ),
    (
        r"\sigma'(z^l_{j,c})"
        r" \sum_{r,o} \delta^{\uparrow}_{e j + \mathrm{lo} - d r,\,o} \, w_{r,c,o}",
        "A layer with stride s is one with stride 1 that keeps every s-th position. Put the "
        r"others back with error zero: δ↑ has s-1 zeros between the pixels of $\delta^{l+1}$, and "
        "the division is gone. The stride of the forward pass is the input dilation of the "
        "backward pass.",
        _through(dilated_error),
    ),
    (
        r"\sigma'(z^l_{j,c})"
        r" \sum_{r',o} \delta^{\uparrow}_{e j - \mathrm{lo}' + d r',\,o} \, w_{R-1-r',c,o}"
        r" \quad \mathrm{lo}' = d (R-1) - \mathrm{lo}",
        "Count the R taps from the other end, r = R-1-r'. The index of the error grows with r', "
        "and the index of the kernel falls. Wide padding forward is narrow padding backward.",
        _through(taps_backwards),
    ),
    (
        r"\sigma'(z^l_{j,c}) \sum_{r',o} \hat{\delta}_{e j + d r',o}"
        r" \operatorname{rot180}(w)_{r',o,c}",
        "Name the two factors: δ̂ is δ↑ behind lo' zeros (or cropped, if lo' is negative), and "
        "rot180(w) is the kernel with its taps reversed and, group by group, its channel axes "
        "exchanged. This is a convolution with stride e, input dilation s and kernel dilation d.",
        _through(full_convolution),
    ),
    (
        r"\left( \delta^{l+1} \ast \operatorname{rot180}(w) \right)_{j,c} \odot \sigma'(z^l_{j,c})",
        "Compared with the forward pass, stride and input dilation are exchanged, and the padding "
        "is the full one less the forward pass's: `jaxconv.conv_input_vjp`.",
        _through(library),
    ),
)
