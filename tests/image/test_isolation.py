"""A decoder that hangs, crashes, fills the memory or complains fails its file alone; nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile
import numpy as np
import programs
import psutil
import pytest
from pictures import from_pillow, smooth

from img2img.errors import ImageLimitError, ImageReadError
from img2img.image import Image, Limits, formats, isolation
from img2img.image.codec import decode

ROOT = Path(__file__).parents[2]


class Quick(Limits):
    """Limits under which nothing takes long."""

    def seconds(self, file_size: int) -> float:
        return 0.2


QUICK = Quick()


def fork(line: list[str], *, env: dict[str, str], **_: Any) -> Any:
    """Starts a worker without the half second of imports that it costs a fresh interpreter."""
    pipe = subprocess.PIPE
    code = line[line.index("-c") :]
    return programs.start(code, env=env, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=False)


FORKING = SimpleNamespace(**{**vars(subprocess), "Popen": fork})


@pytest.fixture(autouse=True)
def _formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "FORMATS", (hostile.FORMAT, *formats.FORMATS))
    monkeypatch.setattr(isolation, "_SERVE", hostile.SERVE)
    monkeypatch.setattr(isolation, "subprocess", FORKING)


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    isolation._end_all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolation, "_SERVE", hostile.SERVE)
        patch.setattr(isolation, "subprocess", FORKING)
        isolation._Process()  # or what follows would happen in this process
    yield
    isolation._end_all()


@pytest.fixture
def _fresh(_none_yet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets workers be what they are for users: interpreters that start from nothing."""
    monkeypatch.setattr(isolation, "subprocess", subprocess)


@pytest.fixture
def _none_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolation._end_all()
    monkeypatch.setattr(isolation, "_can_start", None)
    yield
    isolation._end_all()


def order(what: str) -> Image:
    return decode(hostile.MAGIC + what.encode(), QUICK)


def worker() -> int:
    """Returns the number of the process that decodes."""
    return int(order("pid").warnings[0])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("spin 60", "took longer"),
        ("abort", "crashed"),
        pytest.param("segfault", "crashed", marks=pytest.mark.slow),  # as much of an end as the others
        pytest.param("exit", "crashed", marks=pytest.mark.slow),
        pytest.param("cut", "crashed", marks=pytest.mark.slow),
        ("object", "crashed"),
        pytest.param("print 1", "premature end of something", marks=pytest.mark.slow),
        ("print 2", "premature end of something"),
        ("raise", "what the library says"),
    ],
)
def test_what_a_decoder_does_fails_its_file_alone(what: str, words: str) -> None:
    started = time.monotonic()
    with pytest.raises(ImageReadError, match=words):
        order(what)
    assert time.monotonic() - started < 10
    np.testing.assert_array_equal(order("nothing").pixels, np.full((8, 8, 3), 255, np.uint8))


