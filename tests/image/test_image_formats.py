"""Pixels: every format, depth, number of channels and alpha; OpenCV's and Pillow's mistakes are not ours."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import HEIGHT, KINDS, WIDTH, from_pillow, picture, png_chunk, png_with, smooth
from PIL import Image as Pillow

from img2img.errors import ImageFitError, ImageFormatError, ImageReadError
from img2img.image import READABLE, WRITABLE, EncodeOptions, Image, decode, encode, fit_reason
from img2img.image.formats import tiff_samples as tiff
from img2img.image.ifd import Reader

EXACT = {".png", ".tif", ".tiff", ".bmp", ".dib", ".jp2", ".pgm", ".ppm", ".pnm", ".pam", ".pfm"}


@pytest.mark.parametrize("extension", sorted(WRITABLE))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(68)
def test_what_fits_comes_back_and_what_does_not_is_refused(extension: str, kind: str) -> None:
    channels, dtype, alpha = KINDS[kind]
    image = picture(channels, dtype, alpha)
    reason = fit_reason(image, extension)
    if reason is not None:
        with pytest.raises(ImageFitError, match="holds"):
            encode(image, extension)
        return
    back = decode(encode(image, extension))
    pixels = back.pixels
    assert pixels.dtype == image.pixels.dtype
    assert pixels.flags["C_CONTIGUOUS"]
    assert (back.alpha is not None) == alpha
    if extension in (".webp", ".avif") and channels == 1 and back.channels == 3:
        pixels = pixels[:, :, 1:2]  # these formats know colours only
    assert pixels.shape == image.pixels.shape
    if extension in EXACT:
        np.testing.assert_array_equal(pixels, image.pixels)
    else:
        seen = image.alpha > 32 if image.alpha is not None else ...  # what does not show may change
        assert np.abs(pixels.astype(int) - image.pixels)[seen].mean() < 5
    if alpha:
        assert back.alpha is not None and image.alpha is not None
        assert np.abs(back.alpha.astype(float) - image.alpha).max() <= (0 if extension in EXACT else 2)


def test_the_name_rule_is_complete() -> None:
    """What users may have is held by some format without loss: PNG or TIFF."""
    for channels, dtype, alpha in KINDS.values():
        image = picture(channels, dtype, alpha)
        assert fit_reason(image, ".tif") is None
        assert (fit_reason(image, ".png") is None) == (channels in (1, 3) and dtype != "float32")
    assert fit_reason(picture(), ".gif") is not None
    assert fit_reason(picture(), "") is not None
    assert fit_reason(picture(), ".JPG") is None
    assert WRITABLE < READABLE
    wide = Image(np.zeros((1, 16384, 3), np.uint8))
    assert "16383" in (fit_reason(wide, ".webp") or "")
    assert fit_reason(wide, ".jpg") is None


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".avif", ".bmp"])
def test_16_bits_are_never_cut_silently(extension: str) -> None:
    with pytest.raises(ImageFitError, match="uint16"):
        encode(picture(dtype="uint16"), extension)


def test_a_dark_16_bit_picture_stays_16_bit() -> None:
    dark = (smooth(3, "uint16") >> 9).astype(np.uint16)
    for extension in (".png", ".tif", ".ppm", ".jp2"):
        back = decode(encode(Image(dark), extension)).pixels
        np.testing.assert_array_equal(back, dark)
        assert back.dtype == np.uint16


def test_pillow_reads_what_we_write() -> None:
    for extension in (".png", ".tif", ".bmp", ".jp2", ".ppm"):
        for image in (picture(), picture(1), picture(alpha=True)):
            if fit_reason(image, extension) is None:
                array = np.asarray(Pillow.open(io.BytesIO(encode(image, extension))))
                expected = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
                np.testing.assert_array_equal(array, expected.squeeze())
    both = np.asarray(Pillow.open(io.BytesIO(encode(picture(1, alpha=True), ".png"))))
    assert both.shape == (HEIGHT, WIDTH, 2)


def test_opencv_reads_the_tiff_that_we_write() -> None:
    for dtype in ("uint8", "uint16", "float32"):
        for alpha in (False, True):
            if alpha and dtype == "uint8":
                continue  # OpenCV multiplies these colours with their alpha; Pillow does not
            image = picture(dtype=dtype, alpha=alpha)
            array = cv2.imdecode(np.frombuffer(encode(image, ".tif"), np.uint8), flags=cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(array[:, :, [2, 1, 0]], image.pixels)


def test_quality_and_sampling_change_jpeg() -> None:
    image = picture()
    sizes = [len(encode(image, ".jpg", EncodeOptions(quality=q))) for q in (30, 75, 95)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[2]
    red = Image(np.where(smooth(1) > 128, [255, 0, 0], [0, 0, 255]).astype(np.uint8))
    error = [
        np.abs(
            decode(encode(red, ".jpg", EncodeOptions(jpeg_sampling=s))).pixels.astype(int) - red.pixels
        ).mean()
        for s in ("4:2:0", "4:4:4")
    ]
    assert error[1] < error[0]
    exact = decode(encode(image, ".webp", EncodeOptions(lossless=True))).pixels
    np.testing.assert_array_equal(exact, image.pixels)
    with pytest.raises(ValueError, match="quality"):
        EncodeOptions(quality=0)


def test_encoding_leaves_the_picture_alone() -> None:
    image = picture(alpha=True)
    before, alpha = image.pixels.copy(), image.alpha.copy()  # type: ignore[union-attr]
    image.pixels.flags.writeable = False
    for extension in (".png", ".tif", ".webp", ".bmp"):
        encode(image, extension)
    encode(image.replace(alpha=None), ".jpg")
    np.testing.assert_array_equal(image.pixels, before)
    np.testing.assert_array_equal(image.alpha, alpha)


def test_pixels_in_any_memory_layout_are_stored_alike() -> None:
    image = picture()
    view = Image(np.asfortranarray(image.pixels)[::-1][::-1])
    for extension in (".jpg", ".png", ".tif", ".ppm"):
        assert encode(view, extension) == encode(image, extension)


# palettes, transparent levels, few bits


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_palettes_become_colours(colours: int) -> None:
    palette = Pillow.fromarray(smooth(3)).quantize(colours)
    expected = np.asarray(palette.convert("RGB"))
    for kind in ("PNG", "BMP", "GIF", "TIFF"):
        image = decode(from_pillow(palette, kind))
        np.testing.assert_array_equal(image.pixels, expected)
        assert image.alpha is None


def test_a_palette_of_greys_becomes_one_channel() -> None:
    grey = Pillow.fromarray(smooth(1)[:, :, 0]).quantize(16)
    expected = np.asarray(grey.convert("L"))[:, :, None]
    for kind in ("PNG", "BMP", "TIFF", "GIF"):
        np.testing.assert_array_equal(decode(from_pillow(grey, kind)).pixels, expected)


def test_palette_with_alpha() -> None:
    palette = Pillow.fromarray(smooth(3)).quantize(8)
    data = from_pillow(palette, "PNG", transparency=bytes([0, 100, 255, 255, 255, 255, 255, 7]))
    image = decode(data)
    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGBA"))
    np.testing.assert_array_equal(image.pixels, expected[:, :, :3])
    np.testing.assert_array_equal(image.alpha, expected[:, :, 3])


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_of_few_bits_uses_the_whole_range_and_may_have_a_transparent_level(bits: int) -> None:
    top = 2**bits - 1
    levels = (np.arange(64 * 3).reshape(3, 64) * 7 % (top + 1)).astype(np.uint32)
    as_bits = (levels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(as_bits.reshape(3, -1).astype(np.uint8), axis=1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 3, bits, 0, 0, 0, 0))
    key = int(levels[1, 5])
    plain = b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    keyed = png_with(plain, png_chunk(b"tRNS", struct.pack(">H", key)))
    white = 65535 if bits == 16 else 255
    expected = levels * white // top
    np.testing.assert_array_equal(decode(plain).pixels[:, :, 0], expected)
    assert decode(plain).alpha is None
    image = decode(keyed)
    np.testing.assert_array_equal(image.pixels[:, :, 0], expected)
    np.testing.assert_array_equal(image.alpha, np.where(levels == key, 0, white))


def test_grey_with_alpha_has_one_channel() -> None:
    both = Pillow.merge("LA", [Pillow.fromarray(p) for p in smooth(2).transpose(2, 0, 1)])
    for kind in ("PNG", "JPEG2000", "TIFF"):
        image = decode(from_pillow(both, kind))
        np.testing.assert_array_equal(image.pixels[:, :, 0], smooth(2)[:, :, 0])
        np.testing.assert_array_equal(image.alpha, smooth(2)[:, :, 1])


def test_cmyk_becomes_rgb_as_in_pillow() -> None:
    cmyk = Pillow.merge("CMYK", [Pillow.fromarray(p) for p in smooth(4).transpose(2, 0, 1)])
    for kind, options in (("JPEG", {"quality": 95}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})):
        data = from_pillow(cmyk, kind, **options)
        image = decode(data)
        expected = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert np.abs(image.pixels - expected).max() <= 2
        assert any("CMYK" in warning for warning in image.warnings)


def test_a_16_bit_rgb_png_of_opencv_is_read_in_full() -> None:
    pixels = smooth(4, "uint16")
    data = cv2.imencode(".png", pixels[:, :, [2, 1, 0, 3]])[1].tobytes()
    image = decode(data)
    np.testing.assert_array_equal(image.pixels, pixels[:, :, :3])
    np.testing.assert_array_equal(image.alpha, pixels[:, :, 3])


@pytest.mark.parametrize("depth", [10, 12])
def test_avif_of_10_and_12_bits_becomes_16(depth: int) -> None:
    small = (smooth(3, "uint16") >> (16 - depth)).astype(np.uint16)
    params = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 100]
    data = cv2.imencode(".avif", small[:, :, ::-1].copy(), params)[1].tobytes()
    expected = small.astype(np.float64) * 65535 / (2**depth - 1)
    image = decode(data)
    assert image.pixels.dtype == np.uint16
    assert np.abs(image.pixels - expected).max() <= 65535 / (2**depth - 1)  # one level of the encoder


# several pictures in one file


def test_the_first_picture_is_used_and_a_warning_says_so() -> None:
    first = Pillow.fromarray(smooth(3))
    more = [Pillow.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        alone, together = (
            from_pillow(first, kind),
            from_pillow(first, kind, save_all=True, append_images=more),
        )
        image = decode(together)
        if kind not in ("MPO", "WEBP", "GIF"):
            np.testing.assert_array_equal(image.pixels, decode(alone).pixels)
        assert np.abs(image.pixels.astype(int) - smooth(3)).mean() < 9
        assert any("3 pictures" in warning for warning in image.warnings), kind
        assert not any("pictures" in warning for warning in decode(alone).warnings)


def test_an_apng_with_its_own_still_picture_shows_it() -> None:
    first = Pillow.fromarray(smooth(3))
    more = [Pillow.new("RGB", (WIDTH, HEIGHT), "red"), Pillow.new("RGB", (WIDTH, HEIGHT), "blue")]
    data = from_pillow(first, "PNG", save_all=True, default_image=True, append_images=more)
    np.testing.assert_array_equal(decode(data).pixels, smooth(3))


# TIFF, where the samples are interpreted here


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "packbits", "tiff_deflate", "tiff_adobe_deflate", "zstd", "lzma"]
)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "F"])
@pytest.mark.sampled(15)
def test_tiff_of_pillow(mode: str, compression: str) -> None:
    source = Pillow.fromarray(smooth(3))
    if mode == "I;16":
        source = Pillow.fromarray(smooth(1, "uint16")[:, :, 0])
    elif mode in ("LA", "RGBA"):
        source = source.convert(mode[:-1])
        source.putalpha(Pillow.fromarray(smooth(1)[:, :, 0]))
    else:
        source = source.convert(mode)
    data = from_pillow(source, "TIFF", compression=compression)
    expected = np.asarray(source.convert({"1": "L", "P": "RGB", "CMYK": "RGB"}.get(mode, mode)))
    image = decode(data)
    ours = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    assert ours.dtype == (np.float32 if mode == "F" else np.uint16 if mode == "I;16" else np.uint8)
    np.testing.assert_allclose(ours.squeeze(), expected, atol=1 if mode == "CMYK" else 0)


def _tiff_of_opencv(pixels: np.ndarray, predictor: int) -> bytes:
    stored = pixels if pixels.shape[2] == 1 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    params = [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
    return cv2.imencode(".tiff", np.ascontiguousarray(stored), params)[1].tobytes()


@pytest.mark.parametrize(
    ("dtype", "predictor"),
    [
        ("uint8", 1),
        ("uint8", 2),
        ("uint16", 1),
        ("uint16", 2),
        ("float32", 1),
        ("float32", 2),
        ("float32", 3),
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.sampled(10)
def test_tiff_of_opencv(dtype: str, predictor: int, channels: int) -> None:
    pixels = smooth(channels, dtype)
    image = decode(_tiff_of_opencv(pixels, predictor))
    ours = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    np.testing.assert_array_equal(ours, pixels)


@pytest.mark.parametrize("bits", [8, 24])
def test_tiff_prediction_for_floating_point_of_no_size_is_an_error(bits: int) -> None:
    data = bytearray(_tiff_of_opencv(smooth(1, "float32"), 3))
    reader = Reader(data)
    entry = reader.directory(reader.first).fields[tiff.BITS].entry
    struct.pack_into("<H", data, entry + 8, bits)
    with pytest.raises(ImageReadError, match="prediction"):
        decode(bytes(data))


def _tiff(
    samples: np.ndarray, order: str = "<", planar: bool = False, tile: int = 0, **tags: tuple[int, ...]
) -> bytes:
    """Returns an uncompressed TIFF file, written here from nothing but the specification."""
    height, width, channels = samples.shape
    code = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    planes = [samples[:, :, [c]] for c in range(channels)] if planar else [samples]
    blocks = []
    for plane in planes:
        if not tile:
            blocks.append(plane)
            continue
        padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
        blocks += [
            padded[y : y + tile, x : x + tile]
            for y in range(0, padded.shape[0], tile)
            for x in range(0, padded.shape[1], tile)
        ]
    parts = [np.ascontiguousarray(b).astype(b.dtype.newbyteorder(order)).tobytes() for b in blocks]
    offsets = tuple(8 + sum(map(len, parts[:i])) for i in range(len(parts)))
    sizes = tuple(map(len, parts))
    values: dict[int, tuple[int, ...]] = {
        tiff.WIDTH: (width,), tiff.HEIGHT: (height,), tiff.BITS: (8 * samples.dtype.itemsize,) * channels,
        tiff.COMPRESSION: (1,), tiff.PHOTOMETRIC: (2 if channels >= 3 else 1,), tiff.SAMPLES: (channels,),
        tiff.PLANAR: (2 if planar else 1,), tiff.SAMPLE_FORMAT: (code,) * channels,
    }  # fmt: skip
    if tile:
        values |= {tiff.TILE_WIDTH: (tile,), tiff.TILE_HEIGHT: (tile,)}
        values |= {tiff.TILE_OFFSETS: offsets, tiff.TILE_SIZES: sizes}
    else:
        values |= {tiff.ROWS_PER_STRIP: (height,), tiff.STRIP_OFFSETS: offsets, tiff.STRIP_SIZES: sizes}
    values |= {getattr(tiff, name): value for name, value in tags.items()}
    body = b"".join(parts)
    at = 8 + len(body)
    entries, extra = b"", b""
    extra_at = at + 2 + 12 * len(values) + 4
    for tag in sorted(values):
        raw = struct.pack(f"{order}{len(values[tag])}I", *values[tag])
        if len(raw) > 4:
            raw, extra = struct.pack(order + "I", extra_at + len(extra)), extra + raw
        entries += struct.pack(order + "HHI", tag, 4, len(values[tag])) + raw
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at)
    return head + body + struct.pack(order + "H", len(values)) + entries + bytes(4) + extra


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.sampled(18)
def test_tiff_layouts(dtype: str, order: str, planar: bool, tile: int, channels: int) -> None:
    samples = smooth(channels, dtype)
    extra = {"EXTRA_SAMPLES": (0,) * (channels - 3)} if channels > 3 else {}
    image = decode(_tiff(samples, order, planar, tile, **extra))
    np.testing.assert_array_equal(image.pixels, samples)
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.alpha is None


def test_tiff_alpha_associated_and_straight() -> None:
    colours, alpha = smooth(3, "uint16"), smooth(4, "uint16")[:, :, 3]
    multiplied = np.rint(colours * (alpha[:, :, None] / 65535)).astype(np.uint16)
    straight = decode(_tiff(np.dstack((colours, alpha)), EXTRA_SAMPLES=(2,)))
    np.testing.assert_array_equal(straight.pixels, colours)
    np.testing.assert_array_equal(straight.alpha, alpha)
    associated = decode(_tiff(np.dstack((multiplied, alpha)), EXTRA_SAMPLES=(1,)))
    solid = alpha > 30000
    assert np.abs(associated.pixels.astype(int) - colours)[solid].max() <= 2
    np.testing.assert_array_equal(associated.alpha, alpha)


def test_tiff_white_is_zero() -> None:
    samples = smooth(1)
    np.testing.assert_array_equal(decode(_tiff(samples, PHOTOMETRIC=(0,))).pixels, 255 - samples)


def test_tiff_whole_numbers_of_32_bits() -> None:
    small = smooth(1, "uint16").astype(np.int32)
    image = decode(_tiff(small))
    np.testing.assert_array_equal(image.pixels, small)
    assert image.pixels.dtype == np.uint16 and image.warnings
    with pytest.raises(ImageFormatError, match="16777216"):
        decode(_tiff(small * 100_000))
    negative = decode(_tiff(small - 70_000))
    np.testing.assert_array_equal(negative.pixels, small - 70_000)
    assert negative.pixels.dtype == np.float32


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_tiff_of_odd_depths(bits: int) -> None:
    width = 24
    levels = (np.arange(5 * width).reshape(5, width) * 37) % (2**bits)
    as_bits = (levels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(as_bits.reshape(5, -1).astype(np.uint8), axis=1)[:, :, None]
    data = _tiff(packed, WIDTH=(width,), BITS=(bits,))
    white = 255 if bits <= 8 else 65535
    np.testing.assert_array_equal(decode(data).pixels[:, :, 0], np.rint(levels * white / (2**bits - 1)))


def test_bigtiff_is_read() -> None:
    image = decode(from_pillow(smooth(3), "TIFF", big_tiff=True))
    np.testing.assert_array_equal(image.pixels, smooth(3))


# Netpbm and bitmaps, which are read here


def test_netpbm_as_text_and_with_other_whites() -> None:
    np.testing.assert_array_equal(
        decode(b"P2 # a comment\n3 2\n# another\n15\n0 1 2\n13 14 15\n").pixels[:, :, 0],
        [[0, 17, 34], [221, 238, 255]],
    )
    np.testing.assert_array_equal(
        decode(b"P1\n3 2\n010\n1 1 0\n").pixels[:, :, 0] // 255, [[1, 0, 1], [0, 0, 1]]
    )
    np.testing.assert_array_equal(
        decode(b"P5 2 1 1023\n" + struct.pack(">HH", 0, 1023)).pixels.ravel(), [0, 65535]
    )
    np.testing.assert_array_equal(
        decode(b"P4 9 1\n\x80\x80").pixels.ravel() // 255, [0, 1, 1, 1, 1, 1, 1, 1, 0]
    )
    floats = np.arange(6, dtype=">f4").reshape(2, 3)
    np.testing.assert_array_equal(decode(b"Pf\n3 2\n1.0\n" + floats.tobytes()).pixels[:, :, 0], floats[::-1])


@pytest.mark.parametrize(
    "data",
    [
        b"P5 2 2 255\nabc",
        b"P2 2 2 255\n1 2 3",
        b"P2 2 2 9\n1 2 3 10",
        b"P2 2 2 255\n1 2 x 4",
        b"P6 3",
        b"P5 a b c\n",
    ],
)
def test_broken_netpbm_is_an_error(data: bytes) -> None:
    with pytest.raises(ImageReadError):
        decode(data)


def test_bitmap_bit_fields() -> None:
    """5-6-5 and 10-10-10-2 bits: each field reaches white, and the fourth is alpha."""
    head = struct.pack("<IiiHHIIiiII", 56, 4, -1, 1, 16, 3, 0, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 0, 0, 0, 70) + head + struct.pack("<IIII", 0xF800, 0x7E0, 0x1F, 0)
    image = decode(data + struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0x8410))
    np.testing.assert_array_equal(image.pixels[0], [[255, 0, 0], [0, 255, 0], [0, 0, 255], [132, 130, 132]])
    assert image.alpha is None
    head = struct.pack("<IiiHHIIiiII", 56, 2, -1, 1, 32, 3, 0, 0, 0, 0, 0)
    data = (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 70)
        + head
        + struct.pack("<IIII", 0x3FF00000, 0xFFC00, 0x3FF, 3 << 30)
    )
    image = decode(data + struct.pack("<2I", 0x3FF00000 | 1 << 30, 0x1FF << 10 | 3 << 30))
    np.testing.assert_array_equal(image.pixels[0], [[255, 0, 0], [0, 127, 0]])
    np.testing.assert_array_equal(image.alpha, [[85, 255]])


def test_the_unused_byte_of_a_32_bit_bitmap_is_no_alpha() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 32, 0, 0, 0, 0, 0, 0)
    bgrx = np.dstack((smooth(3)[::-1, :, ::-1], np.zeros((HEIGHT, WIDTH), np.uint8)))
    image = decode(b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + head + bgrx.tobytes())
    assert image.alpha is None
    np.testing.assert_array_equal(image.pixels, smooth(3))
