"""Decode many small greyscale PNGs at once.

A PNG decoder called an image at a time spends its time on being called. All images of a dataset
have one size, so here only the decompression runs per image; the row filters are undone for all
images together, a pixel position at a time.

Source: Portable Network Graphics Specification (Third Edition), W3C 2023, sections 5 (chunks),
9 (filtering) and 11.2.1 (header).
"""

import zlib
from collections.abc import Sequence

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_greyscale(files: Sequence[bytes], height: int, width: int) -> np.ndarray:
    """Decode 8-bit greyscale PNG files of one size.

    Args:
      files: The contents of the n files.
      height: Rows of every image.
      width: Pixels of every row.

    Returns:
      uint8 array `(n, height, width)`.

    Raises:
      ValueError: A file is damaged, or is not a non-interlaced 8-bit greyscale PNG of this size.
    """
    # Width, height, bit depth 8, colour type 0 (greyscale), and three zeros: the compression and
    # filter methods, and no interlacing.
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    scanlines = bytearray()
    for index, file in enumerate(files):
        try:
            found, pixels = _read_chunks(file)
        except (ValueError, zlib.error) as error:
            raise ValueError(f"decode_greyscale: image {index} is damaged ({error}).") from error
        if found != header or len(pixels) != height * (width + 1):
            raise ValueError(
                f"decode_greyscale: image {index} is not a non-interlaced 8-bit greyscale PNG of "
                f"{height}×{width} pixels."
            )
        scanlines += pixels
    rows = np.frombuffer(scanlines, np.uint8).reshape(len(files), height, width + 1)
    return _unfilter(rows[:, :, 0], rows[:, :, 1:])


def _read_chunks(file: bytes) -> tuple[bytes, bytes]:
    """The contents of the header chunk, and the decompressed pixels with their filter bytes."""
    if not file.startswith(_SIGNATURE):
        raise ValueError("no PNG signature")
    header, compressed, at = b"", [], len(_SIGNATURE)
    while at + 12 <= len(file):
        length, kind = int.from_bytes(file[at : at + 4], "big"), file[at + 4 : at + 8]
        end = at + 8 + length
        body, checksum = file[at + 8 : end], file[end : end + 4]
        if len(checksum) < 4:
            break
        if int.from_bytes(checksum, "big") != zlib.crc32(body, zlib.crc32(kind)):
            raise ValueError("checksum does not match")
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            compressed.append(body)
        elif kind == b"IEND":
            return header, zlib.decompress(b"".join(compressed))
        at = end + 4
    raise ValueError("the file ends early")


def _unfilter(filters: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Add to each pixel its predictor: none, left, up, their mean, or Paeth's choice."""
    if filters.max(initial=0) > 4:
        raise ValueError("decode_greyscale: unknown row filter, the file is damaged.")
    n, height, width = rows.shape
    # int16 and pixel positions first: sums don't wrap and every step reads whole cache lines. The
    # extra row above and column to the left are the zeros that predictors see at the border.
    image = np.zeros((height + 1, width + 1, n), np.int16)
    image[1:, 1:] = rows.transpose(1, 2, 0)
    for i in range(1, height + 1):
        sub, up, mean, paeth = (np.flatnonzero(filters[:, i - 1] == kind) for kind in (1, 2, 3, 4))
        image[i][:, up] += image[i - 1][:, up]
        image[i] &= 255
        for j in range(1, width + 1):
            here, left = image[i, j], image[i, j - 1]
            above, corner = image[i - 1, j], image[i - 1, j - 1]
            here[sub] += left[sub]
            here[mean] += (left[mean] + above[mean]) >> 1
            here[paeth] += _paeth(left[paeth], above[paeth], corner[paeth])
            here &= 255
    return np.ascontiguousarray(image[1:, 1:].transpose(2, 0, 1).astype(np.uint8))


def _paeth(left, above, corner):
    """Of the three neighbours the one nearest to left + above - corner; ties in this order."""
    to_left, to_above = np.abs(above - corner), np.abs(left - corner)
    to_corner = np.abs(left + above - 2 * corner)
    use_left = (to_left <= to_above) & (to_left <= to_corner)
    return np.where(use_left, left, np.where(to_above <= to_corner, above, corner))
