"""The originals' generators, rebuilt from stock layers and saved as they save them, opened without flags."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import original_networks as original
import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ModelError, UnknownModelError
from img2img.interop import open_checkpoint, recognise
from img2img.models import Generator
from img2img.models.base import set_norm_stats

TOLERANCE = 1e-9  # both networks run in float64: what differs is a layer, never a rounding


@pytest.fixture(autouse=True)
def small_and_reproducible() -> Iterator[None]:
    """Tiny networks lose more by handing work to threads than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def opened(net: nn.Module, path: Path) -> Generator:
    torch.save(net.state_dict(), path / "latest_net_G.pth")
    generator, info = open_checkpoint(path / "latest_net_G.pth")
    assert info.output == "own"
    return generator


def check_outputs(generator: Generator, net: nn.Module, x: Tensor) -> None:
    """Compares both choices of statistics; the originals' per-image ones are training mode, one by one."""
    generator, net, x = generator.double(), net.double(), x.double()
    with torch.no_grad():
        set_norm_stats(generator, "running")
        assert difference(generator(x), net.eval()(x)) < TOLERANCE
        set_norm_stats(generator, "image")
        alone = copy.deepcopy(net).train()
        for module in alone.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        per_image = torch.cat([alone(image[None]) for image in x])
        assert difference(generator(x), per_image) < TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize(
    ("inputs", "outputs", "features", "downs"), [(3, 3, 4, 5), (1, 3, 6, 5), (4, 1, 2, 7), (7, 5, 2, 6)]
)
@pytest.mark.sampled(3)
def test_unets(norm: str, inputs: int, outputs: int, features: int, downs: int, tmp_path: Path) -> None:
    net = original.randomise(original.UNet(inputs, outputs, downs, features, norm))
    generator = opened(net, tmp_path)
    assert generator.spec.name == "unet"
    found = {
        "in_channels": inputs,
        "out_channels": outputs,
        "features": features,
        "downs": downs,
        "norm": norm,
        "dropout": True,
        "upsample": "deconv",
    }
    assert found.items() <= generator.spec.arguments.items(), "what else there is has its default"
    check_outputs(generator, net, torch.rand(2, inputs, 2**downs, 2 ** (downs + 1)) * 2 - 1)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(
    ("inputs", "outputs", "features", "blocks", "downs"), [(3, 3, 4, 6, 2), (1, 4, 5, 1, 2), (2, 3, 2, 3, 4)]
)
@pytest.mark.sampled(4)
def test_resnets(
    norm: str,
    dropout: bool,
    inputs: int,
    outputs: int,
    features: int,
    blocks: int,
    downs: int,
    tmp_path: Path,
) -> None:
    net = original.ResNet(inputs, outputs, features, blocks, norm, dropout, downs)
    generator = opened(original.randomise(net), tmp_path)
    assert generator.spec.name == "resnet"
    found = {
        "in_channels": inputs,
        "out_channels": outputs,
        "features": features,
        "blocks": blocks,
        "downs": downs,
        "norm": norm,
        "dropout": dropout,
        "upsample": "deconv",
    }
    assert found.items() <= generator.spec.arguments.items(), "what else there is has its default"
    check_outputs(generator, net, torch.rand(2, inputs, 32, 48) * 2 - 1)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(("blur_down", "blur_up"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.sampled(2)
def test_cut(norm: str, blur_down: bool, blur_up: bool, dropout: bool, tmp_path: Path) -> None:
    net = original.ResNet(3, 1, 4, 4, norm, dropout, blur_down=blur_down, blur_up=blur_up)
    generator = opened(original.randomise(net), tmp_path)
    assert generator.spec.name == "cut_resnet"
    found = {
        "in_channels": 3,
        "out_channels": 1,
        "features": 4,
        "blocks": 4,
        "norm": norm,
        "dropout": dropout,
        "blur_down": blur_down,
        "blur_up": blur_up,
    }
    assert found.items() <= generator.spec.arguments.items(), "what else there is has its default"
    check_outputs(generator, net, torch.rand(2, 3, 20, 36) * 2 - 1)


@pytest.mark.parametrize("name", ["unet", "resnet"])
def test_the_paper_s_sizes(name: str) -> None:
    """The key lists of the originals at full size, from stock layers, on the meta device."""
    with torch.device("meta"):
        nets = {
            "unet": [original.UNet(3, 3, 8, 64, "batch"), original.UNet(3, 3, 7, 64, "instance")],
            "resnet": [original.ResNet(3, 3, 64, 9, "instance"), original.ResNet(3, 3, 64, 6, "batch", True)],
        }[name]
    for net, keys in zip(nets, {"unet": (82, 28), "resnet": (48, 104)}[name], strict=True):
        state = net.state_dict()
        assert len(state) == keys
        found = recognise(state)
        assert found is not None
        side = 2 ** found.spec.arguments["downs"] if name == "unet" else 256
        assert found.info.size == (side, side)
        assert found.spec.arguments["features"] == 64
        assert sum(value.numel() for value in found.state.values()) == sum(v.numel() for v in state.values())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_and_the_old_serialisation(prefix: str, tmp_path: Path) -> None:
    net = original.randomise(original.UNet(3, 3, 5, 2, "batch"))
    state = {prefix + key: value for key, value in net.state_dict().items()}
    torch.save(state, tmp_path / "G.pth", _use_new_zipfile_serialization=False)
    generator, _ = open_checkpoint(tmp_path / "G.pth")
    check_outputs(generator, net, torch.rand(1, 3, 32, 32))


def test_old_batch_norm_without_the_batch_counter(tmp_path: Path) -> None:
    net = original.randomise(original.ResNet(3, 3, 4, 2, "batch"))
    state = {key: value for key, value in net.state_dict().items() if "tracked" not in key}
    torch.save(state, tmp_path / "G.pth")
    generator, _ = open_checkpoint(tmp_path / "G.pth")
    assert generator.spec.arguments["norm"] == "batch"
    check_outputs(generator, net, torch.rand(1, 3, 16, 16))


def test_old_instance_norm_statistics_are_dropped(tmp_path: Path) -> None:
    net = original.randomise(original.UNet(3, 3, 5, 4, "instance"))
    state = net.state_dict()
    for name, module in net.named_modules():
        if isinstance(module, nn.InstanceNorm2d):
            state[f"{name}.running_mean"] = torch.full((module.num_features,), 9.0)
            state[f"{name}.running_var"] = torch.full((module.num_features,), 9.0)
            state[f"{name}.num_batches_tracked"] = torch.tensor(5)
    torch.save(state, tmp_path / "G.pth")
    generator, _ = open_checkpoint(tmp_path / "G.pth")
    assert generator.spec.arguments["norm"] == "instance"
    check_outputs(generator, net, torch.rand(1, 3, 32, 32))


def test_a_tensor_without_a_place_is_reported(tmp_path: Path) -> None:
    state = original.UNet(3, 3, 5, 2, "batch").state_dict()
    state["model.model.1.model.7.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "G.pth")
    with pytest.raises(ModelError, match=r"model\.model\.1\.model\.7\.weight"):
        open_checkpoint(tmp_path / "G.pth")


def test_another_blur_is_refused() -> None:
    state = original.ResNet(3, 3, 4, 1, "instance", blur_down=True, blur_up=True).state_dict()
    state["model.7.filt"] = torch.full((8, 1, 3, 3), 1 / 9)
    with pytest.raises(ModelError, match=r"model\.7\.filt"):
        recognise(state)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("layers", [1, 3, 5])
@pytest.mark.sampled(5)
def test_discriminators_are_named(norm: str, layers: int, tmp_path: Path) -> None:
    torch.save(original.patch_discriminator(6, 4, layers, norm).state_dict(), tmp_path / "latest_net_D.pth")
    with pytest.raises(UnknownModelError, match="holds a PatchGAN discriminator"):
        open_checkpoint(tmp_path / "latest_net_D.pth")


@pytest.mark.parametrize(
    "fixture", ["cyclegan_resnet9_in", "cyclegan_resnet6_in_old", "cut_resnet9_in", "pix2pix_unet256_bn"]
)
def test_fixtures_of_the_originals(fixture: str, test_data: Path) -> None:
    folder = test_data / "fixtures" / fixture
    generator, _ = open_checkpoint(folder / "latest_net_G.pth")
    x = torch.from_numpy(np.load(folder / "input.npy"))
    with torch.no_grad():
        if (folder / "output_per_image.npy").exists():
            expected = torch.from_numpy(np.load(folder / "output_per_image.npy"))
            assert difference(generator(x), expected) < 1e-4  # the default of these networks
            set_norm_stats(generator, "running")
            # output_running was computed after the training-mode pass that made output_per_image, which moved
            # the running averages; the file was saved before it. Stock layers agree only after the same pass.
            generator.train()
            for module in generator.modules():
                if type(module).__name__ == "Dropout":
                    module.eval()
            generator(x)
            generator.eval()
        expected = torch.from_numpy(np.load(folder / "output_running.npy"))
        assert difference(generator(x), expected) < 1e-4
