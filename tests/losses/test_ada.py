"""Adaptive augmentation: its controller, its draws, and each transform against a computation of its own."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import AdaptiveAugment, GanLoss
from img2img.losses.warp import SMALLEST, Warp, warp_nearest
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.types import SYMMETRIC, UNIT

ALL = ("blit", "geometry", "color", "noise", "cutout")


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    return Warp().double()(images.double(), matrix)


def smooth(height: int, width: int) -> Tensor:
    """A picture of cosines that the mirror image beyond its borders continues."""
    y, x = torch.arange(height).double()[:, None], torch.arange(width).double()
    return at(y, x, height, width)[None]


def at(y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """Its two channels at any places in pixels, inside and beyond."""
    v, u = math.pi * y / (height - 1), math.pi * x / (width - 1)
    return torch.stack((torch.cos(v) * torch.cos(2 * u), torch.cos(3 * v) + torch.cos(u) / 2), -3)


def inverse(*rows: list[float]) -> Tensor:
    return torch.tensor([[*rows, [0.0, 0.0, 1.0]]], dtype=torch.double)


MATRICES = {
    "mirrored": inverse([-1, 0, 0], [0, 1, 0]),
    "shifted beyond the border": inverse([1, 0, 5], [0, 1, -3]),
    "shifted by parts": inverse([1, 0, 0.3], [0, 1, -7.6]),
    "turned": inverse([math.cos(0.7), -math.sin(0.7), 0], [math.sin(0.7), math.cos(0.7), 0]),
    "larger": inverse([0.6, 0, 0], [0, 0.6, 0]),
    "smaller and stretched": inverse([1.5, 0, 1], [0, 1.2, 2]),
}


# --- places


@pytest.mark.parametrize("name", MATRICES)
def test_a_warp_is_the_picture_at_other_places(name: str) -> None:
    height, width, matrix = 33, 40, MATRICES[name]
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    places = torch.stack((x - (width - 1) / 2, y - (height - 1) / 2, torch.ones_like(x)))
    across, down, _ = torch.einsum("ij,jhw->ihw", matrix[0], places)
    expected = at(down + (height - 1) / 2, across + (width - 1) / 2, height, width)
    found = warp(smooth(height, width), matrix)[0]
    assert (found - expected).abs().max() < 0.03


def test_an_identity_gives_back_what_came_and_a_filter_takes_what_is_too_fine() -> None:
    x = torch.randn(2, 3, 19, 24, dtype=torch.double)
    difference = (warp(x, torch.eye(3).double().expand(2, 3, 3)) - x).abs()
    assert difference[..., 6:-6, 6:-6].max() < 1e-6
    picture = smooth(33, 40)
    assert (warp(picture, torch.eye(3).double()[None]) - picture).abs().max() < 0.02, "at borders, too"
    fine = (torch.arange(64) % 2 * 2.0 - 1).double().expand(1, 1, 64, 64).contiguous()
    smaller = inverse([2.0, 0, 0], [0, 2.0, 0])
    assert warp(fine, smaller).abs().mean() < 0.35 < warp_nearest(fine, smaller).abs().mean()
    assert warp(torch.ones(1, 1, SMALLEST, 5), torch.eye(3).double()[None]).shape == (1, 1, SMALLEST, 5)


def test_values_that_must_not_be_mixed_are_those_of_the_nearest_pixel() -> None:
    x = torch.arange(7 * 9).view(1, 1, 7, 9).double()
    for turns in range(4):
        quarter = turns * math.pi / 2
        turned = inverse(
            [math.cos(quarter), -math.sin(quarter), 0], [math.sin(quarter), math.cos(quarter), 0]
        )
        square = x[..., 1:8]
        assert torch.equal(warp_nearest(square, turned), torch.rot90(square, turns, (2, 3)))
    shifted = warp_nearest(x, inverse([1, 0, 2], [0, 1, -3]))[0, 0].numpy()
    assert (shifted == np.pad(x[0, 0].numpy(), ((3, 0), (0, 2)), mode="reflect")[:7, 2:]).all()
    mixed = warp_nearest((x > 30).double(), MATRICES["turned"])
    assert set(mixed.unique().tolist()) == {0.0, 1.0}


def test_gradients_of_the_first_and_the_second_order_are_right() -> None:
    x = torch.randn(1, 1, 4, 4, dtype=torch.double, requires_grad=True)

    def moved(x: Tensor) -> Tensor:
        return warp(x, MATRICES["turned"]) ** 2

    assert torch.autograd.gradcheck(moved, x) and torch.autograd.gradgradcheck(moved, x)


# --- draws


def drawn(policy: str, count: int = 4000, **more: Any) -> Tensor:
    torch.manual_seed(0)
    return AdaptiveAugment((policy,), p=1.0, **more).places(count, 80, 40)[0].double()


def test_pixels_are_mirrored_turned_by_quarters_and_shifted_by_whole_ones() -> None:
    matrix = drawn("blit")
    assert ((matrix[:, :2, :2].round() - matrix[:, :2, :2]).abs() < 1e-6).all()
    places = {tuple(m.round().int().flatten().tolist()) for m in matrix[:, :2, :2]}
    assert len(places) == 8, "the positions of a square"
    shares = [
        float((matrix[:, :2, :2].flatten(1).round() == torch.tensor(p)).all(1).double().mean())
        for p in places
    ]
    assert min(shares) > 0.1
    shift = torch.linalg.solve(matrix[:, :2, :2], matrix[:, :2, 2])
    assert ((shift - shift.round()).abs() < 1e-4).all()
    assert shift.abs().amax(0).tolist() == pytest.approx([5, 10], abs=1e-3), "an eighth of 40 and of 80"


def test_geometry_has_the_deviations_of_the_paper() -> None:
    matrix = drawn("geometry")
    u, sizes, v = torch.linalg.svd(matrix[:, :2, :2])
    logs = sizes.log2()
    assert logs.sum(1).div(2).std().item() == pytest.approx(0.2, rel=0.1)
    assert (logs[:, 0] - logs[:, 1]).div(2).square().mean().sqrt().item() == pytest.approx(0.2, rel=0.1)
    assert (torch.linalg.det(matrix[:, :2, :2]) > 0).all(), "nothing is mirrored"
    angle = torch.atan2((u @ v)[:, 1, 0], (u @ v)[:, 0, 0])
    assert angle.abs().mean().item() == pytest.approx(math.pi / 2, rel=0.1), "by any angle alike"
    slide = torch.linalg.solve(matrix[:, :2, :2], matrix[:, :2, 2])
    assert slide.std(0).tolist() == pytest.approx([0.125 * 40, 0.125 * 80], rel=0.1)


def test_each_change_happens_as_often_as_p_says() -> None:
    torch.manual_seed(0)
    for p in (0.1, 0.5):
        augment = AdaptiveAugment(("geometry",), p=p)
        _, moved = augment.places(20_000, 64, 64)
        turned = 1 - (1 - p) ** 0.5
        expected = 1 - (1 - p) ** 3 * (1 - turned) ** 2
        assert moved.double().mean().item() == pytest.approx(expected, abs=0.015)


def test_colours_change_by_the_formulas_of_the_paper() -> None:
    """Whatever was drawn: hue and saturation act on the distance from grey, the rest on all alike."""
    torch.manual_seed(0)
    matrix, _ = AdaptiveAugment(("color",), p=1.0).colours(4000)
    matrix = matrix.double()
    grey = torch.tensor([1.0, 1.0, 1.0]).double() / math.sqrt(3)
    linear, shift = matrix[:, :3, :3], matrix[:, :3, 3]
    along = linear @ grey
    assert (along - (along @ grey)[:, None] * grey).abs().max() < 1e-5, "grey stays grey"
    contrast = along @ grey
    assert (contrast < 0).double().mean().item() == pytest.approx(0.5, abs=0.05), "light and dark"
    assert contrast.abs().log2().std().item() == pytest.approx(0.5, rel=0.1)
    brightness = shift[:, 0] / contrast
    assert (shift - shift[:, :1]).abs().max() < 1e-5 and brightness.std().item() == pytest.approx(
        0.2, rel=0.1
    )
    across = linear @ torch.tensor([1.0, -1.0, 0.0]).double() / math.sqrt(2)
    assert (across @ grey).abs().max() < 1e-5
    saturation = across.norm(dim=1) / contrast.abs()
    assert saturation.log2().std().item() == pytest.approx(1.0, rel=0.1)
    assert torch.equal(matrix[:, 3], torch.tensor([0.0, 0, 0, 1]).double().expand(4000, 4))


def test_colours_of_a_picture_are_its_values_times_the_matrix() -> None:
    x = torch.rand(2, 3, 5, 6)
    augment = AdaptiveAugment(("color",), UNIT, p=1.0)
    torch.manual_seed(3)
    shown, _ = augment(x)
    torch.manual_seed(3)
    matrix, _ = augment.colours(2)
    values = torch.cat((2 * x - 1, torch.ones(2, 1, 5, 6)), 1)
    expected = torch.einsum("nij,njhw->nihw", matrix, values)[:, :3] / 2 + 0.5
    torch.testing.assert_close(shown, expected)
    for channels in (1, 4):
        x = torch.rand(2, channels, 5, 6)
        assert augment(x)[0].shape == x.shape and not torch.equal(augment(x)[0], x)


def test_corruptions() -> None:
    torch.manual_seed(0)
    grey = torch.full((500, 1, 8, 8), 0.5)
    noisy, _ = AdaptiveAugment(("noise",), UNIT, p=1.0)(grey)
    assert (noisy - grey).std((1, 2, 3)).square().mean().sqrt().item() == pytest.approx(0.05, rel=0.1)
    cut, _ = AdaptiveAugment(("cutout",), UNIT, p=1.0)(torch.ones(500, 1, 8, 8))
    holes = cut == 0.5
    assert holes.flatten(1).any(1).all() and set(cut.unique().tolist()) == {0.5, 1.0}
    assert holes[:, 0].any(1).sum(1).max() <= 4 and holes[:, 0].any(2).sum(1).max() <= 4


# --- what is promised


def test_with_the_probability_zero_everything_comes_back_bit_by_bit() -> None:
    x, condition = torch.randn(3, 3, 16, 16), torch.randn(3, 2, 16, 16)
    for dtype in (torch.float32, torch.bfloat16):
        images = x.to(dtype)
        shown, beside = AdaptiveAugment(ALL)(images, condition)
        assert shown.dtype == dtype and torch.equal(shown, images)
        assert beside is not None and torch.equal(beside, condition)
        assert AdaptiveAugment(ALL)(images)[1] is None


@pytest.mark.parametrize("maps", [True, False])
def test_a_condition_moves_as_its_picture_does_and_keeps_its_colours(maps: bool) -> None:
    torch.manual_seed(0)
    base = smooth(32, 32).float().repeat(8, 1, 1, 1)
    condition = (base > 0).float() if maps else base
    shown, moved = AdaptiveAugment(("blit", "geometry", "color"), p=1.0)(base[:, :1], condition)
    assert moved is not None
    if maps:
        assert set(moved.unique().tolist()) == {0.0, 1.0}
    # colours change a picture of one channel along a line: after any of these, both have the same places
    for picture, other in zip(shown[:, 0], moved[:, 0], strict=True):
        both = torch.stack((picture.flatten(), other.flatten())).double()
        assert abs(float(torch.corrcoef(both)[0, 1])) > (0.7 if maps else 0.9999)


def test_the_gradient_reaches_what_made_the_picture() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    for p in (0.0, 0.5, 1.0):
        (gradient,) = torch.autograd.grad(AdaptiveAugment(ALL, p=p)(x)[0].square().sum(), x)
        assert gradient.isfinite().all() and (gradient.flatten(1).abs().sum(1) > 0).all()


# --- the controller


def test_the_probability_follows_the_sign_by_the_formula() -> None:
    augment = AdaptiveAugment(target=0.6, kimg=0.1, interval=4)
    signs, expected, p = [1, 1, 0.9, 0.8, 0.5, 0.6, 0.5, 0.7, 0.1, 0.2, 0.3, 0.9, 1, 1, 1, 1], [], 0.0
    for number, sign in enumerate(signs, 1):
        augment.observe(torch.tensor(float(sign)), 2)
        if number % 4 == 0:
            r = np.mean(signs[number - 4 : number])
            p = max(0.0, p + np.sign(r - 0.6) * 2 * 4 / 100)
        expected.append(p)
        assert float(augment.p) == pytest.approx(p, abs=1e-6)
    assert expected[3] > 0 and expected[7] < expected[3] and expected[11] == 0 and expected[15] > 0
    for _ in range(100):
        augment.observe(torch.tensor(1.0), 2)
    assert float(augment.p) == 1.0
    fixed = AdaptiveAugment(target=None, p=0.3)
    for _ in range(8):
        fixed.observe(torch.tensor(1.0), 1000)
    assert float(fixed.p) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("kind", "real", "fake", "sign"),
    [
        ("vanilla", [[2.0, 1.0, -1.0, 3.0]], [[0.0] * 4], 0.5),
        ("hinge", [[2.0, 2.0], [-1.0, -1.0]], [[0.0] * 2] * 2, 0.0),
        ("lsgan", [[0.9, 0.6, 0.4, 0.7]], [[0.0] * 4], 0.5),
        ("ragan", [[1.0, 2.0, 3.0, 4.0]], [[2.5] * 4], 0.0),
    ],
)
def test_certainty_is_measured_where_the_loss_has_its_middle(
    kind: Any, real: list, fake: list, sign: float
) -> None:
    scales = [[torch.tensor(scale) for scale in some] for some in (real, fake)]
    assert float(GanLoss(kind).certainty(*scales)) == pytest.approx(sign)


def adversary(**ada: Any) -> Adversary:
    torch.manual_seed(0)
    network = {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"}
    section = {"name": "test", "discriminator": network, "gan": "hinge", "ada": {"kimg": 0.05, **ada}}
    return Adversary(AdversarialConfig.model_validate(section), 4, SYMMETRIC)


def played(player: Adversary, real: Tensor, fake: Tensor, steps: int) -> list[dict[str, float]]:
    condition, found = torch.zeros(len(real), 1, 16, 16), []
    optimizer = torch.optim.Adam(player.discriminator.parameters(), 1e-2)
    for _ in range(steps):
        losses = player.discriminator_loss(real, fake, condition)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        found.append({name: loss.item() for name, loss in losses.items()})
    return found


def test_a_discriminator_that_knows_the_real_ones_makes_it_stronger_and_one_that_does_not_weaker() -> None:
    real, fake = torch.full((4, 3, 16, 16), 0.8), torch.full((4, 3, 16, 16), -0.8)
    known = played(adversary(policy=["blit"]), real, fake, 12)
    assert known[-1]["d_ada_sign"] > 0.6 and known[-1]["d_ada_p"] > known[0]["d_ada_p"] == 0
    blind = played(adversary(p=0.5, policy=["blit"]), fake, fake, 12)
    assert blind[-1]["d_ada_p"] < 0.5


def test_the_state_goes_on_in_the_middle_of_an_interval() -> None:
    first, (real, fake) = adversary(p=0.5), torch.randn(2, 2, 3, 16, 16)
    played(first, real, fake, 6)
    other = adversary(p=0.5)
    other.load_state_dict(copy.deepcopy(first.state_dict()))
    found = []
    for player in (first, other):
        torch.manual_seed(1)
        found.append(played(player, real, fake, 7))
    assert found[0] == found[1] and len({losses["d_ada_p"] for losses in found[0]}) > 1


def test_without_it_nothing_is_different() -> None:
    section = {"name": "test", "discriminator": {"name": "patchgan", "features": 4, "layers": 1}}
    plain = Adversary(AdversarialConfig.model_validate(section), 3, SYMMETRIC)
    assert plain.ada is None and not [name for name in plain.state_dict() if "ada" in name]
    assert set(plain.discriminator_loss(*torch.randn(2, 2, 3, 16, 16))) == {"d_real", "d_fake"}


@pytest.mark.parametrize("penalty", [{"r1": 1.0}, {"gradient_penalty": 10.0}])
def test_penalties_differentiate_through_it_twice(penalty: dict[str, float]) -> None:
    section = {
        "name": "test",
        "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
        "ada": {"p": 0.8},
        **penalty,
    }
    player = Adversary(AdversarialConfig.model_validate(section), 3, SYMMETRIC)
    losses = player.discriminator_loss(*torch.randn(2, 2, 3, 16, 16))
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in player.discriminator.parameters())


def test_what_makes_no_sense_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'blit'"):
        AdaptiveAugment(("blitt",))
    with pytest.raises(ValueError, match="have no sign"):
        AdversarialConfig.model_validate({"name": "test", "gan": "wgan", "ada": {}})
    AdversarialConfig.model_validate({"name": "test", "gan": "wgan", "ada": {"target": None, "p": 0.2}})
    with pytest.raises(ConfigError, match=r"method\.ada moves images of 4 pixels"):
        section = {"name": "test", "discriminator": {"name": "pixelgan"}, "ada": {}}
        Adversary(AdversarialConfig.model_validate(section), 3, SYMMETRIC).check(torch.zeros(1, 3, 3, 9))
