"""`img2img restore` with a stand-in for a model, whose results are known: it adds a tenth of white."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import programs
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import ImageCms

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.image import Image, encode, read_image, write_image
from img2img.image.resize import resize
from img2img.models import EDSR
from img2img.weights import finder

HEIGHT, WIDTH = 72, 96


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def lighter(share: float, scale: int = 1) -> EDSR:
    """A network that adds a share of white to its input."""
    generator = EDSR(features=1, blocks=0, scale=scale)
    for parameter in generator.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(generator.last.bias, share)
    return generator


def scene(channels: int = 3, noise: float = 0) -> np.ndarray:
    """Slopes between 0.2 and 0.7, with noise of so many levels of 255."""
    rng = np.random.default_rng(0)
    values = resize(rng.random((4, 5, channels), np.float32) * 0.4 + 0.25, HEIGHT, WIDTH)
    return np.clip(values + rng.normal(0, 1, values.shape) * noise / 255, 0.1, 0.8)


def levels(values: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    return (
        values.astype(dtype) if dtype == np.float32 else np.rint(values * np.iinfo(dtype).max).astype(dtype)
    )


def jpeg(quality: int, mode: str = "RGB", side: int | None = None, **more: Any) -> bytes:
    buffer, picture = io.BytesIO(), PIL.Image.fromarray(levels(scene())).convert(mode)
    picture = picture if side is None else picture.resize((side, side))
    picture.save(buffer, "JPEG", quality=quality, **more)
    return buffer.getvalue()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which models are looked for."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(finder, "folders", lambda: [folder])
    return folder


@pytest.fixture
def clean(models: Path) -> Path:
    save_model(models / "clean.safetensors", lighter(0.1), ModelInfo())
    return models / "clean.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures without damage and with each kind of it."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_image(Image(levels(scene())), folder / "sharp.png")
    (folder / "camera.jpg").write_bytes(jpeg(95))
    (folder / "web.jpg").write_bytes(jpeg(20))
    write_image(Image(levels(scene(noise=15))), folder / "night.png")
    return folder


@pytest.mark.parametrize("stem", ["untouched", "clean", "new\nline"])
def test_whatever_a_model_is_called_it_is_run(models: Path, folder: Path, tmp_path: Path, stem: str) -> None:
    save_model(models / f"{stem}.safetensors", lighter(0.1), ModelInfo())
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    result = img2img("restore", folder / "night.png", "-o", out, "-m", stem, "--report", report)
    assert result.exit_code == 0, result.output
    before, after = (read_image(place / "night.png").pixels.astype(int) for place in (folder, out))
    assert np.abs(after - before - 25.5).max() <= 1
    assert json.loads(report.read_text())["made_by"] != "untouched"


def made(result: Result, report: Path) -> dict[str, str]:
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    return {Path(line["source"]).name: line["made_by"] for line in lines}


def assert_lighter(before: Image, after: Image, share: float = 0.1, tolerance: float = 2) -> None:
    """Levels are those of the input and a share of white, to `tolerance` levels."""
    assert after.pixels.shape == before.pixels.shape and after.pixels.dtype == before.pixels.dtype
    added = (after.pixels.astype(np.float64) - before.pixels.astype(np.float64)) / before.white
    np.testing.assert_allclose(added, share, atol=tolerance / before.white)


def test_auto_restores_what_is_damaged_and_copies_the_rest(clean: Path, folder: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    result = img2img("restore", folder, "-o", out, "--report", report)
    assert made(result, report) == {
        "sharp.png": "untouched", "camera.jpg": "untouched", "web.jpg": "clean", "night.png": "clean"
    }  # fmt: skip
    assert "model clean" in result.stderr and "2 files are as before" in result.stderr
    for name in ("sharp.png", "camera.jpg"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert_lighter(read_image(folder / "night.png"), read_image(out / "night.png"))
    assert_lighter(read_image(folder / "web.jpg"), read_image(out / "web.jpg"), tolerance=9)
    line = json.loads(report.read_text().splitlines()[0])
    assert set(line["input"]) == {"jpeg_quality", "blocks", "noise"}
    again = img2img("restore", folder, "-o", out, "--report", report)
    assert "4 skipped" in again.stderr
    assert made(again, report)["web.jpg"] == "clean"  # the manifest knows


def test_what_is_untouched_is_stored_anew_where_that_was_asked_for(
    clean: Path, folder: Path, tmp_path: Path
) -> None:
    for number, more in enumerate((["--ext", "png"], ["--quality", "80"], ["--strip-metadata"])):
        out = tmp_path / str(number)
        assert img2img("restore", folder / "camera.jpg", "-o", out, *more).exit_code == 0
        (file,) = out.glob("camera.*")
        assert file.read_bytes() != (folder / "camera.jpg").read_bytes()
        near = read_image(file).pixels.astype(int) - read_image(folder / "camera.jpg").pixels
        assert np.abs(near).max() < 12
    result = img2img("restore", folder / "camera.jpg", "-o", "-")
    assert result.stdout_bytes == (folder / "camera.jpg").read_bytes()


@pytest.mark.parametrize(
    ("extension", "option", "same"),
    [
        (".jpg", "--png-level=9", True),
        (".jpg", "--lossless", True),
        (".jpg", "--quality=95", False),
        (".jpg", "--jpeg-sampling=4:4:4", False),
        (".webp", "--png-level=9", True),
        (".webp", "--jpeg-sampling=4:4:4", True),
        (".webp", "--lossless", False),
        (".png", "--quality=80", True),
        (".png", "--png-level=9", False),
        (".tif", "--quality=80", True),
        (".tif", "--strip-metadata", False),
    ],
)
def test_options_of_other_formats_spoil_no_copy(
    clean: Path, tmp_path: Path, extension: str, option: str, same: bool
) -> None:
    source = tmp_path / f"a{extension}"
    PIL.Image.fromarray(levels(scene())).save(source, quality=97, dpi=(99, 99))
    result = img2img("restore", source, "-o", tmp_path / "out", option, "--report", tmp_path / "report.jsonl")
    assert made(result, tmp_path / "report.jsonl") == {source.name: "untouched"}
    assert ((tmp_path / "out" / source.name).read_bytes() == source.read_bytes()) == same


def test_what_is_not_read_of_untouched_files_is_kept(clean: Path, tmp_path: Path) -> None:
    """Further pages and frames, and CMYK; what a warning said of reading is said of the copy."""
    pages = [PIL.Image.fromarray(each) for each in (levels(scene()), 255 - levels(scene()))]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "moves.webp", save_all=True, append_images=pages[1:], lossless=True)
    pages[0].convert("CMYK").save(tmp_path / "print.jpg", quality=97)
    files = [tmp_path / name for name in ("pages.tif", "moves.webp", "print.jpg")]
    report = tmp_path / "report.jsonl"
    result = img2img("restore", *files, "-o", tmp_path / "out", "--report", report)
    assert result.exit_code == 0 and "3 files are as before" in result.stderr, result.output
    assert made(result, report) == dict.fromkeys((file.name for file in files), "untouched")
    for file in files:
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()
    for line in map(json.loads, report.read_text().splitlines()):
        assert line["warnings"]
        assert all(each.startswith("the file was copied as it is; of what") for each in line["warnings"])
    alone = img2img("restore", tmp_path / "print.jpg", "-o", "-")
    assert alone.stdout_bytes == (tmp_path / "print.jpg").read_bytes()
    assert "the file was copied as it is" in alone.stderr


def test_a_file_whose_name_says_another_format_is_stored_anew(clean: Path, tmp_path: Path) -> None:
    PIL.Image.fromarray(levels(scene())).save(tmp_path / "named.jpg", "PNG")
    result = img2img("restore", tmp_path / "named.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0 and "1 file is as before" in result.stderr, result.output
    assert (tmp_path / "out" / "named.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_single_output_that_is_there_is_named_as_such(clean: Path, folder: Path, tmp_path: Path) -> None:
    command = ("restore", folder / "web.jpg", "-o", tmp_path / "one.jpg")
    assert img2img(*command).exit_code == 0
    again = img2img(*command)
    assert again.exit_code == 1 and "already, and of a single file as output nothing is remem" in again.stderr
    assert img2img(*command, "--overwrite").exit_code == 0


@pytest.mark.parametrize("task", ["denoise", "dejpeg", "deblur", "clean"])
def test_a_task_is_done_to_every_picture(clean: Path, folder: Path, tmp_path: Path, task: str) -> None:
    result = img2img("restore", folder / "sharp.png", "-o", tmp_path / "out", "--task", task)
    assert result.exit_code == 0 and "model clean" in result.stderr, result.output
    assert_lighter(read_image(folder / "sharp.png"), read_image(tmp_path / "out" / "sharp.png"))


def test_a_model_for_just_that_task_is_preferred(clean: Path, folder: Path, tmp_path: Path) -> None:
    save_model(clean.with_name("denoise.safetensors"), lighter(0.05), ModelInfo())
    report = tmp_path / "report.jsonl"
    result = img2img("restore", folder, "-o", tmp_path / "out", "--report", report)
    assert made(result, report) == {
        "sharp.png": "untouched", "camera.jpg": "untouched", "web.jpg": "clean", "night.png": "denoise"
    }  # fmt: skip
    forced = tmp_path / "forced"
    assert img2img("restore", folder / "night.png", "-o", forced, "--task", "denoise").exit_code == 0
    assert_lighter(read_image(folder / "night.png"), read_image(forced / "night.png"), 0.05)


@pytest.mark.parametrize(("more", "changed"), [([], 4), (["--task", "auto"], 2), (["--task", "dejpeg"], 4)])
def test_a_model_that_is_named_is_taken(
    models: Path, folder: Path, tmp_path: Path, more: list[str], changed: int
) -> None:
    save_model(tmp_path / "own.safetensors", lighter(0.1), ModelInfo())
    report = tmp_path / "report.jsonl"
    command = ("restore", folder, "-o", tmp_path / "out", "-m", tmp_path / "own.safetensors", *more)
    names = list(made(img2img(*command, "--report", report), report).values())
    assert (names.count("own"), names.count("untouched")) == (changed, 4 - changed)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("strength", [0, 0.25, 1])
@pytest.mark.sampled(4)
def test_strength_is_the_share_of_the_model_in_full_depth(
    clean: Path, tmp_path: Path, dtype: type, strength: float
) -> None:
    source = tmp_path / "x.tif"
    write_image(Image(levels(scene(noise=15), dtype)), source)
    result = img2img("restore", source, "-o", tmp_path / "out", "--strength", strength)
    assert result.exit_code == 0, result.output
    before, after = read_image(source), read_image(tmp_path / "out" / "x.tif")
    if strength == 0:
        assert (tmp_path / "out" / "x.tif").read_bytes() == source.read_bytes()
    assert_lighter(before, after, 0.1 * strength, tolerance=1e-6 if dtype == np.float32 else 2)


def test_another_choice_or_strength_is_new_work_and_another_model_for_its_own_pictures(
    clean: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("restore", folder, "-o", tmp_path / "out")
    assert "4 done" in img2img(*command).stderr
    assert "4 done" in img2img(*command, "--strength", "0").stderr
    assert "4 done" in img2img(*command).stderr
    assert "4 done" in img2img(*command, "--task", "clean").stderr
    assert "4 done" in img2img(*command).stderr
    save_model(clean, lighter(0.2), ModelInfo())
    assert "2 done, 2 skipped" in img2img(*command).stderr


KINDS: Mapping[str, tuple[Image, str]] = {
    "grey": (Image(levels(scene(1, 15))), "png"),
    "grey, 16 bit": (Image(levels(scene(1, 15), np.uint16)), "png"),
    "16 bit": (Image(levels(scene(3, 15), np.uint16)), "png"),
    "alpha": (Image(levels(scene(3, 15)), levels(scene(1))[..., 0]), "webp"),
    "grey and alpha, 16 bit": (
        Image(levels(scene(1, 15), np.uint16), levels(scene(1), np.uint16)[..., 0]),
        "png",
    ),
    "float": (Image(levels(scene(3, 15), np.float32)), "tif"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_was(clean: Path, tmp_path: Path, kind: str) -> None:
    image, extension = KINDS[kind]
    source = tmp_path / f"x.{extension}"
    source.write_bytes(encode(image, source.suffix))
    result = img2img("restore", source, "-o", tmp_path / "out", "--lossless")
    assert result.exit_code == 0 and "1 done" in result.stderr, result.output
    before, after = read_image(source), read_image(tmp_path / "out" / source.name)
    assert_lighter(before, after)
    assert (before.alpha is None) == (after.alpha is None)
    if before.alpha is not None:
        np.testing.assert_array_equal(before.alpha, after.alpha)


def test_profile_and_camera_data_stay(clean: Path, tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = PIL.Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker of cameras", 6
    (tmp_path / "x.jpg").write_bytes(jpeg(20, icc_profile=icc, exif=exif.tobytes()))
    assert img2img("restore", tmp_path / "x.jpg", "-o", tmp_path / "out").exit_code == 0
    after = read_image(tmp_path / "out" / "x.jpg")
    assert (after.height, after.width) == (WIDTH, HEIGHT)  # it stands upright
    assert after.icc == icc and after.exif is not None and b"Maker of cameras" in after.exif


def test_cmyk_jpeg(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(20, "CMYK"))
    assert img2img("restore", tmp_path / "x.jpg", "-o", tmp_path / "out", "--ext", "png").exit_code == 0
    assert_lighter(read_image(tmp_path / "x.jpg"), read_image(tmp_path / "out" / "x.png"))


def test_a_broken_file_stops_no_other(clean: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.jpg").write_bytes(jpeg(20)[:500])
    result = img2img("restore", folder, "-o", tmp_path / "out")
    assert result.exit_code == 1 and "4 done" in result.stderr and "broken.jpg" in result.stderr


def test_without_a_model_a_sentence_says_what_to_do(models: Path, folder: Path, tmp_path: Path) -> None:
    save_model(models / "x4.safetensors", lighter(0.1, 4), ModelInfo())
    other = tmp_path / "other.safetensors"
    save_model(other, lighter(0.1), ModelInfo(output="own"))
    for more, words in (
        ([], "restore_clean_cpu"),
        (["--task", "denoise"], "denoise or clean"),
        (["-m", "clean"], "there is no model 'clean'"),
        (["-m", "x4"], "img2img upscale with this --model"),
        (["-m", other], "img2img translate with this --model"),
        (["-m", "x4", "--strength", "2"], "--strength"),
        (["--task", "sharpen"], "--task"),
    ):
        result = img2img("restore", folder, "-o", tmp_path / "out", *more)
        assert result.exit_code == 2 and words in result.stderr, (more, result.output)
        assert not (tmp_path / "out").exists()


@pytest.fixture
def upscalers(models: Path) -> Path:
    for scale in (2, 4):
        save_model(models / f"x{scale}.safetensors", lighter(0.1, scale), ModelInfo())
    return models


def made_lighter(source: Path, result: Path) -> float:
    """Returns by what share of white a result is lighter than its input."""
    before, after = read_image(source), read_image(result)
    times = after.height // before.height
    return float(after.pixels.mean() - before.pixels.repeat(times, 0).repeat(times, 1).mean()) / 255


def test_upscale_tells_once_of_damaged_pictures_where_there_is_a_model_for_them(
    upscalers: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("upscale", folder, "-s", "2", "-o")
    assert "visibly" not in img2img(*command, tmp_path / "none").stderr
    save_model(upscalers / "clean.safetensors", lighter(0.05), ModelInfo())
    told = img2img(*command, tmp_path / "clean").stderr
    assert told.count("visibly") == 1 and "2 of these 4 files are visibly" in told and "restore" in told
    save_model(upscalers / "photo.safetensors", lighter(0.2, 4), ModelInfo())
    told = img2img(*command, tmp_path / "photo").stderr
    assert told.count("-m photo") == told.count("visibly") == 1
    for more in (["-q"], ["-m", "x2"]):
        assert "visibly" not in img2img(*command, tmp_path / more[0], *more).stderr
    assert "visibly" not in img2img(*command, tmp_path / "photo").stderr  # all were up to date


@pytest.mark.parametrize("there", ["photo", "clean", "none"])
def test_upscale_auto_chooses_for_each_picture(
    upscalers: Path, folder: Path, tmp_path: Path, there: str
) -> None:
    name, share = {"photo": ("photo", 0.2), "clean": ("clean+x2", 0.15), "none": ("x2", 0.1)}[there]
    scale, own = (4, 0.2) if there == "photo" else (1, 0.05)
    save_model(upscalers / f"{there}.safetensors", lighter(own, scale), ModelInfo())
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    command = ("upscale", folder, "-o", out, "-m", "auto", "-s", "2", "--report", report)
    result = img2img(*command)
    assert made(result, report) == {"sharp.png": "x2", "camera.jpg": "x2", "web.jpg": name, "night.png": name}
    assert "with the model x2" in result.stderr and there.replace("none", "no model") in result.stderr
    assert made_lighter(folder / "sharp.png", out / "sharp.png") == pytest.approx(0.1, abs=0.01)
    assert made_lighter(folder / "night.png", out / "night.png") == pytest.approx(share, abs=0.01)
    again = img2img(*command)
    assert "4 skipped" in again.stderr and made(again, report)["night.png"] == name
    if there != "none":
        save_model(upscalers / f"{there}.safetensors", lighter(0.3, scale), ModelInfo())
        assert "2 done, 2 skipped" in img2img(*command).stderr


def test_strength_of_upscale_auto_holds_for_all_that_is_done(
    upscalers: Path, folder: Path, tmp_path: Path
) -> None:
    save_model(upscalers / "clean.safetensors", lighter(0.05), ModelInfo())
    command = ("upscale", folder / "night.png", "-o", tmp_path / "out", "-m", "auto", "--strength", "0")
    assert img2img(*command).exit_code == 0
    plain = resize(read_image(folder / "night.png").pixels, 4 * HEIGHT, 4 * WIDTH)
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "night.png").pixels, plain)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_two_hundred_jpegs_in_one_command_with_ctrl_c_between(tmp_path: Path) -> None:
    source, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.jsonl"
    save_model(tmp_path / "own.safetensors", lighter(0.1), ModelInfo())
    files = {f"{n % 7}/{n}.jpg": jpeg(15 + 30 * (n % 4), side=200) for n in range(200)}
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    command = ["-m", "img2img", "restore", source, "-o", out, "-m", tmp_path / "own.safetensors"]
    command += ["--task", "auto", "--report", report, "-v"]
    with programs.start(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("done"):
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finished = {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    assert 0 < len(finished) < 200 and not list(out.rglob("*.part"))
    for name in finished:
        assert read_image(out / name).width == 200
    again = programs.run(command)
    assert again.returncode == 0 and f"{200 - len(finished)} done, {len(finished)} skipped" in again.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(lines) == 200
    for line in lines:
        name = Path(line["source"]).relative_to(source).as_posix()
        stored = (out / name).read_bytes()
        damaged = read_image(source / name).jpeg_quality < 80
        assert line["made_by"] == ("own" if damaged else "untouched")
        assert (stored == files[name]) is not damaged
        assert finished.get(name) in (None, (out / name).stat().st_mtime_ns)
        if damaged:
            assert_lighter(read_image(source / name), read_image(out / name), tolerance=20)
    assert "0 done, 200 skipped" in programs.run(command).stderr


def test_what_nothing_here_has_made_is_made_anew(clean: Path, folder: Path, tmp_path: Path) -> None:
    command = ("restore", folder / "sharp.png", "-o", tmp_path / "out", "-v")
    assert "(untouched)" in img2img(*command).stderr
    manifest = tmp_path / "out" / ".img2img" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"untouched"', '"\\u001b[2J\\nfailed"'))
    result = img2img(*command)
    assert result.exit_code == 0 and "1 done" in result.stderr and "\x1b" not in result.stderr


def test_results_of_a_gan_have_the_colours_of_their_inputs(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "gan.safetensors", lighter(0.1), ModelInfo(adversarial=True))
    before = read_image(folder / "sharp.png")
    for share, more in ((0, []), (0.1, ["--color-fix", "off"])):
        out = tmp_path / f"{share}"
        command = ("restore", folder / "sharp.png", "-o", out, "-m", tmp_path / "gan.safetensors")
        assert img2img(*command, *more).exit_code == 0
        assert_lighter(before, read_image(out / "sharp.png"), share)
