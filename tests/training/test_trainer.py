"""The loop by itself, on networks of a few weights."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.fields import PAIRED
from img2img.methods import Export, Method, MethodConfig
from img2img.models import Generator
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

RATE = 0.01


class Little(Generator):
    """A convolution with batch norm; 16 channels inside, so that Muon has a matrix."""

    receptive_field = 1
    live_features = 16

    def __init__(self, wide: int = 16) -> None:
        super().__init__()
        self.in_channels = self.out_channels = 3
        self.first, self.norm = nn.Conv2d(3, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide)
        self.second, self.last = nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(wide, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.norm(self.first(x)).relu()).relu())


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.utils.spectral_norm(nn.Conv2d(16, 1, 3)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Players(Method):
    """Two networks that learn in turns; `spoil` makes the loss of one of them NaN."""

    fields = PAIRED
    Config = MethodConfig

    def __init__(self, wide: int = 16) -> None:
        super().__init__(MethodConfig(name="players"), {"source": 3, "target": 3})
        self.generator, self.judge = Little(wide), Judge()
        self.spoil: str | None = None

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"judge": list(self.judge.parameters()), "generator": list(self.generator.parameters())}

    def exports(self) -> dict[str, Export]:
        return {"generator": Export(self.generator)}

    def step(self, batch: Batch, optimize) -> None:
        bad = {name: torch.tensor(math.nan if self.spoil == name else 0.0) for name in ("judge", "generator")}
        fake = self.generator(batch.source)
        loss = self.judge(fake.detach()).float().mean() - self.judge(batch.target).float().mean()
        optimize("judge", {"d": loss + bad["judge"]})
        fooled = -self.judge(fake).float().mean()
        near = (fake.float() - batch.target).abs().mean()
        optimize("generator", {"g": fooled + bad["generator"], "l1": near})


def batch(number: int = 0, factor: float = 1.0) -> Batch:
    random = torch.Generator().manual_seed(number)
    source, target = torch.rand(2, 2, 3, 8, 8, generator=random)
    return Batch({"source": source * factor, "target": target}, (f"s{number}",))


def trainer(method: Method | None = None, precision: str = "fp32", **settings) -> Trainer:
    torch.manual_seed(1)
    settings = TrainingSettings(**({"steps": 5} | settings))
    runtime = Runtime("cpu", precision=precision)
    return Trainer(method or Players(), settings, runtime, lambda step, group: RATE)


def snapshot(one: Trainer) -> dict:
    state = copy.deepcopy(one.state())
    for key in ("random", "sums", "counts", "step", "bad_steps"):
        del state[key]
    return state


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


OPTIMIZERS = ["adam", "adamw", "muon"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.sampled(3)
def test_a_bad_batch_leaves_no_trace(optimizer: str, factor: float) -> None:
    """Weights, what optimizers remember, running averages, spectral norm and EMA stay bit for bit."""
    one = trainer(optimizer=optimizer, ema=0.9, weight_decay=0.1)
    one.step(batch(0))
    before = snapshot(one)
    counters = {key for key in before["method"] if key.endswith("num_batches_tracked")}
    one.step(batch(1, factor))
    after = snapshot(one)
    for key in counters:  # how often batch norm was called; nothing depends on it
        after["method"][key] = before["method"][key]
    assert same(after["method"], before["method"])
    assert same(after["averages"], before["averages"])
    assert same(after["optimizers"], before["optimizers"])
    assert list(one.bad_keys()) == [(1, ("s1",))] and one.bad_steps == 1
    one.step(batch(2))
    assert not same(snapshot(one)["method"], before["method"])
    assert list(one.bad_keys()) == [] and one.bad_steps == 0


@pytest.mark.parametrize("value", [1e20, 1e30, 1e38, -3.4e38])
def test_a_value_that_overflows_in_running_averages_alone_leaves_no_trace(value: float) -> None:
    """Batch norm forgives it: losses and gradients stay finite, but the variance does not."""
    one = trainer(ema=0.9)
    one.step(batch(0))
    before = snapshot(one)
    poisoned = batch(1)
    poisoned.source[0, 0, 0, 0] = value
    one.step(poisoned)
    after = snapshot(one)
    for key in after["method"]:
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(after["method"][key], before["method"][key]), key
    assert same(after["averages"], before["averages"])
    assert list(one.bad_keys()) == [(1, ("s1",))]


def test_a_state_with_infinite_running_averages_heals() -> None:
    """As older versions saved them."""
    one = trainer(ema=0.9)
    one.step(batch(0))
    state = copy.deepcopy(one.state())
    state["method"]["generator.norm.running_var"].fill_(math.inf)
    averages = state["averages"]["generator"]
    averages[next(key for key in averages if key.endswith("norm.running_mean"))][0] = math.nan
    two = trainer(ema=0.9)
    assert [note for note in two.load_state(state) if "running averages" in note]
    assert two.method.generator.norm.running_var.eq(1).all()
    two.step(batch(1))
    assert list(two.bad_keys()) == []
    assert all(v.isfinite().all() for v in two.evaluated()["generator"].state_dict().values())


def test_the_first_batch_may_be_bad() -> None:
    one, other = trainer(), trainer()
    one.step(batch(1, math.nan))
    one.step(batch(0))
    other.step(batch(0))
    for (name, value), expected in zip(one.method.named_parameters(), other.method.parameters(), strict=True):
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("spoiled", ["judge", "generator"])
def test_a_bad_loss_of_one_player_skips_that_one_alone(optimizer: str, spoiled: str) -> None:
    method = Players()
    one = trainer(method, optimizer=optimizer)
    one.step(batch(0))
    before = {name: [p.clone() for p in group] for name, group in method.parameter_groups().items()}
    method.spoil = spoiled
    one.step(batch(1))
    for name, group in method.parameter_groups().items():
        moved = [not torch.equal(a, b) for a, b in zip(group, before[name], strict=True)]
        assert any(moved) == (name != spoiled)
    assert list(one.bad_keys()) == [(1, ("s1",))]
    means = one.means()
    assert math.isfinite(means["d"]) and math.isfinite(means["g"])  # those of the good step


def test_bad_steps_are_counted_across_a_resume() -> None:
    one = trainer()
    for number in range(3):
        one.step(batch(number, math.nan))
    list(one.bad_keys())
    two = trainer()
    two.load_state(copy.deepcopy(one.state()))
    two.step(batch(3, math.nan))
    assert [step for step, _ in two.bad_keys()] == [3] and two.bad_steps == 4
    assert all(math.isnan(value) for value in two.means().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_continues_exactly(optimizer: str) -> None:
    def make() -> Trainer:
        return trainer(optimizer=optimizer, ema=0.9, clip_norm=1.0, weight_decay=0.01)

    straight = make()
    for number in range(6):
        straight.step(batch(number))
    first = make()
    for number in range(3):
        first.step(batch(number))
    torch.manual_seed(99)
    second = make()
    assert second.load_state(copy.deepcopy(first.state())) == []
    for number in range(3, 6):
        second.step(batch(number))
    assert same(snapshot(second), snapshot(straight))
    assert second.means() == straight.means()


def test_a_state_fits_another_memory_format() -> None:
    """The fused kernels walk over bytes: memory that lies otherwise than its weight would be mixed up."""
    one = trainer(Players().to(memory_format=torch.channels_last))
    one.step(batch(0))
    state = copy.deepcopy(one.state())
    two = trainer(Players())
    two.load_state(copy.deepcopy(state))
    for optimizer in two._optimizers.values():
        for parameter, memory in optimizer.state.items():
            assert memory["exp_avg"].stride() == parameter.stride()
    one.step(batch(1))
    two.step(batch(1))
    for a, b in zip(one.method.parameters(), two.method.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_numbers_of_the_settings_beat_those_of_the_state() -> None:
    one = trainer(betas=(0.5, 0.999))
    one.step(batch(0))
    two = trainer(betas=(0.9, 0.99), weight_decay=0.5)
    assert two.load_state(copy.deepcopy(one.state())) == []
    for optimizer in two._optimizers.values():
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
        assert optimizer.param_groups[0]["weight_decay"] == 0.5
        assert next(iter(optimizer.state.values()))["step"] == 1


def test_what_a_state_does_not_have_begins_anew_and_is_said() -> None:
    one = trainer()
    one.step(batch(0))
    two = trainer(optimizer="muon", ema=0.9)
    notes = two.load_state(copy.deepcopy(one.state()))
    assert len(notes) == 2 and "state is one of adam: muon starts" in notes[0] and "generator" in notes[1]
    assert same(two.averages["generator"].network.state_dict(), two.method.generator.state_dict())
    two.step(batch(1))


def test_other_networks_are_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"does not fit the networks .* `initial`"):
        trainer(Players(wide=8)).load_state(trainer().state())


def test_averages_follow_weights_and_buffers() -> None:
    one = trainer(ema=0.7)
    network = one.method.generator
    expected = {name: value.double() for name, value in network.state_dict().items()}
    for number in range(6):
        one.step(batch(number))
        decay = min(0.7, (1 + number) / (10 + number))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value.double()
            else:
                expected[name] = value.double()
    for name, value in one.averages["generator"].network.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in one.averages["generator"].network.parameters())


def test_long_gradients_are_shortened() -> None:
    plain, clipped = trainer(), trainer(clip_norm=1e-3)
    seen = {}

    def spy(one: Trainer, key: str) -> None:
        optimizer = one._optimizers["generator"]
        step = optimizer.step

        def record(*args):
            seen[key] = [p.grad.clone() for p in one.method.generator.parameters()]
            return step(*args)

        optimizer.step = record

    for key, one in (("plain", plain), ("clipped", clipped)):
        spy(one, key)
        one.step(batch(0))
    norms = {key: torch.stack([g.norm() for g in found]).norm() for key, found in seen.items()}
    assert norms["plain"] > 0.1
    assert norms["clipped"] == pytest.approx(1e-3, rel=1e-3)
    first, other = (torch.cat([g.flatten() for g in seen[key]]) for key in ("plain", "clipped"))
    assert torch.cosine_similarity(first, other, 0) > 0.99


def test_the_generator_learns_from_the_discriminator_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast keeps rounded weights: without forgetting them the generator would meet yesterday's judge."""

    def gradient() -> list[Tensor]:
        method = Players()
        one = trainer(method, precision="bf16")
        one.rates = lambda step, group: 0.5 if group == "judge" else 0.0
        found = []
        optimizer = one._optimizers["generator"]
        monkeypatch.setattr(
            optimizer, "step", lambda: found.extend(p.grad.clone() for p in method.generator.parameters())
        )
        one.step(batch(0))
        return found

    def by_hand() -> list[Tensor]:
        torch.manual_seed(1)
        method = Players().train()
        one = trainer(method, precision="bf16")
        sample = batch(0)
        with torch.autocast("cpu", torch.bfloat16):
            fake = method.generator(sample.source)
            loss = method.judge(fake.detach()).float().mean() - method.judge(sample.target).float().mean()
        loss.backward(inputs=list(method.judge.parameters()))
        optimizer = one._optimizers["judge"]
        optimizer.param_groups[0]["lr"] = 0.5
        optimizer.step()
        with torch.autocast("cpu", torch.bfloat16):  # another context: nothing is kept
            total = -method.judge(fake).float().mean() + (fake.float() - sample.target).abs().mean()
        return list(torch.autograd.grad(total, list(method.generator.parameters())))

    torch.manual_seed(1)
    expected = by_hand()
    torch.manual_seed(1)
    for own, other in zip(gradient(), expected, strict=True):
        assert torch.equal(own, other)
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: None)
    torch.manual_seed(1)
    assert not all(map(torch.equal, gradient(), expected))


def test_gradients_stay_in_their_group() -> None:
    method = Players()
    one = trainer(method)
    one.step(batch(0))
    assert all(p.grad is None for p in method.parameters())
    assert one.learning_rates() == {"judge": RATE, "generator": RATE}
