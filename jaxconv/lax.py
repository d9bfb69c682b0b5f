"""The convolutions of `jax.lax` under their own names, with the derivatives of this library.

    from jaxconv import lax      # in place of: from jax import lax

Arguments, their order, results, shapes and dtypes are those of `jax.lax`. The module is for
programs that call lax already. `jaxconv.conv` and `jaxconv.conv_transpose` are easier to read.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax

from ._geometry import extent
from ._typing import AnyArray, Array
from .ops import conv_general_dilated as conv_general_dilated
from .ops._checks import as_array, check_flag
from .ops._general import Integers, Sides, as_tuples, check_as_lax, check_integers, check_sides
from .ops._operands import DimensionNumbers, layouts

__all__ = ["conv", "conv_general_dilated", "conv_transpose", "conv_with_general_padding"]


def conv(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Integers,
    padding: Sides,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
) -> Array:
    """Convolve as `jax.lax.conv` does: call `conv_general_dilated` with fewer arguments.

    Args:
      lhs: Input `(n, c, *spatial)`.
      rhs: Kernel `(o, c, *window)`.
      window_strides: As in `jaxconv.conv_general_dilated`.
      padding: As in `jaxconv.conv_general_dilated`.
      precision: As in `jaxconv.conv_general_dilated`.
      preferred_element_type: As in `jaxconv.conv_general_dilated`.

    Returns:
      The convolution, `(n, o, *output)`.

    Raises:
      ValueError: As for `jaxconv.conv_general_dilated`.
      TypeError: As for `jaxconv.conv_general_dilated`.
      RuntimeError: As for `jaxconv.conv_general_dilated`.

    The gradients are derived in `jaxconv.conv`.

    >>> conv(jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3)), (2, 2), "SAME").shape
    (2, 4, 4, 4)
    """
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_with_general_padding(
    lhs: AnyArray,
    rhs: AnyArray,
    window_strides: Integers,
    padding: Sides,
    lhs_dilation: Integers | None,
    rhs_dilation: Integers | None,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
) -> Array:
    """Convolve as `jax.lax.conv_with_general_padding` does: call `conv` with both dilations.

    Args:
      lhs: Input `(n, c, *spatial)`.
      rhs: Kernel `(o, c, *window)`.
      window_strides: As in `jaxconv.conv_general_dilated`.
      padding: As in `jaxconv.conv_general_dilated`.
      lhs_dilation: As in `jaxconv.conv_general_dilated`.
      rhs_dilation: As in `jaxconv.conv_general_dilated`.
      precision: As in `jaxconv.conv_general_dilated`.
      preferred_element_type: As in `jaxconv.conv_general_dilated`.

    Returns:
      The convolution, `(n, o, *output)`.

    Raises:
      ValueError: As for `jaxconv.conv_general_dilated`.
      TypeError: As for `jaxconv.conv_general_dilated`.
      RuntimeError: As for `jaxconv.conv_general_dilated`.

    The gradients are derived in `jaxconv.conv`.

    >>> x, kernel = jnp.ones((2, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> conv_with_general_padding(x, kernel, (1, 1), ((1, 1), (0, 0)), (2, 2), None).shape
    (2, 4, 15, 13)
    """
    return conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_transpose(
    lhs: AnyArray,
    rhs: AnyArray,
    strides: Integers,
    padding: Sides,
    rhs_dilation: Integers | None = None,
    dimension_numbers: DimensionNumbers = None,
    transpose_kernel: bool = False,
    precision: lax.PrecisionLike = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Array:
    """Convolve with fractional strides as `jax.lax.conv_transpose` does.

    The input is dilated by the strides s, padded, and convolved with stride 1. A padding (lo, hi)
    of a forward convolution becomes (K-1-lo, K-1-hi), where the dilated window covers K pixels. The
    result has the size s·size for "SAME" and s·size + max(K-s, 0) for "VALID".

    Args:
      lhs: Input of rank m + 2; by default `(n, *spatial, c)`.
      rhs: Kernel of rank m + 2; by default `(*window, c, o)`, or `(*window, o, c)` with
        `transpose_kernel`.
      strides: m strides s.
      padding: `"SAME"` or `"VALID"` of a forward convolution, or m pairs. The pairs count the zeros
        around the dilated input, unless `use_consistent_padding` is set.
      rhs_dilation: m kernel dilations; None means 1.
      dimension_numbers: As in `jaxconv.conv_general_dilated`. None means channels last, for up to
        three spatial axes.
      transpose_kernel: Whether to rotate the kernel by 180° and exchange its channel axes. The
        result is then the input gradient of a convolution with the kernel.
      precision: As in `jaxconv.conv`.
      preferred_element_type: As in `jaxconv.conv`.
      use_consistent_padding: Whether explicit pairs are those of a forward convolution, too.

    Returns:
      The transposed convolution, laid out as `dimension_numbers` says.

    Raises:
      ValueError: As for `jaxconv.conv_general_dilated`.
      TypeError: As for `jaxconv.conv_general_dilated`.
      RuntimeError: As for `jaxconv.conv_general_dilated`.

    The map is derived in `jaxconv.conv_transpose`.

    >>> conv_transpose(jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 8)), (2, 2), "SAME").shape
    (2, 8, 8, 8)
    """
    name = "conv_transpose"
    lhs, rhs = as_array(f"{name}: lhs", lhs), as_array(f"{name}: rhs", rhs)
    rank = lhs.ndim - 2
    if rhs.ndim != lhs.ndim or rank < 0:
        raise ValueError(
            f"{name}: lhs and rhs must have the same rank, of at least 2, "
            f"got shapes {lhs.shape} and {rhs.shape}."
        )
    check_flag(f"{name}: transpose_kernel", transpose_kernel)
    check_flag(f"{name}: use_consistent_padding", use_consistent_padding)
    strides, rhs_dilation = as_tuples(strides), as_tuples(rhs_dilation)
    sides: Any = as_tuples(padding)
    check_sides(f"{name}: padding", sides)
    check_integers(f"{name}: strides", strides, rank)
    if rhs_dilation is not None:
        check_integers(f"{name}: rhs_dilation", rhs_dilation, rank)
    check_as_lax(
        lax.conv_transpose,
        lhs,
        rhs,
        strides=strides,
        padding=sides,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        transpose_kernel=transpose_kernel,
        precision=precision,
        preferred_element_type=preferred_element_type,
        use_consistent_padding=use_consistent_padding,
    )
    if dimension_numbers is None:
        letters = "HWD"[:rank]
        dimension_numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    numbers = layouts(name, lhs.shape, rhs.shape, dimension_numbers)
    out, features, *window = numbers.rhs_spec
    dilation = (1,) * rank if rhs_dilation is None else rhs_dilation
    reach = [extent(rhs.shape[axis], d) for axis, d in zip(window, dilation, strict=True)]
    if not rank and isinstance(sides, str):  # lax asks for no name where there is nothing to pad
        sides = ()
    elif sides in ("SAME", "VALID"):
        sides = [_around_dilated(sides, k, s) for k, s in zip(reach, strides, strict=True)]
    elif use_consistent_padding:
        sides = [(k - 1 - lo, k - 1 - hi) for k, (lo, hi) in zip(reach, sides, strict=True)]
    if transpose_kernel:
        rhs = jnp.flip(rhs, window).swapaxes(out, features)
    return conv_general_dilated(
        lhs,
        rhs,
        (1,) * rank,
        sides,
        strides,
        dilation,
        numbers,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _around_dilated(padding: str, reach: int, stride: int) -> tuple[int, int]:
    """The zeros around the dilated input for the named padding of a forward convolution."""
    if padding == "VALID":
        return reach - 1, max(reach, stride) - 1
    total = reach + stride - 2
    before = min(reach - 1, -(-total // 2))
    return before, total - before
