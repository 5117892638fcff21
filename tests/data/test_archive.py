"""Archives of strangers: honest ones come out whole, the others leave nothing outside their folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from img2img.data import archive as module
from img2img.data.archive import unpack
from img2img.errors import DownloadError


def tar(path: Path, members: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


HONEST = {"set/a.png": b"one", "set/deep/b.png": b"two" * 1000, "./set/c.txt": b""}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_comes_out_whole(place: Path, tmp_path: Path, mode: str) -> None:
    unpacked = unpack(tar(tmp_path / "x", HONEST, mode), place)
    assert tree(place) == {"set/a.png": b"one", "set/deep/b.png": b"two" * 1000, "set/c.txt": b""}
    assert (unpacked.files, unpacked.bytes, unpacked.left_out) == (3, 3003, ())


def test_a_zip_comes_out_whole(place: Path, tmp_path: Path) -> None:
    assert unpack(zipped(tmp_path / "x", HONEST), place).files == 3
    assert tree(place)["set/deep/b.png"] == b"two" * 1000


BAD_NAMES = [
    "C:evil",
    "../evil",
    "set/../../evil",
    "/evil",
    "..\\evil",
    "C:\\evil",
    "set/..",
    "\\\\server\\share",
]


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_the_folder_refuses_the_archive(
    make, place: Path, tmp_path: Path, name: str
) -> None:
    before = set(tmp_path.iterdir())
    path = make(tmp_path / "x", {"set/a": b"1", name: b"bad"})
    with pytest.raises(DownloadError, match="out of its folder"):
        unpack(path, place)
    assert set(tmp_path.iterdir()) == before | {path}
    assert b"bad" not in tree(place).values()


def test_links_and_devices_are_left_out(place: Path, tmp_path: Path) -> None:
    members = {
        "a": b"1",
        "link": special("link", tarfile.SYMTYPE, "/etc"),
        "link/passwd": b"through the link",
        "hard": special("hard", tarfile.LNKTYPE, "a"),
        "pipe": special("pipe", tarfile.FIFOTYPE),
        "device": special("device", tarfile.CHRTYPE),
    }
    unpacked = unpack(tar(tmp_path / "x", members), place)
    assert unpacked.left_out == ("link", "hard", "pipe", "device")
    assert tree(place) == {"a": b"1", "link/passwd": b"through the link"}
    assert not (place / "link").is_symlink()


def test_a_link_in_a_zip_is_left_out(place: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x", "w") as file:
        file.writestr(info, "/etc/passwd")
        file.writestr("a", b"1")
    assert unpack(tmp_path / "x", place).left_out == ("link",)
    assert tree(place) == {"a": b"1"}


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_bomb_is_stopped(make, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 2**21)
    path = make(tmp_path / "x", {"zeros": bytes(2**23)})
    assert path.stat().st_size < 2**15
    with pytest.raises(DownloadError, match="unpacks to more than"):
        unpack(path, place)
    assert (place / "zeros").stat().st_size <= 2**21


def test_too_many_files_are_stopped(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    with pytest.raises(DownloadError, match="more than 3 files"):
        unpack(tar(tmp_path / "x", {str(i): b"" for i in range(4)}), place)


@pytest.mark.parametrize("members", [{"a": b"1", "./a": b"2"}, {"a": b"1", "a/b": b"2"}])
def test_two_files_of_one_name_refuse_the_archive(place: Path, tmp_path: Path, members: dict) -> None:
    with pytest.raises(DownloadError, match="one name"):
        unpack(tar(tmp_path / "x", members), place)


@pytest.mark.parametrize("make", [tar, zipped])
def test_a_cut_archive_is_said_to_be_broken(make, place: Path, tmp_path: Path) -> None:
    import random

    noise = random.Random(0).randbytes(100_000)
    path = make(tmp_path / "x", {"a": noise, "b": noise[::-1]})
    path.write_bytes(path.read_bytes()[:120_000])
    with pytest.raises(DownloadError, match="broken"):
        unpack(path, place)


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"PK" + bytes(100)])
def test_what_is_no_archive_is_refused(place: Path, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(DownloadError, match="broken or of a kind"):
        unpack(tmp_path / "x", place)
    assert tree(place) == {}


def test_files_of_operating_systems_stay_out(place: Path, tmp_path: Path) -> None:
    names = ["set/a.png", "__MACOSX/set/._a.png", "set/.DS_Store", "set/Thumbs.db"]
    assert unpack(zipped(tmp_path / "x", dict.fromkeys(names, b"1")), place).files == 1
    assert list(tree(place)) == ["set/a.png"]


def test_a_description_that_fills_the_memory(place: Path, tmp_path: Path) -> None:
    """The name of a member is read whole before anything is checked: 64 MiB of it are 64 KiB of gzip."""
    long = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    extended = special("pax", tarfile.XHDTYPE)
    for info in (long, extended):
        path = tmp_path / "x"
        with tarfile.open(path, "w:gz") as file:
            info.size = 2**25
            file.addfile(info, io.BytesIO(bytes(2**25)))
        with pytest.raises(DownloadError, match="name of a member takes"):
            unpack(path, place)


def test_folders_count_as_files_do(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    with pytest.raises(DownloadError, match="more than 3 files"):
        unpack(tar(tmp_path / "x", {str(i): special(str(i), tarfile.DIRTYPE) for i in range(4)}), place)


def test_folders_without_end(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="50 deep"):
        unpack(tar(tmp_path / "x", {"a/" * 60 + "b": b"1"}), place)


def test_a_file_full_of_holes_counts_with_its_holes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SMALL", 2**21)
    info = special("sparse", tarfile.REGTYPE)
    pax = special("pax", tarfile.XHDTYPE)
    records = b"".join(
        f"{len(text) + len(str(len(text) + 3)) + 2} {text}\n".encode()
        for text in ("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=1000000000")
    )
    with tarfile.open(tmp_path / "x", "w:gz") as file:
        pax.size = len(records)
        file.addfile(pax, io.BytesIO(records))
        info.size = 512
        file.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with pytest.raises(DownloadError, match=r"unpacks to more than|broken"):
        unpack(tmp_path / "x", place)
