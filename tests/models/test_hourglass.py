"""The network of Deep Image Prior."""

from __future__ import annotations

import pytest
import torch

from img2img.errors import ConfigError
from img2img.models.hourglass import Hourglass


def counted(inputs: int, outputs: int, widths: list[int], bridges: list[int]) -> int:
    """Returns how many weights the layers of the paper's figure have."""
    total, before = 0, inputs

    def conv(a: int, b: int, kernel: int) -> int:
        return a * b * kernel**2 + b + 2 * b  # with the batch norm behind it

    for place, (width, bridge) in enumerate(zip(widths, bridges, strict=True)):
        deeper = widths[place + 1] if place + 1 < len(widths) else width
        total += conv(before, bridge, 1) if bridge else 0
        total += conv(before, width, 3) + conv(width, width, 3)
        total += 2 * (bridge + deeper) + conv(bridge + deeper, width, 3) + conv(width, width, 1)
        before = width
    return total + widths[0] * outputs + outputs


@pytest.mark.parametrize(
    ("inputs", "widths", "bridges"),
    [
        (32, [128] * 5, [4] * 5),
        (3, [8, 16, 32, 64, 128], [0, 0, 0, 4, 4]),
        (32, [128] * 5, [128] * 5),
        (2, [128] * 5, [0] * 5),
    ],
)
def test_it_has_the_weights_of_the_paper(inputs: int, widths: list[int], bridges: list[int]) -> None:
    with torch.device("meta"):
        network = Hourglass(inputs, 3, widths, bridges)
    total = sum(weight.numel() for weight in network.parameters())
    assert total == counted(inputs, 3, widths, bridges)
    assert total == 2_217_831 or bridges != [4] * 5  # what the authors' notebook prints


@pytest.mark.parametrize("enlarging", ["bilinear", "nearest"])
def test_a_picture_of_the_size_of_the_noise(enlarging: str) -> None:
    network = Hourglass(3, 2, [4, 4, 4], [0, 1, 2], enlarging)  # type: ignore[arg-type]
    assert network.multiple_of == 8
    picture = network(torch.rand(1, 3, 16, 24))
    assert picture.shape == (1, 2, 16, 24)
    assert picture.min() > 0 and picture.max() < 1
    picture.mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_each_scale_has_a_bridge() -> None:
    with pytest.raises(ConfigError, match="2 scales need as many bridges, not 1"):
        Hourglass(3, 3, [4, 4], [1])
