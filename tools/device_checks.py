"""The checks of `gpu_check.py`: `python tools/device_checks.py NAME [--device cuda] [--tiny]` runs one.

Each returns its figures, raises `SkippedError` with the reason, or fails with any other exception. The result
is the last line on stdout, as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import benchmark_train
import click
import numpy as np
import torch
from benchmark_infer import NETWORKS, conditions_of, fitting

import img2img
from img2img.checkpoint import ModelInfo, save_model
from img2img.image import Image, read_image, write_image
from img2img.image.tensor import to_pixels, to_tensor
from img2img.inference import Translator
from img2img.models import ArchSpec, Generator, build, generators
from img2img.training import Trainer, read_experiment, train
from img2img.training.memory_format import prepare_networks
from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

ROOT = Path(__file__).resolve().parent.parent
FARTHEST = {"fp32": 1e-2, "fp16": 5e-2, "bf16": 0.15}  # from the CPU's fp32, of the deviation of its values
SHALLOW = {"unet": {"downs": 5}, "resnet": {"blocks": 1}}  # what a compiler on a CPU is done with in a minute
SAME_LOSSES = {"graphs": 1e-3, "compile": 2e-2}  # as far apart may losses be, of themselves


class SkippedError(Exception):
    """This machine cannot do it."""


class FailedError(Exception):
    """It was done, and is wrong; `figures` tell."""

    def __init__(self, reason: str, figures: dict[str, Any]) -> None:
        super().__init__(reason)
        self.figures = figures


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a check runs, and whether it has to be small."""

    device: torch.device
    tiny: bool

    @property
    def is_cuda(self) -> bool:
        """Whether it is a CUDA device."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Waits until the device has done everything."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    @contextlib.contextmanager
    def peak(self, figures: dict[str, Any]) -> Iterator[None]:
        """Adds to `figures` the most MiB taken of the device within it; of a CPU nobody counts them."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        yield
        if self.is_cuda:
            figures["peak_mib"] = round(torch.cuda.max_memory_allocated(self.device) / 2**20)


# --- the machine


def machine(place: Place) -> dict[str, Any]:
    """Tells on what everything runs."""
    found = {
        "device": torch.cuda.get_device_name(place.device)
        if place.is_cuda
        else platform.processor() or "CPU",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "img2img": img2img.__version__,
        "threads": torch.get_num_threads(),
    }
    if place.is_cuda:
        free, total = torch.cuda.mem_get_info(place.device)
        found |= {
            "GPUs": torch.cuda.device_count(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability(place.device))),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "memory_mib": total // 2**20,
            "free_mib": free // 2**20,
        }
    return found


