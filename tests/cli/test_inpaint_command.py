"""`img2img inpaint` for its users: masks, transparency, colours, and folders where something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from img2img.cli.main import cli
from img2img.image import Image, read_image, write_image

HOLE = np.zeros((30, 40), bool)
HOLE[10:18, 5:25] = True


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def photo(seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    ramp = np.linspace(40, 200, 40)[None, :, None] * np.ones((30, 1, 3)) * [1, 0.8, 0.6]
    values = ramp + np.random.default_rng(seed).normal(0, 3, ramp.shape)
    return (values * (257 if dtype == np.uint16 else 1)).clip(0).astype(dtype)


def store(path: Path, pixels: np.ndarray, alpha: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(Image(pixels if pixels.ndim == 3 else pixels[..., None], alpha), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A tree with an 8-bit and a 16-bit picture."""
    store(tmp_path / "photos" / "a.png", photo())
    store(tmp_path / "photos" / "deep" / "b.tif", photo(1, np.uint16))
    return tmp_path / "photos"


def test_what_is_transparent_is_filled(tmp_path: Path) -> None:
    source = store(tmp_path / "in.png", photo(), np.where(HOLE, 0, 255).astype(np.uint8))
    result = img2img("inpaint", source, "-o", tmp_path / "out.png", "--mask", "alpha")
    assert result.exit_code == 0, result.output
    made = read_image(tmp_path / "out.png")
    np.testing.assert_array_equal(made.pixels[~HOLE], photo()[~HOLE])
    assert made.alpha is None or (made.alpha == 255).all()
    assert np.abs(made.pixels.astype(int) - photo())[HOLE].mean() < 10


@pytest.mark.parametrize("text", ["colour:#ff00ff", "color:magenta", "COLOUR:#f0f~2"])
def test_a_colour_marks_holes(text: str, tmp_path: Path) -> None:
    marked = photo()
    marked[HOLE] = (255, 0, 255)
    source = store(tmp_path / "in.png", marked)
    assert img2img("inpaint", source, "-o", tmp_path / "out.png", "--mask", text).exit_code == 0
    made = read_image(tmp_path / "out.png").pixels
    np.testing.assert_array_equal(made[~HOLE], marked[~HOLE])
    assert np.abs(made.astype(int) - photo())[HOLE].mean() < 10


def test_the_methods_differ_and_running_again_does_nothing(tmp_path: Path) -> None:
    source = store(tmp_path / "in" / "a.png", photo(), np.where(HOLE, 0, 255).astype(np.uint8))
    out = tmp_path / "out"
    command = ("inpaint", source.parent, "-o", out, "--mask", "alpha")
    assert img2img(*command, "--method", "navier_stokes").exit_code == 0
    first = read_image(out / "a.png").pixels
    assert "1 skipped" in img2img(*command, "--method", "navier_stokes").stderr
    assert "1 done" in img2img(*command).stderr
    assert (read_image(out / "a.png").pixels != first).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "--mask"),
        (("--mask", "colour:pinkish"), "is no colour"),
        (("--mask", "alpha", "-m", "x", "--method", "telea"), "give one of them"),
        (("--mask", "alpha", "--feather", "3"), "leave none"),
        (("--mask", "alpha", "--invert"), "leave invert out"),
        (("--mask", "nowhere"), "nowhere"),
    ],
)
def test_wrong_requests_are_sentences(
    options: tuple[str, ...], words: str, photos: Path, tmp_path: Path
) -> None:
    result = img2img("inpaint", photos, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (tmp_path / "out").exists()
