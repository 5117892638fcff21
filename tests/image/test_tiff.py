"""TIFF files as other programs write them: damaged, odd, hostile, and with more in them than a picture."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from pictures import from_pillow, picture, smooth
from PIL import Image as Pillow
from PIL import ImageCms

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image import Image, decode, encode, prepare
from img2img.image.formats import tiff
from img2img.image.ifd import SHORT, IfdEntry, build, numbers
from img2img.image.image import Metadata

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, DESCRIBED = 256, 257, 258, 259, 262, 266, 270
OFFSETS, ORIENTATION, SAMPLES, ROWS, SIZES = 273, 274, 277, 278, 279
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
SUBFILE_TYPE, SUB_IFDS, XMP, IPTC = 254, 330, 700, 33723
SCALE, TIE, MATRIX, KEYS, NODATA = 33550, 33922, 34264, 34735, 42113
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def fields(order: str, tags: dict[int, object]) -> dict[int, IfdEntry]:
    """Returns fields for whole numbers, and for floating point ones, bytes and text by their Python types."""
    made = {}
    for tag, value in tags.items():
        if value is None:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        if isinstance(value, IfdEntry):
            made[tag] = value
        elif isinstance(value, bytes):
            made[tag] = IfdEntry(2, len(value), value)
        elif isinstance(values[0], float):
            made[tag] = IfdEntry(12, len(values), struct.pack(f"{order}{len(values)}d", *values))
        else:
            made[tag] = numbers(
                order, 4 if max(values) > 65535 or tag in (OFFSETS, SIZES) else SHORT, *values
            )
    return made


def tiff_file(tags: dict[int, object], *strips: bytes, order: str = "<", at: int = 8) -> bytes:
    """Returns a file, written from nothing but the specification; its strips are those given."""
    places = [at + sum(map(len, strips[:i])) for i in range(len(strips))]
    if strips:
        here, sizes = (TILE_OFFSETS, TILE_SIZES) if TILE_WIDTH in tags else (OFFSETS, SIZES)
        tags = {here: places, sizes: [*map(len, strips)], **tags}
    body = b"".join(strips)
    body += b"\0" * (len(body) % 2)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", at + len(body))
    return start + body + build(fields(order, tags), order, at + len(body))


def grey(**more: object) -> dict[int, object]:
    names = {name: value for name, value in globals().items() if name.isupper()}
    tags: dict[int, object] = {WIDTH: 47, HEIGHT: 33, BITS: 8, COMPRESSION: 1, PHOTOMETRIC: 1, ROWS: 33}
    return tags | {names[name]: value for name, value in more.items()}


PICTURE = smooth(1)
BYTES = PICTURE.tobytes()
SIZE = {WIDTH: 47, HEIGHT: 33}


# Damage


def damaged(data: bytes, places: int = 10) -> Iterator[bytes]:
    for i in range(places):
        at = int(len(data) * (0.05 + 0.9 * i / places))
        tenth = len(data[at : at + len(data) // 10])
        yield data[:at]
        yield data[:at] + bytes(tenth) + data[at + tenth :]
        yield data[:at] + bytes((data[at] ^ 1 << i % 8,)) + data[at + 1 :]


def opened_by_pillow(data: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Pillow.open(io.BytesIO(data)) as image:
                image.load()
    except Exception:  # noqa: BLE001  whatever it says, it says no
        return False
    return True


def noisy(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (64, 64, channels), dtype=np.uint8) // 32 * 32


CHECKED = {  # compressions that hold a check sum, or in which nothing can go wrong unseen
    "our own": lambda: encode(Image(noisy()), ".tif"),
    "our own, floating point": lambda: encode(Image(noisy().astype(np.float32)), ".tif"),
    "deflate": lambda: from_pillow(noisy(), "TIFF", compression="tiff_deflate"),
    "lzma": lambda: from_pillow(noisy(), "TIFF", compression="lzma"),
    "deflate in tiles": lambda: tiff_file(
        SIZE
        | {WIDTH: 64, HEIGHT: 64, BITS: 8, COMPRESSION: 8, PHOTOMETRIC: 1, TILE_WIDTH: 32, TILE_HEIGHT: 32},
        *[zlib.compress(noisy(1)[y : y + 32, x : x + 32].tobytes()) for y in (0, 32) for x in (0, 32)],
    ),
}
UNCHECKED = {
    name: lambda name=name: from_pillow(
        Pillow.fromarray(noisy()).convert("1") if name.startswith("group") else noisy(),
        "TIFF",
        compression=name,
    )
    for name in ("tiff_lzw", "packbits", "zstd", "group3", "group4", "jpeg")
}


@pytest.mark.parametrize("kind", CHECKED)
def test_damage_is_never_done_where_it_can_be_seen(kind: str) -> None:
    data = CHECKED[kind]()
    intact = decode(data).pixels
    for broken in damaged(data):
        try:
            np.testing.assert_array_equal(decode(broken).pixels, intact)
        except ImageReadError:
            continue


@pytest.mark.parametrize("kind", UNCHECKED)
def test_damage_is_done_only_where_no_reader_can_tell(kind: str) -> None:
    data = UNCHECKED[kind]()
    intact = decode(data).pixels
    refused = 0
    for broken in damaged(data):
        try:
            pixels = decode(broken).pixels
        except ImageReadError:
            refused += 1
            continue
        assert opened_by_pillow(broken) or np.array_equal(pixels, intact)
    assert refused >= 12


def test_what_libtiff_and_libjpeg_only_mention_fails_the_file() -> None:
    """They go on after a bad code word or a missing marker, and Pillow shows what they made of it."""
    for kind in ("group3", "jpeg"):
        data = UNCHECKED[kind]()
        broken = data[: len(data) // 2] + bytes(len(data) // 10) + data[len(data) // 2 + len(data) // 10 :]
        assert opened_by_pillow(broken)
        with pytest.raises(ImageReadError, match="its decoder says"):
            decode(broken)


# What well-kept readers open


def old_lzw(data: bytes) -> bytes:
    """Returns `data` in the LZW of before TIFF 6.0: low bits first, and codes grow one later."""
    table = {bytes([value]): value for value in range(256)}
    stream, length, bits, following, word = 256, 9, 9, 258, b""
    for value in data:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        stream |= table[word] << length
        length += bits
        table[longer] = following
        following += 1
        bits += following == (1 << bits) + 1
        word = bytes([value])
    stream |= table[word] << length | 257 << length + bits
    return stream.to_bytes((length + 2 * bits + 7) // 8, "little")


DEFLATED = zlib.compress(BYTES)
UPPER, LOWER = BYTES[: 47 * 20], BYTES[47 * 20 :]
STRIP_TAGS = {TILE_OFFSETS: None, TILE_SIZES: None, OFFSETS: 8, SIZES: 48 * 48}
READ = {
    "old LZW": tiff_file(grey(COMPRESSION=5), old_lzw(BYTES)),
    "bits reversed": tiff_file(grey(FILL_ORDER=2), BYTES.translate(REVERSED)),
    "bits reversed, deflate": tiff_file(grey(FILL_ORDER=2, COMPRESSION=8), DEFLATED.translate(REVERSED)),
    "bits reversed, LZW": tiff_file(grey(FILL_ORDER=2, COMPRESSION=5), old_lzw(BYTES).translate(REVERSED)),
    "no sizes": tiff_file(grey(SIZES=None), BYTES),
    "no sizes, strips of deflate": tiff_file(
        grey(SIZES=None, COMPRESSION=8, ROWS=20), zlib.compress(UPPER), zlib.compress(LOWER)
    ),
    "a wrong size": tiff_file(grey(SIZES=7), BYTES),
    "rows without end": tiff_file(grey(ROWS=2**32 - 1, COMPRESSION=8), DEFLATED),
    "a last strip that is filled up": tiff_file(
        grey(ROWS=20, COMPRESSION=8), zlib.compress(UPPER), zlib.compress(LOWER + bytes(47 * 7))
    ),
    "numbers of no kind": tiff_file(grey(SAMPLE_FORMAT=4), BYTES),
    "tiles under the tags of strips": tiff_file(
        grey(TILE_WIDTH=48, TILE_HEIGHT=48) | STRIP_TAGS,
        np.pad(PICTURE[:, :, 0], ((0, 15), (0, 1))).tobytes(),
    ),
    "a check sum cut off": tiff_file(grey(COMPRESSION=8), DEFLATED[:-4]),
    "a JPEG 2000 strip": tiff_file(grey(COMPRESSION=34712), encode(Image(PICTURE), ".jp2")),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_what_old_and_other_programs_write_is_read(kind: str) -> None:
    np.testing.assert_array_equal(decode(READ[kind]).pixels, PICTURE)


def test_webp_tiles_are_read() -> None:
    alone = Image(np.repeat(PICTURE[:32, :32], 3, 2), PICTURE[:32, :32, 0])
    tile = from_pillow(np.dstack((alone.pixels, alone.alpha)), "WEBP", lossless=True, exact=True)
    tags = {WIDTH: 64, HEIGHT: 32, BITS: [8] * 4, COMPRESSION: 50001, PHOTOMETRIC: 2, SAMPLES: 4, 338: 2}
    image = decode(tiff_file(tags | {TILE_WIDTH: 32, TILE_HEIGHT: 32}, tile, tile))
    np.testing.assert_array_equal(image.pixels, np.tile(alone.pixels, (1, 2, 1)))
    np.testing.assert_array_equal(image.alpha, np.tile(alone.alpha, (1, 2)))
    with pytest.raises(ImageReadError, match="16 x 32"):  # a part that is larger than its place
        decode(tiff_file(tags | {TILE_WIDTH: 16, TILE_HEIGHT: 32}, *[tile] * 4))


def test_subsampled_colours_and_old_jpeg() -> None:
    colours = smooth(3, height=64, width=48)
    ycbcr = np.asarray(Pillow.fromarray(colours).convert("YCbCr"))
    luma = ycbcr[:, :, 0].reshape(32, 2, 24, 2).swapaxes(1, 2).reshape(32, 24, 4)
    units = zlib.compress(np.dstack((luma, ycbcr[::2, ::2, 1:])).tobytes())
    common = {WIDTH: 48, HEIGHT: 64, BITS: [8] * 3, PHOTOMETRIC: 6, SAMPLES: 3, ROWS: 64, 530: [2, 2]}
    data = tiff_file(common | {COMPRESSION: 8}, units)
    with Pillow.open(io.BytesIO(data)) as opened:
        assert np.abs(decode(data).pixels.astype(int) - np.asarray(opened)).max() <= 1
    jpeg = from_pillow(colours, "JPEG")
    data = tiff_file(common | {COMPRESSION: 6, 512: 1, 513: 8, 514: len(jpeg)}, jpeg)
    np.testing.assert_array_equal(decode(data).pixels, decode(jpeg).pixels)
    with pytest.raises(ImageReadError):
        decode(data.replace(jpeg, jpeg[:500] + bytes(len(jpeg) - 500)))


def test_a_compression_that_is_not_read_is_named() -> None:
    for code, name in ((34887, "LERC"), (34661, "JBIG"), (60001, "60001")):
        with pytest.raises(ImageFormatError, match=name):
            decode(tiff_file(grey(COMPRESSION=code), b"\xff\x0a" + BYTES))


def test_sgi_log_is_linear_light() -> None:
    """The formulas of Ward's paper: 16 bits of luminance; with it 8 bits each of u' and v'."""
    codes = np.arange(64 * 255 - 800, 64 * 255 + 799, dtype=np.uint16).reshape(41, 39)
    luminance = np.exp2((codes + 0.5) / 256 - 64)
    high, low = codes >> 8, codes & 255
    u, v = (
        np.full_like(codes, int(410 * 4 / 19)),
        np.full_like(codes, int(410 * 9 / 19)),
    )  # equal energy: white

    def strip(*planes: np.ndarray) -> bytes:
        """Returns every row of every plane: 36 numbers, and the last three as a run where they are equal."""
        strip = b""
        for row in range(41):
            for plane in planes:
                line = plane[row].astype(np.uint8).tobytes()
                last = bytes((129, line[-1])) if len(set(line[-3:])) == 1 else bytes((3,)) + line[-3:]
                strip += bytes((36,)) + line[:36] + last
        return strip

    tags = {WIDTH: 39, HEIGHT: 41, COMPRESSION: 34676, ROWS: 41, SAMPLE_FORMAT: 2, BITS: 16}
    image = decode(tiff_file(tags | {PHOTOMETRIC: 32844}, strip(high, low)))
    assert image.pixels.dtype == np.float32
    assert image.space is not None
    assert image.space.transfer == 8
    np.testing.assert_allclose(image.pixels[:, :, 0], luminance, rtol=1e-6)
    colour = {PHOTOMETRIC: 32845, SAMPLES: 3, BITS: [16] * 3, SAMPLE_FORMAT: [2] * 3}
    image = decode(tiff_file(tags | colour, strip(high, low, u, v)))
    np.testing.assert_allclose(image.pixels, np.repeat(luminance[:, :, None], 3, 2), rtol=0.02)
    with pytest.raises(ImageReadError):
        decode(tiff_file(tags | {PHOTOMETRIC: 32844}, strip(high, low)[:-40]))


