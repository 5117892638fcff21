"""Feeds mutated files to everything that reads a stranger's bytes: `python tools/fuzz.py --minutes 20`.

Targets are `read_image`, opening checkpoints, and reading recipes and configurations. Each case follows from
the seed and its number alone, so that `--only NUMBER` repeats it. Cases run in a child process, which the
parent ends when a case takes too long; a crash, a time-out, more than 1 GiB, or an error that is none of ours
is a finding, kept in a folder with its file.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

LARGEST = 2**20  # bytes of a case
MEMORY = 2**30
SECONDS = 5.0
_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def seeds() -> dict[str, list[tuple[str, bytes]]]:
    """Returns small intact files by target: (extension, content)."""
    return {"image": _pictures(), "model": _models(), "recipe": _texts()}


def _pictures() -> list[tuple[str, bytes]]:
    from damage import ENCODINGS

    found = [(extension, make()) for extension, make in ENCODINGS.values()]
    for folder in ("cases", "data/odd"):
        root = Path(os.environ.get("IMG2IMG_TEST_DATA", "/nonexistent")) / folder
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() in PICTURES and path.is_file() and path.stat().st_size < LARGEST // 4:
                found.append((path.suffix, path.read_bytes()))
    return found


PICTURES = frozenset(
    (
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".gif",
        ".webp",
        ".avif",
        ".heic",
        ".jxl",
        ".jp2",
        ".j2k",
        ".bmp",
        ".ppm",
    )
)


def _models() -> list[tuple[str, bytes]]:
    import torch

    from img2img.checkpoint import ModelInfo, save_model
    from img2img.models import generators

    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("compact", "rrdbnet", "resnet", "unet"):
            network = generators[name](**generators[name].tiny)
            path = Path(folder) / f"{name}.safetensors"
            save_model(path, network, ModelInfo())
            found.append((".safetensors", path.read_bytes()))
            for options in ({}, {"_use_new_zipfile_serialization": False}):
                path = Path(folder) / f"{name}.pth"
                torch.save({"params": network.state_dict(), "step": 3}, path, **options)
                found.append((".pth", path.read_bytes()))
    return found


def _texts() -> list[tuple[str, bytes]]:
    root = Path(__file__).resolve().parent.parent
    places = [*sorted((root / "configs").glob("*.yaml")), *sorted((root / "datasets").glob("*.yaml"))]
    found = [(".yaml", path.read_bytes()) for path in places]
    found.append((".yaml", b"- gamma: 1.2\n- resize: {long: 64}\n- crop: &a [1, 2]\n- sharpen: 0.5\n"))
    found.append((".yaml", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"))
    return found


def mutate(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """Returns `data` changed by one to eight mutations; `other` is a file to take parts from."""
    content = bytearray(data)
    for _ in range(int(random.integers(1, 9))):
        if not content:
            break
        size = len(content)
        # headers decide most, so half of all places lie in the first kilobyte
        at = int(random.integers(0, min(size, 1024) if random.random() < 0.5 else size))
        length = int(min(size - at, 2 ** random.integers(0, 12)))
        kind = int(random.integers(0, 10))
        if kind == 0:
            content[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 1:
            content[at] = int(random.choice((0, 1, 0x7F, 0x80, 0xFF)))
        elif kind == 2:
            value = int(random.choice((*_NUMBERS, size, size - at)))
            width = int(random.choice((2, 4, 8)))
            order = "little" if random.random() < 0.5 else "big"
            content[at : at + width] = (value % 256**width).to_bytes(width, order)
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length] * int(random.choice((1, 2, 16, 1024)))
        elif kind == 5:
            content[at : at + length] = bytes(length)
        elif kind == 6:
            content[at : at + length] = b"\xff" * length
        elif kind == 7:
            del content[at:]
        elif kind == 8 and other:
            start = int(random.integers(0, len(other)))
            content[at : at + length] = other[start : start + length]
        else:
            content[at : at + length] = random.integers(0, 256, length, np.uint8).tobytes()
        del content[LARGEST:]
    return bytes(content)


def case(number: int, seed: int, sources: dict[str, list[tuple[str, bytes]]]) -> tuple[str, str, bytes]:
    """Returns (target, extension, content) of a case."""
    random = np.random.default_rng((seed, number))
    target = ("image", "image", "image", "model", "recipe")[number % 5]
    files = sources[target]
    extension, data = files[int(random.integers(0, len(files)))]
    _, other = files[int(random.integers(0, len(files)))]
    return target, extension, mutate(data, other, random)


def run_case(target: str, path: Path) -> None:
    """Reads one file as img2img does for a user."""
    if target == "image":
        from img2img.image import read_image

        read_image(path)
    elif target == "model":
        from img2img.interop import open_checkpoint

        open_checkpoint(path)
    else:
        from img2img.data.download import open_recipe
        from img2img.errors import ConfigError
        from img2img.processors.recipe import read_recipe
        from img2img.training.experiment import read_experiment

        for read in (read_recipe, open_recipe, read_experiment):
            with suppress(ConfigError):
                read(str(path))


def child(seed: int, start: int, only: int | None) -> None:
    """Runs cases from `start` on, and prints a line before and after each."""
    from img2img.errors import Img2ImgError

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sources = seeds()
    numbers = [only] if only is not None else iter(range(start, 2**62))
    with tempfile.TemporaryDirectory() as folder:
        for target, files in sources.items():  # what is imported at first use is not of the case
            path = Path(folder) / f"intact{files[0][0]}"
            path.write_bytes(files[0][1])
            with suppress(Img2ImgError):
                run_case(target, path)
        for number in numbers:
            target, extension, content = case(number, seed, sources)
            path = Path(folder) / f"case{extension}"
            path.write_bytes(content)
            answers.write(json.dumps({"begin": number, "target": target}) + "\n")
            _reset_peak()
            before = _peak()
            started = time.perf_counter()
            outcome = "read"
            try:
                run_case(target, path)
            except Img2ImgError as error:
                outcome = type(error).__name__
            except Exception as error:  # noqa: BLE001  that is what is looked for
                outcome = f"! {type(error).__name__}: {error}"[:200]
            seconds = time.perf_counter() - started
            line = {"end": number, "outcome": outcome, "seconds": seconds, "memory": _peak() - before}
            answers.write(json.dumps(line) + "\n")


def _reset_peak() -> None:
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    """Returns the largest number of bytes that this process has held since the reset."""
    if sys.platform != "linux":
        return 0
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


class Watched:
    """The child process and what came of it."""

    def __init__(self, seed: int, start: int, only: int | None) -> None:
        command = [sys.executable, __file__, "--child", "--seed", str(seed), "--start", str(start)]
        command += [] if only is None else ["--only", str(only)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.begun: tuple[int, str] | None = None
        self.since = time.monotonic()
        self.late = False
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            time.sleep(0.2)
            if self.begun is not None and time.monotonic() - self.since > 4 * SECONDS:
                self.late = True
                self.process.kill()

    def lines(self) -> Any:
        """Yields (number, target, outcome, seconds, memory) until the child ends."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            if "begin" in line:
                self.begun, self.since = (line["begin"], line["target"]), time.monotonic()
            else:
                assert self.begun is not None
                number, target = self.begun
                self.begun = None
                yield number, target, line["outcome"], line["seconds"], line["memory"]
        if self.begun is not None:
            number, target = self.begun
            outcome = "! took too long" if self.late else f"! crashed ({self.process.wait()})"
            yield number, target, outcome, time.monotonic() - self.since, 0


