"""The command of `benchmark.py` that measures videos: how near the whole comes to its slowest part."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import click
import numpy as np

from img2img.batch import Processor, plan, run
from img2img.image import EncodeOptions, Image, Limits
from img2img.processors import parse_operations
from img2img.video import VideoOptions
from img2img.video.assembly import assemble
from img2img.video.clip import Clip, frames, open_clip
from img2img.video.colour import ToPictures
from img2img.video.segments import SegmentFolder

_BATCH = 8


@click.command()
@click.option("--frames", "count", default=120, show_default=True, help="Of the clip.")
@click.option("--size", default="320x180", show_default=True, metavar="WxH", help="Of its frames.")
@click.option("--model", metavar="NAME|FILE", help="What makes the frames. [default: --op]")
@click.option("--op", "operation", default="blur=2", show_default=True, help="Instead of a model.")
@click.option("--rounds", default=3, show_default=True, help="Of each the fastest counts.")
@click.option("--minimum", default=0.0, help="Fail below this share of the ceiling.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def video(
    count: int, size: str, model: str | None, operation: str, rounds: int, minimum: float, as_json: bool
) -> None:
    """Decoding, the model and encoding alone, and the pipeline of all three.

    The ceiling is the time in which the pipeline cannot but take: that of its slowest part, or the processor
    time of all parts together shared by the cores, whichever is more.
    """
    width, height = map(int, size.split("x"))
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    process: Processor = _model(model) if model else parse_operations((operation,))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = _make(root / "clip.mp4", count, width, height)
        clip, _ = open_clip(source, Limits())
        pictures = [ToPictures(clip.colours, 1)(raw.frame) for raw in frames(clip, VideoOptions(), [])]
        results = _processed(process, pictures)
        parts = {
            "decode": _fastest(rounds, lambda: _decode(clip)),
            "model": _fastest(rounds, lambda: _processed(process, pictures)),
            "encode": _fastest(rounds, lambda: _encode(clip, results, root / "parts")),
        }
        whole = _fastest(rounds, lambda: _pipeline(source, process, root))
    slowest = max(parts, key=lambda name: parts[name][0])
    shared = sum(busy for _, busy in parts.values()) / cores
    ceiling = max(parts[slowest][0], shared)
    share = ceiling / whole[0]
    facts: dict[str, Any] = {
        "frames": count,
        "size": [width, height],
        "cores": cores,
        "load": round(load, 2),
        **{f"{name}_fps": round(count / wall, 1) for name, (wall, _) in parts.items()},
        "pipeline_fps": round(count / whole[0], 1),
        "ceiling_fps": round(count / ceiling, 1),
        "bound": slowest if parts[slowest][0] >= shared else "cores",
        "share": round(share, 3),
    }
    if as_json:
        click.echo(json.dumps(facts))
    else:
        for name, value in facts.items():
            click.echo(f"{name:14}{value}")
    if share < minimum:
        raise click.ClickException(f"the pipeline reaches {share:.0%} of its ceiling")


def _model(name: str) -> Processor:
    from img2img import load_model
    from img2img.weights import find_model

    return load_model(find_model(name))


def _make(path: Path, count: int, width: int, height: int) -> Path:
    """Writes a clip in which structures move across a gradient, with a little noise as of a camera."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            moved = np.roll(scene, 2 * index, 1)[:height, :width] * 0.7
            noisy = moved + rng.normal(20, 3, moved.shape)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noisy.clip(0, 255).astype(np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    return path


def _fastest(rounds: int, work: Callable[[], object]) -> tuple[float, float]:
    """Returns the least seconds, and processor seconds of all threads, that `work` takes."""
    taken = []
    for _ in range(rounds):
        started, busy = time.perf_counter(), time.process_time()
        work()
        taken.append((time.perf_counter() - started, time.process_time() - busy))
    return min(wall for wall, _ in taken), min(busy for _, busy in taken)


def _decode(clip: Clip) -> None:
    to_picture = ToPictures(clip.colours, clip.orientation)
    for raw in frames(clip, VideoOptions(), []):
        to_picture(raw.frame)


def _processed(process: Processor, pictures: Sequence[Image]) -> list[Image]:
    size = 1 if process.group_key(pictures[0]) is None else _BATCH
    groups = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    return [made for group in groups for made in process(group)]


def _encode(clip: Clip, results: Sequence[Image], folder: Path) -> None:
    parts = SegmentFolder(folder, {"round": time.time_ns()})
    parts.begin(clip, VideoOptions(), ".mp4", results[0])
    tick = round(Fraction(1, 25) / clip.time_base)
    for index, image in enumerate(results):
        parts.add(image, index * tick, tick, None)
    parts.finish()
    with (folder / "whole.mp4").open("w+b") as file:
        assert parts.encoding is not None
        assemble(clip, parts.encoding, parts.done, ".mp4", None, file, EncodeOptions())  # type: ignore[arg-type]
    parts.remove()


def _pipeline(source: Path, process: Processor, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as output:
        (result,) = run(plan([source], Path(output)), process, stop=threading.Event())
        if result.status != "done":
            raise click.ClickException(result.reason)
