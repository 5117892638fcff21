"""A lock is held by one process at a time, goes with it, and never touches what is not its own file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from img2img.lock import HeldError, hold, holder, release

HOLDER = """
import sys, time
from pathlib import Path
from img2img.lock import hold
file = hold(Path(sys.argv[1]), "somebody else")
print("ready", flush=True)
time.sleep(60)
"""


def test_one_at_a_time_and_a_killed_one_leaves_nothing_that_blocks(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        assert holder(path) == "somebody else"
        with pytest.raises(HeldError, match="somebody else"):
            hold(path, "me")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.exists(), "nobody could clean up"
    file = hold(path, "me")
    assert path.read_text() == "me" and holder(path) == "me"
    with pytest.raises(HeldError, match="me"):
        hold(path, "another thread of the same process")
    release(path, file)
    assert not path.exists()
    path.touch()
    assert holder(path) is None and not path.exists()


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
    with pytest.raises(OSError):
        hold(path, "me")
    assert holder(path) is None
    assert other.read_text() == "precious" and os.path.lexists(path)