def test_lab_of_both_kinds() -> None:
    colours = Pillow.fromarray(smooth(3))
    rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    stored = ImageCms.applyTransform(colours, ImageCms.buildTransform(rgb, lab, "RGB", "LAB"))
    assert stored is not None
    data = from_pillow(stored, "TIFF")
    image = decode(data)
    assert np.abs(image.pixels.astype(int) - np.asarray(colours)).mean() < 4  # 8 bits of it hold no more
    with Pillow.open(io.BytesIO(data)) as opened:
        (at,) = opened.tag_v2[OFFSETS]
    signed = np.frombuffer(data, np.uint8, 33 * 47 * 3, at).reshape(33, 47, 3)
    tags = SIZE | {BITS: [8] * 3, COMPRESSION: 1, SAMPLES: 3, ROWS: 33}
    for photometric, values in ((8, signed), (9, signed ^ np.array((0, 128, 128), np.uint8))):
        again = decode(tiff_file(tags | {PHOTOMETRIC: photometric}, values.tobytes()))
        np.testing.assert_array_equal(again.pixels, image.pixels)
    tags = tags | {PHOTOMETRIC: 8, BITS: [16] * 3}
    deep = decode(tiff_file(tags, (signed.astype("<u2") << 8).tobytes()))
    np.testing.assert_array_equal(deep.pixels, image.pixels)
    assert "16 bits" in deep.warnings[0]


