from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from samples import batch, configured, made
from torch import Tensor

from img2img.errors import ConfigError
from img2img.losses import feature_matching, ssim_loss
from img2img.methods import methods
from img2img.methods.adversary import AdversarialConfig, Adversary
from img2img.methods.pix2pix import Pix2Pix, Pix2PixConfig
from img2img.methods.terms import Terms, TermsConfig
from img2img.training import Runtime, Trainer
from img2img.training.settings import TrainingSettings
from img2img.types import SYMMETRIC, UNIT, Batch

ADA = {"p": 0.5, "interval": 2, "kimg": 0.1}


def adversary(channels: int = 3, **keys: Any) -> Adversary:
    torch.manual_seed(0)
    small = {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"}
    config = AdversarialConfig.model_validate({"name": "test", "discriminator": small, **keys})
    return Adversary(config, channels, SYMMETRIC)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


REAL, FAKE, CONDITION = images(2, 3, 16, 16), images(2, 3, 16, 16, seed=2), images(2, 1, 16, 16, seed=3)


def test_the_discriminator_sees_the_condition_first_and_nothing_learns_through_its_losses() -> None:
    player = adversary(4)
    fake = FAKE.clone().requires_grad_()
    losses = player.discriminator_loss(REAL, fake, CONDITION)
    logits = player.discriminator(torch.cat((CONDITION, REAL), 1))
    torch.testing.assert_close(
        losses["d_real"], 0.5 * torch.nn.functional.softplus(-logits).mean(), rtol=1e-5, atol=1e-6
    )
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert fake.grad is None
    player.generator_loss(REAL, fake, CONDITION)["g_gan"].backward()
    assert fake.grad is not None and bool(fake.grad.abs().sum() > 0)


@pytest.mark.parametrize("name", ["patchgan", "multiscale"])
def test_real_and_fake_in_one_call_are_the_same_as_in_two(name: str) -> None:
    network = {"name": name, "features": 4, "layers": 1, "norm": "instance"}
    one, two = adversary(discriminator=network), adversary(discriminator=network)
    assert one._together
    two._together = False
    expected = two.discriminator_loss(REAL, FAKE)
    for key, value in one.discriminator_loss(REAL, FAKE).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("keys", [{"gan": "lsgan"}, {"gan": "ragan"}, {"diffaugment": ["color"]}])
def test_one_look_for_both_losses_of_the_generator_is_the_same_as_two(keys: dict[str, Any]) -> None:
    player = adversary(4, feature_matching=10, **keys)
    torch.manual_seed(0)
    expected = player.generator_loss(REAL, FAKE, CONDITION) | player.feature_matching(FAKE, REAL, CONDITION)
    torch.manual_seed(0)
    found = player.matched_loss(REAL, FAKE, CONDITION)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("change", [{"norm": "batch"}, {"norm": "none", "spectral": True}])
def test_discriminators_that_mix_images_see_them_apart(change: dict[str, Any]) -> None:
    player = adversary(discriminator={"name": "patchgan", "features": 4, "layers": 1, **change})
    sizes: list[int] = []
    player.discriminator.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    player.discriminator_loss(REAL, FAKE)
    assert sizes == [2, 2]


def test_augmentation_moves_image_and_condition_alike_and_colours_the_image_alone() -> None:
    torch.manual_seed(0)
    moved = adversary(6, diffaugment=["translation", "cutout"])._seen(REAL, REAL)
    assert torch.equal(moved[:, :3], moved[:, 3:]) and not torch.equal(moved[:, :3], REAL)
    coloured = adversary(6, diffaugment=["color"])._seen(REAL, REAL)
    assert torch.allclose(coloured[:, :3], REAL, atol=1e-6) and not torch.allclose(
        coloured[:, 3:], REAL, atol=0.1
    )
    assert torch.equal(adversary(6)._seen(REAL, FAKE), torch.cat((FAKE, REAL), 1))


def test_r1_is_the_slope_for_the_image_and_not_for_its_condition() -> None:
    player = adversary(4, r1=3.0)
    real = REAL.clone().requires_grad_()
    values = player.discriminator(torch.cat((CONDITION, real), 1)).flatten(1).mean(1)
    (slope,) = torch.autograd.grad(values.sum(), real)
    expected = 3.0 / 2 * slope.flatten(1).square().sum(1).mean()
    torch.testing.assert_close(player.discriminator_loss(REAL, FAKE, CONDITION)["d_r1"], expected)


def test_the_penalty_of_wgan() -> None:
    player = adversary(gan="wgan", gradient_penalty=10.0)
    losses = player.discriminator_loss(REAL, FAKE)
    assert losses.keys() == {"d_real", "d_fake", "d_penalty"}
    torch.testing.assert_close(losses["d_real"], -0.5 * player.discriminator(REAL).mean())
    assert 0 < float(losses["d_penalty"].detach()) <= 10.0  # of a discriminator that is nearly flat


def test_features_are_matched_where_it_is_wanted() -> None:
    assert adversary().feature_matching(FAKE, REAL) == {}
    player = adversary(feature_matching=7.0)
    features = player.discriminator.features
    expected = 7.0 * feature_matching(features(FAKE), features(REAL))
    torch.testing.assert_close(player.feature_matching(FAKE, REAL)["g_features"], expected)
    fake, real = FAKE.clone().requires_grad_(), REAL.clone().requires_grad_()
    player.feature_matching(fake, real)["g_features"].backward()
    assert fake.grad is not None and real.grad is None


def test_names_of_losses_where_there_are_several_adversaries() -> None:
    config = AdversarialConfig.model_validate(
        {
            "name": "test",
            "r1": 1.0,
            "feature_matching": 1.0,
            "discriminator": {"name": "patchgan", "features": 2},
        }
    )
    player = Adversary(config, 3, SYMMETRIC, ("b", "a2b"))
    real, fake = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=2)
    assert player.discriminator_loss(real, fake).keys() == {"d_b_real", "d_b_fake", "d_b_r1"}
    assert player.generator_loss(real, fake).keys() == {"g_a2b"}
    assert player.feature_matching(fake, real).keys() == {"features_b"}


