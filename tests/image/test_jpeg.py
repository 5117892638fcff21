"""JPEG: what libjpeg complains of fails, what only looks odd is read, and nothing takes long."""

from __future__ import annotations

import io
import re
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from jpegs import ARITHMETIC, flat_blocks, segment
from pictures import from_pillow, jpeg_with, smooth
from PIL import Image as Pillow

from img2img.errors import ImageFormatError, ImageLimitError, ImageReadError
from img2img.image import decode
from img2img.image.formats import jpeg

ODD_SAMPLINGS = [
    ((1, 1), (2, 1), (2, 1)),
    ((4, 2), (1, 1), (1, 1)),
    ((1, 3), (1, 1), (1, 1)),
    ((2, 4), (1, 1), (1, 1)),
]


def planes(samplings: list[tuple[int, int]], rows: int = 3, columns: int = 4) -> list[np.ndarray]:
    dice = np.random.default_rng(3)
    return [dice.integers(-100, 100, (rows * down, columns * across)) for across, down in samplings]


def by_pillow(data: bytes) -> np.ndarray:
    picture = Pillow.open(io.BytesIO(data))
    return np.asarray(picture.convert("RGB" if picture.mode != "L" else "L"))


def kinds() -> dict[str, bytes]:
    photo = np.array(smooth(3, height=80, width=120))
    photo = cv2.add(photo, np.random.default_rng(0).integers(0, 30, photo.shape, np.uint8))
    cmyk = Pillow.fromarray(photo).convert("CMYK")
    return {
        "baseline": from_pillow(photo, "JPEG"),
        "4:4:4": from_pillow(photo, "JPEG", subsampling=0),
        "4:1:1": cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x411111])[1].tobytes(),
        "progressive": from_pillow(photo, "JPEG", progressive=True),
        "restart": from_pillow(photo, "JPEG", restart_marker_blocks=4),
        "grey": from_pillow(photo[:, :, 0], "JPEG"),
        "grey progressive": from_pillow(photo[:, :, 0], "JPEG", progressive=True),
        "cmyk": from_pillow(cmyk, "JPEG"),
        "optimized": from_pillow(photo, "JPEG", optimize=True),
        "rgb": from_pillow(photo, "JPEG", keep_rgb=True),
        "mpo": from_pillow(photo, "MPO", save_all=True, append_images=[Pillow.new("RGB", (120, 80))]),
    }


KINDS = kinds()


# what is read


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_as_pillow_reads_it(kind: str) -> None:
    image = decode(KINDS[kind])
    expected = by_pillow(KINDS[kind])
    assert image.channels == (1 if "grey" in kind else 3)
    np.testing.assert_allclose(image.pixels.squeeze().astype(int), expected, atol=2 if kind == "cmyk" else 0)


