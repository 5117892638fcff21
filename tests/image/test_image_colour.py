"""Colours as files describe them: into profiles, into other spaces, against Little CMS and the formulas."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from pictures import picture, profile, smooth
from PIL import Image as Pillow
from PIL import ImageCms

from img2img.image import EncodeOptions, Image, decode, encode, prepare
from img2img.image.colour import ADOBE_RGB, ColourSpace, Encoding, Power, SampledCurve, encoding_of
from img2img.image.conversion import UNTAGGED, converted, meaning, profile_for, same_colours
from img2img.image.icc import profile_of, read_profile, write_profile

D65 = (0.3127, 0.3290)
P3 = ColourSpace(12, 13)
ADOBE = ADOBE_RGB
SPACES = {
    "Display P3": P3,
    "DCI-P3": ColourSpace(11, 17),
    "BT.709": ColourSpace(1, 1),
    "BT.601 625": ColourSpace(5, 6),
    "BT.601 525": ColourSpace(6, 6),
    "BT.2020": ColourSpace(9, 14),
    "PQ": ColourSpace(9, 16),
    "HLG": ColourSpace(9, 18),
    "linear": ColourSpace(1, 8),
    "gamma 2.2": ColourSpace(1, 4),
    "gamma 2.8": ColourSpace(5, 5),
    "gAMA 1.0": ColourSpace(gamma=1.0),
    "Adobe": ADOBE,
}


def lcms(pixels: np.ndarray, source: bytes, goal: bytes) -> np.ndarray:
    relative = ImageCms.Intent.RELATIVE_COLORIMETRIC
    transform = ImageCms.buildTransform(io.BytesIO(source), io.BytesIO(goal), "RGB", "RGB", relative)
    return np.asarray(ImageCms.applyTransform(Pillow.fromarray(pixels), transform)).astype(int)


def formula(pixels: np.ndarray) -> np.ndarray:
    """Display P3 to sRGB in float64, from the definition: no adaptation, as both have one white."""

    def matrix(points: tuple[float, ...]) -> np.ndarray:
        xyz = np.array(
            [[x / y, 1, (1 - x - y) / y] for x, y in zip(points[::2], points[1::2], strict=True)]
        ).T
        white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
        return xyz * np.linalg.solve(xyz, white)

    wide, narrow = matrix((0.68, 0.32, 0.265, 0.69, 0.15, 0.06)), matrix((0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
    light = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    light = light @ np.linalg.solve(narrow, wide).T
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", SPACES)
def test_profiles_are_what_little_cms_takes_them_for(name: str) -> None:
    pixels, space = smooth(3), SPACES[name]
    icc = profile_of(space, 3)
    assert icc is not None and int.from_bytes(icc[:4], "big") == len(icc)
    expected = lcms(pixels, icc, profile())
    deep = Image(pixels.astype(np.uint16) * 257, space=space)  # goes another way than 8 bits
    assert np.abs(converted(deep).pixels / 257 - expected).max() <= 1
    assert np.abs(converted(Image(pixels, space=space)).pixels - expected).max() <= 1
    assert same_colours((icc, None), (None, space))
    assert not same_colours((icc, None), UNTAGGED)


def test_display_p3_agrees_with_the_formula() -> None:
    pixels = smooth(3)
    expected = formula(pixels / 255)
    icc = profile_of(P3, 3)
    assert np.abs(lcms(pixels, icc, profile()) - expected.clip(0, 1) * 255).max() <= 1
    floats = converted(Image((pixels / 255).astype(np.float32), icc=icc)).pixels
    inside = expected > 0.0
    np.testing.assert_allclose(floats[inside], expected[inside], atol=2e-4)
    deep = converted(Image(np.rint(pixels * 257.0).astype(np.uint16), icc=icc)).pixels
    assert np.abs(deep - expected.clip(0, 1) * 65535).max() <= 8


def test_the_srgb_of_others_is_srgb_and_no_work() -> None:
    ours = profile_of(ColourSpace(1, 13), 3)
    for icc in (profile(), ours):
        image = picture().replace(icc=icc)
        assert converted(image) is image
    parsed = read_profile(profile())
    assert parsed is not None and parsed.matrix is not None
    mine = encoding_of(ColourSpace(1, 13))
    assert mine is not None and mine.matrix is not None
    np.testing.assert_allclose(parsed.matrix, mine.matrix, atol=5e-5)
    for approximate in (ColourSpace(gamma=0.45455), ColourSpace(2, 13), ColourSpace(1, 2)):
        assert same_colours((None, approximate), UNTAGGED)
    assert not same_colours((None, ColourSpace(gamma=0.5556)), UNTAGGED)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_there_and_back(dtype: str, alpha: bool, channels: int) -> None:
    image = picture(channels, dtype, alpha)
    wide = (None, ColourSpace(9, 14))  # sRGB lies inside
    there = converted(image, wide)
    assert meaning(there) == wide and there.pixels.dtype == image.pixels.dtype and there.alpha is image.alpha
    back = converted(there)
    worst = {"uint8": 6, "uint16": 12, "float32": 1e-3}[dtype]
    assert np.abs(back.pixels.astype(float) - image.pixels).max() <= worst
    assert (there.pixels != image.pixels).any() and meaning(back) == UNTAGGED


def test_grey_keeps_one_channel_and_gets_a_profile_for_grey() -> None:
    icc = profile_of(ColourSpace(gamma=1.0), 3)
    grey = picture(1, "uint16")
    linear = converted(grey, (icc, None))
    assert linear.channels == 1 and linear.icc is not None and linear.icc[16:20] == b"GRAY"
    light = grey.pixels / 65535.0
    expected = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    assert np.abs(linear.pixels - 65535 * expected).max() <= 2
    shown = ImageCms.buildTransform(io.BytesIO(linear.icc), io.BytesIO(profile()), "L", "RGB")
    eight = Pillow.fromarray((linear.pixels[..., 0] >> 8).astype(np.uint8))
    seen = np.asarray(ImageCms.applyTransform(eight, shown))
    assert np.abs(seen[..., 1][light[..., 0] > 0.5] - 255 * light[..., 0][light[..., 0] > 0.5]).max() <= 2


def test_pictures_without_colours_stay() -> None:
    for channels in (2, 4, 6):
        image = picture(channels, "uint16").replace(space=P3)
        assert converted(image) is image


def test_floats_keep_what_lies_outside() -> None:
    green = Image(np.full((2, 2, 3), (0, 1, 0), np.float32), space=P3)
    there = converted(green).pixels
    assert there[0, 0, 0] < -0.3 and there[0, 0, 1] > 1.0
    back = converted(Image(there), (None, P3)).pixels
    np.testing.assert_allclose(back, green.pixels, atol=2e-4)


def test_what_is_no_number_stays_none() -> None:
    pixels = smooth(3, "float32").copy()
    pixels[0, 0], pixels[0, 1] = np.nan, np.inf
    for space in (P3, ColourSpace(9, 16)):
        found = converted(Image(pixels, space=space)).pixels
        assert np.isnan(found[0, 0]).all() and np.isfinite(found[1:]).all()


def test_pq_and_hlg_put_reference_white_at_white() -> None:
    for transfer, white in ((16, 0.5807), (18, 0.75)):
        image = Image(np.full((1, 1, 3), white, np.float32), space=ColourSpace(9, transfer))
        np.testing.assert_allclose(converted(image).pixels, 1.0, atol=5e-3)
    assert b"cicp" in (profile_of(ColourSpace(9, 16), 3) or b"")


def table_profile() -> bytes:
    """Returns a profile that works by a table in 3-D, for devices whose red and blue are exchanged."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 3, indexing="ij"), -1)
    srgb = encoding_of(ColourSpace(1, 13))
    assert srgb is not None and srgb.matrix is not None
    xyz = srgb.grey.light(grid[..., ::-1]) @ srgb.matrix.T / np.array([0.9642, 1, 0.8249])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lab = np.stack((116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])), -1)
    numbers = np.stack((lab[..., 0] * 652.8, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256), -1)
    table = np.rint(numbers).clip(0, 65535).astype(">u2").tobytes()
    ramp = struct.pack(">2H", 0, 65535)
    unit = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    body = (
        b"mft2"
        + bytes(4)
        + bytes((3, 3, 9, 0))
        + unit
        + struct.pack(">2H", 2, 2)
        + 3 * ramp
        + table
        + 3 * ramp
    )
    start = 132 + 12
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"scnr", b"RGB ", b"Lab ", b"acsp")
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = head.ljust(68, b"\0") + white + bytes(48)
    return header + struct.pack(">I4sII", 1, b"A2B0", start, len(body)) + body


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_profiles_with_tables_go_through_little_cms(dtype: str) -> None:
    image = picture(3, dtype).replace(icc=table_profile())
    found = converted(image)
    unit = image.white / 255
    assert np.abs(found.pixels[..., ::-1] / unit - image.pixels / unit).max() <= 8  # nine steps are coarse
    assert found.icc is None and found.pixels.dtype == image.pixels.dtype
    assert bool(found.warnings) is (dtype != "uint8")


