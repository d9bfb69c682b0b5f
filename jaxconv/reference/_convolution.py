"""A convolution and its two gradients, which are contractions of one trilinear form:

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o],   e·i + lo = s·p + d·r on each spatial axis,    (T)

with input dilation e, kernel dilation d, stride s and low padding lo. c and o are in one feature
group. `terms` lists the index triples `(i, r, p)`. Each of `conv`, `conv_input_vjp` and
`conv_kernel_vjp` leaves one slot empty and sums over the indices of the other two.

The padding and the gaps of a dilated input hold zeros. `conv` multiplies them by the kernel as it
does pixels. So an infinite or NaN tap reaches every output of its channel, because 0 · inf is NaN.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy import ndarray

Size: TypeAlias = int | Sequence[int]  # one for all spatial axes, or one for each
Padding: TypeAlias = str | int | Sequence[int | Sequence[int]]


def terms(axes, *, flip=False, padding_mode="zeros"):
    """Yield every `(i, r, p)` with e·i + lo = s·p + d·r, in the order of p. Each is a tuple.

    A position in the padding has no `i` and is in no triple. In modes other than "zeros" it has the
    `i` of the pixel that it repeats. With `flip`, tap `r` is where `w - 1 - r` would be.
    """
    found = products(axes, flip=flip, padding_mode=padding_mode)
    return ((i, r, p) for i, r, p in found if i is not None)


def products(axes, *, flip=False, padding_mode="zeros"):
    """Yield `(i, r, p)` for every tap and output. `i` is None where tap `r` of `p` meets a zero."""
    window = [w for _, w, *_ in axes]
    for p, r in product(np.ndindex(*output_size(axes)), np.ndindex(*window)):
        i = []
        for p_a, r_a, (n, w, s, lo, _, e, d) in zip(p, r, axes, strict=True):
            i_a, off_grid = divmod(s * p_a + d * (w - 1 - r_a if flip else r_a) - lo, e)
            if not off_grid and padding_mode != "zeros":
                i_a = _pixel_at(i_a, n, padding_mode)
            if not off_grid and 0 <= i_a < n:
                i.append(i_a)
        yield tuple(i) if len(i) == len(axes) else None, r, p


def _pixel_at(i, n, padding_mode):
    """The pixel at position `i`, inside or outside of an axis of `n` pixels."""
    if padding_mode == "circular":
        return i % n
    if padding_mode == "replicate" or n == 1:
        return min(max(i, 0), n - 1)
    assert padding_mode == "reflect", padding_mode
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


def output_size(axes):
    """On each axis floor((e(n-1) + 1 + lo + hi - d(w-1) - 1) / s) + 1, or 0 if that is negative."""
    return tuple(
        max((_dilate(n, e) + lo + hi - _dilate(w, d)) // s + 1, 0) for n, w, s, lo, hi, e, d in axes
    )


def spatial_axes(x_size, window, strides, padding, e, d):
    """The integers `(n, w, s, lo, hi, e, d)` of (T) on each spatial axis."""
    options = (per_axis(option, len(x_size)) for option in (strides, padding, e, d))
    return [
        (n, w, s, *_low_and_high(side, n, w, s, e, d), e, d)
        for n, w, s, side, e, d in zip(x_size, window, *options, strict=True)
    ]


def _low_and_high(padding, n, w, s, e, d):
    """The padding `(lo, hi)` of one axis, from a pair, an integer for both sides, or a name.

    "VALID" is none. With "FULL" each tap meets each pixel. "SAME" is the least padding for an
    output of ceil(n / s), where `n` is the size of the dilated input. If it is odd, the high side
    has one more, or the low side for "SAME_LOWER".
    """
    if not isinstance(padding, str):
        return (padding, padding) if isinstance(padding, int) else padding
    n, w = _dilate(n, e), _dilate(w, d)
    same = max((-(-n // s) - 1) * s + w - n, 0)
    total = {"VALID": 0, "FULL": 2 * (w - 1), "SAME": same, "SAME_LOWER": same}[padding]
    small, large = total // 2, total - total // 2
    return (large, small) if padding == "SAME_LOWER" else (small, large)


def _dilate(size, dilation):
    return dilation * (size - 1) + 1 if size else 0


def per_axis(option, rank):
    return (option,) * rank if isinstance(option, int | str) else tuple(option)


# The contractions of (T)


def conv(x: ndarray, kernel: ndarray, *args: Any, **options: Any) -> ndarray:
    """y[n,p,o] = Σ x[n,i,c] k[r,c,o], summed over i, r and c: the derivative of T by y.

    The options of this function and of the two gradients are those of `_problem`.
    """
    triples, x_shape, k_shape, y_shape = _problem(
        x.shape, kernel.shape, *args, **options, triples=products
    )
    x, k, y = wide(x, x_shape), wide(kernel, k_shape), zeros(y_shape, x, kernel)
    nothing = np.zeros((len(x), *x_shape[-2:]), x.dtype)
    for i, r, p in triples:
        y[:, *p] += np.einsum("ngc,cgo->ngo", nothing if i is None else x[:, *i], k[*r])
    return _join_groups(y)


def conv_input_vjp(
    y_bar: ndarray, kernel: ndarray, input_shape: Sequence[int], *args: Any, **options: Any
) -> ndarray:
    """x_bar[n,i,c] = Σ y_bar[n,p,o] k[r,c,o], summed over r, p and o: the derivative of T by x."""
    triples, x_shape, k_shape, y_shape = _problem(input_shape, kernel.shape, *args, **options)
    y, k, x_bar = wide(y_bar, y_shape), wide(kernel, k_shape), zeros(x_shape, y_bar, kernel)
    for i, r, p in triples:
        x_bar[:, *i] += np.einsum("ngo,cgo->ngc", y[:, *p], k[*r])
    return _join_groups(x_bar)


def conv_kernel_vjp(
    x: ndarray, y_bar: ndarray, kernel_shape: Sequence[int], *args: Any, **options: Any
) -> ndarray:
    """k_bar[r,c,o] = Σ x[n,i,c] y_bar[n,p,o], summed over n, i and p: the derivative of T by k."""
    triples, x_shape, k_shape, y_shape = _problem(x.shape, kernel_shape, *args, **options)
    x, y, k_bar = wide(x, x_shape), wide(y_bar, y_shape), zeros(k_shape, x, y_bar)
    for i, r, p in triples:
        k_bar[*r] += np.einsum("ngc,ngo->cgo", x[:, *i], y[:, *p])
    return _join_groups(k_bar)


def conv_transpose(
    x: ndarray, kernel: ndarray, *args: Any, output_shape: Sequence[int], **options: Any
) -> ndarray:
    """The adjoint of the convolution with `kernel` whose input has the shape `output_shape`."""
    groups = options.get("feature_group_count", 1)
    shape = (len(x), *output_shape, kernel.shape[-2] * groups)
    result = conv_input_vjp(x, kernel, shape, *args, **options)
    # As a convolution of the dilated and padded map, it multiplies zeros by the other taps, too.
    triples, x_shape, k_shape, _ = _problem(shape, kernel.shape, *args, **options)
    met, k = {(i, r) for i, r, _ in triples}, wide(kernel, k_shape)
    places = result.reshape(x_shape)
    with np.errstate(invalid="ignore"):  # 0 · inf
        nothing = (0 * k).sum(-1)
    for i, r in product(np.ndindex(*output_shape), np.ndindex(*kernel.shape[:-2])):
        if (i, r) not in met:
            places[:, *i] += nothing[*r].T
    return result


def rotate_kernel(kernel: ndarray) -> ndarray:
    """The rotated kernel, k'[r,o,c] = k[w-1-r,c,o]: window reversed, channel axes exchanged."""
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2))).swapaxes(-1, -2)


