"""Folders against folders as sets: other networks than FID's bear their names, features are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.errors import ConfigError, ProcessingError, UsageError
from img2img.evaluation import evaluate_sets
from img2img.image import Image, write_image
from img2img.metrics.backbones import BACKBONES
from img2img.metrics.features import Extractor, PictureFeatures
from img2img.metrics.sets import FeatureStatistics, frechet_distance


class Colours(Extractor):
    """Sees the mean of each channel, and of each half."""

    def __init__(self, name: str = "colours") -> None:
        self.name, self.calls = name, 0
        self.origin = {"network": "means", "weights": {"none": "0"}, "resize": "none"}

    def _look(self, images: torch.Tensor) -> PictureFeatures:
        self.calls += len(images)
        whole, half = images.mean((2, 3)), images[..., ::2, :].mean((2, 3))
        return PictureFeatures(torch.cat([whole, half], 1), images.mean((2, 3)) * 20)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fill(folder: Path, count: int, seed: int, side: int = 24, suffix: str = ".png") -> Path:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for n in range(count):
        height = side + n % 2
        pixels = random.integers(0, 200 + seed, (height, side, 3), np.uint8)
        write_image(Image(pixels), folder / f"{n:02}{suffix}")
    return folder


def test_numbers_of_another_network_bear_its_name(tmp_path: Path) -> None:
    real, fake = fill(tmp_path / "real", 12, 1), fill(tmp_path / "fake", 11, 20)
    found = evaluate_sets(real, pred=fake, extractor=Colours())
    assert set(found.values) == {"fd_colours", "kd_colours", "precision_colours", "recall_colours"}
    assert (found.real, found.fake) == (12, 11) and found.deviations.keys() == {"kd_colours"}
    facts = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert facts["features"]["weights"] == {"none": "0"} and facts["formats"]["targets"] == {".png": 12}
    assert any("Of 11 pictures" in note for note in facts["notes"])
    usual = evaluate_sets(real, pred=fake, extractor=Colours("inception"), numbers=["fid", "is"])
    assert usual.values["fid"] == found.values["fd_colours"] and usual.values["is"] >= 1


def test_equal_sets_are_perfect_in_any_order_of_sizes(tmp_path: Path) -> None:
    real = fill(tmp_path / "real", 8, 1)
    found = evaluate_sets(real, pred=real, extractor=Colours("inception"))
    assert found.values["fid"] == pytest.approx(0, abs=1e-9) and found.values["kid"] <= 0
    assert found.values["precision"] == found.values["recall"] == 1


def test_features_of_a_folder_are_kept_until_a_file_changes(tmp_path: Path) -> None:
    real, fake = fill(tmp_path / "real", 5, 1), fill(tmp_path / "fake", 6, 9)
    look = Colours()
    first = evaluate_sets(real, pred=fake, extractor=look)
    assert look.calls == 11
    assert evaluate_sets(real, pred=fake, extractor=look).values == first.values and look.calls == 11
    write_image(Image(np.zeros((24, 24, 3), np.uint8)), fake / "00.png")
    assert evaluate_sets(real, pred=fake, extractor=look).values != first.values and look.calls == 17


def test_statistics_stand_for_their_folder(tmp_path: Path) -> None:
    real, fake = fill(tmp_path / "real", 9, 1), fill(tmp_path / "fake", 9, 9)
    found = evaluate_sets(real, pred=fake, extractor=Colours())
    found.statistics.save(tmp_path / "real.npz")
    again = evaluate_sets(tmp_path / "real.npz", pred=fake, extractor=Colours())
    assert again.values == {"fd_colours": found.values["fd_colours"]} and again.real == 9
    assert any("Statistics are enough for fid alone" in note for note in again.notes)
    other = Colours()
    other.origin = {**other.origin, "weights": {"none": "1"}}
    with pytest.raises(ConfigError, match="other weights"):
        evaluate_sets(tmp_path / "real.npz", pred=fake, extractor=other)
    theirs = FeatureStatistics.load(tmp_path / "real.npz")
    np.savez(tmp_path / "pytorch_fid.npz", mu=theirs.mean, sigma=theirs.covariance)
    plain = evaluate_sets(tmp_path / "pytorch_fid.npz", pred=fake, extractor=Colours())
    assert plain.values == again.values and plain.real == 0
    assert frechet_distance(theirs, theirs) == pytest.approx(0, abs=1e-9)


def test_bad_files_and_too_few_pictures(tmp_path: Path) -> None:
    real, fake = fill(tmp_path / "real", 6, 1), fill(tmp_path / "fake", 6, 9)
    (fake / "03.png").write_bytes(b"no picture")
    found = evaluate_sets(real, pred=fake, extractor=Colours())
    assert [problem.path.name for problem in found.problems] == ["03.png"] and found.fake == 5
    with pytest.raises(ProcessingError, match=r"at least 4 pictures, not 2"):
        evaluate_sets(real, pred=fill(tmp_path / "two", 2, 3), extractor=Colours())
    with pytest.raises(UsageError, match="did you mean 'fid'"):
        evaluate_sets(real, pred=fake, numbers=["fidd"], extractor=Colours())
    with pytest.raises(UsageError, match="needs its inputs"):
        evaluate_sets(real, model="x4", extractor=Colours())


# the command


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["evaluate", "--protocol", "sets", *(str(a) for a in arguments)])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = fill(tmp_path / "real", 6, 1), fill(tmp_path / "fake", 6, 9)
    layers = torch.nn.Sequential(*BACKBONES["squeeze"].layers())
    weights = tmp_path / "mine.pth"
    torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, weights)
    ends = ("--target", real, "--features", "squeeze", "--feature-weights", weights)
    result = img2img(
        *ends, "--pred", real, "--pred", fake, "--json", tmp_path / "out.json", "--metric", "fid"
    )
    assert result.exit_code == 0, result.output
    one, other = json.loads((tmp_path / "out.json").read_text())["sets"]
    ((name, value),) = one["values"].items()
    assert (
        name.startswith("fd_squeeze_") and value == pytest.approx(0, abs=1e-6) and other["values"][name] > 0
    )
    assert name in result.stdout and str(fake) in result.stdout
    kept = tmp_path / "kept.npz"
    failed = img2img(*ends, "--pred", fake, "--require", f"{name}<=0", "--save-statistics", kept)
    assert failed.exit_code == 1 and f"{name} <= 0 is not met" in failed.stderr
    again = img2img("--target", kept, *ends[2:], "--pred", fake, "--metric", "fid", "--csv", "-")
    assert again.exit_code == 0 and str(other["values"][name])[:8] in again.stdout
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    missing = img2img("--target", real, "--pred", fake)
    assert missing.exit_code == 2 and ("not at hand" in missing.stderr or "not installed" in missing.stderr)
    wrong = CliRunner().invoke(
        cli, ["evaluate", "--target", str(real), "--pred", str(fake), "-s", "2", "--features", "vgg"]
    )
    assert wrong.exit_code == 2 and "belong to --protocol sets" in wrong.stderr
