"""Measures img2img on this machine: `python tools/benchmark.py COMMAND`.

Every number is a comparison inside one run, because machines differ and change their mind.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import click
import numpy as np

from img2img.batch import Plan, Summary, plan, run
from img2img.image import EncodeOptions, Image, encode, prepare, read_image, write_bytes, write_image
from img2img.threads import wait_passively

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
FOLDER = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to make temporary files. [default: the system's folder for them]",
)


class Commands(click.Group):
    """The commands here, and those in other files, which load when they are named."""

    elsewhere: ClassVar[dict[str, str]] = {
        "cluster": "benchmark_cluster",
        "degrade": "benchmark_degrade",
        "evaluate": "benchmark_evaluate",
        "fidelity": "benchmark_infer",
        "fused": "benchmark_infer",
        "infer": "benchmark_infer",
        "startup": "benchmark_startup",
        "train": "benchmark_train",
        "video": "benchmark_video",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns all names."""
        return sorted([*super().list_commands(ctx), *self.elsewhere])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Returns the command called `name`."""
        if name in self.elsewhere:
            command: click.Command = getattr(importlib.import_module(self.elsewhere[name]), name)
            return command
        return super().get_command(ctx, name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def benchmark() -> None:
    """Measure img2img on this machine."""


class Identity:
    """A processor that returns what it gets: what remains is the engine."""

    def group_key(self, image: Image) -> None:
        """Returns None: nothing is gained by company."""

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the images."""
        return list(images)


