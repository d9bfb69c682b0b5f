"""The pixels of image files of many formats."""

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from experiments import data
from experiments.command_line import UserError

GREY = np.array([[0, 1, 2, 3], [128, 127, 129, 64], [255, 254, 200, 100]], np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


@pytest.fixture
def through(tmp_path):
    """A function that writes an image to a file and reads it."""

    def write_and_read(image, name="a.png", **options):
        image.save(tmp_path / name, **options)
        (pixels,) = data.read_images([tmp_path / name])
        return pixels

    return write_and_read


# ---- kinds of pixels -------------------------------------------------------------------------


def test_grey_and_colour_are_as_in_the_file(through):
    np.testing.assert_array_equal(through(Image.fromarray(GREY)), GREY[..., None])
    np.testing.assert_array_equal(through(Image.fromarray(COLOUR)), COLOUR)
    for name in ("a.bmp", "a.tif", "a.ppm", "a.gif"):
        np.testing.assert_array_equal(through(Image.fromarray(GREY), name), GREY[..., None])


def test_colour_without_colours_is_grey(through):
    image = Image.fromarray(np.repeat(GREY[..., None], 3, axis=-1))
    np.testing.assert_array_equal(through(image), GREY[..., None])


def test_black_and_white(through):
    image = Image.fromarray(GREY > 127)
    assert image.mode == "1"
    np.testing.assert_array_equal(through(image)[..., 0], np.where(GREY > 127, 255, 0))


def test_palette(through):
    palette = Image.fromarray(COLOUR).quantize(12)
    np.testing.assert_array_equal(through(palette), np.asarray(palette.convert("RGB")))
    assert through(palette).shape == (3, 4, 3)
    greys = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode=None).convert("L")
    greys.putpalette([9, 9, 9, 70, 70, 70, 200, 200, 200])
    np.testing.assert_array_equal(through(greys)[..., 0], [[9, 70], [200, 70]])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_16_bits_are_rounded_to_8(through, name):
    values = np.array([[0, 128, 129, 257, 385, 386], [30_000, 4095, 65_535, 65_406, 65_407, 1]])
    pixels = through(Image.fromarray(values.astype(np.uint16)), name)
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257))


def png_of_16_bits(values, kind, *, more=b""):
    """A PNG of 16 bits `(h, w, c)`, which Pillow can't write: kind 0 is grey, 2 red, green, blue;
    4 more than that has opacity.
    """

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + _crc(name + content)

    def _crc(content):
        return struct.pack(">I", zlib.crc32(content))

    height, width = values.shape[:2]
    # Each row is the difference from the one above, so that the reader has to undo it.
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    lines = b"".join(b"\2" + row.tobytes() for row in rows - above)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    )


def tiff_of_16_bits(values, order, compression):
    """A TIFF of red, green and blue of 16 bits, of a byte order, "<" or ">": 1 is uncompressed."""
    height, width, channels = values.shape
    content = values.astype(f"{order}u2").tobytes()
    content = content if compression == 1 else zlib.compress(content)
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    at = 8 + 2 + 12 * 9 + 4
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, at), (262, 3, 1, 2)),
        (259, 3, 1, compression),
        *((273, 4, 1, at + 6), (277, 3, 1, channels), (278, 4, 1, height)),
        (279, 4, 1, len(content)),
    ]
    fields = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + struct.pack(f"{order}HH" if kind == 3 and count == 1 else f"{order}I", *value)
        for tag, kind, count, number in sorted(tags)
        for value in [(number, 0) if kind == 3 and count == 1 else (number,)]
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    return head + struct.pack(f"{order}H", len(tags)) + fields + bytes(4) + bits + content


VALUES = np.random.default_rng(0).integers(0, 65_536, (5, 6, 4))
VALUES[0, 0] = [128, 129, 65_406, 65_535]  # truncated, they would be 0, 0, 255, 255
VALUES[0, 1] = [385, 386, 65_407, 65_535]
VALUES[1, 1, 0] = 65_535
OPACITY = VALUES[..., 3:] / 65_535


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
def test_16_bits_of_colours_in_tiff_are_rounded(order, compression, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff_of_16_bits(VALUES[..., :3], order, compression))
    (pixels,) = data.read_images([tmp_path / "a.tif"])
    np.testing.assert_array_equal(pixels, np.rint(VALUES[..., :3] / 257))


