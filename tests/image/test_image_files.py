"""Files: whatever their name; complete or absent; found in an order that people expect."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from pictures import from_pillow, picture, smooth

from img2img.errors import (
    ImageFitError,
    ImageFormatError,
    ImageLimitError,
    ImageReadError,
    ImageWriteError,
)
from img2img.files import part_beside, sweep_parts
from img2img.image import (
    Image,
    Limits,
    Passed,
    discover,
    list_images,
    read_image,
    write_bytes,
    write_image,
)
from img2img.image.discovery import sentences_not_read

NAMES = {
    "plain": "x.png",
    "accents": "Grüße – été.png",
    "other scripts": "写真_фото_📷.png",
    "not text": os.fsdecode(b"caf\xe9\xff.png"),
    "control characters": "a\tb\x1b[31m.png",
    "leading dash": "-rf.png",
    "spaces": "  x  .png",
    "255 bytes": "n" * 251 + ".png",
    "255 bytes of accents": "é" * 125 + "n.png",
}


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_image(picture(), path)
    np.testing.assert_array_equal(read_image(path).pixels, smooth(4)[:, :, :3])
    assert [found.path for found in discover(tmp_path)] == [path]
    assert listing(tmp_path) == [name]


def test_a_name_that_is_too_long_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match="cannot be written"):
        write_image(picture(), tmp_path / ("n" * 252 + ".png"))
    assert listing(tmp_path) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF", "JPEG2000"])
def test_the_name_does_not_decide_what_a_file_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "wrong.ppm"
    path.write_bytes(from_pillow(smooth(3), kind))
    assert read_image(path).pixels.shape == (33, 47, 3)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (
        ("x.png", "folder"),
        ("pipe.png", "pipe"),
        ("gone.png", "No such"),
        ("empty.png", "empty"),
    ):
        with pytest.raises(ImageReadError, match=words) as caught:
            read_image(tmp_path / name)
        assert caught.value.path == tmp_path / name
    with pytest.raises(ImageReadError, match="device"):
        read_image("/dev/zero")


def test_a_large_file_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageLimitError, match="bytes"):
        read_image(path)
    write_image(picture(), tmp_path / "x.png")
    with pytest.raises(ImageLimitError, match="max_file_size"):
        read_image(tmp_path / "x.png", Limits(max_file_size=100))


# writing


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bytes(b"old", path)
    seen = []

    def look() -> None:
        parts = [name for name in listing(tmp_path) if name != "x.bin"]
        seen.append((path.read_bytes(), len(parts), (tmp_path / parts[0]).read_bytes()))

    write_bytes(b"new", path, before_replace=look)
    assert seen == [(b"old", 1, b"new")]
    assert path.read_bytes() == b"new"
    assert listing(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("no")])
@pytest.mark.parametrize("step", ["fsync", "before_replace", "replace"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def fail(*args: object, **options: object) -> None:
        raise error

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    expected = ImageWriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_bytes(b"new", path, before_replace=fail if step == "before_replace" else None)
    if isinstance(caught.value, ImageWriteError):
        assert "no space is left" in str(caught.value) and caught.value.path == path
    assert listing(tmp_path) == ["x.png"]
    assert path.read_bytes() == b"old"


def test_a_full_disk_leaves_no_part(tmp_path: Path) -> None:
    """A limit on file size stands for a disk that fills up in the middle of a write."""
    script = (
        "import resource, signal, sys\n"
        "from img2img.errors import ImageWriteError\n"
        "from img2img.image import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_bytes(bytes(5000), sys.argv[1])\n"
        "except ImageWriteError as error:\n    sys.exit(7)\n"
    )
    done = programs.run(["-c", script, tmp_path / "x.png"])
    assert done.returncode == 7
    assert listing(tmp_path) == []


def test_a_misfit_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ImageFitError) as caught:
        write_image(picture(dtype="uint16"), tmp_path / "x.jpg")
    assert caught.value.path == tmp_path / "x.jpg"
    with pytest.raises(ImageWriteError, match="No such"):
        write_image(picture(), tmp_path / "no" / "x.png")
    assert listing(tmp_path) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(b"x", tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_parts_of_the_dead_are_swept_and_others_are_not(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    alive = part_beside(tmp_path / "x")
    dead = tmp_path / alive.name.replace(f"-{os.getpid()}-", f"-{child.pid}-")
    elsewhere = tmp_path / f".img2img-{'0' * 8}-1-0.part"
    forgotten = tmp_path / f".img2img-{'0' * 8}-2-0.part"
    foreign = tmp_path / "movie.part"
    for path in (dead, alive, elsewhere, forgotten, foreign):
        path.touch()
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(forgotten, (yesterday, yesterday))
    assert sweep_parts(tmp_path) == 2
    assert {p.name for p in tmp_path.iterdir()} == {alive.name, elsewhere.name, foreign.name}
    assert sweep_parts(tmp_path / "gone") == 0


def test_a_part_from_before_this_process_is_dead_although_its_number_lives(tmp_path: Path) -> None:
    part = part_beside(tmp_path / "x")
    part.write_bytes(b"half")
    assert sweep_parts(tmp_path) == 0
    os.utime(part, (1e9, 1e9))  # in a container, the process that was killed often had our number
    assert sweep_parts(tmp_path) == 1


# finding


def _names(folder: Path, **options: Any) -> list[str]:
    return [os.fspath(found.path.relative_to(folder)) for found in discover(folder, **options)]


def test_natural_order(tmp_path: Path) -> None:
    for name in (
        "img10.png",
        "img2.png",
        "IMG1.jpg",
        "img02.png",
        "a/z.png",
        "b.png",
        "a10/x.png",
        "a9/x.png",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = ["a/z.png", "a9/x.png", "a10/x.png", "b.png", "IMG1.jpg", "img02.png", "img2.png", "img10.png"]
    assert _names(tmp_path) == expected
    assert _names(tmp_path, recursive=False) == expected[3:]


TRASH_AND_CACHES = (
    ".Trash-1000/files", ".Trash", ".Trashes", "#recycle", "$RECYCLE.BIN/S-1-5", "RECYCLER", "@Recycle",
    "@eaDir", ".ipynb_checkpoints", ".thumbnails", ".thumb", ".@__thumb", ".cache", ".git", ".svn", ".hg",
    "__pycache__", ".dropbox.cache", ".stversions", ".stfolder", ".sync", "lost+found", ".AppleDouble",
    ".fseventsd",
    ".DocumentRevisions-V100", ".TemporaryItems", "__MACOSX", "Previews.lrdata", "System Volume Information",
    ".img2img", "sub/.Trash-0",
)  # fmt: skip


def test_what_is_no_user_s_picture_is_left_out(tmp_path: Path) -> None:
    for name in (
        "Thumbs.db", ".DS_Store", "desktop.ini", "._x.jpg", "~$x.jpg", "x.jpg.part", ".syncthing.x.jpg.tmp",
        "~syncthing~x.jpg", ".img2img-00000000-1-1.part", ".img2img-manifest.jsonl", "notes.txt", "x.png",
        "README.md", "y.tga", "z.HEIC", "W.TIFF", "no_extension",
        *(f"{name}/x.png" for name in TRASH_AND_CACHES),
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    for hidden in (False, True):
        assert _names(tmp_path, hidden=hidden) == ["W.TIFF", "x.png", "y.tga", "z.HEIC"]
    assert _names(tmp_path / ".Trash") == ["x.png"], "what is named itself is meant"


def test_hidden_files_and_folders_are_told_and_taken_on_request(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".stash/c.png", ".stash/deep/d.png", ".notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    passed = Passed()
    assert _names(tmp_path, passed=passed) == ["a.png"]
    (note,) = passed.notes()
    assert (
        "2 hidden files and folders" in note and ".b.png" in note and ".stash" in note and "`hidden`" in note
    )
    assert _names(tmp_path, hidden=True) == [".b.png", ".stash/c.png", ".stash/deep/d.png", "a.png"]


def test_links_to_files_are_followed_and_broken_ones_told(tmp_path: Path) -> None:
    """As in the caches of Hugging Face, DVC and git-annex: every file is a link into a store."""
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "blob").touch()
    (folder / "link.png").symlink_to(tmp_path / "blob")
    (folder / "a" / "chain.JPG").symlink_to("../link.png")
    (folder / "dangling.png").symlink_to("../gone")
    (folder / "dangling.txt").symlink_to("../gone")
    (folder / "self.png").symlink_to("self.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    passed = Passed()
    found = {f.path.relative_to(folder).as_posix(): f for f in discover(folder, passed=passed)}
    assert {name for name, f in found.items() if f.problem is None} == {"link.png", "a/chain.JPG"}
    assert all(f.link for f in found.values())
    assert "../gone, which does not exist" in (found["dangling.png"].problem or "")
    assert found["self.png"].problem and "dangling.txt" not in found
    assert passed.count["special"] == 1, "a device is no file, whatever its link is called"


def test_links_to_folders_are_told_followed_on_request_and_loops_end(tmp_path: Path) -> None:
    for name in ("in/z/x.png", "in/.old/o.png", "more/m.png", "more/deep/n.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    folder = tmp_path / "in"
    (folder / "a").symlink_to(folder / "z")  # sorts before the folder itself
    (folder / "current").symlink_to(".old")
    (folder / "z" / "loop").symlink_to("..")
    (folder / "more").symlink_to(tmp_path / "more")
    (folder / "more again").symlink_to(tmp_path / "more")
    (tmp_path / "more" / "back").symlink_to(folder)
    passed = Passed()
    assert _names(folder, passed=passed) == ["z/x.png"]
    assert passed.count["link"] == 5
    assert "5 links to folders" in passed.notes()[1] and "`follow_symlinks`" in passed.notes()[1]
    assert _names(folder, follow_symlinks=True) == [
        "current/o.png",
        "more/deep/n.png",
        "more/m.png",
        "z/x.png",
    ]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ({}, "empty"),
        ({"a.mov": ""}, "no extension of a picture: 1 .mov"),
        ({".a.png": ""}, "`hidden`"),
        ({".Trash-1000/a.png": ""}, "deleted files"),
        ({"sub": "/"}, "`follow_symlinks`"),
    ],
)
def test_that_there_is_nothing_has_its_true_reason(tmp_path: Path, make: dict[str, str], reason: str) -> None:
    for name, target in make.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target) if target else (tmp_path / name).touch()
    passed = Passed()
    assert _names(tmp_path, passed=passed) == []
    assert reason in passed.reasons()


def test_kinds_that_are_not_read_go_by_their_content_and_cameras_by_their_name(tmp_path: Path) -> None:
    write_image(Image(np.zeros((4, 4, 3), np.uint8)), tmp_path / "a.tif")
    for name in ("b.psd", "c.NEF", "d.dng"):
        shutil.copy(tmp_path / "a.tif", tmp_path / name)
    (tmp_path / "e.psd").write_bytes(b"8BPS" + bytes(40))
    (tmp_path / "f.SVG").write_bytes(b"<svg/>")
    listing = list_images(tmp_path)
    assert [path.name for path in listing.files] == ["a.tif", "b.psd", "d.dng"]
    names = {kind: [path.name for path in paths] for kind, paths in listing.not_read.items()}
    assert names == {"NEF (camera raw)": ["c.NEF"], "PSD": ["e.psd"], "SVG": ["f.SVG"]}
    with pytest.raises(ImageFormatError, match=r"NEF \(camera raw\), which is not read"):
        read_image(tmp_path / "c.NEF")
    (raw, *_) = sentences_not_read(listing.not_read)
    assert raw.startswith("1 file is NEF (camera raw), which is not read: ") and "c.NEF" in raw


def test_only_regular_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the names of sockets must be short
        server.bind("socket.png")
        assert _names(tmp_path) == []


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "x.png").touch()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    findings = list(discover(tmp_path))
    assert [(f.path.name, f.problem) for f in findings] == [
        ("closed", "the folder cannot be listed: Permission denied"),
        ("x.png", None),
    ]
    assert next(iter(discover(tmp_path / "gone"))).problem is not None


@pytest.mark.slow
def test_a_hundred_thousand_files_take_seconds(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"f{i}").mkdir()
        for j in range(1000):
            (tmp_path / f"f{i}" / f"img{j}.jpg").touch()
    start = time.perf_counter()
    assert sum(1 for _ in discover(tmp_path)) == 100_000
    assert time.perf_counter() - start < 5


@pytest.mark.slow
def test_importing_the_boundary_leaves_torch_alone() -> None:
    code = "import sys, img2img.image; sys.exit('torch' in sys.modules or 'PIL.Image' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