def _problem(
    x_shape: Sequence[int],
    kernel_shape: Sequence[int],
    strides: Size = 1,
    padding: Padding = "VALID",
    *,
    padding_mode: str = "zeros",
    input_dilation: Size = 1,
    kernel_dilation: Size = 1,
    feature_group_count: int = 1,
    flip_kernel: bool = False,
    triples=terms,
):
    """The triples of (T), and the shapes of x, k and y with an axis of groups before the last."""
    (n, *x_size, c), (*window, c_in, c_out), groups = x_shape, kernel_shape, feature_group_count
    axes = spatial_axes(x_size, window, strides, padding, input_dilation, kernel_dilation)
    return (
        triples(axes, flip=flip_kernel, padding_mode=padding_mode),
        (n, *x_size, groups, c // groups),
        (*window, c_in, groups, c_out // groups),
        (n, *output_size(axes), groups, c_out // groups),
    )


def zeros(shape, *operands):
    return np.zeros(shape, np.result_type(np.float64, *(array.dtype for array in operands)))


def wide(array, shape=None):
    array = np.asarray(array, np.result_type(np.float64, array.dtype))
    return array if shape is None else array.reshape(shape)


def _join_groups(array):
    *leading, groups, c = array.shape
    return array.reshape(*leading, groups * c)