@pytest.mark.parametrize(
    ("network", "least"),
    [
        ({"name": "patchgan", "layers": 1}, 6),
        ({"name": "patchgan", "layers": 3}, 24),
        ({"name": "multiscale", "layers": 1}, 11),
        ({"name": "multiscale", "layers": 2, "scales": 3}, 45),
    ],
)
def test_the_smallest_image_that_can_be_judged(network: dict[str, Any], least: int) -> None:
    player = adversary(discriminator={**network, "features": 2, "norm": "instance"})
    player.check(REAL.new_zeros(1, 3, least, least))
    for logits in player.generator_loss(images(1, 3, least, least), images(1, 3, least, least)).values():
        assert logits.isfinite()
    with pytest.raises(ConfigError, match=rf"images of {least} pixels and more.*{least}x{least - 1}"):
        player.check(REAL.new_zeros(1, 3, least - 1, least))
    with pytest.raises((RuntimeError, ValueError)):
        player.discriminator(images(1, 3, least - 1, least - 1))


def test_ssim_needs_its_window() -> None:
    terms = Terms(TermsConfig(name="test", ssim_weight=1.0), UNIT)
    terms.check(REAL.new_zeros(1, 3, 11, 11))
    with pytest.raises(ConfigError, match=r"windows of 11 pixels.*are 16x10"):
        terms.check(REAL.new_zeros(1, 3, 10, 16))


