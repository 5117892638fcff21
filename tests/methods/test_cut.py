"""CUT and FastCUT against formulas written out, the authors' layers, and what every method promises."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ConfigError
from img2img.methods.cut import CUT, CUTConfig, draw_places, encode, patch_nce
from img2img.models import CutResnet, Resnet
from img2img.training.experiment import read_experiment
from img2img.training.loop import Trainer
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FASTCUT = {"lambda_nce": 10.0, "nce_identity": False, "flip_equivariance": True}
Losses = list[tuple[str, dict[str, Tensor]]]


def cut(channels: tuple[int, int] = (3, 3), **keys: Any) -> CUT:
    torch.manual_seed(0)
    config = CUTConfig.model_validate({**CUT.tiny, **keys})
    return CUT(config, dict(zip(("source", "target"), channels, strict=True)))


def pictures(count: int = 1, side: int = 16, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batches(count: int) -> Iterator[Batch]:
    for seed in range(count):
        yield Batch({"source": pictures(seed=2 * seed), "target": pictures(seed=2 * seed + 1)})


BATCH = Batch({"source": pictures(seed=1), "target": pictures(seed=2)})


def trainer(method: CUT, rate: float = 2e-4) -> Trainer:
    settings = TrainingSettings(steps=10, precision="fp32")
    return Trainer(method, settings, Runtime("cpu", precision="fp32"), lambda step, group: rate)


def losses_of(method: CUT, batch: Batch, seed: int = 0) -> Losses:
    seen: Losses = []

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        seen.append((group, dict(losses)))

    torch.manual_seed(seed)
    method.step(batch, optimize)
    return seen


def authors_layers(network: Resnet) -> nn.Sequential:
    """Returns the encoder as one flat row, as the authors have it, with the weights of `network`."""

    class Blur(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            line = torch.tensor([1.0, 2, 1], dtype=x.dtype)
            kernel = (line[:, None] * line / 16).expand(x.shape[1], 1, 3, 3)
            return nn.functional.conv2d(nn.ReflectionPad2d(1)(x), kernel, stride=2, groups=x.shape[1])

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            pad, norm = nn.ReflectionPad2d(1), nn.InstanceNorm2d(width)
            first, second = nn.Conv2d(width, width, 3), nn.Conv2d(width, width, 3)
            self.row = nn.Sequential(pad, first, norm, nn.ReLU(True), pad, second, norm)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.row(x)

    blur, width = isinstance(network, CutResnet), network.head[0].conv.out_channels  # type: ignore[union-attr]
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7)]
    layers += [nn.InstanceNorm2d(width), nn.ReLU(True)]
    for _ in range(2):
        layers += [nn.Conv2d(width, 2 * width, 3, 1 if blur else 2, 1), nn.InstanceNorm2d(2 * width)]
        layers += [nn.ReLU(True), *([Blur()] if blur else [])]
        width *= 2
    layers += [Block(width) for _ in network.blocks]
    flat = nn.Sequential(*layers)
    own = [value for name, value in network.state_dict().items() if name.startswith(("head", "blocks"))]
    flat.load_state_dict(dict(zip(flat.state_dict(), own, strict=True)))
    return flat


@pytest.mark.parametrize("cls", [CutResnet, Resnet])
def test_features_are_those_of_the_authors_layers(cls: type[Resnet]) -> None:
    torch.manual_seed(0)
    network, wanted = cls(features=2, blocks=7).double(), (0, 4, 8, 12, 16)
    x, expected = pictures(2, 20).double(), []
    y = x
    for number, layer in enumerate(authors_layers(network).double()):
        y = layer(y)
        expected += [y] if number in wanted else []
    for one, other in zip(encode(network, x, wanted), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    (again,) = encode(network, x, [12])
    torch.testing.assert_close(again, expected[3], rtol=1e-9, atol=1e-10)


def unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def nce_by_hand(query: Tensor, key: Tensor, temperature: float) -> float:
    """The formula of the paper, one place after the other."""
    terms = []
    for q, k in zip(query.tolist(), key.tolist(), strict=True):
        for place, vector in enumerate(q):
            alike = [math.exp(sum(a * b for a, b in zip(vector, o, strict=True)) / temperature) for o in k]
            terms.append(-math.log(alike[place] / sum(alike)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_patch_nce_is_the_formula_with_negatives_of_the_same_image(temperature: float) -> None:
    torch.manual_seed(0)
    query, key = (unit(torch.randn(3, 6, 5, dtype=torch.double)) for _ in range(2))
    found = patch_nce(query, key, temperature)
    assert float(found) == pytest.approx(nce_by_hand(query, key, temperature), rel=1e-12)
    apart = torch.stack([patch_nce(q[None], k[None], temperature) for q, k in zip(query, key, strict=True)])
    torch.testing.assert_close(found, apart.mean())


def test_no_gradient_passes_through_the_keys() -> None:
    query, key = (unit(torch.randn(1, 6, 5)).requires_grad_() for _ in range(2))
    patch_nce(query, key, 0.07).backward()
    assert key.grad is None and query.grad is not None and bool(query.grad.abs().sum() > 0)
    method = cut()
    seen, made = BATCH.source.clone().requires_grad_(), BATCH.target.clone().requires_grad_()
    method.contrast(seen, made).backward()
    assert seen.grad is None and made.grad is not None and bool(made.grad.abs().sum() > 0)


def test_places_are_different_ones_and_all_have_their_chance() -> None:
    torch.manual_seed(0)
    features = torch.empty(2, 3, 4, 5)
    drawn = [draw_places(features, 7) for _ in range(300)]
    assert all(len(places.unique()) == 7 for places in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=20)
    assert len(counts) == 20 and counts.min() > 60 and counts.max() < 160  # 105 each on average
    assert sorted(draw_places(features, 256).tolist()) == list(range(20))


def contrast_by_hand(method: CUT, flat: nn.Sequential, seen: Tensor, made: Tensor) -> float:
    """Goes through the layers with the places that are drawn next, the same for both pictures."""
    config, terms = method.config, []
    for layer, head in zip(config.nce_layers, method.heads, strict=True):
        of_seen, of_made = flat[: layer + 1](seen), flat[: layer + 1](made)
        places = draw_places(of_seen, config.patches)
        query, key = (unit(head(f.flatten(2)[..., places].mT)) for f in (of_made, of_seen))
        terms.append(nce_by_hand(query, key, config.temperature))
    return sum(terms) / len(terms)


def test_the_discriminator_learns_first_and_then_the_generator_from_the_losses_of_the_paper() -> None:
    method = cut(init={"kind": "xavier", "gain": 1.0}).double()
    a, b = BATCH.source.double(), BATCH.target.double()
    (first, discriminator), (second, generator) = losses_of(method, Batch({"source": a, "target": b}), seed=5)
    assert (first, second) == ("discriminator", "generator")
    judge, fake, same = method.adversary.discriminator, method.generator(a), method.generator(b)
    flat = authors_layers(method.generator).double()
    torch.manual_seed(5)
    expected = {
        "d_real": 0.5 * (judge(b) - 1).square().mean().item(),
        "d_fake": 0.5 * judge(fake).square().mean().item(),
        "g_gan": (judge(fake) - 1).square().mean().item(),
        "nce": 0.5 * contrast_by_hand(method, flat, a, fake),
        "nce_identity": 0.5 * contrast_by_hand(method, flat, b, same),
    }
    found = {**discriminator, **generator}
    assert found.keys() == expected.keys()
    for name, value in expected.items():  # 1e-7 is added to the length of a vector
        assert found[name].item() == pytest.approx(value, rel=1e-5), name


def test_weights_of_the_losses() -> None:
    (_, one), (_, two) = (
        losses_of(cut(**keys), BATCH)[1] for keys in ({}, {"lambda_nce": 3.0, "gan_weight": 2.0})
    )
    for name, factor in {"nce": 3, "nce_identity": 3, "g_gan": 2}.items():
        torch.testing.assert_close(two[name], factor * one[name])
    (_, alone) = losses_of(cut(nce_identity=False), BATCH)[1]
    assert alone.keys() == {"g_gan", "nce"}
    torch.testing.assert_close(alone["nce"], 2 * one["nce"], rtol=1e-4, atol=0.0)


def test_fastcut_mirrors_every_other_step_and_its_features_back() -> None:
    method, seen = cut(**FASTCUT), []
    method.generator.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    for seed in range(12):
        losses_of(method, BATCH, seed)
    mirrored = [torch.equal(x, BATCH.source.flip(-1)) for x in seen]
    straight = [torch.equal(x, BATCH.source) for x in seen]
    assert 2 <= sum(mirrored) <= 10 and sum(mirrored) + sum(straight) == 12
    # in the image itself, layer 0, mirroring there and back is nothing
    method = cut(**FASTCUT, nce_layers=[0])
    values = []
    for made, flag in ((BATCH.target, False), (BATCH.target.flip(-1), True), (BATCH.target, True)):
        torch.manual_seed(3)
        values.append(method.contrast(BATCH.source, made, torch.tensor(flag)).item())
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("keys", [{}, FASTCUT])
def test_every_parameter_gets_a_gradient_from_its_own_group_alone(keys: dict[str, Any]) -> None:
    method = cut(**keys)
    groups = method.parameter_groups()
    everything = [p for parameters in groups.values() for p in parameters]
    assert {id(p) for p in everything} == {id(p) for p in method.parameters()}
    assert len(everything) == len(list(method.parameters()))
    for group, losses in losses_of(method, BATCH):
        gradients = torch.autograd.grad(sum(losses.values()), groups[group], retain_graph=True)
        assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients if g.numel() > 1)
        if group == "discriminator":
            others = torch.autograd.grad(sum(losses.values()), groups["generator"], allow_unused=True)
            assert all(gradient is None for gradient in others)


def test_gradients_of_a_batch_are_the_mean_of_those_of_its_images() -> None:
    """What several processes rely on: negatives are of the same image, places are those of the batch."""
    method = cut().double()
    groups = method.parameter_groups()
    source, target = (pictures(2, seed=seed).double() for seed in (3, 4))

    def gradients(part: slice) -> dict[str, Tensor]:
        batch = Batch({"source": source[part], "target": target[part]})
        return {
            group: torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(sum(losses.values()), groups[group], retain_graph=True)
                ]
            )
            for group, losses in losses_of(method, batch, seed=7)
        }

    one, other = gradients(slice(0, 1)), gradients(slice(1, 2))
    for group, whole in gradients(slice(None)).items():
        torch.testing.assert_close((one[group] + other[group]) / 2, whole, rtol=1e-8, atol=1e-11)


@pytest.mark.slow
def test_it_learns_to_keep_contents() -> None:
    learner = trainer(cut(init={"kind": "xavier", "gain": 1.0}), rate=4e-3)
    learner.step(BATCH)
    first = learner.means()
    for _ in range(24):
        learner.step(BATCH)
    learner.means()
    learner.step(BATCH)
    last = learner.means()
    for name in ("nce", "nce_identity"):
        assert last[name] < 0.9 * first[name], (name, last[name], first[name])


@pytest.mark.parametrize("keys", [{}, FASTCUT])
@pytest.mark.slow
def test_a_run_continues_exactly(keys: dict[str, Any]) -> None:
    stream = list(batches(5))
    whole = trainer(cut(**keys))
    torch.manual_seed(3)
    whole.run(stream[:3])
    file = io.BytesIO()
    torch.save((whole.state(), torch.get_rng_state()), file)
    whole.run(stream[3:])
    other = trainer(cut(**keys))
    state, positions = torch.load(io.BytesIO(file.getvalue()), weights_only=True)
    other.load_state(state)
    torch.set_rng_state(positions)
    other.run(stream[3:])
    found, expected = other.method.state_dict(), whole.method.state_dict()
    assert found.keys() == expected.keys() and "heads.0.0.weight" in found
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_the_columns_of_the_grid() -> None:
    method = cut()
    columns = method.columns(BATCH, method.generators())
    assert [(name, column.role) for name, column in columns.items()] == [
        ("A", "input"),
        ("A to B", "output"),
        ("B", "input"),
        ("B to B", "output"),
    ]
    assert torch.equal(columns["B to B"].values, method.generator(BATCH.target))
    assert list(cut(**FASTCUT).columns(BATCH, method.generators())) == ["A", "A to B", "B"]
    assert method.compare(BATCH, method.generators()) is None


def test_pictures_of_two_sizes() -> None:
    method = cut()
    batch = Batch({"source": pictures(1, 16), "target": pictures(1, 24)})
    method.check(batch)
    assert all(loss.isfinite() for _, losses in losses_of(method, batch) for loss in losses.values())
    with pytest.raises(ConfigError, match=r"multiples of 4.*18x18.*data\.crop_size"):
        method.check(Batch({"source": pictures(1, 16), "target": pictures(1, 18)}))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"generator": {"name": "unet", "downs": 2, "features": 4}}, "unet is another; use cut_resnet or r"),
        ({"nce_layers": [0, 13]}, r"nce_layers is \[0, 13\].*the layers 0 to 12"),
    ],
)
def test_what_it_cannot_compare(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        cut(**keys)


def test_both_kinds_need_as_many_channels_and_no_truth_is_promised() -> None:
    with pytest.raises(ConfigError, match=r"1 channels and those of B 3.*data\.source_channels"):
        cut((1, 3))
    with pytest.raises(ValueError, match="here is none"):
        CUTConfig.model_validate({**CUT.tiny, "feature_matching": 10})


def test_the_values_of_the_paper() -> None:
    method = read_experiment(CONFIGS / "cut_horse2zebra.yaml").method
    fresh = CUTConfig()
    assert method.model_dump(exclude={"generator", "discriminator"}) == fresh.model_dump(
        exclude={"generator", "discriminator"}
    )
    assert CUTConfig.model_validate({"discriminator": {"name": "patchgan"}}).discriminator.arguments == {
        "norm": "instance"
    }
    fast = read_experiment(CONFIGS / "fastcut_horse2zebra.yaml").method
    changed = {k for k, v in fast.model_dump().items() if v != method.model_dump()[k]}
    assert changed == set(FASTCUT) and {k: getattr(fast, k) for k in FASTCUT} == FASTCUT
    built = CUT(fresh, {"source": 3, "target": 3})
    assert sum(p.numel() for p in built.generator.parameters()) == 11_378_179
    assert sum(p.numel() for p in built.adversary.discriminator.parameters()) == 2_764_737
    assert [head[0].in_features for head in built.heads] == [3, 128, 256, 256, 256]  # type: ignore[index]
