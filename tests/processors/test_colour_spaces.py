"""Two pictures that meet in an operation look there as they do alone, whatever their numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2img.image import Image, read_image, write_image
from img2img.image.colour import ColourSpace
from img2img.image.conversion import converted, meaning
from img2img.image.icc import profile_of
from img2img.processors import parse_operations

P3 = profile_of(ColourSpace(12, 13), 3)
ADOBE = ColourSpace(gamma=1 / 2.19921875, chromaticities=(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))
MEANINGS = {
    "P3": (P3, None),
    "Adobe": (profile_of(ADOBE, 3), None),
    "gamma 1": (None, ColourSpace(gamma=1.0)),
    "PQ": (None, ColourSpace(9, 16)),
}


@pytest.fixture(scope="module")
def scene(picture: np.ndarray) -> Image:
    """sRGB, 16 bits, nothing at the borders of the gamut."""
    return Image((picture.astype(np.uint16) * 200 + 6000).astype(np.uint16))


@pytest.fixture(scope="module")
def scene_file(scene: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    write_image(scene, path)
    return path


def seen(image: Image) -> np.ndarray:
    """What it looks like: 8-bit levels of sRGB, unrounded."""
    return converted(image).pixels.astype(float) / (image.white / 255)


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.sampled(4)
def test_a_reference_that_looks_the_same_changes_nothing(
    scene: Image, scene_file: Path, name: str, depth: str
) -> None:
    other = converted(scene, MEANINGS[name])
    if depth != "uint16":
        levels = other.pixels / 65535
        other = other.replace(
            pixels=levels.astype(np.float32) if depth == "float32" else np.rint(levels * 255).astype(np.uint8)
        )
    coarse = depth == "uint8" and name in ("gamma 1", "PQ")  # few levels for the dark half
    for method in ("histogram", "reinhard"):
        matched = parse_operations([f"colour-match={scene_file},{method}"]).apply(other)
        assert meaning(matched) == meaning(other) and not matched.warnings
        off = np.abs(seen(matched) - seen(other))
        assert off.mean() <= 1
        assert method == "reinhard" or off.max() <= (9 if coarse else 2)  # its way to Lab is short of digits
    sheet = parse_operations([f"side-by-side=reference:{scene_file},gap:0"]).apply(other)
    width = scene.width
    assert np.abs(seen(sheet)[:, :width] - seen(sheet)[:, width:]).max() <= (9 if coarse else 2)


@pytest.mark.parametrize("name", MEANINGS)
def test_into_a_space_by_name(scene: Image, name: str, tmp_path: Path) -> None:
    wide = converted(scene, MEANINGS[name])
    narrow = parse_operations(["colour-space"]).apply(wide)
    assert meaning(narrow) == (None, None)
    np.testing.assert_allclose(seen(narrow), seen(wide), atol=0.1)
    tagged = scene.replace(icc=profile_of(ColourSpace(1, 13), 3))
    assert parse_operations(["colour-space=srgb"]).apply(tagged).icc is None
    for space in ("display-p3", "adobe-rgb"):
        write_image(parse_operations([f"colour-space={space}"]).apply(wide), tmp_path / "there.tif")
        there = read_image(tmp_path / "there.tif")
        assert there.icc is not None and (there.pixels != scene.pixels).any()
        np.testing.assert_allclose(seen(there), seen(wide), atol=0.1)


def test_grey_meets_colours(scene: Image, scene_file: Path, tmp_path: Path) -> None:
    """The reference is RGB without a profile and the picture grey and linear."""
    grey = Image(scene.pixels[..., 1:2].copy())
    linear = converted(grey, (profile_of(ColourSpace(gamma=1.0), 1), None))
    sheet = parse_operations([f"side-by-side=reference:{scene_file},gap:0"]).apply(linear)
    write_image(sheet, tmp_path / "sheet.png")
    shown = converted(read_image(tmp_path / "sheet.png")).pixels / 257.0
    assert np.abs(shown[:, : scene.width] - scene.pixels / 257.0).max() <= 1
    assert np.abs(shown[:, scene.width :] - grey.pixels / 257.0).max() <= 1


def test_a_reference_whose_profile_cannot_be_followed_is_told_of(scene: Image, tmp_path: Path) -> None:
    strange = bytearray(P3 or b"")
    at = strange.index(b"rXYZ")
    strange[at : at + 4] = b"none"
    write_image(scene.replace(icc=bytes(strange)), tmp_path / "strange.png")
    for operation in ("colour-match", "side-by-side"):
        result = parse_operations([f"{operation}={tmp_path / 'strange.png'}"]).apply(scene)
        assert "the colours of the reference" in result.warnings[0]


def test_the_published_case(test_data: Path) -> None:
    folder = test_data / "cases" / "10_icc_reference_not_converted"
    if not folder.is_dir():
        pytest.skip("this test data has no cases")
    wide, reference = read_image(folder / "scene_p3.png"), folder / "scene_srgb.png"
    matched = parse_operations([f"colour-match={reference},histogram"]).apply(wide)
    assert np.abs(seen(matched) - seen(wide)).max() <= 2
    sheet = seen(parse_operations([f"side-by-side=reference:{reference},gap:0"]).apply(wide))
    assert np.abs(sheet[:, : wide.width] - sheet[:, wide.width :]).max() <= 2
