"""Orientation, EXIF and ICC: kept, made true, or dropped with a word."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import exif_block, from_pillow, jpeg_with, picture, png_chunk, png_with, profile, smooth
from PIL import Image as Pillow
from PIL import ImageOps

from img2img.image import EncodeOptions, Image, decode, encode, fit_reason, prepare, upright
from img2img.image import exif as exif_module
from img2img.image.ifd import BrokenDirectoryError, Reader

HOLDERS = [".jpg", ".png", ".webp", ".avif", ".tif"]


def opened(exif: bytes) -> Pillow.Exif:
    block = Pillow.Exif()
    block.load(exif)
    return block


# orientation


def test_upright_is_what_pillow_does() -> None:
    pixels = smooth(3)
    for turn in range(1, 9):
        exif = Pillow.Exif()
        exif[0x0112] = turn
        source = Pillow.open(io.BytesIO(from_pillow(pixels, "PNG", exif=exif)))
        np.testing.assert_array_equal(upright(pixels, turn), np.asarray(ImageOps.exif_transpose(source)))
        many = smooth(6)
        np.testing.assert_array_equal(upright(many, turn)[:, :, :3], upright(many[:, :, :3].copy(), turn))
        np.testing.assert_array_equal(upright(pixels[:, :, 0], turn), upright(pixels, turn)[:, :, 0])


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "TIFF jpeg", "TIFF group4", "PNG 16"]
)
@pytest.mark.sampled(16)
def test_every_orientation_in_every_format(kind: str, turn: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = turn
    name, _, variant = kind.partition(" ")
    source = Pillow.fromarray(smooth(3, height=32, width=48))
    options: dict[str, object] = {"exif": exif}
    if name in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = 100
    if variant in ("jpeg", "group4"):
        options["compression"] = variant
        source = source.convert("1") if variant == "group4" else source
    if variant == "16":
        block = exif.tobytes()[6:]
        stored = smooth(3, "uint16", height=32, width=48)
        data = encode(Image(stored), ".png")
        data = png_with(data, png_chunk(b"eXIf", block))
        expected = upright(stored, turn)
    else:
        data = from_pillow(source, name, **options)
        reader = Pillow.open(io.BytesIO(data))
        expected = np.asarray(ImageOps.exif_transpose(reader).convert("L" if variant == "group4" else "RGB"))
    image = decode(data)
    assert image.pixels.shape[:2] == expected.shape[:2]
    assert np.abs(image.pixels.squeeze().astype(int) - expected).max() <= (
        0 if name in ("PNG", "TIFF") else 2
    )
    if image.exif is not None:
        assert exif_module.orientation(image.exif) in (1, None)


def test_alpha_turns_with_its_picture() -> None:
    image = picture(alpha=True)
    data = png_with(encode(image, ".png"), png_chunk(b"eXIf", exif_block(6)))
    turned = decode(data)
    np.testing.assert_array_equal(turned.alpha, np.rot90(image.alpha, -1))  # type: ignore[arg-type]
    np.testing.assert_array_equal(turned.pixels, np.rot90(image.pixels, -1))


def test_orientation_from_exif_alone_in_avif() -> None:
    """An AVIF file without its own turns, as OpenCV writes it."""
    data = encode(Image(smooth(3), exif=exif_block()), ".avif", EncodeOptions(lossless=True))
    at = data.index(b"MAKERNOTE")
    block_at = data.rindex(b"II*\0", 0, at)
    entry = Reader(data[block_at:]).directory(8).fields[0x0112].entry
    turned = bytearray(data)
    struct.pack_into("<H", turned, block_at + entry + 8, 8)
    assert decode(data).pixels.shape == (33, 47, 3)
    np.testing.assert_array_equal(decode(bytes(turned)).pixels, np.rot90(decode(data).pixels))


def test_orientation_from_xmp_when_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    plain = from_pillow(smooth(3), "PNG")
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    np.testing.assert_array_equal(decode(png_with(plain, text)).pixels, np.rot90(smooth(3), -1))
    both = png_with(plain, text, png_chunk(b"eXIf", exif_block(1)))
    np.testing.assert_array_equal(decode(both).pixels, smooth(3))
    jpeg = from_pillow(smooth(3), "JPEG")
    jpeg_xmp = jpeg_with(jpeg, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    np.testing.assert_array_equal(decode(jpeg_xmp).pixels, np.rot90(decode(jpeg).pixels, -1))


# keeping


@pytest.mark.parametrize("extension", HOLDERS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.sampled(20)
def test_icc_and_exif_survive(extension: str, dtype: str, alpha: bool, order: str) -> None:
    image = picture(3, dtype, alpha).replace(icc=profile(), exif=exif_block(6, order))
    if fit_reason(image, extension):
        return
    data = encode(image, extension)
    back = decode(data)
    assert back.icc == image.icc
    assert back.warnings == ()
    assert back.exif is not None
    exif = opened(back.exif)
    assert exif[0x010F] == "Maker of cameras"
    assert exif.get(0x0112, 1) == 1
    details = dict(exif.get_ifd(0x8769))
    assert details[0x927C] == b"MAKERNOTE\0" + bytes(range(200))
    assert details[0x9003] == "2024:02:29 12:34:56"
    assert (details[0xA002], details[0xA003]) == (47, 33)
    assert exif.get_ifd(0x8825)[2] == (52.0, 31.0, 12.0)
    if extension != ".tif":
        assert (exif[0x0100], exif[0x0101]) == (47, 33)
    if dtype != "float32" and not (dtype == "uint16" and extension == ".tif"):
        other = Pillow.open(io.BytesIO(data))
        assert other.info["icc_profile"] == image.icc
        assert other.getexif()[0x010F] == "Maker of cameras"


def test_grey_with_alpha_keeps_metadata_too() -> None:
    image = picture(1, alpha=True).replace(icc=profile("GRAY"), exif=exif_block())
    for extension in (".png", ".tif"):
        back = decode(encode(image, extension))
        assert back.icc == image.icc
        assert back.exif is not None and opened(back.exif)[0x010F] == "Maker of cameras"


@pytest.mark.parametrize("extension", HOLDERS)
def test_large_blocks(extension: str) -> None:
    """A profile that takes several JPEG segments, where OpenCV's encoder gives no result."""
    icc = profile() + np.random.default_rng(0).bytes(200_000)
    icc = len(icc).to_bytes(4, "big") + icc[4:]
    image = picture().replace(icc=icc, exif=exif_block() + bytes(range(256)) * 200)
    back = decode(encode(image, extension))
    assert back.icc == icc
    assert back.exif is not None
    assert Pillow.open(io.BytesIO(encode(image, extension))).info["icc_profile"] == icc


