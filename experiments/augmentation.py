"""Random changes of training images that leave their class as it is, on the device."""

import jax
import jax.numpy as jnp


def shift(key: jax.Array, images: jax.Array, *, pixels: int = 2) -> jax.Array:
    """Move each image by up to `pixels` along each axis; what comes in is black.

    Args:
      key: Random key.
      images: `(n, h, w, c)`.
      pixels: The largest move, each one equally likely.
    """
    n, h, w, c = images.shape
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    corners = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

    return jax.vmap(cut)(padded, corners)


def affine(
    key: jax.Array,
    images: jax.Array,
    *,
    degrees: float = 12.0,
    stretch: float = 0.12,
    shear: float = 0.15,
    pixels: float = 2.0,
) -> jax.Array:
    """Turn, stretch, shear and move each image about its centre; what comes in is black.

    The image is read at the transformed places of its pixels, bilinearly.

    Args:
      key: Random key.
      images: `(n, h, w, c)`.
      degrees: The largest angle.
      stretch: The largest relative change of each side.
      shear: The largest shift of a row, as a fraction of its distance from the centre.
      pixels: The largest move along each axis.
    """
    n, h, w, _ = images.shape
    widths = jnp.array([jnp.deg2rad(degrees), stretch, stretch, shear, pixels, pixels])
    drawn = jax.random.uniform(key, (n, 6), minval=-1, maxval=1) * widths
    angle, tall, wide, sheared, down, right = drawn.T[:, :, None, None]
    y, x = jnp.arange(h)[:, None] - (h - 1) / 2, jnp.arange(w)[None, :] - (w - 1) / 2
    rows = (jnp.cos(angle) * y - jnp.sin(angle) * x) * (1 + tall) + (h - 1) / 2 + down
    columns = (jnp.sin(angle) * y + jnp.cos(angle) * x) * (1 + wide) + sheared * y
    return jax.vmap(_read)(images, rows, columns + (w - 1) / 2 + right)


def _read(image, rows, columns):
    """An image `(h, w, c)` at fractional places, black outside."""
    h, w, _ = image.shape
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    padded = jnp.pad(image, ((2, 2), (2, 2), (0, 0)))
    # What is read from farther outside is read from two black pixels.
    i = jnp.clip(top.astype(jnp.int32) + 2, 0, h + 2)
    j = jnp.clip(left.astype(jnp.int32) + 2, 0, w + 2)
    above = (1 - right) * padded[i, j] + right * padded[i, j + 1]
    below = (1 - right) * padded[i + 1, j] + right * padded[i + 1, j + 1]
    return (1 - down) * above + down * below


AUGMENTATIONS = {"none": None, "shift": shift, "affine": affine}
