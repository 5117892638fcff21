"""Generators of SPADE and OASIS against a transcription in plain torch under the authors' names."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from img2img import load_model
from img2img.cli.main import cli
from img2img.errors import ModelError, UnknownModelError
from img2img.image import Image, read_image, write_image
from img2img.image.palette import indices
from img2img.interop import open_checkpoint

SPADE_BLOCKS = ("head_0", "G_middle_0", "G_middle_1", "up_0", "up_1", "up_2", "up_3")
WIDTHS = (16, 16, 16, 16, 8, 4, 2, 1)


class Modulation(nn.Module):
    def __init__(self, width: int, labels: int, norm: str, name: str, hidden: int, kernel: int) -> None:
        super().__init__()
        kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
        self.add_module(name, kinds[norm](width, affine=False))
        self.name, pad = name, kernel // 2
        self.mlp_shared = nn.Sequential(nn.Conv2d(labels, hidden, kernel, padding=pad))
        self.mlp_gamma = nn.Conv2d(hidden, width, kernel, padding=pad)
        self.mlp_beta = nn.Conv2d(hidden, width, kernel, padding=pad)

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        said = F.relu(self.mlp_shared(F.interpolate(seg, x.shape[2:], mode="nearest")))
        return getattr(self, self.name)(x) * (self.mlp_gamma(said) + 1) + self.mlp_beta(said)


class Block(nn.Module):
    def __init__(self, before: int, after: int, *kind: object) -> None:
        super().__init__()
        middle = min(before, after)
        self.norm_0, self.conv_0 = (
            Modulation(before, *kind),
            spectral_norm(nn.Conv2d(before, middle, 3, 1, 1)),
        )
        self.norm_1, self.conv_1 = Modulation(middle, *kind), spectral_norm(nn.Conv2d(middle, after, 3, 1, 1))
        if before != after:
            self.norm_s = Modulation(before, *kind)
            self.conv_s = spectral_norm(nn.Conv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor, seg: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, seg), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, seg), 0.2))
        return y + (self.conv_s(self.norm_s(x, seg)) if hasattr(self, "conv_s") else x)


class Original(nn.Module):
    """Either generator for `labels` channels; `doubled` are the places of blocks after an upsampling."""

    def __init__(
        self,
        labels: int,
        *,
        oasis: bool,
        norm: str = "batch",
        more: bool = False,
        f: int = 2,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        kind = (labels, norm, "first_norm" if oasis else "param_free_norm", 4, kernel)
        widths = [f * width for width in (WIDTHS[1:] if oasis else WIDTHS)]
        blocks = [Block(a, b, *kind) for a, b in pairwise(widths)]
        if oasis:
            self.body = nn.ModuleList(blocks)
        else:
            for name, block in zip(SPADE_BLOCKS, blocks, strict=True):
                self.add_module(name, block)
        self.order = [*blocks]
        self.doubled = set(range(1, len(blocks))) - (set() if oasis or more else {2})
        self.fc, self.conv_img = nn.Conv2d(labels, 16 * f, 3, 1, 1), nn.Conv2d(f, 3, 3, 1, 1)

    def forward(self, seg: Tensor) -> Tensor:
        factor = 2 ** len(self.doubled)
        x = self.fc(F.interpolate(seg, [side // factor for side in seg.shape[2:]], mode="nearest"))
        for place, block in enumerate(self.order):
            x = F.interpolate(x, scale_factor=2, mode="nearest") if place in self.doubled else x
            x = block(x, seg)
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)))


@cache
def made(labels: int, **kind: object) -> Original:
    """Returns one after two steps of averages, whose singular vectors fit their weights only nearly."""
    torch.manual_seed(labels)
    net = Original(labels, **kind)
    with torch.no_grad():
        for value in net.parameters():
            value.mul_(1.5)
        for _ in range(2):
            net(torch.rand(2, labels, 64, 64))
        for key, value in net.state_dict().items():
            if key.endswith(("_u", "_v")):
                value.mul_(0.9)  # an average of unit vectors is shorter
    return net.eval()


def channels(numbers: np.ndarray, palette: tuple[tuple[int, ...], ...]) -> Tensor:
    """Returns one channel for each number of `palette` (N, K, H, W)."""
    known = torch.tensor([number for (number,) in palette])
    return (torch.from_numpy(numbers.astype(np.int64))[None, None] == known[:, None, None]).float()


def slow(*case: object) -> object:
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "noise", "instance", "size"),
    [
        (7, {"oasis": False}, indices(7), 0, False, None),
        slow(7, {"oasis": False, "norm": "instance"}, indices(7), 0, False, None),
        slow(151, {"oasis": False}, (*indices(151)[1:], (0,)), 0, False, (256, 256)),
        slow(36, {"oasis": False, "more": True}, indices(35), 0, True, (256, 512)),
        slow(184, {"oasis": False}, (*indices(182), (255,)), 0, True, (256, 256)),
        (99, {"oasis": True}, indices(35), 64, False, (256, 512)),
        slow(9, {"oasis": True}, indices(9), 0, False, None),
        slow(247, {"oasis": True}, ((255,), *indices(182)), 64, False, (256, 256)),
    ],
)
def test_a_checkpoint_opens_and_answers_as_the_original(
    labels: int, kind: dict, classes: tuple, noise: int, instance: bool, size: object, tmp_path: Path
) -> None:
    net = made(labels, **kind)
    torch.save(net.state_dict(), tmp_path / "best_EMA.pth")
    generator, info = open_checkpoint(tmp_path / "best_EMA.pth")
    assert (info.palette, info.size, info.output) == (classes, size, "own")
    assert info.synthetic and info.adversarial and info.nearest
    assert list(generator.conditions) == ["instance"] * instance
    rng = np.random.default_rng(0)
    cells = (4, 8) if "more" in kind else (2, 4)
    numbers = rng.choice([number for (number,) in classes], cells).repeat(32, 0).repeat(16, 1)
    planes = [channels(numbers, classes)]
    if noise:
        planes.insert(0, generator.noise.constant[None, :, None, None].expand(-1, -1, *numbers.shape))
    ids = rng.integers(0, 3, cells, np.int32).repeat(32, 0).repeat(16, 1)
    if instance:
        padded = np.pad(ids, 1, mode="edge")
        around = [padded[1:-1, 2:], padded[1:-1, :-2], padded[2:, 1:-1], padded[:-2, 1:-1]]
        planes.append(torch.from_numpy(np.any([ids != one for one in around], 0)).float()[None, None])
    with torch.no_grad():
        theirs = net(torch.cat(planes, 1))
        given = {"instance": torch.from_numpy(ids)[None, None]} if instance else {}
        ours = generator(channels(numbers, classes), **given)
    assert theirs.std() > 0.02
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_label_maps_of_a_data_set_go_in_as_they_are(tmp_path: Path) -> None:
    """ADE20K's files have 0 for what the network has as its last class."""
    net = made(151, oasis=False)
    torch.save(net.state_dict(), tmp_path / "latest_net_G.pth")
    numbers = np.random.default_rng(1).integers(0, 151, (2, 2), np.uint8).repeat(32, 0).repeat(32, 1)
    write_image(Image(numbers[..., None]), tmp_path / "in.png")
    command = ["translate", tmp_path / "in.png", "-o", tmp_path / "out", "-m", tmp_path / "latest_net_G.pth"]
    result = CliRunner().invoke(cli, [*map(str, command), "--size", "64", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    with torch.no_grad():
        theirs = net(channels(np.where(numbers == 0, 150, numbers.astype(int) - 1), indices(151)))
    expected = ((theirs[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
    assert np.abs(read_image(tmp_path / "out" / "in.png").pixels - expected).max() <= 1


@pytest.mark.slow
def test_files_of_old_pytorch_hold_what_was_divided(tmp_path: Path) -> None:
    net = made(5, oasis=False)
    state = net.state_dict()
    for key in [key for key in state if key.endswith("weight_v")]:
        stem = key.removesuffix("_v")
        matrix = state[f"{stem}_orig"].flatten(1)
        state[stem] = state[f"{stem}_orig"] / (state[f"{stem}_u"] @ matrix @ state.pop(key))
    torch.save(state, tmp_path / "latest_net_G.pth")
    x = torch.zeros(1, 5, 64, 64)
    x[:, 2] = 1
    with torch.no_grad():
        torch.testing.assert_close(open_checkpoint(tmp_path / "latest_net_G.pth")[0](x), net(x))


@pytest.mark.parametrize(
    "kind", ["use_vae", "most", "5 x 5", "left over", "vectors", "D of SPADE", "D of OASIS"]
)
def test_what_cannot_be_opened_is_told(kind: str, tmp_path: Path) -> None:
    state = Original(5, oasis=False, f=1, kernel=5 if kind == "5 x 5" else 3).state_dict()
    error: type[Exception] = UnknownModelError
    words = kind
    if kind == "use_vae":
        state["fc.weight"] = torch.zeros(16 * 8 * 8, 256)
    elif kind == "most":
        state["up_4.conv_0.bias"] = torch.zeros(1)
    elif kind == "left over":
        state["up_9.conv_0.bias"] = torch.zeros(1)
        error, words = ModelError, r"up_9"
    elif kind == "vectors":
        state["head_0.conv_0.weight_v"] = torch.zeros(3)
        error, words = ModelError, r"conv"
    elif kind == "D of SPADE":
        state = {"discriminator_0.model0.0.weight": torch.zeros(4, 9, 4, 4)}
        words = "discriminator of SPADE"
    elif kind == "D of OASIS":
        state = {"body_down.0.conv1.0.bias": torch.zeros(4), "layer_up_last.weight": torch.zeros(6, 4, 1, 1)}
        words = "discriminator of OASIS"
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(error, match=words) as caught:
        open_checkpoint(tmp_path / "net.pth")
    assert len(str(caught.value)) < 500


@pytest.mark.slow
def test_what_opened_is_kept_in_a_model_file(tmp_path: Path) -> None:
    torch.save(made(36, oasis=False, more=True).state_dict(), tmp_path / "latest_net_G.pth")
    command = ["model", "import", tmp_path / "latest_net_G.pth", "-o", tmp_path / "city.safetensors"]
    result = CliRunner().invoke(cli, list(map(str, command)))
    assert result.exit_code == 0, result.output
    info = CliRunner().invoke(cli, ["model", "info", str(tmp_path / "city.safetensors")]).output
    assert "SPADE, 35 classes and boundaries of objects" in info and "Cityscapes" in info
    translate = load_model(tmp_path / "city.safetensors", device="cpu", size=64)
    maps = np.full((64, 64, 1), 7, np.uint8)
    assert translate(maps, instance=np.zeros((64, 64), np.uint16)).shape == (64, 64, 3)
