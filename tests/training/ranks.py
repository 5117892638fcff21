"""One of two processes that train together: `python ranks.py WHAT RANK FOLDER PORT...`, for tests of them.

The scenarios follow each other in one pair of processes, because starting one takes seconds. Each leaves
`NAME.RANK.json` with what was said and how it ended.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from img2img.errors import Img2ImgError
from img2img.training import Watch, read_experiment, run, train

STEPS = 3  # of the comparison with one process
# of the controller of ADA: a correction comes after two steps, and is a millionth or large
CALM = {"target": 0.0, "interval": 2, "kimg": 1e6, "p": 1e-6}
BUSY = {"target": 0.0, "interval": 2, "kimg": 0.04, "p": 0.5}
SETS = ["log_every=2", "sample_every=0", "save_every=3", "precision=fp32", "threads=1", "devices=2"]


class Notes(Watch):
    """A watch that writes down."""

    def __init__(self) -> None:
        self.said, self.warned = [], []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


def scenario(name: str, rank: int, folder: Path, port: str, *sets: str, run_in="", resume=False, stop_at=-1):
    """Trains CycleGAN; `stop_at` is the step after which the second process, and no other, wants to stop."""
    os.environ["MASTER_PORT"] = port
    questions = iter(range(10**6))  # the first one comes before the first step
    experiment = read_experiment(
        "smoke_cyclegan", [*SETS, *sets], source={"unpaired": [str(folder / "a"), str(folder / "b")]}
    )
    notes = Notes()
    found: dict = {"keys": keys}
    keys.clear()
    try:
        summary = train(
            experiment,
            folder / (run_in or name),
            resume=resume,
            watch=notes,
            stop=lambda: next(questions) == stop_at and rank == 1,
        )
        found |= {"step": summary.step, "stopped": summary.stopped}
    except (Img2ImgError, SystemExit) as error:
        found |= {"error": type(error).__name__, "text": str(error)}
    found |= {"said": notes.said, "warned": notes.warned, "random": torch.rand(3).tolist()}
    (folder / f"{name}.{rank}.json").write_text(json.dumps(found))


keys: list[tuple[str, ...]] = []
spoiled: set[int] = set()
original = run.batches


def watched(*args, **kwargs) -> Iterator:
    """The batches of this process; their keys are kept, and some are spoiled."""
    for number, batch in enumerate(original(*args, **kwargs)):
        keys.append(batch.keys)
        if number in spoiled:
            batch.source.fill_(torch.nan)
        yield batch


def adaptive(rank: int, folder: Path, ports: list[str]) -> None:
    """The controller of ADA, where it changes nothing to speak of, and where it does."""
    calm = ["method.pool=0", f"method.ada={json.dumps(CALM)}", "steps=5"]
    scenario("calm", rank, folder, ports[0], *calm)
    busy = [f"method.ada={json.dumps(BUSY)}", "steps=7", "keep_states=9"]
    scenario("straight", rank, folder, ports[1], *busy)
    scenario("stopped", rank, folder, ports[2], *busy, stop_at=3)
    torch.manual_seed(9)
    scenario("resumed", rank, folder, ports[3], *busy, run_in="stopped", resume=True)


def main() -> None:
    what, rank, folder, ports = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
    if what == "adaptive":
        adaptive(rank, folder, ports)
        return
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from processes import CASES, work

    work(rank, 2, STEPS, tuple(CASES), int(ports.pop()), str(folder))
    run.batches = watched
    scenario("straight", rank, folder, ports[0], "steps=8")
    scenario("stopped", rank, folder, ports[1], "steps=8", stop_at=5)
    torch.manual_seed(9)
    scenario("resumed", rank, folder, ports[2], "steps=8", run_in="stopped", resume=True)
    scenario("grown", rank, folder, ports[3], "steps=8", resume=True)
    spoiled.update({1} if rank == 1 else ())
    scenario("poisoned", rank, folder, ports[4], "steps=3")
    spoiled.update({0, 1, 2})
    scenario("hopeless", rank, folder, ports[5], "steps=9", "max_bad_steps=2")


if __name__ == "__main__":
    main()
