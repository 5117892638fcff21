"""Layers that take another way where a gradient is wanted on a CPU compute what torch's own layers do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from img2img.models.norm import BatchNorm, InstanceNorm, instance_norm
from img2img.models.prelu import PReLU, _PReLUFunction
from img2img.models.stage import reflect_conv

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def noise(
    *shape: int, dtype: torch.dtype = torch.float32, memory_format: str = "channels_last"
) -> torch.Tensor:
    return torch.randn(*shape).to(dtype).to(memory_format=FORMATS[memory_format])


@pytest.mark.parametrize("slopes", [1, 5])
@pytest.mark.parametrize("memory_format", FORMATS)
def test_prelu_in_bf16_has_the_gradient_of_float64(slopes, memory_format):
    torch.manual_seed(0)
    layer = PReLU(slopes)
    with torch.no_grad():
        layer.weight.uniform_(-0.5, 0.5)
    x = noise(2, 5, 6, 7, dtype=torch.bfloat16, memory_format=memory_format).requires_grad_()
    gradient = noise(2, 5, 6, 7, dtype=torch.bfloat16, memory_format=memory_format)
    y = layer(x)
    y.backward(gradient)
    exact, slope = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    F.prelu(exact, slope.bfloat16().double()).backward(gradient.double())
    assert type(y.grad_fn).__name__ == "_PReLUFunctionBackward" and layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=2**-8, atol=0)
    taken = (gradient.double() * exact.detach().clamp(max=0)).sum((0, 2, 3))
    expected = taken if slopes > 1 else taken.sum(0, keepdim=True)
    torch.testing.assert_close(layer.weight.grad.double(), expected, rtol=2**-6, atol=2**-5)


def test_prelu_passes_gradcheck():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    for slopes in (1, 3):
        slope = torch.rand(slopes, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(_PReLUFunction.apply, (x, slope))


def test_prelu_has_the_values_and_keys_of_torch():
    torch.manual_seed(0)
    ours, theirs = PReLU(4), nn.PReLU(4)
    ours.load_state_dict(theirs.state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        x = noise(1, 4, 3, 3, dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            expected = theirs(x)
            assert torch.equal(ours(x), expected) and torch.equal(ours(x.clone().requires_grad_()), expected)


@pytest.mark.parametrize("images", [1, 2, 3])
@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_one_by_one(images, affine):
    torch.manual_seed(0)
    x = noise(images, 6, 5, 4).requires_grad_()
    weight, bias = (torch.rand(6), torch.rand(6)) if affine else (None, None)
    gradient = noise(images, 6, 5, 4)
    y = instance_norm(x, weight, bias)
    y.backward(gradient)
    exact = x.detach().double().contiguous().requires_grad_()
    doubles = [None if p is None else p.double() for p in (weight, bias)]
    expected = F.group_norm(exact, 6, *doubles)
    expected.backward(gradient.double())
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


def test_instance_norm_takes_that_way_only_for_gradients_of_channels_last():
    def way(x: torch.Tensor) -> str:
        return type(InstanceNorm(6)(x).grad_fn).__name__

    assert way(noise(2, 6, 4, 4).requires_grad_()) == "CatBackward0"
    assert way(noise(2, 6, 4, 4, memory_format="contiguous").requires_grad_()) == "NativeGroupNormBackward0"
    assert way(noise(2, 6, 4, 4)) == "NoneType"
    # one pixel: batch norm of one image would refuse it, and the result is zero
    pixel = torch.randn(3, 6, 1, 1).to(memory_format=torch.channels_last).requires_grad_()
    assert way(pixel) == "NativeGroupNormBackward0" and InstanceNorm(6)(pixel).abs().max() < 1e-3


@pytest.mark.parametrize("memory_format", FORMATS)
def test_batch_norm_with_a_gradient_that_has_gaps(memory_format):
    torch.manual_seed(0)
    ours, theirs = BatchNorm(4).train(), nn.BatchNorm2d(4).train().double()
    x = noise(3, 4, 6, 6, memory_format=memory_format).requires_grad_()
    exact = x.detach().double().requires_grad_()
    other, gradient = (
        noise(3, 2, 6, 6, memory_format=memory_format),
        noise(3, 6, 6, 6, memory_format=memory_format),
    )
    seen = []

    y = ours(x)
    y.register_hook(lambda g: seen.append(g.is_contiguous(memory_format=FORMATS[memory_format])))
    F.relu(torch.cat((other, y), 1), inplace=True).backward(gradient)
    F.relu(torch.cat((other.double(), theirs(exact)), 1)).backward(gradient.double())
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad.double(), theirs.weight.grad, rtol=1e-4, atol=1e-5)
    assert seen == [True]


def test_reflected_borders_stay_in_bf16():
    torch.manual_seed(0)
    conv = reflect_conv(4, 5, 3)
    x = noise(2, 4, 6, 7, dtype=torch.bfloat16).requires_grad_()
    gradient = noise(2, 5, 6, 7, dtype=torch.bfloat16)
    plain = nn.Conv2d(4, 5, 3, padding=1, padding_mode="reflect")
    plain.load_state_dict(conv.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
        expected = plain(x)
    assert torch.equal(y, expected)
    assert y.grad_fn.next_functions[0][0].name() == "ReflectionPad2DBackward0", "not a cast"
    (ours,) = torch.autograd.grad(y, x, gradient)
    (theirs,) = torch.autograd.grad(expected, x, gradient)
    torch.testing.assert_close(ours, theirs, rtol=2**-6, atol=2**-6)
    wide = noise(1, 4, 6, 7)
    assert torch.equal(conv(wide), plain(wide))


def test_batch_norm_can_be_copied_after_a_step():
    layer = BatchNorm(2).train()
    layer(noise(2, 2, 3, 3).requires_grad_()).sum().backward()
    assert copy.deepcopy(layer).weight is not layer.weight