@pytest.mark.parametrize(("bits", "code"), [(16, "i2"), (32, "i4"), (8, "i1")])
@pytest.mark.parametrize("order", ["<", ">"])
def test_whole_numbers_below_zero_are_read_as_they_are(bits: int, code: str, order: str) -> None:
    """Hounsfield units, as scanners export them."""
    reach = 100 if bits == 8 else 1000
    values = np.linspace(-reach, 1.2 * reach, 33 * 47).astype(order + code)
    image = decode(tiff_file(grey(BITS=bits, SAMPLE_FORMAT=2), values.tobytes(), order=order))
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels.ravel(), values.astype(np.float32))
    assert f"signed {bits}-bit numbers (-{reach} to " in image.warnings[0]


def test_whole_numbers_that_floats_do_not_hold_are_refused() -> None:
    values = np.full(33 * 47, -(2**31), "<i4")
    with pytest.raises(ImageFormatError, match="-16777216 to 16777216 are read"):
        decode(tiff_file(grey(BITS=32, SAMPLE_FORMAT=2), values.tobytes()))


# Cost is bounded by the file


@pytest.mark.parametrize("compression", [1, 4, 5, 7, 8, 32773, 34676, 34925, 50000])
def test_parts_that_overlap_are_refused_before_they_are_read(compression: int) -> None:
    n = 3000
    tags = grey(WIDTH=8, HEIGHT=n, COMPRESSION=compression, ROWS=1, BITS=1 if compression == 4 else 8)
    tags |= {OFFSETS: [8 + i for i in range(n)], SIZES: [20_000 - i for i in range(n)]}
    if compression != 1:  # of uncompressed strips nothing but what the picture needs is looked at
        with pytest.raises(ImageReadError, match="overlap"):
            decode(tiff_file(tags | {SIZES: [min(2**15, 20_000 - i) for i in range(n)]}, bytes(20_100)))
    with pytest.raises(ImageReadError):
        decode(tiff_file(tags | {WIDTH: 8000, SIZES: [20_000 - i for i in range(n)]}, bytes(20_100)))