@benchmark.command()
@click.option("--images", default=200, show_default=True, help="JPEGs of 12 megapixels.")
@click.option("--rounds", default=5, show_default=True, help="Parts of the work that take turns.")
@click.option("--jobs", type=int, help="Threads of each loop. [default: usable CPUs]")
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Take the content from these pictures, enlarged. [default: gradients, shapes and noise]",
)
@click.option("--minimum", default=0.85, show_default=True, help="Fail below this ratio.")
@FOLDER
@JSON
def engine(
    images: int,
    rounds: int,
    jobs: int | None,
    photos: Path | None,
    minimum: float,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Compare the batch engine with plain thread pools.

    The reference does the same reading, decoding, encoding, fsync and renaming with the same number of
    threads, without plan, processor, limits on memory and manifest. The bare loop is OpenCV alone: no
    metadata, no checks, no fsync.
    """
    jobs = jobs or len(os.sched_getaffinity(0))
    seconds = dict.fromkeys(("engine", "reference", "bare cv2"), 0.0)
    cpu = dict(seconds)
    loops: list[tuple[str, Callable[[Path, Path, int], None]]] = [
        ("engine", _engine_loop),
        ("reference", _reference_loop),
        ("bare cv2", _bare_loop),
    ]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        parts = _make_photos(root / "in", images, rounds, photos)
        size = sum(path.stat().st_size for path in (root / "in").rglob("*.jpg"))
        for i, part in enumerate(parts):
            for step in range(len(loops)):  # each starts a round in turn
                label, loop = loops[(i + step) % len(loops)]
                output = root / label / str(i)
                output.mkdir(parents=True)
                started, used = time.perf_counter(), time.process_time()
                loop(part, output, jobs)
                seconds[label] += time.perf_counter() - started
                cpu[label] += time.process_time() - used
                made = len(list(output.glob("*.jpg")))
                if made != len(list(part.iterdir())):
                    raise click.ClickException(f"{label} made {made} files")
    ratio = seconds["reference"] / seconds["engine"]
    numbers = {
        "images": images,
        "megabytes": round(size / 1e6),
        "jobs": jobs,
        "seconds": {label: round(value, 2) for label, value in seconds.items()},
        "cpu_seconds": {label: round(value, 2) for label, value in cpu.items()},
        "images_per_second": {label: round(images / value, 2) for label, value in seconds.items()},
        "engine_to_reference": round(ratio, 3),
        "engine_to_bare_cv2": round(seconds["bare cv2"] / seconds["engine"], 3),
    }
    rows = [
        (label, f"{value:.1f} s", f"{images / value:.2f} images/s, {cpu[label]:.1f} s of CPU time")
        for label, value in seconds.items()
    ]
    rows += [("engine / reference", f"{ratio:.3f}", f"at least {minimum}")]
    rows += [("engine / bare cv2", f"{numbers['engine_to_bare_cv2']:.3f}", "")]
    _show(numbers, rows, as_json)
    _demand(ratio >= minimum, f"the engine has only {ratio:.2f} of the speed of the reference")


def _engine_loop(source: Path, output: Path, jobs: int) -> None:
    summary = Summary()
    for result in run(plan([source], output), Identity(), settings={}, jobs=jobs):
        summary.add(result)
    if summary.failures:
        raise click.ClickException(str(summary.failures[0]))


def _reference_loop(source: Path, output: Path, jobs: int) -> None:
    options = EncodeOptions()

    def convert(path: Path) -> None:
        image = prepare(read_image(path), ".jpg", options)
        write_bytes(encode(image, ".jpg", options), output / path.name)

    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(convert, sorted(source.iterdir())):
            pass


def _bare_loop(source: Path, output: Path, jobs: int) -> None:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, EncodeOptions().quality]

    def convert(path: Path) -> None:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise click.ClickException(f"OpenCV does not read {path}")
        cv2.imencode(".jpg", pixels, quality)[1].tofile(output / path.name)

    with ThreadPoolExecutor(jobs) as pool:
        for _ in pool.map(convert, sorted(source.iterdir())):
            pass


def _make_photos(folder: Path, count: int, parts: int, photos: Path | None) -> list[Path]:
    """Fills `parts` folders with `count` JPEGs of 4000 x 3000 pixels and returns the folders."""
    originals = sorted(photos.glob("*.jpg"))[:8] if photos else []
    contents = [_enlarged(path) for path in originals] or [_synthetic(seed) for seed in range(min(4, count))]
    encoded = [encode(Image(pixels), ".jpg", EncodeOptions(quality=92)) for pixels in contents]
    folders = [folder / str(i) for i in range(max(1, min(parts, count)))]
    for i in range(count):
        target = folders[i % len(folders)]
        target.mkdir(parents=True, exist_ok=True)
        (target / f"{i}.jpg").write_bytes(encoded[i % len(encoded)])
    return folders


def _enlarged(path: Path) -> np.ndarray[Any, Any]:
    import cv2

    return np.asarray(cv2.resize(read_image(path).pixels, (4000, 3000), interpolation=cv2.INTER_CUBIC))


def _synthetic(seed: int, height: int = 3000, width: int = 4000) -> np.ndarray[Any, Any]:
    """A picture that compresses about as a photograph does: slopes, edges, texture and sensor noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = rng.uniform(0, 6, 3).astype(np.float32)
    pixels = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        waves = np.sin(x / 500 + phase[channel]) + np.cos(y / 350 + x / 900 + phase[channel])
        pixels[..., channel] = 120 + 45 * waves
    for _ in range(60):
        centre_y, centre_x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(30, 400)
        inside = (y - centre_y) ** 2 + (x - centre_x) ** 2 < radius**2
        pixels[inside] += rng.uniform(-60, 60, 3).astype(np.float32)
    pixels += rng.normal(0, 4, (height, width, 1)).astype(np.float32)
    return pixels.clip(0, 255).astype(np.uint8)


@benchmark.command()
@click.option("--few", default=100, show_default=True)
@click.option("--many", default=10_000, show_default=True)
@click.option("--maximum", default=32.0, show_default=True, help="Fail above this growth in MiB.")
@FOLDER
@JSON
def memory(few: int, many: int, maximum: float, folder: Path | None, as_json: bool) -> None:
    """Compare the peak memory for few and for many small files, each in a process of its own."""
    peaks = {}
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        for count in (few, many):
            _make_small(root / f"in{count}", count)
            command = [sys.executable, __file__, "convert-folder", f"{root}/in{count}", f"{root}/out{count}"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks[count] = json.loads(done.stdout)
    growth = peaks[many]["peak_mib"] - peaks[few]["peak_mib"]
    numbers = {"files": peaks, "growth_mib": round(growth, 1)}
    rows = [
        (f"{count} files", f"{peak['peak_mib']:.0f} MiB", f"{count / peak['seconds']:.0f} images/s")
        for count, peak in peaks.items()
    ]
    _show(numbers, [*rows, ("growth", f"{growth:.1f} MiB", f"at most {maximum:.0f}")], as_json)
    _demand(growth <= maximum, f"memory grew by {growth:.0f} MiB")


@benchmark.command(hidden=True)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def convert_folder(source: Path, output: Path) -> None:
    """Convert a folder with the identity and print the peak memory; `memory` calls it."""
    started = time.perf_counter()
    done = sum(result.status == "done" for result in run(plan([source], output), Identity()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024**2 if sys.platform == "darwin" else 1024
    )
    click.echo(json.dumps({"done": done, "peak_mib": peak, "seconds": time.perf_counter() - started}))


def _make_small(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    write_image(Image(rng.integers(0, 256, (96, 128, 3), np.uint8)), folder / "0.jpg")
    data = (folder / "0.jpg").read_bytes()
    for i in range(1, count):
        place = folder / str(i // 500)
        place.mkdir(exist_ok=True)
        (place / f"{i}.jpg").write_bytes(data)


@benchmark.command("plan")
@click.option("--files", default=100_000, show_default=True)
@click.option("--maximum", default=10.0, show_default=True, help="Fail above this time in seconds.")
@FOLDER
@JSON
def plan_command(files: int, maximum: float, folder: Path | None, as_json: bool) -> None:
    """Measure how long it takes to plan a large folder."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        for i in range(0, files, 500):
            place = root / "in" / f"{i % 10}" / f"album {i}"
            place.mkdir(parents=True)
            for j in range(i, min(i + 500, files)):
                (place / f"IMG_{j}.jpg").touch()
        with _timed() as seconds:
            made: Plan = plan([root / "in"], root / "out")
        if len(made.items) != files:
            raise click.ClickException(f"{len(made.items)} of {files} files were planned")
        with _timed() as listing:
            listed = sum(len(names) for _, _, names in os.walk(root / "in"))
    numbers = {"files": listed, "seconds": round(seconds[0], 2), "os_walk_seconds": round(listing[0], 2)}
    rows = [
        ("plan", f"{seconds[0]:.2f} s", f"at most {maximum:.0f} s"),
        ("os.walk", f"{listing[0]:.2f} s", ""),
    ]
    _show(numbers, rows, as_json)
    _demand(seconds[0] <= maximum, f"planning took {seconds[0]:.1f} s")


@contextmanager
def _timed() -> Iterator[list[float]]:
    seconds: list[float] = []
    started = time.perf_counter()
    yield seconds
    seconds.append(time.perf_counter() - started)


def _show(numbers: dict[str, Any], rows: list[tuple[str, str, str]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(numbers))
        return
    for name, value, remark in rows:
        click.echo(f"{name:24}{value:>14}  {remark}".rstrip())


def _demand(condition: bool, sentence: str) -> None:
    if not condition:
        raise click.ClickException(sentence)


if __name__ == "__main__":
    wait_passively()  # as the command does
    benchmark()
