"""Image files of any format that Pillow reads, as uint8 arrays."""

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..command_line import UserError, note
from ..command_line.notes import first_line
from .part import WHOLE, Part

# Pillow converts colours of 16 bits to 8 by dropping the low byte. Its raw modes name the byte
# order: read in the other order, the same file gives the low bytes. Read as "RGBA", "LA;16B" gives
# the four bytes of a pixel as channels.
_OF_16_BITS = re.compile(r"(RGB|RGBX|RGBA|LA);16([BLN])")
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_DARK = 2**14  # if all values of 16 bits are below this, the images probably have fewer bits

MAX_BYTES = 4 * 2**30  # of images that are held in their own sizes


class BadFile(UserError):
    """An image file that cannot be read."""


def read_images(
    files: Sequence[Path],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    part: Part = WHOLE,
) -> np.ndarray:
    """Read image files and convert them to one size and one number of channels.

    Images are rotated as their EXIF orientation says, unless it is damaged. Transparent pixels are
    drawn over white. 16 bits are rounded to 8, so that black and white stay black and white; if no
    file has a value of more than 14 bits, a note says how dark the images become. Palette, CMYK
    and other modes become red, green and blue.

    Args:
      files: At least one file of any format that Pillow reads, except EPS, which is a program.
      size: `(height, width)`. By default the size that all images share, or else the median of
        their heights and the median of their widths, rounded. The aspect ratio is not kept.
      channels: 1 or 3. By default 1 if every pixel of every image is grey, else 3.
      part: The share of all images that this process reads. Size and channels are those of all.

    Returns:
      uint8 `(n, h, w, c)`.

    Raises:
      BadFile: A file is unreadable, holds no image or several, or has pixels of an unknown range.
      UserError: The images are too many to be held without a `size`.
    """
    grey_or_colour, brightest, held = [], [], 0
    with _threads() as pool:
        for pixels, value in pool.map(partial(_read, size=size, grey=channels == 1), files):
            grey_or_colour.append(pixels)
            brightest.append(value)
            held += pixels.nbytes
            if size is None and held > MAX_BYTES:
                pool.shutdown(cancel_futures=True)
                raise UserError(
                    f"{len(files):,} images, {files[0]} among them, take more than "
                    f"{MAX_BYTES / 2**30:.0f} GiB as they are: set --image-size."
                )
    kinds = [
        (*pixels.shape[:2], pixels.ndim, value)
        for pixels, value in zip(grey_or_colour, brightest, strict=True)
    ]
    shapes = part.gather(np.array(kinds, np.int32).reshape(-1, 4))
    if part.index == 0:
        here = [file for file, value in zip(files, brightest, strict=True) if value >= 0]
        of_16_bits = shapes[:, 3][shapes[:, 3] >= 0]
        example = (here or list(files))[0]
        where = f"the {len(of_16_bits):,} images of 16 bits ({example} is one)"
        say_if_dark(of_16_bits.max(initial=0), where)
    if channels is None:
        channels = 1 if shapes[:, 2].max() == 2 else 3
    height, width = np.rint(np.median(shapes[:, :2], axis=0)).astype(int).tolist()
    images = np.empty((len(files), height, width, channels), np.uint8)
    for image, pixels in zip(images, grey_or_colour, strict=True):
        if pixels.shape[:2] != (height, width):
            pixels = _resized(Image.fromarray(pixels), (height, width))
        image[:] = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    return images


def unreadable(files: Sequence[Path]) -> dict[Path, str]:
    """The files that `read_images` refuses, and the reasons."""

    def reason(file):
        try:
            _read(file, size=(1, 1), grey=True)
        except BadFile as error:
            return str(error)

    with _threads() as pool:
        reasons = zip(files, pool.map(reason, files), strict=True)
        return {file: found for file, found in reasons if found is not None}


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for Pillow, which decodes and resizes without Python's lock."""
    _formats()  # loads Pillow's readers before there are threads
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Of damaged EXIF, which only tells the orientation.
        warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
        yield pool


def is_image(file: Path) -> bool:
    """Whether a file begins as an image does."""
    try:
        with Image.open(file, formats=_formats()):
            return True
    except Exception as error:  # others are those of damaged images, and reading them says more
        return not isinstance(error, Image.UnidentifiedImageError)


