"""One trilinear form, its three contractions, and their six transposes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from .._arguments import Padding, Size
from ._derivation import Derivation, steps
from ._error import full_convolution
from ._gradients import correlation
from ._positions import Spacing, convolved, flat, flat_kernel, meets


def triangle(
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
) -> Derivation:
    """Derive all six transposes of convolution and its two gradients from one sum.

    Two linear maps A and B are each other's transpose when ⟨A u, v⟩ = ⟨u, B v⟩ for all u and v.

    Args:
      strides: As in `jaxconv.conv`.
      padding: As in `jaxconv.conv`.
      input_dilation: As in `jaxconv.conv`.
      kernel_dilation: As in `jaxconv.conv`.
      feature_group_count: As in `jaxconv.conv`.

    Returns:
      The derivation, of a scalar. Its arrays are x `(n, *spatial, c)`, k
      `(*window, c / groups, o)` and y `(n, *output, o)`. Its last step is the transpose that JAX
      computes for `jaxconv.conv`.

    Source: derived here. F. Dangel, "Convolutions and More as Einsum", NeurIPS 2024,
    arXiv:2307.02275, has the two gradients as contractions of the same tensors.

    >>> rng = np.random.default_rng(0)
    >>> x, k, y = (rng.normal(size=s) for s in [(1, 5, 5, 2), (3, 3, 2, 2), (1, 3, 3, 2)])
    >>> max(triangle()[:-1].check(x, k, y)) < 1
    True
    """
    spacing = Spacing(strides, padding, input_dilation, kernel_dilation, feature_group_count)
    chain = (
        (
            r"\sum_{n,c,o} \sum_{i,r,p} x_{n,i,c} \, k_{r,c,o} \, y_{n,p,o}"
            r" \, [e i + \mathrm{lo} = s p + d r]",
            "The form: the sum over all products of a pixel, a tap and an output that meet. It is "
            "linear in each of the three.",
            _form,
        ),
        (
            r"\langle \operatorname{conv}(x, k), y \rangle",
            "Sum over i, r and c first, and over the indices of y last. The inner sum is the "
            "convolution, ∂T/∂y.",
            lambda x, k, y, spacing: np.sum(convolved(x, k, spacing) * y),
        ),
        (
            r"\langle x, \mathrm{conv\_input\_vjp}(y, k) \rangle",
            "Sum over p, r and o first. The inner sum is ∂T/∂x, the full convolution with the "
            "rotated kernel. For a fixed k, (2) = (3) says that x ↦ conv(x, k) and "
            "y ↦ conv_input_vjp(y, k) are each other's transposes.",
            lambda x, k, y, spacing: np.sum(x * full_convolution(k, y, x.shape, spacing=spacing)),
        ),
        (
            r"\langle k, \mathrm{conv\_kernel\_vjp}(x, y) \rangle",
            "Sum over n, i and p first. The inner sum is ∂T/∂k, the correlation. For a fixed x, "
            "(2) = (4) says that k ↦ conv(x, k) and y ↦ conv_kernel_vjp(x, y) are each other's "
            "transposes. For a fixed y, (3) = (4) says the same of k ↦ conv_input_vjp(y, k) and "
            "x ↦ conv_kernel_vjp(x, y). The two transposes of each map are the other two maps. So "
            "derivatives of any order are made of these three.",
            lambda x, k, y, spacing: np.sum(k * correlation(x, k, y, spacing=spacing)),
        ),
        (
            r"\langle x, \operatorname{conv}(\cdot, k)^\top y \rangle",
            "The library states these six transposes as rules, and JAX applies them: this is "
            "`jax.linear_transpose` of `jaxconv.conv`.",
            _library,
        ),
    )
    return Derivation(
        title="the triangle",
        left="T(x, k, y)",
        given={
            "x": "`(n, *spatial, c)`, an input",
            "k": "`(*window, c / groups, o)`, a kernel",
            "y": "`(n, *output, o)`, an output",
        },
        steps=steps(*((tex, why, partial(value, spacing=spacing)) for tex, why, value in chain)),
        scale=partial(_scale, spacing=spacing),
    )


def _form(x, k, y, spacing):
    groups = spacing.groups
    sides = flat(x, groups), flat_kernel(k, groups), flat(y, groups)
    bracket = meets(spacing.geometry(x, k))
    return np.einsum("nigc,rcgo,npgo,irp->", *sides, bracket, optimize=True)


def _library(x, k, y, spacing):
    k, y = jnp.asarray(k), jnp.asarray(y)
    transposed: Any = jax.linear_transpose(lambda x: ops.conv(x, k, **spacing.options()), x)
    (x_bar,) = transposed(y)
    return np.sum(x * np.asarray(x_bar))


def _scale(x, k, y, spacing):
    return _form(np.abs(x), np.abs(k), np.abs(y), spacing), x.size + k.size + y.size
