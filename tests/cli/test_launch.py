"""One command, one process a device: what each is told, and what their exit codes amount to."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import programs
import pytest

from img2img.batch.shard import Shard
from img2img.cli.launch import launch, per_device, worst
from img2img.errors import UsageError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_each_device_gets_its_shard():
    commands = per_device(["img2img", "upscale", "in", "--device", "cuda:0,cuda:1"], ["cuda:0", " cuda:1"])
    assert [command[5:] for command in commands] == [
        ["--device", "cuda:0", "--shard", "1/2"],
        ["--device", "cuda:1", "--shard", "2/2"],
    ]


def test_options_stay_before_a_double_dash():
    (command,) = per_device(["img2img", "process", "--", "-odd"], ["cpu"])
    assert command == ["img2img", "process", "--device", "cpu", "--shard", "1/1", "--", "-odd"]


def test_machines_times_devices_cover_every_file_once():
    parts = [
        Shard.parse(command[-1])
        for machine in (1, 2, 3)
        for command in per_device(["x"], ["a", "b"], Shard(machine, 3))
    ]
    for name in (f"{i}.png" for i in range(200)):
        assert sum(part.holds(name) for part in parts) == 1


@pytest.mark.parametrize("devices", [[], ["cuda:0", " "]])
def test_devices_need_names(devices):
    with pytest.raises(UsageError, match="cuda:0,cuda:1"):
        per_device(["img2img"], devices)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0, 0], 0),
        ([0, 1], 1),
        ([3, 1, 0], 3),
        ([2, 3], 2),
        ([4, 0], 0),
        ([4, 1], 1),
        ([4, 4], 4),
        ([-9, 2], 137),
        ([130, 0], 130),
        ([143, 130, 2], 143),
    ],
)
def test_the_worst_exit_code_counts(codes, expected):
    assert worst(codes) == expected


def test_all_run_at_once_and_their_lines_carry_labels(tmp_path):
    code = """if True:
        import pathlib, sys, time
        own, other = map(pathlib.Path, sys.argv[1:3])
        own.touch()
        end = time.monotonic() + 20
        while not other.exists() and time.monotonic() < end:
            time.sleep(0.01)
        print("met" if other.exists() else "alone", file=sys.stderr)
        sys.exit(int(sys.argv[3]))"""
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    lines: list[str] = []
    code_ = launch([[*python(code), a, b, "0"], [*python(code), b, a, "3"]], ["gpu 0", "gpu 1"], lines.append)
    assert code_ == 3 and sorted(lines) == ["[gpu 0] met", "[gpu 1] met"]


def test_a_command_that_does_not_exist_ends_the_others(tmp_path):
    started = time.monotonic()
    with pytest.raises(UsageError, match="cannot be started"):
        launch([python("import time; time.sleep(60)"), [str(tmp_path / "missing")]], ["a", "b"])
    assert time.monotonic() - started < 20


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.sampled(1)
def test_signals_let_every_process_finish_its_work(number, expected, tmp_path):
    child = """if True:
        import pathlib, signal, sys, time
        def stop(number, frame):
            pathlib.Path(sys.argv[1] + ".finished").touch()
            sys.exit(128 + number)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        pathlib.Path(sys.argv[1]).touch()
        time.sleep(60)"""
    files = [tmp_path / "a", tmp_path / "b"]
    parent = (
        "import sys; from img2img.cli.launch import launch;"
        f"sys.exit(launch([[sys.executable, '-c', {child!r}, path] for path in sys.argv[1:]], ['a', 'b']))"
    )
    process = programs.start(["-c", parent, *files])
    _wait_for(files)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal tells the whole group
    else:
        process.send_signal(number)
    assert process.wait(30) == expected
    assert all(Path(f"{path}.finished").exists() for path in files)


def _wait_for(files: list[Path]) -> None:
    end = time.monotonic() + 30
    while not all(path.exists() for path in files):
        assert time.monotonic() < end, "the processes did not start"
        time.sleep(0.02)
