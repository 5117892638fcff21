"""The usual deaths of a run are noticed, with a hint, once."""

from __future__ import annotations

import torch

from img2img.methods import Column
from img2img.training.health import WINDOW, Health
from img2img.types import SYMMETRIC


def told(health: Health, real: float, fake: float, times: int) -> list[str]:
    return [text for _ in range(times) for text in health.losses({"d_real": real, "d_fake": fake, "g_l1": 1})]


def columns(output: torch.Tensor, target: torch.Tensor) -> dict[str, Column]:
    source = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return {
        "source": Column(source, SYMMETRIC, "input"),
        "output": Column(output, SYMMETRIC, "output"),
        "target": Column(target, SYMMETRIC, "target"),
    }


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
    assert list(Health().columns(columns(target * 0.5, target))) == []
    (text,) = Health().columns(columns(torch.full_like(target, 0.3), target))
    assert "one flat colour for every sample" in text
    (text,) = Health().columns(columns(target[:1].expand(3, -1, -1, -1), target))
    assert "ignores its input" in text
    nearly = target[:1] + 0.01 * torch.rand(target.shape, generator=random)
    (text,) = Health().columns(columns(nearly, target))
    assert "ignores its input" in text
    health = Health()
    (text,) = health.columns(columns(-target, target))
    assert "colours are inverted" in text and "data.direction" in text
    assert list(health.columns(columns(-target, target))) == []  # said once


def cycle(a: torch.Tensor, to_b: torch.Tensor, b: torch.Tensor, to_a: torch.Tensor) -> dict[str, Column]:
    pictures = {"A": a, "A to B": to_b, "A to B to A": a, "B": b, "B to A": to_a, "B to A to B": b}
    return {
        name: Column(values, SYMMETRIC, "output" if " " in name else "input", name[0])
        for name, values in pictures.items()
    }


def test_both_ways_of_a_cycle() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 3, 16, 16, generator=random) * 2 - 1 for _ in range(2))
    assert list(Health().columns(cycle(a, a * 0.8, b, b * 0.8))) == []
    (text,) = Health().columns(cycle(a, a[:1].expand_as(a), b, b))
    assert "A to B is the same picture" in text
    (text,) = Health().columns(cycle(a, -a, b, b))
    assert "on the way A to B are negatives of A" in text and "method.identity" in text


def test_one_picture_again_and_again_is_no_collapse() -> None:
    a = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    b = a[:1].expand_as(a)  # of B one picture alone is held out
    assert list(Health().columns(cycle(a, a, b, b))) == []


def test_one_of_two_discriminators_has_won() -> None:
    health = Health()
    means = {"d_a_real": 0.3, "d_a_fake": 0.3, "d_b_real": 0.3, "d_b_fake": 0.3}
    assert list(health.losses(means)) == []
    lost = means | {"d_b_real": 1e-4, "d_b_fake": 1e-4}
    texts = [text for _ in range(2 * WINDOW) for text in health.losses(lost)]
    assert len(texts) == 1 and texts[0].startswith("the discriminator of B has won")


def test_losses_of_other_names_are_nobody_s() -> None:
    health = Health()
    for _ in range(1000):
        assert list(health.losses({"real": 0.0, "fake": 0.0, "depth_real": 0.0, "_fake": 0.0})) == []


def test_a_run_that_continues_remembers() -> None:
    health = Health()
    told(health, 0.35, 0.35, 5)
    told(health, 1e-3, 1e-3, WINDOW - 1)
    again = Health.from_state(health.state())
    (text,) = told(again, 1e-3, 1e-3, 1)
    assert "has won" in text
    assert told(Health.from_state(again.state()), 1e-3, 1e-3, 50) == []  # said once
    assert told(Health.from_state(None), 1e-3, 1e-3, 50) == []  # never any better
