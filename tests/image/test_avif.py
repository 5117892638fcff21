"""AVIF: what the boxes say, what they may cost, and colours that are told by numbers."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import time
import tracemalloc
from pathlib import Path

import boxes
import cv2
import numpy as np
import pytest
from boxes import box, entry, grid, location, locations, meta, owned, size
from pictures import exif_block, from_pillow, profile, smooth
from PIL import Image as Pillow

from img2img.errors import ImageError, ImageReadError
from img2img.image import EncodeOptions, Image, Metadata, read_image
from img2img.image.codec import decode, encode
from img2img.image.colour import ColourSpace
from img2img.image.formats import avif

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>made by a test</x:xmpmeta>"
SHARED = os.environ.get("IMG2IMG_TEST_DATA")
FTYP = box(b"ftyp", b"avif", bytes(4), b"mif1avif")


def one(width: int = 47, height: int = 33) -> bytes:
    return from_pillow(smooth(3, height=height, width=width), "AVIF", quality=95)


def rebuilt(data: bytes, extents: list[tuple[int, int]], count: int = 1, more: bytes = b"") -> bytes:
    """Returns the picture in `data` with `count` EXIF blocks, each of the given parts of the file."""
    items = range(2, 2 + count)
    picture = boxes.stream(data)
    properties = [size(47, 33), *copied(data, b"av1C", b"pixi")]

    def head(start: int) -> bytes:
        lines = [location(1, [(start, len(picture))]), *(location(item, extents) for item in items)]
        return FTYP + meta(
            [entry(1, b"av01"), *(entry(item, b"Exif") for item in items)],
            properties,
            [owned(1, 1, 0x82, 3)],
            locations(*lines),
        )

    return head(len(head(0)) + 8) + box(b"mdat", picture) + more


def copied(data: bytes, *kinds: bytes) -> list[bytes]:
    """Returns the first box of each kind in `data`."""
    return [box(kind, boxes.content(data, kind)) for kind in kinds]


def cost(data: bytes) -> tuple[float, int]:
    """Returns seconds and bytes that probing takes."""
    broken = (ImageError, ValueError, IndexError, struct.error)
    started = time.process_time()
    with contextlib.suppress(*broken):
        avif.probe(data)
    seconds = time.process_time() - started
    tracemalloc.start()
    with contextlib.suppress(*broken):
        avif.probe(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


@pytest.mark.parametrize(("parts", "count"), [(9000, 1), (65_000, 1), (90, 100), (1, 9000)])
@pytest.mark.sampled(1)
def test_parts_that_share_bytes_do_not_add_up(parts: int, count: int) -> None:
    """572 KB of AVIF took 8.7 GiB: an EXIF block in 9000 extents of 500 KB each."""
    filler = box(b"free", bytes(300_000))
    data = rebuilt(one(), [(0, 300_000)] * parts, count, filler)
    seconds, peak = cost(data)
    assert seconds < 1 and peak < 20 * len(data)


@pytest.mark.parametrize("start", [2**31, 0])
def test_metadata_outside_of_the_file_is_dropped(start: int) -> None:
    image = decode(rebuilt(one(), [(start, 2**31)]))
    assert image.exif is None
    assert any("EXIF block lies outside" in warning for warning in image.warnings)


NUMBERS = [struct.pack(">HHH", i, 1, i + 1) for i in range(1, 9000)]
LIES = {
    "ipma": [box(b"iprp", box(b"ipma", struct.pack(">II", 0, 2**32 - 1), bytes(300_000)))],
    "iloc": [box(b"iloc", b"\2\0\0\0\0\0", struct.pack(">I", 2**32 - 1), bytes(300_000))],
    "iref": [box(b"iref", bytes(4), *[box(b"dimg", b"\0\1\xff\xff")] * 9000)],
    "chain": [
        box(b"pitm", bytes(4), b"\0\1"),
        box(b"iinf", b"\0\0\0\0\0\1", *(entry(i, b"iden") for i in range(1, 9000))),
        box(b"iref", bytes(4), *(box(b"dimg", number) for number in NUMBERS)),
    ],
    "iinf": [box(b"iinf", b"\0\0\0\0\0\1", entry(1, b"grid"))] * 9000,
    "free": [box(b"free")] * 50_000,
}
FILES = {name: FTYP + box(b"meta", bytes(4), *inner) for name, inner in LIES.items()} | {
    "2^63": FTYP + struct.pack(">I4sQ", 1, b"meta", 2**63) + bytes(100),
    "moov": FTYP + box(b"moov", box(b"trak", bytes(8))) * 9000,
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
@pytest.mark.sampled(4)
def test_counts_that_lie_cost_nothing(data: bytes) -> None:
    seconds, peak = cost(data)
    assert seconds < 1 and peak < 64 * len(data) + 2**20


def test_grid_of_itself_ends() -> None:
    data = FTYP + meta(
        [entry(1, b"grid"), entry(2, b"iden")],
        [size(10, 10)],
        [owned(1, 1)],
        box(b"iref", bytes(4), box(b"dimg", b"\0\1\0\1\0\2"), box(b"dimg", b"\0\2\0\1\0\1")),
    )
    with pytest.raises(ImageError):
        decode(data)


@pytest.mark.skipif(SHARED is None, reason="IMG2IMG_TEST_DATA names no folder")
def test_the_bomb_itself() -> None:
    path = Path(SHARED or "") / "cases/A04_overlap_memory_bombs/avif_extents_9000x500k.avif"
    seconds, peak = cost(path.read_bytes())
    assert seconds < 1 and peak < 2**24


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (1, 1)])
@pytest.mark.parametrize("kind", [(1, False), (1, True), (3, False), (3, True)])
@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.sampled(10)
def test_colours_told_by_numbers_come_back(
    primaries: int, transfer: int, kind: tuple[int, bool], lossless: bool
) -> None:
    """OpenCV writes sRGB whatever the picture is; the box and the AV1 stream below it say the truth."""
    channels, alpha = kind
    options = EncodeOptions(lossless=lossless)
    plane = smooth(4)
    space = ColourSpace(primaries, transfer)
    plain = Image(plane[:, :, :channels].copy(), plane[:, :, 3].copy() if alpha else None)
    data = encode(plain.replace(space=space), ".avif", options)
    back = decode(data)
    assert back.space == space
    np.testing.assert_array_equal(back.pixels, decode(encode(plain, ".avif", options)).pixels)
    at = avif.probe(data).details.spans[0][0][0]
    bits = "".join(f"{byte:08b}" for byte in data[at : at + 32])
    if channels == 3 or alpha:  # the stream of a grey picture leaves it to the box
        assert any(f"{primaries:08b}{transfer:08b}{matrix:08b}" in bits for matrix in (0, 6))
    with Pillow.open(io.BytesIO(data)) as reference:
        assert reference.size == (47, 33)
        reference.load()


def test_a_profile_wins_over_numbers() -> None:
    image = Image(smooth(3), icc=profile())
    back = decode(encode(image, ".avif"))
    assert back.icc == profile() and back.space is None


def test_srgb_is_nothing_special() -> None:
    for codes in ((1, 13), (2, 2), (1, 2), (2, 13)):
        data = bytearray(encode(Image(smooth(3)), ".avif"))
        at = data.index(b"colrnclx") + 8
        data[at : at + 4] = struct.pack(">HH", *codes)
        assert decode(bytes(data)).space is None


@pytest.mark.skipif(SHARED is None, reason="IMG2IMG_TEST_DATA names no folder")
@pytest.mark.parametrize(("name", "codes"), [("p3", (12, 13)), ("p3_10bit", (12, 13)), ("pq", (9, 16))])
def test_cases_of_colour(name: str, codes: tuple[int, int]) -> None:
    image = read_image(Path(SHARED or "") / f"cases/08_avif_nclx_lost/{name}.avif")
    assert image.space == ColourSpace(*codes)
    if image.pixels.dtype == np.uint8:
        assert decode(encode(image, ".avif")).space == image.space


@pytest.mark.parametrize("writer", ["Pillow", "img2img"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("length", [0, 100, 400, 3000])
@pytest.mark.sampled(8)
def test_metadata_of_any_length(length: int, alpha: bool, writer: str) -> None:
    """OpenCV takes some files whose metadata begin after byte 500 for none at all."""
    xmp = XMP.replace(b"made", b"made" + b"." * length)
    array = smooth(4 if alpha else 3)
    if writer == "Pillow":
        data = from_pillow(array, "AVIF", xmp=xmp, exif=exif_block() if length == 400 else b"", quality=100)
    else:
        image = Image(
            array[:, :, :3].copy(), array[:, :, 3].copy() if alpha else None, metadata=Metadata(xmp=xmp)
        )
        data = encode(image, ".avif")
        with Pillow.open(io.BytesIO(data)) as reference:
            assert reference.info["xmp"] == xmp
    back = decode(data)
    assert back.metadata.xmp == xmp
    assert (back.exif is not None) == (writer == "Pillow" and length == 400)
    assert (back.alpha is not None) == alpha


def test_other_text_is_not_xmp() -> None:
    data = encode(Image(smooth(3), metadata=Metadata(xmp=XMP)), ".avif")
    assert decode(data.replace(b"application/rdf+xml", b"application/foo+xml")).metadata.xmp is None


def test_clean_aperture() -> None:
    """OpenCV decodes all of it; what the file shows is less."""
    array = smooth(3, height=32, width=48)
    data = from_pillow(array, "AVIF", quality=100, subsampling="4:4:4")
    picture = boxes.stream(data)
    for shown, expected in (
        ((40, 1, 20, 1, 2, 1, -1, 1), np.s_[5:25, 6:46]),
        ((50, 1, 20, 1, 0, 1, 0, 1), np.s_[:, :]),
        ((40, 0, 20, 1, 0, 1, 0, 1), np.s_[:, :]),
    ):
        clap = box(b"clap", struct.pack(">IIIIiIiI", *shown))

        def head(start: int, clap: bytes = clap) -> bytes:
            return FTYP + meta(
                [entry(1, b"av01")],
                [size(48, 32), *copied(data, b"av1C", b"pixi", b"colr"), clap],
                [owned(1, 1, 0x82, 3, 4, 0x85)],
                locations(location(1, [(start, len(picture))])),
            )

        image = decode(head(len(head(0)) + 8) + box(b"mdat", picture))
        whole = decode(data).pixels
        np.testing.assert_array_equal(image.pixels, whole[expected])
        assert bool(image.warnings) == (shown[0] == 50 or shown[1] == 0)


def test_grid_of_tiles() -> None:
    whole = smooth(3, height=128, width=192)
    tiles = [
        from_pillow(whole[y : y + 64, x : x + 64], "AVIF", quality=100, subsampling="4:4:4")
        for y in (0, 64)
        for x in (0, 64, 128)
    ]
    image = decode(grid(tiles, 64, 2, 3, 180, 120, avif=True))
    assert image.pixels.shape == (120, 180, 3)
    assert np.abs(image.pixels.astype(int) - whole[:120, :180]).max() < 8
    assert image.warnings == ()


def test_premultiplied_alpha_is_undone() -> None:
    array = smooth(4)
    array[:, :, 3] = np.maximum(array[:, :, 3], 128)
    weighted = array.copy()
    weighted[:, :, :3] = np.rint(array[:, :, :3] * (array[:, :, 3:] / 255.0))
    options = {"quality": 100, "subsampling": "4:4:4", "alpha_premultiplied": True}
    image = decode(from_pillow(array, "AVIF", **options))
    assert np.abs(image.pixels.astype(int) - array[:, :, :3]).mean() < 3


@pytest.mark.parametrize("depth", [8, 10, 12])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_damage_is_refused(share: float, depth: int) -> None:
    """libaom refuses what dav1d conceals: zeros, cut data, single bits."""
    noise = np.random.default_rng(0).integers(0, 60, (96, 96, 3), np.uint8)
    array = smooth(3, height=96, width=96) // 2 + noise
    wide = array if depth == 8 else array.astype(np.uint16) << (depth - 8)
    params = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 80]
    data = cv2.imencode(".avif", wide, params)[1].tobytes()
    assert decode(data).pixels.dtype == (np.uint8 if depth == 8 else np.uint16)
    at = int(len(data) * share)
    zeroed, flipped = bytearray(data), bytearray(data)
    zeroed[at : at + 40] = bytes(40)
    flipped[at] ^= 0x10
    for broken in (data[:at], bytes(zeroed), bytes(flipped)):
        with pytest.raises(ImageReadError):
            decode(broken)


def test_film_without_a_still() -> None:
    """The first picture of a sequence whose file has no list of items."""
    frames = [Pillow.new("RGB", (64, 48), (60 * i, 10, 0)) for i in range(1, 4)]
    data = from_pillow(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    start = data.index(b"meta") - 4
    image = decode(data)
    assert image.pixels.shape == (48, 64, 3) and "3 pictures" in image.warnings[0]
    header = avif.probe(data[: start + 4] + b"free" + data[start + 8 :])
    assert (header.width, header.height, header.frames) == (64, 48, 3)
