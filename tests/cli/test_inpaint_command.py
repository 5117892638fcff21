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


def masks_for(photos: Path, folder: Path, extension: str = ".png") -> Path:
    """Returns a folder with a mask for each picture, another one for each."""
    for place, path in enumerate(sorted(photos.rglob("*.*"))):
        hole = np.roll(HOLE, place, 0).astype(np.uint8) * 255
        store((folder / path.relative_to(photos)).with_suffix(extension), hole)
    return folder


def test_one_mask_each_by_relative_name(photos: Path, tmp_path: Path) -> None:
    masks = masks_for(photos, tmp_path / "masks")
    result = img2img("inpaint", photos, "-o", tmp_path / "out", "--mask", masks)
    assert result.exit_code == 0, result.output
    for place, name in enumerate(("a.png", "deep/b.tif")):
        before, after = read_image(photos / name), read_image(tmp_path / "out" / name)
        hole = np.roll(HOLE, place, 0)
        assert after.pixels.dtype == before.pixels.dtype
        np.testing.assert_array_equal(after.pixels[~hole], before.pixels[~hole])
        assert (after.pixels != before.pixels)[hole].mean() > 0.5
        assert np.abs(after.pixels / after.white - before.pixels / after.white)[hole].mean() < 0.04


def test_one_mask_for_all_and_inverted(photos: Path, tmp_path: Path) -> None:
    plain = store(tmp_path / "mask.png", HOLE.astype(np.uint8) * 255)
    inverted = store(tmp_path / "inverted.png", 255 - HOLE.astype(np.uint8) * 255)
    assert img2img("inpaint", photos, "-o", tmp_path / "one", "--mask", plain).exit_code == 0
    assert img2img("inpaint", photos, "-o", tmp_path / "two", "--mask", inverted, "--invert").exit_code == 0
    for name in ("a.png", "deep/b.tif"):
        one, two = (read_image(tmp_path / folder / name).pixels for folder in ("one", "two"))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one[~HOLE], read_image(photos / name).pixels[~HOLE])


def test_a_missing_mask_is_the_failure_of_one_file(tmp_path: Path) -> None:
    """And so is one of another size, one that cannot be read, and one that is all hole."""
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for number in range(20):
        store(photos / f"{number:02}.png", photo(number))
        store(masks / f"{number:02}.png", HOLE.astype(np.uint8) * 255)
    (masks / "03.png").unlink()
    store(masks / "05.png", np.zeros((30, 41), np.uint8))
    (masks / "07.png").write_bytes(b"no picture")
    store(masks / "09.png", np.full((30, 40), 255, np.uint8))
    store(masks / "11.png", np.zeros((30, 40), np.uint8))
    result = img2img("inpaint", photos, "-o", tmp_path / "out", "--mask", masks)
    assert result.exit_code == 1
    assert "16 done, 0 skipped, 4 failed" in result.stderr
    said = {
        line.split(":")[0].split("/")[-1]: line for line in result.stderr.splitlines() if "failed  " in line
    }
    assert set(said) == {"03.png", "05.png", "07.png", "09.png"}
    assert "there is no mask" in said["03.png"]
    assert "41 x 30" in said["05.png"] and "40 x 30" in said["05.png"]
    assert "whole picture is hole" in said["09.png"]
    assert not (tmp_path / "out" / "03.png").exists()
    empty = read_image(tmp_path / "out" / "11.png").pixels
    np.testing.assert_array_equal(empty, read_image(photos / "11.png").pixels)
    store(masks / "03.png", HOLE.astype(np.uint8) * 255)
    again = img2img("inpaint", photos, "-o", tmp_path / "out", "--mask", masks)
    assert "1 done, 16 skipped, 3 failed" in again.stderr


