"""What can be chosen on the page, and that it is the same work as on the command line."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.errors import Img2ImgError, ModelError, UsageError
from img2img.image import Image, Limits, write_image
from img2img.models import EDSR, AdaIN
from img2img.ui.folders import Folders, Wish
from img2img.ui.models import JOBS, Models, Settings
from img2img.ui.places import Roots
from img2img.ui.worker import Worker
from img2img.weights import available


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with pictures, masks, and models of three kinds: one enlarges, one restores, one translates."""
    root = tmp_path / "root"
    for folder in ("photos", "masks", "run"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "ab":
        write_image(Image(rng.integers(0, 256, (9, 12, 3), np.uint8)), root / "photos" / f"{name}.png")
        write_image(
            Image(np.uint8(255) * (np.indices((9, 12)).sum(0) < 5)[..., None]), root / "masks" / f"{name}.png"
        )
    for name, scale, output in (("big", 2, "like_input"), ("run/best", 1, "like_input"), ("other", 1, "own")):
        torch.manual_seed(0)
        info = ModelInfo(output)  # type: ignore[arg-type]
        save_model(root / f"{name}.safetensors", EDSR(features=1, blocks=0, scale=scale), info)
    save_model(root / "paint.safetensors", AdaIN(**AdaIN.tiny), ModelInfo("own"))
    write_image(Image(rng.integers(0, 256, (16, 16, 3), np.uint8)), root / "style.png")
    return root


@pytest.fixture
def models(root: Path) -> Models:
    return Models(Roots([root]), "cpu")


def test_jobs_names_and_files_of_the_roots_can_be_chosen(models: Models) -> None:
    values = [value for _, value in models.choices()]
    assert values[: len(JOBS)] == list(JOBS)
    assert set(available()) < set(values)
    assert {"big.safetensors", "run/best.safetensors"} < set(values)


def test_what_a_model_does_decides_what_is_offered(models: Models, root: Path) -> None:
    assert models.offer("big.safetensors").scale == 2
    assert models.offer("run").strength and models.offer("run").scale is None
    assert models.offer("run").restores and not models.offer("other.safetensors").restores
    assert models.offer("paint.safetensors").paints and not models.offer("other.safetensors").paints
    assert models.offer("telea").holes
    assert models.path("run") == root / "run" / "best.safetensors"


@pytest.mark.parametrize(
    "name", ["../evil.pth", "{outside}", "link.safetensors", "", "none.pth", "photos", "x5"]
)
def test_other_places_and_names_are_refused(models: Models, root: Path, name: str) -> None:
    outside = root.parent / "evil.safetensors"
    outside.write_bytes((root / "big.safetensors").read_bytes())
    (root / "link.safetensors").symlink_to(outside)
    with pytest.raises(Img2ImgError):
        models.open(Settings(name.format(outside=outside)))
    assert not any("link" in value or "evil" in value for _, value in models.choices())


def test_a_pickle_runs_nothing(models: Models, root: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (root / "ran",)

    (root / "evil.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(ModelError, match=r"evil\.pth"):
        models.open(Settings("evil.pth"))
    assert not (root / "ran").exists()


@pytest.mark.parametrize(
    "settings",
    [
        Settings("big.safetensors", factor=65.0),
        Settings("big.safetensors", factor=-1.0),
        Settings("big.safetensors", factor=float("nan")),
        Settings("big.safetensors", strength=2.0),
        Settings("run", seed=-1),
        Settings("other.safetensors", seed=1),
        Settings("other.safetensors", style=1),
        Settings("paint.safetensors"),
        Settings("other.safetensors", on=("Blond",)),
    ],
)
def test_what_makes_no_sense_is_a_sentence(models: Models, settings: Settings) -> None:
    with pytest.raises(UsageError):
        models.open(settings)


@pytest.mark.parametrize(
    ("arguments", "settings", "companions"),
    [
        (("upscale", "-m", "big.safetensors"), Settings("big.safetensors"), {}),
        (("upscale", "-m", "big.safetensors", "-s", "3"), Settings("big.safetensors", factor=3.0), {}),
        (("restore", "-m", "run/best.safetensors", "--strength", "0.5"), Settings("run", strength=0.5), {}),
        (("translate", "-m", "other.safetensors"), Settings("other.safetensors"), {}),
        (("inpaint", "--mask", "masks"), Settings("telea"), {"mask": "masks"}),
        (("stylize", "-m", "paint.safetensors", "--style", "style.png"), Settings("paint.safetensors"), {}),
        (
            ("stylize", "-m", "other.safetensors", "--strength", "0.5"),
            Settings("other.safetensors", strength=0.5),
            {},
        ),
    ],
)
def test_the_page_finds_done_what_the_command_line_did(
    models: Models, root: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], settings: Settings, companions: dict[str, str],
) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    source = str(root / "photos")
    command = [arguments[0], source, "-o", "out", *arguments[1:]]
    command += [] if arguments[0] == "inpaint" else ["--device", "cpu"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    worker = Worker()
    job = Folders(models._roots, models, worker, Limits(), root).start(
        Wish("photos", "out", settings, None, "", companions, "style.png" if "--style" in arguments else "")
    )
    job.wait()
    worker.close()
    assert (job.state, job.problem, job.summary.skipped, job.summary.done) == ("done", None, 2, 0)