def test_standing_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads of a decoder that wait for each other take no processor time."""
    monkeypatch.setattr(isolation, "_STALLED", 3)
    monkeypatch.setattr(isolation, "_POLL", 0.05)
    with pytest.raises(ImageReadError, match="stood still"):
        order("sleep 60")


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux alone")
def test_memory_is_bounded() -> None:
    with pytest.raises(ImageLimitError, match="more memory"):
        order(f"memory {2**40}")
    with pytest.raises(ImageLimitError, match="more memory"):
        order(f"memory {2**30}")
    order(f"memory {2**20}")


def test_what_a_decoder_prints_is_of_its_file_alone() -> None:
    with pytest.raises(ImageReadError, match="premature"):
        order("print 2")
    first = worker()
    order("harmless")
    assert worker() == first


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit on Windows")
def test_a_flood_of_messages_does_not_fill_the_disk() -> None:
    with pytest.raises(ImageReadError):
        order("flood")


@pytest.mark.usefixtures("_none_yet")
def test_workers_live_from_file_to_file_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_MAX_FILES", 2)
    first, again, new = worker(), worker(), worker()
    assert first == again != new
    assert len(isolation._all) == 1


def test_a_worker_that_somebody_ended_costs_no_file() -> None:
    """Whether that was noticed before the file was sent (mostly, below) or not (with threads it has)."""
    os.kill(worker(), signal.SIGKILL)
    order("nothing")


@pytest.mark.skipif(sys.platform == "win32", reason="an exit code says it there")
def test_a_worker_that_is_ended_while_it_decodes_is_replaced_once() -> None:
    with pytest.raises(ImageReadError, match="ended from outside"):
        order("kill")


@pytest.mark.usefixtures("_none_yet")
def test_threads_have_workers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_MAX_IDLE", 1)
    found: list[tuple[int, str]] = []
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        barrier.wait()
        image = order("sleep 0.2")
        found.append((number, str(image.pixels.shape)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(i, "(8, 8, 3)") for i in range(2)]
    assert len(isolation._idle) == len(isolation._all) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_workers_of_its_own() -> None:
    """As in the workers of a DataLoader."""
    mine = worker()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, str(worker()).encode())
            isolation._end_all()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    its = int(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    assert its != mine
    assert worker() == mine
    wait_for(lambda: not psutil.pid_exists(its))


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("executable", [None, "", "/no/such/python", "/bin/true"])
def test_without_workers_the_process_decodes_itself(
    executable: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program with Python inside; a system that lets nobody start processes."""
    monkeypatch.setattr(sys, "executable", executable)
    data = from_pillow(smooth(3), "JPEG2000")
    for _ in range(2):
        np.testing.assert_array_equal(decode(data).pixels, smooth(3))
    with pytest.raises(ImageReadError):
        decode(data[: len(data) // 2])
    with pytest.raises(ImageReadError, match="what the library says"):
        order("raise")
    assert len(caplog.records) == bool(executable)


@pytest.mark.slow
def test_torch_is_not_loaded() -> None:
    code = "import sys, img2img.image.isolation, img2img.image.formats; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.usefixtures("_fresh")
def test_modules_beside_the_pictures_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python started with -c looks for modules in the current folder first."""
    for name in ("json", "cv2", "numpy", "queue"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder] + [str(ROOT)])
    order("nothing")
    assert not (tmp_path / "ran").exists()
    assert isolation._can_start


@pytest.mark.usefixtures("_fresh")
def test_what_start_up_prints_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        isolation, "_SERVE", f"print('hello from sitecustomize', flush=True); {hostile.SERVE}"
    )
    order("nothing")


def wait_for(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def stuck(folder: Path, start: Callable[..., Any]) -> Iterator[tuple[Any, psutil.Process]]:
    """A run, and the worker of it that hangs."""
    source, mark = folder / "in", folder / "mark"
    source.mkdir()
    for i in range(3):
        (source / f"{i}.hostile").write_bytes(hostile.MAGIC + f"hang {mark}".encode())
    line = ["process", source, "-o", folder / "out", "--op", "flip", "--jobs", "1"]
    with start([hostile.__file__, *map(str, line)], cwd=ROOT, stderr=subprocess.PIPE) as run:
        wait_for(lambda: mark.exists() and mark.read_text().endswith("\n"))
        yield run, psutil.Process(int(mark.read_text()))
        run.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.sampled(1)
def test_a_signal_ends_a_run_whose_decoder_hangs(tmp_path: Path, number: int) -> None:
    def start(line: list[str], **options: Any) -> subprocess.Popen[str]:
        """An interpreter that ends as those of users do, with all that it still holds."""
        command = [sys.executable, "-W", "error::ResourceWarning", *line]
        return subprocess.Popen(command, text=True, **options)

    with stuck(tmp_path, start) as (run, child):
        run.send_signal(number)
        _, said = run.communicate(timeout=60)  # a busy machine takes its time; the words tell what ended it
    assert run.returncode == 128 + number
    assert "the run was ended while it was decoded" in said
    assert "ResourceWarning" not in said
    wait_for(lambda: not child.is_running())


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("numbers", [(signal.SIGKILL,), (signal.SIGINT, signal.SIGINT)])
@pytest.mark.sampled(1)
def test_no_worker_outlives_its_run(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    with stuck(tmp_path, programs.start) as (run, child):
        for number in numbers:
            run.send_signal(number)
            time.sleep(0.1)
        run.communicate(timeout=60)
    wait_for(lambda: not child.is_running())
