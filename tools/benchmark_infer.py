"""The commands of `benchmark.py` that measure networks: the speed of a folder, and how exact bf16 is."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

import click
import cv2
import numpy as np
import psutil
import torch
from benchmark_machine import ceilings, higher, machine, neighbours, options
from torch.utils.flop_counter import FlopCounterMode

from img2img.batch import Summary, plan, run
from img2img.batch.companions import Place
from img2img.checkpoint import ModelInfo
from img2img.fields import Vector
from img2img.image import Image, discover, read_image, write_image
from img2img.image.resize import resize
from img2img.image.tensor import to_pixels, to_tensor
from img2img.inference import Translator, load_model
from img2img.inference.precision import DTYPES, choose_device
from img2img.models import ArchSpec, Generator, build
from img2img.models import fused as fused_kernels
from img2img.weights import find_model

NETWORKS = {  # every architecture at its usual arguments, with the usual side of its inputs
    "adain": (ArchSpec("adain"), 256),
    "autoencoder": (ArchSpec("autoencoder"), 64),
    "compact": (ArchSpec("compact"), 128),
    "cut_resnet": (ArchSpec("cut_resnet"), 256),
    "dtn": (ArchSpec("dtn"), 128),
    "edsr": (ArchSpec("edsr"), 128),
    "edsr_paper": (ArchSpec("edsr_paper"), 128),
    "flow_unet": (ArchSpec("flow_unet"), 64),
    "msrresnet": (ArchSpec("msrresnet"), 128),
    "nafnet": (ArchSpec("nafnet"), 256),
    "partial_unet": (ArchSpec("partial_unet"), 256),
    "pix2pixhd": (ArchSpec("pix2pixhd"), 256),
    "plksr_tiny": (ArchSpec("plksr", {"blocks": 12, "kernel": 13, "attention": False}), 128),
    "realplksr": (ArchSpec("realplksr"), 128),
    "resnet9": (ArchSpec("resnet"), 256),
    "rrdbnet": (ArchSpec("rrdbnet"), 128),
    "spade_resnet": (ArchSpec("spade_resnet"), 256),
    "span": (ArchSpec("span", {"skip": True}), 128),
    "srresnet": (ArchSpec("srresnet"), 128),
    "stargan": (ArchSpec("stargan"), 256),
    "style_resnet": (ArchSpec("style_resnet"), 256),
    "unet256": (ArchSpec("unet"), 256),
}
BACKENDS = ("auto", "eager", "compile", "openvino", "onnxruntime")
BATCH = 8  # images that the engine hands over at once


@dataclass
class Runner:
    """One way through the folder, and what it took so far.

    Attributes:
        label: For the table.
        precision: Of the network, for its ceiling.
        prepared: Seconds before the first picture: compiling, converting, comparing.
        seconds: For all pictures.
        peak: Bytes that the process held at most while this one ran.
    """

    label: str
    precision: str = "fp32"
    prepared: float = 0.0
    seconds: float = 0.0
    peak: int = 0
    rounds: list[float] = field(default_factory=list)

    def __call__(self, source: Path, output: Path) -> int:
        """Makes a picture in `output` for each in `source`; returns the peak of the process in bytes."""
        raise NotImplementedError


class Baseline(Runner):
    """A plain script in a process of its own, which sets neither how threads wait nor what malloc keeps."""

    def __init__(self, spec: ArchSpec, device: torch.device) -> None:
        super().__init__("baseline")
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, spec, str(device), torch.get_num_threads())
        ours = os.environ.pop("OMP_WAIT_POLICY", None)  # as `wait_passively` has it
        context.Process(target=_plain_script, args=arguments, daemon=True).start()
        if ours:
            os.environ["OMP_WAIT_POLICY"] = ours
        theirs.close()
        self.connection.recv()

    def __call__(self, source: Path, output: Path) -> int:
        """See `Runner`."""
        self.connection.send((source, output))
        return int(self.connection.recv())


def _plain_script(connection: Connection, spec: ArchSpec, device: str, threads: int) -> None:
    """Does what a plain script does: fp32, contiguous, eager, one picture after the other, all in one thread.

    Answers each pair of folders with the peak of its memory in bytes.
    """
    torch.set_num_threads(threads)
    generator = fresh(spec).to(device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    connection.send(0)
    with contextlib.suppress(EOFError), torch.no_grad():
        while True:
            source, output = connection.recv()
            _reset_peak()
            for path in sorted(source.iterdir()):
                pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
                x = to_tensor(np.ascontiguousarray(pixels), generator.input_range, device=device)
                given = {
                    name: value.to(device) for name, value in conditions_of(generator, len(pixels)).items()
                }
                (made,) = to_pixels(generator(x, **given), generator.output_range)
                cv2.imencode(".png", made[..., ::-1])[1].tofile(output / path.name)
            connection.send(_peak())


class Toolkit(Runner):
    """The batch engine and a Translator: what `img2img translate` and `upscale` do."""

    def __init__(self, generator: Generator, device: torch.device, backend: str, precision: str) -> None:
        super().__init__(backend)
        started = time.perf_counter()
        self.translator = Translator(
            generator, ModelInfo(), str(device), precision, size="native", backend=backend
        )
        ready = self.translator.prepare()
        self.prepared = time.perf_counter() - started
        self.precision = ready.precision
        self.label = f"{backend} {precision} ({ready.name} {ready.precision})"
        if ready.note:
            click.echo(ready.note, err=True)

    def __call__(self, source: Path, output: Path) -> int:
        """See `Runner`."""
        _reset_peak()
        summary = Summary()
        places: dict[str, Place] = {}
        generator = self.translator.generator
        side = len(read_image(next(source.iterdir())).pixels) if generator.conditions else 0
        for name, value in conditions_of(generator, side).items():
            if generator.conditions[name].spatial:
                places[name] = source.parent / f"{source.name}_{name}.png"
                write_image(Image(value[0].permute(1, 2, 0).mul(255).byte().numpy()), places[name])
            else:
                places[name] = value[0].tolist()
        for result in run(plan([source], output, companions=places), self.translator, batch_size=BATCH):
            summary.add(result)
        if summary.failures:
            raise click.ClickException(str(summary.failures[0]))
        return _peak()


@click.command()
@click.option(
    "--network",
    "networks",
    type=click.Choice([*NETWORKS, "all"]),
    multiple=True,
    default=["resnet9"],
    show_default=True,
    help="Repeatable; each is compared with a baseline of its own.",
)
@click.option("--images", default=32, show_default=True)
@click.option("--size", type=int, help="Side of the pictures. [default: 128 to enlarge, else 256]")
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    default=["auto"],
    show_default=True,
    help="Repeatable: all are compared with one baseline.",
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["auto", *DTYPES]),
    multiple=True,
    default=["fp32", "auto"],
    show_default=True,
    help="Repeatable: every backend computes in each of them.",
)
@options
@click.option("--device", default="auto", show_default=True)
@click.option("--rounds", default=4, show_default=True, help="Parts of the work that take turns.")
@click.option(
    "--photos",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Cut the pictures out of these. [default: slopes and noise]",
)
@click.option("--minimum", type=float, help="Fail if the slowest backend is not this many times as fast.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to make temporary files. [default: the system's folder for them]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each network, not a table.")
def infer(
    networks: tuple[str, ...],
    images: int,
    size: int | None,
    backends: tuple[str, ...],
    precisions: tuple[str, ...],
    threads: int | None,
    busy: int,
    device: str,
    rounds: int,
    photos: Path | None,
    minimum: float | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Compare a folder through img2img with a plain loop: same network, random weights.

    The baseline is what scripts do: fp32, contiguous, eager, one picture at a time, decoding and encoding
    in line, in a process of its own. All take turns. Compiling and converting is excluded and printed apart.
    """
    if threads:
        torch.set_num_threads(threads)
    place, worst = choose_device(device), math.inf
    for name in NETWORKS if "all" in networks else networks:
        spec, usual = NETWORKS[name]
        ways = [(backend, precision) for backend in backends for precision in precisions]
        with tempfile.TemporaryDirectory(dir=folder) as root:
            side = fitting(spec, size or usual)
            numbers = compare(spec, side, place, ways, images, rounds, busy, photos, Path(root))
        numbers = {"network": name, "size": side, "images": images} | numbers
        click.echo(json.dumps(numbers) if as_json else _table(numbers))
        worst = min(worst, *(entry["ratio"] for entry in numbers["runs"][1:]))
    if minimum is not None and worst < minimum:
        raise click.ClickException(f"{worst:.2f} times the baseline, less than {minimum}")


