"""The real command: killed and continued, asked to stop, wrongly called."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import programs
import pytest
import torch
import yaml
from click.testing import CliRunner

from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image
from img2img.training import state

ROOT = Path(__file__).resolve().parents[2]
SMOKE = sorted(path.stem for path in (ROOT / "configs").glob("smoke_*.yaml"))
PATIENCE = 120.0  # seconds; the machine may be busy

AUGMENT = {
    "geometric": [{"Rotate": {"limit": 20, "p": 0.7}}],
    "photometric": [{"RandomBrightnessContrast": {"p": 0.8}}],
}


def draw(folder: Path, count: int, width: int, height: int, levels: int = 256) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        stream = np.random.default_rng(number)
        coarse = stream.integers(0, levels, (height // 8, width // 8, 3)).astype(np.uint8)
        write_image(Image(coarse.repeat(8, 0).repeat(8, 1)), folder / f"p{number:02}.png")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The option that names pictures, by the kind of data that a method needs."""
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder / "pairs", 12, 96, 48)
    draw(folder / "maps", 12, 48, 48, levels=2)
    draw(folder / "fronts", 12, 48, 48)
    draw(folder / "a", 9, 48, 48)
    draw(folder / "b", 7, 48, 48)
    draw(folder / "photos", 6, 160, 128)
    table = ["file,smile,hat", *(f"p{number:02}.png,{number % 2},{number % 3 > 0}" for number in range(6))]
    (folder / "attributes.csv").write_text("\n".join(table).replace("True", "1").replace("False", "0"))
    return {
        "attributes": [
            "--images",
            str(folder / "photos"),
            "--field",
            f"attributes={folder / 'attributes.csv'}",
        ],
        "paired": ["--aligned", str(folder / "pairs")],
        "labels": ["--paired", str(folder / "maps"), str(folder / "fronts")],
        "fronts": ["--paired", str(folder / "fronts"), str(folder / "maps")],
        "unpaired": ["--unpaired", str(folder / "a"), str(folder / "b")],
        "super_resolution": ["--images", str(folder / "photos")],
    }


def method_of(name: str) -> str:
    return yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())["method"]["name"]


def source_of(name: str, sources: dict[str, list[str]]) -> list[str]:
    method = method_of(name)
    kinds = {
        "pix2pix": "paired",
        "segmentation": "fronts",
        "oasis": "labels",
        "pix2pixhd": "labels",
        "stargan": "attributes",
        "cyclegan": "unpaired",
        "cut": "unpaired",
    }
    return sources[kinds.get(method, "super_resolution")]


def start(*arguments: str) -> programs.Program:
    command = ["-m", "img2img", "train", *arguments]
    return programs.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: programs.Program, code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "Traceback" not in err and "warn" not in err.lower(), err
    wait_for(lambda: not alive(process.pid))
    return out, err


def alive(group: int) -> bool:
    """Returns whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(ready, process: programs.Program | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        if process is not None and process.poll() is not None:
            pytest.fail(f"it ended before: {process.communicate()[1]}")
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def states(run: Path) -> list[Path]:
    return sorted((run / "states").glob("*.pt"))


def differences(a, b, place: str = "") -> list[str]:
    """Returns the places in which two trees of tensors and numbers are not the same bit for bit."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{place}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return [found for number, pair in pairs for found in differences(*pair, f"{place}.{number}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [place]
    return [] if a == b else [place]


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in found]


SETS = ["--set", "gan=hing", "--set", "crop_size=x", "--set", "training.epocs=5"]
CASES = [
    pytest.param(name, workers, marks=[] if (name, workers) == ("smoke_pix2pix", 2) else pytest.mark.slow)
    for name in SMOKE
    for workers in (0, 2)
]


