"""PNG files that are damaged, odd or hostile, and what they say beside their pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import exif_block, from_pillow, picture, png_chunk, png_with, profile, smooth
from PIL import Image as Pillow
from PIL import PngImagePlugin

from img2img.errors import ImageReadError
from img2img.image import EncodeOptions, Image, decode, encode, fit_reason
from img2img.image.codec import prepare
from img2img.image.colour import ColourSpace
from img2img.image.formats.png_metadata import BUDGET
from img2img.image.image import Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
COLOURS = np.random.default_rng(3).bytes(768)
PLTE = png_chunk(b"PLTE", COLOURS)


def levels(colour: int, depth: int) -> np.ndarray:
    """Returns samples (H, W, C) below 2**depth."""
    return np.random.default_rng(depth).integers(0, 1 << depth, (29, 37, CHANNELS[colour]), np.uint16)


def rows_of(samples: np.ndarray, depth: int) -> bytes:
    """Returns rows as PNG filters and stores them, each with the filter 0."""
    if samples.size == 0:
        return b""
    flat = samples.reshape(len(samples), -1)
    if depth == 16:
        packed = flat.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
        packed = np.packbits(bits.reshape(len(flat), -1), axis=1)
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def stream(samples: np.ndarray, depth: int, interlaced: bool) -> bytes:
    if not interlaced:
        return rows_of(samples, depth)
    parts = (samples[y::down, x::across] for y, x, down, across in PASSES)
    return b"".join(rows_of(part, depth) for part in parts)


def png(
    colour: int, depth: int, data: bytes, *chunks: bytes, interlaced: bool = False, split: int = 2**20
) -> bytes:
    """Returns a PNG file of 37 x 29 pixels with right checksums around any compressed `data`."""
    header = struct.pack(">IIBBBBB", 37, 29, depth, colour, 0, 0, interlaced)
    if colour == 3:
        chunks = (png_chunk(b"PLTE", COLOURS[: 3 << depth]), *chunks)
    parts = [png_chunk(b"IDAT", data[i : i + split]) for i in range(0, len(data), split)]
    return b"".join((SIGNATURE, png_chunk(b"IHDR", header), *chunks, *parts, png_chunk(b"IEND", b"")))


def whole(colour: int, depth: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    data = zlib.compress(stream(levels(colour, depth), depth, interlaced))
    return png(colour, depth, data, *chunks, interlaced=interlaced)


def with_palettes(data: bytes, palettes: bytes) -> bytes:
    return data[: data.index(b"PLTE") - 4] + palettes + data[data.index(b"IDAT") - 4 :]


def same(a: Image, b: Image) -> bool:
    if (a.alpha is None) != (b.alpha is None):
        return False
    return bool((a.pixels == b.pixels).all()) and (a.alpha is None or bool((a.alpha == b.alpha).all()))


# --- pixels


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_depth_and_colour_interlaced_and_not(colour: int, depth: int) -> None:
    samples = levels(colour, depth)
    if colour == 3:
        palette = np.frombuffer(COLOURS, np.uint8).reshape(-1, 3)
        expected = palette[samples[:, :, 0]]
    else:
        white = 65535 if depth == 16 else 255
        expected = samples.astype(np.uint32) * white // ((1 << depth) - 1)
    for interlaced in (False, True):
        image = decode(whole(colour, depth, interlaced=interlaced))
        stored = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
        assert stored.dtype == (np.uint16 if depth == 16 else np.uint8)
        assert (stored == expected).all()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [(2, 8), (2, 16), (3, 8), (3, 2), (0, 1), (6, 8)])
def test_picture_data_that_end_early_or_are_damaged_are_an_error_although_every_checksum_of_a_chunk_is_right(
    colour: int, depth: int, interlaced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = stream(levels(colour, depth), depth, interlaced)
    data = zlib.compress(raw)
    broken = [data[:-4], data[:-1], data[:-1] + bytes((data[-1] ^ 1,)), zlib.compress(raw[:-1]), b""]
    broken += [data[: len(data) * i // 10] for i in range(1, 10)]
    broken += [zlib.compress(raw[: len(raw) * i // 10]) for i in range(1, 10)]
    broken += [b"\x78\x00" + data[2:], zlib.compress(b"\x09" + raw[1:])]
    for content in broken:
        with pytest.raises(ImageReadError):
            decode(png(colour, depth, content, interlaced=interlaced))
    with pytest.raises(ImageReadError):  # a chunk in the middle is missing
        pieces = [data[i : i + 50] for i in range(0, len(data), 50)]
        decode(png(colour, depth, b"".join(pieces[:1] + pieces[2:]), interlaced=interlaced, split=50))
    capfd.readouterr()  # libpng's own words


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), [(2, 8), (2, 16), (3, 8), (6, 8)])
def test_a_flipped_bit_anywhere_is_an_error_or_changes_no_pixel(
    colour: int, depth: int, interlaced: bool
) -> None:
    data = whole(colour, depth, png_chunk(b"tRNS", b"\0\0\0\1\0\2") if colour in (2, 3) else b"",
                 interlaced=interlaced)  # fmt: skip
    intact = decode(data)
    for at in [*range(8, 80), *range(80, len(data), 1 + len(data) // 60)]:
        try:
            image = decode(data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :])
        except ImageReadError:
            continue
        assert same(image, intact), at


def test_too_much_picture_data_do_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    raw = stream(levels(2, 8), 8, False)
    for data in (zlib.compress(raw + bytes(500)), zlib.compress(raw) + b"more"):
        assert (decode(png(2, 8, data)).pixels == levels(2, 8)).all()
    capfd.readouterr()


def test_text_between_the_picture_data_does_no_harm() -> None:
    data = zlib.compress(stream(levels(2, 8), 8, False))
    parts = [png_chunk(b"IDAT", data[:100]), png_chunk(b"tEXt", b"a\0b"), png_chunk(b"IDAT", data[100:])]
    head = png(2, 8, b"")[:33]
    assert (decode(head + b"".join(parts) + png_chunk(b"IEND", b"")).pixels == levels(2, 8)).all()


def test_an_index_beyond_the_palette_is_black_as_elsewhere_and_said() -> None:
    data = zlib.compress(stream(levels(3, 8), 8, False))
    file = with_palettes(png(3, 8, data), png_chunk(b"PLTE", bytes(range(1, 31))))
    image = decode(file)
    assert "no colour in its palette" in image.warnings[0]
    assert (image.pixels == np.asarray(Pillow.open(io.BytesIO(file)).convert("RGB"))).all()
    assert (image.pixels[levels(3, 8)[:, :, 0] >= 10] == 0).all()


@pytest.mark.parametrize("size", [0, 1, 29, 771])
def test_a_palette_of_no_size_is_an_error(size: int) -> None:
    with pytest.raises(ImageReadError, match="palette"):
        decode(with_palettes(whole(3, 8), png_chunk(b"PLTE", bytes(size))))


def test_a_palette_that_is_missing_or_there_twice_is_an_error() -> None:
    for palettes in (b"", PLTE * 2):
        with pytest.raises(ImageReadError, match="palette"):
            decode(with_palettes(whole(3, 8), palettes))


@pytest.mark.parametrize(("colour", "depth"), [(0, 2), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_one_colour_may_be_transparent(colour: int, depth: int) -> None:
    samples = levels(colour, depth)
    key = samples[11, 13]
    image = decode(whole(colour, depth, png_chunk(b"tRNS", key.astype(">u2").tobytes())))
    assert image.alpha is not None
    assert ((image.alpha == 0) == (samples == key).all(2)).all()
    for size in (1, 2 * len(key) - 1, 2 * len(key) + 1):
        with pytest.raises(ImageReadError, match="transparent"):
            decode(whole(colour, depth, png_chunk(b"tRNS", bytes(size))))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_with_alpha_of_any_length(depth: int) -> None:
    indices = levels(3, depth)[:, :, 0]
    for told in (1, (1 << depth) - 1, 1 << depth, 300):
        opacity = np.arange(told) * 7 % 256
        image = decode(whole(3, depth, png_chunk(b"tRNS", opacity.astype(np.uint8).tobytes())))
        table = np.full(256, 255)
        table[: min(told, 256)] = opacity[:256]
        assert image.alpha is not None
        assert (image.alpha == table[indices]).all()


def test_transparency_with_a_wrong_checksum_is_an_error() -> None:
    chunk = bytearray(png_chunk(b"tRNS", bytes(5)))
    chunk[-1] ^= 1
    with pytest.raises(ImageReadError, match="checksum"):
        decode(whole(3, 8, bytes(chunk)))


def test_an_unknown_chunk_before_the_picture_may_have_been_its_transparency() -> None:
    chunk = png_chunk(b"tRNS", bytes(5))
    with pytest.raises(ImageReadError, match="checksum"):
        decode(whole(3, 8, chunk[:4] + b"tRNR" + chunk[8:]))
    assert decode(whole(3, 8, png_chunk(b"prVt", b"of a program"))).warnings == ()


def test_the_still_picture_of_an_animation_counts_when_it_is_not_part_of_it() -> None:
    frames = [Pillow.new("RGB", (20, 10), (60 * i, 10, 0)) for i in range(1, 4)]
    hidden = from_pillow(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    shown = from_pillow(frames[0], "PNG", save_all=True, append_images=frames[1:])
    for data in (hidden, shown):
        image = decode(data)
        assert "holds 3 pictures" in image.warnings[0]
        assert (image.pixels == np.asarray(frames[0])).all()


# --- colours


def space_chunk(kind: str) -> bytes:
    return {
        "cicp": png_chunk(b"cICP", bytes((12, 13, 0, 1))),
        "icc": png_chunk(b"iCCP", b"name\0\0" + zlib.compress(profile())),
        "srgb": png_chunk(b"sRGB", b"\0"),
        "gamma": png_chunk(b"gAMA", struct.pack(">I", 55556)),
        "primaries": png_chunk(
            b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
        ),
    }[kind]


P3 = ColourSpace(12, 13)
WIDE = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


@pytest.mark.parametrize(
    ("kinds", "space", "has_icc"),
    [
        ("cicp icc srgb gamma primaries", P3, False),
        ("icc srgb gamma primaries", None, True),
        ("srgb gamma primaries", None, False),
        ("gamma primaries", ColourSpace(gamma=0.55556, chromaticities=WIDE), False),
        ("gamma", ColourSpace(gamma=0.55556), False),
        ("primaries", ColourSpace(chromaticities=WIDE), False),
        ("", None, False),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_of_several_words_on_colours_the_strongest_counts_and_is_kept(
    kinds: str, space: ColourSpace | None, has_icc: bool, backwards: bool
) -> None:
    chunks = [space_chunk(kind) for kind in kinds.split()]
    image = decode(png_with(from_pillow(smooth(3), "PNG"), *(chunks[::-1] if backwards else chunks)))
    assert image.space == space
    assert (image.icc is not None) == has_icc
    assert (image.warnings != ()) == ("cicp" in kinds)  # the profile beside it was dropped
    back = decode(encode(image, ".png"))
    assert (back.space, back.icc, back.warnings) == (image.space, image.icc, ())


def test_code_points_that_nobody_knows_leave_the_word_to_the_profile() -> None:
    unknown = png_chunk(b"cICP", bytes((200, 200, 0, 1)))
    image = decode(png_with(from_pillow(smooth(3), "PNG"), unknown, space_chunk("icc")))
    assert (image.icc, image.space) == (profile(), None)
    assert "not known" in image.warnings[0]


def test_numbers_that_mean_srgb_are_no_colour_space_of_their_own() -> None:
    gamma = png_chunk(b"gAMA", struct.pack(">I", 45455))
    srgb = png_chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    for chunks in ((gamma,), (srgb,), (gamma, srgb)):
        assert decode(png_with(from_pillow(smooth(3), "PNG"), *chunks)).space is None
    for body in (b"", b"\0\0\0\0", b"\0\0\0\0\0"):
        assert decode(png_with(from_pillow(smooth(3), "PNG"), png_chunk(b"gAMA", body))).space is None


# --- metadata


def test_metadata_come_back() -> None:
    kept = Metadata(
        xmp=b"<x:xmpmeta>\xc3\xa9</x:xmpmeta>",
        iptc=b"\x1c\x02\x78\0\x03abc",
        resolution=(300.0, 150.0),
        text=(("Comment", "caf\xe9\nsecond line"), ("parameters", "\u732b, steps 20"), ("a", "")),
    )
    image = picture().replace(metadata=kept, exif=exif_block())
    data = encode(image, ".png")
    back = decode(data).metadata
    assert (back.xmp, back.iptc, back.text) == (kept.xmp, kept.iptc, kept.text)
    assert back.resolution == pytest.approx(kept.resolution, abs=0.02)
    assert encode(decode(data), ".png") == data
    opened = Pillow.open(io.BytesIO(data))
    opened.load()
    assert opened.info["dpi"] == pytest.approx((300, 150), abs=0.02)
    assert opened.info["xmp"] == kept.xmp
    assert {key: opened.text[key] for key, _ in kept.text} == dict(kept.text)


def test_text_as_pillow_writes_it() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Plain", "caf\xe9")
    info.add_text("Packed", "x" * 5000, zip=True)
    info.add_itxt("International", "\u732b" * 50, lang="ja", tkey="\u732b")
    info.add_itxt("Packed too", "\u732b" * 50, zip=True)
    data = from_pillow(Pillow.fromarray(smooth(3)), "PNG", pnginfo=info, dpi=(300, 300))
    metadata = decode(data).metadata
    assert dict(metadata.text) == {
        "Plain": "caf\xe9",
        "Packed": "x" * 5000,
        "International": "\u732b" * 50,
        "Packed too": "\u732b" * 50,
    }
    assert metadata.resolution == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize("name", ["exif", "APP1", "xmp", "iptc", "8bim"])
@pytest.mark.parametrize("packed", [False, True])
def test_blocks_as_hexadecimal_digits(name: str, packed: bool) -> None:
    """ImageMagick and ExifTool keep what PNG had no chunk for in this way."""
    records = b"\x1c\x02\x78\0\x03abc"
    resource = b"8BIM\x03\xed\0\0" + struct.pack(">I", 3) + b"123\0"
    resource += b"8BIM\x04\x04\x04name\0" + struct.pack(">I", len(records)) + records
    block = {"exif": b"Exif\0\0" + exif_block(), "APP1": b"Exif\0\0" + exif_block(), "xmp": b"<x/>"}.get(name)
    block = block or (records if name == "iptc" and packed else resource)
    text = f"\n{name}\n{len(block):8}\n{block.hex()[:72]}\n{block.hex()[72:]}\n".encode()
    key = f"Raw profile type {name}".encode()
    chunk = png_chunk(b"tEXt", key + b"\0" + text)
    if packed:
        chunk = png_chunk(b"zTXt", key + b"\0\0" + zlib.compress(text))
    image = decode(png_with(from_pillow(smooth(3), "PNG"), chunk))
    assert image.metadata.text == ()
    assert (image.exif is not None) == (name in ("exif", "APP1"))
    assert image.metadata.xmp == (b"<x/>" if name == "xmp" else None)
    assert image.metadata.iptc == (records if name in ("iptc", "8bim") else None)


def test_the_shape_of_a_pixel_is_no_resolution() -> None:
    for body in (struct.pack(">IIB", 2, 1, 0), struct.pack(">IIB", 0, 1, 1), b"short"):
        chunk = png_chunk(b"pHYs", body)
        assert decode(png_with(from_pillow(smooth(3), "PNG"), chunk)).metadata.resolution is None


def test_words_about_the_pixels_of_another_file_go() -> None:
    untrue = [b"Thumb::Image::Width", b"Thumb::URI", b"exif:ExifImageWidth", b"exif:Orientation"]
    chunks = [png_chunk(b"tEXt", key + b"\x004000") for key in (*untrue, b"exif:Model", b"Software")]
    image = decode(png_with(from_pillow(smooth(3), "PNG"), *chunks))
    assert [key for key, _ in image.metadata.text] == ["exif:Model", "Software"]


def test_metadata_with_a_wrong_checksum_go_and_the_picture_stays() -> None:
    chunk = bytearray(png_chunk(b"iCCP", b"name\0\0" + zlib.compress(profile())))
    chunk[20] ^= 1
    image = decode(png_with(from_pillow(smooth(3), "PNG"), bytes(chunk)))
    assert image.icc is None
    assert "checksum of some metadata" in image.warnings[0]


def test_what_inflates_without_end_has_one_budget_for_the_whole_file() -> None:
    bomb = zlib.compress(bytes(BUDGET // 8), 9)
    for kind, key in (
        (b"zTXt", b"k\0\0"),
        (b"iTXt", b"k\0\1\0\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
    ):
        image = decode(png_with(from_pillow(smooth(3), "PNG"), *[png_chunk(kind, key + bomb)] * 100))
        assert sum(len(text) for _, text in image.metadata.text) <= BUDGET
        assert 1 <= len(image.warnings) <= 2


def test_the_first_profile_counts_and_others_cost_nothing() -> None:
    first = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(profile()))
    bomb = png_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(BUDGET), 9))
    assert decode(png_with(from_pillow(smooth(3), "PNG"), first, *[bomb] * 50)).icc == profile()
    image = decode(png_with(from_pillow(smooth(3), "PNG"), png_chunk(b"iCCP", b"name\0\0no"), first))
    assert image.icc is None
    assert len(image.warnings) == 1


def test_the_number_of_texts_is_bounded() -> None:
    image = decode(png_with(from_pillow(smooth(3), "PNG"), *[png_chunk(b"tEXt", b"k\0v")] * 5000))
    assert len(image.metadata.text) == 1000
    assert image.warnings == ("the PNG file holds more text than is read; the rest was dropped",)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"eXIf", b"cHRM", b"cICP"])
def test_metadata_of_any_bytes_never_stop_a_picture(kind: bytes) -> None:
    rng = np.random.default_rng(0)
    data = from_pillow(smooth(3), "PNG")
    for key in (b"", b"k", b"XML:com.adobe.xmp\0", b"Raw profile type iptc\0", b"Raw profile type 8bim\0\0"):
        for size in (0, 1, 5, 40):
            decode(png_with(data, png_chunk(kind, key + rng.bytes(size))))
    resources = b"8BIM\4\4\xff" + bytes(20), b"8BIM\4\4\0\0\xff\xff\xff\xff12", b"8BIM\4\5" * 3
    for digits in ("", "0", "xx", *(resource.hex() for resource in resources)):
        decode(png_with(data, png_chunk(kind, f"Raw profile type 8bim\0\n8bim\n 9\n{digits}".encode())))


def test_text_that_no_keyword_of_png_can_hold_is_stored_nearly() -> None:
    text = (("\u732b" * 100, "a\0b"), ("", "c"))
    back = decode(encode(picture().replace(metadata=Metadata(text=text)), ".png")).metadata.text
    assert back == (("?" * 79, "ab"), ("Comment", "c"))


def test_resolution_turns_with_its_picture() -> None:
    chunks = (png_chunk(b"eXIf", exif_block(6)), png_chunk(b"pHYs", struct.pack(">IIB", 10000, 5000, 1)))
    resolution = decode(png_with(from_pillow(smooth(3), "PNG"), *chunks)).metadata.resolution
    assert resolution == pytest.approx((127, 254))


def test_a_warning_names_some_keywords_and_shows_no_control_characters() -> None:
    text = tuple((f"\x1b[31m{number}", "a") for number in range(1000))
    (warning,) = prepare(picture().replace(metadata=Metadata(text=text)), ".bmp").warnings
    assert "992 more" in warning
    assert "\x1b" not in warning


def test_a_label_map_is_stored_as_numbers_with_their_palette() -> None:
    """The numbers keep their order, whichever occur; with another colour it is a picture of colours."""
    palette = ((9, 8, 7), (0, 0, 0), (255, 255, 255), (1, 2, 3))
    numbers = np.random.default_rng(0).integers(1, 4, (7, 11))
    image = Image(np.array(palette, np.uint8)[numbers], lossless=True, palette=palette)
    with Pillow.open(io.BytesIO(encode(image, ".png"))) as stored:
        assert stored.mode == "P" and stored.getpalette()[:12] == list(sum(palette, ()))
        np.testing.assert_array_equal(np.asarray(stored), numbers)
    np.testing.assert_array_equal(decode(encode(image, ".png")).pixels, image.pixels)
    strange = image.replace(pixels=image.pixels + np.uint8(1))
    np.testing.assert_array_equal(decode(encode(strange, ".png")).pixels, strange.pixels)
    assert "stand for classes" in str(fit_reason(image, ".jpg"))
    webp = encode(image, ".webp", EncodeOptions(quality=10, lossless=False))
    np.testing.assert_array_equal(decode(webp).pixels, image.pixels)
