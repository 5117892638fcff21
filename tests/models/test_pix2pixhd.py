"""The networks of pix2pixHD against stock layers, and what goes into them."""

from __future__ import annotations

import original_pix2pixhd as original
import pytest
import torch
from probes import parameters

from img2img.errors import ConfigError
from img2img.models import MultiScalePatchGAN, Pix2PixHD, Resnet
from img2img.models.pix2pixhd import boundaries, set_style

SMALL = {"features": 8, "downs": 2, "blocks": 2, "local_blocks": 1}


def test_parameters_are_those_of_the_paper_s_networks() -> None:
    """1024x512 and 2048x1024 of Cityscapes; the discriminators of 2 scales; the encoder."""
    with torch.device("meta"):
        for enhancers, reference in (
            (0, original.Global(36, 3, 64, 4, 9)),
            (1, original.Local(36, 3, 32, 4, 9)),
            (2, original.Local(36, 3, 16, 4, 9, enhancers=2)),
        ):
            ours = Pix2PixHD(35, labels=True, instance=True, enhancers=enhancers)
            assert parameters(ours) == parameters(reference)
        assert parameters(Pix2PixHD(35, labels=True, instance=True)) == 182_546_755
        judge = MultiScalePatchGAN(39, padding=2)
        assert parameters(judge) == parameters(original.Discriminators(39, 64, 3, 2))
        assert parameters(Resnet(3, 3, 16, 0, 4)) == parameters(original.Global(3, 3, 16, 4, 0))


def copied(ours: torch.nn.Module, reference: torch.nn.Module) -> None:
    """Both name their tensors in the order of the layers."""
    values = reference.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))


@pytest.mark.parametrize("enhancers", [0, 1, 2])
@pytest.mark.sampled(1)
def test_layers_are_those_of_the_reference(enhancers: int) -> None:
    torch.manual_seed(0)
    net = Pix2PixHD(5, 3, **SMALL, labels=True, instance=True, enhancers=enhancers).double()
    arguments = (6, 3, 8 >> enhancers, 2, 2)
    reference = (
        original.Local(*arguments, enhancers=enhancers, local_blocks=1)
        if enhancers
        else original.Global(*arguments)
    ).double()
    copied(net, reference)
    side = 2 * net.multiple_of
    classes = torch.randint(0, 5, (2, side, side + net.multiple_of))
    x = torch.nn.functional.one_hot(classes, 5).permute(0, 3, 1, 2).double()
    ids = torch.randint(0, 3, (2, 1, side, side + net.multiple_of), dtype=torch.int32)
    with torch.no_grad():
        expected = reference(torch.cat((x, original.edges(ids)), 1))
        torch.testing.assert_close(net(x, instance=ids), expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(net(net.joined(x, ids)), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("scales", "layers"), [(2, 3), (3, 2)])
def test_discriminators_are_those_of_the_reference(scales: int, layers: int) -> None:
    torch.manual_seed(0)
    net = MultiScalePatchGAN(5, 4, layers, scales, padding=2).double()
    reference = original.Discriminators(5, 4, layers, scales).double()
    # there the last scale sees the full size
    values = [
        value
        for scale in reversed(range(scales))
        for key, value in reference.state_dict().items()
        if key.startswith(f"scale{scale}_")
    ]
    net.load_state_dict(dict(zip(net.state_dict(), values, strict=True)))
    x = torch.rand(2, 5, 33, 46).double()
    with torch.no_grad():
        for ours, theirs in zip(net.features(x), reference(x), strict=True):
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_boundaries_lie_on_both_sides_of_a_border() -> None:
    ids = torch.randint(0, 4, (2, 1, 9, 7), dtype=torch.int32)
    assert torch.equal(boundaries(ids).double(), original.edges(ids))
    assert not boundaries(torch.full((1, 1, 5, 5), 70_000, dtype=torch.int32)).any()


def test_a_style_gives_each_class_its_centre() -> None:
    torch.manual_seed(0)
    net = Pix2PixHD(3, 3, **SMALL, labels=True, style=2, clusters=4)
    net.styles.copy_(torch.rand(3, 4, 2))
    net.style_counts.copy_(torch.tensor([4, 1, 0]))
    classes = torch.tensor([[[0, 1], [2, 0]]])
    x = torch.nn.functional.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    for number, places in ((0, (0, 0, 0)), (3, (3, 0, 0))):
        set_style(net, number)
        expected = torch.stack([net.styles[c, p] for c, p in enumerate(places)])[classes]
        assert torch.equal(net.chosen(x), expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("net", "number", "words"),
    [
        (Pix2PixHD(3, 3, **SMALL, labels=True, style=2), 0, "no styles"),
        (Pix2PixHD(3, 3, **SMALL, labels=True), 0, "no styles"),
        (Resnet(features=2, blocks=1), 1, "no styles"),
    ],
)
def test_a_model_without_styles_says_so(net: torch.nn.Module, number: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        set_style(net, number)


def test_a_wrong_style_is_told_which_there_are() -> None:
    net = Pix2PixHD(3, 3, **SMALL, labels=True, style=2)
    net.style_counts.copy_(torch.tensor([2, 5, 0]))
    for number in (5, -1):
        with pytest.raises(ConfigError, match="styles 0 to 4"):
            set_style(net, number)


@pytest.mark.parametrize("arguments", [{"enhancers": -1}, {"features": 6, "enhancers": 2}, {"clusters": 0}])
def test_what_cannot_be_built_is_a_sentence(arguments: dict) -> None:
    with pytest.raises(ConfigError, match="pix2pixHD needs"):
        Pix2PixHD(**arguments)
