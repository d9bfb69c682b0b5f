"""A mosaic shows every element of an array of any rank, its spatial axes side by side."""

import numpy as np
import pytest

from jaxconv.verify.report._figure import mosaic

# A shape, the axes that a tile shows, and the columns of tiles.
SHAPES = [
    ((2, 3, 4), (1, 2), 2),
    ((2, 5, 5, 3), (1, 2), 3),  # a feature map
    ((3, 3, 3, 4), (0, 1), 4),  # a kernel
    ((3, 3, 2, 4), (2, 3), 3),
    ((2, 3, 4, 5, 6), (3, 4), 5),
    ((1, 1, 2, 9), (2, 3), 1),
    ((3, 3, 4, 2), (1, 2), 3),  # as many examples as rows
    ((4, 3, 3, 2), (2, 3), 5),  # more examples than rows: no map
    ((2, 3, 3, 3), (2, 3), 3),  # as many channels as columns: no map
    ((2, 2, 2, 3), (0, 1), 3),
    ((3, 3, 3), (1, 2), 2),  # of three axes none are channels
    ((3, 3, 3, 3), (0, 1), 3),
    ((3, 1, 4), (1, 2), 1),
    ((3, 4, 1), (1, 2), 4),
    ((7, 2, 2), (1, 2), 3),
]


@pytest.mark.parametrize(("shape", "shown", "columns"), SHAPES)
def test_tiles_stand_side_by_side(shape, shown, columns):
    array = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    tiles = np.moveaxis(array, shown, (-2, -1))
    tiles = tiles.reshape(-1, *tiles.shape[-2:])
    (h, w), rows = tiles.shape[1:], -(-len(tiles) // columns)
    expected = np.full((rows, h + 1, columns, w + 1), np.nan)
    for place, tile in enumerate(tiles):
        expected[place // columns, :h, place % columns, :w] = tile
    expected = expected.reshape(rows * (h + 1), -1)[:-1, :-1]
    np.testing.assert_array_equal(mosaic(array), expected)


def test_numbers_and_vectors_are_a_row():
    np.testing.assert_array_equal(mosaic(np.array(3.0)), [[3.0]])
    np.testing.assert_array_equal(mosaic(np.arange(5.0)), [np.arange(5.0)])
    np.testing.assert_array_equal(mosaic(np.eye(2, 3)), np.eye(2, 3))


def test_kernels_of_three_axes_have_their_channels_first():
    array = np.arange(96.0).reshape(2, 2, 2, 3, 4)
    tiles = np.moveaxis(array, (3, 4), (0, 1)).reshape(24, 2, 2)
    np.testing.assert_array_equal(mosaic(array), mosaic(tiles))


@pytest.mark.parametrize(
    "shape", [(0,), (0, 3), (3, 0), (0, 2, 3), (2, 0, 3), (2, 3, 0), (0, 0, 0, 0), (2, 2, 0, 3)]
)
def test_an_array_without_elements_has_an_empty_image(shape):
    image = mosaic(np.zeros(shape))
    assert image.shape == (1, 1)
    assert np.isnan(image).all()
