"""A lock is held by one process at a time, goes with it, and never touches what is not its own file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from img2img.files import LockedError, file_digest, file_lock, lock_holder, replacing, write_bytes

OTHER = """
import os, sys, time
from pathlib import Path
from img2img.files import file_lock
with file_lock(sys.argv[1], "somebody else"):
    child = os.fork() if len(sys.argv) > 2 else 0
    if child or len(sys.argv) == 2:
        print("ready", flush=True)
    time.sleep(60)
"""


def other_process(path: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", OTHER, str(path), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_one_at_a_time_and_a_killed_one_leaves_nothing_that_blocks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = other_process(path)
    assert lock_holder(path) == "somebody else"
    with pytest.raises(LockedError, match="somebody else"), file_lock(path, "me"):
        pass
    assert lock_holder(path) == "somebody else", "asking changes nothing"
    end(process)
    assert path.exists(), "nobody could clean up"
    with file_lock(path, "me"):
        assert path.read_text() == "me" and lock_holder(path) == "me"
        with pytest.raises(LockedError, match="me"), file_lock(path, "another thread of the same process"):
            pass
    assert not path.exists()
    path.touch()
    assert lock_holder(path) is None and not path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked off")
def test_a_forked_worker_does_not_keep_the_lock_of_its_killed_parent(tmp_path: Path) -> None:
    process = other_process(tmp_path / "lock", "with a child")
    process.kill()
    process.wait()
    try:
        os.killpg(process.pid, 0)  # the child lives
        with file_lock(tmp_path / "lock", "me", wait=True):
            pass
    finally:
        end(process)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_is_no_file_of_its_own_is_neither_followed_nor_written(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "lock", tmp_path / "picture.png"
    other.write_text("precious")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError), file_lock(path, "me"):
        pass
    assert lock_holder(path) is None
    assert other.read_text() == "precious" and os.path.lexists(path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """As some network file systems are: the work goes on, and what is lost is said."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with file_lock(tmp_path / "lock", "me"):
        pass
    assert "no locks" in caplog.text and not list(tmp_path.iterdir())


def test_what_is_written_has_its_digest_and_what_fails_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    write_bytes(b"old", path)
    old = file_digest(path)
    with pytest.raises(RuntimeError, match="half"), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError("half of it")
    assert file_digest(path) == old and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OSError) as caught, replacing(tmp_path / "nowhere" / "x"):
        pass
    assert caught.value.filename == str(tmp_path / "nowhere" / "x")
