"""The gradients of a convolutional layer's parameters: a correlation and a sum."""

from functools import partial

import numpy as np
from numpy import ndarray

from .. import ops
from .._arguments import Padding, Size
from ._derivation import Derivation, steps
from ._positions import Spacing, convolved, derivative, flat, lookup, meets, split_groups, table


def kernel_gradient(
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
) -> Derivation:
    """Derive ∂C/∂w = a^{l-1} ⋆ δ^l, a correlation. Nothing is rotated.

    Args:
      strides: As in `jaxconv.conv`.
      padding: As in `jaxconv.conv`.
      input_dilation: As in `jaxconv.conv`.
      kernel_dilation: As in `jaxconv.conv`.
      feature_group_count: As in `jaxconv.conv`.

    Returns:
      The derivation. Its arrays are the layer's input a `(n, *spatial, c)`, its kernel w
      `(*window, c / groups, o)` and its error δ `(n, *output, o)`. Its last step is
      `jaxconv.conv_kernel_vjp`.

    Source: the counterpart of BP4 of M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter
    2; with strides Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 9.5.

    >>> rng = np.random.default_rng(0)
    >>> a, w, delta = (rng.normal(size=s) for s in [(1, 5, 5, 2), (3, 3, 2, 2), (1, 3, 3, 2)])
    >>> max(kernel_gradient()[:-1].check(a, w, delta)) < 1
    True
    """
    spacing = Spacing(strides, padding, input_dilation, kernel_dilation, feature_group_count)
    simple = spacing == Spacing()
    bracket = "k + r = j" if simple else r"s k + d r = e j + \mathrm{lo}"
    pixel = "k+r" if simple else r"(s k + d r - \mathrm{lo})/e"
    chain = (
        (
            r"\frac{\partial C}{\partial w_{r,c,o}}",
            "Definition: how the cost changes with one tap of the kernel.",
            _definition,
        ),
        (
            r"\sum_{n,k,o'} \frac{\partial C}{\partial z_{n,k,o'}}"
            r" \frac{\partial z_{n,k,o'}}{\partial w_{r,c,o}}",
            "Chain rule. The tap is shared. It acts on every unit k of every example n, so the sum "
            "runs over all of them.",
            _chain_rule,
        ),
        (
            rf"\sum_{{n,k}} \delta_{{n,k,o}} \sum_j a_{{n,j,c}} \, [{bracket}]",
            "The first factor is the error δ. In the second, "
            r"$z_{n,k,o'} = \sum w_{r,c,o'} a_{n,j,c}$ "
            "over the pixels j under the taps r. This is linear in w, and the terms of other "
            "output channels, o' ≠ o, vanish.",
            _single_terms,
        ),
        (
            rf"\sum_{{n,k}} \delta_{{n,k,o}} \, a_{{n,{pixel},c}}",
            "For each position k one pixel remains: the one under the tap"
            + ("." if simple else ". Where the tap is on no pixel, the term is zero."),
            correlation,
        ),
        (
            r"\left( a \star \delta \right)_{r,c,o}",
            "Both indices grow with k: the error slides over the input as a kernel does, and the "
            "sum over examples takes the place of the sum over channels. Nothing is rotated"
            + (
                ": `jaxconv.conv_kernel_vjp`."
                if simple
                else ". The stride is now the spacing of the window's pixels, and the kernel's "
                "dilation is the step from one result to the next: `jaxconv.conv_kernel_vjp`."
            ),
            _library,
        ),
    )
    return Derivation(
        title="the gradient of a kernel",
        left=r"(\nabla_w C)_{r,c,o}",
        given={
            "a": "`(n, *spatial, c)`, the layer's input",
            "w": "`(*window, c / groups, o)`, its kernel",
            r"\delta": "`(n, *output, o)`, its error",
        },
        steps=steps(*((tex, why, partial(value, spacing=spacing)) for tex, why, value in chain)),
        scale=partial(_scale, spacing=spacing),
    )


def bias_gradient() -> Derivation:
    """Derive ∂C/∂b = Σ δ, the sum over examples and positions.

    Returns:
      The derivation. Its arrays are the layer's weighted input before the bias, u
      `(n, *output, o)`, the bias b `(o,)` and the error δ `(n, *output, o)`.

    Source: the counterpart of BP3 of M. Nielsen, "Neural Networks and Deep Learning", 2015, chapter
    2.

    >>> rng = np.random.default_rng(0)
    >>> u, b, delta = rng.normal(size=(2, 3, 4)), rng.normal(size=4), rng.normal(size=(2, 3, 4))
    >>> max(bias_gradient().check(u, b, delta)) < 1
    True
    """

    def single_terms(u, b, delta):
        return np.einsum("kp,po->o", delta.reshape(-1, len(b)), np.eye(len(b)))

    def total(u, b, delta):
        return delta.sum(axis=tuple(range(delta.ndim - 1)))

    return Derivation(
        title="the gradient of a bias",
        left=r"(\nabla_b C)_o",
        given={
            "u": "`(n, *output, o)`, the weighted input before the bias",
            "b": "`(o,)`, the bias",
            r"\delta": "`(n, *output, o)`, the error",
        },
        steps=steps(
            (
                r"\frac{\partial C}{\partial b_o}",
                "Definition.",
                lambda u, b, delta: derivative(lambda b: np.sum(delta * (u + b)), b),
            ),
            (
                r"\sum_{n,k,o'} \frac{\partial C}{\partial z_{n,k,o'}}"
                r" \frac{\partial z_{n,k,o'}}{\partial b_o}",
                "Chain rule. One bias acts on all units of its channel, in every example.",
                lambda u, b, delta: np.tensordot(delta, derivative(lambda b: u + b, b), delta.ndim),
            ),
            (
                r"\sum_{n,k,o'} \delta_{n,k,o'} \, [o' = o]",
                "z = u + b, so the slope is 1 in the channel of the bias and 0 in the others.",
                single_terms,
            ),
            (r"\sum_{n,k} \delta_{n,k,o}", "Only the term o' = o remains.", total),
        ),
        scale=lambda u, b, delta: (total(u, b, np.abs(delta)), delta[..., 0].size),
    )


def _definition(a, w, delta, *, spacing):
    return derivative(lambda w: np.sum(delta * convolved(a, w, spacing)), w)


def _chain_rule(a, w, delta, *, spacing):
    return np.tensordot(delta, derivative(lambda w: convolved(a, w, spacing), w), delta.ndim)


def _single_terms(a, w, delta, *, spacing):
    sides = flat(a, spacing.groups), flat(delta, spacing.groups), meets(spacing.geometry(a, w))
    return np.einsum("nigc,npgo,irp->rcgo", *sides, optimize=True).reshape(w.shape)


def correlation(a: ndarray, w: ndarray, delta: ndarray, *, spacing: Spacing) -> ndarray:
    """Σ_{n,k} δ_k a_i, where i = (s·k + d·r - lo) / e is the pixel under tap r; shaped as `w`."""
    geometry, groups = spacing.geometry(a, w), spacing.groups
    places = [table(-x.lo, x.p, x.s, x.r, x.d) for x in geometry.axes()]
    met = split_groups(lookup(a, places, geometry.input_dilation), groups)
    return np.einsum("nprgc,npgo->rcgo", met, flat(delta, groups)).reshape(w.shape)


def _library(a, w, delta, *, spacing):
    return np.asarray(ops.conv_kernel_vjp(a, delta, w.shape, **spacing.options()))


def _scale(a, w, delta, *, spacing):
    terms = _single_terms(np.abs(a), w, np.abs(delta), spacing=spacing)
    return terms, delta[..., 0].size
