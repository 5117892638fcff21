"""Convolutions with what follows them: the same numbers as in two steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.inference.precision import in_precision
from img2img.models import fused, generators
from img2img.models.fused import conv_add, conv_relu
from img2img.models.symmetric import SymmetricConv2d

bf16 = pytest.mark.skipif(
    not fused._kernels(), reason="this CPU or torch has no kernels for bf16 in one pass"
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which kernels were run."""
    names: list[str] = []

    def counting(name: str, kernel: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def one(*given: Any) -> Tensor:
            names.append(name)
            return kernel(*given)

        return one

    kernels = {name: counting(name, kernel) for name, kernel in fused._kernels().items()}
    monkeypatch.setattr(fused, "_kernels", lambda: kernels)
    return names


def layer(dtype: torch.dtype = torch.bfloat16, **arguments: Any) -> nn.Conv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, **{"padding": 1, **arguments}).to(dtype)
    return conv.to(memory_format=torch.channels_last)


@bf16
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 33)])
@pytest.mark.parametrize("form", [{}, {"stride": 2}, {"dilation": 2, "padding": 2}, {"groups": 4}])
def test_a_relu_with_its_convolution_is_the_same_bit_for_bit(
    size: tuple[int, int], form: dict[str, Any], asked: list[str]
) -> None:
    conv, x = layer(**form), torch.randn(2, 16, *size).bfloat16()
    last = x.to(memory_format=torch.channels_last)
    layouts = [x, last, last[1:], last.transpose(2, 3), last[:, :, size[0] // 2 :], x[..., size[1] // 2 :]]
    for given in layouts:  # strips are such views
        with torch.inference_mode():
            assert torch.equal(conv_relu(conv, given), F.relu(conv(given)))
    assert asked == ["default"] * len(layouts)


@bf16
@pytest.mark.parametrize("slope", [None, 0.1, 0.2])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 33)])
def test_what_follows_a_convolution_is_rounded_with_it(
    slope: float | None, size: tuple[int, int], asked: list[str]
) -> None:
    conv, x, other = layer(), torch.randn(2, 16, *size).bfloat16(), torch.randn(2, 16, *size).bfloat16()
    before = x.clone(), other.clone()
    with torch.inference_mode():
        exact = copy.deepcopy(conv).double()(x.double())
        exact = other.double() + exact if slope is None else F.leaky_relu(exact, slope)
        found = conv_add(conv, x, other) if slope is None else conv_relu(conv, x, slope)
    assert asked == ["binary" if slope is None else "default"]
    assert torch.equal(x, before[0]) and torch.equal(other, before[1])
    rounding = exact.abs() * 2**-8 + 1e-5  # half a step of bf16, and the sums in fp32
    assert ((found.double() - exact).abs() <= rounding).all()


@pytest.mark.parametrize(
    ("conv", "gradient"),
    [
        (layer(), True),
        (layer(torch.float32), False),
        (SymmetricConv2d(16, 16, 3, padding=1).bfloat16(), False),
        (nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect").bfloat16(), False),
        (nn.Conv2d(16, 16, 3, padding="same").bfloat16(), False),
    ],
)
def test_elsewhere_they_are_two_operations(conv: nn.Conv2d, gradient: bool, asked: list[str]) -> None:
    x = torch.randn(1, 16, 8, 8).to(conv.weight.dtype)
    with torch.set_grad_enabled(gradient):
        assert torch.equal(conv_relu(conv, x, 0.1), F.leaky_relu(conv(x), 0.1))
        assert torch.equal(conv_relu(conv, x), F.relu(conv(x)))
        assert torch.equal(conv_add(conv, x, x), x + conv(x))
    assert not asked


@bf16
@torch.inference_mode()
@pytest.mark.parametrize("name", ["edsr", "edsr_paper", "msrresnet", "rrdbnet"])
def test_networks_in_bf16_are_as_near_to_fp32_as_in_two_steps(
    name: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    network = generators[name](**(generators[name].tiny | {"features": 16})).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    lowered = in_precision(network, torch.bfloat16)
    x = torch.rand(1, 3, 24, 32)
    exact, one = network.infer(x), lowered.infer(x).float()
    assert asked
    monkeypatch.setattr(fused, "_kernels", dict)
    two = lowered.infer(x).float()
    assert (one - exact).norm() <= 1.05 * (two - exact).norm() + 1e-6
    assert (one - two).norm() <= 0.05 * exact.norm()
