"""Data sets by name, from a server on 127.0.0.1 that breaks off, moves away and changes its files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from web import Page, Site, serving

from img2img import fetch as fetching
from img2img.data import download as module
from img2img.data.download import MARK, DatasetRecipe, download, open_recipe, recipes
from img2img.errors import ConfigError, DownloadError, UsageError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with serving() as site:
        yield site


def targz(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


SET = {f"toy/{part}/{i}.png": os.urandom(700) for part in ("train", "val") for i in range(3)}


def recipe(*archives: dict[str, object], **changes: object) -> DatasetRecipe:
    values: dict[str, object] = {
        "title": "Toys",
        "kind": "aligned",
        "layout": "Small.",
        "folders": ["train", "val"],
        "homepage": "http://127.0.0.1/",
        "licence": "CC0.",
        "citation": "@misc{toys}",
        "archives": archives,
    }
    return DatasetRecipe.model_validate(values | changes)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_checked_set_arrives_whole_and_alone(server: Site, tmp_path: Path) -> None:
    server.pages["/toy.zip"] = Page(data := zipped(SET))
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy", "sha256": sha(data), "size": len(data)})
    made = download(toys, tmp_path / "data" / "toys")
    assert made.files == 6
    assert made.unchecked == ()
    for name, content in SET.items():
        assert (tmp_path / "data" / "toys" / name.removeprefix("toy/")).read_bytes() == content
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["toys"], (
        "neither the archive nor a temporary folder is left"
    )
    asked = len(server.asked)
    assert download(toys, tmp_path / "data" / "toys").files == 0
    assert len(server.asked) == asked, "what is complete is not asked for again"


def test_what_breaks_off_is_continued_and_mirrors_are_tried(server: Site, tmp_path: Path) -> None:
    server.pages["/cut/toy.tar.gz"] = Page(data := targz(SET), most=1000)
    assert len(data) > 3000
    urls = [f"{server.url}/gone/toy.tar.gz", f"{server.url}/cut/toy.tar.gz"]
    progress: list[tuple[int, int | None]] = []
    toys = recipe({"urls": urls, "root": "toy", "sha256": sha(data)})
    download(toys, tmp_path / "toys", progress=lambda done, total: progress.append((done, total)))
    asked = [(each.path, each.headers.get("range")) for each in server.asked[:3]]
    cut = "/cut/toy.tar.gz"
    assert asked == [("/gone/toy.tar.gz", None), (cut, None), (cut, "bytes=1000-")]
    assert progress[-1] == (len(data), len(data))
    assert len(names(tmp_path / "toys")) == 6 + 1


def test_another_file_than_published_is_refused(server: Site, tmp_path: Path) -> None:
    server.pages["/toy.zip"] = Page(zipped(SET))
    for check in ({"sha256": "0" * 64}, {"md5": "0" * 32}):
        toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy", **check})
        with pytest.raises(DownloadError, match=r"another file"):
            download(toys, tmp_path / "toys")
        assert not (tmp_path / "toys").exists()


def test_without_a_published_checksum_the_first_download_sets_it(server: Site, tmp_path: Path) -> None:
    server.pages["/toy.zip"] = Page(data := zipped(SET))
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"})
    assert download(toys, tmp_path / "toys").unchecked == ("toy.zip",)
    lock = tmp_path / "toy.zip.lock"
    assert json.loads(lock.read_text()) == {"sha256": sha(data), "size": len(data)}
    shutil.rmtree(tmp_path / "toys")
    assert download(toys, tmp_path / "toys").unchecked == (), "the same again is fine"
    shutil.rmtree(tmp_path / "toys")
    server.pages["/toy.zip"] = Page(zipped({**SET, "toy/train/evil.png": b"new"}))
    with pytest.raises(DownloadError, match="another file"):
        download(toys, tmp_path / "toys")
    lock.write_text("{}")
    with pytest.raises(DownloadError, match=r"toy\.zip\.lock should say"):
        download(toys, tmp_path / "toys")


def test_what_could_not_be_unpacked_is_not_put_on_record(server: Site, tmp_path: Path) -> None:
    server.pages["/toy.zip"] = Page(b"no archive at all")
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"})
    with pytest.raises(DownloadError, match="broken or of a kind"):
        download(toys, tmp_path / "toys")
    assert [p.name for p in tmp_path.iterdir()] == ["toy.zip"]


def test_an_md5_is_checked_where_it_is_all_there_is(server: Site, tmp_path: Path) -> None:
    server.pages["/toy.zip"] = Page(data := zipped(SET))
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy", "md5": md5})
    assert download(toys, tmp_path / "toys").unchecked == ()


def test_several_archives_become_one_set(server: Site, tmp_path: Path) -> None:
    server.pages["/a.zip"] = Page(zipped({"hr_train/1.png": b"1"}))
    server.pages["/b.zip"] = Page(zipped({"hr_valid/2.png": b"2"}))
    toys = recipe(
        {"urls": [f"{server.url}/a.zip"], "root": "hr_train", "into": "train"},
        {"urls": [f"{server.url}/b.zip"], "root": "hr_valid", "into": "val"},
    )
    download(toys, tmp_path / "toys", keep=True)
    assert names(tmp_path / "toys") == {"train/1.png", "val/2.png", MARK}
    assert (tmp_path / "a.zip").exists() and (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"other/a.png": b"1"}, "should hold the folder toy, and holds other"),
        ({"toy/train/a": b"1"}, "val did not"),
    ],
)
def test_another_layout_leaves_nothing(
    server: Site, tmp_path: Path, members: dict[str, bytes], sentence: str
) -> None:
    server.pages["/toy.zip"] = Page(zipped(members))
    with pytest.raises(DownloadError, match=sentence):
        download(recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"}), tmp_path / "toys")
    assert [p.name for p in tmp_path.iterdir()] == ["toy.zip"]


def test_a_folder_with_something_else_is_left_alone(server: Site, tmp_path: Path) -> None:
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not this data set"):
        download(recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"}), tmp_path / "toys")
    assert server.asked == []


def test_a_small_disk_is_noticed_before_anything_is_asked_for(
    server: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, 10**8))
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy", "about": "1.0G"})
    with pytest.raises(UsageError, match=r"0\.1 GiB free; .* about 2\.1 GiB"):
        download(toys, tmp_path / "toys")
    assert server.asked == []


def test_archives_at_hand_need_no_network(tmp_path: Path) -> None:
    archive = tmp_path / "old.zip"
    archive.write_bytes(zipped(SET))
    toys = recipe({"urls": [], "root": "toy"}, by_hand="Ask the authors.")
    with pytest.raises(UsageError, match="Ask the authors"):
        download(toys, tmp_path / "toys")
    with pytest.raises(UsageError, match="1 archives; 2 are given"):
        download(toys, tmp_path / "toys", archives=(archive, archive))
    download(toys, tmp_path / "toys", archives=(archive,))
    assert len(names(tmp_path / "toys")) == 7
    assert archive.exists(), "it is the user's"
    assert not (tmp_path / "old.zip.lock").exists()


def test_what_a_killed_process_was_unpacking_is_swept(server: Site, tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    stale = tmp_path / f".img2img-unpacking-{int(dead.stdout)}"
    mine = tmp_path / f".img2img-unpacking-{os.getppid()}"
    for folder in (stale, mine):
        folder.mkdir()
    server.pages["/toy.zip"] = Page(zipped(SET))
    download(recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"}), tmp_path / "toys")
    assert not stale.exists()
    assert mine.exists(), "its process lives"


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_are_complete(name: str) -> None:
    shipped = open_recipe(name)
    assert shipped.citation.lstrip().startswith("@")
    assert shipped.licence.endswith(".") and shipped.layout.endswith(".")
    for archive in shipped.archives:
        assert archive.sha256 or archive.size or archive.about or archive.urls
        for url in archive.urls:
            assert url.startswith(("https://", "http://"))
            assert url.rsplit("/", 1)[1] == archive.name
    into = [archive.into for archive in shipped.archives]
    assert len(set(into)) == len(into)


def test_the_names_that_papers_use_are_there() -> None:
    assert {"facades", "maps", "edges2shoes", "horse2zebra", "monet2photo", "div2k", "set5"} <= set(recipes())
    with pytest.raises(ConfigError, match="did you mean 'facades'"):
        open_recipe("facade")


def test_every_mistake_in_a_recipe_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("title: Own\nkind: aligend\narchives: []\n")
    with pytest.raises(ConfigError) as caught:
        open_recipe(str(path))
    assert "did you mean 'aligned'" in str(caught.value)
    assert "licence is missing" in str(caught.value)


OUTSIDE = [
    *("/precious", "..", "../precious", "toy/../../precious", "toy/..", "C:\\precious", "C:precious", "C:/x"),
    *("\\\\server\\share", "..\\precious", "a\0b", "toy\x1b[2J", "./..", "toy//../.."),
]


@pytest.mark.parametrize("key", ["root", "into", "folders"])
@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.sampled(14)
def test_a_recipe_that_names_a_folder_elsewhere_is_refused(tmp_path: Path, key: str, name: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "photo").write_bytes(b"mine")
    archive = {"urls": ["http://127.0.0.1/a.zip"], "root": "toy"}
    given = name.replace("/precious", str(precious)) if name.startswith("/") else name
    changes: dict[str, object] = {} if key != "folders" else {"folders": [given]}
    text = json.dumps(
        recipe(archive).model_dump(mode="json", exclude_none=True)
        | {"archives": [archive | ({key: given} if key != "folders" else {})]}
        | changes
    )
    (tmp_path / "own.yaml").write_text(text)
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    with pytest.raises(ConfigError, match="leads out of its folder") as caught:
        open_recipe(str(tmp_path / "own.yaml"))
    assert "\x1b" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


@pytest.mark.parametrize(
    "archives",
    [
        [{"into": ""}, {"into": "train"}],
        [{"into": "train"}, {"into": "./train"}],
        [{"into": "a"}, {"into": "a/b"}],
        [{"urls": ["http://h/.."]}],
        [{"urls": ["http://h/"]}],
        [{"urls": ["http://h/..%2f..%2fx"]}],
        [{"urls": ["http://h/.bashrc"]}],
        [{"urls": ["http://h/a%1b]0;x"]}],
        [{"urls": ["file:///etc/passwd"]}],
        [{"urls": ["http://[::1"]}],
        [{"about": "many"}],
    ],
)
def test_archives_that_cannot_be_kept_apart_or_named(archives: list[dict[str, object]]) -> None:
    each = [{"urls": [f"http://h/{i}.zip"], "root": "toy"} | given for i, given in enumerate(archives)]
    with pytest.raises(ValueError, match=r"Archive|DatasetRecipe"):
        recipe(*each)


def test_control_characters_in_a_recipe_are_refused() -> None:
    for key in ("title", "layout", "licence", "citation", "homepage"):
        with pytest.raises(ValueError, match="control characters"):
            recipe({"urls": ["http://h/a.zip"], "root": "toy"}, **{key: "x\x1b]0;y\x07"})


def test_an_archive_of_the_user_is_not_removed(server: Site, tmp_path: Path) -> None:
    """It lay there under the name that a recipe gives to its archive."""
    mine = tmp_path / "toy.zip"
    mine.write_bytes(data := zipped(SET))
    said: list[str] = []
    toys = recipe({"urls": [f"{server.url}/toy.zip"], "root": "toy"})
    download(toys, tmp_path / "toys", say=said.append)
    assert server.asked == []
    assert mine.read_bytes() == data
    assert any("stays" in sentence for sentence in said)


def test_a_stage_that_another_process_made_is_not_removed(tmp_path: Path) -> None:
    archive = tmp_path / "old.zip"
    archive.write_bytes(zipped(SET))
    stage = tmp_path / f".img2img-unpacking-{os.getpid()}"
    stage.mkdir()
    (stage / "photo").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="cannot be made"):
        download(recipe({"urls": [], "root": "toy"}, by_hand="x"), tmp_path / "toys", archives=(archive,))
    assert (stage / "photo").read_bytes() == b"mine"


def test_links_where_the_data_set_should_be(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    archive = tmp_path / "old.zip"
    archive.write_bytes(zipped(SET))
    (tmp_path / "toys").symlink_to(precious)
    with pytest.raises(DownloadError, match="could not be made"):
        download(recipe({"urls": [], "root": "toy"}, by_hand="x"), tmp_path / "toys", archives=(archive,))
    assert precious.is_dir() and not list(precious.iterdir())
    assert not list(tmp_path.glob(".img2img*"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_as_archive_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "old.zip")
    toys = recipe({"urls": [], "root": "toy"}, by_hand="x")
    with pytest.raises(DownloadError, match="pipe, socket or device"):
        download(toys, tmp_path / "toys", archives=(tmp_path / "old.zip",))
