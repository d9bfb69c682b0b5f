"""Augmentations move images as they say, and fill with black."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training.augmentation import affine, shift


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 1, (20, 12, 10, 2)), jnp.float32)


def test_shift_moves_by_whole_pixels(images):
    moved = np.asarray(shift(jax.random.key(0), images, pixels=2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    places = set()
    for image, whole in zip(moved, padded, strict=True):
        (found,) = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(image, whole[i : i + 12, j : j + 10])
        ]
        places.add(found)
    assert len(places) > 5


def test_affine_of_nothing_is_the_image(images):
    still = affine(jax.random.key(0), images, degrees=0, stretch=0, shear=0, pixels=0)
    np.testing.assert_allclose(still, images, rtol=1e-6, atol=1e-6)


def test_affine_reads_bilinearly_with_black_outside(images):
    """The result equals SciPy's for the transformation that the key draws."""
    from scipy import ndimage

    key, n = jax.random.key(3), len(images)
    actual = affine(key, images, degrees=20, stretch=0.2, shear=0.3, pixels=3)
    widths = np.array([np.deg2rad(20), 0.2, 0.2, 0.3, 3, 3])
    drawn = np.asarray(jax.random.uniform(key, (n, 6), minval=-1, maxval=1)) * widths
    for image, result, (angle, tall, wide, sheared, down, right) in zip(
        np.asarray(images), np.asarray(actual), drawn, strict=True
    ):
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array(
            [
                [cos * (1 + tall), -sin * (1 + tall)],
                [sin * (1 + wide) + sheared, cos * (1 + wide)],
            ]
        )
        centre = np.array([5.5, 4.5])
        offset = centre - matrix @ centre + [down, right]
        for channel in range(2):
            expected = ndimage.affine_transform(
                np.pad(image[..., channel], 1), matrix, offset + 1 - matrix @ [1, 1], order=1
            )[1:-1, 1:-1]
            np.testing.assert_allclose(result[..., channel], expected, atol=1e-4)