def test_terms_are_what_they_are_called(tmp_path: Any) -> None:
    made, truth = images(1, 3, 32, 32) / 2 + 0.5, images(1, 3, 32, 32, seed=2) / 2 + 0.5
    assert Terms(TermsConfig(name="test"), UNIT)(made, truth) == {}
    torch.manual_seed(0)
    weights = {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.randn(64)}
    torch.save(weights, tmp_path / "vgg.pth")
    perceptual = {"weight": 2.0, "layers": {"conv1_1": 0.5}, "weights": str(tmp_path / "vgg.pth")}
    config = TermsConfig.model_validate({"name": "test", "ssim_weight": 3.0, "perceptual": perceptual})
    found = Terms(config, UNIT, "{}_a")(made, truth)
    assert found.keys() == {"perceptual_a", "ssim_a"}
    torch.testing.assert_close(found["ssim_a"], 3.0 * ssim_loss(made, truth, UNIT))
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    difference = torch.nn.functional.conv2d(
        (made - truth) / deviation, weights["features.0.weight"], padding=1
    )
    torch.testing.assert_close(found["perceptual_a"], 2.0 * 0.5 * difference.abs().mean(), rtol=1e-4, atol=0)


def test_pix2pix_takes_every_part(tmp_path: Any) -> None:
    torch.save(
        {"features.0.weight": torch.randn(64, 3, 3, 3), "features.0.bias": torch.randn(64)},
        tmp_path / "vgg.pth",
    )
    config = Pix2PixConfig.model_validate(
        {
            "generator": {"name": "unet", "features": 4, "downs": 2},
            "discriminator": {"name": "multiscale", "features": 4, "layers": 1},
            "perceptual": {"layers": {"conv1_1": 1.0}, "weights": str(tmp_path / "vgg.pth")},
            "ssim_weight": 1.0,
            "feature_matching": 10.0,
            "diffaugment": ["translation"],
        }
    )
    method = Pix2Pix(config, {"source": 3, "target": 3})
    # the features of VGG19 belong to nobody: in no state, in no optimizer
    assert all(key.startswith(("generator.", "adversary.")) for key in method.state_dict())
    assert sum(map(len, method.parameter_groups().values())) == len(list(method.parameters()))
    seen: dict[str, list[str]] = {}
    batch = Batch({"source": images(2, 3, 16, 16), "target": images(2, 3, 16, 16, seed=2)})
    method.step(batch, lambda group, losses: seen.update({group: list(losses)}))
    assert list(seen) == ["discriminator", "generator"]
    assert seen["generator"] == ["g_gan", "g_l1", "g_features", "g_perceptual", "g_ssim"]


# --- adaptive augmentation in every method that has an adversary

ADAPTIVE = [name for name in methods if "ada" in methods[name].Config.model_fields]


@pytest.mark.parametrize(
    "name", [name if name == "pix2pix" else pytest.param(name, marks=pytest.mark.slow) for name in ADAPTIVE]
)
def test_a_run_with_adaptive_augmentation_goes_on_bit_by_bit_between_two_corrections(name: str) -> None:
    def trainer(seed: int) -> Trainer:
        torch.manual_seed(seed)
        method = made(
            name, **({"gan": "hinge"} if "gan" in methods[name].Config.model_fields else {}), ada=ADA
        )
        settings = TrainingSettings.model_validate({"steps": 9})
        return Trainer(method, settings, Runtime("cpu", precision="fp32"), lambda step, group: 1e-3)

    first, fields = trainer(0), methods[name].fields_of(configured(name))
    samples = [batch(first.method, fields, seed=seed) for seed in range(6)]
    first.run(samples[:3])  # a correction comes after each second step
    state = deepcopy(first.state())
    other = trainer(1)
    assert not list(other.load_state(state))
    means = []
    for one in (first, other):
        torch.set_rng_state(state["random"]["cpu"])
        one.run(samples[3:])
        means.append(one.means())
    assert means[0] == means[1]
    shown = {key: value for key, value in means[0].items() if key.endswith("_ada_p")}
    assert shown and all(value != 0.5 for value in shown.values()), "it is logged, and moves"
    for key, value in first.method.state_dict().items():
        assert torch.equal(value.nan_to_num(7.0), other.method.state_dict()[key].nan_to_num(7.0)), key
