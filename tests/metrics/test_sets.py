"""Numbers about sets of pictures, against formulas written once more and torch-fidelity."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError, ModelError
from img2img.metrics import WeightsMissingError
from img2img.metrics.backbones import BACKBONES
from img2img.metrics.features import BackboneFeatures, open_extractor
from img2img.metrics.sets import (
    FeatureStatistics,
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from img2img.types import SYMMETRIC, UNIT


def two(n: int = 60, m: int = 50, d: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(d, d, generator=generator)
    real, fake = (torch.randn(k, d, generator=generator) for k in (n, m))
    return real @ mix, fake @ mix * 0.8 + 0.5


def test_the_frechet_distance_is_the_formula() -> None:
    real, fake = (x.double().numpy() for x in two())
    one, other = np.cov(real.T), np.cov(fake.T)
    root = np.sqrt(np.linalg.eigvals(one @ other).astype(complex)).real.sum()
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * root
    assert frechet_distance(*two()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [3, 60])
def test_equal_sets_are_perfect(count: int) -> None:
    """Also with less pictures than features, where the product of the covariances has no root in floats."""
    real = two(count, 2, 32)[0]
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)
    if count > 3:
        assert precision_recall(real, real) == (1, 1)
        assert kernel_distance(real, real)[0] < 0 < kernel_distance(real, real + 20)[0]


def test_the_kernel_distance_is_the_formula() -> None:
    real, fake = two(30, 30)
    k = lambda x, y: (x.double() @ y.double().T / 8 + 1) ** 3  # noqa: E731
    n = 30
    off = 1 - torch.eye(n, dtype=torch.float64)
    expected = ((k(real, real) + k(fake, fake)) * off).sum() / n / (n - 1) - 2 * k(real, fake).mean()
    mean, deviation = kernel_distance(real, fake, subsets=3)
    assert mean == pytest.approx(float(expected), rel=1e-9) and deviation == pytest.approx(0, abs=1e-9)


def test_the_inception_score_of_known_logits() -> None:
    sure = torch.eye(4).repeat(10, 1) * 1000
    assert inception_score(sure, splits=1)[0] == pytest.approx(4)
    assert inception_score(torch.zeros(20, 4), splits=2) == (pytest.approx(1), pytest.approx(0))


def test_precision_and_recall_of_a_collapsed_set() -> None:
    """A set of one mode is precise and recalls little."""
    real = torch.cat([torch.randn(40, 4), torch.randn(40, 4) + 50])
    precision, recall = precision_recall(real, real[:40] + 0.01)
    assert precision == 1 and recall == 0.5


@pytest.mark.slow
def test_all_of_them_are_torch_fidelity() -> None:
    pytest.importorskip("torch_fidelity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fid, kid, isc, prc = (
            importlib.import_module(f"torch_fidelity.metric_{name}") for name in ("fid", "kid", "isc", "prc")
        )
    real, fake = two(120, 100)
    statistics = [fid.fid_features_to_statistics(x.double()) for x in (fake, real)]
    found = fid.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(real, fake) == pytest.approx(found, rel=1e-6)
    kernel = kid.kid_features_to_metric(
        fake.double(), real.double(), kid_subsets=5, kid_subset_size=40, verbose=False
    )
    assert kernel_distance(real, fake, subsets=5, size=40) == (
        pytest.approx(kernel["kernel_inception_distance_mean"], rel=1e-6),
        pytest.approx(kernel["kernel_inception_distance_std"], rel=1e-6),
    )
    score = isc.isc_features_to_metric(fake)
    assert inception_score(fake) == (
        pytest.approx(score["inception_score_mean"], rel=1e-6),
        pytest.approx(score["inception_score_std"], rel=1e-6),
    )
    shares = prc.prc_features_to_metric(fake, real, verbose=False)
    assert precision_recall(real, fake) == pytest.approx((shares["precision"], shares["recall"]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(1, 8), "at least .* pictures, not 1"),
        (torch.zeros(9, 7), "different networks"),
        (torch.zeros(9, 8, 1), r"\(N, D\), not \(9, 8, 1\)"),
        (torch.full((9, 8), float("nan")), "not finite"),
    ],
)
def test_what_are_no_features_gets_a_sentence(wrong: Tensor, message: str) -> None:
    real, _ = two()
    for measure in (frechet_distance, kernel_distance, precision_recall):
        with pytest.raises(ValueError, match=message):
            measure(real, wrong)


@pytest.mark.parametrize(
    "measure",
    [
        lambda real, fake: kernel_distance(real, fake, subsets=0),
        lambda real, fake: kernel_distance(real, fake, size=1),
        lambda real, fake: inception_score(real, splits=0),
        lambda real, fake: precision_recall(real, fake, neighbours=0),
        lambda real, fake: precision_recall(real, fake, neighbours=-1),
    ],
)
def test_a_number_that_leaves_nothing_to_measure_gets_a_sentence(measure: Any) -> None:
    with pytest.raises(ValueError, match=r"needs? .* at least, not"):
        measure(*two())


def test_statistics_come_back_and_pytorch_fid_reads_them(tmp_path: Path) -> None:
    real, fake = two()
    kept = FeatureStatistics.of(real, {"network": "Inception v3", "resize": "none"})
    kept.save(tmp_path / "real.npz")
    read = FeatureStatistics.load(tmp_path / "real.npz")
    assert frechet_distance(read, fake) == frechet_distance(real, fake)
    assert read.count == 60 and read.origin == {"network": "Inception v3", "resize": "none"}
    with np.load(tmp_path / "real.npz") as file:  # as pytorch-fid does
        mu, sigma = file["mu"][:], file["sigma"][:]
    np.savez(tmp_path / "theirs.npz", mu=mu, sigma=sigma)
    theirs = FeatureStatistics.load(tmp_path / "theirs.npz")
    assert theirs.count == 0 and frechet_distance(theirs, fake) == frechet_distance(real, fake)


def test_files_that_hold_no_statistics_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.savez(tmp_path / "flat.npz", mu=np.zeros(3), sigma=np.zeros((3, 2)))
    np.savez(tmp_path / "objects.npz", mu=np.array([{}]), sigma=np.array([{}]))
    (tmp_path / "text.npz").write_text("none")
    for name in ("other", "flat", "objects", "text", "missing"):
        with pytest.raises(ModelError, match=f"{name}.npz"):
            FeatureStatistics.load(tmp_path / f"{name}.npz")


# features


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    network = nn.Sequential(*BACKBONES["squeeze"].layers())
    torch.save({f"features.{key}": value for key, value in network.state_dict().items()}, path)
    return path


def test_features_of_another_network_bear_its_name(weights: Path) -> None:
    extractor = BackboneFeatures("squeeze", weights)
    assert extractor.name.startswith("squeeze_") and len(extractor.name) == len("squeeze_") + 8
    assert extractor.origin["weights"]["mine.pth"].startswith(extractor.name[-8:])
    x = torch.rand(3, 3, 24, 31)
    found = extractor(x, UNIT)
    assert found.vectors.shape == (3, 512) and found.logits.shape == (3, 0)
    assert torch.allclose(extractor(x * 2 - 1, SYMMETRIC).vectors, found.vectors, atol=1e-5)
    assert torch.allclose(extractor(x[1:2], UNIT).vectors, found.vectors[1:2], atol=1e-5)
    with pytest.raises(ValueError, match="at least 17x17"):
        extractor(x[..., :16], UNIT)


def test_networks_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    with pytest.raises(ConfigError, match="did you mean 'inception'"):
        open_extractor("inceptio")
    with pytest.raises(WeightsMissingError, match=r"Inception v3 .* not at hand|torch-fidelity"):
        open_extractor("inception")
    with pytest.raises(WeightsMissingError, match="VGG16 are not at hand"):
        open_extractor("vgg")


@pytest.mark.slow
def test_inception_runs_with_weights_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("torch_fidelity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    network = module.FeatureExtractorInceptionV3.__new__(module.FeatureExtractorInceptionV3)
    kept: dict[str, Tensor] = {}
    load = module.FeatureExtractorInceptionV3.load_state_dict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *args, **kwargs: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network.__init__("mine", ["2048", "logits_unbiased"], feature_extractor_weights_path="none")
    assert load is module.FeatureExtractorInceptionV3.load_state_dict
    kept |= network.state_dict()
    torch.save(kept, tmp_path / "inception.pth")
    extractor = open_extractor("inception", tmp_path / "inception.pth")
    assert extractor.name.startswith("inception_")
    x = torch.rand(2, 3, 40, 50)
    found = extractor(x, UNIT)
    expected = network((x * 255).round().byte())
    assert torch.equal(found.vectors, expected[0]) and torch.equal(found.logits, expected[1])
    (tmp_path / "other.pth").write_bytes(b"")
    with pytest.raises(ModelError, match="Inception"):
        open_extractor("inception", tmp_path / "other.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "small.pth")
    with pytest.raises(ConfigError, match=r"small\.pth does not hold the weights of Inception v3"):
        open_extractor("inception", tmp_path / "small.pth")