@pytest.mark.parametrize("extension", HOLDERS)
def test_a_profile_with_padding_stops_no_encoder(extension: str) -> None:
    """libpng refuses to write one."""
    icc = profile() + bytes(3)
    assert decode(encode(picture().replace(icc=icc), extension)).icc == icc


def test_exif_too_large_for_jpeg_is_dropped_with_a_word() -> None:
    image = picture().replace(exif=exif_block() + bytes(70_000))
    data = encode(image, ".jpg")
    assert decode(data).exif is None
    assert any("EXIF" in warning for warning in prepare(image, ".jpg").warnings)
    assert prepare(image, ".png").warnings == ()


@pytest.mark.parametrize("extension", [".bmp", ".jp2", ".ppm"])
def test_formats_without_metadata_say_so(extension: str) -> None:
    image = picture().replace(icc=profile(), exif=exif_block())
    prepared = prepare(image, extension)
    assert prepared.icc is None and prepared.exif is None
    assert "EXIF" in prepared.warnings[0] and "colour profile" in prepared.warnings[0]
    assert prepare(prepared, extension).warnings == prepared.warnings


def test_profiles_of_other_colours_are_dropped() -> None:
    grey = picture(1).replace(icc=profile())
    assert prepare(grey, ".png").icc is None and not prepare(grey, ".png").warnings  # grey means this anyway
    assert "RGB" in prepare(picture(2).replace(icc=profile()), ".tif").warnings[0]
    assert "GRAY" in prepare(picture(3).replace(icc=profile("GRAY")), ".png").warnings[0]
    assert decode(encode(grey, ".png")).icc is None
    assert prepare(picture(3).replace(icc=profile("GRAY")), ".png").icc is None
    assert prepare(picture(1).replace(icc=profile("GRAY")), ".png").icc == profile("GRAY")
    assert prepare(picture(3).replace(icc=b"nonsense"), ".png").icc is None


def test_a_cmyk_profile_does_not_survive_the_conversion() -> None:
    icc = bytearray(profile())
    icc[16:20] = b"CMYK"
    cmyk = Pillow.fromarray(smooth(3)).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        image = decode(from_pillow(cmyk, kind, icc_profile=bytes(icc)))
        assert image.icc is None
        assert any("CMYK" in warning for warning in image.warnings)


