from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from img2img.errors import ConfigError
from img2img.methods import methods
from img2img.methods.cyclegan import CycleGAN, CycleGANConfig
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

TINY = {
    "generator": {"name": "resnet", "features": 4, "blocks": 1},
    "discriminator": {"name": "patchgan", "features": 4, "layers": 1, "norm": "instance"},
}


def cyclegan(channels: tuple[int, int] = (3, 3), **keys: Any) -> CycleGAN:
    torch.manual_seed(0)
    config = CycleGANConfig.model_validate({**TINY, **keys})
    return CycleGAN(config, dict(zip(("source", "target"), channels, strict=True)))


def batches(count: int, size: int = 16) -> Iterator[Batch]:
    random = torch.Generator().manual_seed(1)
    for _ in range(count):
        source, target = (torch.rand(1, 3, size, size, generator=random) * 2 - 1 for _ in range(2))
        yield Batch({"source": source, "target": target})


def trainer(method: CycleGAN) -> Trainer:
    settings = TrainingSettings(steps=10, precision="fp32")
    return Trainer(method, settings, Runtime("cpu", precision="fp32"), lambda step, group: 2e-4)


def losses_of(method: CycleGAN, batch: Batch) -> list[tuple[str, dict[str, Tensor]]]:
    seen: list[tuple[str, dict[str, Tensor]]] = []

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        seen.append((group, dict(losses)))

    method.step(batch, optimize)
    return seen


def test_generators_learn_before_discriminators_from_the_losses_of_the_paper() -> None:
    method, batch = cyclegan(identity=0.3, lambda_a=7, lambda_b=5), next(batches(1))
    (first, generator), (second, discriminator) = losses_of(method, batch)
    assert (first, second) == ("generator", "discriminator")
    a, b = batch.source, batch.target
    fake_b, fake_a = method.a2b(a), method.b2a(b)
    judge_a, judge_b = method.judge_a.discriminator, method.judge_b.discriminator
    expected = {
        "g_a2b": (judge_b(fake_b) - 1).square().mean(),
        "g_b2a": (judge_a(fake_a) - 1).square().mean(),
        "cycle_a": 7 * (method.b2a(fake_b) - a).abs().mean(),
        "cycle_b": 5 * (method.a2b(fake_a) - b).abs().mean(),
        "identity_a": 0.3 * 7 * (method.b2a(a) - a).abs().mean(),
        "identity_b": 0.3 * 5 * (method.a2b(b) - b).abs().mean(),
        "d_a_real": 0.5 * (judge_a(a) - 1).square().mean(),
        "d_a_fake": 0.5 * judge_a(fake_a).square().mean(),
        "d_b_real": 0.5 * (judge_b(b) - 1).square().mean(),
        "d_b_fake": 0.5 * judge_b(fake_b).square().mean(),
    }
    found = {**generator, **discriminator}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, msg=name)
    assert not any(
        g is not None
        for g in torch.autograd.grad(
            sum(discriminator.values()), list(method.a2b.parameters()), allow_unused=True
        )
    )


def test_one_call_with_both_batches_is_the_same_as_two() -> None:
    together, batch = cyclegan(), next(batches(1))
    assert together._together
    apart = cyclegan()
    apart._together = apart.judge_a._together = apart.judge_b._together = False
    for (_, one), (_, other) in zip(losses_of(together, batch), losses_of(apart, batch), strict=True):
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("change", [{"norm": "batch"}, {"dropout": True}])
def test_networks_that_mix_images_or_draw_are_called_for_each_batch(change: dict[str, Any]) -> None:
    method = cyclegan(generator={**TINY["generator"], **change})
    sizes = []
    method.a2b.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    losses_of(method, next(batches(1)))
    assert sizes == [1, 1, 1]


@pytest.mark.slow
def test_it_learns_to_come_back() -> None:
    learner = trainer(cyclegan())
    batch = next(batches(1))
    learner.step(batch)
    first = learner.means()
    for _ in range(30):
        learner.step(batch)
    learner.means()
    learner.step(batch)
    last = learner.means()
    for name in ("cycle_a", "cycle_b", "identity_a", "identity_b"):
        assert last[name] < 0.9 * first[name], name