def marked_tests(place: Place) -> dict[str, Any]:
    """Runs the tests marked `gpu`."""
    files = [
        str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()
    ]
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
        done = subprocess.run([*command, f"--junitxml={results}"], cwd=ROOT, stdout=sys.stderr, check=False)
        if not results.exists():
            raise FailedError(f"pytest ended with code {done.returncode} and without results", {})
        cases = list(ET.parse(results).getroot().iter("testcase"))
    reasons = {
        kind: [c.find(kind) for c in cases if c.find(kind) is not None]
        for kind in ("skipped", "failure", "error")
    }
    failed = [c.get("name") for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = reasons["skipped"]
    figures = {"tests": len(cases), "failed": len(failed), "skipped": len(skipped)}
    if failed or done.returncode not in (0, 5):
        raise FailedError(
            f"failed: {', '.join(map(str, failed)) or f'pytest, code {done.returncode}'}", figures
        )
    if len(skipped) == len(cases):
        why = {str(each.get("message")) for each in skipped if each is not None}
        raise SkippedError(
            f"none of {len(cases)} tests ran: {', '.join(sorted(why)) or 'none is marked gpu'}"
        )
    return figures


# --- inference


def inference(place: Place, network: str) -> dict[str, Any]:
    """Compares the network in each precision with plain fp32 on the CPU, and its speed with a plain loop."""
    spec, usual = NETWORKS[network]
    if place.tiny:
        spec, usual = ArchSpec(spec.name, dict(generators[spec.name].tiny)), 24
    side, count = fitting(spec, usual), 2 if place.tiny else 8
    rng = np.random.default_rng(0)
    picture = rng.random((side, side, 3), np.float32)
    many = [Image((rng.random((side, side, 3)) * 255).astype(np.uint8)) for _ in range(count)]
    plain = fresh(spec)
    given = conditions_of(plain, side)
    own = {name: value[0].squeeze(0).numpy() for name, value in given.items()}  # as a Translator takes it
    with torch.no_grad():
        (expected,) = to_pixels(
            plain(to_tensor([picture], plain.input_range), **given), plain.output_range, np.float32
        )
    each = {name: [value] * count for name, value in own.items()}
    scale = float(expected.std())
    if not scale > 0:
        raise FailedError("the reference is constant, so nothing can be compared with it", {})
    baseline = fresh(spec).to(place.device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    translators = {
        name: Translator(fresh(spec), ModelInfo(), str(place.device), name, size="native", backend="eager")
        for name in FARTHEST
    }
    figures: dict[str, Any] = {"side": side, "baseline_images_per_second": 0.0}
    wrong = []
    for name, translator in translators.items():
        found = np.asarray(translator(picture, **own))
        error = float(np.sqrt(np.mean(np.square(found - expected))) / scale)
        figures[name] = {"error": round(error, 6)}
        if not error <= FARTHEST[name]:
            wrong.append(f"{name} is {error:.3g} from the CPU's fp32, of {FARTHEST[name]} allowed")
    speeds = paced(
        [
            lambda: plain_loop(baseline, place.device, many),
            *(lambda t=t: t(many, **each) for t in translators.values()),
        ],
        place,
    )
    figures["baseline_images_per_second"] = round(count / speeds[0], 2)
    for name, seconds in zip(translators, speeds[1:], strict=True):
        figures[name] |= {
            "images_per_second": round(count / seconds, 2),
            "ratio": round(speeds[0] / seconds, 2),
        }
        with place.peak(figures[name]):
            translators[name](many, **each)
    if wrong:
        raise FailedError("; ".join(wrong), figures)
    return figures


def compiled_inference(place: Place) -> dict[str, Any]:
    """Compares a network that torch.compile has compiled with the same one eager."""
    # norm layers under sizes that vary take the compiler minutes on a CPU
    spec = ArchSpec("compact", dict(generators["compact"].tiny)) if place.tiny else ArchSpec("resnet", {})
    side = 32 if place.tiny else 256
    picture = np.random.default_rng(0).random((side, side, 3), np.float32)
    made = {
        name: Translator(fresh(spec), ModelInfo(), str(place.device), "fp32", size="native", backend=name)
        for name in ("eager", "compile")
    }
    ready = made["compile"].prepare()
    if ready.name != "compile":
        raise SkippedError(ready.note)
    results = {name: np.asarray(translator(picture)) for name, translator in made.items()}
    seconds = paced([lambda t=t: t(picture) for t in made.values()], place)
    error = float(np.abs(results["eager"] - results["compile"]).max())
    figures = {
        "error": error,
        "ratio_to_eager": round(seconds[0] / seconds[1], 2),
        "prepared_in": round(ready.seconds, 1),
    }
    if not error <= 1e-2:
        raise FailedError("compiled, it computes something else", figures)
    return figures


def out_of_memory(place: Place) -> dict[str, Any]:
    """Lets the device run out of memory, and compares what is made in smaller parts then."""
    spec = ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2} if place.tiny else {})
    side = 200 if place.tiny else 2048
    picture = np.random.default_rng(0).random((side, side, 3), np.float32)
    expected = np.asarray(Translator(fresh(spec), device=str(place.device), precision="fp32")(picture))
    network, refused = fresh(spec), []
    if place.is_cuda:
        torch.cuda.empty_cache()
        # a quarter of what the whole picture takes, while the planning is told of a terabyte
        needed = side * side * network.live_features * 4 // 4
        torch.cuda.set_per_process_memory_fraction(
            needed / torch.cuda.mem_get_info(place.device)[1], place.device
        )
    else:
        refused = refusing(network, side * side // 8)
    small = Translator(network, device=str(place.device), precision="fp32", memory=2**40, tile=None)
    found = np.asarray(small(picture))
    times = int(torch.cuda.memory_stats(place.device)["num_ooms"]) if place.is_cuda else len(refused)
    figures = {
        "times": times,
        "provoked_by": "a limit for the process"
        if place.is_cuda
        else "torch.OutOfMemoryError raised in the network",
        "error": float(np.abs(found - expected).max()),
    }
    if not times:
        raise FailedError("the memory did not run out", figures)
    if not figures["error"] <= (1e-2 if place.is_cuda else 1e-4):
        raise FailedError("in smaller parts the picture is another", figures)
    return figures


def peak_memory(place: Place) -> dict[str, Any]:
    """Compares what a large picture takes with what it was allowed to take."""
    if not place.is_cuda:
        raise SkippedError(
            "memory is counted exactly on CUDA devices alone; tests/inference/test_large.py watches a CPU's"
        )
    spec = ArchSpec("rrdbnet", dict(generators["rrdbnet"].tiny) if place.tiny else {})
    side, allowed = (512, 64 * 2**20) if place.tiny else (1024, 2**30)
    translator = Translator(fresh(spec), device=str(place.device), precision="fp32", memory=allowed)
    weights = torch.cuda.memory_allocated(place.device)
    figures: dict[str, Any] = {"allowed_mib": allowed // 2**20}
    with place.peak(figures):
        translator(np.zeros((side, side, 3), np.uint8))
    figures["weights_mib"] = weights // 2**20
    if figures["peak_mib"] - figures["weights_mib"] > 1.25 * figures["allowed_mib"]:
        raise FailedError("it took more than it was allowed", figures)
    return figures


# --- several at once


def one_device_twice(place: Place) -> dict[str, Any]:
    """Enlarges a folder with two processes on one device, as with two devices, and with one."""
    name = f"{place.device.type}:0" if place.is_cuda else "cpu"
    spec = ArchSpec("compact", {"features": 8, "convs": 2, "scale": 2})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        save_model(root / "model.safetensors", fresh(spec), ModelInfo())
        pictures(root / "in", 6, 40)
        for devices, output in ((name, "one"), (f"{name},{name}", "two")):
            command = [sys.executable, "-m", "img2img", "upscale", str(root / "in"), "-o", str(root / output)]
            command += ["-m", str(root / "model.safetensors"), "--device", devices, "--precision", "fp32"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise FailedError(f"{devices}: exit code {done.returncode}, {done.stderr.strip()[-300:]}", {})
        made = {out: sorted((root / out).rglob("*.png")) for out in ("one", "two")}
        if [path.name for path in made["one"]] != [path.name for path in made["two"]] or len(
            made["one"]
        ) != 6:
            raise FailedError(
                "the two processes did not make the same files as one", {k: len(v) for k, v in made.items()}
            )
        apart = max(
            int(np.abs(read_image(a).pixels.astype(int) - read_image(b).pixels).max())
            for a, b in zip(made["one"], made["two"], strict=True)
        )
    figures = {"devices": f"{name},{name}", "pictures": 6, "levels_apart": apart}
    if apart > 1:
        raise FailedError("two processes make other pictures than one", figures)
    return figures


def two_processes(place: Place) -> dict[str, Any]:
    """Compares steps of two processes with those of one: by gloo on the CPU, and on GPUs if there are two."""
    case = "cyclegan, no pool"
    tool = [sys.executable, str(ROOT / "tools" / "processes.py"), "--case", case]
    done = subprocess.run(
        [*tool, "--steps", "2" if place.tiny else "10"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FailedError(f"two processes on the CPU: {done.stderr.strip()[-300:] or done.stdout}", {})
    found = json.loads(done.stdout)["largest_difference"][case]
    figures: dict[str, Any] = {"cpu (gloo), weights apart": found["weights"]}
    if place.is_cuda and torch.cuda.device_count() < 2:
        figures["cuda (nccl)"] = "skipped: one GPU, which NCCL does not let two processes share"
    elif place.is_cuda:
        with tempfile.TemporaryDirectory() as folder:
            data = pairs(Path(folder) / "pairs", 8)
            command = [sys.executable, "-m", "img2img", "train", "smoke_pix2pix", "--aligned", str(data)]
            command += ["-o", f"{folder}/run", "--device", "cuda", "--devices", "2", "--set", "steps=6"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise FailedError(
                    f"two GPUs: exit code {run.returncode}, {run.stderr.strip()[-300:]}", figures
                )
        figures["cuda (nccl)"] = "6 steps"
    return figures


# --- training


def resume(place: Place) -> dict[str, Any]:
    """Compares a run that stopped and went on with one that did not."""
    torch.backends.cudnn.deterministic = True
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = pairs(Path(folder) / "pairs", 8)
        sets = ["steps=8", "sample_every=0", "validate_every=0", "save_every=4", "log_every=1", "ema=0.9"]
        ways = {"eager": [], "graphs": ["cuda_graphs=true"]} if place.is_cuda else {"eager": []}
        for way, more in ways.items():
            made = [*sets, *more, f"device={place.device.type}"]
            experiment = read_experiment("smoke_pix2pix", made, source={"aligned": str(data)})
            train(experiment, Path(folder) / f"{way} straight")
            broken = Path(folder) / f"{way} broken"
            stopped = train(experiment, broken, stop=after(4))
            assert stopped.stopped and stopped.step == 4
            train(experiment, broken, resume=True)
            one, other = (
                torch.load(max((Path(folder) / name / "states").glob("*.pt")), weights_only=True)["trainer"][
                    "method"
                ]
                for name in (f"{way} straight", f"{way} broken")
            )
            squares = [(one[key].double() - other[key].double()).square() for key in one]
            apart = math.sqrt(sum(float(e.sum()) for e in squares) / sum(e.numel() for e in squares))
            figures[way] = {"weights_apart": apart}
    worst = max(each["weights_apart"] for each in figures.values())
    if worst > (2e-5 if place.is_cuda else 0):  # a tenth of the way of one step
        raise FailedError("a run that stopped and went on is not the run that never stopped", figures)
    return figures


def after(steps: int) -> Callable[[], bool]:
    """Returns what asks a run to stop after so many steps."""
    asked = iter(range(steps + 1))  # the first question comes before the first step
    return lambda: next(asked) == steps


def training(place: Place, name: str, way: str) -> dict[str, Any]:
    """Compares steps of a kind with eager ones, and eager ones with the plain loop and the CPU."""
    if way == "graphs" and not place.is_cuda:
        raise SkippedError(f"CUDA graphs are for CUDA devices, and this is a {place.device.type}")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    usual = benchmark_train.WORKLOADS[name]
    generator = {**usual.method["generator"], "dropout": False}
    if place.tiny:
        generator |= SHALLOW[generator["name"]]
    workload = dataclasses.replace(usual, method={**usual.method, "generator": generator})
    features, side = (4, 32) if place.tiny else (None, 256)
    torch.manual_seed(0)
    batches = benchmark_train._batches(workload.make(features), side, 1, torch.device("cpu"))
    steps = 3 if place.tiny else 10

    def trainer(device: torch.device, precision: str, **more: bool) -> Trainer:
        settings = TrainingSettings.model_validate(
            {"steps": 1, "betas": workload.betas, "device": device.type, "precision": precision, **more}
        )
        runtime = Runtime(settings.device, precision=settings.precision)
        method = workload.make(features)
        prepare_networks(method, settings, runtime)
        method.begin("")
        return Trainer(method, settings, runtime, lambda step, group: benchmark_train.RATE)

    wanted = {"eager": {}, "graphs": {"cuda_graphs": True}, "compile": {"compile": True}}[way]
    there = [moved(batch, place.device) for batch in batches]
    with Warnings() as said:
        plain = trainer(torch.device("cpu") if way == "eager" else place.device, "fp32")
        expected = losses(plain, batches if way == "eager" else there, 2 if way == "eager" else steps)
        own = trainer(place.device, "fp32", **wanted)
        if said.lines:
            raise SkippedError(said.lines[0])
        found = losses(own, there, steps)
    apart = max(
        abs(each[key] - value) / (abs(value) + 0.01)
        for each, theirs in zip(found, expected, strict=False)
        for key, value in theirs.items()
    )
    figures: dict[str, Any] = {"side": side, "batch": 1, "losses_apart": round(apart, 6)}
    figures["compared_with"] = "two steps on the CPU" if way == "eager" else f"{steps} eager steps"
    runners = {
        "baseline (plain loop, fp32)": benchmark_train._baseline(workload, features, place.device).step
    }
    runners |= {"eager fp32": plain.step} if way != "eager" else {}
    runners |= {f"{way} fp32": own.step, f"{way} auto": trainer(place.device, "auto", **wanted).step}
    for label, step in runners.items():
        figures[label] = {}
        with place.peak(figures[label]):
            figures[label]["steps_per_second"] = round(pace(step, there, place), 3)
    if said.lines:
        raise FailedError(said.lines[0], figures)
    if not all(math.isfinite(value) for each in found for value in each.values()):
        raise FailedError("a loss is not a finite number", figures)
    if not apart <= SAME_LOSSES.get(way, 2e-2):
        raise FailedError(f"the losses are not those of {figures['compared_with']}", figures)
    return figures


class Warnings(logging.Handler):
    """Within it, keeps what is logged as a warning by the training."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one."""
        self.lines.append(record.getMessage())

    def __enter__(self) -> Warnings:
        logging.getLogger("img2img.training").addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger("img2img.training").removeHandler(self)


def losses(trainer: Trainer, batches: Sequence[Batch], steps: int) -> list[dict[str, float]]:
    """Returns the losses of each of `steps` steps."""
    torch.manual_seed(1)
    found = []
    for number in range(steps):
        trainer.step(batches[number % len(batches)])
        means = trainer.means()
        found.append({name: value for name, value in means.items() if not name.startswith("norm_")})
    return found


def pace(step: Any, batches: Sequence[Batch], place: Place) -> float:
    """Returns steps a second, after some that are not counted: a graph is recorded in them."""
    count = 2 if place.tiny else 20
    for number in range(1 if not place.is_cuda else 6):
        step(batches[number % len(batches)])
    place.wait()
    started = time.perf_counter()
    for number in range(count):
        step(batches[number % len(batches)])
    place.wait()
    return count / (time.perf_counter() - started)


def moved(batch: Batch, device: torch.device) -> Batch:
    """Returns the batch on `device`."""
    return batch.map(lambda tensor: tensor.to(device))


# --- what they share


def fresh(spec: ArchSpec) -> Generator:
    """Returns the network with random weights, always the same."""
    torch.manual_seed(0)
    return build(spec).eval()


def refusing(network: Generator, limit: int) -> list[int]:
    """Lets calls with more than `limit` pixels run out of memory; returns the list that they are noted in."""
    refused: list[int] = []

    def refuse(module: Any, inputs: tuple[Any, ...]) -> None:
        x = inputs[0]
        if (pixels := x.shape[0] * x.shape[2] * x.shape[3]) > limit:
            refused.append(pixels)
            raise torch.OutOfMemoryError(f"{pixels} pixels are too many")

    network.register_forward_pre_hook(refuse)
    return refused


def plain_loop(generator: Generator, device: torch.device, images: Sequence[Image]) -> None:
    """Does what a plain script does with pictures in memory."""
    with torch.no_grad():
        for image in images:
            x = to_tensor([image.pixels], generator.input_range, device=device)
            given = {
                name: value.to(device) for name, value in conditions_of(generator, len(image.pixels)).items()
            }
            to_pixels(generator(x, **given), generator.output_range)


def paced(calls: Sequence[Any], place: Place, rounds: int = 3) -> list[float]:
    """Returns the median seconds of each; they take turns, after one call that is not counted."""
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(2 if place.tiny else rounds + 1):
        for times, call in zip(seconds, calls, strict=True):
            place.wait()
            started = time.perf_counter()
            call()
            place.wait()
            if turn:
                times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in seconds]


def pictures(folder: Path, count: int, side: int) -> None:
    """Fills a folder with PNGs of noise."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        folder.mkdir(exist_ok=True)
        write_image(Image(pixels), folder / f"{number}.png")


def pairs(folder: Path, count: int) -> Path:
    """Fills a folder with side-by-side PNGs: noise and its negative."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        write_image(Image(np.concatenate((pixels, 255 - pixels), 1)), folder / f"{number}.png")
    return folder


PLAIN = {
    "machine": machine,
    "tests marked gpu": marked_tests,
    "out of memory": out_of_memory,
    "peak memory": peak_memory,
    "one device named twice": one_device_twice,
    "two processes": two_processes,
    "resume": resume,
    "compiled inference": compiled_inference,
}


def check(name: str, place: Place) -> dict[str, Any]:
    """Runs the check called `name` and returns its figures."""
    if name in PLAIN:
        return PLAIN[name](place)
    kind, _, rest = name.partition(" ")
    if kind == "training":
        return training(place, *rest.split(", "))
    return inference(place, rest)


@click.command()
@click.argument("name")
@click.option("--device", default="auto")
@click.option("--tiny", is_flag=True)
def main(name: str, device: str, tiny: bool) -> None:
    """Run one check and print its result as the last line."""
    os.environ.setdefault("XDG_CACHE_HOME", tempfile.gettempdir())
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    status, reason, figures = "passed", "", {}
    try:
        if device == "cuda" and not torch.cuda.is_available():
            raise FailedError("torch finds no CUDA device here", {})
        figures = check(name, Place(torch.device(device), tiny))
    except SkippedError as skipped:
        status, reason = "skipped", str(skipped)
    except FailedError as failed:
        status, reason, figures = "failed", str(failed), failed.figures
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the result of this check
        traceback.print_exc()
        status, reason = "failed", f"{type(error).__name__}: {str(error).strip()[:500]}"
    click.echo("\n" + json.dumps({"status": status, "reason": reason, "figures": figures}))


if __name__ == "__main__":
    main()
