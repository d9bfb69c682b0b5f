"""A mosaic shows every element of an array of any rank."""

import numpy as np

from jaxconv.verify.report._figure import mosaic


def test_mosaic_shows_every_number():
    for shape in ((), (5,), (2, 3), (2, 3, 4), (2, 5, 5, 3), (3, 3, 2, 4), (2, 3, 4, 5, 6)):
        array = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        image = mosaic(array)
        assert sorted(image[np.isfinite(image)]) == sorted(array.ravel())
