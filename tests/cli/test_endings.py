"""How commands end: nobody reads on, a disk is full, a signal comes; and what reaches the terminal."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import programs
import psutil
import pytest
from click.testing import CliRunner

from img2img.cli.main import cli
from img2img.cli.render import say
from img2img.errors import display_path, display_text
from img2img.image import Image, write_image

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        write_image(Image(np.zeros((4, 6, 3), np.uint8)), folder / name)
    return folder


def run(photos: Path, *arguments: object, **streams: Any) -> subprocess.CompletedProcess[str]:
    return programs.run(["-m", "img2img", *_process(photos, *arguments)], **streams)


def outputs(photos: Path) -> list[str]:
    return sorted(path.name for path in (photos.parent / "out").glob("*.png"))


@needs_full
def test_a_summary_that_is_lost_is_told_and_the_code_is_not_that_of_a_run_that_never_was(
    photos: Path,
) -> None:
    with FULL.open("w") as full:
        ended = run(photos, "--json", stdout=full)
    assert ended.returncode == 1 and "summary cannot be written to stdout" in ended.stderr
    assert "2 done" in ended.stderr and outputs(photos) == ["a.png", "b.png"]


def test_a_reader_that_is_gone_is_no_failure(photos: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ended = run(photos, "--json", stdout=writer)
    assert ended.returncode == 0 and "Broken pipe" not in ended.stderr and "Traceback" not in ended.stderr
    ended = run(photos, "--overwrite", "-v", "--progress", "rich", stderr=writer)
    assert ended.returncode == 0 and outputs(photos) == ["a.png", "b.png"]
    os.close(writer)


@needs_full
def test_messages_that_cannot_be_shown_end_nothing(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"\x89PNG")
    with FULL.open("w") as full:
        assert run(photos, "-v", stderr=full).returncode == 1  # of the broken file
    assert outputs(photos) == ["a.png", "b.png"]


@needs_full
def test_a_report_on_a_full_disk_is_told_once_and_ends_nothing(photos: Path) -> None:
    ended = run(photos, "--report", FULL)
    assert ended.returncode == 1 and ended.stderr.count("/dev/full") == 1
    assert "2 done" in ended.stderr and outputs(photos) == ["a.png", "b.png"]


def test_a_report_goes_into_a_pipe_that_is_read_and_waits_for_nobody(photos: Path) -> None:
    pipe = photos.parent / "pipe"
    os.mkfifo(pipe)
    assert CliRunner().invoke(cli, _process(photos, "--report", pipe)).exit_code == 2
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert CliRunner().invoke(cli, _process(photos, "--report", pipe)).exit_code == 0
    assert os.read(reader, 10_000).count(b"\n") == 2
    os.close(reader)


def test_an_earlier_report_stays_when_nothing_starts(photos: Path) -> None:
    report = photos.parent / "report"
    assert CliRunner().invoke(cli, _process(photos, "--report", report)).exit_code == 0
    before = report.read_text()
    output = photos.parent / "x"
    command = ["translate", photos, "-o", output, "-m", photos / "a.png", "--report", report]
    assert CliRunner().invoke(cli, list(map(str, command))).exit_code == 2
    assert not output.exists()
    assert report.read_text() == before and before


def _process(photos: Path, *more: object) -> list[str]:
    return ["process", str(photos), "-o", str(photos.parent / "out"), "--op", "flip", *map(str, more)]


STUCK = """
import subprocess, sys, time
from img2img.cli.main import cli
from img2img.processors import Chain

def stuck(self, images):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("working", flush=True)
    time.sleep(60)

