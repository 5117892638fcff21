"""The flow: its loss, its steps from noise to a picture, and runs for all of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import experiment, write
from test_method_contract import same

from img2img import load_model
from img2img.errors import ConfigError
from img2img.fields import PAIRED
from img2img.image import Image, write_image
from img2img.methods import FlowMatching, FlowMatchingConfig
from img2img.models import FlowUNet
from img2img.models.noise import set_noise
from img2img.training import train
from img2img.types import Batch

TINY = {"name": "flow_unet", "features": 4, "downs": 1, "growth": 1, "steps": 2}
MASK = {"further": "mask:mask:1", "holes": True}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def made(**keys: Any) -> FlowMatching:
    config = FlowMatchingConfig.model_validate({"generator": TINY, **keys})
    return FlowMatching(config, {"source": 3, "target": 3, "mask": 1}).double()


def batch(**more: torch.Tensor) -> Batch:
    pictures = {name: torch.rand(3, 3, 8, 8, dtype=torch.float64) * 2 - 1 for name in ("source", "target")}
    return Batch({**pictures, **more}, ("a", "b", "c"))


def loss_of(method: FlowMatching, samples: Batch) -> torch.Tensor:
    found: list[torch.Tensor] = []
    torch.manual_seed(1)
    method.train().step(samples, lambda group, losses: found.append(losses["flow"]))
    return found[0]


def test_the_loss_is_the_distance_of_velocities(monkeypatch: pytest.MonkeyPatch) -> None:
    method, seen = made(time_std=2.0), []
    predict = method.generator.predict

    def spy(z: torch.Tensor, time: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        seen.append((z, time, predict(z, time, source)))
        return seen[-1][2]

    monkeypatch.setattr(method.generator, "predict", spy)
    samples = batch()
    loss = loss_of(method, samples)
    z, time, guess = seen[0]
    assert len(set(time.tolist())) == 3 and time.min() >= 0 and time.max() <= 1
    left = (1 - time)[:, None, None, None].clamp(min=0.05)
    distance = (guess - z) / left - (samples.target - z) / left
    torch.testing.assert_close(loss, distance.square().mean())
    noise = (z - time[:, None, None, None] * samples.target) / (1 - time[:, None, None, None])
    assert 0.8 < noise.std() < 1.2 and abs(noise.mean()) < 0.2


def test_times_are_logistic_normal_but_for_a_uniform_share() -> None:
    like = torch.zeros(1)
    times = made(time_uniform=0).times(40_000, like)
    logits = torch.logit(times)
    assert abs(logits.mean() + 0.8) < 0.03 and abs(logits.std() - 0.8) < 0.03
    flat = made(time_uniform=1).times(40_000, like)
    assert abs(flat.mean() - 0.5) < 0.01 and abs(flat.std() - 12**-0.5) < 0.01


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_steps_are_those_of_euler(steps: int) -> None:
    """The same by the velocity, written down as the formulas have it."""
    network = FlowUNet(features=4, downs=1).double().eval()
    network.set_steps(steps)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        z = network.noise(x)
        for t, later in zip(np.arange(steps) / steps, np.arange(1, steps + 1) / steps, strict=True):
            now = torch.full((2,), t, dtype=torch.float64)
            velocity = (network.predict(z, now, network.seen(x)) - z) / (1 - t)
            z = z + (later - t) * velocity
        torch.testing.assert_close(network(x), z)


def test_noise_depends_on_seed_and_place_alone() -> None:
    network = FlowUNet(features=4, downs=1).eval()
    field = network.noise
    whole = field.at(0, 0, 200, 150)
    assert torch.equal(field.at(37, 60, 100, 90), whole[:, 37:137, 60:150])
    assert abs(whole.mean()) < 0.02 and abs(whole.std() - 1) < 0.02
    blocks = whole[:, :128, :128].unfold(1, 64, 64).unfold(2, 64, 64).reshape(3, 4, -1)
    assert torch.corrcoef(blocks.transpose(0, 1).reshape(4, -1)).triu(1).abs().max() < 0.05
    set_noise(network, 1)
    assert (
        abs(torch.corrcoef(torch.stack((field.at(0, 0, 64, 64), whole[:, :64, :64])).view(2, -1))[0, 1])
        < 0.05
    )


def test_what_is_known_of_a_picture_with_holes_stays_and_the_hole_is_not_seen() -> None:
    method = made(task="inpaint").eval()
    mask = torch.zeros(3, 1, 8, 8, dtype=torch.float64)
    mask[..., 2:6, 3:8] = 1
    samples = batch(mask=mask)
    other = torch.where(mask > 0, torch.rand_like(samples.source), samples.source)
    with torch.inference_mode():
        filled = method.generator(samples.source, mask=mask)
        assert torch.equal(filled, method.generator(other, mask=mask))
    known = (mask == 0).expand_as(filled)
    assert torch.equal(filled[known], samples.source[known])
    assert not torch.equal(filled, samples.source)
    fresh = made(task="inpaint", time_std=0, time_uniform=0)
    with torch.no_grad():
        fresh.generator.network.last.conv.weight.zero_()
        fresh.generator.network.last.conv.bias.zero_()  # it predicts grey everywhere
    hole = samples.source[(mask > 0).expand_as(samples.source)]
    left = 1 - torch.sigmoid(torch.tensor(-0.8, dtype=torch.float64))
    torch.testing.assert_close(loss_of(fresh, samples), hole.square().mean() / left**2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"noise": -1}, "noise >= 0"),
        ({"steps": 0}, "1 to 64"),
        ({"steps": 65}, "1 to 64"),
        ({"holes": True}, "mask:mask:1"),
    ],
)
def test_arguments_that_make_no_sense_are_a_sentence(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FlowUNet(**arguments)


def test_only_its_own_network_makes_a_flow() -> None:
    with pytest.raises(ConfigError, match="flow_unet"):
        FlowMatching(
            FlowMatchingConfig.model_validate({"generator": {"name": "unet", "features": 4, "downs": 4}}),
            {"source": 3, "target": 3},
        )


def test_a_run_with_noise_goes_on_exactly_and_its_model_has_seeds(tmp_path: Path) -> None:
    """The walk over the methods has neither noise nor random times: here are both."""
    places = write(tmp_path / "data", PAIRED)
    sets = ["generator.noise=1", "time_std=0.8", "time_uniform=0.1", "validate_every=0"]
    one = experiment("flow", places, *sets)
    train(one, tmp_path / "straight")
    asked = iter(range(99))
    assert train(one, tmp_path / "stopped", stop=lambda: next(asked) == 3).step == 3
    torch.manual_seed(9)
    train(one, tmp_path / "stopped", resume=True)
    states = [
        torch.load(tmp_path / run / "states" / "state_00000004.pt", weights_only=True)
        for run in ("straight", "stopped")
    ]
    assert same(*states)
    pixels = [np.random.default_rng(side).integers(0, 256, (32, 32, 3), np.uint8) for side in range(2)]
    model = tmp_path / "straight" / "ema.safetensors"
    translator = load_model(model, device="cpu")
    first = [translator(each) for each in pixels]
    both = translator([Image(each) for each in pixels[::-1]])
    assert all(np.array_equal(a.pixels, b) for a, b in zip(both, first[::-1], strict=True))
    other = load_model(model, device="cpu", noise=5)(pixels[0])
    assert not np.array_equal(other, first[0])
    translator.reseed(5)
    assert np.array_equal(translator(pixels[0]), other)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["restore", "inpaint"])
def test_tasks_whose_results_are_like_their_sources(task: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from img2img.cli.main import cli
    from img2img.image import read_image

    (tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (80, 90, 3), np.uint8)
        write_image(Image(pixels), tmp_path / "photos" / f"{number}.png")
    config = Path(__file__).parents[2] / "configs" / f"flow_{task}_cpu.yaml"
    small = {"generator.features": 4, "generator.downs": 1, "steps": 2, "batch_size": 2, "optimizer": "adam"}
    sets = [part for key, value in small.items() for part in ("--set", f"{key}={value}")]
    sets += ["--set", "data.workers=0", "--set", "generator.steps=2", "--set", "data.cache=memory"]

    def img2img(*arguments: Any) -> None:
        result = CliRunner().invoke(cli, [str(each) for each in arguments])
        assert result.exit_code == 0, result.output

    img2img("train", config, "--images", tmp_path / "photos", "-o", tmp_path / "run", *sets)
    model, place = tmp_path / "run" / "last.safetensors", tmp_path / "photos" / "0.png"
    out = tmp_path / "out"
    if task == "inpaint":
        mask = np.zeros((80, 90, 1), np.uint8)
        mask[20:40, 30:60] = 255
        write_image(Image(mask), tmp_path / "mask.png")
        img2img("inpaint", place, "-o", out, "-m", model, "--mask", tmp_path / "mask.png")
        known = mask[..., 0] == 0
        assert np.array_equal(read_image(out / "0.png").pixels[known], read_image(place).pixels[known])
    else:
        img2img("translate", place, "-o", out, "-m", model, "--samples", 2, "--steps", 3)
        made_ = [read_image(out / f"0_seed{seed}.png").pixels for seed in range(2)]
        assert made_[0].shape == (80, 90, 3) and not np.array_equal(*made_)
