"""Whole runs in this process: what lands in the folder, and what happens when something goes wrong."""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path

import numpy as np
import programs
import pytest
import torch
from drawings import draw_pairs, draw_photos

from img2img.checkpoint import open_model
from img2img.errors import ConfigError, ModelError
from img2img.image import Image, write_image
from img2img.inference import load_model
from img2img.training import DiskError, TrainingError, Watch, read_experiment, train
from img2img.training import run as running
from img2img.training import state as states
from img2img.training.lock import LOCK

SPARSE = ["log_every=2", "sample_every=0", "validate_every=0", "save_every=2", "precision=fp32", "threads=1"]
SMALL = ["generator.downs=3", "discriminator.layers=1"]


class Notes(Watch):
    """A watch that writes down."""

    def __init__(self) -> None:
        self.said, self.warned, self.statuses = [], [], []

    def status(self, status) -> None:
        self.statuses.append(status)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def go(data: Path, folder: Path, *sets: str, resume: bool = False, stop_at: int = -1, watch=None):
    """Runs the smoke configuration of pix2pix, until its end or until after step `stop_at`."""
    steps = []

    def stop() -> bool:
        steps.append(len(steps))  # the first question comes before the first step
        return len(steps) - 1 == stop_at

    experiment = read_experiment("smoke_pix2pix", [*SPARSE, *SMALL, *sets], source={"aligned": str(data)})
    return train(experiment, folder, resume=resume, watch=watch, stop=stop)


def newest(folder: Path) -> dict:
    path = max((folder / "states").glob("*.pt"))
    return torch.load(path, weights_only=True)