# changing


def test_settled_changes_only_what_has_to_change() -> None:
    for order in "<>":
        before = exif_block(6, order)
        after = exif_module.settled(before, 123, 70_000)
        exif = opened(after)
        assert exif[0x0112] == 1
        assert (exif[0x0100], exif[0x0101]) == (123, 70_000)
        assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (123, 70_000)
        assert b"THUMBNAIL" in before and b"THUMBNAIL" not in after
        assert len(after) < len(before)
        assert after.index(b"MAKERNOTE") == before.index(b"MAKERNOTE")  # notes may hold offsets
        changed = sum(a != b for a, b in zip(before, after, strict=False))
        assert changed < 40
        assert exif_module.settled(after, 123, 70_000) == after


def test_strip_gps_leaves_nothing_of_the_place() -> None:
    block = exif_block()
    after = exif_module.without_gps(block)
    exif = opened(after)
    assert 0x8825 not in exif
    assert exif[0x010F] == "Maker of cameras"
    assert dict(exif.get_ifd(0x8769))[0x927C] == b"MAKERNOTE\0" + bytes(range(200))
    place = struct.pack("<IIIIII", 52, 1, 31, 1, 12, 1)
    assert place in block and place not in after
    image = picture().replace(exif=block, icc=profile())
    for extension in HOLDERS:
        back = decode(encode(image, extension, EncodeOptions(strip_gps=True)))
        assert back.exif is not None and 0x8825 not in opened(back.exif)
        assert back.icc == profile()
        assert decode(encode(image, extension)).exif is not None


@pytest.mark.parametrize("extension", HOLDERS)
def test_strip_metadata(extension: str) -> None:
    image = picture().replace(icc=profile(), exif=exif_block())
    back = decode(encode(image, extension, EncodeOptions(strip_metadata=True)))
    assert back.icc is None and back.exif is None
    assert prepare(image, extension, EncodeOptions(strip_metadata=True)).warnings == ()


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II",
        b"nonsense" * 9,
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0",
        exif_block()[:60],
    ],
)
def test_broken_exif_is_dropped_and_never_stops_a_picture(exif: bytes) -> None:
    image = picture().replace(exif=exif)
    prepared = prepare(image, ".jpg")
    assert prepared.exif is None
    assert "EXIF" in prepared.warnings[0]
    data = png_with(from_pillow(smooth(3), "PNG"), png_chunk(b"eXIf", exif))
    read = decode(data)
    np.testing.assert_array_equal(read.pixels, smooth(3))
    assert not exif or read.warnings


def test_mutated_exif_never_crashes() -> None:
    random = np.random.default_rng(5)
    good = exif_block(3)
    for _ in range(1000):
        block = bytearray(good[: random.integers(8, len(good) + 1)])
        for _ in range(random.integers(1, 6)):
            block[random.integers(len(block))] = random.integers(256)
        exif_module.orientation(bytes(block))
        try:
            settled = exif_module.settled(bytes(block), 5, 6)
            exif_module.without_gps(settled)
        except BrokenDirectoryError:
            continue
        assert exif_module.orientation(settled) in (1, None)


def test_exif_in_png_text_as_older_programs_keep_it() -> None:
    block = b"Exif\0\0" + exif_block(6)
    text = b"\nexif\n%8d\n" % len(block) + block.hex().encode()
    data = png_with(from_pillow(smooth(3), "PNG"), png_chunk(b"tEXt", b"Raw profile type exif\0" + text))
    image = decode(data)
    np.testing.assert_array_equal(image.pixels, np.rot90(smooth(3), -1))
    assert image.exif is not None and opened(image.exif)[0x0112] == 1


def test_a_profile_that_inflates_without_end_is_dropped() -> None:
    bomb = zlib.compress(bytes(100 * 2**20), 1)
    data = png_with(from_pillow(smooth(3), "PNG"), png_chunk(b"iCCP", b"x\0\0" + bomb))
    image = decode(data)
    assert image.icc is None
    assert "colour profile" in image.warnings[0]


def test_opencv_turns_tiff_itself_and_we_do_not_turn_it_twice() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    data = from_pillow(smooth(3), "TIFF", exif=exif)
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), flags=cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    np.testing.assert_array_equal(decode(data).pixels, by_opencv)
