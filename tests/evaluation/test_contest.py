"""Several models and folders on the same pictures: intervals, paired tests, what has no number."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2img.errors import ConfigError
from img2img.evaluation import Contest, Evaluation, PlainProtocol, Score, compare
from img2img.evaluation.contest import intervals, rows_of
from img2img.evaluation.labels import Confusion, LabelsProtocol
from img2img.evaluation.resampling import Rows, bootstrap, permutation_test
from img2img.image import Image, write_image
from img2img.image.palette import LabelSet
from img2img.image.resize import resize
from img2img.metrics.confusion import COLUMNS, tally_scores


def means(values: np.ndarray) -> Rows:
    return Rows(values, lambda sums, count: sums / count)


def evaluation(values: list[float], **others: list[float]) -> Evaluation:
    """Scores of pictures 0, 1, 2, ... of which the PSNR is given."""
    scores = [
        Score(
            f"{n}.png",
            Path(f"{n}.png"),
            None,
            {"psnr": v, "ssim": 0.5, "l1": 0.0 if math.isinf(v) else -v / 1000},
            "colour",
        )
        for n, v in enumerate(values)
        if not math.isnan(v)
    ]
    return Evaluation(PlainProtocol(), scores)


def test_an_interval_is_about_two_standard_errors_on_each_side() -> None:
    values = np.random.default_rng(0).normal(30, 2, (400, 1))
    (found,) = bootstrap(means(values))
    error = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - error, abs=0.03)
    assert found.high == pytest.approx(values.mean() + error, abs=0.03)


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = [low <= 0 <= high for low, high in bootstrap(means(random.normal(0, 1, (60, 200))))]
    assert 0.88 < np.mean(held) <= 0.99


def test_the_paired_test_is_every_exchange_of_few_pictures() -> None:
    first = np.array([[1.0], [2.0], [4.0], [3.0], [7.0]])
    second = first + np.array([[0.5], [0.1], [-0.2], [0.9], [0.3]])
    d = (second - first).ravel()
    flips = [
        abs(np.mean(d * signs)) >= abs(d.mean()) - 1e-12 for signs in itertools.product((1, -1), repeat=5)
    ]
    assert permutation_test(means(first), means(second)) == [pytest.approx(np.mean(flips))]


def test_many_pictures_are_exchanged_by_chance() -> None:
    random = np.random.default_rng(2)
    first = random.normal(0, 1, (200, 2))
    second = first + random.normal([0.0, 0.3], 0.5, (200, 2))
    none, some = permutation_test(means(first), means(second))
    assert none > 0.05 and some == pytest.approx(1 / 5001)


def test_differences_are_of_the_pictures_that_both_have() -> None:
    nan = math.nan
    contest = Contest({"a": evaluation([30, 31, 32, nan]), "b": evaluation([31, nan, 33, 50])})
    each = contest.differences["b"]["psnr"]
    assert contest.common == ("0.png", "2.png") and each.mean == 1 and each.better
    assert contest.differences["b"]["l1"].better and contest.differences["b"]["ssim"].better is None
    assert any("all of them have: 2 pictures" in said for said in contest.remarks())
    assert contest.requirements()["b"]["gain_psnr"] == 1 and "gain_psnr" not in contest.requirements()["a"]


def test_infinite_and_equal_numbers() -> None:
    contest = Contest({"a": evaluation([math.inf, 30, 31]), "b": evaluation([math.inf, 31, 32])})
    each = contest.differences["b"]["psnr"]
    assert each.mean == pytest.approx(2 / 3) and 0 <= each.interval.low <= each.interval.high <= 1
    facts = json.loads(json.dumps(contest.to_json(), allow_nan=False))
    assert facts["candidates"][0]["intervals"]["psnr"] is None
    lost = Contest({"a": evaluation([math.inf]), "b": evaluation([40])}).differences["b"]["psnr"]
    assert lost.mean == -math.inf and lost.better is False and math.isnan(lost.p)
    json.dumps(Contest({"a": evaluation([math.inf, 30]), "b": evaluation([])}).to_json(), allow_nan=False)


def test_pictures_that_are_equal_to_their_targets_are_no_part_of_a_mean_and_that_is_said() -> None:
    values = [30.0, 31.0, 33.0] * 10
    one, other = evaluation([math.inf, *values]), evaluation([40, *(value + 1 for value in values)])
    assert one.mean()["psnr"] == pytest.approx(np.mean(values)) and one.equal() == {"psnr": ["0.png"]}
    assert (
        "Equal to their targets, with infinite psnr: 0.png; its mean is over the other 30." in one.remarks()
    )
    assert one.to_json()["equal"] == {"psnr": 1} and other.to_json()["equal"] == {}
    inner = intervals(one)["psnr"]
    assert inner.low < one.mean()["psnr"] < inner.high
    contest = Contest({"one": one, "other": other})
    each = contest.differences["other"]["psnr"]
    assert each.mean == pytest.approx(1) and each.interval == pytest.approx((1, 1)) and each.p < 0.01
    assert any("has no finite difference" in said for said in contest.remarks())
    every = evaluation([math.inf, math.inf])
    assert every.mean()["psnr"] == math.inf and not every.remarks()


def test_one_picture_has_no_interval() -> None:
    assert all(math.isnan(each.low) for each in intervals(evaluation([30])).values())
    with pytest.raises(ConfigError, match="two models or folders"):
        Contest({"a": evaluation([30])})


def test_scores_of_label_maps_are_resampled_as_one_matrix() -> None:
    labels = LabelSet(((0,), (1,), (2,)))
    random = np.random.default_rng(3)
    matrices = [Confusion.of(labels, random.integers(0, 3, 90), random.integers(0, 4, 90)) for _ in range(6)]
    found = Evaluation(
        LabelsProtocol(labels),
        [Score(str(n), Path(str(n)), None, m.scores(), "grey", confusion=m) for n, m in enumerate(matrices)],
    )
    rows = rows_of(found)
    assert rows.scores(rows.values.sum(0)[None], 6)[0].tolist() == pytest.approx(list(found.mean().values()))
    for column, interval in intervals(found).items():
        assert interval.low < found.mean()[column] < interval.high
    assert permutation_test(rows, rows) == [1, 1, 1]


_MAPS = ((3, 40), (2, 40), (1, 40), (3, 0), (3, 3))  # classes in the truth, and pixels


def test_scores_of_many_matrices_are_those_of_each() -> None:
    labels = LabelSet(((0,), (1,), (2,)))
    random = np.random.default_rng(4)
    maps = [(random.integers(0, most, count), random.integers(0, most + 1, count)) for most, count in _MAPS]
    each = [Confusion.of(labels, *one, frozenset({0})) for one in maps]
    with np.errstate(all="raise"):
        together = tally_scores(np.stack([one.tally for one in each]), frozenset({0}))
    for confusion, scores in zip(each, together, strict=True):
        known = {"mean_iou": confusion.iou, "class_accuracy": confusion.accuracy}
        found = dict(zip(COLUMNS, scores, strict=True))
        for column, values in known.items():
            values = values[~np.isnan(values)]
            expected = values.mean() if values.size else math.nan
            assert found[column] == pytest.approx(expected, nan_ok=True)


# files


def fill(folder: Path, count: int, noise: int) -> Path:
    folder.mkdir()
    for seed in range(count):
        random = np.random.default_rng(seed)
        truth = resize(random.integers(0, 256, (5, 6, 3), np.uint8), 40, 40)
        noisy = truth + random.integers(-noise, noise + 1, truth.shape)
        write_image(Image(np.clip(noisy, 0, 255).astype(np.uint8)), folder / f"{seed}.png")
    return folder


def test_models_and_folders_in_one_call(tmp_path: Path) -> None:
    targets, good = fill(tmp_path / "t", 4, 0), fill(tmp_path / "good", 4, 3)
    bad = fill(tmp_path / "bad", 3, 20)
    found = compare(targets, models=["bicubic"], preds=[good, bad], scale=2, extra=["haarpsi"])
    assert list(found.evaluations) == ["bicubic", str(good), str(bad)]
    assert found.columns == ("psnr_y", "ssim_y", "haarpsi") and len(found.common) == 3
    assert found.differences[str(good)]["psnr_y"].mean > found.differences[str(bad)]["psnr_y"].mean
    assert found.evaluations[str(bad)].problems


@pytest.mark.parametrize("wrong", [{"pred": ["a", "b"]}, {"preds": "ab"}, {"models": ["x4"]}, {}])
def test_what_is_no_list_of_two_is_refused_before_anything_is_measured(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"a comparison (takes lists|needs two)"):
        compare("a folder that is not there", protocol="plain", **wrong)


def test_a_metric_that_cannot_look_at_a_picture_leaves_the_others(tmp_path: Path) -> None:
    targets = fill(tmp_path / "t", 2, 0)
    write_image(Image(np.zeros((170, 170, 3), np.uint8)), targets / "large.png")
    (found,) = (
        each
        for name, each in compare(
            targets, preds=[targets, targets], protocol="plain", extra=["ms_ssim"]
        ).evaluations.items()
        if name == str(targets)
    )
    assert found.mean()["ms_ssim"] == 1 and found.mean()["psnr"] == math.inf
    assert [math.isnan(score.values["ms_ssim"]) for score in found.scores] == [True, True, False]
    said = found.remarks()
    assert any(s.startswith("0.png, 1.png: MS-SSIM needs at least 161x161 pixels, not 40x40") for s in said)
    assert "Without ms_ssim: 0.png, 1.png; its mean is over the others." in said
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert (
        facts["metrics"]["ms_ssim"]["backend"].startswith("img2img") and facts["scores"][0]["ms_ssim"] is None
    )
    assert facts["formats"] == {"targets": {".png": 3}, "sources": {".png": 3}}


def test_values_beyond_black_and_white_are_said(tmp_path: Path) -> None:
    """The kind: pictures in floating point, whose highlights are above white."""
    for name, white in (("t", 1.0), ("p", 1.5)):
        (tmp_path / name).mkdir()
        ramp = np.linspace(0, white, 32 * 32 * 3, dtype=np.float32).reshape(32, 32, 3)
        write_image(Image(ramp), tmp_path / name / "a.tif")
    found = compare(tmp_path / "t", preds=[tmp_path / "p", tmp_path / "t"], protocol="plain")
    one = found.evaluations[str(tmp_path / "p")]
    assert any("values from 0 to 1.5 were taken for black and white" in said for said in one.remarks())
    assert found.evaluations[str(tmp_path / "t")].mean()["psnr"] == math.inf