def test_every_parameter_gets_a_gradient_from_its_own_group_alone() -> None:
    method = cyclegan()
    groups = method.parameter_groups()
    everything = [p for parameters in groups.values() for p in parameters]
    assert {id(p) for p in everything} == {id(p) for p in method.parameters()}
    assert len(everything) == len(list(method.parameters()))
    for group, losses in losses_of(method, next(batches(1))):
        gradients = torch.autograd.grad(sum(losses.values()), groups[group], retain_graph=True)
        assert all(g.isfinite().all() for g in gradients)


def test_a_run_with_a_full_pool_continues_exactly() -> None:
    stream = list(batches(9))
    whole = trainer(cyclegan(pool=2))
    torch.manual_seed(3)
    for batch in stream[:6]:
        whole.step(batch)
    assert int(whole.method.pool_a.count) == 2  # type: ignore[union-attr, operator, arg-type]
    file = io.BytesIO()
    torch.save(whole.state(), file)
    for batch in stream[6:]:
        whole.step(batch)
    torch.manual_seed(99)
    other = trainer(cyclegan(pool=2))
    other.load_state(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    for batch in stream[6:]:
        other.step(batch)
    state, expected = other.method.state_dict(), whole.method.state_dict()
    assert state.keys() == expected.keys() and "pool_a.images" in state
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_the_pool_is_used_by_the_discriminators_alone() -> None:
    method = cyclegan(pool=1)
    old = torch.zeros(1, 3, 16, 16)
    method.pool_a(old), method.pool_b(old)
    for seed in range(20):  # until the coins hand back the stored ones
        torch.manual_seed(seed)
        state = {key: value.clone() for key, value in method.state_dict().items()}
        (_, generator), (_, discriminator) = losses_of(method, next(batches(1)))
        expected = 0.5 * method.judge_a.discriminator(old).square().mean()
        if torch.allclose(discriminator["d_a_fake"], expected, rtol=1e-5):
            assert not torch.allclose(
                generator["g_b2a"], (method.judge_a.discriminator(old) - 1).square().mean()
            )
            return
        method.load_state_dict(state)
    pytest.fail("the stored image never came back")


def test_discogan_is_a_configuration() -> None:
    method = cyclegan(gan="vanilla", cycle_loss="l2", lambda_a=1, lambda_b=1, identity=0, pool=0)
    batch = next(batches(1))
    (_, generator), _ = losses_of(method, batch)
    assert generator.keys() == {"g_a2b", "g_b2a", "cycle_a", "cycle_b"}
    fake = method.a2b(batch.source)
    torch.testing.assert_close(generator["cycle_a"], (method.b2a(fake) - batch.source).square().mean())
    logits = method.judge_b.discriminator(fake)
    torch.testing.assert_close(generator["g_a2b"], torch.nn.functional.softplus(-logits).mean())


@pytest.mark.parametrize(
    ("keys", "added"),
    [
        ({"ssim_weight": 1.0}, {"ssim_a", "ssim_b"}),
        ({"feature_matching": 10.0}, {"features_a", "features_b"}),
        ({"r1": 1.0}, {"d_a_r1", "d_b_r1"}),
        ({"gan": "wgan", "gradient_penalty": 10.0}, {"d_a_penalty", "d_b_penalty"}),
        ({"diffaugment": ["color", "translation", "cutout"]}, set()),
        ({"discriminator": {"name": "multiscale", "features": 4, "layers": 1, "spectral": True}}, set()),
        ({"gan": "ragan"}, set()),
        ({"gan": "hinge"}, set()),
    ],
)
@pytest.mark.sampled(2)
def test_every_part_can_be_named(keys: dict[str, Any], added: set[str]) -> None:
    plain = {name for _, losses in losses_of(cyclegan(), next(batches(1))) for name in losses}
    learner = trainer(cyclegan(**keys))
    for batch in batches(2):
        learner.step(batch)
    means = learner.means()
    assert set(means) - {"norm_generator", "norm_discriminator"} == plain | added
    assert not list(learner.bad_keys())


def test_the_columns_of_the_grid() -> None:
    method, batch = cyclegan(), next(batches(1))
    pictures = method.columns(batch, method.generators())
    assert list(pictures) == ["A", "A to B", "A to B to A", "B", "B to A", "B to A to B"]
    assert torch.equal(pictures["A"].values, batch.source)
    assert torch.equal(pictures["B to A to B"].values, method.a2b(method.b2a(batch.target)))
    assert set(method.generators()) == {"a2b", "b2a"} and methods["cyclegan"] is CycleGAN
    assert method.compare(batch, method.generators()) is None


def test_channels_may_differ_without_identity() -> None:
    with pytest.raises(ConfigError, match=r"1 channels and those of B 3.*method\.identity to 0"):
        cyclegan((1, 3))
    method = cyclegan((1, 3), identity=0)
    batch = Batch({"source": torch.rand(1, 1, 16, 16), "target": torch.rand(1, 3, 16, 16)})
    assert method.a2b(batch.source).shape == (1, 3, 16, 16)
    assert len(losses_of(method, batch)) == 2


@pytest.mark.parametrize("name", ["patchgan", "pixelgan", "multiscale"])
def test_instance_norm_where_nothing_is_said(name: str) -> None:
    config = CycleGANConfig.model_validate(
        {"generator": {"name": "unet", "downs": 2}, "discriminator": {"name": name, "features": 4}}
    )
    assert config.generator.arguments["norm"] == config.discriminator.arguments["norm"] == "instance"
    config = CycleGANConfig.model_validate({"discriminator": {"name": "patchgan", "norm": "batch"}})
    assert config.discriminator.arguments["norm"] == "batch"
    with pytest.raises(ValueError, match="no discriminator 'patchgam'"):
        CycleGANConfig.model_validate({"discriminator": {"name": "patchgam"}})


def test_generators_must_take_what_the_other_makes() -> None:
    srresnet = {"name": "srresnet", "scale": 1, "features": 4, "blocks": 1, "output": "tanh"}
    with pytest.raises(ConfigError, match=r"in \(0.0, 1.0\) and makes them in \(-1.0, 1.0\)"):
        cyclegan(generator=srresnet)


def test_both_domains_must_fit_the_generators() -> None:
    learner = trainer(cyclegan())
    with pytest.raises(ConfigError, match=r"multiples of 4.*18x16.*data\.crop_size"):
        learner.step(Batch({"source": torch.rand(1, 3, 16, 16), "target": torch.rand(1, 3, 16, 18)}))


@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_gradients_of_a_batch_are_the_mean_of_those_of_its_images(name: str) -> None:
    """What several processes rely on: in float64 nothing is rounded on the way."""
    torch.manual_seed(0)
    method = methods[name](
        methods[name].Config.model_validate({"name": name, **TINY}), {"source": 3, "target": 3}
    ).double()
    groups = method.parameter_groups()
    batch = next(batches(1))
    source, target = (torch.cat((x, x.flip(2) * 0.7)).double() for x in (batch.source, batch.target))

    def gradients(batch: Batch) -> dict[str, Tensor]:
        found = {}

        def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
            total = torch.stack(list(losses.values())).sum()
            parts = torch.autograd.grad(total, groups[group], retain_graph=True)
            found[group] = torch.cat([part.flatten() for part in parts])

        method.step(batch, optimize)
        return found

    one, other = (
        gradients(Batch({"source": source[place : place + 1], "target": target[place : place + 1]}))
        for place in (0, 1)
    )
    for group, whole in gradients(Batch({"source": source, "target": target})).items():
        torch.testing.assert_close((one[group] + other[group]) / 2, whole, rtol=1e-10, atol=1e-13)
