"""Classical methods that the autoencoders are compared with: PCA and noise filters.

Both take time after training. The number of images they see is bounded, so that this is at most a
minute or two, also for large images.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ..command_line import note
from ..data import Dataset, Split

Filter = Callable[[np.ndarray], np.ndarray]

_FITTED = 2**26  # pixels of the training images that PCA is fitted to
_EXACT = 1024  # pixels of an image; below, all eigenvectors take less than a second
_BLOCK = 2**22  # pixels that are converted to floats at a time
_FILTERED = 10_000 * 28 * 28  # pixels of the test images that are filtered


class Rival(NamedTuple):
    """The results of a classical method."""

    inputs: np.ndarray  # the images that it and the autoencoder reconstruct, in [0, 1]
    rows: tuple[tuple[str, str, float], ...] = ()  # of the table: method, code size, error
    metrics: Mapping[str, Any] = {}
    columns: Mapping[str, np.ndarray] = {}  # of the figure: the reconstructions of the inputs


def mean_image(dataset: Dataset, *, variational: bool = False) -> float:
    """The error on the test images of an answer that is always the mean training image.

    Returns:
      The squared error per pixel, or for a variational autoencoder the nats per image.
    """
    train, test = dataset.train.images, dataset.test.images
    mean, of_test = (images.mean(axis=0) / 255 for images in (train, test))
    if variational:
        mean = np.clip(mean, 1 / 510, 1 - 1 / 510)  # a pixel may be the same in all images
        return -float(np.sum(of_test * np.log(mean) + (1 - of_test) * np.log1p(-mean)))
    return sum(float(np.sum((b / 255 - mean) ** 2)) for b in _blocks(test)) / test.size


def pca(dataset: Dataset, shown: Split, code_size: int) -> Rival:
    """PCA, the best linear code, with 32, 64 and `code_size` components.

    Args:
      dataset: PCA is fitted to its training images; its test images give the errors.
      shown: The images to reconstruct.
      code_size: The code size of the autoencoder.
    """
    from sklearn.decomposition import PCA  # takes a second to import

    def flat(images):
        return images.reshape(len(images), -1) / np.array(255, dtype)

    train, test, size = dataset.train.images, dataset.test.images, dataset.train.images[0].size
    is_small = size <= _EXACT
    dtype, solver = (np.float64, "covariance_eigh") if is_small else (np.float32, "randomized")
    if (step := -(-train.size // _FITTED)) > 1:
        train = train[::step]
        note(f"PCA is fitted to {len(train):,} training images, one in {step}")
    sizes = sorted({32, 64, code_size})
    count = min(max(sizes), len(train), size)
    with np.errstate(invalid="ignore", divide="ignore"):  # images may all be the same
        fitted = PCA(count, svd_solver=solver, random_state=0).fit(flat(train))

    def reconstruct(images, size):
        codes = (flat(images) - fitted.mean_) @ fitted.components_[:size].T
        return codes @ fitted.components_[:size] + fitted.mean_

    squares = dict.fromkeys(sizes, 0.0)
    for block in _blocks(test):
        for size in sizes:
            squares[size] += float(np.sum((reconstruct(block, size) - flat(block)) ** 2))
    errors = {size: total / test.size for size, total in squares.items()}
    return Rival(
        shown.images / 255,
        tuple(("PCA", str(size), error) for size, error in errors.items()),
        {"pca_mse": errors},
        {f"PCA {code_size}": reconstruct(shown.images, code_size).reshape(shown.images.shape)},
    )


def _blocks(images, pixels=_BLOCK) -> Iterator[np.ndarray]:
    length = max(1, pixels // images[0].size)
    return (images[start : start + length] for start in range(0, len(images), length))


def filters(dataset: Dataset, shown: Split, corrupt: Callable[..., jax.Array]) -> Rival:
    """Median, Wiener and Gaussian filters. The strengths are chosen on validation images.

    Args:
      dataset: Its first validation images and its test images are filtered. If these have more
        pixels than 10,000 images of 28×28, fewer are filtered, and a note says how many.
      shown: The images to clean.
      corrupt: The noise, a function of a random key and images.
    """
    corrupt = jax.jit(corrupt)

    def noisy(images, seed):
        clean = np.asarray(images / 255, np.float32)
        return np.asarray(corrupt(jax.random.key(seed), clean)), clean

    def first(images, pixels):
        return images[: max(1, pixels // images[0].size)]

    inputs, _ = noisy(shown.images, 3)
    test = first(dataset.test.images, _FILTERED)
    if len(test) < len(dataset.test.images):
        note(f"noise filters are measured on the first {len(test):,} test images")
    chosen = best_filters(*noisy(first(dataset.validation.images, _FILTERED // 5), 1))
    test, clean = noisy(test, 2)
    errors = {"noisy": float(np.mean((test - clean) ** 2))}
    for name, (_, filtered) in chosen.items():
        errors[name] = float(np.mean((filtered(test) - clean) ** 2))
    best = min(chosen, key=lambda name: errors[name])
    labels = {name: f"{name} {strength:g}" for name, (strength, _) in chosen.items()}
    return Rival(
        inputs,
        tuple((labels.get(name, name), "", error) for name, error in errors.items()),
        {"filter_mse": errors},
        {best: chosen[best][1](inputs)},
    )


def best_filters(noisy: np.ndarray, clean: np.ndarray) -> dict[str, tuple[float, Filter]]:
    """The best strength of each filter on images `(n, h, w, c)`, and the filter itself."""
    from scipy import ndimage, signal

    def median(strength, images):
        return ndimage.median_filter(images, (1, strength, strength, 1))

    def gaussian(strength, images):
        return ndimage.gaussian_filter(images, (0, strength, strength, 0))

    def wiener(strength, images):
        with np.errstate(divide="ignore", invalid="ignore"):  # a window may have no variance
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
            # Ctrl-C takes effect between two blocks.
            return np.concatenate([function(strength, b) for b in _blocks(images, _BLOCK // 16)])

        errors = {s: float(np.mean((filtered(s, noisy) - clean) ** 2)) for s in strengths}
        best = min(strengths, key=lambda strength, errors=errors: errors[strength])
        found[name] = best, partial(filtered, best)
    return found