def test_equal_tiles_may_be_one_and_the_same() -> None:
    tile = zlib.compress(bytes(range(256)))
    tags = {WIDTH: 64, HEIGHT: 64, BITS: 8, COMPRESSION: 8, PHOTOMETRIC: 1, TILE_WIDTH: 16, TILE_HEIGHT: 16}
    shared = {TILE_OFFSETS: [8] * 16, TILE_SIZES: [len(tile)] * 16}
    whole = np.tile(np.arange(256, dtype=np.uint8).reshape(16, 16), (4, 4))
    np.testing.assert_array_equal(decode(tiff_file(tags | shared, tile)).pixels[:, :, 0], whole)


def test_hostile_directories_are_sentences() -> None:
    loop = bytearray(tiff_file(grey(), BYTES))
    loop[-4:] = loop[4:8]  # the next directory is the first
    np.testing.assert_array_equal(decode(bytes(loop)).pixels, PICTURE)
    own = tiff_file(grey(SUBFILE_TYPE=1), BYTES)
    (directory,) = struct.unpack_from("<I", own, 4)
    for tags in (
        grey(SAMPLES=0, BITS=[8]) | {284: 2},
        grey(TILE_WIDTH=2**31, TILE_HEIGHT=2**31, TILE_OFFSETS=8, TILE_SIZES=9),
        grey(TILE_WIDTH=0, TILE_HEIGHT=16),
        grey(BITS=[64] * 64, SAMPLES=64, SAMPLE_FORMAT=[3] * 64, TILE_WIDTH=4096, TILE_HEIGHT=4096),
        grey(OFFSETS=IfdEntry(4, 2**32 - 1, b"\x08\0\0\0")),
        grey(WIDTH=0),
    ):
        with pytest.raises(ImageReadError):
            decode(tiff_file(tags, BYTES))
    below = {SUB_IFDS: [directory] * 20}
    np.testing.assert_array_equal(decode(tiff_file(grey(SUBFILE_TYPE=1) | below, BYTES)).pixels, PICTURE)