def lines(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.fixture(scope="module")
def straight(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    go(pairs, folder, "steps=6", "ema=0.9", "sample_every=3", "validate_every=3")
    return folder


def test_a_run_leaves_everything_that_it_promises(straight: Path) -> None:
    files = [path.relative_to(straight) for path in straight.rglob("*") if path.is_file()]
    names = {path.as_posix() for path in files if path.parts[0] != "tensorboard"}  # where that is installed
    assert names == {
        "config.yaml",
        "metrics.jsonl",
        "report.html",
        "run.json",
        "last.safetensors",
        "ema.safetensors",
        "best.safetensors",
        "samples/step_00000003.png",
        "samples/step_00000006.png",
        "states/state_00000004.pt",
        "states/state_00000004.sha256",
        "states/state_00000006.pt",
        "states/state_00000006.sha256",
    }
    kinds = [(line["step"], line["kind"]) for line in lines(straight)]
    assert kinds == [
        (2, "training"),
        (3, "validation"),
        (4, "training"),
        (6, "training"),
        (6, "validation"),
    ]
    assert set(lines(straight)[0]["losses"]) >= {"d_real", "d_fake", "g_gan", "g_l1"}
    assert lines(straight)[0]["rates"] == {"discriminator": 2e-4, "generator": 2e-4}
    assert set(lines(straight)[1]) >= {"l1", "psnr", "ssim"}


def test_its_model_file_needs_nothing_beside_it(straight: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.safetensors"
    alone.write_bytes((straight / "last.safetensors").read_bytes())
    result = load_model(alone, device="cpu")(np.full((40, 52, 3), 90, np.uint8))
    assert result.shape == (40, 52, 3) and result.dtype == np.uint8
    info = load_model(alone, device="cpu").info
    assert info.adversarial is True and info.synthetic is True
    ours = load_model(alone, device="cpu").generator.state_dict()
    trained = newest(straight)["trainer"]["method"]
    assert all(torch.equal(value, trained[f"generator.{name}"]) for name, value in ours.items())


@pytest.mark.parametrize(
    ("sets", "size"),
    [
        (["crop_size=[32, 64]"], (32, 64)),
        (["crop_size=[64, 32]", "load_size=[64, 32]"], (64, 32)),
        (["crop_size=null", "load_size=[32, 64]"], (32, 64)),
        (["crop_size=null", "load_size=null", "data.validation_fraction=0"], None),
    ],
)
@pytest.mark.sampled(2)
def test_a_model_knows_the_height_and_width_that_it_was_trained_at(tmp_path: Path, sets, size) -> None:
    draw_pairs(tmp_path / "pairs", 2, side=32)
    go(tmp_path / "pairs", tmp_path / "run", "steps=1", *sets)
    translate = load_model(tmp_path / "run/last.safetensors", device="cpu")
    assert translate.info.size == translate.size == size


def test_its_configuration_is_whole_and_reads_back(straight: Path, pairs: Path) -> None:
    again = read_experiment(straight / "config.yaml")
    assert again.data.aligned == (pairs,) and again.data.aligned[0].is_absolute()
    assert again.training.steps == 6 and again.dump() == (straight / "config.yaml").read_text()


@pytest.mark.parametrize("stop_at", [2, 3])
def test_stop_and_resume_is_the_run_that_never_stopped(
    pairs: Path, straight: Path, tmp_path: Path, stop_at: int
) -> None:
    sets = ["steps=6", "ema=0.9", "sample_every=3", "validate_every=3"]
    summary = go(pairs, tmp_path, *sets, stop_at=stop_at)
    assert summary.stopped and summary.step == stop_at
    with (tmp_path / "metrics.jsonl").open(
        "a"
    ) as file:  # of steps after the last save, and cut off by a crash
        file.write('{"step": 5, "samples": 10, "kind": "training", "losses": {}}\n{"step": 5, "samp')
    torch.manual_seed(3)
    summary = go(pairs, tmp_path, *sets, resume=True)
    assert not summary.stopped and summary.step == 6
    assert same(newest(tmp_path), newest(straight))
    assert lines(tmp_path) == lines(straight)
    for name in ("last", "ema", "best"):
        file = f"{name}.safetensors"
        assert (tmp_path / file).read_bytes() == (straight / file).read_bytes()


def test_looking_does_not_change_the_run(pairs: Path, straight: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=6", "ema=0.9", "sample_every=1", "validate_every=2", "log_every=1")
    other, own = newest(straight)["trainer"], newest(tmp_path)["trainer"]
    for key in ("method", "optimizers", "averages", "random"):
        assert same(own[key], other[key])


def test_the_last_step_of_an_epoch_belongs_to_it(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "epochs=2", "log_every=1")
    epochs = [line["epoch"] for line in lines(tmp_path) if line["kind"] == "training"]
    half = len(epochs) // 2
    assert epochs == [0] * half + [1] * half


def test_a_finished_run_has_nothing_to_do_and_can_be_made_longer(
    pairs: Path, straight: Path, tmp_path: Path
) -> None:
    go(pairs, tmp_path, "steps=4", "ema=0.9")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    notes = Notes()
    summary = go(pairs, tmp_path, "steps=4", "ema=0.9", resume=True, watch=notes)
    assert summary.step == 4 and not summary.stopped and "at its end already" in notes.said[-1]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.pt")}
    go(pairs, tmp_path, "steps=6", "ema=0.9", resume=True)
    assert same(newest(tmp_path)["trainer"]["method"], newest(straight)["trainer"]["method"])
    assert read_experiment(tmp_path / "config.yaml").training.steps == 6


@pytest.mark.parametrize("sets", [[], ["data.workers=1"]], ids=["here", "worker"])
def test_a_stop_before_the_first_step_writes_nothing(pairs: Path, tmp_path: Path, sets: list[str]) -> None:
    summary = go(pairs, tmp_path / "a" / "run", *sets, stop_at=0)
    assert summary.stopped and summary.step == 0
    assert not (tmp_path / "a").exists()


def test_stages_resume_at_their_boundary(tmp_path: Path) -> None:
    draw_photos(tmp_path / "photos", 3)
    method = ["generator={name: edsr, features: 4, blocks: 1}", "discriminator={name: patchgan, features: 4}"]
    cosine = "{name: psnr, steps: 3, schedule: {kind: cosine}}"
    stages = f"training={{stages: [{cosine}, {{name: gan, steps: 3}}], ema: 0.5}}"
    method.append("objective=gan")
    sets = [stages, "save_every=3", *method, "scale=2", "data.crop_size=32", "workers=0", "log_every=2"]
    sets += ["sample_every=0", "validate_every=0", "precision=fp32", "batch_size=2"]

    def run(name: str, resume: bool = False, stop_at: int = -1):
        count = iter(range(99))
        experiment = read_experiment(
            None,
            sets,
            source={"images": str(tmp_path / "photos")},
            defaults={"method": {"name": "super_resolution"}},
        )
        return train(experiment, tmp_path / name, resume=resume, stop=lambda: next(count) == stop_at)

    run("straight")
    run("again", stop_at=3)
    info = open_model(tmp_path / "again" / "last.safetensors")[1]
    assert info.adversarial is False and not info.synthetic
    first = torch.load(tmp_path / "again" / "states" / "state_00000003.pt", weights_only=True)
    run("again", resume=True)
    assert same(newest(tmp_path / "again"), newest(tmp_path / "straight"))
    assert lines(tmp_path / "again") == lines(tmp_path / "straight")
    assert {"g_gan", "d_real"} <= set(lines(tmp_path / "again")[-1]["losses"])
    # the judge slept in the first stage, and optimizers of the second know nothing of it
    info = open_model(tmp_path / "again" / "last.safetensors")[1]
    assert info.adversarial is True and info.synthetic is True
    last = newest(tmp_path / "straight")["trainer"]
    start = [value for name, value in first["trainer"]["method"].items() if "discriminator" in name]
    end = [value for name, value in last["method"].items() if "discriminator" in name]
    assert not all(map(torch.equal, start, end))
    assert next(iter(last["optimizers"]["generator"]["state"].values()))["step"] == 3


def test_a_stage_of_any_method_leaves_a_group_or_a_part_as_it_is(pairs: Path, tmp_path: Path) -> None:
    stages = "[{name: a, steps: 1, frozen: [discriminator, generator.down]}, {name: b, epochs: 1}]"
    sets = [f"training={{stages: {stages}}}", "save_every=1", "keep_states=9", "log_every=1"]
    experiment = read_experiment(
        None,
        [*SPARSE, *SMALL, *sets],
        source={"aligned": str(pairs)},
        defaults={
            "method": {"name": "pix2pix", "generator": {"name": "unet", "features": 4, "norm": "instance"}},
            "data": {"crop_size": 32, "workers": 0},
        },
    )
    train(experiment, tmp_path / "run")
    first, second = (
        torch.load(tmp_path / "run" / "states" / f"state_{step:08}.pt", weights_only=True)["trainer"]
        for step in (1, 2)
    )
    assert sorted(first["optimizers"]) == ["generator"] and sorted(second["optimizers"]) == [
        "discriminator",
        "generator",
    ]
    moved = {n for n, v in first["method"].items() if not torch.equal(v, second["method"][n])}
    assert any(name.startswith("adversary.") for name in moved) and any("generator.down" in n for n in moved)
    # losses of what is frozen are still told
    assert {"d_real", "d_fake"} <= set(lines(tmp_path / "run")[0]["losses"])


def test_a_run_that_died_before_its_first_state_starts_again(
    pairs: Path, straight: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "samples").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_bytes((straight / "config.yaml").read_bytes())
    notes = Notes()
    go(pairs, tmp_path / "run", "steps=2", resume=True, watch=notes)
    assert "starts at its beginning" in notes.warned[0]


def test_another_batch_size_goes_on_at_the_same_sample(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=6")
    notes = Notes()
    summary = go(pairs, tmp_path, "steps=6", "batch_size=4", resume=True, watch=notes)
    assert any("step now takes 4 samples instead of 2" in text for text in notes.warned)
    assert summary.step == 6 and newest(tmp_path)["samples"] == 24  # 3 steps of 4, after 12 samples
    assert [line["samples"] for line in lines(tmp_path)] == [4, 8, 12, 16, 24]
    assert len(list((tmp_path / "states").glob("*.pt"))) == 2


def test_other_circumstances_are_said(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2")
    notes = Notes()
    go(pairs, tmp_path, "steps=4", "precision=bf16", "betas=[0.9, 0.99]", resume=True, watch=notes)
    assert len(notes.warned) == 1 and "precision fp32 is now bf16" in notes.warned[0]


def test_other_networks_cannot_continue(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=2")
    kept = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match="does not fit the networks"):
        go(pairs, tmp_path, "steps=4", "generator.features=8", resume=True)
    assert (tmp_path / "config.yaml").read_bytes() == kept


# --- the folder


def test_a_folder_in_use_is_left_alone(pairs: Path, straight: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.rglob("*")}
    with pytest.raises(ConfigError, match=r"is not empty; `resume` .* continues a run, another"):
        go(pairs, straight)
    assert before == {path: path.stat().st_mtime_ns for path in straight.rglob("*") if path != straight} | {
        path: time for path, time in before.items() if path == straight
    }


def test_two_runs_do_not_share_a_folder(pairs: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from img2img.training.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    with programs.start(["-c", code, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(ConfigError, match=rf"another run is at work in .*process {other.pid}"):
            go(pairs, tmp_path)
        other.kill()
        other.wait()
    assert (tmp_path / LOCK).is_file()  # nobody could remove it, and it holds nothing any more
    assert go(pairs, tmp_path, "steps=1").step == 1
    assert not (tmp_path / LOCK).exists()


# --- values that are not finite


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Data on which every loss is NaN from the third step on."""
    draw_pairs(tmp_path / "data", 6)
    original = running.batches

    def spoiled(*args, **kwargs):
        for number, batch in enumerate(original(*args, **kwargs), kwargs["start"] // kwargs["batch_size"]):
            if number >= 2:
                batch.source.fill_(torch.nan)
            yield batch

    monkeypatch.setattr(running, "batches", spoiled)
    return tmp_path / "data"


def test_the_run_ends_after_so_many_bad_steps_and_names_the_files(poisoned: Path, tmp_path: Path) -> None:
    notes = Notes()
    sets = ["steps=20", "max_bad_steps=3", "flip=false"]
    with pytest.raises(TrainingError, match=r"of 3 steps in a row .* `learning_rate="):
        go(poisoned, tmp_path / "run", *sets, watch=notes)
    assert [text.split(":")[0] for text in notes.warned[:3]] == ["step 2", "step 3", "step 4"]
    assert all("Samples: p0" in text for text in notes.warned)
    state = newest(tmp_path / "run")
    assert state["step"] == 4 and state["trainer"]["bad_steps"] == 2
    assert all(value.isfinite().all() for value in state["trainer"]["method"].values())
    with pytest.raises(TrainingError, match="of 3 steps in a row"):  # the two before the state count
        go(poisoned, tmp_path / "run", *sets, resume=True, watch=notes)
    assert newest(tmp_path / "run")["step"] == 4


# --- the disk


def disk_with(free: int):
    return lambda folder: type("usage", (), {"free": free})()


def test_no_room_at_the_start(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states.shutil, "disk_usage", disk_with(1000))
    with pytest.raises(DiskError, match=r"MiB are to be written and 0\.0 MiB are free"):
        go(pairs, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("when", ["before", "half-way"])
def test_a_full_disk_keeps_the_old_state_and_writes_the_model(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    go(pairs, tmp_path, "steps=2")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "states").iterdir()}
    model = (tmp_path / "last.safetensors").read_bytes()
    if when == "before":
        monkeypatch.setattr(states.shutil, "disk_usage", disk_with(1000))
    else:

        def full(state, file) -> None:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(states.torch, "save", full)
    with pytest.raises(DiskError, match="make room, then continue with `resume`"):
        go(pairs, tmp_path, "steps=4", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "states").iterdir()} == kept
    assert (tmp_path / "last.safetensors").read_bytes() != model
    monkeypatch.undo()
    assert go(pairs, tmp_path, "steps=4", resume=True).step == 4


def test_the_state_is_written_even_if_the_model_cannot_be(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path, generator, info) -> None:
        raise ModelError("cannot be written: no space is left on the disk", path)

    monkeypatch.setattr("img2img.training.outcome.save_model", fail)
    with pytest.raises(DiskError, match=r"last\.safetensors: cannot be written"):
        go(pairs, tmp_path, "steps=2")
    assert newest(tmp_path)["step"] == 2


def test_a_damaged_state_falls_back_and_goes_with_the_next_save(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=6", "keep_states=2")
    path = tmp_path / "states" / "state_00000006.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    notes = Notes()
    summary = go(pairs, tmp_path, "steps=6", "keep_states=1", resume=True, stop_at=1, watch=notes)
    assert "state_00000006.pt is damaged (its checksum does not match)" in notes.warned[0]
    assert summary.step == 5
    assert [path.name for path in (tmp_path / "states").glob("*.pt")] == ["state_00000005.pt"]


def test_no_whole_state_is_an_error(pairs: Path, tmp_path: Path) -> None:
    go(pairs, tmp_path, "steps=4")
    for path in (tmp_path / "states").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"none of its states is whole; start again, .* `initial`"):
        go(pairs, tmp_path, "steps=6", resume=True)


def test_a_rate_for_nobody_is_an_error(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no group of parameters 'discriminators'; did you mean 'discr"):
        go(pairs, tmp_path / "run", "steps=1", "training.learning_rates={discriminators: 1e-4}")
    assert not (tmp_path / "run" / "config.yaml").exists()


# --- other starts


def test_a_run_starts_with_the_weights_of_another(pairs: Path, straight: Path, tmp_path: Path) -> None:
    model = straight / "last.safetensors"
    sets = [f"training.initial={{generator: {model}}}", "learning_rate=1e-12", "steps=1"]
    go(pairs, tmp_path / "run", *sets)
    started = newest(tmp_path / "run")["trainer"]["method"]
    for name, value in newest(straight)["trainer"]["method"].items():
        if name.startswith("generator.") and "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(started[name], value)
    with pytest.raises(
        ConfigError,
        match=r"has the architecture unet with features 4 \(here 8\); give method.generator the same",
    ):
        go(pairs, tmp_path / "other", *sets, "generator.features=8")
    with pytest.raises(ConfigError, match=r"there is no generator 'a2b'; there is generator\."):
        go(pairs, tmp_path / "other", f"training.initial={{a2b: {model}}}")
    assert not (tmp_path / "other").exists()


def test_the_architecture_is_that_of_the_weights_where_nothing_is_said(straight: Path, pairs: Path) -> None:
    experiment = read_experiment(
        None,
        [f"training.initial={{generator: {straight / 'last.safetensors'}}}", "epochs=1"],
        source={"aligned": str(pairs)},
        defaults={"method": {"name": "pix2pix", "generator": {"name": "resnet"}}},
    )
    assert experiment.method.generator.name == "unet"
    assert experiment.method.generator.arguments["features"] == 4


def test_pictures_that_cannot_be_read_are_named_and_passed_over(tmp_path: Path) -> None:
    draw_pairs(tmp_path / "data", 8)
    (tmp_path / "data" / "p03.png").write_bytes(b"")
    notes = Notes()
    summary = go(tmp_path / "data", tmp_path / "run", "steps=8", "validation_fraction=0", watch=notes)
    assert summary.step == 8 and summary.last == {}
    assert any("p03.png" in text for text in notes.warned)


def test_no_pictures_at_all(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(Exception, match="data") as caught:
        go(tmp_path / "data", tmp_path / "run")
    assert type(caught.value).__module__ == "img2img.errors"
    assert not (tmp_path / "run").exists()


def test_constant_pictures_are_noticed(tmp_path: Path) -> None:
    """A generator that cannot but make one colour."""
    (tmp_path / "data").mkdir()
    for number in range(6):
        write_image(Image(np.full((40, 80, 3), 128, np.uint8)), tmp_path / "data" / f"{number}.png")
    notes = Notes()
    sets = ["steps=1", "sample_every=1", "method.init.gain=1e-6"]
    go(tmp_path / "data", tmp_path / "run", *sets, watch=notes)
    assert any("the output is one flat colour for every sample" in text for text in notes.warned)


def test_a_folder_of_something_else_is_left_alone(pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty, and holds no run; another folder starts a new one"):
        go(pairs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


# --- numbers that are measurements


def measured(folder: Path, count: int, low: float, high: float, dtype: str, bad: float | None = None) -> Path:
    """Writes side-by-side pictures in numbers of their own, of which one may hold a value without meaning."""
    for number in range(count):
        draw_pairs(folder, 0)
        pixels = np.random.default_rng(number).uniform(low, high, (32, 64, 1))
        if bad is not None and number == 1:
            pixels[3, 3] = bad
        write_image(Image(pixels.astype(dtype)), folder / f"m{number:02}.tif")
    return folder


@pytest.mark.parametrize(("high", "dtype"), [(4095, "uint16"), (255, "float32")])
def test_a_range_is_learnt_stored_and_used(tmp_path: Path, high: int, dtype: str) -> None:
    data, notes = measured(tmp_path / "data", 4, 0, high, dtype), Notes()
    sets = ["steps=2", f"data.range=[0,{high}]", "validate_every=2", "data.workers=0"]
    go(data, tmp_path / "run", *sets, watch=notes)
    assert not notes.warned
    errors = [line["l1"] for line in lines(tmp_path / "run") if "l1" in line]
    assert all(error < 1 for error in errors)
    translate = load_model(tmp_path / "run" / "last.safetensors", device="cpu")
    assert translate.info.range == translate.info.target_range == (0, high)
    made = translate(np.full((32, 32, 1), high / 2, dtype))
    assert made.dtype == dtype and made.min() >= 0 and 0.2 * high < made.mean() < 0.8 * high


def test_numbers_outside_of_their_depth_are_warned_of_without_data_check(tmp_path: Path) -> None:
    notes = Notes()
    go(measured(tmp_path / "data", 4, -800, 900, "float32"), tmp_path / "run", "steps=1", watch=notes)
    (warning,) = notes.warned
    assert ".tif" in warning and "`data.range=[-800,900]`" in warning


def test_one_value_of_1e38_neither_ends_nor_spoils_a_run(tmp_path: Path) -> None:
    notes, data = Notes(), measured(tmp_path / "data", 6, 0, 1, "float32", bad=1e38)
    go(data, tmp_path / "run", "steps=4", "data.workers=0", "data.validation_fraction=0", watch=notes)
    assert [text for text in notes.warned if "m01.tif" in text and "1e+38" in text]
    load_model(tmp_path / "run" / "last.safetensors", device="cpu")


def test_a_network_that_is_not_finite_is_not_written_without_a_word(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running._Run, "_check_finite", lambda run: _spoil(run.method))
    notes = Notes()
    go(pairs, tmp_path / "run", "steps=2", watch=notes)
    assert any("not finite" in text and "last" in text for text in notes.warned)
    assert not (tmp_path / "run" / "last.safetensors").exists()


def _spoil(method: torch.nn.Module) -> None:
    with torch.no_grad():
        next(method.parameters()).fill_(torch.inf)
