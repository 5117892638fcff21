"""Validation by any metric, and which model is the best by it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.fields import Picture
from img2img.methods import Column
from img2img.metrics import haarpsi, label_scores, metrics, psnr
from img2img.metrics.confusion import COLUMNS
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.training.validation import Scores, Validation, is_better, listed
from img2img.types import SYMMETRIC, UNIT, Batch

FIELDS = {"made": Picture(), "truth": Picture(like="made")}


class Export:
    reads, makes = "made", "truth"

    def __init__(self, output: str) -> None:
        self.output = output


class Method:
    """Gives what a batch holds as output and truth."""

    def __init__(self, output: str = "own", value_range: tuple[float, float] = SYMMETRIC) -> None:
        self.output, self.value_range = output, value_range

    def exports(self) -> Mapping[str, Export]:
        return {"generator": Export(self.output)}

    def compare(self, batch: Batch, generators: object) -> tuple[Column, Column]:
        black_white = self.value_range
        return Column(batch.made, black_white, "output"), Column(batch.truth, black_white, "target")


def batches(*sizes: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(1, 3, s, s, generator=generator) * 2 - 1 for s in sizes]
    return [Batch({"made": x, "truth": (x + 0.1).clamp(-1, 1)}) for x in made]


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    return Runtime("cpu", 1, 1, "fp32")


def measure(runtime: Runtime, samples: list[Batch], method: Method | None = None, **settings: object):
    validation = Validation(method or Method(), TrainingSettings(steps=1, **settings), FIELDS)  # type: ignore[arg-type]
    return validation({}, samples, runtime), validation


def test_means_are_those_of_the_metrics(runtime: Runtime) -> None:
    samples = batches(20, 24, 8)  # the last one is smaller than SSIM's window
    found, validation = measure(runtime, samples, metrics=["haarpsi"], validate_by="haarpsi")
    assert set(found) == {"l1", "psnr", "ssim", "haarpsi"} and validation.by == "haarpsi"
    for name, function in (("psnr", psnr), ("haarpsi", haarpsi)):
        values = [function(b.made, b.truth, SYMMETRIC).item() for b in samples[:2]]
        assert found[name] == pytest.approx(sum(values) / 2)


def test_outputs_that_are_equal_to_the_truth_are_no_part_of_the_mean(runtime: Runtime) -> None:
    samples = batches(20, 24)
    samples.append(Batch({"made": samples[0].truth, "truth": samples[0].truth}))
    found, validation = measure(runtime, samples)
    values = [psnr(b.made, b.truth, SYMMETRIC).item() for b in samples[:2]]
    assert found["psnr"] == pytest.approx(sum(values) / 2) and validation.equal == {"psnr": 1}
    same, validation = measure(runtime, samples[2:])
    assert same["psnr"] == math.inf and not validation.equal and same["l1"] == 0


def test_scores_are_told_with_the_digits_that_they_have() -> None:
    assert listed({"psnr": 27.5, "kid": -0.00012345, "l1": 0.0, "step": 3}) == (
        "psnr 27.5000, kid -0.000123, l1 0.0000"
    )


def test_a_metric_that_can_look_at_no_picture_is_told(runtime: Runtime) -> None:
    found, validation = measure(runtime, batches(20, 24), validate_by="ms_ssim")
    assert "ms_ssim" not in found and found["psnr"] > 0
    assert validation.missing == [
        "no held-out picture has ms_ssim: MS-SSIM needs at least 161x161 pixels, not 24x24, of which four "
        "halvings leave less than a window"
    ]
    assert not Scores(by="ms_ssim").update(5, found)


@pytest.mark.parametrize(
    ("output", "settings", "message"),
    [
        ("own", {"validate_by": "psnrr"}, "did you mean 'psnr'"),
        ("own", {"metrics": ["lpip_alex"]}, "did you mean 'lpips_alex'"),
        ("own", {"validate_by": "mean_iou"}, "a score of label maps"),
        ("own", {"validate_by": "lpips_vgg"}, "VGG16 are not at hand"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_run(
    output: str, settings: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    with pytest.raises(ConfigError, match=message):
        Validation(Method(output), TrainingSettings(steps=1, **settings), FIELDS)  # type: ignore[arg-type]


def test_label_maps_are_judged_by_mean_iou(runtime: Runtime) -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randint(-1, 4, (2, 16, 16), generator=generator)  # -1: of no class
    likelihoods = torch.rand(2, 4, 16, 16, generator=generator)
    one_hot = torch.stack([(truth == k).float() for k in range(4)], 1)
    samples = [Batch({"made": likelihoods[n : n + 1], "truth": one_hot[n : n + 1]}) for n in range(2)]
    found, validation = measure(runtime, samples, Method("labels", UNIT))
    assert validation.by == "mean_iou"
    expected = label_scores(likelihoods.argmax(1), truth, 4)
    assert {name: found[name] for name in COLUMNS} == expected
    assert measure(runtime, samples, Method("labels", UNIT), validate_by="psnr")[1].by == "psnr"


@pytest.mark.parametrize("name", [*metrics, *COLUMNS])
def test_better_is_what_the_metric_says(name: str) -> None:
    higher = name in COLUMNS or metrics[name].higher_is_better
    scores = Scores(by=name)
    assert scores.update(1, {name: 0.5}) and not scores.update(2, {name: 0.5})
    assert scores.update(3, {name: 0.6}) == higher
    assert scores.update(4, {name: 0.4}) != higher
    assert not scores.update(5, {name: math.nan}) and scores.last["step"] == 5
    assert is_better(name, 1, 0) == higher
    again = Scores(**scores.state())
    assert again.best == scores.best and again.by == name


def plain_scores(made: Tensor, truth: Tensor, classes: int) -> dict[str, float]:
    inter = [int(((made == k) & (truth == k)).sum()) for k in range(classes)]
    there = [int((truth == k).sum()) for k in range(classes)]
    taken = [int(((made == k) & (truth >= 0)).sum()) for k in range(classes)]
    ious = [i / (t + p - i) for i, t, p in zip(inter, there, taken, strict=True) if t + p]
    accuracies = [i / t for i, t in zip(inter, there, strict=True) if t]
    return {
        "mean_iou": sum(ious) / len(ious),
        "pixel_accuracy": sum(inter) / sum(there),
        "class_accuracy": sum(accuracies) / len(accuracies),
    }


def test_scores_of_label_maps_are_the_formulas() -> None:
    generator = torch.Generator().manual_seed(2)
    made, truth = (torch.randint(0, 5, (2, 9, 7), generator=generator) for _ in range(2))
    truth[truth == 4] = 0  # a class that is only predicted
    truth[0, 0] = -1
    assert label_scores(made, truth, 6) == pytest.approx(plain_scores(made, truth, 6))
    assert set(label_scores(truth, truth, 6).values()) == {1}
    assert all(map(math.isnan, label_scores(made, torch.full_like(truth, -1), 6).values()))
    for wrong in (made[:1], made.float()):
        with pytest.raises(ValueError, match="one shape with whole numbers"):
            label_scores(wrong, truth, 6)
    with pytest.raises(ValueError, match="holds the class 3, and there are 3"):
        label_scores(made, truth, 3)