def resize(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize images `(n, h, w, c)` to `(n, *size, c)`, as `read_images` does, with any c."""
    if images.shape[1:3] == size:
        return images
    resized = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for image, source in zip(resized, images, strict=True):
        for channel in range(images.shape[3]):
            image[..., channel] = _resized(Image.fromarray(source[..., channel]), size)
    return resized


def _resized(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    # Pillow's bilinear filter is as wide as an output pixel, so that shrinking averages.
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


@cache
def _formats() -> tuple[str, ...]:
    """The formats to read: all but EPS, for which Pillow runs Ghostscript. Common ones first."""
    Image.init()
    frequent = ("PNG", "JPEG")
    return frequent + tuple(name for name in Image.ID if name not in (*frequent, "EPS"))


def say_if_dark(most: int, where: str) -> None:
    """Print a note if the largest value of images of 16 bits says that they have fewer.

    Args:
      most: The largest value.
      where: What has 16 bits, for the note.
    """
    if 0 < most < _DARK:
        bits = max(8, int(most).bit_length())
        note(
            f"no value is above {most:,} of 65,535 in {where}: black to white become 0 to "
            f"{round(most / 257)} of 255; if they hold {bits} bits, multiply them by "
            f"{2 ** (16 - bits)} first"
        )


def round_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Values of 0 to 65,535 as uint8. Black and white stay black and white: 65535 = 257·255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _read(file: Path, *, size: tuple[int, int] | None, grey: bool) -> tuple[np.ndarray, int]:
    """The pixels of a file, and the largest value if it has 16 bits, otherwise -1.

    The pixels are `(h, w)` if all are grey or `grey` is True, otherwise `(h, w, 3)`.
    """
    try:
        with Image.open(file, formats=_formats()) as opened:
            frames = getattr(opened, "n_frames", 1)
            if frames > 1 and opened.format != "MPO":  # a camera's JPEG with previews
                raise BadFile(f"{file} holds {frames} pictures, as frames or pages: expected 1.")
            low, format = _low_bytes(file, opened), opened.format
            image, brightest = _upright(opened), -1
            is_wide = image.mode == "I" and format in ("PNG", "PPM")
            if low is not None or is_wide or image.mode.startswith("I;16"):
                values = np.asarray(image).astype(np.uint32)
                values = values if low is None else 256 * values + np.asarray(low)
                # The fourth channel of colours is opacity.
                brightest = int((values if values.ndim == 2 else values[..., :3]).max())
                image = _rounded(values, image.info.get("transparency"))
            else:
                image = _to_8_bits(image, file)
    except BadFile:
        raise
    except Image.UnidentifiedImageError as error:
        raise BadFile(f"{file} is no image of a format that can be read.") from error
    except Exception as error:  # Pillow's readers raise various errors for damaged files
        reason = getattr(error, "strerror", None) or first_line(error)
        raise BadFile(f"cannot read the image {file}: {reason}.") from error
    if grey:
        image = image.convert("L")
    pixels = np.asarray(image) if size is None else _resized(image, size)
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., 0].copy()  # a view would keep the other channels in memory
    return pixels, brightest


def _upright(image: Image.Image) -> Image.Image:
    """The image as its orientation says; as it is stored if its EXIF is damaged."""
    image.load()  # an error of the pixels is raised here
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # various errors, by kind of damage
        return image


def _low_bytes(file: Path, opened: Image.Image) -> Image.Image | None:
    """The low bytes of an image with colours of 16 bits; None for other images."""
    tiles = []
    for tile in opened.tile:
        raw_mode, *others = (tile.args,) if isinstance(tile.args, str) else tile.args or ("",)
        found = _OF_16_BITS.fullmatch(str(raw_mode))
        if found is None:
            return None
        kind, order = found.groups()
        raw_mode = "RGBA" if kind == "LA" else f"{kind};16{_OTHER_ORDER[order]}"
        args = raw_mode if isinstance(tile.args, str) else (raw_mode, *others)
        tiles.append(tile._replace(args=args))
    if not tiles:
        return None
    with Image.open(file, formats=_formats()) as again:
        again.tile = tiles
        low = _upright(again)
    if raw_mode == "RGBA":  # grey's two bytes, and opacity's
        _, grey, _, opacity = low.split()
        low = Image.merge("RGBA", (grey, grey, grey, opacity))
    return low


def _rounded(values: np.ndarray, transparent: Any) -> Image.Image:
    """Values of 16 bits, `(h, w)` or `(h, w, c)`, rounded to 8.

    Args:
      values: The values. A fourth channel is opacity.
      transparent: The transparent colour, or None.
    """
    colours, opacity = values if values.ndim == 2 else values[..., :3], None
    if values.ndim == 3 and values.shape[-1] == 4:
        opacity = values[..., 3:] / 65535
    elif isinstance(transparent, (int, tuple)):
        is_it = colours == np.array(transparent)
        opacity = 1.0 - (is_it.all(axis=-1, keepdims=True) if colours.ndim == 3 else is_it)
    if opacity is not None:  # over white
        colours = np.rint(colours * opacity + 65535 * (1 - opacity))
    return Image.fromarray(round_to_8_bits(colours))


def _to_8_bits(image: Image.Image, file: Path) -> Image.Image:
    """The image in mode L or RGB."""
    if image.mode in ("I", "F"):
        raise BadFile(
            f"{file} has 32 bits a pixel, and does not say which values are black and white: "
            "expected 8 or 16 bits."
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