def compare(
    spec: ArchSpec,
    side: int,
    device: torch.device,
    ways: Sequence[tuple[str, str]],
    images: int,
    rounds: int,
    busy: int,
    photos: Path | None,
    root: Path,
) -> dict[str, Any]:
    """Returns what was measured for one network, ready for JSON.

    Args:
        spec: The network.
        side: Of the pictures.
        device: Where all compute.
        ways: Backend and precision of each way that is compared with the baseline.
        images: Pictures in all rounds together.
        rounds: How often all take turns.
        busy: Processes that keep a core busy each meanwhile.
        photos: What the pictures are cut out of; None makes some.
        root: An empty folder for pictures.
    """
    flops = flops_of(spec, side)
    runners = _runners(spec, device, ways)
    parts = _make_parts(root / "in", images, rounds, side, photos)
    before = ceilings(device)
    with neighbours(busy):
        for i, part in enumerate([parts[0], *parts]):  # the first time nothing is counted
            for step in range(len(runners)):
                runner = runners[(i + step) % len(runners)]
                output = root / "out" / f"{i} {runner.label}"
                output.mkdir(parents=True)
                _measure(runner, part, output, counted=i > 0)
                if len(list(output.glob("*.png"))) != len(list(part.iterdir())):
                    raise click.ClickException(f"{runner.label} did not make all pictures")
    ceiling = higher(before, ceilings(device))
    return {"machine": machine(device, busy), "busy": busy} | _numbers(runners, images, flops, ceiling)


