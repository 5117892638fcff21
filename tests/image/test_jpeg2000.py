"""JPEG 2000: streams without data, damage that OpenJPEG says nothing of, and every kind of number."""

from __future__ import annotations

import struct
from functools import cache

import cv2
import numpy as np
import pytest
from boxes import box
from pictures import exif_block, from_pillow, profile, smooth
from PIL import Image as Pillow

from img2img.errors import ImageFormatError, ImageReadError
from img2img.image import Image
from img2img.image.codec import decode, encode, fit_reason


@cache
def noisy(lossy: bool, boxes: bool) -> bytes:
    noise = np.random.default_rng(0).integers(0, 60, (160, 200, 3), np.uint8)
    options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [8]} if lossy else {}
    array = smooth(3, height=160, width=200) // 2 + noise
    return from_pillow(array, "JPEG2000", no_jp2=not boxes, **options)


def empty(side: int, tile: int, tiles: int) -> bytes:
    """Returns a codestream whose `tiles` first tiles are there, and hold nothing."""
    size = struct.pack(">HHH8IHBBB", 0xFF51, 41, 0, side, side, 0, 0, tile, tile, 0, 0, 1, 7, 1, 1)
    coding = struct.pack(">HHBBHBBBBBB", 0xFF52, 12, 0, 0, 1, 0, 0, 4, 4, 0, 1)
    quantization = struct.pack(">HHBB", 0xFF5C, 4, 0x40, 0x40)
    parts = b"".join(struct.pack(">HHHIBBH", 0xFF90, 10, i, 14, 0, 1, 0xFF93) for i in range(tiles))
    return b"\xff\x4f" + size + coding + quantization + parts + b"\xff\xd9"


@pytest.mark.parametrize("tiles", [0, 1, 16])
def test_a_picture_without_data_is_refused(tiles: int) -> None:
    """166 bytes are no 14000 x 14000 pixels, and no 1000 x 1000 either."""
    with pytest.raises(ImageReadError, match="tiles hold nothing"):
        decode(empty(1000, 250, tiles))


def test_a_tile_that_is_missing_is_refused() -> None:
    whole = from_pillow(smooth(3, height=64, width=64), "JPEG2000", tile_size=(32, 32))
    decode(whole)
    stream = whole.index(b"jp2c") + 4
    last = whole.rindex(b"\xff\x90\0\x0a")
    cut = whole[: stream - 8] + b"\0\0\0\0jp2c" + whole[stream:last] + b"\xff\xd9"
    with pytest.raises(ImageReadError, match="1 of 4 tiles"):
        decode(cut)


@pytest.mark.parametrize("boxes", [True, False])
@pytest.mark.parametrize("lossy", [True, False])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.sampled(6)
def test_zeroed_or_cut_is_refused(share: float, lossy: bool, boxes: bool) -> None:
    """OpenJPEG takes zeros for packets without content."""
    data = noisy(lossy, boxes)
    decode(data)
    at = int(len(data) * share)
    zeroed = bytearray(data)
    zeroed[at : at + 700] = bytes(len(zeroed[at : at + 700]))
    for broken in (data[:at], bytes(zeroed), data[:at] + bytes(len(data) - at)):
        with pytest.raises(ImageReadError):
            decode(broken)


@pytest.mark.parametrize("kind", ["black", "half black", "one tile white", "layers", "small precincts"])
def test_pictures_with_little_in_them_are_whole(kind: str) -> None:
    """Flat pictures have long rows of zeros: packets without content."""
    array = np.zeros((400, 400, 3), np.uint8)
    options: dict[str, object] = {}
    if kind == "half black":
        array[:, 200:] = smooth(3, height=400, width=200)
    elif kind == "one tile white":
        array[300:, 300:] = 255
        options = {"tile_size": (100, 100)}
    elif kind == "layers":
        array[:40, :40] = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
        options = {"quality_mode": "rates", "quality_layers": [400, 200, 100, 50, 20, 10, 5, 2, 1]}
    elif kind == "small precincts":
        array[200:, 200:] = smooth(3, height=200, width=200)
        options = {"precinct_size": (32, 32), "codeblock_size": (16, 16)}
    np.testing.assert_array_equal(decode(from_pillow(array, "JPEG2000", **options)).pixels, array)


@pytest.mark.parametrize("boxes", [True, False])
def test_only_the_end_mark_is_missing(boxes: bool) -> None:
    """All of the picture is there; OpenJPEG alone would refuse it."""
    data = from_pillow(smooth(3), "JPEG2000", no_jp2=not boxes)[:-2]
    if boxes:
        at = data.index(b"jp2c") - 4
        data = data[:at] + bytes(4) + data[at + 4 :]
    np.testing.assert_array_equal(decode(data).pixels, smooth(3))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_eight_bits(channels: int) -> None:
    array = smooth(channels)
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    image = decode(from_pillow(Pillow.fromarray(array.squeeze(), mode), "JPEG2000"))
    colours = channels - (channels + 1) % 2
    np.testing.assert_array_equal(image.pixels, array[:, :, :colours])
    assert (image.alpha is None) == (channels % 2 == 1)


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits(alpha: bool) -> None:
    array = smooth(4, "uint16")
    image = Image(array[:, :, :3].copy(), array[:, :, 3].copy() if alpha else None)
    back = decode(encode(image, ".jp2"))
    np.testing.assert_array_equal(back.pixels, image.pixels)
    if alpha:
        np.testing.assert_array_equal(back.alpha, image.alpha)


