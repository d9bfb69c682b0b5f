"""From a multilayer perceptron to a convolution, and to the transpose of its matrix."""

import numpy as np
from numpy import ndarray

from .. import ops
from ._derivation import Derivation, steps
from ._error import full_convolution, magnitude
from ._positions import Spacing, flat, lookup, meets, table

_WINDOW = Spacing()  # stride 1, no padding: every window inside the image


def toeplitz(w: ndarray, spatial: tuple[int, ...]) -> ndarray:
    """The matrix of a convolution over images of a given size: T[p,o,i,c] = w[i-p,c,o].

    With one spatial axis and one channel, the matrix is banded and Toeplitz: each row is the row
    above, shifted by one to the right. With two axes it is a Toeplitz matrix of such blocks.
    `perceptron_to_convolution` derives it.

    Args:
      w: Kernel `(*window, c, o)`.
      spatial: Shape of the image.

    Returns:
      Array `(p, o, i, c)`. p and i count the output and input positions in row-major order.

    >>> toeplitz(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), (5,))[:, 0, :, 0]
    array([[1., 2., 3., 0., 0.],
           [0., 1., 2., 3., 0.],
           [0., 0., 1., 2., 3.]])
    """
    *window, c, o = w.shape
    outputs = [size - r + 1 for size, r in zip(spatial, window, strict=True)]
    differences = [table(0, p, -1, i, 1) for i, p in zip(spatial, outputs, strict=True)]  # i - p
    # The kernel looked up as if it were an image, its channel pairs as channels.
    found = lookup(w.reshape(1, *window, c * o), differences, [1] * len(window))[0]
    return found.reshape(*found.shape[:2], c, o).transpose(0, 3, 1, 2)


def perceptron_to_convolution() -> Derivation:
    """Derive a convolution from a dense layer: cut connections, share weights.

    Returns:
      The derivation. Its arrays are the image x `(n, *spatial, c)` and the kernel w
      `(*window, c, o)`. Its last step is `jaxconv.conv`.

    Source: local receptive fields and shared weights are those of LeCun, Bottou, Bengio & Haffner,
    "Gradient-based learning applied to document recognition", 1998; the two cuts are those of G.
    Gwardys, "Convolutional Neural Networks backpropagation: from intuition to derivation", 2016.

    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(1, 7, 6, 2)), rng.normal(size=(3, 2, 2, 4))
    >>> max(perceptron_to_convolution()[:-1].check(x, w)) < 1
    True
    """
    return Derivation(
        title="from a multilayer perceptron to a convolution",
        left="z_{p,o}",
        given={
            "x": "`(n, *spatial, c)`, an image",
            "w": "`(*window, c, o)`, the weights that the units will share",
        },
        steps=steps(
            (
                r"\sum_{i,c} W_{p,o,i,c} \, x_{i,c}",
                "A dense layer whose units lie on a grid. Unit p of kind o has a weight of its own "
                "for every pixel i. The weights are those that the next two steps ask for.",
                _dense,
            ),
            (
                r"\sum_{i \in p+\mathrm{window}} \sum_c W_{p,o,i,c} \, x_{i,c}",
                "Cut connections: distant pixels tell a unit little. Each unit sees a window of "
                "the image only. All other weights are zero, and their terms vanish.",
                _cut,
            ),
            (
                r"\sum_{r,c} w_{r,c,o} \, x_{p+r,c}",
                "Share weights: what is worth finding here is worth finding there. All units of a "
                "kind have the same weights, $W_{p,o,p+r,c} = w_{r,c,o}$, at every position p.",
                _shared,
            ),
            (
                r"\sum_{i,c} T_{p,o,i,c} \, x_{i,c} \quad T_{p,o,i,c} = w_{i-p,c,o}",
                "Put r = i - p. The matrix of the dense layer has become banded (cut) and constant "
                "along its diagonals (shared). Such a matrix is called Toeplitz.",
                _banded,
            ),
            (
                r"\left( w \ast x \right)_{p,o}",
                "A product with a banded Toeplitz matrix is a convolution: `jaxconv.conv`.",
                lambda x, w: np.asarray(ops.conv(x, w)),
            ),
        ),
        scale=lambda x, w: (_shared(np.abs(x), np.abs(w)), w[..., 0].size),
    )


