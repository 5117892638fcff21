"""`img2img prior` for its users: folders, masks, previews, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image

QUICK = "--steps", 2, "--channels", 2, "--progress", "none"


def prior(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["prior", *map(str, arguments)])


def store(path: Path, seed: int = 0, channels: int = 3, dtype: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(
        0, 2 if channels == 1 else np.iinfo(dtype).max, (9, 12, channels)
    )
    write_image(Image((levels * (255 if channels == 1 else 1)).astype(dtype)), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree with pictures of two depths, the same one twice, and a text with a picture's name."""
    store(tmp_path / "photos" / "a.png")
    store(tmp_path / "photos" / "deep" / "same.png")
    store(tmp_path / "photos" / "deep" / "b.tif", 1, dtype=np.uint16)
    (tmp_path / "photos" / "text.png").write_text("no picture")
    return tmp_path / "photos"


def test_a_folder_with_a_bad_file_is_done_and_done_once(photos: Path, tmp_path: Path) -> None:
    """A result depends on the content and the seed, not on name and place."""
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    result = prior(photos, "-o", out, "--task", "denoise", *QUICK)
    assert result.exit_code == 1 and "text.png" in result.output
    one, same = (read_image(out / name).pixels for name in ("a.png", "deep/same.png"))
    np.testing.assert_array_equal(one, same)
    assert read_image(out / "deep" / "b.tif").pixels.dtype == np.uint16
    before = (out / "a.png").stat().st_mtime_ns
    (out / "deep" / "same.png").unlink()
    prior(photos, "-o", out, "--task", "denoise", *QUICK, "--report", report)
    states = {
        Path(each["source"]).name: each["status"] for each in map(json.loads, report.read_text().splitlines())
    }
    assert states == {"a.png": "skipped", "b.tif": "skipped", "same.png": "done", "text.png": "failed"}
    assert (out / "a.png").stat().st_mtime_ns == before
    prior(photos / "a.png", "-o", tmp_path / "other", "--task", "denoise", *QUICK, "--seed", 1)
    assert not np.array_equal(read_image(tmp_path / "other" / "a.png").pixels, one)


def test_holes_are_filled_and_the_rest_stays(photos: Path, tmp_path: Path) -> None:
    mask = store(tmp_path / "mask.png", 2, channels=1)
    hole = read_image(mask).pixels[..., 0] > 0
    result = prior(
        photos / "a.png", "-o", tmp_path / "out", "--task", "inpaint", "--mask", mask, *QUICK, "-v"
    )
    assert result.exit_code == 0, result.output
    assert "a.png (pixels)" in result.output
    made, known = (read_image(path).pixels for path in (tmp_path / "out" / "a.png", photos / "a.png"))
    np.testing.assert_array_equal(made[~hole], known[~hole])
    assert not np.array_equal(made[hole], known[hole])


def test_enlarged(photos: Path, tmp_path: Path) -> None:
    result = prior(photos / "a.png", "-o", tmp_path / "x3.png", "--task", "upscale", "--factor", 3, *QUICK)
    assert result.exit_code == 0, result.output
    assert read_image(tmp_path / "x3.png").pixels.shape == (27, 36, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "inpaint"], "--mask"),
        (["--task", "denoise", "--mask", "alpha"], "go together"),
        (["--task", "denoise", "--invert"], "about the mask"),
        (["--task", "dejpeg", "--factor", 2], "--factor is that of --task upscale"),
        (["--task", "denoise", "--minutes", 0], "--minutes"),
        (["--task", "denoise", "--preview", "p.jpg"], "call it p.jpg.png"),
        (["--task", "denoise", "--preview", "nowhere/p.png"], "has no folder to be in"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    photos: Path, tmp_path: Path, arguments: list[Any], sentence: str
) -> None:
    result = prior(photos, "-o", tmp_path / "out", *arguments)
    assert result.exit_code == 2 and sentence in result.output
    assert not (tmp_path / "out").exists()


def test_what_takes_days_fails_by_name_and_names_options(photos: Path, tmp_path: Path) -> None:
    result = prior(photos / "a.png", "-o", tmp_path, "--task", "denoise", "--channels", 2, "--steps", 10**9)
    assert result.exit_code == 1
    assert (
        "a.png" in result.output and "days; give it --minutes, fewer --steps or --channels" in result.output
    )


def test_the_preview_is_ours_to_replace_and_nothing_else_is(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from img2img.cli import prior as module

    monkeypatch.setattr(module, "_EVERY", 0.0)
    preview = tmp_path / "preview.png"
    run = [photos / "a.png", "--task", "denoise", "--channels", 2, "--steps", 5, "--preview"]
    for out in ("one", "two"):
        result = prior(*run, preview, "-o", tmp_path / out, "--progress", "none")
        assert result.exit_code == 0, result.output
    shown, made = read_image(preview).pixels, read_image(tmp_path / "one" / "a.png").pixels
    np.testing.assert_array_equal(shown, made)  # after the last step they are the same
    assert not list(tmp_path.glob("*.part"))
    mine = store(tmp_path / "mine.png")
    before = mine.read_bytes()
    for place, sentence in ((mine, "is no preview"), (photos / "p.png", "would be taken for one of")):
        result = prior(photos, *run[1:], place, "-o", tmp_path / "three")
        assert result.exit_code == 2 and sentence in result.output
    assert mine.read_bytes() == before and not (photos / "p.png").exists()
