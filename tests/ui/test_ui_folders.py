"""Folders on the page keep the rules of the command line, and touch nothing outside of the roots."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2img.errors import Img2ImgError, ProcessingError, UsageError
from img2img.image import Image, Limits, read_image, write_image
from img2img.ui.folders import Folders, Wish
from img2img.ui.models import Models, Settings
from img2img.ui.places import Roots
from img2img.ui.worker import Worker

TELEA = Settings("telea")


def store(path: Path, level: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(np.full((8, 8, 3), level, np.uint8)), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("a.png", "deep/b.png"):
        store(root / "photos" / name)
        store(root / "masks" / name, 0)
        mask = np.zeros((8, 8, 1), np.uint8)
        mask[3:5, 3:5] = 255
        write_image(Image(mask), root / "masks" / name)
    store(tmp_path / "outside.png", 7)
    return root


@pytest.fixture
def folders(root: Path, tmp_path: Path) -> Iterator[Folders]:
    worker, roots = Worker(), Roots([root])
    found = Folders(roots, Models(roots, "cpu"), worker, Limits(), tmp_path)
    yield found
    found.close()
    worker.close()


def wish(**changes: Any) -> Wish:
    usual = {"source": "photos", "output": "out", "settings": TELEA, "companions": {"mask": "masks"}}
    return Wish(**usual | changes)


def ended(folders: Folders, **changes: Any) -> tuple[str, int, int, int]:
    job = folders.start(wish(**changes))
    job.wait(30)
    return job.state, job.summary.done, job.summary.skipped, job.summary.failed


def test_a_tree_is_converted_once_and_reported(folders: Folders, root: Path) -> None:
    assert ended(folders) == ("done", 2, 0, 0)
    assert read_image(root / "out" / "deep" / "b.png").pixels.shape == (8, 8, 3)
    assert folders.job is not None
    lines = [json.loads(line) for line in folders.job.report.read_text().splitlines()]
    assert {Path(line["output"]).name for line in lines} == {"a.png", "b.png"}
    assert ended(folders) == ("done", 0, 2, 0)


def test_what_somebody_else_wrote_is_not_replaced(folders: Folders, root: Path) -> None:
    store(root / "out" / "a.png", 3)
    assert ended(folders) == ("done", 1, 0, 1)
    assert read_image(root / "out" / "a.png").pixels.max() == 3


def test_files_that_links_and_tables_bring_in_from_outside_fail_by_name(
    folders: Folders, root: Path, tmp_path: Path
) -> None:
    (root / "photos" / "link.png").symlink_to(tmp_path / "outside.png")
    table = root / "masks.csv"
    table.write_text(
        f"file,mask\na.png,masks/a.png\nlink.png,masks/a.png\ndeep/b.png,{tmp_path / 'outside.png'}\n"
    )
    assert ended(folders, companions={"mask": "masks.csv"}) == ("done", 1, 0, 2)
    assert folders.job is not None
    assert {path.name for path, _ in folders.job.summary.failures} == {"link.png", "b.png"}
    assert all("outside" in reason for _, reason in folders.job.summary.failures)
    assert not (root / "out" / "link.png").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"source": "/etc"}, "outside"),
        ({"output": "../out"}, "outside"),
        ({"output": "photos/out"}, "inside the input"),
        ({"companions": {"mask": "/etc"}}, "outside"),
        ({"companions": {}}, "mask"),
        ({"companions": {"mask": "masks", "other": "masks"}}, "other"),
        ({"source": "none"}, "none"),
        ({"source": ""}, "Name the folder"),
        ({"extension": "xyz"}, "xyz"),
        ({"suffix": "/../x"}, "suffix"),
        ({"settings": Settings("../model.pth")}, "outside"),
    ],
)
def test_what_cannot_begin_is_a_sentence(
    folders: Folders, root: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(Img2ImgError, match=told):
        folders.start(wish(**changes))
    assert folders.job is None
    assert not (root / "out").exists()


class Held:
    """Waits in the first picture until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def group_key(self, image: Image) -> None:
        return None

    def __call__(self, images: Sequence[Image]) -> list[Image]:
        self.entered.set()
        assert self.go.wait(30)
        return list(images)


def test_one_folder_at_a_time_which_can_be_cancelled(
    folders: Folders, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        store(root / "photos" / f"{number}.png")
    held = Held()
    monkeypatch.setattr(folders._models, "open", lambda settings: (held, {"held": 1}))
    job = folders.start(wish(companions={}))
    assert held.entered.wait(30)
    with pytest.raises(UsageError, match="at work already"):
        folders.start(wish(companions={}, output="other"))
    job.cancel()
    assert job.active and job.state == "ending"
    held.go.set()
    job.wait(30)
    assert job.state == "cancelled"
    assert 0 < job.summary.done < job.total == 42
    assert len(list((root / "out").rglob("*.png"))) == job.summary.done


def test_a_worker_that_ended_says_so() -> None:
    worker = Worker()
    assert worker.do(max, 1, 2) == 2
    worker.close()
    with pytest.raises(ProcessingError, match="about to end"):
        worker.do(max, 1, 2)
