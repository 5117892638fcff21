"""The other implementation's U-Net of partial convolutions, rebuilt from its facts, opens and fills alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ModelError
from img2img.interop import open_checkpoint

MEAN, DEVIATION = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
NAMES = {"new": ("input_conv", "mask_conv"), "old": ("conv2d", "mask2d")}


def step(inputs: int, outputs: int, kernel: int, names: tuple[str, str], bias: bool, norm: bool) -> nn.Module:
    """One level with the names of that code: conv.NAME, conv.MASK, bn."""
    level, conv = nn.Module(), nn.Module()
    old = names[0] == "conv2d"
    conv.add_module(names[0], nn.Conv2d(inputs, outputs, kernel, bias=bias or old))
    counting = nn.Conv2d(inputs, outputs, kernel, bias=old)
    nn.init.ones_(counting.weight)
    conv.add_module(names[1], counting)
    level.add_module("conv", conv)
    if norm:
        level.add_module("bn", nn.BatchNorm2d(outputs))
    return level


def original(layout: str, features: int = 4, levels: int = 5) -> nn.Module:
    net, names = nn.Module(), NAMES[layout]
    widths = [3, *(features * min(2**level, 8) for level in range(levels))]
    for level in range(levels):
        kernel = (7, 5, 5, 3, 3)[level]
        net.add_module(
            f"enc_{level + 1}", step(widths[level], widths[level + 1], kernel, names, False, level > 0)
        )
        above = widths[level + 1]
        net.add_module(
            f"dec_{level + 1}",
            step(above + widths[level], widths[level], 3, names, level == 0, level > 0),
        )
    for module in net.modules():  # as after a training
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.01, 0.1)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.double().eval()


def run(net: nn.Module, layout: str, x: Tensor, hole: Tensor, levels: int = 5) -> Tensor:
    """What that code computes: a mask for each channel, products over known values, over their number."""

    def through(
        name: str, x: Tensor, known: Tensor, stride: int, slope: float | None
    ) -> tuple[Tensor, Tensor]:
        level = net.get_submodule(name)
        conv = level.conv.get_submodule(NAMES[layout][0])
        padding = conv.kernel_size[0] // 2
        count = F.conv2d(known, torch.ones_like(conv.weight), None, stride, padding)
        y = F.conv2d(x * known, conv.weight, None, stride, padding) / count.clamp(min=1)
        y = y if conv.bias is None else y + conv.bias[:, None, None]
        y = torch.where(count > 0, y, 0)
        y = level.bn(y) if hasattr(level, "bn") else y
        return [y if slope is None else F.leaky_relu(y, slope), (count > 0).to(x.dtype)]

    x, known = (x - MEAN) / DEVIATION, (1 - hole).expand_as(x)
    seen = [[x, known]]
    for level in range(levels):
        seen.append(through(f"enc_{level + 1}", *seen[-1], 2, 0.0))
    x, known = seen.pop()
    for level in range(levels, 0, -1):
        skip, skip_known = seen.pop()
        x, known = (F.interpolate(value, scale_factor=2) for value in (x, known))
        x, known = through(
            f"dec_{level}",
            torch.cat((x, skip), 1),
            torch.cat((known, skip_known), 1),
            1,
            0.2 if level > 1 else None,
        )
    return x * DEVIATION + MEAN


@pytest.mark.parametrize("layout", ["new", "old"])
def test_it_opens_and_fills_alike(layout: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = original(layout)
    torch.save({"n_iter": 5, "model": net.state_dict(), "optimizer": {"state": {}}}, tmp_path / "5.pth")
    generator, info = open_checkpoint(tmp_path / "5.pth")
    assert generator.spec.name == "partial_unet" and info.output == "like_input"
    assert generator.spec.arguments == {"in_channels": 3, "features": 4, "downs": 5, "growth": 8}
    x, hole = torch.rand(2, 3, 64, 96).double(), torch.zeros(2, 1, 64, 96).double()
    hole[0, :, 10:40, 20:70], hole[1, :, :, 50:] = 1, 1
    with torch.no_grad():
        ours, theirs = generator.double()(x, mask=hole), run(net, layout, x, hole)
    assert theirs.std() > 0.02
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)  # our masks are counted in fp32


def test_weights_that_count_otherwise_are_refused(tmp_path: Path) -> None:
    state = original("new").state_dict()
    state["enc_2.conv.mask_conv.weight"] = state["enc_2.conv.mask_conv.weight"] * 2
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="enc_2"):
        open_checkpoint(tmp_path / "x.pth")
