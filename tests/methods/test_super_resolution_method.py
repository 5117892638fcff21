"""SRResNet, SRGAN and ESRGAN as one method: losses, sizes, the switch between the stages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import softplus

from img2img.checkpoint import ModelInfo, fingerprint, save_model
from img2img.errors import ConfigError, Img2ImgError
from img2img.image import Image, write_image
from img2img.image.resize import resize
from img2img.losses.vgg import FeaturesMissingError
from img2img.methods import SuperResolution, SuperResolutionConfig, super_resolution
from img2img.models import Generator, generators
from img2img.training import Runtime, Trainer, TrainingError, Watch, read_experiment, train
from img2img.training.estimate import estimate_memory
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

TINY = {"name": "rrdbnet", "features": 4, "blocks": 1, "growth": 4}
JUDGE = {"name": "vgg", "features": 4, "input_size": 16}
ESRGAN = {
    "objective": "gan",
    "gan": "ragan",
    "pixel_weight": 1e-2,
    "gan_weight": 5e-3,
    "discriminator": JUDGE,
}


@pytest.fixture(autouse=True)
def no_vgg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file with VGG19's weights, and nothing can be downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*args: Any, **kwargs: Any) -> Path:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("img2img.losses.vgg.fetch", refuse)


@pytest.fixture
def shallow(tmp_path: Path) -> Path:
    """A file with random weights for the first two convolutions of VGG19."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for place, inputs in ((0, 3), (2, 64)):
        state[f"features.{place}.weight"] = torch.randn(64, inputs, 3, 3, generator=random) / 10
        state[f"features.{place}.bias"] = torch.zeros(64)
    save_file(state, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


def make(channels: int = 3, **keys: Any) -> SuperResolution:
    torch.manual_seed(0)
    keys = {"name": "super_resolution", "scale": 2, "generator": TINY, **keys}
    return SuperResolution(
        SuperResolutionConfig.model_validate(keys), {"source": channels, "target": channels}
    )


def batch(side: int = 16, channels: int = 3, scale: int = 2, seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    source = torch.rand(2, channels, side // scale, side // scale, generator=random)
    return Batch(
        {"source": source, "target": torch.rand(2, channels, side, side, generator=random)}, ("a", "b")
    )


def losses_of(method: SuperResolution, samples: Batch) -> dict[str, dict[str, Tensor]]:
    """What a step gives to `optimize`, in order, without learning."""
    found: dict[str, dict[str, Tensor]] = {}
    method.train().step(samples, lambda group, losses: found.update({group: dict(losses)}))
    return found


def trainer(method: SuperResolution, **settings: Any) -> Trainer:
    given = TrainingSettings(steps=10, batch_size=2, **settings)
    return Trainer(method, given, Runtime("cpu", precision="fp32"), lambda step, group: 1e-3)


# --- losses


@pytest.mark.parametrize("gan", ["ragan", "vanilla"])
def test_the_stage_gan_is_that_of_the_papers(gan: str) -> None:
    """Against the formulas: the generator first, halves of relativistic losses for both players."""
    samples, method = batch(), make(**{**ESRGAN, "gan": gan})
    found = losses_of(method, samples)
    assert list(found) == ["generator", "discriminator"] and method.adversary is not None
    judge = method.adversary.discriminator
    made = method.generator(samples.source)
    real, fake = judge(samples.target), judge(made)
    if gan == "ragan":
        of_real, of_fake = real - fake.mean(), fake - real.mean()
        g_gan = (softplus(of_real).mean() + softplus(-of_fake).mean()) / 2
    else:
        of_real, of_fake = real, fake
        g_gan = softplus(-fake).mean()
    expected = {
        "generator": {"g_l1": 1e-2 * (made - samples.target).abs().mean(), "g_gan": 5e-3 * g_gan},
        "discriminator": {"d_real": softplus(-of_real).mean() / 2, "d_fake": softplus(of_fake).mean() / 2},
    }
    assert found.keys() == expected.keys()
    for group, losses in expected.items():
        assert found[group].keys() == losses.keys()
        for name, loss in losses.items():
            torch.testing.assert_close(found[group][name], loss, rtol=1e-5, atol=1e-7)


def test_the_stage_psnr_is_the_pixel_loss_alone_at_weight_one() -> None:
    samples, method = batch(), make(**ESRGAN)
    method.begin("psnr")
    found = losses_of(method, samples)
    assert list(found) == ["generator"] and list(found["generator"]) == ["g_l1"]
    expected = (method.generator(samples.source) - samples.target).abs().mean()
    torch.testing.assert_close(found["generator"]["g_l1"], expected)
    method.begin("")
    assert set(losses_of(method, samples)) == {"generator", "discriminator"}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_perceptual_loss_reaches_the_generator(shallow: Path, channels: int) -> None:
    perceptual = {"weight": 2.0, "layers": {"conv1_2": 1.0}, "weights": str(shallow)}
    method = make(channels, **ESRGAN, perceptual=perceptual)
    assert method.notes == ["The perceptual loss compares features of VGG19."]
    loss = losses_of(method, batch(channels=channels))["generator"]["g_perceptual"]
    loss.backward()
    slopes = [parameter.grad for parameter in method.generator.parameters()]
    assert all(slope is not None and bool(slope.abs().sum() > 0) for slope in slopes)
    assert not any("_network" in name for name, _ in method.named_parameters())


def test_without_vgg_the_discriminator_lends_its_features() -> None:
    method = make(**ESRGAN, perceptual={"weight": 2.0}, feature_matching=1.0)
    (note,) = method.notes
    assert "features of the discriminator instead" in note and "allow_download" in note
    losses = losses_of(method, batch())["generator"]
    assert set(losses) == {"g_l1", "g_gan", "g_features"}
    plain = losses_of(make(**ESRGAN, feature_matching=1.0), batch())["generator"]
    torch.testing.assert_close(losses["g_features"], 3 * plain["g_features"], rtol=1e-5, atol=1e-7)
    loop = trainer(method)
    before = {name: value.clone() for name, value in method.generator.state_dict().items()}
    for _ in range(3):
        loop.step(batch())
    assert all(not torch.equal(value, before[name]) for name, value in method.generator.state_dict().items())
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_vgg_can_be_insisted_on(tmp_path: Path) -> None:
    with pytest.raises(FeaturesMissingError, match="not at hand"):
        make(**ESRGAN, perceptual={}, perceptual_fallback=False)
    with pytest.raises(ConfigError, match=r"gone\.pth, named as the file"):  # named, so it is meant
        make(**ESRGAN, perceptual={"weights": str(tmp_path / "gone.pth")})


# --- a teacher


def saved(path: Path, network: Generator) -> str:
    save_model(path, network, ModelInfo())
    return str(path)


@pytest.fixture
def larger(tmp_path: Path) -> tuple[str, Generator]:
    """A teacher of another architecture, with colours from -1 to 1, and its file."""
    torch.manual_seed(5)
    network = generators["srresnet"](features=4, blocks=1, scale=2)
    return saved(tmp_path / "teacher.safetensors", network), network.eval()


def test_a_network_learns_what_its_teacher_makes(larger: tuple[str, Generator]) -> None:
    path, network = larger
    samples, method = batch(), make(teacher=path, teacher_weight=0.75)
    found = losses_of(method, samples)["generator"]
    made = method.generator(samples.source)
    low, high = network.output_range
    with torch.no_grad():
        taken = (
            samples.source * (network.input_range.high - network.input_range.low) + network.input_range.low
        )
        taught = (network(taken) - low) / (high - low)
    assert found.keys() == {"g_teacher", "g_l1"}
    torch.testing.assert_close(found["g_teacher"], 0.75 * (made - taught).abs().mean())
    torch.testing.assert_close(found["g_l1"], 0.25 * (made - samples.target).abs().mean())
    alone = losses_of(make(teacher=path), samples)["generator"]
    assert list(alone) == ["g_teacher"]
    found["g_teacher"].backward()
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_teacher_is_in_no_state_and_learns_nothing(larger: tuple[str, Generator]) -> None:
    path, network = larger
    method = make(teacher=path)
    assert method.state_dict().keys() == make().state_dict().keys()
    one = trainer(method)
    first = None
    for _ in range(60):
        one.step(batch())
        first = first or one.means()["g_teacher"]
    assert one.means()["g_teacher"] < 0.8 * first
    assert method.teacher is not None
    for name, value in method.teacher.network.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_the_stage_gan_imitates_too(larger: tuple[str, Generator]) -> None:
    found = losses_of(make(**ESRGAN, teacher=larger[0]), batch())["generator"]
    assert found.keys() == {"g_teacher", "g_gan"} and found["g_teacher"] < 1e-2


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("x4", r"x4 \(\w+\) has scale 4, and what learns from it 2; name a model of that scale"),
        ("no-such-model", "no-such-model"),
    ],
)
def test_a_teacher_that_does_not_fit_is_a_sentence(teacher: str, said: str) -> None:
    with pytest.raises(Img2ImgError, match=said):
        make(teacher=teacher)


def test_a_teacher_takes_any_size(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = generators["rrdbnet"](features=4, blocks=1, growth=2, scale=2, unshuffle=2).eval()
    method = make(teacher=saved(tmp_path / "t.safetensors", network))
    assert method.teacher is not None
    for height, width in ((8, 8), (7, 9), (1, 2)):
        source = torch.rand(2, 3, height, width)
        odd = F.pad(source, (0, width % 2, 0, height % 2), mode="replicate")
        with torch.no_grad():
            made = network(odd)[..., : 2 * height, : 2 * width]
        torch.testing.assert_close(method.teacher(source), made)
    method.check(batch(14))


def test_a_dry_run_steps_with_the_teacher(
    larger: tuple[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    ask = super_resolution._Teacher.__call__
    monkeypatch.setattr(
        super_resolution._Teacher, "__call__", lambda self, x: shapes.append(x.shape) or ask(self, x)
    )
    experiment = read_experiment("smoke_srresnet", [f"method.teacher={larger[0]}", "method.scale=2"])
    said = "\n".join(estimate_memory(experiment))
    assert "Memory of a process" in said and "The teacher is" in said and shapes


def test_a_dry_run_counts_what_the_teacher_weighs(tmp_path: Path) -> None:
    large = generators["srresnet"](features=256, blocks=30, scale=2)
    path = saved(tmp_path / "large.safetensors", large)

    def weights(*sets: str) -> tuple[float, float]:
        said = "\n".join(estimate_memory(read_experiment("smoke_srresnet", ["method.scale=2", *sets])))
        found = re.search(r"([\d.]+) GiB are weights.* takes ([\d.]+) GiB on the disk", said)
        assert found is not None
        return float(found[1]), float(found[2])

    (alone, state), (taught, same) = weights(), weights(f"method.teacher={path}")
    size = 4 * sum(parameter.numel() for parameter in large.parameters()) / 2**30
    assert taught - alone == pytest.approx(size, abs=0.011) and size > 0.1 and same == state


def taught(teacher: Path, folder: Path, *sets: str) -> Any:
    """A run with a teacher, on three pictures."""
    (folder / "photos").mkdir(exist_ok=True)
    for number in range(3):
        write_image(Image(np.full((40, 40, 3), number, np.uint8)), folder / "photos" / f"{number}.png")
    sets = (f"method.teacher={teacher}", "validate_every=0", *sets)
    return read_experiment("smoke_srresnet", sets, source={"images": str(folder / "photos")})


def test_another_teacher_is_told_when_a_run_goes_on(tmp_path: Path) -> None:
    path, heard = tmp_path / "teacher.safetensors", []

    class Listen(Watch):
        def warn(self, text: str) -> None:
            heard.append(text)

    for seed, steps in ((5, 1), (6, 2)):
        torch.manual_seed(seed)
        saved(path, generators["srresnet"](features=4, blocks=1, scale=2))
        experiment = taught(path, tmp_path, f"steps={steps}")
        assert not heard
        train(experiment, tmp_path / "run", resume=steps == 2, watch=Listen())
    (said,) = (sentence for sentence in heard if "teacher" in sentence)
    assert re.search(r"SHA-256 of the teacher \w{12} is now \w{12}: the run goes on, but not exactly", said)


def test_processes_with_different_teachers_do_not_train(
    larger: tuple[str, Generator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gathered(self: Runtime, value: Any) -> list[Any]:
        return [value, dict.fromkeys(value, "another")] if isinstance(value, dict) else [value]

    monkeypatch.setattr(Runtime, "gather", gathered)
    experiment = taught(Path(larger[0]), tmp_path)
    with pytest.raises(TrainingError, match=r"of the teacher is not.*\w{12} in process 0, another in"):
        train(experiment, tmp_path / "run")


def test_a_teacher_draws_no_random_numbers_and_is_told_with_its_weights(
    larger: tuple[str, Generator],
) -> None:
    alone, taught = make(**ESRGAN), make(**ESRGAN, teacher=larger[0])
    for name, value in alone.state_dict().items():
        assert torch.equal(value, taught.state_dict()[name]), name
    (note,) = taught.notes
    assert (
        "teacher.safetensors, architecture srresnet" in note
        and fingerprint(larger[1].state_dict())[:12] in note
    )


def test_what_a_teacher_cannot_do_is_refused(larger: tuple[str, Generator]) -> None:
    with pytest.raises(ValidationError, match="does nothing without a teacher"):
        make(teacher_weight=0.5)
    method = make(**{**ESRGAN, "pixel_weight": 0}, teacher=larger[0])
    method.begin("psnr")  # where the pixel loss counts 1, whatever its weight in the stage gan
    assert losses_of(method, batch())["generator"]["g_teacher"] > 0
    with pytest.raises(ConfigError, match=r"set data\.source_channels=3 and data\.target_channels=3"):
        make(1, teacher=larger[0])


def test_a_run_keeps_the_name_of_a_teacher_and_the_whole_path_of_a_file(
    larger: tuple[str, Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(larger[0]).parent)
    for given, kept in (("x4", "x4"), ("teacher.safetensors", larger[0])):
        experiment = read_experiment("smoke_srresnet", [f"method.teacher={given}"])
        assert experiment.tree()["method"]["teacher"] == kept


# --- sizes and ranges


def config(*sets: str, **data: Any) -> Any:
    method = {"name": "super_resolution", "scale": 2, "generator": TINY}
    defaults = {"method": method, "data": data, "training": {"steps": 1}}
    return read_experiment(None, sets, source={"images": "photos"}, defaults=defaults)


def test_the_discriminator_takes_its_size_from_the_crop() -> None:
    small = "discriminator={name: vgg, features: 4}"
    found = config("objective=gan", small, crop_size=32)
    assert found.method.discriminator.arguments == {"features": 4, "input_size": 32}
    assert "input_size: 32" in found.dump()
    assert config(small, crop_size=48).method.discriminator.arguments == {"features": 4}  # it has no part
    found = config("objective=gan", "discriminator={name: unet_spectral, features: 4}", crop_size=(16, 32))
    assert found.method.discriminator.arguments == {"features": 4}


@pytest.mark.parametrize(
    ("discriminator", "crop", "reason"),
    [
        ("{name: vgg, input_size: 64}", 32, "vgg judges 64x64, but data.crop_size is 32x32; leave"),
        ("{name: srgan}", (16, 32), "srgan judges squares of one size, but data.crop_size is 32x16"),
    ],
)
def test_sizes_that_contradict_each_other_are_said_at_once(
    discriminator: str, crop: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        config("objective=gan", f"discriminator={discriminator}", crop_size=crop)


@pytest.mark.parametrize(
    ("keys", "samples", "reason"),
    [
        ({}, batch(32), "vgg judges images of 16x16, these are 32x32"),
        ({"discriminator": {"name": "unet_spectral", "features": 2}}, batch(20), "multiples of 8, .* 20x20"),
        ({"perceptual": {"layers": {"conv1_2": 1}}}, batch(16, 4), "not 4 channels"),
    ],
)
def test_crops_that_do_not_fit_are_found_before_the_stage_psnr(
    shallow: Path, keys: dict[str, Any], samples: Batch, reason: str
) -> None:
    if "perceptual" in keys:
        keys = {"perceptual": {**keys["perceptual"], "weights": str(shallow)}}
    method = make(samples.source.shape[1], **{**ESRGAN, **keys})
    method.begin("psnr")
    with pytest.raises(ConfigError, match=reason):
        trainer(method).step(samples)


def test_output_and_truth_share_the_range_of_the_network() -> None:
    method = make(generator={"name": "srresnet", "features": 4, "blocks": 1, "output": "tanh"})
    pictures = method.eval().columns(batch(), method.generators())
    assert list(pictures) == ["bicubic", "output", "target"]
    assert [tuple(picture.value_range) for picture in pictures.values()] == [(0, 1), (-1, 1), (-1, 1)]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_grid_shows_the_middle_beside_the_bicubic_of_the_papers(scale: int) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
    truth = torch.rand(1, 3, 100 * scale, 150 * scale)
    samples = Batch({"source": torch.from_numpy(levels).permute(2, 0, 1)[None] / 255, "target": truth})
    method = make(scale=scale, generator={"name": "edsr", "features": 4, "blocks": 0}).eval()
    pictures = method.columns(samples, method.generators())
    side = 256 // scale
    top, left = max(0, (100 - side) // 2), (150 - side) // 2
    height = min(side, 100)
    window = levels[top : top + height, left : left + side]
    expected = resize(window, height * scale, side * scale)
    shown = pictures["bicubic"].values[0].permute(1, 2, 0) * 255
    assert np.array_equal(shown.round().numpy(), expected)
    middle = truth[..., top * scale : (top + height) * scale, left * scale : (left + side) * scale]
    assert torch.equal(pictures["target"].values, middle)
    assert pictures["output"].values.shape == middle.shape


def test_validation_takes_what_an_unshuffling_network_can() -> None:
    method = make(generator={**TINY, "unshuffle": 2}).eval()
    samples = Batch({"source": torch.rand(1, 3, 9, 13), "target": torch.rand(1, 3, 18, 26)})
    output, target = method.compare(samples, method.generators())
    assert output.values.shape == target.values.shape == (1, 3, 16, 24)
    assert torch.equal(target.values, samples.target[..., :16, :24])


# --- runs


def draw(folder: Path, count: int, side: int = 48) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (side // 8, side // 8, 3)).astype(np.uint8)
        write_image(Image(coarse.repeat(8, 0).repeat(8, 1)), folder / f"f{number}.png")
    return folder


class Notes(Watch):
    """A watch that writes down."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def go(photos: Path, folder: Path, *sets: str, resume: bool = False, stop_at: int = -1) -> Notes:
    """Runs the smoke configuration of ESRGAN with three steps in each stage."""
    stages = (
        "stages=[{name: psnr, steps: 3, learning_rate: 0.01}, {name: gan, steps: 3, learning_rate: 1e-4}]"
    )
    every = ["log_every=2", "sample_every=0", "validate_every=3", "save_every=1", "keep_states=9"]
    fixed = [stages, "precision=fp32", "threads=1", *every, *sets]
    experiment = read_experiment("smoke_esrgan", fixed, source={"images": str(photos)})
    asked = iter(range(99))  # the first question comes before the first step
    notes = Notes()
    train(experiment, folder, resume=resume, watch=notes, stop=lambda: next(asked) == stop_at)
    return notes


def state(folder: Path, step: int) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(folder / "states" / f"state_{step:08}.pt", weights_only=True)
    return loaded


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("pictures") / "photos", 4)


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "straight"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder.parent))
        go(photos, folder)
    return folder


@pytest.mark.parametrize("stop_at", [2, 3, 4])
@pytest.mark.slow
def test_resuming_around_the_switch_is_exact(
    photos: Path, straight: Path, tmp_path: Path, stop_at: int
) -> None:
    go(photos, tmp_path / "run", stop_at=stop_at)
    torch.manual_seed(stop_at)
    notes = go(photos, tmp_path / "run", resume=True)
    assert notes.warned == [] and ("The stage gan begins." in notes.said) == (stop_at <= 3)
    assert same(state(tmp_path / "run", 6), state(straight, 6))


def test_the_stage_gan_starts_from_averages_with_new_optimizers(
    photos: Path, straight: Path, tmp_path: Path
) -> None:
    before, after = state(straight, 3)["trainer"], state(straight, 4)["trainer"]
    (average,) = before["averages"].values()
    averaged = {name.removeprefix("network."): value for name, value in average.items() if "network" in name}
    own = {name: before["method"][f"generator.{name}"] for name in averaged}
    later = {name: after["method"][f"generator.{name}"] for name in averaged}

    def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        return max(float((a[name] - b[name]).abs().max()) for name in a)

    # Adam's first step is as long as the rate, 1e-4, and starts from the averages
    assert distance(later, averaged) < 1.01e-4 and distance(averaged, own) > 1e-3
    for group in ("generator", "discriminator"):
        steps = {int(memory["step"]) for memory in after["optimizers"][group]["state"].values()}
        assert steps == {1}
    assert before["optimizers"]["discriminator"]["state"] == {}


def test_values_that_are_not_finite_leave_both_players_alone() -> None:
    method = make(**ESRGAN, perceptual={})
    loop = trainer(method, ema=0.9)
    loop.step(batch())
    before = {name: value.clone() for name, value in method.state_dict().items()}
    average = {name: value.clone() for name, value in loop.evaluated()["generator"].state_dict().items()}
    broken = batch(seed=1)
    broken.target[0, 0, 0, 0] = torch.nan
    loop.step(broken)
    assert [keys for _, keys in loop.bad_keys()] == [("a", "b")]
    after = method.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert all(name.endswith("num_batches_tracked") for name in changed)
    assert same(average, dict(loop.evaluated()["generator"].state_dict()))
    loop.step(batch(seed=2))
    assert all(value.isfinite().all() for value in method.state_dict().values())


def test_a_stage_that_does_not_exist_is_refused_before_the_first_step(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the stages psnr and gan, not 'gam'"):
        go(photos, tmp_path, "stages=[{name: psnr, steps: 1}, {name: gam, steps: 1}]")
    with pytest.raises(ConfigError, match=r"needs method\.objective: gan"):
        go(photos, tmp_path, "objective=psnr")
    assert not (tmp_path / "states").exists()


def test_restoration_at_scale_one_from_pairs(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "noisy", 4)
    sets = [
        "scale=1",
        "stages=[]",
        "steps=2",
        "objective=psnr",
        "sample_every=2",
        "save_every=2",
        "precision=fp32",
    ]
    sets += ["generator={name: edsr, features: 4, blocks: 1}"]
    source = {"paired": [str(tmp_path / "noisy"), str(photos)]}
    experiment = read_experiment("smoke_esrgan", sets, source=source)
    summary = train(experiment, tmp_path / "run")
    assert summary.last["psnr"] > 0 and (tmp_path / "run" / "samples" / "step_00000002.png").is_file()
