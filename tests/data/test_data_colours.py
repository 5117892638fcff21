"""A network learns in sRGB, whatever the files of its data are in; label maps are names, not colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from img2img.data import DataConfig
from img2img.data.check import check
from img2img.data.opening import open_data
from img2img.data.pairs import SideBySide
from img2img.data.pictures import Recipe, halves
from img2img.fields import PAIRED
from img2img.image import Image, read_image, write_image
from img2img.image.colour import ColourSpace
from img2img.image.conversion import UNTAGGED, converted, meaning
from img2img.image.icc import profile_of
from img2img.image.resize import resize
from img2img.processors import parse_operations

P3 = (profile_of(ColourSpace(12, 13), 3), None)
LINEAR = (profile_of(ColourSpace(gamma=1.0), 3), None)


def scene(seed: int, size: int = 40, dtype: str = "uint16") -> Image:
    """Away from the borders of the gamut."""
    coarse = np.random.default_rng(seed).integers(16000, 50000, (5, 5, 3), np.uint16)
    pixels = resize(coarse, size, size)
    if dtype == "float32":
        return Image((pixels / 65535).astype(np.float32))
    return Image(pixels if dtype == "uint16" else np.rint(pixels / 257.0).astype(np.uint8))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("to", [P3, LINEAR], ids=["P3", "linear"])
@pytest.mark.sampled(3)
def test_two_sides_in_two_spaces_are_equal(dtype: str, to: tuple[bytes, None], tmp_path: Path) -> None:
    extension = ".tif" if dtype == "float32" else ".png"
    for i in range(3):
        picture = scene(i, dtype=dtype)
        for folder, image in (("A", converted(picture, to)), ("B", picture)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(image, tmp_path / folder / f"{i}{extension}")
    config = DataConfig.model_validate(
        {
            "paired": (tmp_path / "A", tmp_path / "B"),
            "load_size": None,
            "crop_size": 32,
            "validation_fraction": 0,
        }
    )
    data = open_data(config, fields=PAIRED)
    for index in range(3):
        sample = data.train.validation_sample(index)
        source, target = (side.pixels.astype(float) for side in (sample.source, sample.target))
        white = 1.0 if dtype == "float32" else np.iinfo(dtype).max
        coarse = dtype == "uint8" and to is LINEAR
        assert np.abs(source - target).max() / white <= (5 if coarse else 1.01) / 255
        assert np.abs(source - target).mean() / white <= (1 / 255 if dtype == "uint8" else 1 / 65535)


def test_both_halves_of_a_file_have_its_profile() -> None:
    wide = converted(scene(1), P3)
    for half, columns in zip(halves(wide, Path()), (slice(0, 20), slice(20, 40)), strict=True):
        assert half.icc == P3[0]
        np.testing.assert_allclose(
            Recipe()(half, Path()).astype(int), scene(1).pixels[:, columns].astype(int), atol=8
        )


def test_label_maps_are_not_converted() -> None:
    labels = Image(np.array([[[200, 60, 60], [60, 200, 60]]], np.uint8), icc=P3[0])
    recipe = Recipe(method="nearest", labels=True)
    np.testing.assert_array_equal(recipe(labels, Path()), labels.pixels)
    assert (Recipe()(labels, Path()) != labels.pixels).any()


def test_check_names_what_is_not_in_srgb(tmp_path: Path) -> None:
    for i in range(24):
        for folder in ("A", "B"):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture = scene(i + 100 * (folder == "B"), dtype="uint8")
            wide = i in (3, 5) and folder == "A"
            srgb = picture.replace(icc=profile_of(ColourSpace(1, 13), 3))
            write_image(converted(picture, P3) if wide else srgb, tmp_path / folder / f"{i}.png")
    config = {"paired": (tmp_path / "A", tmp_path / "B"), "load_size": 32, "crop_size": 32}
    (finding,) = check(DataConfig.model_validate(config), jobs=2).findings
    assert finding.level == "warning" and finding.kind == "colour-space"
    assert [case.files[0].name for case in finding.cases] == ["3.png", "5.png"]
    labels = DataConfig.model_validate({**config, "source_labels": "nearest"})
    assert "colour-space" not in [found.kind for found in check(labels, jobs=2).findings]


def test_pairs_made_of_pictures_keep_their_space(tmp_path: Path) -> None:
    wide = converted(scene(2), P3)
    (pair,) = SideBySide(parse_operations(["blur=1"]))([wide])
    write_image(pair, tmp_path / "pair.png")
    stored = read_image(tmp_path / "pair.png")
    assert meaning(stored) == P3 != UNTAGGED
    np.testing.assert_array_equal(stored.pixels[:, 40:], wide.pixels)