def test_the_limits_know_how_large_a_number_is() -> None:
    for dtype, size in (("uint8", 1), ("uint16", 2), ("float32", 4)):
        assert tiff.probe(encode(picture(3, dtype), ".tif")).sample_bytes == size


# Several directories


def several(*parts: tuple[dict[int, object], bytes], below: int | None = None) -> bytes:
    """Returns a file of several directories in a row; the one with number `below` hangs under the first."""
    data, places = bytearray(b"II*\0" + bytes(4)), []
    for tags, strip in parts:
        strip_at = len(data)
        data += strip + b"\0" * (len(strip) % 2)
        places.append(len(data))
        tags = tags | {OFFSETS: strip_at, SIZES: len(strip)}
        if below is not None and len(places) == 1:
            tags |= {SUB_IFDS: IfdEntry(4, 1, bytes(4))}
        data += build(fields("<", tags), "<", len(data))
        data += b"\0" * (len(data) % 2)
    chain = [place for number, place in enumerate(places) if number != below]
    struct.pack_into("<I", data, 4, chain[0])
    for here, following in zip(chain, [*chain[1:], 0], strict=True):
        (count,) = struct.unpack_from("<H", data, here)
        struct.pack_into("<I", data, here + 2 + 12 * count, following)
    if below is not None:
        (count,) = struct.unpack_from("<H", data, chain[0])
        for entry in range(chain[0] + 2, chain[0] + 2 + 12 * count, 12):
            if struct.unpack_from("<H", data, entry)[0] == SUB_IFDS:
                struct.pack_into("<I", data, entry + 8, places[below])
    return bytes(data)