def toeplitz_transpose() -> Derivation:
    """Derive that the transposed matrix is that of a full convolution with the rotated kernel.

    Returns:
      The derivation. Its arrays are the kernel w `(*window, c, o)` and the error δ
      `(n, *output, o)`. Its last step is `jaxconv.conv` with `jaxconv.rotate_kernel`.

    Source: after G. Gwardys, "Convolutional Neural Networks backpropagation: from intuition to
    derivation", 2016; (1) is BP2 of M. Nielsen, "Neural Networks and Deep Learning", 2015,
    chapter 2.

    >>> rng = np.random.default_rng(0)
    >>> w, delta = rng.normal(size=(3, 2, 2, 4)), rng.normal(size=(1, 5, 5, 4))
    >>> max(toeplitz_transpose()[:-1].check(w, delta)) < 1
    True
    """
    return Derivation(
        title="the transpose of a Toeplitz matrix",
        left=r"(T^\top \delta)_{i,c}",
        given={
            "w": "`(*window, c, o)`, the kernel: $T_{p,o,i,c} = w_{i-p,c,o}$",
            r"\delta": "`(n, *output, o)`, the error of the layer",
        },
        steps=steps(
            (
                r"\sum_{p,o} T_{p,o,i,c} \, \delta_{p,o}",
                "A dense layer carries its error back by the transposed matrix. Pixel i collects "
                "the errors of the units p, with the weights of column i of T.",
                _transposed_product,
            ),
            (
                r"\sum_{p,o} w_{i-p,c,o} \, \delta_{p,o}",
                "Read that column from top to bottom. As p grows, the tap i - p falls. A row of T "
                "has the taps in order, and a column has them in reverse.",
                _down_a_column,
            ),
            (
                r"\sum_{r',o} \hat{\delta}_{i+r',o} \operatorname{rot180}(w)_{r',o,c}",
                "List the taps in reverse, r' = R-1-(i-p). Put R-1 zeros around the error, since "
                "fewer than R units see the pixels near the border.",
                lambda w, delta: full_convolution(w, delta, _shape(w, delta), spacing=_WINDOW),
            ),
            (
                r"\left( \delta \ast \operatorname{rot180}(w) \right)_{i,c}",
                'This is a full convolution: `conv(delta, rotate_kernel(w), padding="FULL")`.',
                lambda w, delta: np.asarray(ops.conv(delta, ops.rotate_kernel(w), padding="FULL")),
            ),
        ),
        scale=lambda w, delta: magnitude(w, delta, _shape(w, delta), spacing=_WINDOW),
    )


def _dense(x, w):
    """The dense layer. Its matrix is filled in weight by weight."""
    geometry = _WINDOW.geometry(x, w)
    c, o = w.shape[-2:]
    weights = np.zeros((*geometry.output_size, o, *x.shape[1:-1], c))
    for p in np.ndindex(*geometry.output_size):
        for r in np.ndindex(*geometry.window):
            pixel = tuple(a + b for a, b in zip(p, r, strict=True))
            weights[(*p, slice(None), *pixel)] = w[r].T
    return np.tensordot(x, weights, (range(1, x.ndim), range(x.ndim - 1, weights.ndim)))


def _cut(x, w):
    """The same matrix. Each unit sums over its window only."""
    geometry = _WINDOW.geometry(x, w)
    weights = toeplitz(w, x.shape[1:-1])
    pixels = flat(x, 1)[:, :, 0]
    windows = np.any(meets(geometry), axis=1).T  # (unit, pixel)
    units = []
    for row, window in zip(weights, windows, strict=True):
        units.append(np.einsum("nic,oic->no", pixels[:, window], row[:, window]))
    return np.stack(units, axis=1).reshape(len(x), *geometry.output_size, w.shape[-1])


def _shared(x, w):
    geometry = _WINDOW.geometry(x, w)
    places = [table(0, a.p, 1, a.r, 1) for a in geometry.axes()]
    met = lookup(x, places, [1] * len(places))
    z = np.einsum("nprc,rco->npo", met, w.reshape(-1, *w.shape[-2:]))
    return z.reshape(len(x), *geometry.output_size, w.shape[-1])


def _banded(x, w):
    matrix = toeplitz(w, x.shape[1:-1])
    z = np.einsum("nic,poic->npo", flat(x, 1)[:, :, 0], matrix)
    return z.reshape(len(x), *_WINDOW.geometry(x, w).output_size, w.shape[-1])


def _shape(w: ndarray, delta: ndarray) -> tuple[int, ...]:
    """The shape of the input of a convolution with an output like `delta`."""
    n, *output, _ = delta.shape
    spatial = (p + r - 1 for p, r in zip(output, w.shape[:-2], strict=True))
    return (n, *spatial, w.shape[-2])


def _transposed_product(w, delta):
    shape = _shape(w, delta)
    matrix = toeplitz(w, shape[1:-1])
    p, o, i, c = matrix.shape
    back = delta.reshape(len(delta), p * o) @ matrix.reshape(p * o, i * c)
    return back.reshape(shape)


def _down_a_column(w, delta):
    """For each pixel, the sum over the p for which i - p is a tap."""
    shape = _shape(w, delta)
    back = np.zeros(shape)
    for i in np.ndindex(*shape[1:-1]):
        for p in np.ndindex(*delta.shape[1:-1]):
            tap = tuple(a - b for a, b in zip(i, p, strict=True))
            if all(0 <= a < r for a, r in zip(tap, w.shape, strict=False)):
                back[:, *i] += delta[:, *p] @ w[tap].T
    return back