@pytest.mark.parametrize(("name", "workers"), CASES)
def test_killed_and_continued_it_is_the_run_that_never_stopped(
    name: str, workers: int, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    """With dropout, augmentation, EMA, sampling and validation: every bit of states and metrics."""
    source = source_of(name, sources)
    augment = AUGMENT
    if method_of(name) == "super_resolution":
        augment = {"photometric": AUGMENT["photometric"], "sharp": AUGMENT["geometric"]}
    elif (
        "one_hot" in (ROOT / "configs" / f"{name}.yaml").read_text()
    ):  # labels have no values that could change
        augment = {"geometric": AUGMENT["geometric"]}
    values = {
        "steps": 32,
        "save_every": 4,
        "log_every": 3,
        "sample_every": 7,
        "validate_every": 10,
        "ema": 0.9,
        "threads": 1,
        "workers": workers,
        "augment": json.dumps(augment),
    }
    if "stages" in (ROOT / "configs" / f"{name}.yaml").read_text():
        del values["steps"]
        values |= {"stages.0.steps": 30, "stages.1.steps": 30}
    arguments = [name, *source, *(f"--set={key}={value}" for key, value in values.items())]
    straight = start(*arguments, "-o", str(tmp_path / "straight"))
    killed = start(*arguments, "-o", str(tmp_path / "killed"))
    wait_for(lambda: states(tmp_path / "killed"), killed)
    delay = random.random() / 4
    time.sleep(delay)
    assert killed.poll() is None, "it was too fast to be killed"
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    finish(start("--resume", str(tmp_path / "killed")))
    finish(straight)
    own, other = (torch.load(states(tmp_path / n)[-1], weights_only=True) for n in ("killed", "straight"))
    assert own["samples"] == other["samples"] > 0
    assert differences(own, other) == [], f"killed {delay:.3f} s after the first state"
    assert lines(tmp_path / "killed") == lines(tmp_path / "straight")
    for model in (tmp_path / "straight").glob("*.safetensors"):
        assert (tmp_path / "killed" / model.name).read_bytes() == model.read_bytes()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_finishes_the_step_and_saves(
    number: signal.Signals, code: int, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    """It reaches the whole group, as from a terminal or a job scheduler: the workers must bear it."""
    run = tmp_path / "run"
    process = start(
        "smoke_pix2pix", *sources["paired"], "-o", str(run), "--set", "steps=100000", "--set", "workers=2",
        "--set", "save_every=100000", "--set", "log_every=2", "--json",
    )  # fmt: skip
    wait_for(lambda: (run / "metrics.jsonl").is_file() and lines(run), process)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert err.count("finishing what is in flight") == 1
    assert f"img2img train --resume {run}" in err
    (state,) = states(run)
    summary = json.loads(out)
    assert summary["stopped"] and f"state_{summary['step']:08}.pt" == state.name
    assert not [path for path in run.rglob("*") if path.suffix == ".part" or path.name == ".lock"]
    wait_for(lambda: not alive(process.pid))


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once_and_the_next_run_sweeps(
    sources: dict[str, list[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = ["smoke_pix2pix", *sources["paired"], "-o", str(run), "--set", "steps=100000"]
    process = start(*arguments, "--set", "log_every=2", "--set", "save_every=5")
    wait_for(lambda: states(run), process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    finish(start("--resume", str(run), "--set", f"steps={int(states(run)[-1].stem[6:]) + 2}"))
    assert not list(run.rglob("*.part"))


@pytest.mark.slow
def test_a_signal_during_the_start_leaves_nothing(sources: dict[str, list[str]], tmp_path: Path) -> None:
    process = start("smoke_pix2pix", *sources["paired"], "-o", str(tmp_path / "run"))
    assert process.stderr is not None
    wait_for(lambda: (tmp_path / "run").exists(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert states(tmp_path / "run") or not (tmp_path / "run").exists()


# --- what it is called with


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)], prog_name="img2img")
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("name", SMOKE)
@pytest.mark.sampled(2)
def test_the_trained_model_opens_with_nothing_beside_it(
    name: str, sources: dict[str, list[str]], tmp_path: Path
) -> None:
    source, steps = source_of(name, sources), ["--set", "steps=2"]
    if "stages" in (ROOT / "configs" / f"{name}.yaml").read_text():
        steps = ["--set", "stages.0.steps=1", "--set", "stages.1.steps=1"]
    sets = [*steps, "--set", "precision=fp32", "--set", "data.workers=0"]
    code, out, err = call(name, *source, *sets, "-o", tmp_path / "run", "--json", "--quiet")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["step"] == facts["total"] == 2 and not facts["stopped"]
    if yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())["training"]["validate_every"]:
        labels = (
            {"pixel_accuracy", "class_accuracy", "mean_iou"} if method_of(name) == "segmentation" else set()
        )
        assert set(facts["last"]) == {"step", "l1", "psnr", "ssim"} | labels
    alone = tmp_path / "mine.safetensors"
    next((tmp_path / "run").glob("*last.safetensors")).rename(alone)
    draw(tmp_path / "in", 2, 40, 56)
    mask = np.zeros((56, 40, 1), np.uint8)
    mask[8:20, 8:20] = 255
    write_image(Image(mask), tmp_path / "mask.png")
    command = {
        "super_resolution": ["upscale"],
        "inpainting": ["inpaint", "--mask", str(tmp_path / "mask.png")],
        "stargan": ["translate", "--with", "attributes=1,0"],
    }.get(method_of(name), ["translate"])
    scale = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())["method"].get("scale", 1)
    result = CliRunner().invoke(
        cli, [*command, str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(alone)]
    )
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "out" / "p00.png").pixels.shape == (56 * scale, 40 * scale, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["give a CONFIG or pictures"]),
        (["--aligned", "x", "--images", "y", "-o", "z"], ["--aligned and --images contradict"]),
        (["--aligned", "x"], ["with -o"]),
        (["--resume", ".", "-o", "x"], ["--resume takes everything from the run"]),
        (["--resume", "."], [". is not the folder of a run: it holds no config.yaml"]),
        (["smoke_pix2pux", "-o", "x"], ["did you mean 'smoke_pix2pix'?"]),
        (["smoke_pix2pix", "--aligned", "nowhere", "-o", "x"], ["nowhere"]),
        (["smoke_pix2pix", "--images", "x", "-o", "x"], ["trained on pairs", "single pictures"]),
        (
            [
                "smoke_pix2pix",
                "--aligned",
                "x",
                "-o",
                "y",
                "--set",
                "gan=hing",
                "--set",
                "crop_size=x",
                "--set",
                "training.epocs=5",
            ],
            ["did you mean 'hinge'", "data.crop_size", "training.epocs; did you mean 'epochs'?"],
        ),
        (["--aligned", "x", "-o", "y", "--init", "nobody.pth"], ["there is no model 'nobody.pth'"]),
    ],
)
def test_mistakes_are_sentences(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and "Traceback" not in err
    for word in words:
        assert word in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_sentence_and_code_1(
    sources: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    code, _, err = call("smoke_pix2pix", *sources["paired"], "-o", tmp_path / "run")
    assert code == 1 and "Make room, or give another folder" in err and "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_a_garbled_configuration_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"seed: 0\nmethod: [\x00\xff")
    code, _, err = call("--resume", tmp_path)
    assert code == 2 and "config.yaml, line 2" in " ".join(err.split())


def test_plain_help_is_short() -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert len([line for line in out.splitlines() if line.startswith("  -")]) <= 12
    assert "img2img train --resume" in out


def test_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from img2img.cli import render, show
    from img2img.training import TrainingStatus

    def shown(terminal: bool) -> str:
        console = Console(force_terminal=terminal, width=120, file=sys.stdout, highlight=False)
        for module in (render, show):
            monkeypatch.setattr(module, "stderr", lambda: console)
        with show.Show() as shows:
            shows.step(1, 100)
            shows.status(TrainingStatus(10, 100, 2, {"g_l1": 1.5, "norm_generator": 3.0}, 2.0, 4.0, 45.0))
            shows.warn("look")
        return capsys.readouterr().out

    plain = shown(False)
    assert plain == "epoch 3  step 10 of 100  g_l1 1.5  2.00 it/s, 45 s left\nWarning: look\n"
    live = shown(True)
    assert "step 10 of 100" in live and "\x1b[2K" in live and "Warning: look" in live
