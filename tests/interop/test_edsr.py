"""EDSR as BasicSR, mmagic and its authors save it, against the network written down here a second time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from img2img.checkpoint import open_model, save_model
from img2img.errors import ModelError
from img2img.interop import open_checkpoint
from img2img.models import ArchSpec, build

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
LAYOUTS = ("BasicSR", "mmagic", "EDSR-PyTorch")


def network(scale: int, features: int, blocks: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns weight and bias of each convolution, with the names of the paper's parts."""
    torch.manual_seed(scale)

    def conv(taken: int, made: int, gain: float = 1.0) -> tuple[Tensor, Tensor]:
        return gain * torch.randn(made, taken, 3, 3) / (9 * taken) ** 0.5, 0.1 * torch.randn(made)

    found = {"head": conv(3, features), "after": conv(features, features)}
    for block in range(blocks):
        found |= {f"block {block} {part}": conv(features, features) for part in (1, 2)}
    found |= {f"up {i}": conv(features, features * step**2) for i, step in enumerate(STEPS[scale])}
    return found | {"tail": conv(features, 3)}


def enlarged(
    found: dict[str, tuple[Tensor, Tensor]], x: Tensor, scale: int, white: float, residual: float
) -> Tensor:
    """Returns what the original makes of x (N, 3, H, W) from 0 to 1, in double precision."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight, bias = found[name]
        return F.conv2d(x, weight.double(), bias.double(), padding=1)

    first = y = conv("head", (x.double() - MEAN) * white)
    for block in range(sum(name.endswith(" 1") and name.startswith("block") for name in found)):
        y = y + residual * conv(f"block {block} 2", F.relu(conv(f"block {block} 1", y)))
    y = first + conv("after", y)
    for index, step in enumerate(STEPS[scale]):
        y = F.pixel_shuffle(conv(f"up {index}", y), step)
    return (conv("tail", y) / white + MEAN).float()


def state(found: dict[str, tuple[Tensor, Tensor]], layout: str, white: float = 255) -> dict[str, Tensor]:
    """Returns the checkpoint that the code of `layout` would have saved."""
    blocks = sum(name.endswith(" 1") and name.startswith("block") for name in found)
    authors = layout == "EDSR-PyTorch"
    names = {"head": "head.0", "after": f"body.{blocks}", "tail": "tail.1"} if authors else {}
    names = names or {"head": "conv_first", "after": "conv_after_body", "tail": "conv_last"}
    step = {"BasicSR": "upsample.{1}", "mmagic": "upsample.{0}.upsample_conv", "EDSR-PyTorch": "tail.0.{1}"}
    made = {}
    for name, (weight, bias) in found.items():
        kind, *rest = name.split()
        if kind == "block":
            block, part = map(int, rest)
            theirs = f"body.{block}.body.{2 * part - 2}" if authors else f"body.{block}.conv{part}"
        else:
            index = int(rest[0]) if rest else 0
            theirs = step[layout].format(index, 2 * index) if kind == "up" else names[kind]
        made |= {f"{theirs}.weight": weight, f"{theirs}.bias": bias}
    if authors:
        for name, sign in (("sub_mean", -1), ("add_mean", 1)):
            made |= {f"{name}.weight": torch.eye(3).view(3, 3, 1, 1)}
            made |= {f"{name}.bias": sign * white * MEAN.flatten()}
    return made


def opened(folder: Path, content: object):
    torch.save(content, folder / "EDSR.pth")
    return open_checkpoint(folder / "EDSR.pth")


def agrees(generator, x: Tensor, expected: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(generator.infer(x), expected, rtol=0, atol=1e-5 * float(expected.std()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", STEPS)
@pytest.mark.sampled(5)
def test_it_computes_what_the_original_does(layout: str, scale: int, tmp_path: Path):
    found, x = network(scale, 6, 2), torch.rand(1, 3, 7, 9)
    generator, info = opened(tmp_path, {"params": state(found, layout)})
    if layout == "mmagic" and scale == 1:  # no layer tells it from BasicSR's
        layout = "BasicSR"
    expected = enlarged(found, x, scale, 1 if layout == "mmagic" else 255, 1)
    agrees(generator, x, expected)
    assert info.origin["layout"] == f"EDSR ({layout}), x{scale}"
    save_model(tmp_path / "x.safetensors", generator, info)
    agrees(open_model(tmp_path / "x.safetensors")[0], x, expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.sampled(1)
def test_the_large_network_adds_a_tenth_of_what_its_blocks_make(layout: str, tmp_path: Path):
    found, x = network(2, 256, 1), torch.rand(1, 3, 5, 6)
    expected = enlarged(found, x, 2, 1 if layout == "mmagic" else 255, 0.1)
    agrees(opened(tmp_path, state(found, layout))[0], x, expected)


@pytest.mark.parametrize(
    ("layout", "wrap"),
    [
        ("BasicSR", lambda state: {"params_ema": state, "params": {k: v * 0 for k, v in state.items()}}),
        ("BasicSR", lambda state: {f"module.{key}": value for key, value in state.items()}),
        (
            "mmagic",
            lambda state: {
                "meta": {"epoch": 1},
                "state_dict": {f"generator.{k}": v for k, v in state.items()},
            },
        ),
        (
            "mmagic",
            lambda state: {
                "state_dict": {f"generator.{k}": v for k, v in state.items()}
                | {"step_counter": torch.tensor(3), "data_preprocessor.mean": torch.zeros(3, 1, 1)}
            },
        ),
        ("EDSR-PyTorch", lambda state: {key: value.half() for key, value in state.items()}),
    ],
)
def test_wrappings_fall_away(layout: str, wrap, tmp_path: Path):
    found, x = network(4, 6, 1), torch.rand(1, 3, 5, 6)
    if layout == "EDSR-PyTorch":
        found = {name: (weight.half().float(), bias.half().float()) for name, (weight, bias) in found.items()}
    expected = enlarged(found, x, 4, 1 if layout == "mmagic" else 255, 1)
    agrees(opened(tmp_path, wrap(state(found, layout)))[0], x, expected)


def test_the_authors_mean_tells_their_white(tmp_path: Path):
    found, x = network(2, 6, 1), torch.rand(1, 3, 5, 6)
    agrees(opened(tmp_path, state(found, "EDSR-PyTorch", white=1))[0], x, enlarged(found, x, 2, 1, 1))
    other = state(found, "EDSR-PyTorch") | {"sub_mean.bias": torch.tensor([-100.0, -100.0, -90.0])}
    with pytest.raises(ModelError, match=r"takes \[-100\.0, -100\.0, -90\.0\] off its input"):
        opened(tmp_path, other)


def test_what_does_not_fit_is_a_sentence(tmp_path: Path):
    found = state(network(2, 6, 1), "BasicSR")
    with pytest.raises(ModelError, match="from 3 to 1 channels, and its mean colour stands in no file"):
        opened(
            tmp_path, found | {"conv_last.weight": torch.zeros(1, 6, 3, 3), "conv_last.bias": torch.zeros(1)}
        )
    with pytest.raises(ModelError, match="enlarges by 5; those for 1, 2, 3, 4, 8 are read"):
        opened(tmp_path, found | {"upsample.0.weight": torch.zeros(150, 6, 3, 3)})
    with pytest.raises(ModelError, match=r"does not fit edsr_paper.*blocks\.0\.conv2"):
        opened(tmp_path, {key: value for key, value in found.items() if not key.startswith("body.0.conv2")})


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [({}, 1_517_571), ({"scale": 2}, 1_369_859), ({"features": 256, "blocks": 32}, 43_089_923)],
)
def test_it_has_as_many_parameters_as_the_published_ones(arguments: dict[str, int], parameters: int):
    with torch.device("meta"):
        made = build(ArchSpec("edsr_paper", arguments))
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.bool])
@pytest.mark.sampled(3)
def test_whole_numbers_are_no_weights_wherever_they_stand(tmp_path: Path, layout: str, dtype: torch.dtype):
    weights = state(network(2, 4, 1), layout)
    for key in weights:
        torch.save({"params": {**weights, key: weights[key].to(dtype)}}, tmp_path / "x.pth")
        with pytest.raises(ModelError, match=r"numbers where weights belong|sub_mean|add_mean|takes .* off"):
            open_checkpoint(tmp_path / "x.pth")
