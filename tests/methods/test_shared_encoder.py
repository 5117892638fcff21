"""One encoder, two decoders: plain torch, what is shared, what is warped, and that kinds change places."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from samples import batch, made
from torch import Tensor, nn
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.methods.shared_encoder import warped
from img2img.models import Autoencoder
from img2img.training import Runtime, Trainer
from img2img.training.settings import TrainingSettings
from img2img.types import Batch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def trainer(method: Any, rate: float = 1e-3) -> Trainer:
    return Trainer(
        method, TrainingSettings(steps=99), Runtime("cpu", precision="fp32"), lambda step, group: rate
    )


class Plain(nn.Module):
    """The original's layers for pictures of 64, with `f` channels in place of 128."""

    def __init__(self, f: int, latent: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 5, 2, 2) for a, b in ((3, f), (f, 2 * f), (2 * f, 4 * f), (4 * f, 8 * f))
        )
        self.dense = nn.ModuleList((nn.Linear(8 * f * 16, latent), nn.Linear(latent, 8 * f * 16)))
        self.ups = nn.ModuleList(nn.Conv2d(2 * a, 4 * a, 3, 1, 1) for a in (4 * f, 2 * f, f, f // 2))
        self.last = nn.Conv2d(f // 2, 3, 5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
        x = self.dense[1](self.dense[0](x.flatten(1))).view(len(x), -1, 4, 4)
        for conv in self.ups:
            x = F.pixel_shuffle(F.leaky_relu(conv(x), 0.1), 2)
        return self.last(x).sigmoid()


def test_it_is_the_original_layer_by_layer() -> None:
    ours, plain = Autoencoder(features=4, latent=6), Plain(4, 6)
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), plain(x))
    with torch.device("meta"):
        count = [sum(p.numel() for p in net.parameters()) for net in (Autoencoder(), Plain(128, 1024))]
    assert count[0] == count[1] == 75_862_723


@pytest.mark.parametrize("arguments", [{"downs": 1}, {"grid": 0}, {"features": 5}, {"latent": 0}])
def test_arguments_that_make_no_sense(arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="an autoencoder needs"):
        Autoencoder(**arguments)


def test_the_encoder_is_one_and_the_decoders_are_two() -> None:
    method = made("shared_encoder", warp=0.05)
    trainer(method).step(batch(method, method.fields))
    a2b, b2a = method.generators().values()
    assert a2b.encoder is b2a.encoder and a2b.decoder is not b2a.decoder
    assert not torch.equal(a2b.decoder.last.conv.weight, b2a.decoder.last.conv.weight)
    with pytest.raises(ConfigError, match="resnet has no encoder"):
        made("shared_encoder", generator={"name": "resnet"})


@pytest.mark.slow
def test_each_kind_becomes_the_other() -> None:
    """Dark spots at random places: A on red, B on blue. A through the decoder of B is blue."""

    def pictures(channel: int) -> Tensor:
        images = torch.full((4, 3, 32, 32), 0.1)
        for image, (top, left) in zip(images, torch.randint(4, 20, (4, 2)).tolist(), strict=True):
            image[channel] = 0.9
            image[channel, top : top + 8, left : left + 8] = 0.1
        return images

    method = made("shared_encoder", warp=0.02)
    one = trainer(method, 1e-2)
    for _ in range(25):
        one.step(Batch({"source": pictures(0), "target": pictures(2)}))
    with torch.no_grad():
        red, _, blue = method.a2b(pictures(0)).mean((0, 2, 3))
        back = method.b2a(pictures(2)).mean((0, 2, 3))
    assert blue > red + 0.2 and back[0] > back[2] + 0.2


def test_a_warp_bends_each_picture_in_its_own_way_and_keeps_its_values() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    images = ramp.repeat(4, 1, 1, 1)
    assert warped(images, 0) is images
    bent = warped(images, 0.03)
    assert bent.shape == images.shape and bent.min() >= 0 and bent.max() <= 1
    assert (bent[0] != bent[1]).any()
    moved = (bent - images)[..., 4:-4].abs().mean()
    assert 0.01 < moved < 0.06, "about as far as it says"
    torch.testing.assert_close(warped(images, 1e-7), images, rtol=0, atol=1e-4)


def test_a_run_goes_on_exactly_with_its_warps() -> None:
    method = made("shared_encoder", warp=0.05)
    one, samples = trainer(method), [batch(method, method.fields, seed=seed) for seed in range(4)]
    one.run(samples[:2])
    file = io.BytesIO()
    torch.save(one.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = trainer(made("shared_encoder", warp=0.05))
    assert not other.load_state(state)
    other.run(samples[2:])
    torch.set_rng_state(state["random"]["cpu"])
    one.run(samples[2:])
    for name, value in one.method.state_dict().items():
        assert torch.equal(value, other.method.state_dict()[name]), name
