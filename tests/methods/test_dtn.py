"""The Domain Transfer Network: its losses, and f, which is anybody's and never learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import batch, experiment, made, write
from torch.nn import functional as F

from img2img import load_model
from img2img.errors import ConfigError, ModelError
from img2img.fields import UNPAIRED
from img2img.methods import DomainTransfer
from img2img.methods.dtn import MADE_OF_SOURCE, MADE_OF_TARGET, REAL, variation
from img2img.models.dtn import DTN, FrozenFeatures
from img2img.training import train


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of 7 classes of somebody's own, as nn.DataParallel and a training script store it."""
    from torchvision.models import squeezenet1_1

    torch.manual_seed(1)
    state = squeezenet1_1(weights=None, num_classes=7).state_dict()
    path = tmp_path_factory.mktemp("f") / "mine.pth"
    torch.save({"epoch": torch.ones(1), "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    return path


def test_the_losses_are_those_of_the_paper() -> None:
    method: Any = made("dtn", const_weight=3, tid_weight=5, tv_weight=7).eval()
    samples, found = batch(method, method.fields), {}
    method.step(samples, lambda group, losses: found.update(losses))
    network, judge = method.generator, method.discriminator
    s, t = network(samples.source), network(samples.target)

    def mistaken(images: torch.Tensor, kind: int) -> torch.Tensor:
        return -torch.log_softmax(judge(images), 1)[:, kind].mean()

    expected = {
        "d_made_of_source": mistaken(s, MADE_OF_SOURCE),
        "d_made_of_target": mistaken(t, MADE_OF_TARGET),
        "d_real": mistaken(samples.target, REAL),
        "g_gan": mistaken(s, REAL) + mistaken(t, REAL),
        "g_const": 3 * (network.f(s) - network.f(samples.source)).square().mean(),
        "g_tid": 5 * (t - samples.target).square().mean(),
        "g_tv": 7 * variation(s),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    cosine: Any = made("dtn", const_distance="cosine")
    a, b = torch.rand(2, 2, 3, 4, 4)
    between = [1 - F.cosine_similarity(x.flatten(), y.flatten(), 0) for x, y in zip(a, b, strict=True)]
    torch.testing.assert_close(cosine._distance(a, b), sum(between) / 2)


def test_variation_is_the_length_of_the_gradient() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    torch.testing.assert_close(variation((3 * rows + 4 * columns).expand(2, 1, 8, 9)), torch.tensor(5.0))


def test_f_of_a_classifier_is_its_layer_without_what_follows(classifier: Path) -> None:
    from torchvision.models import squeezenet1_1

    f = FrozenFeatures("torchvision/squeezenet1_1", "{}", "features.5")
    held = torch.load(classifier, weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): value for name, value in held.items()}
    assert f.fill(state) == [] and not list(f.parameters()) and not f.train().network.training
    assert not [name for name in f.state_dict() if "features.6" in name or "classifier" in name]
    whole = squeezenet1_1(weights=None, num_classes=7).eval()
    whole.load_state_dict(state)
    x = torch.rand(2, 3, 64, 48) * 2 - 1
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = ((x + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(f.seen(x), whole.features[:6](seen))
    # it loses borders: 7x5 places, which become the 8x6 of 64x48 pixels
    assert (f.channels, f.ratio) == (128, 8) and f.seen(x).shape[2:] == (7, 5) and f(x).shape[2:] == (8, 6)


@pytest.mark.slow
def test_a_run_keeps_f_as_it_is_and_the_model_needs_nothing_beside_it(
    classifier: Path, tmp_path: Path
) -> None:
    given = tmp_path / "mine.pth"
    given.write_bytes(classifier.read_bytes())
    f = f"method.f={{classifier: squeezenet1_1, weights: {given}, layer: features.2}}"
    train(experiment("dtn", write(tmp_path / "data", UNPAIRED), f, "validate_every=0"), tmp_path / "run")
    given.unlink()
    translator = load_model(tmp_path / "run" / "ema.safetensors", device="cpu")
    assert isinstance(translator.generator, DTN)
    held = torch.load(classifier, weights_only=True)["state_dict"]
    kept = translator.generator.f.network.state_dict()
    assert kept and all(torch.equal(value, held[f"module.{name}"]) for name, value in kept.items())
    grey = np.random.default_rng(0).integers(0, 65536, (19, 23), np.uint16)
    assert translator(grey).shape == (19, 23, 3) and translator(grey).dtype == np.uint16


@pytest.mark.parametrize(
    ("f", "words"),
    [
        ({"classifier": "resnet18"}, "weights is missing"),
        ({"model": "clean", "layer": "blocks.70"}, "did you mean 'blocks.7'"),
        ({"classifier": "squezenet1_1", "weights": "mine.pth", "layer": "features.2"}, "squeezenet1_1"),
        ({"classifier": "squeezenet1_0", "weights": "mine.pth", "layer": "features.2"}, "another shape"),
        ({"classifier": "squeezenet1_1", "weights": "mine.pth", "layer": "classifier"}, "no map of features"),
        ({"classifier": "squeezenet1_1", "weights": "text.pth", "layer": "features.2"}, "file of weights"),
        ({"classifier": "squeezenet1_1", "weights": "none.pth", "layer": "features.2"}, "No such file"),
    ],
)
def test_what_is_no_f_is_a_sentence(
    f: dict[str, str], words: str, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(classifier.parent)
    Path("text.pth").write_text("hello")
    with pytest.raises((ConfigError, ModelError), match=words):
        made("dtn", f=f)


def test_it_takes_the_discriminator_of_three_kinds() -> None:
    method = made("dtn")
    assert isinstance(method, DomainTransfer)
    assert method.discriminator(torch.zeros(1, 3, 32, 32)).shape[1] == 3