def hunt(
    seed: int, start: int, seconds: float, only: int | None, report: Callable[[str], None]
) -> dict[str, Any]:
    """Runs cases for some time and returns counts and findings."""
    ends = time.monotonic() + seconds
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest = largest = (0.0, 0, "")
    findings = []
    number = start
    while time.monotonic() < ends:
        watched = Watched(seed, number, only)
        for number, target, outcome, took, memory in watched.lines():
            outcomes[target, outcome.partition(":")[0]] += 1
            slowest, largest = max(slowest, (took, number, target)), max(largest, (memory, number, target))
            if outcome.startswith("!") or took > SECONDS or memory > MEMORY:
                findings.append((number, target, outcome, round(took, 2), memory))
                report(f"case {number}: {target}: {outcome}, {took:.2f} s, {memory / 2**20:.0f} MiB")
            if time.monotonic() > ends:
                watched.process.kill()
                break
        number += 1
        if only is not None:
            break
    return {
        "seed": seed,
        "cases": sum(outcomes.values()),
        "outcomes": {f"{target}: {outcome}": n for (target, outcome), n in sorted(outcomes.items())},
        "slowest": {"seconds": round(slowest[0], 2), "case": slowest[1], "target": slowest[2]},
        "largest": {"MiB": round(largest[0] / 2**20), "case": largest[1], "target": largest[2]},
        "findings": findings,
    }


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long.")
@click.option("--seed", default=1, show_default=True, help="What the cases follow from.")
@click.option("--start", default=0, show_default=True, help="Number of the first case.")
@click.option("--only", type=int, help="Run this case alone.")
@click.option("--keep", type=click.Path(path_type=Path), help="Store the files of findings in this folder.")
@click.option("--child", "is_child", is_flag=True, hidden=True)
def main(minutes: float, seed: int, start: int, only: int | None, keep: Path | None, is_child: bool) -> None:
    """Look for crashes, hangs, hunger and unexpected errors."""
    if is_child:
        child(seed, start, only)
        return
    result = hunt(seed, start, 60 * minutes, only, lambda line: click.echo(line, err=True))
    if keep is not None and result["findings"]:
        keep.mkdir(parents=True, exist_ok=True)
        sources = seeds()
        for number, *_ in result["findings"]:
            target, extension, content = case(number, seed, sources)
            digest = hashlib.sha256(content).hexdigest()[:8]
            (keep / f"{target}-{number}-{digest}{extension}").write_bytes(content)
    click.echo(json.dumps(result, indent=1))
    raise SystemExit(1 if result["findings"] else 0)


if __name__ == "__main__":
    main()