def test_numbers_for_a_mask_are_the_failure_of_one_file(tmp_path: Path) -> None:
    """A table may mix what belongs to pictures and what belongs to vectors."""
    for name in ("a.png", "b.png"):
        store(tmp_path / "in" / name, photo())
    store(tmp_path / "mask.png", HOLE.astype(np.uint8) * 255)
    (tmp_path / "masks.csv").write_text("file,mask\na.png,0.5\nb.png,mask.png\n", encoding="utf-8")
    result = img2img("inpaint", tmp_path / "in", "-o", tmp_path / "out", "--mask", tmp_path / "masks.csv")
    assert result.exit_code == 1 and "numbers were given" in result.stderr
    assert "unexpected" not in result.stderr and "1 done, 0 skipped, 1 failed" in result.stderr


def test_another_mask_is_other_work(photos: Path, tmp_path: Path) -> None:
    masks = masks_for(photos, tmp_path / "masks")
    command = ("inpaint", photos, "-o", tmp_path / "out", "--mask", masks)
    assert "2 done" in img2img(*command).stderr
    assert "2 skipped" in img2img(*command).stderr
    store(masks / "a.png", np.roll(HOLE, 5, 1).astype(np.uint8) * 255)
    assert "1 done, 1 skipped" in img2img(*command).stderr


def test_another_colour_or_tolerance_is_other_work(photos: Path, tmp_path: Path) -> None:
    command = ("inpaint", photos, "-o", tmp_path / "out", "--mask")
    for text in ("colour:#ff00ff", "colour:#ff00ff~5", "colour:#ff00fe~5"):
        assert "2 done" in img2img(*command, text).stderr
    assert "2 skipped" in img2img(*command, "colour:#FF00FE~5").stderr


def test_the_output_says_where_its_format_loses(tmp_path: Path) -> None:
    source = store(tmp_path / "in.jpg", photo())
    mask = store(tmp_path / "mask.png", HOLE.astype(np.uint8) * 255)
    assert "--ext png" in img2img("inpaint", source, "-o", tmp_path / "out", "--mask", mask).stderr
    result = img2img("inpaint", source, "-o", tmp_path / "png", "--mask", mask, "--ext", "png")
    assert "--ext png" not in result.stderr
    kept = read_image(tmp_path / "png" / "in.png").pixels
    np.testing.assert_array_equal(kept[~HOLE], read_image(source).pixels[~HOLE])