SMALL = (grey(WIDTH=12, HEIGHT=8, ROWS=8, SUBFILE_TYPE=1), bytes(96))
FULL = (grey(SUBFILE_TYPE=0), BYTES)
MASK = (grey(SUBFILE_TYPE=4), bytes(len(BYTES)))


@pytest.mark.parametrize(
    "data",
    [
        several(SMALL, FULL),
        several(SMALL, SMALL, FULL),
        several(SMALL, FULL, below=1),
        several(FULL, SMALL, below=1),
        several(FULL, SMALL, SMALL),
        several(FULL, MASK),
        several((FULL[0] | {SUBFILE_TYPE: None}, BYTES), (SMALL[0] | {SUBFILE_TYPE: None, 255: 2}, SMALL[1])),
    ],
    ids=["thumbnail", "two", "picture below", "thumbnail below", "pyramid", "mask", "old thumbnail"],
)
def test_the_picture_is_the_full_one(data: bytes) -> None:
    image = decode(data)
    np.testing.assert_array_equal(image.pixels, PICTURE)
    assert image.warnings == ()


def test_pages_are_counted_without_thumbnails_and_masks() -> None:
    image = decode(several(FULL, SMALL, FULL, MASK, FULL))
    assert image.warnings == ("the file holds 3 pictures; only the first was used",)


def test_what_the_first_directory_says_counts_for_the_picture_below_it() -> None:
    tags = SMALL[0] | {ORIENTATION: 6, DESCRIBED: b"a cat\0", XMP: IfdEntry(1, 4, b"<x/>")}
    image = decode(several((tags, SMALL[1]), FULL, below=1))
    np.testing.assert_array_equal(image.pixels, np.rot90(PICTURE, -1))
    assert image.metadata.xmp == b"<x/>"
    assert b"a cat" in (image.exif or b"")


