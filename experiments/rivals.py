"""What the autoencoders are measured by: the best linear code, and classical noise filters."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .data import Dataset, Split


def pca(dataset: Dataset, sizes: list[int], shown: Split) -> tuple[dict[int, float], np.ndarray]:
    """PCA fitted to the training images: the best *linear* code of each size.

    Returns:
      For each size the mean squared error per pixel on the test images, and the reconstructions
      `(n, h, w, c)` of the shown images from a code of the last size.
    """
    from sklearn.decomposition import PCA  # slow to import

    train, test, few = (
        split.images.reshape(split.size, -1).astype(np.float64) / 255
        for split in (dataset.train, dataset.test, shown)
    )
    # No code can be larger than the images, nor than the number of them.
    largest = min(max(sizes), *train.shape)
    fitted: Any = PCA(largest, svd_solver="covariance_eigh").fit(train)

    def reconstruct(images, size):
        axes = fitted.components_[:size]
        centred = images - fitted.mean_
        return centred @ axes.T @ axes + fitted.mean_

    errors = {size: float(np.mean((test - reconstruct(test, size)) ** 2)) for size in sizes}
    return errors, reconstruct(few, sizes[-1]).reshape(shown.images.shape)


def filters() -> dict[str, list[tuple[float, Callable[[np.ndarray], np.ndarray]]]]:
    """Noise filters of images `(n, h, w, c)`, each at several strengths."""
    from scipy import ndimage, signal

    def wiener(images, size):
        with np.errstate(divide="ignore", invalid="ignore"):  # where a window has no variance
            rows = [[signal.wiener(c, size) for c in np.moveaxis(i, -1, 0)] for i in images]
        return np.nan_to_num(np.moveaxis(np.array(rows), 1, -1))

    return {
        "median": [
            (size, lambda x, s=size: ndimage.median_filter(x, (1, s, s, 1))) for size in (3, 5, 7)
        ],
        "Wiener": [(size, lambda x, s=size: wiener(x, s)) for size in (3, 5, 7)],
        "Gaussian": [
            (sigma, lambda x, s=sigma: ndimage.gaussian_filter(x, (0, s, s, 0)))
            for sigma in (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
        ],
    }


def best_filters(
    noisy: np.ndarray, clean: np.ndarray
) -> dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]]:
    """For each filter its best strength on these images, and the filter at that strength."""
    found = {}
    for name, candidates in filters().items():
        found[name] = min(candidates, key=lambda c: float(np.mean((c[1](noisy) - clean) ** 2)))
    return found
