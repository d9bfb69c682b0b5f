"""What the autoencoders are measured by: the best linear code, and classical noise filters.

Images are taken in blocks, between which Ctrl-C is heard. Of large images the work is bounded: in
memory by the blocks, in time by that of training.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ._notes import note
from .data import Dataset, Split

Filter = Callable[[np.ndarray], np.ndarray]

_BLOCK = 2**22  # pixels that are floats at a time
_EXACT = 1024  # pixels of an image up to which all eigenvectors take less than a second
_PASSES = 4  # over larger training images; each brings the code closer to the best
_LEAST_SECONDS = 30  # that a rival may take, though training took less
_SMALL = 28 * 28  # pixels: as many as 10,000 such test images have are filtered


class Rival(NamedTuple):
    """A classical method on the same task."""

    inputs: np.ndarray  # what it and the autoencoder make the shown images of, in [0, 1]
    rows: tuple[tuple[str, str, float], ...] = ()  # of the table: method, code size, error
    metrics: Mapping[str, Any] = {}
    columns: Mapping[str, np.ndarray] = {}  # of the figure: what it makes of the inputs


class _TooLong(Exception):
    """A rival has taken longer than it may."""


def pca(dataset: Dataset, shown: Split, code_size: int, *, seconds: float = math.inf) -> Rival:
    """PCA fitted to the training images: the best *linear* code of 32, 64 and `code_size`.

    Args:
      dataset: Its training images are fitted, its test images measured.
      shown: Images to reconstruct.
      code_size: Of the autoencoder.
      seconds: What training took; a rival that takes longer is given up, and a note says so.
    """
    sizes, deadline = sorted({32, 64, code_size}), _Deadline(seconds)
    try:
        mean, axes = principal_axes(dataset.train.images, max(sizes), deadline)

        def reconstruct(centred, size):
            return centred @ axes[:size].T @ axes[:size]

        squares = dict.fromkeys(sizes, 0.0)
        for block in _centred_blocks(dataset.test.images, mean, deadline):
            for size in sizes:
                squares[size] += float(np.sum((block - reconstruct(block, size)) ** 2))
    except _TooLong:
        note(f"PCA was given up: it takes more than {deadline.seconds:.0f} s, longer than training")
        return Rival(shown.images / 255)
    errors = {size: total / dataset.test.images.size for size, total in squares.items()}
    few = shown.images.reshape(len(shown.images), -1) / 255 - mean
    return Rival(
        shown.images / 255,
        tuple(("PCA", str(size), error) for size, error in errors.items()),
        {"pca_mse": errors},
        {f"PCA {code_size}": (reconstruct(few, code_size) + mean).reshape(shown.images.shape)},
    )


def principal_axes(
    images: np.ndarray, count: int, check: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """The mean image, and the directions along which images vary most.

    Of small images these are eigenvectors of the covariance matrix C. Of larger ones, for which C
    would not fit into memory, they are those of C in a subspace: that of random vectors, multiplied
    by C several times. An error is left where eigenvalues are nearly alike.

    Args:
      images: uint8 `(n, h, w, c)`.
      count: How many directions, where there are as many.
      check: Called before each block of images; what it raises ends the work.

    Returns:
      Mean `(h w c,)` of images in [0, 1], and orthonormal axes `(count, h w c)`, the one of the
      largest variance first; no more of them than there are pixels or images.

    Source: Halko, Martinsson & Tropp, "Finding Structure with Randomness", SIAM Review 2011,
    doi:10.1137/090771806, algorithm 4.4.
    """
    from scipy import linalg

    n, size = len(images), images[0].size
    mean = images.reshape(n, size).mean(axis=0, dtype=np.float64) / 255
    count = min(count, n, size)

    def times_covariance(vectors):  # but for a factor 1 / n
        products = (b.T @ (b @ vectors) for b in _centred_blocks(images, mean, check))
        return sum(products, np.zeros_like(vectors))

    if size <= _EXACT:
        products = (b.T @ b for b in _centred_blocks(images, mean, check))
        _, vectors = np.linalg.eigh(sum(products, np.zeros((size, size))))
    else:
        width = min(count + 10, n, size)
        mean = mean.astype(np.float32)  # twice as many pixels in the same memory and time
        basis = np.random.default_rng(0).standard_normal((size, width), np.float32)
        for _ in range(_PASSES - 1):  # LU keeps the columns apart, at a third of the cost of QR
            basis, _ = linalg.lu(times_covariance(basis), permute_l=True)
        basis, _ = linalg.qr(times_covariance(basis), mode="economic")
        _, turns = np.linalg.eigh(basis.T @ times_covariance(basis))
        vectors = basis @ turns
    return mean, vectors[:, ::-1][:, :count].T


def _centred_blocks(images, mean, check) -> Iterator[np.ndarray]:
    """Images `(n, pixels)` in [0, 1] without their mean, in its dtype."""
    for block in _blocks(images, check):
        yield block.reshape(len(block), -1).astype(mean.dtype) / mean.dtype.type(255) - mean


def _blocks(images, check, pixels=_BLOCK) -> Iterator[np.ndarray]:
    length = max(1, pixels // images[0].size)
    for start in range(0, len(images), length):
        check()
        yield images[start : start + length]


class _Deadline:
    """Raises `_TooLong` when called after some seconds."""

    def __init__(self, seconds: float):
        self.seconds = max(_LEAST_SECONDS, seconds)
        self.at = time.monotonic() + self.seconds

    def __call__(self) -> None:
        if time.monotonic() > self.at:
            raise _TooLong


def filters(
    dataset: Dataset,
    shown: Split,
    corrupt: Callable[..., jax.Array],
    *,
    seconds: float = math.inf,
) -> Rival:
    """Median, Wiener and Gaussian filters, the strength of each chosen on validation images.

    Of images that are larger than 28×28×1, fewer are filtered, and a note says how many.

    Args:
      dataset: Its first validation and its test images are filtered.
      shown: Images to clean.
      corrupt: The noise, a function of a random key and images.
      seconds: What training took; a rival that takes longer is given up, and a note says so.
    """
    corrupt, deadline = jax.jit(corrupt), _Deadline(seconds)

    def noisy(images, seed):
        clean = np.asarray(images / 255, np.float32)
        return np.asarray(corrupt(jax.random.key(seed), clean)), clean

    def first(images, number):
        return images[: max(1, min(number, number * _SMALL // images[0].size))]

    inputs, _ = noisy(shown.images, 3)
    test = first(dataset.test.images, 10_000)
    if len(test) < len(dataset.test.images):
        note(f"noise filters are measured on the first {len(test):,} test images")
    try:
        chosen = best_filters(*noisy(first(dataset.validation.images, 2_000), 1), deadline)
        test, clean = noisy(test, 2)
        errors = {"noisy": float(np.mean((test - clean) ** 2))}
        for name, (_, filtered) in chosen.items():
            errors[name] = float(np.mean((filtered(test) - clean) ** 2))
    except _TooLong:
        note(f"noise filters were given up: they take more than {deadline.seconds:.0f} s")
        return Rival(inputs)
    best = min(chosen, key=lambda name: errors[name])
    labels = {name: f"{name} {strength:g}" for name, (strength, _) in chosen.items()}
    return Rival(
        inputs,
        tuple((labels.get(name, name), "", error) for name, error in errors.items()),
        {"filter_mse": errors},
        {best: chosen[best][1](inputs)},
    )


def best_filters(
    noisy: np.ndarray, clean: np.ndarray, check: Callable[[], None] = lambda: None
) -> dict[str, tuple[float, Filter]]:
    """For each filter its best strength on these images `(n, h, w, c)`, and it at that strength."""
    from scipy import ndimage, signal

    def median(strength, images):
        return ndimage.median_filter(images, (1, strength, strength, 1))

    def gaussian(strength, images):
        return ndimage.gaussian_filter(images, (0, strength, strength, 0))

    def wiener(strength, images):
        with np.errstate(divide="ignore", invalid="ignore"):  # where a window has no variance
            rows = [[signal.wiener(c, strength) for c in np.moveaxis(i, -1, 0)] for i in images]
        return np.nan_to_num(np.moveaxis(np.array(rows), 1, -1))

    candidates = {
        "median": (median, (3, 5, 7)),
        "Wiener": (wiener, (3, 5, 7)),
        "Gaussian": (gaussian, (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)),
    }
    found = {}
    for name, (function, strengths) in candidates.items():

        def filtered(strength, images, function=function):
            blocks = _blocks(images, check, _BLOCK // 16)  # a filter takes seconds for so many
            return np.concatenate([function(strength, block) for block in blocks])

        def error(strength, filtered=filtered):
            return float(np.mean((filtered(strength, noisy) - clean) ** 2))

        best = min(strengths, key=error)
        found[name] = best, partial(filtered, best)
    return found
