"""What is compared is what can be seen: transparency and colour spaces in evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from img2img import evaluate
from img2img.checkpoint import ModelInfo, save_model
from img2img.evaluation import Evaluation, SuperResolutionProtocol
from img2img.evaluation.gallery import Worst
from img2img.image import Image, write_image
from img2img.image.colour import ColourSpace
from img2img.image.conversion import Meaning, converted
from img2img.image.icc import profile_of
from img2img.image.resize import resize
from img2img.image.sheet import sheet
from img2img.models import ArchSpec, build

ADOBE = ColourSpace(gamma=1 / 2.19921875, chromaticities=(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))


def icc(space: ColourSpace) -> Meaning:
    return profile_of(space, 3), None


MEANINGS = {
    "P3": icc(ColourSpace(12, 13)),
    "Adobe": icc(ADOBE),
    "BT.2020": icc(ColourSpace(9, 14)),
    "gamma 1": icc(ColourSpace(gamma=1.0)),
}


def scene(channels: int = 3, seed: int = 0) -> Image:
    """16 bits, away from the borders of the gamut."""
    coarse = np.random.default_rng(seed).integers(16000, 50000, (5, 6, channels), np.uint16)
    return Image(resize(coarse, 48, 52))


def shallow(image: Image) -> Image:
    eight = np.rint(image.pixels / 257.0).astype(np.uint8)
    alpha = None if image.alpha is None else np.rint(image.alpha / 257.0).astype(np.uint8)
    return image.replace(pixels=eight, alpha=alpha)


def compare(tmp_path: Path, prediction: Image, target: Image, **options: object) -> Evaluation:
    for name, image in (("p", prediction), ("t", target)):
        (tmp_path / name).mkdir(exist_ok=True)
        write_image(image, tmp_path / name / "a.png")
    options.setdefault("protocol", "plain")
    found = evaluate(tmp_path / "t", pred=tmp_path / "p", **options)  # type: ignore[arg-type]
    assert not found.problems
    return found


@pytest.mark.parametrize("name", MEANINGS)
@pytest.mark.parametrize("side", ["prediction", "target"])
@pytest.mark.sampled(4)
def test_one_scene_in_two_spaces_is_one_scene(name: str, side: str, tmp_path: Path) -> None:
    other = converted(scene(), MEANINGS[name])
    pair = (other, scene()) if side == "prediction" else (scene(), other)
    found = compare(tmp_path, *pair)
    assert found.mean()["psnr"] > 85  # rounding alone
    assert any("in other colour spaces" in remark and "a.png" in remark for remark in found.remarks())
    eight = compare(tmp_path, *(shallow(image) for image in pair))
    assert eight.mean()["psnr"] > (35 if name == "gamma 1" else 45)
    sr = compare(tmp_path, *(shallow(image) for image in pair), protocol="sr", scale=2)
    assert sr.mean()["psnr_y"] > (35 if name == "gamma 1" else 45)


@pytest.mark.parametrize("name", MEANINGS)
def test_equal_profiles_change_no_number(name: str, tmp_path: Path) -> None:
    one, other = (shallow(scene(seed=seed)) for seed in (0, 1))
    plain = compare(tmp_path, one, other)
    told, _ = MEANINGS[name]
    same = compare(tmp_path, one.replace(icc=told), other.replace(icc=told))
    assert same.mean() == plain.mean() and same.remarks() == plain.remarks() == []


def test_grey_with_a_profile_against_colour(tmp_path: Path) -> None:
    grey = scene(1)
    linear = converted(grey, (profile_of(ColourSpace(gamma=1.0), 1), None))
    target = Image(np.repeat(grey.pixels, 3, 2))
    assert compare(tmp_path, linear, target).mean()["psnr"] > 85


def test_hidden_colours_do_not_count(tmp_path: Path) -> None:
    base = shallow(scene())
    alpha = np.zeros(base.pixels.shape[:2], np.uint8)
    alpha[10:30, 10:40] = 255
    seen = (alpha > 0)[..., None]
    black = Image(np.where(seen, base.pixels, 0), alpha)
    white = Image(np.where(seen, base.pixels, 255), alpha)
    flat = Image(white.pixels)
    for prediction, target in ((black, white), (white, black), (black, flat), (flat, black)):
        found = compare(tmp_path, prediction, target)
        assert math.isinf(found.mean()["psnr"])
        assert any("on white" in remark for remark in found.remarks())
        assert math.isinf(compare(tmp_path, prediction, target, protocol="sr", scale=2).mean()["psnr_y"])
    half = compare(tmp_path, white.replace(alpha=alpha // 2), white)
    assert half.mean()["psnr"] < 30  # what can be seen differs
    opaque = base.replace(alpha=np.full_like(alpha, 255))
    assert compare(tmp_path, opaque, base).remarks() == []


def test_a_model_sees_no_hidden_colours(tmp_path: Path) -> None:
    """Inputs and targets with alpha, the colours below it replaced by noise: equal numbers."""
    torch.manual_seed(0)
    generator = build(ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2}))
    save_model(tmp_path / "tiny.safetensors", generator, ModelInfo())
    base = shallow(scene())
    alpha = np.zeros(base.pixels.shape[:2], np.uint8)
    alpha[8:36, 8:40] = 255
    noise = np.random.default_rng(3).integers(0, 256, base.pixels.shape, np.uint8)
    numbers = []
    for hidden in (np.zeros_like(noise), noise):
        target = Image(np.where(alpha[..., None] > 0, base.pixels, hidden), alpha)
        source = Image(target.pixels[::2, ::2], np.ascontiguousarray(alpha[::2, ::2]))
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "t").mkdir(exist_ok=True)
        write_image(target, tmp_path / "t" / "a.png")
        write_image(source, tmp_path / "in" / "a.png")
        found = evaluate(
            tmp_path / "t", model=tmp_path / "tiny.safetensors", inputs=tmp_path / "in", device="cpu"
        )
        numbers.append(found.mean()["psnr_y"])
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-9)


def test_inputs_that_are_made_have_the_profile_of_their_target(tmp_path: Path) -> None:
    """The numbers of a set do not depend on a profile that all of its files share."""
    told, _ = MEANINGS["P3"]
    target = shallow(scene())
    means = []
    for image in (target, target.replace(icc=told)):
        write_image(image, tmp_path / "a.png")
        means.append(evaluate(tmp_path / "a.png", model="bicubic", scale=2).mean())
    assert means[0] == means[1]
    assert SuperResolutionProtocol(2).low_resolution(target.replace(icc=told)).icc == told


def test_the_sheet_is_in_srgb(tmp_path: Path) -> None:
    wide = shallow(converted(scene(), MEANINGS["BT.2020"]))
    shown = sheet([[(wide, "wide"), (shallow(scene()), "narrow")]], 52).pixels.astype(int)
    left, right = shown[6:54, 6:58], shown[6:54, 64:116]
    assert np.abs(left - right).max() <= 4
    assert Worst("psnr", True).rows() == []


def test_the_published_case(test_data: Path) -> None:
    folder = test_data / "cases" / "25_evaluate_reads_hidden_colours"
    if not folder.is_dir():
        pytest.skip("this test data has no cases")
    found = evaluate(folder / "t", pred=folder / "p", protocol="plain")
    assert math.isinf(found.mean()["psnr"])