@pytest.mark.parametrize(("height", "width", "fits"), [(32, 32, True), (31, 64, False), (64, 31, False)])
def test_a_picture_too_small_for_the_encoder_goes_elsewhere(height: int, width: int, fits: bool) -> None:
    image = Image(smooth(3, height=height, width=width))
    reason = fit_reason(image, ".jp2")
    if fits:
        assert reason is None
        assert decode(encode(image, ".jp2")).width == width
    else:
        assert reason is not None and "32 pixels" in reason


def with_depth(data: bytes, code: int) -> bytes:
    """Returns a file of one component that says it has another depth; 0x80 stands for signed."""
    at = data.index(b"\xff\x51") + 40
    data = data[:at] + bytes([code]) + data[at + 1 :]
    at = data.index(b"ihdr") + 14
    return data[:at] + bytes([code]) + data[at + 1 :]


def test_signed_numbers_are_shifted() -> None:
    array = smooth(1)
    image = decode(with_depth(from_pillow(array, "JPEG2000"), 0x87))
    np.testing.assert_array_equal(image.pixels, array)


@pytest.mark.parametrize("bits", [4, 12])
def test_few_bits_reach_white(bits: int) -> None:
    wide = np.dtype(np.uint8 if bits < 8 else np.uint16)
    levels = smooth(1, wide.name) >> (8 * wide.itemsize - bits)
    levels[0, 0], levels[0, 1] = 0, 2**bits - 1
    # Half of the range is taken off before it is stored and put back after, each time that of the depth told.
    stored = levels + 2 ** (8 * wide.itemsize - 1) - 2 ** (bits - 1)
    data = from_pillow(Pillow.fromarray(stored[:, :, 0].astype(wide)), "JPEG2000")
    image = decode(with_depth(data, bits - 1))
    white = np.iinfo(wide).max
    assert image.pixels.min() == 0 and image.pixels.max() == white
    assert np.abs(image.pixels - levels * (white / (2**bits - 1))).max() <= 1


def test_ycc_as_pillow_reads_it() -> None:
    colours = Pillow.fromarray(smooth(3)).convert("YCbCr")
    image = decode(from_pillow(colours, "JPEG2000"))
    assert np.abs(image.pixels.astype(int) - smooth(3)).max() <= 3


def test_palette() -> None:
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    indices = (np.arange(33 * 47) % 4).reshape(33, 47).astype(np.uint8)
    data = from_pillow(indices, "JPEG2000")
    palette = box(b"pclr", struct.pack(">HB3B", 4, 3, 7, 7, 7) + table.tobytes())
    mapping = box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, i) for i in range(3)))
    colour = box(b"colr", struct.pack(">BBBI", 1, 0, 0, 16))
    start, stream = data.index(b"jp2h") - 4, data.index(b"jp2c") - 4
    inner = data[data.index(b"ihdr") - 4 :][:22]
    data = data[:start] + box(b"jp2h", inner + palette + mapping + colour) + data[stream:]
    np.testing.assert_array_equal(decode(data).pixels, table[indices])


def test_boxes_of_metadata() -> None:
    """Adobe's XMP and IPTC, Jpeg2000 Digital's EXIF, the resolution, and a restricted profile."""
    data = from_pillow(smooth(3), "JPEG2000")
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    iptc = b"\x1c\x02\x05\x00\x03one"
    resolution = box(b"res ", box(b"resc", struct.pack(">HHHHbb", 300, 254, 300, 254, 4, 4)))
    colour = box(b"colr", b"\2\0\0" + profile())
    start, stream = data.index(b"jp2h") - 4, data.index(b"jp2c") - 4
    inner = data[data.index(b"ihdr") - 4 :][:22]
    blocks = [
        box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + xmp),
        box(b"uuid", b"JpgTiffExif->JP2" + exif_block()),
    ]
    last = box(b"uuid", bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38") + iptc)
    head = box(b"jp2h", inner + colour + resolution)
    image = decode(data[:start] + head + b"".join(blocks) + data[stream:] + last)
    assert image.metadata.xmp == xmp and image.metadata.iptc == iptc
    assert image.metadata.resolution == pytest.approx((300, 300))
    assert image.icc == profile()
    assert image.exif is not None


def test_coarser_colours(tmp_path: object) -> None:
    """Components with half the resolution, as video cameras write them."""
    path = f"{tmp_path}/film.mov"
    array = smooth(3, height=64, width=80)
    film = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mjp2"), 1, (80, 64))
    if not film.isOpened():
        pytest.skip("this OpenCV writes no JPEG 2000 films")
    film.write(np.ascontiguousarray(array[:, :, ::-1]))
    film.release()
    with open(path, "rb") as file:  # noqa: PTH123
        data = file.read()
    start = data.index(b"\xff\x4f\xff\x51")
    image = decode(data[start : data.index(b"\xff\xd9", start) + 2])
    assert np.abs(image.pixels.astype(int) - array).mean() < 16


def test_kinds_that_are_not_read_are_named() -> None:
    data = from_pillow(smooth(3), "JPEG2000")
    at = data.index(b"colr") + 7
    with pytest.raises(ImageFormatError, match="Lab"):
        decode(data[:at] + struct.pack(">I", 14) + data[at + 4 :])


def test_a_size_that_lies_is_refused() -> None:
    data = bytearray(from_pillow(smooth(3), "JPEG2000", no_jp2=True))
    data[8:16] = struct.pack(">II", 2000, 2000)
    with pytest.raises(ImageReadError):
        decode(bytes(data))
