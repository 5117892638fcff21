"""StarGAN's networks against plain torch, and its published `*-G.ckpt` against what they compute."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img import load_model
from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.cli.main import cli
from img2img.errors import ConfigError, ModelError, UnknownModelError
from img2img.interop import open_checkpoint, recognise
from img2img.models import StarGANDiscriminator, StarGANGenerator

_SPEC = importlib.util.spec_from_file_location(
    "plain_stargan", Path(__file__).parents[2] / "tools" / "plain_stargan.py"
)
plain = importlib.util.module_from_spec(_SPEC)
sys.modules["plain_stargan"] = plain
_SPEC.loader.exec_module(plain)

CELEBA = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def trained(attributes: int, f: int = 4, blocks: int = 2) -> torch.nn.Module:
    """Returns one whose norms have weights, and running statistics that are far from those of a picture."""
    torch.manual_seed(attributes)
    net = plain.Generator(attributes, f, blocks)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith("running_var"):
                value.fill_(9.0)
            elif value.ndim == 1 and value.is_floating_point():
                value.add_(0.3 * torch.randn_like(value))
    return net


@pytest.mark.slow
def test_they_are_as_large_as_the_originals() -> None:
    with torch.device("meta"):
        for labels in (5, 8):
            assert count(StarGANGenerator(attributes=labels)) == count(plain.Generator(labels))
            assert count(StarGANDiscriminator(attributes=labels)) == count(plain.Discriminator(labels))
        both = StarGANGenerator(attributes=5, others=8)
        assert count(both) == count(plain.Generator(15))
        large = StarGANDiscriminator(input_size=256)
        assert count(large) == count(plain.Discriminator(5, side=256))
    assert count(StarGANGenerator()) == 8_430_528 and count(StarGANDiscriminator()) == 44_762_048


@pytest.mark.parametrize(("attributes", "blocks"), [(5, 2), (8, 1), (1, 0), (15, 3)])
def test_a_checkpoint_opens_and_answers_as_the_original(attributes: int, blocks: int, tmp_path: Path) -> None:
    net = trained(attributes, blocks=blocks)
    torch.save(net.state_dict(), tmp_path / "200000-G.ckpt")
    generator, info = open_checkpoint(tmp_path / "200000-G.ckpt")
    assert generator.spec.arguments == {
        "in_channels": 3,
        "features": 4,
        "blocks": blocks,
        "attributes": attributes,
        "others": 0,
        "second": False,
    }
    assert (info.output, info.size) == ("own", (128, 128)) and not generator.training
    x, labels = 2 * torch.rand(3, 3, 32, 48) - 1, torch.randint(0, 2, (3, attributes)).float()
    net.double().train()  # as the authors use it
    with torch.no_grad():
        theirs = net(x.double(), labels.double())
        assert theirs.std() > 0.05
        torch.testing.assert_close(generator(x, attributes=labels).double(), theirs, rtol=0, atol=1e-5)


def test_the_authors_selection_is_known_and_others_are_numbered(tmp_path: Path) -> None:
    five, eight = (recognise(trained(n).state_dict()).info for n in (5, 8))
    assert five.attributes == {"attributes": CELEBA} and five.exclusive == (CELEBA[:3],)
    assert eight.attributes == {"attributes": tuple(f"attribute_{n}" for n in range(1, 9))}
    assert eight.exclusive == ()
    path = tmp_path / "x.ckpt"
    torch.save({"module." + key: value for key, value in trained(5).state_dict().items()}, path)
    result = CliRunner().invoke(cli, ["model", "import", str(path), "-o", str(tmp_path / "star.safetensors")])
    assert result.exit_code == 0, result.stderr
    assert open_model(tmp_path / "star.safetensors")[1].exclusive == (CELEBA[:3],)
    result = CliRunner().invoke(cli, ["model", "info", str(tmp_path / "star.safetensors")])
    assert "StarGAN, 5 attributes, 2 blocks" in result.stdout and "Blond_Hair" in result.stdout
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    translate = load_model(tmp_path / "star.safetensors", device="cpu", size=32)
    black, blond = (translate(pixels, attributes=row) for row in ([1, 0, 0, 1, 1], [0, 1, 0, 1, 1]))
    assert black.shape == pixels.shape and (black != blond).any()


def test_its_discriminator_is_called_one(tmp_path: Path) -> None:
    torch.save(plain.Discriminator(5, 32, 4, 4).state_dict(), tmp_path / "200000-D.ckpt")
    with pytest.raises(UnknownModelError, match="the discriminator of StarGAN"):
        open_checkpoint(tmp_path / "200000-D.ckpt")


def test_what_is_left_over_is_refused(tmp_path: Path) -> None:
    state = trained(5).state_dict()
    torch.save({**state, "main.99.weight": torch.zeros(4, 4, 3, 3)}, tmp_path / "x.ckpt")
    with pytest.raises(ModelError, match=r"main\.99"):
        open_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(("side", "layers"), [(32, 4), (64, 4)])
def test_the_discriminator_against_plain_torch(side: int, layers: int) -> None:
    torch.manual_seed(0)
    net = StarGANDiscriminator(3, 4, layers, side, 7)
    stock = plain.Discriminator(7, side, 4, layers)
    stock.load_state_dict(dict(zip(stock.state_dict(), net.state_dict().values(), strict=True)))
    x = torch.rand(2, 3, side, side)
    for ours, theirs in zip(net.judged(x), stock(x), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(net(x), stock(x)[0])


@pytest.mark.parametrize("second", [False, True])
def test_labels_of_two_data_sets_are_those_of_the_original(second: bool) -> None:
    """[labels of the first, labels of the second, which of them count], zeros for the unknown ones."""
    own, others = (3, 2) if second else (2, 3)
    net = StarGANGenerator(features=4, blocks=0, attributes=own, others=others, second=second)
    wanted = torch.tensor([[1.0, 0, 1][:own]])
    expected = [[0, 0, 1, 0, 1, 0, 1]] if second else [[1, 0, 0, 0, 0, 1, 0]]
    assert net.labels(wanted).tolist() == expected
    assert list(net.conditions) == ["second_attributes" if second else "attributes"]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: StarGANGenerator(attributes=0), "attributes >= 1"),
        (lambda: StarGANGenerator(second=True), "the number of the others"),
        (lambda: StarGANDiscriminator(input_size=100), "multiple of 64"),
        (lambda: StarGANDiscriminator(layers=0), "with 0 layers"),
    ],
)
def test_arguments_that_make_no_sense(build, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()


def test_groups_of_names_that_are_none_are_not_written(tmp_path: Path) -> None:
    net, names = StarGANGenerator(features=4, blocks=0, attributes=2), {"attributes": ("a", "b")}
    save_model(tmp_path / "m.safetensors", net, ModelInfo("own", attributes=names, exclusive=(("a", "b"),)))
    assert open_model(tmp_path / "m.safetensors")[1].exclusive == (("a", "b"),)
    for wrong in ((("a", "c"),), (("a",),)):
        with pytest.raises(ModelError, match="no groups"):
            save_model(tmp_path / "n.safetensors", net, ModelInfo("own", attributes=names, exclusive=wrong))
