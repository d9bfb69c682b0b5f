"""scikit-learn's handwritten digits, enlarged to MNIST's 28×28 pixels: no download."""

from typing import Any

import numpy as np

from .dataset import Dataset, Split


def load() -> Dataset:
    """1,200 train, 297 validation and 300 test images."""
    from sklearn.datasets import load_digits  # a second to import, and only this dataset needs it

    digits: Any = load_digits()
    images = enlarge_digits(digits.images.astype(np.int64))[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    # scikit-learn's rows come in runs of one writer; a fixed shuffle spreads the writers.
    order = np.random.default_rng(0).permutation(len(labels))
    train, validation, test = (
        Split(images[rows], labels[rows]) for rows in np.split(order, [1_200, 1_497])
    )
    return Dataset(train, validation, test)


def enlarge_digits(images: np.ndarray) -> np.ndarray:
    """Bring 8×8 images of 0..16 to 28×28 images of 0..255.

    Bilinear by a factor of 3 about the pixels' centres, black outside, then a border of 2 black
    pixels. Along an axis, block i of three output pixels is

        (p[i-1] + 2 p[i]) / 3,   p[i],   (2 p[i] + p[i+1]) / 3,

    so in ninths and sixteenths everything is an integer, and the result is the same everywhere.

    Args:
      images: Integers `(n, 8, 8)` in 0..16.

    Returns:
      uint8 `(n, 28, 28)`.
    """
    thirds = np.zeros((24, 10), np.int64)  # columns 0 and 9 see the black outside
    for i in range(8):
        thirds[3 * i : 3 * i + 3, i : i + 3] = [[1, 2, 0], [0, 3, 0], [0, 2, 1]]
    interpolate = thirds[:, 1:9]
    ninths = interpolate @ images @ interpolate.T
    pixels = (255 * ninths + 72) // 144  # 144 = 9·16, and 72 is its half: rounds to nearest
    return np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