@pytest.mark.parametrize("samplings", ODD_SAMPLINGS)
def test_samplings_that_only_opencv_knows(samplings: tuple[tuple[int, int], ...]) -> None:
    data = flat_blocks(planes(list(samplings)), list(samplings))
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))
    with pytest.raises(ImageReadError, match="premature end"):
        decode(data[: len(data) * 3 // 4] + b"\xff\xd9")


@pytest.mark.parametrize("identifiers", [(0, 1, 2), (1, 34, 35), (5, 5, 5), (82, 71, 66)])
def test_components_of_any_name(identifiers: tuple[int, ...]) -> None:
    """Some programs count them from 0, Google's call them 1, 34, 35; "RGB" means what it says."""
    data = flat_blocks(planes([(1, 1)] * 3), [(1, 1)] * 3, identifiers=identifiers)
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


def test_sequential_scans_one_by_one() -> None:
    samplings = [(2, 2), (1, 1), (1, 1)]
    whole = flat_blocks(planes(samplings), samplings)
    parted = flat_blocks(planes(samplings), samplings, scans=[[0], [1], [2]])
    np.testing.assert_array_equal(decode(parted).pixels, decode(whole).pixels)
    for scans in ([[0], [1]], [[0]], [[0], [1, 2][:1]]):
        with pytest.raises(ImageReadError, match="scans are missing"):
            decode(flat_blocks(planes(samplings), samplings, scans=scans))


# what only looks odd


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.sampled(11)
def test_zeros_behind_the_picture_do_no_harm(kind: str, count: int) -> None:
    """Cameras pad with them; a decoder that stops at each complaint would lose all of those."""
    data = KINDS[kind]
    at = data.index(b"\xff\xd9") if kind == "mpo" else len(data) - 2
    padded = decode(data[:at] + bytes(count) + data[at:])
    np.testing.assert_array_equal(padded.pixels, decode(KINDS[kind]).pixels)
    assert kind == "mpo" or any("zeros" in warning for warning in padded.warnings)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mpo"])
def test_a_missing_end_marker_does_no_harm_and_missing_rows_do(kind: str) -> None:
    data = KINDS[kind]
    image = decode(data[:-2])
    np.testing.assert_array_equal(image.pixels, decode(data).pixels)
    assert any("end marker" in warning for warning in image.warnings)
    for lost in (6, 10, 40):
        for end in (b"", b"\xff\xd9", bytes(lost), bytes(lost - 2) + b"\xff\xd9"):
            with pytest.raises(ImageReadError):
                decode(data[:-lost] + end)


def test_a_white_page_that_ends_in_zeros_is_whole() -> None:
    """With a table of its own, white is a bit or two of zero for each block."""
    data = from_pillow(np.full((64, 64), 255, np.uint8), "JPEG", optimize=True)
    assert data[-4:-2] == b"\0\0"
    assert decode(data).warnings == ()


def test_oddities_of_the_header() -> None:
    data = KINDS["baseline"]
    expected = decode(data).pixels
    jfif = bytearray(data)
    jfif[11] = 9  # a version of JFIF that nobody knows
    for odd in (
        bytes(jfif),
        data[:20] + b"junk\xff\0\xff\xd0more" + data[20:],
        data[:20] + b"\xff" * 40 + data[20:],
        jpeg_with(data, (0xE2, b"ICC_PROFILE\0\7\3no profile")),
        jpeg_with(data, (0xEE, b"Adobe\0d\0\0\0\0\7")),
        data.replace(b"\0\x3f\0", b"\0\0\0", 1),
        data + b"and a trailer",
    ):
        np.testing.assert_array_equal(decode(odd).pixels, expected)
    assert "7 " not in str(decode(data).warnings)
    assert "belong to nothing" in decode(data[:20] + b"junk" + data[20:]).warnings[0]
    assert "parameters" in decode(data.replace(b"\0\x3f\0", b"\0\0\0", 1)).warnings[0]
    assert "transform" in decode(jpeg_with(data, (0xEE, b"Adobe\0d\0\0\0\0\7"))).warnings[0]


# what is refused


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mpo" and "progressive" not in kind])
def test_a_zeroed_part_is_never_a_picture(kind: str) -> None:
    data = KINDS[kind]
    scan = data.index(b"\xff\xda") + 14
    whole = decode(data).pixels
    for start in range(10):
        for length in (0.02, 0.1, 0.4, 1.0):
            a = scan + (len(data) - scan) * start // 10
            b = min(len(data) - 2, a + int(length * (len(data) - scan)))
            try:
                image = decode(data[:a] + bytes(b - a) + data[b:])
            except ImageReadError:
                continue
            np.testing.assert_array_equal(image.pixels, whole)


def test_a_torn_picture_between_restart_markers(test_data: Path) -> None:
    with pytest.raises(ImageReadError, match="zeros stand"):
        decode((test_data / "cases/A14_silent_damage_other/jpg_rst_zero50-90.jpg").read_bytes())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (flat_blocks(planes([(1, 1)]), [(1, 1)], height=0), "DNL"),
        (flat_blocks(planes([(1, 1)] * 2), [(1, 1)] * 2), "2 components"),
        (KINDS["baseline"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "12 bits"),
        (KINDS["baseline"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc3\0\x11\x10"), "16 bits"),
        (KINDS["baseline"].replace(b"\xff\xc0", b"\xff\xc5"), "decoder says"),
        (KINDS["baseline"][:20] + KINDS["baseline"], "second picture"),
        (re.sub(rb"(\xff\xdb\0\x43\0.{9}).", rb"\1\0", KINDS["baseline"], flags=re.DOTALL), "quantization"),
    ],
)
def test_what_cannot_be_read_gets_its_sentence(data: bytes, words: str) -> None:
    with pytest.raises(ImageReadError, match=words):
        decode(data)


def test_a_lossless_jpeg_is_read_without_loss() -> None:
    codecs = pytest.importorskip("imagecodecs")
    pixels = smooth(3)
    data = codecs.jpeg8_encode(pixels, lossless=True, predictor=4)
    np.testing.assert_array_equal(decode(data).pixels, pixels)
    with pytest.raises(ImageReadError):
        decode(data[: len(data) // 2] + b"\xff\xd9")


def test_arithmetic_coding_is_read_and_no_part_of_it_taken_for_the_whole() -> None:
    """Its decoders go on with zeros where data run out, without a word."""
    image = decode(ARITHMETIC)
    np.testing.assert_allclose(image.pixels.astype(int), smooth(3, height=40, width=56), atol=40)
    assert image.warnings == ()
    scan = ARITHMETIC.index(b"\xff\xda")
    for cut in range(scan + 20, len(ARITHMETIC) - 12, 20):
        for end in (b"", b"\xff\xd9"):
            with pytest.raises(ImageReadError):
                decode(ARITHMETIC[:cut].rstrip(b"\xff") + end)


# what takes long


def spent(data: bytes) -> tuple[float, str]:
    start = time.process_time()
    try:
        decode(data)
        reason = ""
    except ImageReadError as error:
        reason = error.reason
    return time.process_time() - start, reason


@pytest.mark.parametrize(
    "run", [b"\xff", b"\xff\0", b"\xff\xd0", b"\0", b"\xff\x01", b"\xff\xfe\0\2", b"\xff\xe1\0\2"]
)
@pytest.mark.parametrize("kind", ["baseline", "progressive"])
@pytest.mark.sampled(2)
def test_a_long_run_takes_linear_time(run: bytes, kind: str) -> None:
    """As erased flash memory leaves behind; a pattern that searches from each byte on is quadratic."""
    data = KINDS[kind]
    for at in (2, len(data) // 2):
        assert spent(data[:at] + run * (2**20 // len(run)) + data[at:])[0] < 2


def test_the_run_of_the_case(test_data: Path) -> None:
    assert spent((test_data / "cases/A03_jpeg_ff_run_hang/ff_run.jpg").read_bytes())[0] < 1


def test_scans_without_end_are_refused() -> None:
    """Each goes over the whole picture and takes a dozen bytes."""
    data = KINDS["grey progressive"]
    at = data.index(b"\xff\xda")
    scan = segment(0xDA, b"\1\1\0\1\1\x10") + b"\x7f"
    many = data[:at] + scan * 2000 + data[at:]
    with pytest.raises(ImageLimitError, match="more than 1,000 scans"):
        decode(many)
    frame = many.index(b"\xff\xc2")
    large = many[: frame + 5] + struct.pack(">HH", 10_000, 10_000) + many[frame + 9 :]
    large = large.replace(scan * 2000, scan * 400)
    assert spent(large)[0] < 1
    assert "400" in spent(large)[1] or "scans" in spent(large)[1]


def test_metadata_without_end_is_bounded() -> None:
    data = KINDS["baseline"]
    block = b"Exif\0\0" + bytes(60_000)
    image = decode(jpeg_with(data, *[(0xE1, block)] * 300))
    assert image.exif is None and any("EXIF" in warning for warning in image.warnings)
    assert jpeg.FORMAT.max_xmp == 16 * 2**20


def test_twelve_bits_are_a_kind_that_is_not_read() -> None:
    with pytest.raises(ImageFormatError, match="8 bits"):
        decode(KINDS["baseline"].replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"))
