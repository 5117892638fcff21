"""SRGAN's and SRResNet's generators in the layouts of the code that people train them with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import original_networks as original
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from img2img.interop import open_checkpoint, recognise
from img2img.models import Generator


@pytest.fixture(autouse=True)
def small_and_reproducible() -> Iterator[None]:
    """Tiny networks lose more by handing work to threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def opened(net: nn.Module, path: Path) -> Generator:
    torch.save(net.state_dict(), path / "G.pth")
    generator, info = open_checkpoint(path / "G.pth")
    assert (info.output, info.size) == ("like_input", None)
    return generator


def unit(x: Tensor, generator: Generator) -> Tensor:
    """Brings the output to (0, 1)."""
    low, high = generator.output_range
    return (x - low) / (high - low)


@torch.no_grad()
def difference(generator: Generator, net: nn.Module, x: Tensor) -> float:
    """Runs both in float64, relative to the largest value: what differs is a layer, not a rounding."""
    ours, theirs = unit(generator.double()(x.double()), generator), net.double()(x.double())
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("ups", [1, 2, 3])
@pytest.mark.parametrize("trunk_norm", [False, True])
@pytest.mark.sampled(2)
def test_leftthomas(ups: int, trunk_norm: bool, tmp_path: Path) -> None:
    net = original.randomise(original.Leftthomas(4, ups, trunk_norm))
    generator = opened(net, tmp_path)
    assert generator.spec.name == "srresnet"
    assert generator.spec.arguments == {
        "in_channels": 3,
        "out_channels": 3,
        "scale": 2**ups,
        "features": 4,
        "blocks": 5,
        "trunk_end": "norm" if trunk_norm else "prelu",
        "output": "tanh",
    }
    assert difference(generator, net, torch.rand(2, 3, 9, 12)) < 1e-5  # folded biases are float32


@pytest.mark.parametrize("stem", ["conv", "conv_block"])
@pytest.mark.parametrize(("scale", "steps"), [(2, (2,)), (3, (3,)), (4, (2, 2)), (8, (2, 2, 2))])
@pytest.mark.sampled(2)
def test_lornatang(stem: str, scale: int, steps: tuple[int, ...], tmp_path: Path) -> None:
    net = original.randomise(original.Lornatang(1, 6, 3, steps, stem))
    generator = opened(net, tmp_path)
    assert generator.spec.arguments == {
        "in_channels": 1,
        "out_channels": 1,
        "scale": scale,
        "features": 6,
        "blocks": 3,
        "trunk_end": "norm",
        "output": "linear",
    }
    assert difference(generator, net, torch.rand(1, 1, 8, 11)) < 1e-9


RENAMED = {
    "basicsr": {},
    "mmsr": {"body.": "recon_trunk.", "conv_hr": "HRconv"},
    "mmagic": {
        "body.": "trunk_net.",
        "upconv1.": "upsample1.upsample_conv.",
        "upconv2.": "upsample2.upsample_conv.",
    },
}


@pytest.mark.parametrize("names", sorted(RENAMED))
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.sampled(4)
def test_msrresnet(names: str, scale: int, tmp_path: Path) -> None:
    net = original.randomise(original.MSRResNet(3, 5, 2, scale))
    state = net.state_dict()
    for old, new in RENAMED[names].items():
        state = {key.replace(old, new): value for key, value in state.items()}
    torch.save({"params": state}, tmp_path / "G.pth")
    generator, _ = open_checkpoint(tmp_path / "G.pth")
    assert generator.spec.name == "msrresnet"
    assert generator.spec.arguments == {
        "in_channels": 3,
        "out_channels": 3,
        "scale": scale,
        "features": 5,
        "blocks": 2,
    }
    assert difference(generator, net, torch.rand(2, 3, 7, 10)) < 1e-9


def test_the_paper_s_size_is_recognised() -> None:
    with torch.device("meta"):
        state = original.Lornatang(3, 64, 16, (2, 2), "conv").state_dict()
    found = recognise(state)
    assert found is not None
    assert found.spec.arguments["blocks"] == 16
    assert found.spec.arguments["features"] == 64


def luma(pixels: np.ndarray) -> np.ndarray:
    return 16 + pixels.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize(("scale", "expected"), [(4, 30.66), (2, 35.48)])
def test_published_weights_on_set5(scale: int, expected: float, test_data: Path) -> None:
    generator, _ = open_checkpoint(test_data / f"data/weights/srgan_leftthomas/netG_epoch_{scale}_100.pth")
    values = []
    for path in sorted((test_data / "data/sr/Set5").rglob(f"*SRF_{scale}_LR*")):
        low = np.asarray(Image.open(path).convert("RGB"))
        high = np.asarray(Image.open(path.with_name(path.name.replace("_LR", "_HR"))).convert("RGB"))
        x = torch.from_numpy(low.copy()).permute(2, 0, 1)[None] / 255
        made = (unit(generator(x), generator).clamp(0, 1) * 255).round().byte()[0].permute(1, 2, 0).numpy()
        error = (luma(made) - luma(high))[scale:-scale, scale:-scale]
        values.append(10 * np.log10(255**2 / np.mean(error**2)))
    assert len(values) == 5
    assert abs(np.mean(values) - expected) < 0.05
