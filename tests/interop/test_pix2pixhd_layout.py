"""The generators of pix2pixHD, rebuilt from stock layers and saved as its authors do, open without flags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import original_pix2pixhd as original
import pytest
import torch
from click.testing import CliRunner
from original_networks import randomise
from torch import Tensor, nn
from torch.nn import functional as F

from img2img import load_model
from img2img.checkpoint import open_model, save_model
from img2img.cli.main import cli
from img2img.errors import ConfigError, ProcessingError, UnknownModelError
from img2img.image import Image, read_image, write_image
from img2img.interop import open_checkpoint


def network(kind: str, inputs: int, downs: int = 2, norm: str = "instance") -> nn.Module:
    torch.manual_seed(0)
    if kind == "global":
        return randomise(original.Global(inputs, 3, 4, downs, 2, norm))
    enhancers = {"local": 1, "two": 2}[kind]
    return randomise(original.Local(inputs, 3, 2, downs, 2, enhancers, 1, norm))


def saved(net: nn.Module, folder: Path) -> Path:
    torch.save(net.state_dict(), folder / "latest_net_G.pth")
    return folder / "latest_net_G.pth"


def one_hot(labels: np.ndarray, count: int) -> Tensor:
    return F.one_hot(torch.from_numpy(labels.astype(np.int64)), count).permute(2, 0, 1)[None].double()


LABELS = np.random.default_rng(0).integers(0, 5, (2, 3), np.uint8).repeat(16, 0).repeat(16, 1)
IDS = np.random.default_rng(1).integers(0, 30_000, (4, 6), np.uint16).repeat(8, 0).repeat(8, 1)


@pytest.mark.parametrize(
    ("kind", "inputs", "classes", "instance", "style"),
    [
        ("global", 6, 5, True, 0),
        ("local", 6, 5, True, 0),
        ("two", 6, 5, True, 0),
        ("global", 36, 35, True, 0),
        ("global", 35, 35, False, 0),
        ("local", 39, 35, True, 3),
        ("global", 38, 35, False, 3),
    ],
)
@pytest.mark.sampled(2)
def test_classes_with_and_without_boundaries(
    kind: str, inputs: int, classes: int, instance: bool, style: int, tmp_path: Path
) -> None:
    net = network(kind, inputs)
    generator, info = open_checkpoint(saved(net, tmp_path))
    found = generator.spec.arguments
    assert (generator.spec.name, found["in_channels"], found["style"]) == ("pix2pixhd", classes, style)
    assert generator.labels and set(generator.conditions) == ({"instance"} if instance else set())
    assert info.output == "own" and info.nearest and info.palette == tuple((n,) for n in range(classes))
    assert f"{classes} classes" in info.origin["layout"]
    x = one_hot(LABELS, classes)
    ids = torch.from_numpy(IDS.astype(np.int32))[None, None]
    parts = [x, *([original.edges(ids)] if instance else [])]
    parts += [torch.zeros(1, style, *LABELS.shape).double()] if style else []
    with torch.no_grad():
        expected = net.double()(torch.cat(parts, 1))
        more = {"instance": ids} if instance else {}
        torch.testing.assert_close(generator.double()(x, **more), expected, rtol=0, atol=1e-9)
    save_model(tmp_path / "mine.safetensors", generator.float(), info)
    again, read = open_model(tmp_path / "mine.safetensors")
    assert again.spec == generator.spec and read == info


@pytest.mark.parametrize(
    ("kind", "inputs", "downs", "name"),
    [("global", 3, 4, "resnet"), ("global", 4, 3, "pix2pixhd"), ("local", 3, 2, "pix2pixhd")],
)
def test_pictures(kind: str, inputs: int, downs: int, name: str, tmp_path: Path) -> None:
    net = network(kind, inputs, downs)
    generator, info = open_checkpoint(saved(net, tmp_path))
    assert generator.spec.name == name and info.palette is None and generator.in_channels == 3
    x, ids = torch.rand(1, 3, 32, 48).double() * 2 - 1, torch.from_numpy(IDS.astype(np.int32))[None, None]
    more = {"instance": ids} if inputs == 4 else {}
    whole = torch.cat((x, original.edges(ids)), 1) if more else x
    with torch.no_grad():
        torch.testing.assert_close(generator.double()(x, **more), net.double()(whole), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["global", "local"])
def test_batch_norm_has_biases_there(kind: str, tmp_path: Path) -> None:
    net = network(kind, 6, norm="batch")
    generator, _ = open_checkpoint(saved(net, tmp_path))
    x = torch.rand(1, 6, 32, 32).double()
    with torch.no_grad():
        torch.testing.assert_close(generator.double()(x), net.double().train()(x), rtol=0, atol=1e-9)


def test_the_paper_s_sizes(tmp_path: Path) -> None:
    from img2img.interop import recognise

    with torch.device("meta"):
        nets = {
            "global generator": original.Global(36, 3, 64, 4, 9),
            "local enhancer": original.Local(36, 3, 32, 4, 9),
        }
    for words, net in nets.items():
        found = recognise(net.state_dict())
        assert found is not None and words in found.layout and found.spec.arguments["features"] == 64
        assert found.state.keys() == open_spec(found.spec).keys()


def open_spec(spec: object) -> dict[str, Tensor]:
    from img2img.models import build

    with torch.device("meta"):
        return build(spec).state_dict()


def test_folders_of_label_maps_with_their_instances(tmp_path: Path) -> None:
    """What a user does: latest_net_G.pth, a folder of labels and one of instances, no other word."""
    net, model = network("local", 6), saved(network("local", 6), tmp_path)
    for place, pixels in (("labels", LABELS), ("ids", IDS)):
        (tmp_path / place / "a").mkdir(parents=True)
        write_image(Image(pixels[..., None]), tmp_path / place / "a" / "1.png")
    run = ["translate", str(tmp_path / "labels"), "-o", str(tmp_path / "out"), "-m", str(model)]
    run += ["--device", "cpu", "--precision", "fp32"]
    result = CliRunner().invoke(cli, run)
    assert result.exit_code == 2 and "instance" in result.output and "--with instance=DIR" in result.output
    result = CliRunner().invoke(cli, [*run, "--with", f"instance={tmp_path / 'ids'}"])
    assert result.exit_code == 0, result.output
    found = read_image(tmp_path / "out" / "a" / "1.png").pixels
    x = torch.cat((one_hot(LABELS, 5), original.edges(torch.from_numpy(IDS.astype(np.int32))[None, None])), 1)
    with torch.no_grad():
        expected = (net.double()(x)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(found - expected.clip(0, 255)).max() <= 0.51


@pytest.mark.parametrize(
    ("labels", "ids", "words"),
    [
        (LABELS + np.uint8(3), IDS, r"class 7, and there are 5, 0 to 4 \("),
        (LABELS, IDS[:16], r"'instance' has 48x16 pixels, and its picture has 48x32"),
        (np.stack([LABELS * 40, LABELS, LABELS], 2), IDS, "has colours, and numbers in one channel"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    labels: np.ndarray, ids: np.ndarray, words: str, tmp_path: Path
) -> None:
    translate = load_model(saved(network("global", 6), tmp_path), device="cpu")
    with pytest.raises(ProcessingError, match=words):
        translate(labels, instance=ids)


def test_grey_label_maps_in_three_equal_channels_are_numbers(tmp_path: Path) -> None:
    translate = load_model(saved(network("global", 6), tmp_path), device="cpu", precision="fp32")
    one = translate(LABELS, instance=IDS)
    assert np.array_equal(translate(np.stack([LABELS] * 3, 2), instance=IDS), one.reshape(32, 48, 3))
    with pytest.raises(ConfigError, match="instance"):
        translate(LABELS)


def test_what_lies_beside_the_generator_is_named(tmp_path: Path) -> None:
    for net, words in (
        (original.Global(3, 3, 4, 3, 0), "the encoder of pix2pixHD"),
        (original.Discriminators(9, 4, 3, 2), "the multi-scale discriminator of pix2pixHD"),
    ):
        with pytest.raises(UnknownModelError, match=words):
            open_checkpoint(saved(net, tmp_path))