def test_camera_raw_is_named() -> None:
    raw = (grey(SUBFILE_TYPE=0, PHOTOMETRIC=32803), BYTES)
    for data in (several(SMALL, raw, below=1), several((raw[0] | {PHOTOMETRIC: 34892}, BYTES))):
        with pytest.raises(ImageFormatError, match="camera raw"):
            decode(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_bigtiff_is_turned_once(orientation: int) -> None:
    colours = Pillow.fromarray(smooth(3))
    for image, options in (
        (colours, {"compression": "jpeg"}),
        (colours.convert("1"), {"compression": "group4"}),
    ):
        classic, big = (
            decode(from_pillow(image, "TIFF", tiffinfo={274: orientation}, big_tiff=big, **options))
            for big in (False, True)
        )
        np.testing.assert_array_equal(big.pixels, classic.pixels)
        assert classic.pixels.shape[:2] == ((47, 33) if orientation > 4 else (33, 47))
        with Pillow.open(io.BytesIO(from_pillow(image, "TIFF", **options))) as opened:
            stored = np.asarray(opened.convert("L" if image.mode == "1" else "RGB"))
        if orientation == 3:
            np.testing.assert_array_equal(np.squeeze(big.pixels), stored[::-1, ::-1])


# Metadata


@pytest.mark.parametrize("order", ["<", ">"])
def test_metadata_survives(order: str) -> None:
    ratio = IfdEntry(5, 1, struct.pack(order + "II", 300, 1))
    tags = grey() | {
        XMP: IfdEntry(1, 4, b"<x/>"),
        IPTC: IfdEntry(4, 2, b"\x1c\x02x\0\0\0\0\0"),
        282: ratio,
        283: ratio,
    }
    geo = {
        SCALE: [0.5, 0.25, 0.0],
        TIE: [0.0] * 3 + [5e5, 4.6e6, 0.0],
        KEYS: [1, 1, 0, 0],
        NODATA: b"-9999\0",
    }
    image = decode(tiff_file(tags | {296: 2} | geo, BYTES, order=order))
    assert image.metadata.xmp == b"<x/>"
    assert image.metadata.resolution == (300, 300)
    back = decode(encode(image, ".tif"))
    assert back.metadata == image.metadata
    assert set(back.metadata.geo) == set(geo)
    with Pillow.open(io.BytesIO(encode(image, ".tif"))) as opened:
        assert opened.info["dpi"] == (300, 300)
        assert opened.tag_v2[SCALE] == (0.5, 0.25, 0.0)
        assert opened.tag_v2[TIE][3:5] == (5e5, 4.6e6)
        assert opened.tag_v2[NODATA] == "-9999"
    assert prepare(image, ".tif").warnings == ()


def test_resolution_is_in_inches_or_nowhere() -> None:
    ratio = {tag: IfdEntry(5, 1, struct.pack("<II", 100, 1)) for tag in (282, 283)}
    for unit, expected in ((1, None), (2, (100, 100)), (3, (254, 254))):
        assert decode(tiff_file(grey() | ratio | {296: unit}, BYTES)).metadata.resolution == expected
    zero = IfdEntry(5, 1, bytes(8))
    assert decode(tiff_file(grey() | {282: zero, 283: zero}, BYTES)).metadata.resolution is None
    image = decode(tiff_file(grey() | ratio | {296: 2}, BYTES))
    assert prepare(image, ".webp").warnings == ()  # its EXIF block says so


def geo_image(**extra: object) -> Image:
    tags = {SCALE: [0.5, 0.25, 0.0], TIE: [10.0, 20.0, 0.0, 5e5, 4.6e6, 0.0], NODATA: b"0\0"}
    return decode(tiff_file(grey(**extra) | tags, BYTES))


def place(image: Image, column: float, row: float, half: float = 0.0) -> tuple[float, float]:
    """Returns the map coordinates of a point of the picture in pixels from its corner, as GeoTIFF says."""
    geo = {
        tag: np.frombuffer(field.raw, "<f8") for tag, field in image.metadata.geo.items() if field.type == 12
    }
    if MATRIX in geo:
        x, y, *_ = geo[MATRIX].reshape(4, 4) @ (column - half, row - half, 0, 1)
        return float(x), float(y)
    i, j, _, x, y, _ = geo[TIE]
    return x + (column - half - i) * geo[SCALE][0], y - (row - half - j) * geo[SCALE][1]


@pytest.mark.parametrize("half", [0.0, 0.5], ids=["area", "point"])
@pytest.mark.parametrize("matrix", [False, True])
def test_a_resized_map_lies_where_it_lay(half: float, matrix: bool) -> None:
    from img2img.processors import parse_operations

    keys = {KEYS: [1, 1, 0, 1, 1025, 0, 1, 2 if half else 1]}
    where = {SCALE: [0.5, 0.25, 0.0], TIE: [10.0, 20.0, 0.0, 5e5, 4.6e6, 0.0]}
    if matrix:
        where = {MATRIX: [0.5, 0.1, 0.0, 5e5, 0.2, -0.25, 0.0, 4.6e6, 0, 0, 0, 0, 0, 0, 0, 1.0]}
        where[MATRIX] = [float(value) for value in where[MATRIX]]
    image = decode(tiff_file(grey() | where | keys, BYTES))
    for operation in ("resize=94x66,stretch", "resize=94x66,stretch,nearest", "resize=20x50,stretch"):
        (result,) = parse_operations([operation])([image])
        for x, y in ((0, 0), (47, 33), (11, 5)):
            moved = x * result.width / 47, y * result.height / 33
            assert place(result, *moved, half) == pytest.approx(place(image, x, y, half), abs=1e-6)
        assert result.warnings == ()


@pytest.mark.parametrize(
    "operation",
    ["flip", "rotate=90", "rotate=7", "crop=20x20", "pad=left:3", "resize=20x20,cover", "side-by-side"],
)
def test_a_map_that_is_moved_says_so_once(operation: str) -> None:
    from img2img.processors import parse_operations

    (result,) = parse_operations([operation, "flip=vertical"])([geo_image()])
    assert result.metadata.geo == {}
    assert [warning for warning in result.warnings if "GeoTIFF" in warning] == [*result.warnings]
    assert len(result.warnings) == 1
    (kept,) = parse_operations(["grayscale"])([geo_image()])
    assert kept.metadata.geo
    assert kept.warnings == ()


def test_a_map_that_is_stored_turned_is_none_when_upright() -> None:
    image = geo_image(ORIENTATION=6)
    assert image.metadata.geo == {}
    assert "GeoTIFF" in image.warnings[0]
    assert geo_image(ORIENTATION=1).metadata.geo


def test_metadata_without_a_map_is_left_as_it_is() -> None:
    kept = Metadata(xmp=b"x", resolution=(1.0, 2.0))
    assert kept.resized(2, 3) is kept


STALE = {
    "ImageJ": b"ImageJ=1.53\nimages=3\nchannels=3\nhyperstack=true\n",
    "OME": b'<?xml version="1.0"?><OME xmlns="x"><Image><Pixels SizeX="47" SizeY="33"/></Image></OME>',
    "tifffile": b'{"shape": [3, 33, 47], "axes": "CYX"}',
    "Micro-Manager": b'{"Summary": {"Slices": 3}, "Width": 47}',
    "Aperio": b"Aperio Image Library v10.0\n46000x32914 [0,100 46000x32814] (256x256) J2K|AppMag = 20",
    "ScanImage": b"SI.VERSION_MAJOR = 2016\nSI.hStackManager.numSlices = 5",
    "its own size": b"exported at 47 x 33, sRGB",
}


@pytest.mark.parametrize("program", STALE)
def test_descriptions_that_state_sizes_or_pages_go(program: str) -> None:
    image = decode(tiff_file(grey() | {DESCRIBED: STALE[program] + b"\0"}, BYTES))
    assert len(image.warnings) == 1
    assert "description was dropped" in image.warnings[0]
    assert image.exif is None
    for extension in (".tif", ".png", ".jpg"):
        assert STALE[program][:8] not in encode(image, extension)


def test_a_description_that_holds_the_shape_alone_goes_without_a_word() -> None:
    image = decode(tiff_file(grey() | {DESCRIBED: b'{"shape": [33, 47]}\0'}, BYTES))
    assert image.warnings == () and image.exif is None


@pytest.mark.parametrize(
    "text", [b"A cat on 3 images", b"ImageJ is nice", b"1947 x 330 mm", b"{shape: round}"]
)
def test_descriptions_in_words_stay(text: bytes) -> None:
    image = decode(tiff_file(grey() | {DESCRIBED: text + b"\0"}, BYTES))
    assert image.warnings == ()
    for extension in (".tif", ".png", ".jpg"):
        assert text in encode(image, extension)
