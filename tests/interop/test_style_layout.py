"""Files of PyTorch's example fast_neural_style against a network written as it is documented."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.inference import load_model
from img2img.interop import open_checkpoint


class Reference:
    """Pictures from 0 to 255, (N, 3, H, W); its weights by the names in the files."""

    def __init__(self, features: int, blocks: int) -> None:
        torch.manual_seed(0)
        self.state: OrderedDict[str, Tensor] = OrderedDict()
        self.blocks = blocks
        widths = [3, features, 2 * features, 4 * features]
        for i in range(3):
            self._add(f"conv{i + 1}", f"in{i + 1}", widths[i], widths[i + 1], 9 if i == 0 else 3)
        for i in range(blocks):
            for j in (1, 2):
                self._add(f"res{i + 1}.conv{j}", f"res{i + 1}.in{j}", widths[3], widths[3], 3)
        self._add("deconv1", "in4", widths[3], widths[2], 3)
        self._add("deconv2", "in5", widths[2], widths[1], 3)
        self._add("deconv3", None, widths[1], 3, 9)
        self.state["in1.running_mean"] = torch.zeros(features)  # as older files have it

    def _add(self, conv: str, norm: str | None, inputs: int, outputs: int, kernel: int) -> None:
        layer = nn.Conv2d(inputs, outputs, kernel)
        self.state[f"{conv}.conv2d.weight"] = layer.weight.detach()
        self.state[f"{conv}.conv2d.bias"] = 20 * torch.randn(outputs) if norm is None else layer.bias.detach()
        if norm is not None:
            self.state[f"{norm}.weight"] = 1 + 0.3 * torch.randn(outputs)
            self.state[f"{norm}.bias"] = 0.3 * torch.randn(outputs)

    def _conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.conv2d.weight"]
        x = F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect")
        return F.conv2d(x, weight, self.state[f"{name}.conv2d.bias"], stride)

    def _norm(self, x: Tensor, name: str) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        x = (x - mean) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        return x * self.state[f"{name}.weight"][:, None, None] + self.state[f"{name}.bias"][:, None, None]

    def __call__(self, x: Tensor) -> Tensor:
        for i in range(1, 4):
            x = F.relu(self._norm(self._conv(x, f"conv{i}", 1 if i == 1 else 2), f"in{i}"))
        for i in range(1, self.blocks + 1):
            y = F.relu(self._norm(self._conv(x, f"res{i}.conv1"), f"res{i}.in1"))
            x = x + self._norm(self._conv(y, f"res{i}.conv2"), f"res{i}.in2")
        for i in (1, 2):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.relu(self._norm(self._conv(x, f"deconv{i}"), f"in{i + 3}"))
        return self._conv(x, "deconv3")


@pytest.fixture
def reference() -> Reference:
    return Reference(4, 2)


def test_it_makes_the_same_pictures(reference: Reference, tmp_path: Path) -> None:
    torch.save(reference.state, tmp_path / "candy.pth")
    generator, info = open_checkpoint(tmp_path / "candy.pth")
    assert generator.spec.name == "style_resnet" and info.output == "own" and info.synthetic
    assert generator.spec.arguments["blocks"] == 2 and generator.spec.arguments["features"] == 4
    x = 255 * torch.rand(1, 3, 28, 36, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = 127.5 * generator(x / 127.5 - 1) + 127.5
    torch.testing.assert_close(found, reference(x), rtol=1e-3, atol=0.05)
    assert load_model(tmp_path / "candy.pth", device="cpu").size is None, "it paints pictures of any size"


def test_the_published_size() -> None:
    from img2img.models import StyleResnet

    with torch.device("meta"):
        assert sum(p.numel() for p in StyleResnet().parameters()) == 1_679_235


def test_what_only_resembles_it_is_none(reference: Reference, tmp_path: Path) -> None:
    from img2img.errors import ModelError

    state = dict(reference.state)
    state["res1.conv1.conv2d.weight"] = state["res1.conv1.conv2d.weight"][:, :3]
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(ModelError, match=r"blocks\.0\.conv1\.weight"):
        open_checkpoint(tmp_path / "broken.pth")