def test_a_model_fills_holes(photos: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from img2img.checkpoint import ModelInfo, save_model
    from img2img.models import Compact, PartialUNet

    torch.manual_seed(0)
    save_model(tmp_path / "model.safetensors", PartialUNet(**PartialUNet.tiny), ModelInfo("like_input"))
    masks = masks_for(photos, tmp_path / "masks")
    command = ("inpaint", photos, "-o", tmp_path / "out", "--mask", masks, "--device", "cpu")
    result = img2img(*command, "-m", tmp_path / "model.safetensors")
    assert result.exit_code == 0, result.output
    for place, name in enumerate(("a.png", "deep/b.tif")):
        hole = np.roll(HOLE, place, 0)
        before, after = read_image(photos / name).pixels, read_image(tmp_path / "out" / name).pixels
        np.testing.assert_array_equal(after[~hole], before[~hole])
        assert (after != before)[hole].mean() > 0.5
    save_model(tmp_path / "other.safetensors", Compact(**Compact.tiny), ModelInfo("like_input"))
    result = img2img(*command, "-m", tmp_path / "other.safetensors")
    assert result.exit_code == 2 and "does not fill holes" in result.stderr
    facts = img2img("model", "info", tmp_path / "model.safetensors", "--json").output
    assert f'"use": "img2img inpaint IN -o OUT -m {tmp_path / "model.safetensors"} --mask DIR"' in facts
    result = img2img("translate", photos, "-o", tmp_path / "x", "-m", tmp_path / "model.safetensors")
    assert result.exit_code == 2 and f"img2img inpaint -m {tmp_path / 'model.safetensors'}" in result.stderr
    more = ("--with", f"mask={masks}", "--device", "cpu")
    result = img2img("translate", photos, "-o", tmp_path / "x", "-m", tmp_path / "model.safetensors", *more)
    assert "img2img inpaint keeps that" in result.stderr


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
        ((), "alpha for what is transparent; or a colour in the pictures, such as colour:#ff00ff"),
        (("--mask", "colour:pinkish"), "is no colour"),
        (("--mask", "colour:"), "is no colour"),
        (("--mask", "colour:#ff00ff80"), "is no colour"),
        (("--mask", "colour:red~999"), "0 to 127 levels of 255, not 999"),
        (("--mask", "colour:red~-1"), "colour:#ff00ff~20"),
        (("--mask", "#ff00ff"), "A colour is written colour:#ff00ff"),
        (("--mask", "red"), "A colour is written colour:red"),
        (("--mask", "alhpa"), "alpha for what is transparent"),
        (("--mask", ""), "It is empty"),
        (("--mask", "no\0thing"), "is no file or folder"),
        (("--mask", "0.5"), "is no file or folder"),
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


RED_AND_BLUE = np.where(HOLE[..., None], [255, 0, 0], [0, 0, 255]).astype(np.uint8)


@pytest.mark.parametrize("name", ["mask.png", "notes.txt", "short.png", "white.png"])
def test_one_mask_for_all_that_is_none_is_one_error_before_the_work(
    name: str, photos: Path, tmp_path: Path
) -> None:
    """In red and blue, a text, a picture that ends too early, one that is nothing but hole."""
    store(tmp_path / "white.png", np.full((30, 40), 255, np.uint8))
    mask = store(tmp_path / "mask.png", RED_AND_BLUE)
    (tmp_path / "notes.txt").write_text("white is hole")
    (tmp_path / "short.png").write_bytes(mask.read_bytes()[:50])
    result = img2img("inpaint", photos, "-o", tmp_path / "out", "--mask", tmp_path / name)
    assert result.exit_code == 2 and name in result.stderr and not (tmp_path / "out").exists()
    assert "failed  " not in result.stderr
    if name == "mask.png":
        assert "in colours (100.0% of its pixels, such as #0000ff)" in result.stderr
        assert "White is hole, black is known" in result.stderr and "--mask colour:#ff00ff" in result.stderr


def test_a_mask_in_colours_is_the_failure_of_its_file(photos: Path, tmp_path: Path) -> None:
    masks = masks_for(photos, tmp_path / "masks")
    store(masks / "a.png", RED_AND_BLUE)
    result = img2img("inpaint", photos, "-o", tmp_path / "out", "--mask", masks)
    assert result.exit_code == 1 and "its mask is in colours" in result.stderr
    assert "1 done, 0 skipped, 1 failed" in result.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--mask", "alpha"], "it has no alpha channel"),
        (["--mask", "Alpha"], "it has no alpha channel"),
        (["--mask", "colour:lime"], "#00ff00 does not occur"),
        (["--mask", "black.png"], "its mask has no white"),
        (["--mask", "white.png", "--invert"], "its mask is white everywhere"),
    ],
)
def test_pictures_without_a_hole_come_back_and_are_counted(
    options: list[str], why: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, level in (("black.png", 0), ("white.png", 255)):
        store(tmp_path / name, np.full((30, 40), level, np.uint8))
    result = img2img("inpaint", photos, "-o", "out", *options, "--verbose")
    assert result.exit_code == 0 and result.stderr.count(f"nothing in it is a hole: {why}") == 2
    assert "2 files have no hole, and came back as before" in result.stderr
    for name in ("a.png", "deep/b.tif"):
        np.testing.assert_array_equal(
            read_image(tmp_path / "out" / name).pixels, read_image(photos / name).pixels
        )


def test_a_colour_that_is_nearly_there_is_said(tmp_path: Path) -> None:
    marked = photo()
    marked[HOLE] = (250, 3, 255)
    source = store(tmp_path / "in.png", marked)
    command = ["inpaint", source, "-o", tmp_path / "out.png", "--overwrite", "-v", "--mask"]
    said = img2img(*command, "colour:#ff00ff").stderr
    assert "the nearest to #ff00ff is 5 levels off, which a tolerance of 5 takes" in said
    assert "hole" not in img2img(*command, "colour:#ff00ff~5").stderr
