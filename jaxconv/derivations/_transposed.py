"""Deconvolutions are just convolutions."""

import numpy as np
from numpy import ndarray

from .. import ops
from .._arguments import Padding, Size, per_axis, transposed_input_size
from .._geometry import extent
from . import _error
from ._derivation import Derivation, steps
from ._positions import Spacing, convolved, derivative


def transposed_convolution(
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    output_shape: Size | None = None,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
) -> Derivation:
    """Derive that a transposed convolution is a convolution.

    Args:
      strides: As in `jaxconv.conv_transpose`.
      padding: As in `jaxconv.conv_transpose`.
      output_shape: Spatial shape of the result. None means the smallest shape that the convolution
        maps to that of `y`.
      input_dilation: As in `jaxconv.conv_transpose`.
      kernel_dilation: As in `jaxconv.conv_transpose`.
      feature_group_count: As in `jaxconv.conv_transpose`.

    Returns:
      The derivation. Its arrays are the layer's input y `(n, *output, o)`, which has the shape of
      the convolution's output, and the kernel w `(*window, c / groups, o)` of the convolution. Its
      last step is `jaxconv.conv_transpose`.

    Source: Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016,
    arXiv:1603.07285, chapter 4. That deconvolutions are just convolutions is the point of G.
    Gwardys, "Convolutional Autoencoder for Dummies", 2016.

    >>> rng = np.random.default_rng(0)
    >>> y, w = rng.normal(size=(1, 3, 3, 2)), rng.normal(size=(3, 3, 2, 2))
    >>> max(transposed_convolution(strides=2)[:-1].check(y, w)) < 1
    True
    """
    spacing = Spacing(strides, padding, input_dilation, kernel_dilation, feature_group_count)
    chain = (
        (
            r"\sum_{p,o} K_{p,o,i,c} \, y_{p,o}",
            "Definition. A convolution is linear in its input, so it has a matrix K with a row for "
            "each output. The transposed convolution is the product with the transposed matrix. "
            "It has the shape of an inverse, but it is none.",
            _matrix,
        ),
        (
            r"\sum_{p,o} y_{p,o} \sum_r w_{r,c,o} \, [e i + \mathrm{lo} = s p + d r]",
            "The entries of K are taps. Row p has $w_r$ where tap r lies on pixel i.",
            _error.single_terms,
        ),
        (
            r"\sum_{r,o} y_{(e i + \mathrm{lo} - d r)/s,\,o} \, w_{r,c,o}",
            "For each tap at most one position remains.",
            _error.one_position_left,
        ),
        (
            r"\sum_{r,o} y^{\uparrow}_{e i + \mathrm{lo} - d r,\,o} \, w_{r,c,o}",
            "Put s-1 zeros between the pixels of y. The literature calls this a fractional stride.",
            _error.dilated_error,
        ),
        (
            r"\sum_{r',o} y^{\uparrow}_{e i - \mathrm{lo}' + d r',\,o} \, w_{R-1-r',c,o}"
            r" \quad \mathrm{lo}' = d (R-1) - \mathrm{lo}",
            "Count the taps from the other end. Pixels and taps now run in the same direction.",
            _error.taps_backwards,
        ),
        (
            r"\sum_{r',o} \hat{y}_{e i + d r',o} \operatorname{rot180}(w)_{r',o,c}",
            "With lo' zeros in front, this is a convolution with the rotated kernel, stride e and "
            "input dilation s.",
            _error.full_convolution,
        ),
        (
            r"\mathrm{conv\_transpose}(y, w)_{i,c}",
            "This is the map that carries an error back through a convolution. Run forward, as a "
            "layer, it is `jaxconv.conv_transpose`.",
            _library,
        ),
    )

    def at(value):
        def of_given(y, w):
            size = _size(y, w, spacing) if output_shape is None else output_shape
            size = per_axis(size, y.ndim - 2, "transposed_convolution: output_shape")
            shape = (len(y), *size, w.shape[-2] * feature_group_count)
            return value(w, y, shape, spacing=spacing)

        return of_given

    return Derivation(
        title="a transposed convolution is a convolution",
        left=r"x_{i,c}",
        given={
            "y": "`(n, *output, o)`, the layer's input",
            "w": "`(*window, c / groups, o)`, the kernel of the convolution",
        },
        steps=steps(*((tex, why, at(value)) for tex, why, value in chain)),
        scale=at(_error.magnitude),
    )


def _size(y: ndarray, w: ndarray, spacing: Spacing) -> tuple[int, ...]:
    def each(option):
        return per_axis(option, y.ndim - 2, "transposed_convolution: option")

    size, _ = transposed_input_size(
        "transposed_convolution",
        y.shape[1:-1],
        tuple(map(extent, w.shape[:-2], each(spacing.kernel_dilation))),
        each(spacing.strides),
        spacing.padding,
        each(spacing.input_dilation),
        (0,) * (y.ndim - 2),
    )
    return size


def _matrix(w, y, shape, *, spacing):
    """Kᵀ y for each example, where K is the Jacobian of the convolution."""
    one = np.zeros((1, *shape[1:]))
    matrix = derivative(lambda x: convolved(x, w, spacing)[0], one)
    return np.tensordot(y, matrix[..., 0, *(slice(None),) * (len(shape) - 1)], y.ndim - 1)


def _library(w, y, shape, *, spacing):
    return np.asarray(ops.conv_transpose(y, w, output_shape=shape[1:-1], **spacing.options()))
