"""Folder against folder and model against folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import img2img
from img2img import evaluate
from img2img.checkpoint import ModelInfo, save_model
from img2img.errors import ConfigError, PlanError, UsageError
from img2img.evaluation import Evaluation, PlainProtocol, Problem, Score
from img2img.evaluation.gallery import DETAIL, Worst
from img2img.evaluation.requirement import Requirement
from img2img.image import Image, read_image, write_image
from img2img.image.resize import resize
from img2img.inference import load_model
from img2img.models import ArchSpec, build


def picture(seed: int, height: int = 48, width: int = 52, channels: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, channels), np.uint8)
    return resize(coarse, height, width)


def fill(folder: Path, **pictures: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        write_image(Image(pixels), folder / f"{name}.png")
    return folder


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    return fill(tmp_path / "targets", a=picture(0), b=picture(1, 50, 47), grey=picture(2, channels=1))


@pytest.fixture
def upscaler(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    generator = build(ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2}))
    save_model(tmp_path / "tiny.safetensors", generator, ModelInfo())
    return tmp_path / "tiny.safetensors"


def test_a_model_is_measured_on_inputs_that_are_made(targets: Path, upscaler: Path, tmp_path: Path) -> None:
    found = evaluate(targets, model=upscaler, precision="fp32", device="cpu")
    assert [score.name for score in found.scores] == ["a.png", "b.png", "grey.png"]
    translator = load_model(upscaler, precision="fp32", device="cpu")
    for score in found.scores:
        truth = read_image(score.target).pixels
        height, width = (side // 2 * 2 for side in truth.shape[:2])
        low = resize(truth[:height, :width], height // 2, width // 2)
        fill(tmp_path / "made", **{Path(score.name).stem: translator(low)})
    again = evaluate(targets, pred=tmp_path / "made", scale=2)
    assert again.mean() == found.mean()
    assert not found.problems and found.mean()["psnr_y"] < 60


def test_predictions_of_the_uncropped_size_are_cropped_alike(targets: Path, tmp_path: Path) -> None:
    truth = picture(1, 50, 47)
    noisy = np.clip(truth.astype(int) + 3, 0, 255).astype(np.uint8)
    whole = evaluate(targets / "b.png", pred=fill(tmp_path / "w", b=noisy) / "b.png", scale=4)
    cut = evaluate(targets / "b.png", pred=fill(tmp_path / "c", x=noisy[:48, :44]) / "x.png", scale=4)
    assert whole.mean() == cut.mean() and len(cut.scores) == 1


def test_one_bad_file_does_not_stop_the_others(targets: Path, tmp_path: Path) -> None:
    made = fill(tmp_path / "made", a=picture(0), b=picture(1, 50, 40), extra=picture(5))
    (made / "grey.png").write_bytes((targets / "grey.png").read_bytes()[:200])
    seen: list[Score | Problem] = []
    found = evaluate(targets, pred=made, protocol="plain", on_result=seen.append)
    assert [score.name for score in found.scores] == ["a.png"]
    reasons = {problem.path.name: problem.reason for problem in found.problems}
    assert set(reasons) == {"b.png", "grey.png", "extra.png"}
    assert reasons["b.png"] == "the sizes differ: 40 x 50 is compared with 47 x 50"
    assert reasons["extra.png"] == "no target matches its name"
    assert len(seen) == 3 and all(not score.pictures for score in found.scores)


def test_equal_pictures_are_infinitely_good_and_json_takes_it(targets: Path) -> None:
    found = evaluate(targets, pred=targets, protocol="translation")
    assert found.mean() == {"psnr": math.inf, "ssim": pytest.approx(1), "l1": 0}
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert facts["mean"]["psnr"] is None and facts["scores"][0]["l1"] == 0
    assert facts["images"] == 3 and facts["problems"] == []


def test_grey_targets_are_mentioned_with_the_choice(targets: Path) -> None:
    assert evaluate(targets, model="bicubic", scale=2).remarks() == [
        "Grey: grey.png; compared as grey, in their own levels from 0 to 255."
    ]


def test_a_translation_model_is_measured_on_given_inputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = build(ArchSpec("unet", {"features": 4, "downs": 5}))
    save_model(tmp_path / "t.safetensors", generator, ModelInfo(output="own", size=32))
    inputs, truth = fill(tmp_path / "A", x=picture(0, 32, 32)), fill(tmp_path / "B", x=picture(1, 32, 32))
    found = evaluate(truth, model=tmp_path / "t.safetensors", inputs=inputs, protocol="translation")
    made = load_model(tmp_path / "t.safetensors")(picture(0, 32, 32))
    assert found.mean() == PlainProtocol().measure(Image(made), Image(picture(1, 32, 32)))


def test_wrong_requests_are_refused(targets: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="either predictions or a model"):
        evaluate(targets)
    with pytest.raises(UsageError, match="inputs are for a model"):
        evaluate(targets, pred=targets, inputs=targets)
    with pytest.raises(UsageError, match="only the sr protocol makes its own"):
        evaluate(targets, model="bicubic", scale=2, protocol="plain")
    with pytest.raises(ConfigError, match="needs the scale"):
        evaluate(targets, pred=targets)
    with pytest.raises(ConfigError, match="give the scale"):
        evaluate(targets, model="bicubic")
    with pytest.raises(ConfigError, match="no protocol 'rs'"):
        evaluate(targets, pred=targets, protocol="rs")
    with pytest.raises(PlanError, match="the prediction"):
        evaluate(targets, pred=tmp_path / "nothing", scale=2)


def test_the_public_name_is_lazy() -> None:
    assert img2img.evaluate is evaluate and "evaluate" in dir(img2img)


@pytest.mark.parametrize(
    ("text", "met"),
    [("psnr>=30", True), ("psnr > 30", False), ("l1<0.5", True), ("l1 <= .1", False), ("ssim>=-1e-3", True)],
)
def test_requirements(text: str, met: bool) -> None:
    requirement = Requirement.parse(text, ("psnr", "ssim", "l1"))
    failure = requirement.failure({"psnr": 30.0, "ssim": 0.5, "l1": 0.2})
    assert (failure is None) == met
    if failure:
        assert str(requirement) in failure and "is not met: the mean is" in failure


@pytest.mark.parametrize("text", ["psnr", "psnr=30", "psnr>=", ">=30", "psnr>=x", "psnr>=30dB", "snr>=30"])
def test_what_is_no_requirement(text: str) -> None:
    with pytest.raises(ConfigError, match=r"psnr"):
        Requirement.parse(text, ("psnr", "ssim"))


def test_a_requirement_on_nothing_is_not_met() -> None:
    assert "nothing was measured" in (Requirement.parse("psnr>1", ("psnr",)).failure({}) or "")
    assert Evaluation(PlainProtocol()).mean() == {}


def test_the_worst_are_kept_and_shown_where_they_differ() -> None:
    worst = Worst("psnr", higher_is_better=True, count=2)
    truth = picture(0, 300, 400)
    for number, height in enumerate((10, 40, 25)):
        made = truth.copy()
        made[200 : 200 + height, 300:360] ^= 128
        pictures = (Image(made), Image(truth))
        values = PlainProtocol().measure(*pictures)
        worst.add(Score(f"{number}.png", Path(), None, values, "colour", (), pictures))
    rows = worst.rows()
    assert [row[0][1].split(":")[0] for row in rows] == ["1.png", "2.png"]
    (whole, _), _, (detail, _), (detail_truth, _) = rows[0]
    assert (whole.height, whole.width) == (300, 400)
    assert detail.pixels.shape == (DETAIL, DETAIL, 3)
    difference = detail.pixels.astype(int) - detail_truth.pixels
    assert (difference != 0).all(axis=2).sum() == 40 * 60  # all of it is inside
    small = Worst("psnr", higher_is_better=True)
    pictures = (Image(truth[:20, :30]), Image(truth[:20, :30, :1]))
    small.add(Score("s", Path(), None, {"psnr": 1.0}, "colour", (), pictures))
    assert small.rows()[0][2][0].pixels.shape == (20, 30, 3)
