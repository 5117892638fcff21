"""NAFNet, PLKSR and RealPLKSR: published sizes, means over windows, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from img2img.errors import ConfigError
from img2img.models import PLKSR, ArchSpec, NAFNet, RealPLKSR, build
from img2img.models.nafnet import window_means

GOPRO = {"encoder": "1-1-1-28", "middle": 1, "decoder": "1-1-1-1"}


@pytest.mark.parametrize(
    ("name", "arguments", "millions"),
    [  # as the papers and the repositories round them
        ("nafnet", {"features": 32, **GOPRO}, 17.1),
        ("nafnet", {"features": 64, **GOPRO}, 67.9),
        ("nafnet", {"features": 32}, 29.2),
        ("nafnet", {"features": 64}, 116.0),
        ("plksr", {}, 7.4),
        ("plksr", {"blocks": 12, "kernel": 13, "attention": False}, 2.4),
    ],
)
@pytest.mark.sampled(2)
def test_parameters_of_the_published_configurations(name: str, arguments: dict[str, object], millions: float):
    with torch.device("meta"):
        network = build(ArchSpec(name, arguments))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize("reach", [0, 1, 3, 6, 20])
@pytest.mark.parametrize("shape", [(7, 12), (1, 5), (13, 13)])
@pytest.mark.sampled(6)
def test_means_over_windows(reach: int, shape: tuple[int, int]):
    x = torch.rand(2, 3, *shape, dtype=torch.float64)
    expected = F.avg_pool2d(
        F.pad(x, (reach,) * 4), 2 * reach + 1, 1
    ) / F.avg_pool2d(F.pad(torch.ones_like(x), (reach,) * 4), 2 * reach + 1, 1)  # fmt: skip
    found = window_means(x, reach).expand_as(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_nafnet_learns_by_whole_patches_and_is_used_by_windows():
    torch.manual_seed(0)
    network = NAFNet(**NAFNet.tiny)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.4)
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        learning, used = network.train()(x), network.eval()(x)
        assert not torch.allclose(learning, used, atol=1e-3)
        whole = build(ArchSpec("nafnet", NAFNet.tiny | {"window": 384}))
        whole.load_state_dict(network.state_dict())
        torch.testing.assert_close(whole.eval()(x), learning)


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (NAFNet, {"encoder": "2-2", "decoder": "2"}),
        (NAFNet, {"encoder": "two"}),
        (NAFNet, {"out_channels": 1}),
        (PLKSR, {"kernel": 4}),
        (PLKSR, {"partial": 65}),
        (PLKSR, {"mixer": "xccm"}),
        (PLKSR, {"in_channels": 2}),
        (RealPLKSR, {"norm": "batch"}),
        (RealPLKSR, {"features": 18}),
        (RealPLKSR, {"dysample": True, "in_channels": 1}),
    ],
)
def test_nonsense_is_refused(cls, arguments: dict[str, object]):
    with pytest.raises(ConfigError):
        cls(**arguments)


def test_only_layer_norm_leaves_tiles_alone():
    with torch.device("meta"):
        assert RealPLKSR().tiling == "global_statistics" and RealPLKSR(norm="layer").tiling == "local"
