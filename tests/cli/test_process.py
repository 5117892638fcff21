"""`img2img process` as its users meet it: what is written, what is said, and with which exit code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from click.testing import CliRunner, Result
from PIL import Image as PillowImage

from img2img.cli.main import cli
from img2img.image import EncodeOptions, Image, decode, read_image, write_image


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures and a broken one, in a tree."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    ramp = np.arange(40 * 30 * 3, dtype=np.uint16).reshape(30, 40, 3)
    write_image(Image(ramp * 18), folder / "a.png")
    write_image(Image((ramp % 251).astype(np.uint8)), folder / "deep" / "b.jpg")
    return folder


@pytest.fixture
def broken(photos: Path) -> Path:
    data = (photos / "deep" / "b.jpg").read_bytes()
    (photos / "deep" / "c.jpg").write_bytes(data[: len(data) // 2])
    return photos


def test_the_tree_is_mirrored_and_depth_kept(photos: Path, tmp_path: Path) -> None:
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "resize=50%", "--op", "sharpen=0.5")
    assert result.exit_code == 0, result.output
    assert "2 done, 0 skipped, 0 failed" in result.stderr
    small = read_image(tmp_path / "out" / "a.png")
    assert (small.height, small.width, small.pixels.dtype) == (15, 20, np.uint16)
    assert read_image(tmp_path / "out" / "deep" / "b.jpg").width == 20


def test_stdout_is_for_data_only(photos: Path, tmp_path: Path) -> None:
    assert img2img("process", photos, "-o", tmp_path / "out", "--op", "flip").stdout == ""
    result = img2img("process", photos, "-o", tmp_path / "two", "--op", "flip", "--json")
    summary = json.loads(result.stdout)
    assert summary["done"] == 2
    assert summary["peak_memory"] > 10 * 2**20


def test_verbose_says_what_became_of_every_file_and_the_peak_memory(photos: Path, tmp_path: Path) -> None:
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--verbose")
    assert result.stderr.count("done    ") == 2
    assert "Peak memory " in result.stderr


def test_the_same_command_again_does_nothing_and_another_does_all(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    img2img("process", photos, "-o", out, "--op", "flip")
    again = img2img("process", photos, "-o", out, "--op", "flip")
    assert (again.exit_code, "0 done, 2 skipped" in again.stderr) == (0, True)
    other = img2img("process", photos, "-o", out, "--op", "flip=vertical")
    assert (other.exit_code, "2 done, 0 skipped" in other.stderr) == (0, True)


def test_a_bad_file_is_named_and_survived(broken: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    result = img2img("process", broken, "-o", tmp_path / "out", "--op", "flip", "--report", report)
    assert result.exit_code == 1
    assert "c.jpg" in result.stderr
    assert "2 done, 0 skipped, 1 failed" in result.stderr
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert sorted(line["status"] for line in lines) == ["done", "done", "failed"]
    (failed,) = [line for line in lines if line["status"] == "failed"]
    assert failed["source"].endswith("c.jpg")
    assert failed["reason"]
    assert set(failed) == {"source", "output", "status", "reason", "warnings", "ms"}
    assert not (tmp_path / "out" / "deep" / "c.jpg").exists()


def test_max_failures_stops_with_code_3(broken: Path, tmp_path: Path) -> None:
    command = ("process", broken, "-o", tmp_path / "out", "--op", "flip", "--max-failures", 1)
    assert img2img(*command).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["photos", "-o", "out"], 2, "--op"),
        (["photos", "-o", "out", "--op", "sharpe"], 2, "did you mean 'sharpen'?"),
        (["photos", "-o", "out", "--op", "sharpen=lots", "--op", "gama=2"], 2, "gama"),
        (["nowhere", "-o", "out", "--op", "flip"], 2, "nowhere"),
        (["photos", "-o", "photos", "--op", "flip"], 2, "photos"),
        (["photos", "-o", "photos/out", "--op", "flip"], 2, "photos"),
        (["photos", "-o", "out", "--op", "flip", "--ext", "xyz"], 2, ".xyz"),
        (["photos", "-o", "out", "--op", "flip", "--shard", "3/2"], 2, "3/2"),
        (["photos", "-o", "out", "--op", "flip", "--include", "*.tif"], 4, ""),
        (["photos", "-o", "-", "--op", "flip"], 2, "one input file"),
        (["photos", "-o", "", "--op", "flip"], 2, "-o is empty"),
        (["photos", "-o", "photos/a.png/out", "--op", "flip"], 2, "a.png is a file"),
        (["photos", "-o", "x" * 300, "--op", "flip"], 2, "too long"),
        (["x" * 300, "-o", "out", "--op", "flip"], 2, "no such file"),
        (["photos", "-o", "out", "--op", "flip", "--report", "photos/a.png"], 2, "is no report"),
        (["photos", "-o", "out", "--op", "flip", "--report", "photos/a.png/report"], 2, "cannot be written"),
        (["photos/a.png", "-o", "-", "--op", "flip", "--report", "r"], 2, "without --report"),
    ],
)
def test_refusals_are_one_line_and_start_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = img2img("process", *arguments)
    assert result.exit_code == code, result.output
    assert "Error: " in result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
    assert read_image(photos / "a.png").pixels.shape == (30, 40, 3)


def test_colliding_outputs_are_shown_before_any_work(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a.png", photos / "a.tif")
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--ext", "png")
    assert result.exit_code == 2
    assert "a.png" in result.stderr
    assert "a.tif" in result.stderr
    assert not (tmp_path / "out").exists()


def test_dry_run_prints_the_plan_and_writes_nothing(photos: Path, tmp_path: Path) -> None:
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--ext", "webp", "--dry-run")
    assert result.exit_code == 0
    assert f"{photos / 'deep' / 'b.jpg'} -> {tmp_path / 'out' / 'deep' / 'b.webp'}" in result.stdout
    assert not (tmp_path / "out").exists()


def test_dry_run_lists_what_a_run_would_do(photos: Path, tmp_path: Path) -> None:
    """Not what is up to date, and with a warning what stands in the way."""
    command = ["process", photos, "-o", tmp_path / "out", "--op", "flip"]
    assert img2img(*command).exit_code == 0
    result = img2img(*command, "--dry-run")
    assert result.exit_code == 0 and not result.stdout
    assert "0 files; 2 more would be up to date; nothing was written." in result.stderr
    assert len(img2img(*command, "--op", "blur", "--dry-run").stdout.splitlines()) == 2, "other settings"
    write_image(Image(np.zeros((9, 9, 3), np.uint8)), photos / "new.png")
    write_image(Image(np.zeros((9, 9, 3), np.uint8)), tmp_path / "out" / "foreign.png")
    write_image(Image(np.zeros((9, 9, 3), np.uint8)), photos / "foreign.png")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = img2img(*command, "--dry-run")
    assert result.stdout.splitlines() == [f"{photos / 'new.png'} -> {tmp_path / 'out' / 'new.png'}"]
    assert "foreign.png: a file that img2img did not write" in result.stderr
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_a_report_may_lie_in_the_output_folder_and_replaces_the_last_one(
    photos: Path, tmp_path: Path
) -> None:
    report = tmp_path / "out" / "report.jsonl"
    for status in ("done", "skipped"):
        result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--report", report)
        assert result.exit_code == 0, result.output
        assert [json.loads(line)["status"] for line in report.read_text().splitlines()] == [status, status]


def test_the_report_tells_what_damage_a_source_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = np.clip(rng.normal(128, 20, (96, 96, 3)), 0, 255).astype(np.uint8)
    (tmp_path / "in").mkdir()
    write_image(Image(noise), tmp_path / "in" / "noise.png")
    write_image(Image(noise), tmp_path / "in" / "photo.jpg", EncodeOptions(quality=35))
    report = tmp_path / "report.jsonl"
    result = img2img("process", tmp_path / "in", "-o", tmp_path / "out", "--op", "flip", "--report", report)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    inputs = {Path(line["source"]).name: line["input"] for line in lines}
    assert inputs["noise.png"]["jpeg_quality"] is None and 17 < inputs["noise.png"]["noise"] < 23
    assert inputs["photo.jpg"]["jpeg_quality"] == 35


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&- <&-"])
@pytest.mark.sampled(1)
def test_streams_that_the_caller_closed_are_not_missed(photos: Path, tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "img2img", "process", photos, "-o", tmp_path / "out", "--op", "flip"]
    finished = subprocess.run(f"{shlex.join(map(str, command))} {closed}", shell=True, check=False)
    assert finished.returncode == 0
    assert read_image(tmp_path / "out" / "a.png").width == 40


def test_a_file_of_somebody_else_is_not_replaced(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"precious")
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip")
    assert result.exit_code == 1
    assert (tmp_path / "out" / "a.png").read_bytes() == b"precious"
    assert img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--overwrite").exit_code == 0
    assert read_image(tmp_path / "out" / "a.png").width == 40


def test_a_file_or_stdout_as_output(photos: Path, tmp_path: Path) -> None:
    source = photos / "deep" / "b.jpg"
    assert img2img("process", source, "-o", tmp_path / "one.png", "--op", "grayscale").exit_code == 0
    written = read_image(tmp_path / "one.png")
    assert written.channels == 1
    piped = img2img("process", source, "-o", "-", "--ext", "png", "--op", "grayscale")
    assert piped.exit_code == 0
    assert np.array_equal(decode(piped.stdout_bytes).pixels, written.pixels)


def test_stdout_gets_nothing_in_a_dry_run(photos: Path) -> None:
    result = img2img("process", photos / "a.png", "-o", "-", "--op", "flip", "--dry-run")
    assert (result.exit_code, result.stdout_bytes) == (0, b"")
    assert "a.png -> stdout" in result.stderr


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_an_animation_to_stdout_is_one_picture_with_a_sentence_or_refused(tmp_path: Path, name: str) -> None:
    first, *others = [PillowImage.new("RGB", (9, 7), (60 * index, 0, 0)) for index in range(3)]
    first.save(tmp_path / name, save_all=True, append_images=others)
    piped = img2img("process", tmp_path / name, "-o", "-", "--op", "flip", "--quiet")
    assert piped.exit_code == 0 and decode(piped.stdout_bytes).width == 9
    assert "holds 3 pictures; only the first was used" in piped.stderr
    refused = img2img("process", tmp_path / name, "-o", "-", "--op", "flip", "--animated")
    assert (refused.exit_code, refused.stdout_bytes) == (2, b"")
    assert f"{name} is an animation: name a file for the result" in " ".join(refused.stderr.split())
    first.save(tmp_path / "still.png")
    assert img2img("process", tmp_path / "still.png", "-o", "-", "--op", "flip", "--animated").exit_code == 0


def test_a_video_to_stdout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    result = img2img("process", tmp_path / "a.mp4", "-o", "-", "--op", "flip")
    assert (result.exit_code, result.stdout_bytes) == (2, b"")
    assert "a.mp4 is a video: name a file for the result" in " ".join(result.stderr.split())


def test_what_png_cannot_hold_goes_to_stdout_as_tiff(tmp_path: Path) -> None:
    write_image(Image(np.full((4, 5, 3), 0.5, np.float32)), tmp_path / "a.pfm")
    piped = img2img("process", tmp_path / "a.pfm", "-o", "-", "--ext", "jpg", "--op", "flip")
    assert piped.exit_code == 0, piped.output
    assert piped.stdout_bytes.startswith(b"II*")


def test_a_broken_file_to_stdout_writes_nothing(broken: Path) -> None:
    result = img2img("process", broken / "deep" / "c.jpg", "-o", "-", "--op", "flip")
    assert (result.exit_code, result.stdout_bytes) == (1, b"")


def test_recipes_come_before_operations(photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("- grayscale\n- resize: 50%\n")
    result = img2img("process", photos, "-o", tmp_path / "out", "--recipe", recipe, "--op", "resize=50%")
    assert result.exit_code == 0, result.output
    tiny = read_image(tmp_path / "out" / "a.png")
    assert (tiny.channels, tiny.width) == (1, 10)


def test_control_characters_in_names_do_not_reach_the_terminal(photos: Path, tmp_path: Path) -> None:
    (photos / "evil\x1b[2Jname.png").write_bytes(b"no picture")
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "-v")
    assert result.exit_code == 1
    assert "\x1b[2J" not in result.output
    assert "evil\\x1b[2Jname.png" in result.stderr


def test_every_operation_is_listed_with_its_parameters() -> None:
    from img2img.processors import processors

    result = img2img("process", "--list-ops")
    assert result.exit_code == 0
    for name in processors:
        assert f"{name}  " in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.sampled(1)
def test_a_signal_finishes_what_is_in_flight(tmp_path: Path, number: int, code: int) -> None:
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    write_image(Image(picture), folder / "0.png")
    for index in range(1, 400):
        os.link(folder / "0.png", folder / f"{index}.png")
    arguments = ["process", str(folder), "-o", str(out), "--op", "denoise=0.5", "--verbose"]
    with programs.start(["-m", "img2img", *arguments], stderr=subprocess.PIPE, cwd=tmp_path) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("done"):
                break
        run.send_signal(number)
        rest = run.stderr.read()
    assert run.returncode == code, rest
    assert "not started" in rest
    written = [path for path in out.iterdir() if path.suffix == ".png"]
    assert 0 < len(written) < 400
    for path in written:
        assert read_image(path).width == 400
    assert not list(out.glob(".*.part"))


def test_libraries_do_not_talk_into_the_progress(tmp_path: Path) -> None:
    script = f"""
