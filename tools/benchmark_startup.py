"""How long commands take to start: `python tools/benchmark.py startup`."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch
from benchmark import FOLDER, JSON, _demand, _show
from man import walk

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, write_image
from img2img.models import AdaIN, Resnet

BASELINES = {"python": "pass", "torch": "import torch"}
# the smallest work of each command; None where it needs a network or runs until it is stopped
RUNS = {
    "upscale": "photos -o out -m x2",
    "restore": "photos -o out",
    "translate": "photos -o out -m net.safetensors",
    "stylize": "photos -o out -m style.safetensors --style photos/0.png",
    "inpaint": "photos -o out --mask mask.png",
    "prior": "photos/0.png -o out --task denoise --steps 1 --channels 4",
    "process": "photos -o out --op clahe",
    "evaluate": "--pred photos --target photos --protocol plain",
    "runs": "",
    "report": "photos others -o out/report.html",
    "grid": "photos others -o out/sheet.png",
    "train": "smoke_srresnet --images photos -o out --set steps=1 --set crop_size=16",
    "config init": "pix2pix -o out/mine.yaml",
    "config validate": "smoke_pix2pix",
    "config schema": "",
    "config list": "",
    "data download": None,
    "data pair": "photos -o out --op edges",
    "data split": "photos -o out",
    "data check": "--images photos --set crop_size=16",
    "data preview": "smoke_srresnet --images photos -o out/seen.png --set crop_size=16",
    "data expand": "photos -o out -m net.safetensors",
    "model blend": "net.safetensors net.safetensors -o out/blend.safetensors",
    "model download": None,
    "model export": "net.safetensors --format pt2 -o out/net.pt2",
    "model import": "net.safetensors -o out/net.safetensors",
    "model info": "net.safetensors",
    "model list": "",
    "model push": None,
    "model search": None,
    "ui": None,
    "demo": "-o out",
    "doctor": "",
    "completion": "bash",
}


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often everything takes its turn.")
@click.option("--only", multiple=True, metavar="COMMAND", help="Measure this one; repeatable. [default: all]")
@click.option(
    "--maximum",
    default=8.0,
    show_default=True,
    help="Fail when a help page takes so many times Python's start.",
)
@FOLDER
@JSON
def startup(rounds: int, only: tuple[str, ...], maximum: float, folder: Path | None, as_json: bool) -> None:
    """Measure the help page and the smallest work of each command, beside Python and torch alone.

    What is compared is the CPU time of a process from its start to its end, the median of the rounds: a busy
    machine makes it wait, but hardly makes it work more. The first round of an installation also compiles.
    """
    if unknown := set(only) - set(names()):
        raise click.UsageError(f"there is no command {', '.join(sorted(unknown))}.")
    calls = {name: [sys.executable, "-c", code] for name, code in BASELINES.items()}
    for name in only or names():
        command = [sys.executable, "-m", "img2img", *name.split()]
        calls[f"{name} --help"] = [*command, "--help"]
        work = RUNS[name]
        if work is not None:
            calls[name] = [*command, *shlex.split(work)]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        _prepare(Path(place))
        found = [{name: _seconds(call, Path(place)) for name, call in calls.items()} for _ in range(rounds)]
    cpu = {name: median(each[name][0] for each in found) for name in calls}
    wall = {name: median(each[name][1] for each in found) for name in calls}
    rows = [(name, f"{cpu[name]:.2f} s", f"{wall[name]:.2f} s until it ended") for name in BASELINES]
    ratios = {}
    for name in [name for name in calls if name not in BASELINES]:
        baseline = "python" if name.endswith("--help") else "torch"
        ratios[name] = round(cpu[name] / cpu[baseline], 2)
        rows.append((name, f"{cpu[name]:.2f} s", f"{ratios[name]:.2f} times {baseline}; {wall[name]:.2f} s"))
    numbers = {
        "cpu_seconds": {name: round(value, 3) for name, value in cpu.items()},
        "seconds": {name: round(value, 3) for name, value in wall.items()},
        "ratios": ratios,
    }
    _show(numbers, rows, as_json)
    slow = [name for name, ratio in ratios.items() if name.endswith("--help") and ratio > maximum]
    _demand(not slow, f"these take more than {maximum:g} times Python's start: {', '.join(slow)}")


def names() -> list[str]:
    """Returns every command that does something, as one types it: "data check"."""
    found = walk(cli, click.Context(cli, info_name=""))
    return [c.command_path.strip() for command, c in found if not isinstance(command, click.Group)]


def _prepare(folder: Path) -> None:
    """Makes what the commands work on: three pictures of 32 x 32 pixels, a mask and two tiny models."""
    rng = np.random.default_rng(0)
    for place in ("photos", "others"):
        (folder / place).mkdir()
        for i in range(3):
            write_image(Image(rng.integers(0, 256, (32, 32, 3), np.uint8)), folder / place / f"{i}.png")
    mask = np.zeros((32, 32, 1), np.uint8)
    mask[8:16, 8:16] = 255
    write_image(Image(mask), folder / "mask.png")
    torch.manual_seed(0)
    for name, network in (("net", Resnet(**Resnet.tiny)), ("style", AdaIN(**AdaIN.tiny))):
        save_model(folder / f"{name}.safetensors", network, ModelInfo("own"))


def _seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Runs a command and returns its CPU time and the time until it ended, both with its children.

    Raises:
        click.ClickException: It failed.
    """
    shutil.rmtree(folder / "out", ignore_errors=True)
    if "-o" in command and "/" in command[command.index("-o") + 1]:
        (folder / "out").mkdir()
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 4):  # 4: there are no runs to list
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            raise click.ClickException(f"{shlex.join(command)} ended with {process.returncode}:\n{text}")
    return used.ru_utime + used.ru_stime, wall