Chain.__call__ = stuck
cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.sampled(1)
def test_a_second_signal_ends_what_hangs_at_once_with_its_processes(
    photos: Path, number: int, code: int
) -> None:
    command = ["-c", STUCK, *_process(photos)]
    with programs.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "working\n"
        children = psutil.Process(process.pid).children()
        process.send_signal(number)
        assert "once more ends it" in process.stderr.readline()
        started = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == code and time.monotonic() - started < 5
    assert children and not psutil.wait_procs(children, 5)[1]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_signal_in_the_middle_of_a_line_costs_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer that is being written takes nothing from the handler; rich may repeat the line."""
    reader, writer = os.pipe()

    class Raw(io.FileIO):
        lines = 0

        def write(self, data: Any) -> int:
            self.lines += 1
            if self.lines == 2:
                signal.raise_signal(signal.SIGUSR1)
            return super().write(data)

    before = signal.signal(signal.SIGUSR1, lambda number, frame: say("a signal"))
    with io.TextIOWrapper(io.BufferedWriter(Raw(writer, "w")), line_buffering=True) as stream:
        monkeypatch.setattr("sys.stderr", stream)
        for line in ("one", "two", "three"):
            say(line)
    signal.signal(signal.SIGUSR1, before)
    with os.fdopen(reader) as lines:
        assert set(lines.read().split("\n")) == {"", "one", "a signal", "two", "three"}


# what is shown


HOSTILE = ("\x1b[2J.png", "\x1b]0;owned\x07.png", "‮gnp.png", "[red]x[blink].png", "a\rb.png", "\x9b31m.png")


def is_harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize(
    "more", [["--dry-run"], ["-v"], ["--json"], ["--exclude", "*"], ["--ext", "jpg", "--suffix", "\x1b[1m"]]
)
def test_names_of_files_move_no_cursor(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in (*HOSTILE, os.fsdecode(b"caf\xe9.png")):
        (tmp_path / "in" / name).write_bytes(b"no picture")
    result = CliRunner().invoke(cli, _process(tmp_path / "in", *more))
    assert is_harmless(result.output), repr(result.output)
    if more == ["--json"]:
        failures = json.loads(result.stdout)["failures"]
        assert {os.fsencode(Path(f["source"]).name) for f in failures} >= {b"caf\xe9.png"}


@pytest.mark.parametrize(
    "command",
    [
        ["process", "{}", "-o", "out", "--op", "flip"],
        ["process", "in", "-o", "{}/x", "--op", "{}"],
        ["process", "in", "-o", "out", "--recipe", "{}"],
        ["upscale", "in", "-o", "out", "-m", "{}"],
        ["upscale", "in", "-o", "out", "--{}"],
        ["evaluate", "--scale", "2", "--pred", "{}", "--target", "in"],
        ["evaluate", "--protocol", "plain", "--pred", "in", "--target", "in"],
        ["data", "check", "--images", "{}"],
        ["data", "check", "{}"],
        ["model", "info", "{}"],
        ["config", "validate", "{}"],
        ["{}"],
    ],
    ids=str,
)
def test_no_command_shows_what_it_was_given_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_image(Image(np.zeros((16, 16, 3), np.uint8)), tmp_path / "in" / HOSTILE[2])
    result = CliRunner().invoke(cli, [word.format("\x1b[2J‮evil") for word in command])
    assert is_harmless(result.output), repr(result.output)


def test_texts_of_any_origin_are_shown_harmlessly(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\x1b[2J\ntwo ‮ \ud800 [red] é\x00")
    shown = capsys.readouterr().err
    assert is_harmless(shown) and shown.count("\n") == 2 and "[red] é" in shown
    assert display_path("a\nb") == "a\\nb" and display_text("a\nb\t") == "a\nb\\t"


def test_verbose_shows_one_line_a_file_and_nothing_of_other_packages(photos: Path) -> None:
    try:
        logging.getLogger("PIL.TiffImagePlugin").debug("not yet")
        result = CliRunner().invoke(cli, _process(photos, "-v"))
        for package in ("PIL.TiffImagePlugin", "torch", "another"):
            logging.getLogger(package).debug("tag: ImageWidth (256)")
            assert not logging.getLogger(package).isEnabledFor(logging.DEBUG)
    finally:
        logging.getLogger("img2img").handlers.clear()
        logging.getLogger("img2img").setLevel(logging.NOTSET)
    assert len(result.stderr.splitlines()) == 4, result.stderr  # two files, the summary, the memory