import os
from img2img.cli.main import cli
from img2img.processors import Chain

def noisy(self, images):
    os.write(2, b"libpng warning: nobody wants to know\\n")
    return list(images)

Chain.__call__ = noisy
cli.main(["process", {str(tmp_path / "in")!r}, "-o", {str(tmp_path / "out")!r}, "--op", "flip"])
"""
    (tmp_path / "in").mkdir()
    write_image(Image(np.zeros((2, 2, 3), np.uint8)), tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    run = programs.run(["-c", script])
    assert run.returncode == 1
    assert "b.png" in run.stderr
    assert "1 done, 0 skipped, 1 failed" in run.stderr
    assert "libpng" not in run.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "web page"),
    ],
)
def test_what_stands_in_place_of_a_picture_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    result = img2img("process", tmp_path / "a.png", "-o", tmp_path / "out", "--op", "flip")
    assert result.exit_code == 1
    assert words in result.stderr


def test_more_threads_than_any_system_starts_are_refused(photos: Path, tmp_path: Path) -> None:
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--jobs", 10**5)
    assert result.exit_code == 2
    assert "--jobs" in result.stderr


def test_messages_name_the_options_of_the_command(photos: Path, tmp_path: Path) -> None:
    """What the library calls `overwrite` and `extension` is --overwrite and --ext here, in the report too."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    report = tmp_path / "report.jsonl"
    result = img2img("process", photos, "-o", tmp_path / "out", "--op", "flip", "--report", report)
    assert "--overwrite" in result.stderr and "`" not in result.stderr
    reasons = [json.loads(line)["reason"] for line in report.read_text().splitlines()]
    assert any("--overwrite" in reason for reason in reasons)
