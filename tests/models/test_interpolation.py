"""Network interpolation: what lies between two networks, and which have nothing between them."""

from __future__ import annotations

import pytest
import torch

from img2img.checkpoint import fingerprint
from img2img.errors import ConfigError
from img2img.models import EDSR, Compact, SRResNet
from img2img.models.interpolation import differences, interpolate


def network(seed: int) -> SRResNet:
    """A network with batch norm that has seen `seed` + 1 batches."""
    torch.manual_seed(seed)
    generator = SRResNet(**SRResNet.tiny)
    for _ in range(seed + 1):
        generator(torch.rand(2, 3, 8, 8))
    return generator.eval()


def counters(generator: torch.nn.Module) -> set[int]:
    state = generator.state_dict()
    return {int(value) for value in state.values() if not value.is_floating_point()}


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_weights_and_averages_are_mixed_and_counters_are_those_of_the_nearer(alpha: float) -> None:
    first, second = network(0), network(2)
    before = fingerprint(first.state_dict()), fingerprint(second.state_dict())
    mixed = interpolate(first, second, alpha)
    ours, theirs = first.state_dict(), second.state_dict()
    floats = {name: value for name, value in mixed.state_dict().items() if value.is_floating_point()}
    assert any("running_var" in name for name in floats)
    for name, value in floats.items():
        exact = (1 - alpha) * ours[name].double() + alpha * theirs[name].double()
        assert torch.equal(value, exact.float())
    assert counters(mixed) == {3 if alpha > 0.5 else 1}
    assert (fingerprint(first.state_dict()), fingerprint(second.state_dict())) == before


def test_the_ends_are_exact_down_to_the_sign_of_zero() -> None:
    first, second = Compact(**Compact.tiny), Compact(**Compact.tiny)
    with torch.no_grad():
        first.body[0].bias.fill_(-0.0)
        second.body[0].bias.fill_(-0.0)
    assert fingerprint(interpolate(first, second, 0).state_dict()) == fingerprint(first.state_dict())
    assert fingerprint(interpolate(first, second, 1).state_dict()) == fingerprint(second.state_dict())


def test_the_blend_is_another_network() -> None:
    first = Compact(**Compact.tiny)
    mixed = interpolate(first, Compact(**Compact.tiny), 0)
    assert not {p.data_ptr() for p in mixed.parameters()} & {p.data_ptr() for p in first.parameters()}


def test_differences_are_named() -> None:
    tiny = EDSR(**EDSR.tiny)
    assert differences(tiny, EDSR(**EDSR.tiny)) == []
    assert differences(tiny, Compact(**Compact.tiny)) == [
        "the first has the architecture edsr, the second compact"
    ]
    with pytest.raises(ConfigError, match=r"blocks is 1 in the first and 2 in the second"):
        interpolate(tiny, EDSR(**(EDSR.tiny | {"blocks": 2, "scale": 4})), 0.5)
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="not from 0"):
            interpolate(tiny, tiny, alpha)
    with pytest.raises(ConfigError, match="scale is 2 in the first and 4 in the second"):
        interpolate(tiny, EDSR(**(EDSR.tiny | {"scale": 4})), 0.5)