def _runners(spec: ArchSpec, device: torch.device, ways: Sequence[tuple[str, str]]) -> list[Runner]:
    baseline = Baseline(spec, device)  # it starts before malloc is told anything here
    return [baseline, *(Toolkit(fresh(spec), device, backend, precision) for backend, precision in ways)]


def fresh(spec: ArchSpec) -> Generator:
    """Returns the network with the same random weights in every process."""
    torch.manual_seed(0)
    return build(spec).eval()


def _measure(runner: Runner, source: Path, output: Path, counted: bool) -> None:
    started = time.perf_counter()
    peak = runner(source, output)
    seconds = time.perf_counter() - started
    if counted:
        runner.rounds.append(seconds)
        runner.seconds += seconds
        runner.peak = max(runner.peak, peak)
    else:
        runner.prepared += seconds if "compile" in runner.label else 0.0  # graphs for these shapes


def _numbers(runners: Sequence[Runner], images: int, flops: int, limits: dict[str, float]) -> dict[str, Any]:
    baseline = runners[0]
    runs = []
    for runner in runners:
        speed = flops * images / runner.seconds / 1e9
        ceiling = limits["fp32" if runner.precision == "fp32" else "bf16"]
        ratios = [ours / theirs for ours, theirs in zip(baseline.rounds, runner.rounds, strict=True)]
        runs.append(
            {
                "name": runner.label,
                "images_per_second": round(images / runner.seconds, 3),
                "ratio": round(baseline.seconds / runner.seconds, 2),
                "ratio_of_rounds": [round(min(ratios), 2), round(max(ratios), 2)],
                "gflops": round(speed, 1),
                "share_of_ceiling": round(speed / ceiling, 3),
                "peak_mib": round(runner.peak / 2**20),
                "prepare_seconds": round(runner.prepared, 2),
            }
        )
    rounded = {name: round(value, 1) for name, value in limits.items()}
    return {"gflop_per_image": round(flops / 1e9, 2), "ceiling_gflops": rounded, "runs": runs}


