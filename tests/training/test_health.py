"""The usual deaths of a run are noticed, with a hint, once."""

from __future__ import annotations

import torch

from img2img.methods import Picture
from img2img.training.health import WINDOW, Health
from img2img.types import SYMMETRIC


def told(health: Health, real: float, fake: float, times: int) -> list[str]:
    return [text for _ in range(times) for text in health.losses({"d_real": real, "d_fake": fake, "g_l1": 1})]


def columns(output: torch.Tensor, target: torch.Tensor) -> dict[str, Picture]:
    pictures = {"source": torch.zeros_like(output), "output": output, "target": target}
    return {name: Picture(values, SYMMETRIC) for name, values in pictures.items()}


def test_a_discriminator_that_has_won() -> None:
    health = Health()
    assert told(health, 0.35, 0.35, 5) == []
    assert told(health, 1e-3, 1e-3, WINDOW - 1) == []
    (text,) = told(health, 1e-3, 1e-3, 50)
    assert "the discriminator has won" in text and "method.real_label 0.9" in text


def test_one_that_is_in_doubt_is_well() -> None:
    health = Health()
    assert told(health, 0.35, 0.35, 5) + told(health, 0.2, 0.1, 100) == []
    assert list(Health().losses({"g_l1": 0.0})) == []


def test_outputs_that_are_flat_alike_or_negative() -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(3, 3, 16, 16, generator=random) * 2 - 1
    assert list(Health().pictures(columns(target * 0.5, target), unpaired=False)) == []
    (text,) = Health().pictures(columns(torch.full_like(target, 0.3), target), unpaired=False)
    assert "one flat colour for every sample" in text
    (text,) = Health().pictures(columns(target[:1].expand(3, -1, -1, -1), target), unpaired=False)
    assert "ignores its input" in text
    health = Health()
    (text,) = health.pictures(columns(-target, target), unpaired=False)
    assert "colours are inverted" in text and "data.direction" in text
    assert list(health.pictures(columns(-target, target), unpaired=False)) == []  # said once
    assert list(Health().pictures(columns(-target, target), unpaired=True)) == []  # nothing to compare with