def test_16_bits_of_colours_in_png_are_rounded(tmp_path):
    def read(values, kind, **options):
        (tmp_path / "a.png").write_bytes(png_of_16_bits(values, kind, **options))
        (pixels,) = data.read_images([tmp_path / "a.png"])
        return pixels

    colours, grey = VALUES[..., :3], VALUES[..., :1]
    np.testing.assert_array_equal(read(colours, 2), np.rint(colours / 257))
    over_white = colours * OPACITY + 65_535 * (1 - OPACITY)
    np.testing.assert_array_equal(read(VALUES, 6), np.rint(over_white / 257))
    over_white = grey * OPACITY + 65_535 * (1 - OPACITY)
    np.testing.assert_array_equal(read(VALUES[..., [0, 3]], 4), np.rint(over_white / 257))
    # A colour that is transparent, exactly: a neighbour in the low byte is none.
    colours = colours.copy()
    colours[0, 1] = colours[0, 0] + 1
    for kind, values in ((2, colours), (0, colours[..., :1])):
        name = b"tRNS" + struct.pack(f">{values.shape[-1]}H", *values[0, 0])
        chunk = struct.pack(">I", len(name) - 4) + name + struct.pack(">I", zlib.crc32(name))
        expected = np.rint(values / 257)
        expected[0, 0] = 255
        np.testing.assert_array_equal(read(values, kind, more=chunk), expected)


def test_12_bits_in_files_of_16_are_not_dark_without_a_word(tmp_path, capsys):
    def write(number, values):
        file = tmp_path / f"{number}.png"
        file.write_bytes(png_of_16_bits(values, 2 if values.shape[-1] == 3 else 0))
        return file

    files = [write(0, VALUES[..., :3] // 16), write(1, VALUES[..., :1] // 32)]
    Image.fromarray(np.full((5, 6), 200, np.uint8)).save(tmp_path / "8.png")
    images = data.read_images([tmp_path / "8.png", *files])
    assert images[1:].max() == 16
    assert capsys.readouterr().err == (
        "note: no value is above 4,095 of 65,535 in the 2 images of 16 bits "
        f"({tmp_path}/0.png is one): black to white become 0 to 16 of 255; if they hold 12 bits, "
        "multiply them by 16 first\n"
    )
    data.read_images([*files, write(2, VALUES[..., :3])])  # one that uses the 16 bits
    data.read_images([tmp_path / "8.png"])
    data.read_images([write(3, 0 * VALUES[..., :1])])  # black, in however many bits
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(through, dtype):
    with pytest.raises(UserError, match=r"a\.tif has 32 bits a pixel.* expected 8 or 16 bits"):
        through(Image.fromarray(GREY.astype(dtype)), "a.tif")


def test_what_is_transparent_lies_over_white(through):
    alpha = np.array([[0, 255, 128, 64]] * 3, np.uint8)
    over_white = np.rint((COLOUR * (alpha / 255)[..., None] + 255 - alpha[..., None]).astype(float))
    pixels = through(Image.fromarray(np.dstack([COLOUR, alpha])))
    np.testing.assert_allclose(pixels, over_white, atol=1)  # Pillow rounds twice
    np.testing.assert_array_equal(pixels[:, :2], over_white[:, :2])  # all or nothing: exact

    grey = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(alpha)))
    pixels = through(grey)
    assert pixels.shape == (3, 4, 1)
    np.testing.assert_array_equal(pixels[:, 0, 0], 255)
    np.testing.assert_array_equal(pixels[:, 1, 0], GREY[:, 1])


def test_transparent_colour_of_a_palette_is_white(through):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("L")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    pixels = through(image, transparency=1)
    assert pixels.tolist() == [[[255, 0, 0], [255] * 3], [[0, 0, 255], [255] * 3]]


def test_cmyk(through):
    pixels = through(Image.new("CMYK", (2, 3), (255, 0, 0, 0)), "a.tif")
    assert pixels.shape == (3, 2, 3)
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[0, 255, 255]]


# ---- orientation -----------------------------------------------------------------------------