def test_profiles_that_cannot_be_followed_are_told_of() -> None:
    into = converted(picture(), (table_profile(), None), "the reference")  # it leads one way only
    assert "the colours of the reference" in into.warnings[0] and into.icc is None
    for icc in (b"nonsense", profile()[:200], b"\xff" * 4000):
        image = picture().replace(icc=icc)
        np.testing.assert_array_equal(converted(image).pixels, image.pixels)
        assert converted(image).warnings


def test_hostile_profiles_are_an_answer_not_a_crash() -> None:
    rng = np.random.default_rng(1)
    image = Image(smooth(3)[:2, :2])
    for icc, times in (
        (profile(), 40),
        (profile_of(ColourSpace(9, 16), 3) or b"", 20),
        (table_profile(), 5),
    ):
        for _ in range(times):
            broken = bytearray(icc)
            for at in rng.integers(0, min(len(icc), 700), 4):
                broken[at] = rng.integers(256)
            result = converted(image.replace(icc=bytes(broken)))
            assert result.pixels.shape == image.pixels.shape
    for wrong in (
        ColourSpace(gamma=0.0),
        ColourSpace(gamma=float("nan")),
        ColourSpace(chromaticities=(0.0,) * 8),
        ColourSpace(chromaticities=(0.3127, 0.329) * 4),
        ColourSpace(255, 255),
    ):
        assert encoding_of(wrong) is None and profile_of(wrong, 3) is None
        assert converted(image.replace(space=wrong)).warnings


