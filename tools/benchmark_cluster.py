"""The command `benchmark.py cluster`: what sharing a folder out over workers costs, and where it ends."""

from __future__ import annotations

import json
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil

from img2img.batch import Plan, claim, plan, run
from img2img.batch.cluster import ClusterJob, ClusterWorker, share_out
from img2img.batch.ray_workers import Crew, ray_workers
from img2img.image import Image, encode

_IN_A_FOLDER = 1000


class Identity:
    """A processor that returns what it gets: what remains is the engine and its coordination."""

    def group_key(self, image: Image) -> tuple[int, ...]:
        """Returns what images share that are handed over together."""
        return image.pixels.shape

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        """Returns the images."""
        return list(images)


@dataclass
class Spent:
    """What some work took: seconds on the clock, and of CPU time in this process, in workers and in Ray."""

    files: int
    wall: float = 0.0
    own: float = 0.0
    workers: float = 0.0
    ray: float = 0.0

    def per_file(self, name: str, less: Spent | None = None) -> float:
        """Returns the milliseconds of each file, or of each that is more than in `less`."""
        seconds, files = getattr(self, name), self.files
        if less is not None:
            seconds, files = seconds - getattr(less, name), files - less.files
        return 1e3 * float(seconds) / files


@click.command()
@click.option("--files", default=2000, show_default=True, help="Pictures that are shared out.")
@click.option("--side", default=8, show_default=True, help="Of each, in pixels.")
@click.option("--workers", default=4, show_default=True, help="Processes, of a thread each.")
@click.option("--minimum", default=0.5, show_default=True, help="Fail below this share of the CPU time.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to make temporary files. [default: the system's folder for them]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def cluster(files: int, side: int, workers: int, minimum: float, folder: Path | None, as_json: bool) -> None:
    """Share a folder of tiny pictures out over Ray workers, against one process that does a part of it.

    Everything is real (list, claim, pieces, decoding, encoding, fsync, manifests, Ray) but the operation,
    which does nothing, so that what remains is what each file costs beside its pixels. What counts is CPU
    time for each file, which other programs on the machine hardly disturb. A tenth of the folder comes
    first: what it takes more than its share is what starting takes. The run that shares out is one process,
    so it can keep as many workers busy as a file takes a worker's time of its own.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        root = Path(name)
        _make(root / "in", files, side)
        few = max(files // 10, workers)
        listing = Spent(files)
        with _measured(listing):
            planned = plan([root / "in"], root / "all")
        first = _first(plan([root / "in"], root / "few"), few)
        one = Spent(few)
        with _measured(one):
            done = _alone(_first(plan([root / "in"], root / "one"), few))
        with ray_workers("local", workers) as crew:
            spent = []
            for work in (first, planned):
                spent.append(Spent(len(work.items)))
                with claim(work), _measured(spent[-1]), _watched(spent[-1]):
                    done += _shared_out(work, crew)
        if done != files + 2 * few:
            raise click.ClickException("files failed")
        for path in (root / "one").rglob("*.png"):
            if path.read_bytes() != (root / "all" / path.relative_to(root / "one")).read_bytes():
                raise click.ClickException(f"{path.name} differs from what one process made")
        rows = sum(path.stat().st_size for path in (root / "all" / ".img2img").iterdir())
    start, many = spent
    each = {part: many.per_file(part, start) for part in ("own", "workers", "ray")}
    share = one.per_file("own") / (each["workers"] + each["own"])
    numbers: dict[str, Any] = {
        "files": files,
        "workers": workers,
        "seconds": {"wall": many.wall, "run": many.own, "workers": many.workers, "ray": many.ray},
        "milliseconds_of_cpu_per_file": {
            "one process": one.per_file("own"),
            "worker": each["workers"],
            "run, listing": listing.per_file("own"),
            "run, sharing out": each["own"],
            "ray": each["ray"],
        },
        "seconds_of_cpu_to_start_a_worker": (start.workers - each["workers"] * few / 1e3) / workers,
        "wall_time_ratio": one.per_file("wall") / many.per_file("wall"),
        "share_of_cpu_time": share,
        "workers_kept_busy": each["workers"] / each["own"],
        "manifest_bytes_per_file": rows / files,
        "peak_megabytes_of_the_run": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    if as_json:
        click.echo(json.dumps(numbers))
    else:
        for label, value in numbers.items():
            for kind, number in value.items() if isinstance(value, dict) else [("", value)]:
                click.echo(f"{label.replace('_', ' '):34} {kind:18} {number:12.4g}")
    if share < minimum:
        raise click.ClickException(f"one process needs less than {minimum} of the CPU time")


def _make(folder: Path, files: int, side: int) -> None:
    """Fills a folder with different pictures, a thousand in a folder."""
    rng = np.random.default_rng(0)
    for i in range(files):
        place = folder / str(i // _IN_A_FOLDER) / f"{i}.png"
        if i % _IN_A_FOLDER == 0:
            place.parent.mkdir(parents=True)
        place.write_bytes(encode(Image(rng.integers(0, 256, (side, side, 3), np.uint8)), ".png"))


def _first(planned: Plan, files: int) -> Plan:
    return replace(planned, items=planned.items[:files])


def _alone(planned: Plan) -> int:
    """Does the work in this process, in one thread for files; returns how many it did."""
    with claim(planned):
        return sum(result.status == "done" for result in run(planned, Identity(), settings={}, jobs=1))


def _shared_out(planned: Plan, crew: Crew) -> int:
    """Does the work by workers; returns how many files they did."""
    job = ClusterJob.of(planned, lambda: (Identity(), {}), crew.threads, {})
    results = share_out(planned, lambda number: crew.hire(number, job), crew.size)
    return sum(result.status == "done" for result in results)


@contextmanager
def _measured(spent: Spent) -> Iterator[None]:
    wall, own = time.perf_counter(), time.process_time()
    yield
    spent.wall += time.perf_counter() - wall
    spent.own += time.process_time() - own


@contextmanager
def _watched(spent: Spent) -> Iterator[None]:
    """Notes what the processes take that this one has started, while they live; workers end with the work."""
    seconds: dict[int, float] = {}
    workers: set[int] = set()
    end = threading.Event()

    def watch() -> None:
        while True:
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    seconds[process.pid] = sum(process.cpu_times()[:2])
                    if process.cmdline()[0].startswith(f"ray::{ClusterWorker.__name__}"):
                        workers.add(process.pid)
            if end.wait(2.0):
                spent.own -= time.thread_time()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    end.set()
    watcher.join()
    spent.workers = sum(seconds[pid] for pid in workers)
    spent.ray = sum(seconds.values()) - spent.workers
