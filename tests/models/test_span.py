"""SPAN in the forms that it learns in."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.errors import ConfigError
from img2img.models import SPAN, build
from img2img.models.folding import BranchedConv2d

FORMS = ({}, {"branches": True}, {"symmetric": True}, {"skip": True, "mean": "none"})


def random(**arguments: object) -> SPAN:
    torch.manual_seed(0)
    network = SPAN(**({"features": 8, "blocks": 2, "scale": 2} | arguments)).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.mark.parametrize(
    ("scale", "features", "parameters"),
    [(2, 48, 410_700), (4, 48, 426_288), (2, 52, 481_324), (4, 52, 498_208)],
)
@pytest.mark.sampled(1)
def test_parameters_of_the_published_configurations(scale: int, features: int, parameters: int):
    """Folded they are these: 411 and 426 K of SPAN-S, 481 and 498 K of SPAN in the paper's table 1."""
    with torch.device("meta"):
        network = SPAN(scale=scale, features=features)
        learning = SPAN(scale=scale, features=features, branches=True).exported()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert sum(p.numel() for p in learning.parameters()) == parameters


def test_branches_are_one_convolution_also_at_the_borders():
    """Against the layers one after the other, on a picture that is padded before the first."""
    torch.manual_seed(0)
    layer = BranchedConv2d(3, 4).double()
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64)
    expected = layer.reduce(layer.middle(layer.expand(F.pad(x, (1, 1, 1, 1))))) + layer.skip(x)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    mine = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    theirs = torch.autograd.grad(expected.square().sum(), list(layer.parameters()))
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("arguments", FORMS, ids=str)
def test_what_is_exported_is_plain_and_equal(arguments: dict[str, bool], tmp_path):
    network = random(**arguments)
    plain = network.exported()
    assert {type(m) for m in plain.modules() if hasattr(m, "weight")} == {nn.Conv2d}
    assert build(plain.spec).spec == plain.spec and not (plain.branches or plain.symmetric)
    x = torch.rand(1, 3, 9, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), network(x), rtol=1e-9, atol=1e-9)
        with torch.inference_mode():
            torch.testing.assert_close(plain.infer(x), network(x), rtol=1e-9, atol=1e-9)
    save_model(tmp_path / "m.safetensors", plain.float(), ModelInfo())
    again, _ = open_model(tmp_path / "m.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(x.float()), network.float()(x.float()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("arguments", FORMS, ids=str)
def test_every_parameter_learns(arguments: dict[str, bool]):
    network = random(**arguments).float()
    network(torch.rand(2, 3, 12, 12)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("turn", [lambda x: x.flip(-1), lambda x: x.rot90(1, (-2, -1))])
@pytest.mark.sampled(3)
def test_symmetric_weights_turn_the_output_with_the_input(scale: int, turn):
    network, x = random(scale=scale, symmetric=True), torch.rand(1, 3, 7, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(turn(x)), turn(network(x)), rtol=1e-9, atol=1e-9)
    SPAN(features=8, blocks=1, symmetric=True).check_state()
    assert network.exported().fine_tuning_arguments()["symmetric"]
    assert not random(scale=scale).fine_tuning_arguments()["symmetric"]


def test_a_network_held_to_be_symmetric_refuses_other_weights():
    network = SPAN(features=8, blocks=1, symmetric=True)
    network.load_state_dict(SPAN(features=8, blocks=1).state_dict())
    with pytest.raises(ConfigError, match="did not learn to be symmetric"):
        network.check_state()


@pytest.mark.parametrize(
    "arguments",
    [
        {"blocks": 0},
        {"mean": "coco"},
        {"scale": 0},
        {"branches": True, "symmetric": True},
        {"in_channels": 2, "skip": True},
    ],
)
def test_nonsense_is_refused(arguments: dict[str, object]):
    with pytest.raises(ConfigError):
        SPAN(**arguments)


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 3), (3, 1), (1, 1), (4, 4)])
def test_other_channels(inputs: int, outputs: int):
    network = SPAN(inputs, outputs, scale=2, features=8, blocks=1, skip=True)
    assert network(torch.rand(1, inputs, 3, 4)).shape == (1, outputs, 6, 8)