def _table(numbers: dict[str, Any]) -> str:
    limits = ", ".join(f"{name} {value:.0f}" for name, value in numbers["ceiling_gflops"].items())
    lines = [
        f"{numbers['network']}, {numbers['images']} pictures of {numbers['size']}x{numbers['size']}, "
        f"{numbers['gflop_per_image']:.1f} GFLOP each, on {numbers['machine']}",
        f"matrix products: {limits} GFLOP/s",
        f"{'':34}{'images/s':>10}{'ratio':>8}{'(rounds)':>14}{'GFLOP/s':>10}{'of ceiling':>12}{'peak':>11}"
        f"{'prepared in':>13}",
    ]
    for entry in numbers["runs"]:
        low, high = entry["ratio_of_rounds"]
        lines.append(
            f"{entry['name']:34}{entry['images_per_second']:10.2f}{entry['ratio']:8.2f}"
            f"{f'({low:.2f}-{high:.2f})':>14}{entry['gflops']:10.0f}{entry['share_of_ceiling']:12.0%}"
            f"{entry['peak_mib']:7} MiB{entry['prepare_seconds']:11.1f} s"
        )
    return "\n".join(lines)


def fitting(spec: ArchSpec, side: int) -> int:
    """Returns the smallest side from `side` on that the network takes without padding."""
    with torch.device("meta"):
        generator = build(spec)
    unit = generator.multiple_of
    return -(-max(side, generator.minimum_size) // unit) * unit


def conditions_of(generator: Generator, side: int) -> dict[str, torch.Tensor]:
    """Returns the further inputs of a network for one picture of side x side pixels: a square hole, zeros."""
    given = {}
    for name, kind in generator.conditions.items():
        if isinstance(kind, Vector):
            given[name] = torch.zeros(1, kind.size or 1)
        else:
            given[name] = torch.zeros(1, 1, side, side)
            given[name][..., side // 4 : side // 2, side // 4 : side // 2] = 1
    return given


def flops_of(spec: ArchSpec, side: int) -> int:
    """Returns the floating-point operations of a network for one picture of side x side pixels."""
    with torch.device("meta"):
        generator = build(spec).eval()
        x = torch.empty(1, generator.in_channels, side, side)
        given = {name: value.to("meta") for name, value in conditions_of(generator, side).items()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator(x, **given)
    return int(counter.get_total_flops())


def _reset_peak() -> None:
    """Forgets the peak so far, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Returns the peak of the process since it was reset, or ever, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _make_parts(folder: Path, count: int, rounds: int, side: int, photos: Path | None) -> list[Path]:
    """Fills `rounds` folders with `count` PNGs of side x side pixels and returns the folders."""
    rng = np.random.default_rng(0)
    originals = [read_image(path).pixels for path in _pictures(photos)] if photos else []
    originals = [p for p in originals if p.shape[2] == 3 and min(p.shape[:2]) >= side and p.dtype == np.uint8]
    if photos and not originals:
        raise click.ClickException(f"{photos} has no 8-bit colour picture of {side} pixels or more")
    folders = [folder / str(i) for i in range(max(1, min(rounds, count)))]
    for i in range(count):
        if originals:
            pixels = originals[i % len(originals)]
            top, left = (rng.integers(length - side + 1) for length in pixels.shape[:2])
            pixels = pixels[top : top + side, left : left + side]
        else:
            y, x, c = np.ogrid[0:side, 0:side, 0:3]
            waves = np.sin(x / rng.uniform(5, 40) + c) + np.cos(y / rng.uniform(5, 40) - c)
            pixels = (128 + 50 * waves + rng.normal(0, 4, (side, side, 3))).clip(0, 255).astype(np.uint8)
        target = folders[i % len(folders)]
        target.mkdir(parents=True, exist_ok=True)
        write_image(Image(np.ascontiguousarray(pixels)), target / f"{i}.png")
    return folders


def _pictures(folder: Path) -> list[Path]:
    return [found.path for found in discover(folder) if found.problem is None]


@click.command()
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint with real weights; repeatable.",
)
@click.option("--photos", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--precision", default="bf16", show_default=True)
@click.option("--backend", type=click.Choice(BACKENDS), default="eager", show_default=True)
@click.option("--minimum", default=50.0, show_default=True, help="Fail below this PSNR in dB.")
@click.option("--within", default=0.999, show_default=True, help="Fail below this share within 4 levels.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def fidelity(
    models: tuple[Path, ...],
    photos: Path,
    precision: str,
    backend: str,
    minimum: float,
    within: float,
    as_json: bool,
) -> None:
    """Compare 8-bit results in half precision with those in fp32, on real weights and real pictures."""
    rows = []
    for model in models:
        full = load_model(model, precision="fp32", backend="eager")
        half = load_model(model, precision=precision, backend=backend)
        for path in _pictures(photos):
            image = read_image(path)
            (expected,), (found,) = full([image]), half([image])
            difference = np.abs(expected.pixels.astype(int) - found.pixels)
            error = float(np.mean(np.square(difference)))
            rows.append(
                {
                    "model": model.name,
                    "picture": path.name,
                    "psnr": round(10 * math.log10(255**2 / error), 2) if error else math.inf,
                    "within_4": round(float((difference <= 4).mean()), 6),
                    "largest": int(difference.max()),
                }
            )
    if not rows:
        raise click.ClickException(f"{photos} has no pictures")
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            click.echo(
                f"{row['model']:28} {row['picture']:24} {row['psnr']:6.2f} dB  "
                f"{row['within_4']:.3%} within 4 levels, largest {row['largest']}"
            )
    if min(row["psnr"] for row in rows) < minimum or min(row["within_4"] for row in rows) < within:
        raise click.ClickException(f"{precision} is not within {minimum:g} dB and {within:.1%} of fp32")


@click.command()
@click.option("-m", "--model", "models", multiple=True, default=("x4", "photo", "clean"), show_default=True)
@click.option("--size", default=320, show_default=True, help="Side of the picture in pixels.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def fused(models: tuple[str, ...], size: int, rounds: int, as_json: bool) -> None:
    """Compare bf16 with ReLUs and sums in one pass with the convolutions to two passes, on this CPU."""
    kernels = fused_kernels._kernels()
    if not kernels:
        raise click.ClickException("this CPU or torch has no kernels for bf16 in one pass")
    levels = np.random.default_rng(0).integers(0, 256, (size // 4, size // 4, 3), np.uint8)
    picture = Image(resize(levels, size, size))
    rows = []
    for name in models:
        file = find_model(name)
        exact = load_model(file, device="cpu", precision="fp32", backend="eager")([picture])[0].pixels
        model = load_model(file, device="cpu", precision="bf16", backend="eager")
        seconds: dict[str, list[float]] = {"two": [], "one": []}
        errors = {}
        for number in range(rounds + 1):
            for passes, own in (("two", {}), ("one", kernels)):
                with mock.patch.object(fused_kernels, "_kernels", lambda own=own: own):
                    started = time.perf_counter()
                    (made,) = model([picture])
                    took = time.perf_counter() - started
                if number:  # the first is not counted
                    seconds[passes].append(took)
                errors[passes] = float(np.abs(made.pixels.astype(int) - exact.astype(int)).mean())
        best = {passes: min(found) for passes, found in seconds.items()}
        rows.append(
            {
                "model": file.stem,
                "ratio": round(best["one"] / best["two"], 3),
                "seconds": {passes: round(found, 4) for passes, found in best.items()},
                "error": {passes: round(found, 4) for passes, found in errors.items()},
            }
        )
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(
            f"{row['model']:20} {row['ratio']:.2f} of the time; mean difference from fp32 "
            f"{row['error']['one']:.3f} levels, in two passes {row['error']['two']:.3f}"
        )