def test_every_kind_of_curve_is_read_as_little_cms_reads_it() -> None:
    srgb = encoding_of(ColourSpace(1, 13))
    assert srgb is not None
    ramp = np.linspace(0, 1, 97) ** 1.7
    curves = [
        Power(1.8),
        Power(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
        Power(2.2, 0.95, 0.05, 0.21935, 0.05, 0.01, 0.005),
        SampledCurve(ramp),
    ]
    for curve in curves:
        icc = write_profile(Encoding((curve,) * 3, srgb.matrix), "test")
        read = read_profile(icc)
        assert read is not None
        x = np.linspace(0, 1, 301)
        np.testing.assert_allclose(read.grey.light(x), curve.light(x), atol=1e-3)
        reachable = np.linspace(curve.light(np.array([0.2]))[0], 1, 50)
        np.testing.assert_allclose(read.grey.light(read.grey.numbers(reachable)), reachable, atol=1e-3)
        deep = Image(smooth(3).astype(np.uint16) * 257, icc=icc)
        assert np.abs(converted(deep).pixels / 257 - lcms(smooth(3), icc, profile())).max() <= 1.5
    one = read_profile(icc.replace(b"rXYZ", b"A2B1"))
    assert one is None  # tables come first, and are not followed here


# in files


@pytest.mark.parametrize("name", ["Display P3", "PQ", "HLG", "gAMA 1.0", "Adobe"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("extension", [".jpg", ".webp", ".tif"])
@pytest.mark.sampled(12)
def test_a_space_becomes_a_profile_where_the_format_has_no_name(
    name: str, channels: int, extension: str
) -> None:
    image = picture(channels).replace(space=SPACES[name])
    ready = prepare(image, extension)
    assert ready.space is None and ready.icc is not None and not ready.warnings
    back = decode(encode(image, extension, EncodeOptions(lossless=True)))
    if channels == back.channels:
        assert back.icc == ready.icc
        assert same_colours(meaning(back), (profile_of(SPACES[name], channels), None))


@pytest.mark.parametrize("extension", [".bmp", ".ppm"])
def test_a_space_that_gets_lost_is_told_of(extension: str) -> None:
    ready = prepare(picture().replace(space=P3), extension)
    assert ready.space is None and ready.icc is None
    assert len(ready.warnings) == 1 and "dropped" in ready.warnings[0]
    same = prepare(picture().replace(space=ColourSpace(1, 13)), extension)
    assert same.space is None and not same.warnings  # what a file without a word means


def test_without_metadata_a_picture_looks_the_same() -> None:
    strip = EncodeOptions(strip_metadata=True)
    wide = picture().replace(icc=profile_of(P3, 3))
    assert prepare(wide, ".jpg", strip).icc == wide.icc
    assert prepare(picture().replace(icc=profile()), ".jpg", strip).icc is None
    told = prepare(picture().replace(space=P3), ".jpg", strip)
    assert told.icc == profile_of(P3, 3)


def test_grey_made_of_colours_keeps_their_curve() -> None:
    grey = prepare(picture(1).replace(icc=profile_of(ADOBE, 3)), ".png")
    assert grey.icc is not None and grey.icc[16:20] == b"GRAY" and not grey.warnings
    found, wanted = read_profile(grey.icc), encoding_of(ADOBE)
    assert found is not None and wanted is not None
    x = np.linspace(0, 1, 33)
    np.testing.assert_allclose(found.grey.light(x), wanted.grey.light(x), atol=1e-4)
    assert profile_for(wanted, 2) is None


def camera_exif(index: bytes) -> bytes:
    """Returns what a camera writes that keeps the rules of DCF: R98 for sRGB, R03 for Adobe RGB."""
    exif = Pillow.Exif()
    details = exif.get_ifd(0x8769)
    details[0xA001] = 1 if index == b"R98" else 0xFFFF
    details[0xA005] = {1: index.decode(), 2: b"0100"}
    return exif.tobytes()[6:]


def test_adobe_rgb_of_cameras() -> None:
    """They tell it by EXIF alone, which most formats and programs do not look at."""
    picture_ = picture()
    buffer = io.BytesIO()
    Pillow.fromarray(picture_.pixels).save(
        buffer, "JPEG", exif=b"Exif\0\0" + camera_exif(b"R03"), quality=100
    )
    image = decode(buffer.getvalue())
    assert image.space == ADOBE_RGB and image.exif == camera_exif(b"R03")
    for strip in (False, True):
        options = EncodeOptions(strip_metadata=strip)
        for extension in (".jpg", ".png", ".tif"):
            told = decode(encode(image, extension, options))
            assert same_colours(meaning(told), (None, ADOBE_RGB))
    narrow = prepare(converted(image), ".jpg")
    assert narrow.exif == camera_exif(b"R98") and decode(encode(narrow, ".jpg")).space is None
    plain = decode(encode(picture().replace(exif=camera_exif(b"R98")), ".jpg"))
    assert plain.space is None and plain.exif == camera_exif(b"R98")


def test_grey_that_is_stored_as_rgb_has_a_profile_for_rgb() -> None:
    data = encode(picture(1).replace(icc=profile_of(ColourSpace(gamma=1.0), 1)), ".webp")
    with Pillow.open(io.BytesIO(data)) as opened:
        assert opened.mode == "RGB" and opened.info["icc_profile"][16:20] == b"RGB "
        shown = lcms(np.asarray(opened), opened.info["icc_profile"], profile())
    light = np.asarray(decode(data).pixels) / 255.0
    expected = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(shown - 255 * expected).max() <= 1
