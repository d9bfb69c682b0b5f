"""scikit-learn's handwritten digits, enlarged to the 28×28 pixels of MNIST. Needs no download."""

from typing import Any

import numpy as np

from .dataset import Dataset, Split


def load() -> Dataset:
    """1,200 train, 297 validation and 300 test images."""
    from sklearn.datasets import load_digits  # takes a second to import

    digits: Any = load_digits()
    images = enlarge_digits(digits.images.astype(np.int64))[..., np.newaxis]
    labels = digits.target.astype(np.int32)
    # The rows are sorted by writer. A fixed shuffle distributes the writers.
    order = np.random.default_rng(0).permutation(len(labels))
    train, validation, test = (
        Split(images[rows], labels[rows]) for rows in np.split(order, [1_200, 1_497])
    )
    return Dataset(train, validation, test)


def enlarge_digits(images: np.ndarray) -> np.ndarray:
    """Enlarge 8×8 images with values 0..16 to 28×28 images with values 0..255.

    The factor is 3, bilinear about the centres of the pixels and black outside; a border of 2 black
    pixels is added. Along an axis, the three output pixels of block i are

        (p[i-1] + 2 p[i]) / 3,   p[i],   (2 p[i] + p[i+1]) / 3,

    so in ninths and sixteenths all values are integers, and the result is the same on every
    machine.

    Args:
      images: Integers `(n, 8, 8)` in 0..16.

    Returns:
      uint8 `(n, 28, 28)`.
    """
    thirds = np.zeros((24, 10), np.int64)  # columns 0 and 9 multiply the black outside
    for i in range(8):
        thirds[3 * i : 3 * i + 3, i : i + 3] = [[1, 2, 0], [0, 3, 0], [0, 2, 1]]
    interpolate = thirds[:, 1:9]
    ninths = interpolate @ images @ interpolate.T
    pixels = (255 * ninths + 72) // 144  # 144 = 9·16; adding 72 rounds to nearest
    return np.pad(pixels, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
