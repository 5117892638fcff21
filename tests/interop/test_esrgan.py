"""ESRGAN's three layouts and the compact network, against fixtures and against spandrel."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from img2img.errors import ModelError
from img2img.inference import load_model
from img2img.interop import recognise
from img2img.models import Compact, RRDBNet, build


def random(generator):
    torch.manual_seed(0)
    for p in generator.parameters():
        nn.init.normal_(p, std=0.5 / max(1, p[0].numel()) ** 0.5) if p.ndim > 1 else nn.init.uniform_(
            p, 0, 0.2
        )
    return generator.eval()


def to_middle(state):
    def rename(key):
        key = re.sub(r"^body\.(\d+)\.rdb(\d)", r"RRDB_trunk.\1.RDB\2", key)
        key = re.sub(r"^conv_up(\d)", r"upconv\1", key)
        return key.replace("conv_body", "trunk_conv").replace("conv_hr", "HRconv")

    return {rename(key): value for key, value in state.items()}


def to_old(state):
    blocks = len({key.split(".")[1] for key in state if key.startswith("body.")})
    ups = len({key.split(".")[0] for key in state if key.startswith("conv_up")})
    names = {"conv_first": "0", "conv_body": f"1.sub.{blocks}"}
    names |= {f"conv_up{k}": str(3 * k) for k in range(1, ups + 1)}
    names |= {"conv_hr": str(3 * ups + 2), "conv_last": str(3 * ups + 4)}

    def rename(key):
        if found := re.fullmatch(r"body\.(\d+)\.rdb(\d)\.(conv\d)\.(\w+)", key):
            return "model.1.sub.{}.RDB{}.{}.0.{}".format(*found.groups())
        if found := re.fullmatch(r"body\.(\d+)\.rdb(\d)\.conv1x1\.(\w+)", key):
            return "model.1.sub.{}.RDB{}.conv1x1.{}".format(*found.groups())
        module, _, rest = key.partition(".")
        return f"model.{names[module]}.{rest}"

    return {rename(key): value for key, value in state.items()}


LAYOUTS = {"new": dict, "middle": to_middle, "old": to_old}
VARIANTS = [
    *({"scale": scale} for scale in (1, 2, 4, 8, 16)),
    {"scale": 2, "unshuffle": 2},
    {"scale": 1, "unshuffle": 4},
    {"scale": 1, "unshuffle": 2},
    {"scale": 4, "plus": True},
    {"scale": 4, "growth": 3},
    {"scale": 4, "blocks": 12},
    {"scale": 4, "in_channels": 1, "out_channels": 1},
    {"scale": 4, "in_channels": 4, "out_channels": 4},
    {"scale": 2, "in_channels": 1, "out_channels": 3},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.sampled(6)
def test_every_layout_at_every_scale(layout, variant):
    original = random(RRDBNet(**({"features": 8, "blocks": 2, "growth": 4} | variant)))
    found = recognise(LAYOUTS[layout](original.state_dict()))
    assert found is not None and found.spec == original.spec
    assert layout in found.layout and f"x{original.scale}" in found.layout
    again = build(found.spec)
    again.load_state_dict(found.state)
    x = torch.rand(1, original.in_channels, 8, 12)
    with torch.inference_mode():
        assert torch.equal(again.eval()(x), original(x))


SLOW = pytest.mark.slow
AGAINST_SPANDREL = [
    ("new", {"scale": 4}),
    ("middle", {"scale": 2}),
    ("old", {"scale": 8}),
    ("old", {"scale": 4, "plus": True}),  # spandrel knows ESRGAN+ in this layout only
    ("new", {"scale": 2, "unshuffle": 2}),
    *(pytest.param("new", {"scale": scale}, marks=SLOW) for scale in (1, 2, 8)),
    *(pytest.param("middle", {"scale": scale}, marks=SLOW) for scale in (1, 4)),
    *(pytest.param("old", {"scale": scale}, marks=SLOW) for scale in (1, 2, 4, 16)),
    *(pytest.param(name, {"scale": 1, "unshuffle": 4}, marks=SLOW) for name in LAYOUTS),
    *(pytest.param(name, {"blocks": 3, "in_channels": 1, "out_channels": 1}, marks=SLOW) for name in LAYOUTS),
]


@pytest.mark.parametrize(("layout", "variant"), AGAINST_SPANDREL, ids=str)
def test_rrdbnet_equals_spandrel(layout, variant):
    spandrel = pytest.importorskip("spandrel")
    original = random(RRDBNet(**({"features": 8, "blocks": 2, "growth": 32} | variant)))
    state = LAYOUTS[layout](original.state_dict())
    model = spandrel.ModelLoader(device="cpu").load_from_state_dict(dict(state)).eval()
    assert model.scale == original.scale
    x = torch.rand(1, original.in_channels, 12, 16)
    with torch.inference_mode():
        torch.testing.assert_close(original(x), model.model(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("convs", [1, 4])
def test_compact_equals_spandrel(scale, convs):
    spandrel = pytest.importorskip("spandrel")
    original = random(Compact(scale=scale, features=8, convs=convs))
    model = spandrel.ModelLoader(device="cpu").load_from_state_dict(original.state_dict()).eval()
    x = torch.rand(1, 3, 9, 7)
    with torch.inference_mode():
        torch.testing.assert_close(original(x), model.model(x), rtol=0, atol=1e-6)
    found = recognise(original.state_dict())
    assert found is not None and found.spec == original.spec


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (4, 4), (1, 3)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_compact_with_other_channels(inputs, outputs, scale):
    if (inputs, outputs, scale) == (1, 3, 4):
        scale = 3
    original = Compact(inputs, outputs, scale=scale, features=8, convs=1)
    found = recognise(original.state_dict())
    assert found is not None and found.spec == original.spec


def test_compact_without_prelu_does_not_guess():
    with pytest.raises(ModelError, match="relu or leakyrelu"):
        recognise(Compact(features=8, convs=1, activation="relu").state_dict())


def test_strangers_are_not_recognised():
    assert recognise({"conv_first.weight": torch.zeros(8, 3, 3, 3)}) is None
    assert recognise({"body.0.weight": torch.zeros(8, 3, 3, 3), "tail.0.weight": torch.zeros(1)}) is None
    assert recognise({"body.0.weight": torch.zeros(8), "body.1.weight": torch.zeros(8)}) is None


def test_a_gap_in_the_blocks_is_an_error_and_no_endless_loop():
    state = RRDBNet(features=4, blocks=1, growth=2).state_dict()
    far = {key.replace("body.0", "body.999999999"): value for key, value in state.items()}
    found = recognise(state | far)
    assert found is not None and found.spec.arguments["blocks"] == 1


@pytest.mark.parametrize("name", ["rrdb_x4_new", "rrdb_x4_old", "rrdb_x1_old", "compact_x4"])
def test_fixtures_of_the_original_implementations(test_data, name):
    folder = test_data / "fixtures" / name
    translator = load_model(folder / "model.pth", device="cpu", precision="fp32")
    x = torch.from_numpy(np.load(folder / "input.npy"))
    with torch.inference_mode():
        difference = np.abs(translator.generator(x).numpy() - np.load(folder / "output.npy"))
    assert difference.max() < 1e-5
