"""The perceptual loss against torchvision's own VGG19, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from img2img.errors import ConfigError, ModelError
from img2img.losses import PerceptualLoss, vgg
from img2img.losses.vgg import VGG16, VGG19, VGGFeatures
from img2img.types import SYMMETRIC, UNIT

CONVS = [place for place, layer in enumerate(make_layers(cfgs["E"])) if isinstance(layer, nn.Conv2d)]
CONV_NAMES = [name for name in VGG19.layers if name.startswith("conv")]
PLACES = dict(zip(CONV_NAMES, CONVS, strict=True))


@cache
def reference() -> nn.Sequential:
    """VGG19's convolutions with weights that keep the size of the values."""
    torch.manual_seed(0)
    stages = make_layers(cfgs["E"])
    for stage in stages:
        if isinstance(stage, nn.Conv2d):
            nn.init.kaiming_normal_(stage.weight)
            nn.init.normal_(stage.bias, 0, 0.1)
        if isinstance(stage, nn.ReLU):
            stage.inplace = False
    return stages.requires_grad_(False)


def features(x: Tensor, name: str, activated: bool) -> Tensor:
    """Of images in [0, 1]."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (x.expand(-1, 3, -1, -1) - mean[:, None, None]) / deviation[:, None, None]
    return reference()[: PLACES[name] + 1 + activated](x)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    state = {f"features.{key}": value for key, value in reference().state_dict().items()}
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, path)
    yield path
    path.unlink()


@pytest.fixture
def shallow(tmp_path: Path) -> Path:
    """Weights up to conv2_2 only, without the prefix."""
    path = tmp_path / "shallow.safetensors"
    save_file(dict(reference()[:10].state_dict()), path)
    return path


def images(channels: int = 3, side: int = 32, count: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(2, count, channels, side, side).unbind()


def test_the_layers_are_those_of_torchvision() -> None:
    assert PLACES == {
        "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7,
        "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv3_4": 16,
        "conv4_1": 19, "conv4_2": 21, "conv4_3": 23, "conv4_4": 25,
        "conv5_1": 28, "conv5_2": 30, "conv5_3": 32, "conv5_4": 34,
    }  # fmt: skip


@pytest.mark.parametrize("activated", [False, True])
@pytest.mark.parametrize(
    ("channels", "criterion", "distance"), [(1, "l1", torch.abs), (3, "l2", torch.square)]
)
@pytest.mark.sampled(1)
def test_against_torchvision(full: Path, activated: bool, channels: int, criterion: str, distance) -> None:
    output, target = images(channels, side=16)
    layers = {"conv1_2": 0.1, "conv5_4": 1.0, "conv3_4": 2.0}
    loss = PerceptualLoss(
        layers, value_range=UNIT, criterion=criterion, before_activation=not activated, weights=full
    )
    expected = sum(
        weight * distance(features(output, name, activated) - features(target, name, activated)).mean().item()
        for name, weight in layers.items()
    )
    found = loss(output, target)
    assert (found.dtype, found.shape) == (torch.float32, ())
    assert found.item() == pytest.approx(expected, rel=1e-4)
    assert loss(target, target).item() == 0


def test_the_default_is_the_layer_of_esrgan(full: Path) -> None:
    output, target = images(side=16)
    found = PerceptualLoss(value_range=UNIT, weights=full)(output, target)
    expected = (features(output, "conv5_4", False) - features(target, "conv5_4", False)).abs().mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_values_may_be_seen_as_they_are(shallow: Path) -> None:
    """As pix2pixHD has it: what the first ReLU of a block returns, of values from -1 to 1."""
    output, target = (2 * x - 1 for x in images())
    layers = {"conv1_1": 1 / 32, "conv2_1": 1 / 16}
    loss = PerceptualLoss(
        layers, value_range=SYMMETRIC, before_activation=False, standardised=False, weights=shallow
    )
    expected = sum(
        weight
        * (reference()[: PLACES[name] + 2](output) - reference()[: PLACES[name] + 2](target)).abs().mean()
        for name, weight in layers.items()
    )
    torch.testing.assert_close(loss(output, target), expected, rtol=1e-4, atol=0)


def test_the_range_is_taken_out(shallow: Path) -> None:
    output, target = images()
    unit = PerceptualLoss({"conv2_2": 1.0}, value_range=UNIT, weights=shallow)(output, target)
    both = PerceptualLoss({"conv2_2": 1.0}, value_range=SYMMETRIC, weights=shallow)(
        2 * output - 1, 2 * target - 1
    )
    torch.testing.assert_close(unit, both, rtol=1e-4, atol=0)


@pytest.mark.parametrize("activated", [False, True])
def test_the_gradient_reaches_the_output_only(shallow: Path, activated: bool) -> None:
    loss = PerceptualLoss(
        {"conv1_1": 1.0, "conv2_2": 1.0}, value_range=UNIT, weights=shallow, before_activation=not activated
    )
    output, target = (image.requires_grad_() for image in images())
    loss(output, target).backward()
    assert target.grad is None
    expected = output.detach().clone().requires_grad_()
    sum(
        (features(expected, name, activated) - features(target.detach(), name, activated)).abs().mean()
        for name in ("conv1_1", "conv2_2")
    ).backward()
    torch.testing.assert_close(output.grad, expected.grad, rtol=1e-3, atol=1e-6)


def test_it_is_no_part_of_what_holds_it(shallow: Path) -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.perceptual = PerceptualLoss({"conv1_2": 1.0}, value_range=UNIT, weights=shallow)

    holder = Holder()
    assert not list(holder.parameters())
    assert not holder.state_dict()
    network = holder.perceptual._features.network
    before = [p.clone() for p in network.parameters()]
    holder.train()
    output, target = images()
    holder.perceptual(output.requires_grad_(), target).backward()
    assert not network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_under_autocast_the_distance_is_fp32(shallow: Path) -> None:
    loss = PerceptualLoss({"conv2_2": 1.0}, value_range=UNIT, weights=shallow)
    output, target = images(side=16)
    plain = loss(output, target)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(output.bfloat16(), target)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain.item(), rel=0.02)


def test_the_deepest_layer_decides_how_much_is_built(shallow: Path) -> None:
    network = PerceptualLoss(
        {"conv1_2": 1.0, "conv2_1": 1.0}, value_range=UNIT, weights=shallow
    )._features.network
    assert [tuple(p.shape) for p in network.parameters() if p.dim() == 4] == [
        (64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3)
    ]  # fmt: skip


class TestWeights:
    @pytest.fixture(autouse=True)
    def cache_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        return tmp_path / "torch" / "hub" / "checkpoints"

    def test_without_them_the_sentence_names_the_three_ways_out(self, cache_folder: Path) -> None:
        with pytest.raises(ConfigError, match="not at hand") as raised:
            PerceptualLoss(value_range=UNIT)
        text = str(raised.value)
        assert str(cache_folder) in text
        assert all(
            word in text for word in ("(weights)", "vgg19-dcbb9e9d.pth", "(allow_download)", "https://")
        )

    @pytest.mark.parametrize("own", [False, True], ids=["torch", "IMG2IMG_WEIGHTS_DIR"])
    def test_those_that_are_kept_are_found(
        self, cache_folder: Path, shallow: Path, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "own" if own else cache_folder
        folder.mkdir(parents=True)
        monkeypatch.setenv("IMG2IMG_WEIGHTS_DIR", str(tmp_path / "own"))
        torch.save(reference()[:3].state_dict(), folder / VGG19.file)
        output, target = images()
        found = PerceptualLoss({"conv1_2": 1.0}, value_range=UNIT)(output, target)
        assert found == PerceptualLoss({"conv1_2": 1.0}, value_range=UNIT, weights=shallow)(output, target)

    def test_on_request_they_are_downloaded_to_where_torch_keeps_them(
        self, cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = tmp_path / "content"
        torch.save(reference()[:3].state_dict(), content)

        def download(urls: tuple[str, ...], path: Path, sha256: str) -> Path:
            assert urls[0].endswith(VGG19.file)
            assert sha256 == VGG19.sha256
            path.parent.mkdir(parents=True)
            return content.rename(path)

        monkeypatch.setattr(vgg, "fetch", download)
        PerceptualLoss({"conv1_2": 1.0}, value_range=UNIT, allow_download=True)
        assert (cache_folder / VGG19.file).is_file()

    def test_the_digits_in_the_name_are_those_of_the_checksum(self) -> None:
        from torchvision.models import VGG16_Weights, VGG19_Weights

        for ours, theirs in ((VGG16, VGG16_Weights), (VGG19, VGG19_Weights)):
            assert theirs.IMAGENET1K_V1.url == ours.url
            assert f"{ours.title.lower()}-{ours.sha256}.pth" == ours.file

    def test_the_old_format_of_torch_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "old.pth"
        torch.save(reference()[:1].state_dict(), path, _use_new_zipfile_serialization=False)
        PerceptualLoss({"conv1_1": 1.0}, value_range=UNIT, weights=path)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "cannot be read"),
            (b"not a model", "cannot be read"),
            ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "features.0.bias is missing"),
            ({"features.0.weight": torch.zeros(4, 3, 3, 3)}, "has the shape"),
            ([1, 2], "something other"),
        ],
    )
    def test_other_files_are_sentences(self, tmp_path: Path, content: object, reason: str) -> None:
        path = tmp_path / "file.pth"
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
        with pytest.raises(ModelError, match=rf"file\.pth: .*{reason}.*{VGG19.file}, from https://"):
            PerceptualLoss({"conv1_1": 1.0}, value_range=UNIT, weights=path)

    def test_the_weights_of_the_other_network_are_refused_where_their_first_shapes_agree(
        self, tmp_path: Path
    ) -> None:
        """Up to pool3 nothing but one convolution more tells VGG19 from VGG16."""
        widths = [3, *[width for width in (64, 128, 256, 256) for _ in "ab"]]
        places = [0, 2, 5, 7, 10, 12, 14, 16]
        state = {}
        for place, inputs, outputs in zip(places, widths, widths[1:], strict=False):
            state[f"features.{place}.weight"] = torch.zeros(outputs, inputs, 3, 3)
            state[f"features.{place}.bias"] = torch.zeros(outputs)
        torch.save(state, tmp_path / "file.pth")
        layers = ("pool1", "pool2", "pool3")
        VGGFeatures(VGG19, layers[:2], UNIT, weights=tmp_path / "file.pth")
        with pytest.raises(ModelError, match=r"features\.16\.weight is of VGG19\..*vgg16-397923af\.pth"):
            VGGFeatures(VGG16, layers, UNIT, weights=tmp_path / "file.pth")

    def test_a_file_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="does not exist"):
            PerceptualLoss(value_range=UNIT, weights=tmp_path / "nowhere.pth")


def test_wrong_requests_are_sentences(shallow: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'conv5_4'"):
        PerceptualLoss({"conv54": 1.0}, value_range=UNIT, weights=shallow)
    with pytest.raises(ConfigError, match="no layer"):
        PerceptualLoss({}, value_range=UNIT, weights=shallow)
    with pytest.raises(ConfigError, match="pixel loss"):
        PerceptualLoss({"conv1_1": 1.0}, value_range=UNIT, weights=shallow, criterion="l3")
    loss = PerceptualLoss({"conv2_2": 1.0}, value_range=UNIT, weights=shallow)
    with pytest.raises(ConfigError, match="4 channels"):
        loss(*images(4))
    with pytest.raises(ConfigError, match=r"1x1 pixels are too small .* conv2_2, which needs 2x2"):
        loss(*images(side=1))
    with pytest.raises(ValueError, match="differ"):
        loss(images(side=8)[0], images(side=10)[0])
