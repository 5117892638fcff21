"""Johnson, AdaIN and MGAN: their losses against the formulas, what they need, and the stages of MGAN."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SIDE, batch, configured, made
from torch import Tensor

from img2img.data import DataConfig, open_data
from img2img.errors import ConfigError, PlanError
from img2img.image import Image, write_image
from img2img.losses.vgg import FeaturesMissingError
from img2img.methods import MGAN, AdaINMethod, Johnson, methods
from img2img.methods.features import STYLISED
from img2img.methods.mgan import _moved


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def losses(method, samples) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def optimize(group: str, some: Mapping[str, Tensor]) -> None:
        found.update(some)

    method.step(samples, optimize)
    return {name: value.detach() for name, value in found.items()}


def test_the_losses_of_johnson() -> None:
    method = made("johnson", content_weight=2.0, style_weight=3.0, tv_weight=0.5)
    assert isinstance(method, Johnson)
    samples = batch(method, STYLISED)
    found = losses(method, samples)
    with torch.no_grad():
        output = method.generator(samples.source)
        seen, kept, style = (
            {name: v.double() for name, v in method.seen(x).items()}
            for x in (output, samples.source, samples["style"])
        )

    def gram(v: Tensor) -> Tensor:
        return torch.einsum("nihw,njhw->nij", v, v) / v[0].numel()

    content = (seen["conv2_1"] - kept["conv2_1"]).square().mean()
    grams = [(gram(seen[n]), gram(style[n])) for n in ("conv1_2", "conv2_1")]
    styles = [((a - b).square().sum((1, 2)) / (b.square().sum((1, 2)) + 0.01)).mean() for a, b in grams]
    y = output.double() / 2
    tv = (y.diff(dim=2).square().sum() + y.diff(dim=3).square().sum()) / y.numel()
    expected = {"g_content": 2 * content, "g_style": 3 * (styles[0] + 0.5 * styles[1]), "g_tv": 0.5 * tv}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-4, atol=1e-9)


def test_the_stages_of_johnson() -> None:
    method = made("johnson")
    samples = batch(method, STYLISED)
    method.begin("picture")
    (loss,) = losses(method, samples).values()
    with torch.no_grad():
        expected = (method.generator(samples.source) - samples.source).square().mean()
    torch.testing.assert_close(loss, expected)
    method.begin("style")
    assert losses(method, samples).keys() == {"g_content", "g_style", "g_tv"}
    with pytest.raises(ConfigError, match="stages picture and style, not 'x'"):
        method.begin("x")


def test_the_losses_of_adain_and_the_style_that_a_model_begins_with() -> None:
    method = made("adain", style_weight=7.0)
    assert isinstance(method, AdaINMethod)
    samples, network = batch(method, STYLISED), method.generator
    found = losses(method, samples)

    def of(v: Tensor) -> tuple[Tensor, Tensor]:
        v = v.double().flatten(2)
        return v.mean(2), (v.var(2, correction=0) + 1e-5).sqrt()

    with torch.no_grad():
        content, style = network.encode(samples.source), network.encode(samples["style"])
        (mean, deviation), (own, spread) = of(style["relu4_1"]), of(content["relu4_1"])
        target = (content["relu4_1"].double() - own[..., None, None]) / spread[..., None, None]
        target = target * deviation[..., None, None] + mean[..., None, None]
        output = network.encode(network(samples.source, mean=mean.float(), deviation=deviation.float()))
    wanted = sum(
        (a - b).square().mean()
        for name in style
        for a, b in zip(of(output[name]), of(style[name]), strict=True)
    )
    torch.testing.assert_close(found["g_style"].double(), 7 * wanted, rtol=1e-3, atol=1e-9)
    distance = (output["relu4_1"].double() - target).square().mean()
    torch.testing.assert_close(found["g_content"].double(), distance, rtol=1e-3, atol=1e-9)
    method.settle([network], lambda count: iter([samples]))
    torch.testing.assert_close(network.adain.mean, mean.mean(0).float())


@pytest.mark.parametrize(("name", "title"), [("johnson", "VGG16"), ("adain", "VGG19"), ("mgan", "VGG19")])
def test_without_features_nothing_is_learned_and_that_is_said(
    name: str, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    config = methods[name].Config.model_validate({"name": name}).fitted((SIDE, SIDE))
    with pytest.raises(FeaturesMissingError, match=f"{title}.*allow_download"):
        methods[name](config, {"source": 3, "style": 3})


def test_generators_that_do_not_fit_are_sentences() -> None:
    with pytest.raises(ConfigError, match="takes no style; adain with transfer: true does"):
        made("adain", generator={"name": "resnet", "features": 4, "blocks": 1})
    with pytest.raises(ConfigError, match="answers in another range"):
        made("johnson", generator={"name": "srresnet", "features": 4, "blocks": 1, "output": "tanh"})


# --- data: photographs and one style


def test_one_picture_may_be_the_style(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        image = Image(rng.integers(0, 256, (40, 50, 3), np.uint8))
        write_image(image, tmp_path / "photos" / f"{number}.png")
    write_image(Image(rng.integers(0, 256, (60, 40, 3), np.uint8)), tmp_path / "style.png")
    places = (tmp_path / "photos", tmp_path / "style.png")
    data = open_data(DataConfig(unpaired=places, crop_size=32, workers=0), STYLISED)
    assert len(data.train) == 3 and data.validation is None
    fields = {"source": tmp_path / "photos", "style": tmp_path / "style.png"}
    assert len(open_data(DataConfig(fields=fields, crop_size=32, workers=0), STYLISED).train) == 3
    with pytest.raises(PlanError, match="is a picture; name its folder"):
        open_data(DataConfig(unpaired=places[::-1], crop_size=32, workers=0), STYLISED)


# --- MGAN


def painted(count: int = 6, steps: int = 3, **more) -> tuple[MGAN, list[Tensor]]:
    method = made("mgan", targets=count, **more)
    assert isinstance(method, MGAN)
    method.begin("targets")
    seen = []
    for seed in range(steps):
        samples = batch(method, STYLISED, seed=seed)
        seen.append(samples.source)
        assert losses(method, samples).keys() == {"d_real", "d_fake"}
    return method, seen


def test_targets_begin_as_photographs_and_take_their_turns() -> None:
    method, seen = painted(count=5, steps=3)
    assert method.ages.tolist() == [2, 1, 1, 1, 1], "the sixth photograph has no place; the first goes on"
    torch.testing.assert_close(method.photographs, torch.cat(seen)[:5])
    moved = (method.canvases - method.photographs).abs()
    assert moved[1:].max() <= 0.02 + 1e-6, "the first step of Adam is as long as its rate"
    assert (moved.flatten(1).max(1).values > 0.01).all()
    assert method.canvases.min() >= 0 and method.canvases.max() <= 1


def test_a_target_comes_to_be_taken_for_the_style() -> None:
    method, _ = painted(count=2, steps=1)
    samples = batch(method, STYLISED)

    def verdict() -> float:
        with torch.no_grad():
            return float(method._verdict(method._texture(method.canvases)).mean())

    before = verdict()
    for _ in range(8):
        losses(method, samples)
    assert verdict() > before


def test_stages() -> None:
    method, _ = painted()
    with pytest.raises(ConfigError, match="stages targets and decoder, not 'colour'"):
        method.begin("colour")
    method.begin("decoder")
    samples = batch(method, STYLISED)
    assert losses(method, samples).keys() == {"d_real", "d_fake", "g_pixel", "g_texture", "g_tv"}
    fresh = made("mgan")
    fresh.begin("decoder")
    with pytest.raises(ConfigError, match="the stage targets comes first"):
        losses(fresh, samples)
    with pytest.raises(ValueError, match=r"data\.crop_size"):
        configured("mgan").fitted(None)


def test_pairs_are_moved_together() -> None:
    method, _ = painted(augment=True, patch=16)
    method.canvases.copy_(method.photographs * 0.5)
    photographs, targets = method._drawn(4)
    assert photographs.shape == targets.shape == (4, 3, 16, 16)
    torch.testing.assert_close(targets, photographs * 0.5)
    flat = _moved(torch.full((3, 2, 20, 30), 0.4))
    torch.testing.assert_close(flat, torch.full_like(flat, 0.4))
    spot = torch.zeros(1, 1, 41, 61)
    spot[..., 19:22, 29:32] = 1
    for _ in range(5):  # the middle stays where it is
        torch.testing.assert_close(_moved(spot)[0, 0, 20, 30], torch.tensor(1.0))
