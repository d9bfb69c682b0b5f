"""What the autoencoders are measured by: the best linear code, and classical noise filters."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from .data import Dataset, Split

Filter = Callable[[np.ndarray], np.ndarray]


class Rival(NamedTuple):
    """A classical method on the same task."""

    inputs: np.ndarray  # what it and the autoencoder make the shown images of, in [0, 1]
    rows: tuple[tuple[str, str, float], ...] = ()  # of the table: method, code size, error
    metrics: Mapping[str, Any] = {}
    columns: Mapping[str, np.ndarray] = {}  # of the figure: what it makes of the inputs


def pca(dataset: Dataset, shown: Split, code_size: int) -> Rival:
    """PCA fitted to the training images: the best *linear* code of 32, 64 and `code_size`."""
    from sklearn.decomposition import PCA  # slow to import

    train, test, few = (
        split.images.reshape(split.size, -1).astype(np.float64) / 255
        for split in (dataset.train, dataset.test, shown)
    )
    sizes = sorted({32, 64, code_size})
    # No code can be larger than the images, nor than the number of them.
    largest = min(max(sizes), *train.shape)
    fitted: Any = PCA(largest, svd_solver="covariance_eigh").fit(train)

    def reconstruct(images, size):
        axes = fitted.components_[:size]
        centred = images - fitted.mean_
        return centred @ axes.T @ axes + fitted.mean_

    errors = {size: float(np.mean((test - reconstruct(test, size)) ** 2)) for size in sizes}
    return Rival(
        shown.images / 255,
        tuple(("PCA", str(size), error) for size, error in errors.items()),
        {"pca_mse": errors},
        {f"PCA {code_size}": reconstruct(few, code_size).reshape(shown.images.shape)},
    )


def filters(dataset: Dataset, shown: Split, corrupt: Callable[..., jax.Array]) -> Rival:
    """Median, Wiener and Gaussian filters, the strength of each chosen on validation images.

    Args:
      corrupt: The noise, a function of a random key and images.
    """
    corrupt = jax.jit(corrupt)

    def noisy(images, seed):
        clean = np.asarray(images / 255, np.float32)
        return np.asarray(corrupt(jax.random.key(seed), clean)), clean

    chosen = best_filters(*noisy(dataset.validation.images[:2_000], 1))
    test, clean = noisy(dataset.test.images, 2)
    inputs, _ = noisy(shown.images, 3)
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

        def error(strength, function=function):
            return float(np.mean((function(strength, noisy) - clean) ** 2))

        best = min(strengths, key=error)
        found[name] = best, partial(function, best)
    return found
