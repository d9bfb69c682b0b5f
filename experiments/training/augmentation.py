"""Random changes of training images that keep their class, computed on the device."""

import jax
import jax.numpy as jnp


def shift(key: jax.Array, images: jax.Array, *, pixels: int = 2) -> jax.Array:
    """Move each image by up to `pixels` along each axis. New pixels are black.

    Args:
      key: Random key.
      images: `(n, h, w, c)`.
      pixels: The largest shift. All shifts are equally likely.
    """
    n, h, w, c = images.shape
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    starts = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)

    def cut(image, start):
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), (h, w, c))

    return jax.vmap(cut)(padded, starts)


def affine(
    key: jax.Array,
    images: jax.Array,
    *,
    degrees: float = 12.0,
    stretch: float = 0.12,
    shear: float = 0.15,
    pixels: float = 2.0,
) -> jax.Array:
    """Rotate, stretch, shear and move each image about its centre. New pixels are black.

    The values between pixels are interpolated bilinearly.

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
    columns += (w - 1) / 2 + right
    return jax.vmap(_interpolated)(images, rows, columns)


def _interpolated(image, rows, columns):
    """An image `(h, w, c)` at fractional positions, bilinearly, black outside."""

    def channel(values):
        return jax.scipy.ndimage.map_coordinates(values, (rows, columns), order=1)

    return jax.vmap(channel, in_axes=-1, out_axes=-1)(image)


AUGMENTATIONS = {"none": None, "shift": shift, "affine": affine}