# What a viewer does to the stored pixels, by EXIF's table.
SHOWN = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: np.swapaxes(p, 0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.swapaxes(np.rot90(p, 2), 0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation(through, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):
        pixels = through(Image.fromarray(COLOUR), name, exif=exif)
        np.testing.assert_array_equal(pixels, SHOWN[orientation](COLOUR))


def test_photo_that_was_taken_upright(through):
    blocks = np.kron(np.array([[50, 200]], np.uint8), np.ones((8, 8), np.uint8))  # JPEG's blocks
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = through(Image.fromarray(blocks), "a.jpg", quality=100, exif=exif)
    np.testing.assert_allclose(pixels[..., 0].astype(int), blocks.T, atol=1)


# EXIF that is cut off, points behind its end, or is something else.
DAMAGED = {
    "other": b"Exif\0\0garbage and more garbage",
    "without prefix": b"xxxxxx",
    "cut off": b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0",
    "far away": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "BigTIFF": b"Exif\0\0II+\0\x08\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_damaged_exif_is_ignored(through, name, damage):
    quality = {"quality": 100, "lossless": True} if name == "a.webp" else {"quality": 100}
    expected = through(Image.fromarray(COLOUR), name, **quality)
    pixels = through(Image.fromarray(COLOUR), name, exif=DAMAGED[damage], **quality)
    np.testing.assert_array_equal(pixels, expected)


def test_damaged_exif_in_the_text_of_a_png_is_ignored(through):
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 10\n4578zz")
    np.testing.assert_array_equal(through(Image.fromarray(COLOUR), pnginfo=text), COLOUR)


# ---- many files ------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """A grey image of 3×4, a coloured one of 5×4, and a grey one of 6×9."""
    images = [GREY, np.full((5, 4, 3), (1, 2, 3), np.uint8), np.full((6, 9), 77, np.uint8)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_one_size_and_number_of_channels_for_all(files):
    images = data.read_images(files)
    assert (images.shape, images.dtype) == ((3, 5, 4, 3), np.uint8)  # the medians
    assert (images[1] == (1, 2, 3)).all()
    assert (images[2] == 77).all()
    np.testing.assert_array_equal(images[0, 0], np.repeat(GREY[0, :, None], 3, axis=1))
    assert data.read_images([files[0], files[2]]).shape == (2, 4, 6, 1)  # 4.5 and 6.5, to even


def test_size_and_channels_can_be_given(files):
    assert data.read_images(files, size=(2, 7)).shape == (3, 2, 7, 3)
    grey = data.read_images(files, size=(3, 4), channels=1)
    assert grey.shape == (3, 3, 4, 1)
    np.testing.assert_array_equal(grey[0, ..., 0], GREY)
    assert (grey[1] == 2).all()  # 0.299·1 + 0.587·2 + 0.114·3, rounded
    assert data.read_images(files[:1], channels=3).shape == (1, 3, 4, 3)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_resize_averages_where_it_shrinks(channels):
    fine = np.indices((32, 32)).sum(axis=0) % 2 * np.uint8(255)  # a chessboard of single pixels
    images = np.repeat(fine[None, ..., None].astype(np.uint8), channels, axis=-1)
    small = data.resize(images, (4, 8))
    assert small.shape == (1, 4, 8, channels)
    assert np.abs(small.astype(int) - 127.5).max() < 10  # not 0 or 255, as from picking pixels
    assert data.resize(images, (32, 32)) is images


def test_load_resizes_what_is_known_by_name():
    digits = data.load("digits", image_size=(14, 20))
    assert digits.image_shape == (14, 20, 1)
    np.testing.assert_array_equal(digits.test.labels, data.load("digits").test.labels)
    with pytest.raises(UserError, match=r"--image-size must be at least 1 by 1, got \(0, 5\)"):
        data.load("digits", image_size=(0, 5))


def test_too_many_to_hold_asks_for_a_size(files, monkeypatch):
    monkeypatch.setattr(data.images, "MAX_BYTES", 70)
    with pytest.raises(UserError, match=r"3 images, .*0\.png among .*: set --image-size"):
        data.read_images(files)
    assert data.read_images(files, size=(3, 3)).shape == (3, 3, 3, 3)


# ---- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png"])
def test_animation_or_pages_are_refused(through, name):
    others = [Image.fromarray(GREY.T.reshape(3, 4))]
    with pytest.raises(UserError, match="holds 2 pictures, as frames or pages: expected 1"):
        through(Image.fromarray(GREY), name, save_all=True, append_images=others)


def test_photo_with_a_preview_behind_it(through):
    blocks = np.full((8, 16), 99, np.uint8)
    behind = [Image.fromarray(blocks[:, :8])]
    pixels = through(Image.fromarray(blocks), "a.mpo", save_all=True, append_images=behind)
    assert pixels.shape == (8, 16, 1)


def test_eps_is_not_run(tmp_path):
    file = tmp_path / "a.png"  # whatever its name says
    file.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(file) as image:
        assert image.format == "EPS"  # Pillow would draw it
    with pytest.raises(UserError, match=r"a\.png is no image of a format that can be read"):
        data.read_images([file])


def test_truncated_image_is_refused_in_one_line(tmp_path):
    file = tmp_path / "a.png"
    Image.fromarray(COLOUR).save(file)
    content = file.read_bytes()
    whole = 0
    for length in range(len(content)):
        file.write_bytes(content[:length])
        try:
            (pixels,) = data.read_images([file])
        except UserError as error:
            message = str(error)
        else:  # what is cut off stood behind the last pixel
            whole += 1
            np.testing.assert_array_equal(pixels, COLOUR)
            continue
        assert re.fullmatch(r"[^\n]*a\.png[^\n]*\.", message)
    assert whole < 30  # checksums, and the chunk that says that it ends


def test_unreadable_files_are_found_among_others(files, tmp_path):
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no image")
    cut.write_bytes(files[0].read_bytes()[:-30])
    found = data.unreadable([files[0], text, files[1], cut])
    assert list(found) == [text, cut]
    assert found[text] == f"{text} is no image of a format that can be read."
    assert found[cut].startswith(f"cannot read the image {cut}: ")


def test_image_that_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the image .*none\.png: No such file"):
        data.read_images([tmp_path / "none.png"])
