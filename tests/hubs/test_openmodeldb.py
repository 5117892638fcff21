"""OpenModelDB against a server on this machine: entries as the site has them, files of a few bytes."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from web import Page, Site, serving

from img2img import fetch as fetching
from img2img.cli import download as asking
from img2img.cli.main import cli
from img2img.hubs import download as downloading
from img2img.hubs import openmodeldb
from img2img.hubs.licences import is_free, told
from img2img.hubs.links import direct
from img2img.hubs.openmodeldb import COMMUNITY, LAYOUTS, age, list_url, read_catalogue
from img2img.weights import available

BODY = bytes(range(256)) * 40
LIST = "/api/v1/models.json"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def entry(site: Site, file: str = "a", **more: Any) -> dict[str, Any]:
    """Returns an entry with all the keys that the site gives, for BODY at /FILE.pth."""
    resource = {
        "platform": "pytorch",
        "type": "pth",
        "size": len(BODY),
        "sha256": sha256(BODY),
        "urls": [f"{site.url}/{file}.pth"],
    } | more.pop("resource", {})
    return {
        "name": f"Model {file}",
        "author": "somebody",
        "license": "CC-BY-4.0",
        "tags": ["compression-removal", "photo"],
        "description": "Pretrained: [x](https://host/x)\n\nFor photographs.",
        "date": "2023-05-06",
        "architecture": "esrgan",
        "size": ["64nf", "23nb"],
        "scale": 4,
        "inputChannels": 3,
        "outputChannels": 3,
        "resources": [resource],
        "images": [{"type": "standalone", "url": "https://host/x.png"}],
    } | more


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("IMG2IMG_WEIGHTS_DIR", raising=False)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    with serving() as site:
        monkeypatch.setenv(openmodeldb.PLACE, site.url)
        offer_models(
            site, {"4x-a": entry(site), "1x-b": entry(site, "b", name="Bee", scale=1, tags=["denoise"])}
        )
        site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'})
        yield site


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "img2img" / "weights"


def offer_models(site: Site, models: object, **page: Any) -> None:
    site.pages[LIST] = Page(json.dumps(models).encode(), **page)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["model", *words])


def answering(monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[str]:
    """Lets somebody at a terminal answer, and returns what was asked."""
    asked: list[str] = []

    def confirm(text: str, **more: object) -> None:
        asked.append(text)
        if not answer:
            raise asking.click.Abort

    monkeypatch.setattr(asking.click, "confirm", confirm)
    monkeypatch.setattr(asking, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    return asked


# search


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["4X-A"], ["4x-a"]),
        (["bee"], ["1x-b"]),
        (["compression", "MODEL"], ["4x-a"]),
        (["esrgan"], ["1x-b", "4x-a"]),
        (["photographs"], ["1x-b", "4x-a"]),
        (["bee", "photo", "compression"], []),
    ],
)
def test_every_word_is_looked_for_in_names_tags_family_and_description(
    site: Site, words: list[str], found: list[str]
) -> None:
    assert [each.id for each in read_catalogue().search(words)] == found


def test_search_prints_a_table_or_json_and_4_says_that_nothing_was_found(site: Site) -> None:
    shown = run("search", "model")
    assert shown.exit_code == 0
    (line,) = [line for line in shown.stdout.splitlines() if "4x-a" in line]
    assert line.split() == ["4x-a", "x4", "esrgan", "CC-BY-4.0", "1", "MiB", "yes", "direct"]
    (facts,) = json.loads(run("search", "model", "--json").stdout)
    assert {"id": "4x-a", "free": True, "opens": "yes", "bytes": len(BODY)}.items() <= facts.items()
    assert facts["sha256"] == sha256(BODY) and facts["urls"] == [f"{site.url}/a.pth"]
    nothing = run("search", "model", "nowhere")
    assert (nothing.exit_code, nothing.stdout) == (4, "")
    assert run("search").exit_code == 2


def test_the_list_is_transferred_only_when_it_changed(site: Site) -> None:
    offer_models(site, {"4x-a": entry(site)}, headers={"ETag": '"v1"'})
    assert set(read_catalogue().entries) == {"4x-a"}
    assert set(read_catalogue().entries) == {"4x-a"}
    assert [each.headers.get("if-none-match") for each in site.asked] == [None, '"v1"']
    offer_models(site, {"2x-c": entry(site)}, headers={"ETag": '"v2"'})
    assert set(read_catalogue().entries) == {"2x-c"}
    assert set(read_catalogue(offline=True).entries) == {"2x-c"}
    assert len(site.asked) == 3


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(status=404), "answered 404"),
        (Page(status=403), "answered 403"),
        (Page(status=429, headers={"Retry-After": "60"}), "answered 429 .*asks to wait 60 seconds"),
        (Page(status=500), "answered 500"),
        (Page(b"<!doctype html><title>Sorry</title>"), "no list of models; it begins with '<!doctype"),
        (Page(b"[" * 100_000), "no list of models"),
        (Page(b"{}"), "no list of models"),
        (Page(b'{"a": 1}'), "holds no model"),
        (Page(b'{"../a": {"name": "x"}}'), "holds no model"),
        (Page(b"{" + b" " * 500, headers={"Content-Length": "900"}), "broke off"),
        (None, "cannot be reached"),
    ],
)
def test_without_the_list_the_last_copy_is_searched_and_a_sentence_says_how_old_it_is(
    site: Site, page: Page | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it() -> None:
        if page is None:
            monkeypatch.setenv(openmodeldb.PLACE, "http://127.0.0.1:9")
        else:
            site.pages[LIST] = page

    read_catalogue()
    break_it()
    shown = run("search", "bee")
    assert shown.exit_code == 0 and "1x-b" in shown.stdout
    text = " ".join(shown.stderr.split())
    assert "Warning: OpenModelDB's list cannot be had" in text and "less than a minute ago" in text
    assert re.search(reason, text), text
    place = openmodeldb.user_cache() / "openmodeldb.json"
    assert "1x-b" in json.loads(place.read_bytes())["models"]  # what came in its place was not kept
    place.unlink()
    alone = run("search", "bee")
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert "There is no copy of it on this machine either" in " ".join(alone.stderr.split())


def test_offline_asks_nobody(site: Site) -> None:
    never = run("search", "bee", "--offline")
    assert never.exit_code == 1 and "search once with the network" in " ".join(never.stderr.split())
    read_catalogue()
    shown = run("search", "bee", "--offline")
    assert "1x-b" in shown.stdout and "This is the list of less than a minute ago" in shown.stderr
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"models": {}}', b'{"url": 1, "models": 3, "fetched": "x"}']
)
def test_a_damaged_copy_counts_as_none(site: Site, content: bytes) -> None:
    place = openmodeldb.user_cache() / "openmodeldb.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert len(read_catalogue().entries) == 2
    assert len(read_catalogue(offline=True).entries) == 2


def test_entries_that_cannot_be_understood_are_left_out(site: Site) -> None:
    good = entry(site)
    bad = {
        "../../x": good,
        "a/b": good,
        ".hidden": good,
        "a\n": good,
        "": good,
        "no-name": {**good, "name": None},
        "no-scale": {**good, "scale": 0},
        "text": "x",
        "resources": {**good, "resources": [{"type": "pth", "size": -1}]},
    }
    loose = {**good, "author": ["a", "b"], "license": None, "description": None, "resources": []}
    offer_models(site, {"4x-a": good, "loose": loose, **bad})
    found = read_catalogue()
    assert set(found.entries) == {"4x-a", "loose"} and found.entries["loose"].author == ("a", "b")
    assert run("search", "loose").exit_code == 0


def test_the_address_of_the_list() -> None:
    assert list_url("https://openmodeldb.info") == list_url("https://openmodeldb.info/")
    assert list_url("https://openmodeldb.info") == "https://openmodeldb.info/api/v1/models.json"
    assert list_url("http://host/api/v1/") == "http://host/api/v1/models.json"
    assert list_url("http://host/copy.json") == "http://host/copy.json"
    assert run("search", "x", "--site", "file:///etc").exit_code == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "less than a minute"), (60, "1 minute"), (7300, "2 hours"), (3 * 86400, "3 days")],
)
def test_ages_for_people(seconds: float, words: str) -> None:
    assert age(time.time() - seconds).startswith(f"{words} ago (2")


@pytest.mark.slow
def test_families_that_open_are_layouts() -> None:
    from img2img.interop import layouts

    assert set(LAYOUTS.values()) <= set(layouts)
    assert not COMMUNITY & set(LAYOUTS)


# licences and links


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("Apache-2.0", True),
        ("apache-2.0", True),
        ("CC0-1.0", True),
        ("CC-BY-SA-4.0", True),
        ("GPL-3.0-only", True),
        ("(MIT AND BSD-3-Clause)", True),
        ("MIT OR CC-BY-NC-4.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-ND-4.0", False),
        ("openrail", False),
        ("unknown", False),
        ("", False),
        ("AND", False),
        (None, False),
    ],
)
def test_licences_that_are_known_to_be_free(licence: str | None, free: bool) -> None:
    assert is_free(licence) is free
    assert ("free licence" in told(licence) and "not a" not in told(licence)) is free
    if licence and "NC" in licence:
        assert "no commercial use" in told(licence)


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://github.com/a/b/releases/download/v1/x.pth", "same"),
        ("https://github.com/a/b/raw/main/x.pth", "same"),
        ("https://github.com/a/b/blob/main/x.pth", "https://github.com/a/b/raw/main/x.pth"),
        ("https://github.com/a/b/releases/tag/v1", None),
        ("https://github.com/a/b/tree/main/x", None),
        ("https://raw.githubusercontent.com/a/b/main/x.pth", "same"),
        ("https://huggingface.co/a/b/resolve/main/x.pth?download=true", "same"),
        ("https://huggingface.co/a/b/blob/main/x.pth", "https://huggingface.co/a/b/resolve/main/x.pth"),
        ("https://huggingface.co/a/b", None),
        ("https://host.example/files/x.pth", "same"),
        ("https://github.com/a/b/releases/download/v1/x.pth.tar", "same"),
        ("https://github.com/a/b/releases/download/v1/x.zip", None),
        ("https://drive.google.com/file/d/1/view", None),
        ("https://mega.nz/file/x#y", None),
        ("https://www.mediafire.com/file/x/y.pth/file", None),
        ("https://e1.pcloud.link/publink/show?code=x", None),
        ("https://www108.zippyshare.com/v/x/file.html", None),
        ("file:///etc/passwd", None),
        ("ftp://host/x.pth", None),
        ("https://host.example/", None),
    ],
)
def test_only_addresses_of_files_are_direct(url: str, link: str | None) -> None:
    assert direct(url) == (url if link == "same" else link)


# download


def test_a_download_is_found_by_its_name_with_licence_and_origin(site: Site, weights: Path) -> None:
    result = run("download", "4X-A")
    assert result.exit_code == 0, result.stderr
    assert "Licence: CC-BY-4.0, a free licence." in result.stderr and "Use it with -m 4x-a" in result.stderr
    path = weights / "4x-a.pth"
    assert path.read_bytes() == BODY and available()["4x-a"] == path
    assert {file.name for file in weights.iterdir()} == {"4x-a.pth", "4x-a.md"}
    facts = downloading.recorded(path)
    assert facts["license"] == "CC-BY-4.0" and facts["sha256"] == sha256(BODY)
    assert facts["source"] == "https://openmodeldb.info/models/4x-a"
    site.shutdown()
    site.server_close()
    listed = run("list")
    assert "x4, compression removal, photo; licence CC-BY-4.0" in " ".join(listed.stdout.split())
    again = run("download", "4x-a")
    assert again.exit_code == 0 and "is here already" in again.stderr


def test_nothing_is_done_for_what_is_here_and_another_file_is_left_alone(site: Site, tmp_path: Path) -> None:
    site.pages["/a.pth"] = Page(status=500)
    path = tmp_path / "here" / "4x-a.pth"
    path.parent.mkdir()
    path.write_bytes(BODY)
    result = run("download", "4x-a", "-o", str(path.parent))
    assert result.exit_code == 0 and "is here already" in result.stderr
    assert f"-m {path}" in result.stderr.replace("\n", "")
    assert path.with_suffix(".md").is_file()
    path.write_bytes(b"mine")
    result = run("download", "4x-a", "-o", str(path.parent))
    assert result.exit_code == 1 and "is another file" in " ".join(result.stderr.split())
    assert path.read_bytes() == b"mine"
    assert site.paths() == [LIST, LIST]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_is_continued_by_the_same_command(site: Site, weights: Path, ranges: bool) -> None:
    site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'}, most=6000)
    broken = run("download", "4x-a")
    assert broken.exit_code == 1 and "6000 bytes are kept" in " ".join(broken.stderr.split())
    assert not (weights / "4x-a.pth").exists() and (weights / "4x-a.pth.part").stat().st_size == 6000
    site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'}, ranges=ranges)
    assert run("download", "4x-a").exit_code == 0
    assert (weights / "4x-a.pth").read_bytes() == BODY
    assert {file.name for file in weights.iterdir()} == {"4x-a.pth", "4x-a.md"}
    last = site.asked[-1].headers
    assert (last["range"], last["if-range"]) == ("bytes=6000-", '"1"')


def test_a_file_that_changed_in_between_starts_anew(site: Site, weights: Path) -> None:
    site.pages["/a.pth"] = Page(b"?" * len(BODY), headers={"ETag": '"0"'}, most=6000)
    run("download", "4x-a")
    site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'})
    assert run("download", "4x-a").exit_code == 0
    assert (weights / "4x-a.pth").read_bytes() == BODY
    assert len([path for path in site.paths() if path == "/a.pth"]) == 2  # at once, by If-Range


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Page(b"?" * len(BODY)), "sent another file"),
        (Page(b"<html>Please log in</html>", headers={"Content-Type": "text/html"}), "sends a web page"),
        (Page(b"<!DOCTYPE html>".ljust(len(BODY))), "sends a web page"),
        (Page(BODY + b"!"), "offers a file of 10241 bytes, expected 10240"),
        (Page(status=404), "answered 404"),
        (Page(status=403), "answered 403"),
        (Page(status=429), "answered 429"),
        (Page(status=500), "answered 500"),
        (Page(status=302, headers={"Location": "ftp://127.0.0.1/x"}), "not followed"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(site: Site, weights: Path, page: Page, reason: str) -> None:
    site.pages["/a.pth"] = page
    result = run("download", "4x-a")
    assert result.exit_code == 1 and reason in " ".join(result.stderr.split())
    assert list(weights.iterdir()) == []


def test_addresses_are_tried_in_order_and_pages_are_for_people(site: Site, weights: Path) -> None:
    links = [f"{site.url}/lost.pth", "https://mega.nz/file/x#y", f"{site.url}/a.pth"]
    offer_models(site, {"4x-a": entry(site, resource={"urls": links})})
    assert run("download", "4x-a").exit_code == 0
    assert site.paths()[1:] == ["/lost.pth", "/a.pth"]
    site.pages["/a.pth"] = Page(status=404)
    (weights / "4x-a.pth").unlink()
    lost = run("download", "4x-a")
    assert lost.exit_code == 1 and "It is also at https://mega.nz/file/x#y" in " ".join(lost.stderr.split())


def test_what_can_only_be_had_by_hand_is_told_and_checked_once_it_is_there(site: Site, weights: Path) -> None:
    offer_models(site, {"4x-a": entry(site, resource={"urls": ["https://drive.google.com/file/d/1/view"]})})
    told = run("download", "4x-a")
    text = " ".join(told.stderr.split())
    assert told.exit_code == 1 and "by hand from https://drive.google.com/file/d/1/view" in text
    assert "Licence: CC-BY-4.0" in text and sha256(BODY) in text
    weights.mkdir(parents=True)
    (weights / "4x-a.pth").write_bytes(BODY)
    assert run("download", "4x-a").exit_code == 0
    assert downloading.recorded(weights / "4x-a.pth")["license"] == "CC-BY-4.0"


@pytest.mark.parametrize("licence", ["CC-BY-NC-SA-4.0", None])
def test_a_licence_that_is_not_free_is_asked_for(
    site: Site, weights: Path, monkeypatch: pytest.MonkeyPatch, licence: str | None
) -> None:
    offer_models(site, {"4x-a": entry(site, license=licence)})
    nobody = run("download", "4x-a")
    assert nobody.exit_code == 2 and "--yes agrees to the licence" in " ".join(nobody.stderr.split())
    asked = answering(monkeypatch, False)
    assert run("download", "4x-a").exit_code == 130 and asked == ["Go on?"]
    assert site.paths() == [LIST, LIST] and not weights.exists()
    answering(monkeypatch, True)
    assert run("download", "4x-a").exit_code == 0


def test_yes_agrees_and_what_was_agreed_to_is_not_asked_again(
    site: Site, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_models(site, {"4x-a": entry(site, license="CC-BY-NC-4.0")})
    assert run("download", "4x-a", "--yes").exit_code == 0
    assert run("download", "4x-a").exit_code == 0


@pytest.mark.parametrize("licence", ["CC-BY-NC-4.0", "MIT", None])
def test_a_licence_that_changed_is_said_and_asked_for_again(
    site: Site, weights: Path, monkeypatch: pytest.MonkeyPatch, licence: str | None
) -> None:
    assert run("download", "4x-a").exit_code == 0
    offer_models(site, {"4x-a": entry(site, license=licence)})
    nobody = run("download", "4x-a")
    assert nobody.exit_code == 2 and "under another licence before: CC-BY-4.0" in " ".join(
        nobody.stderr.split()
    )
    answering(monkeypatch, False)
    assert run("download", "4x-a").exit_code == 130
    path = weights / "4x-a.pth"
    assert downloading.recorded(path)["license"] == "CC-BY-4.0" and path.read_bytes() == BODY
    answering(monkeypatch, True)
    assert run("download", "4x-a").exit_code == 0
    assert downloading.recorded(path)["license"] == (licence or "not stated")
    assert site.paths().count("/a.pth") == 1


def test_a_licence_that_changed_while_a_download_rested_is_asked_for(site: Site, weights: Path) -> None:
    site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'}, most=100)
    assert run("download", "4x-a").exit_code == 1
    site.pages["/a.pth"] = Page(BODY, headers={"ETag": '"1"'})
    offer_models(site, {"4x-a": entry(site, license="CC-BY-NC-4.0")}, headers={"ETag": '"2"'})
    refused = run("download", "4x-a")
    assert refused.exit_code == 2 and "no commercial use" in " ".join(refused.stderr.split())
    assert not (weights / "4x-a.pth").exists()
    assert run("download", "4x-a", "--yes").exit_code == 0
    assert (weights / "4x-a.pth").read_bytes() == BODY
    assert site.asked[-1].headers.get("range") == "bytes=100-"


@pytest.mark.parametrize("architecture", ["sofvsr", "hat", "never-heard"])
def test_a_family_that_does_not_open_is_said_before_anything_comes(
    site: Site, weights: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    monkeypatch.setattr(openmodeldb, "find_spec", lambda name: None)
    offer_models(site, {"4x-a": entry(site, architecture=architecture)})
    nobody = run("download", "4x-a")
    words = "extra community" if architecture == "hat" else f"does not open {architecture} models"
    assert nobody.exit_code == 2 and words in " ".join(nobody.stderr.split())
    assert site.paths() == [LIST]
    assert run("download", "4x-a", "--yes").exit_code == 0
    monkeypatch.setattr(openmodeldb, "find_spec", lambda name: object())
    opens = {each.id: each.opens([".pth"]) for each in read_catalogue().entries.values()}
    assert opens == {"4x-a": "yes" if architecture == "hat" else "no"}


def test_onnx_opens_whatever_the_family(site: Site) -> None:
    offer_models(site, {"4x-a": entry(site, architecture="never-heard", resource={"type": "onnx"})})
    found = read_catalogue()["4x-a"]
    assert (found.opens([".pth", ".onnx"]), found.opens([".pth"])) == ("yes", "no")


def test_safe_files_come_before_pickles_and_those_that_can_be_had_before_others(site: Site) -> None:
    def resource(kind: str, url: str) -> dict[str, Any]:
        return {"type": kind, "size": len(BODY), "sha256": sha256(BODY), "urls": [url]}

    def chosen(*resources: dict[str, Any]) -> str:
        offer_models(site, {"4x-a": entry(site) | {"resources": list(resources)}})
        return downloading.choose(read_catalogue()["4x-a"], (".safetensors", ".pth")).type

    pickle = resource("pth", "https://host/x.pth")
    assert chosen(
        resource("onnx", "https://host/x.onnx"), pickle, resource("safetensors", "https://host/x")
    ) == ("safetensors")
    assert chosen(pickle, resource("safetensors", "https://mega.nz/x")) == "pth"
    offer_models(site, {"4x-a": entry(site, resource={"type": "exe/../x"})})
    result = run("download", "4x-a")
    assert result.exit_code == 2 and "exe/../x" in " ".join(result.stderr.split())


@pytest.mark.parametrize("checksum", ["abc", "z" * 64, "a" * 63, ""])
def test_a_checksum_that_is_none_is_refused(site: Site, checksum: str) -> None:
    offer_models(site, {"4x-a": entry(site, resource={"sha256": checksum})})
    result = run("download", "4x-a")
    assert result.exit_code == 1 and "without a checksum that holds" in " ".join(result.stderr.split())
    assert site.paths() == [LIST]


def test_without_any_checksum_what_came_is_on_record(site: Site, weights: Path) -> None:
    offer_models(site, {"4x-a": entry(site, resource={"sha256": None, "size": None})})
    first = run("download", "4x-a")
    assert first.exit_code == 0 and "nobody has published a checksum" in first.stderr
    assert run("download", "4x-a").exit_code == 0
    (weights / "4x-a.pth").write_bytes(b"other")
    assert "is another file" in " ".join(run("download", "4x-a").stderr.split())


def test_no_room_on_the_disk_is_said_before_anything_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda path: usage(1, 1, 2**30))
    offer_models(site, {"4x-a": entry(site, license=None, resource={"size": 2**40})})
    result = run("download", "4x-a")
    assert result.exit_code == 2 and "has 1,048,576 MiB" in " ".join(result.stderr.split())


def test_somebodys_own_card_stays(site: Site, weights: Path) -> None:
    weights.mkdir(parents=True)
    (weights / "4x-a.md").write_text("# My notes\n")
    result = run("download", "4x-a")
    assert result.exit_code == 0 and "stays as it is" in " ".join(result.stderr.split())
    assert (weights / "4x-a.md").read_text() == "# My notes\n"


def test_without_a_network_downloaded_models_are_found(
    site: Site, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_models(
        site, {"4x-a": entry(site), "1x-b": entry(site, "b", resource={"urls": ["http://127.0.0.1:9/b"]})}
    )
    run("download", "4x-a")
    monkeypatch.setenv(openmodeldb.PLACE, "http://127.0.0.1:9")
    result = run("download", "4x-a")
    assert result.exit_code == 0 and "is here already" in result.stderr
    gone = run("download", "1x-b")
    assert gone.exit_code == 1 and "cannot be reached" in " ".join(gone.stderr.split())


@pytest.mark.parametrize("name", ["../x", "a/b", "", "4x-a\x1b[2J", "x" * 500])
def test_names_that_are_none(site: Site, name: str) -> None:
    result = run("download", name)
    assert result.exit_code == 2 and "no model" in result.stderr and "\x1b" not in result.stderr


def test_control_sequences_of_a_list_do_nothing_to_a_terminal(site: Site, weights: Path) -> None:
    evil = "\x1b]0;PWNED\x07"
    hostile = entry(
        site, name=evil, author=evil, license=evil, tags=[evil], description=f"{evil}\n---\n{evil}"
    )
    offer_models(site, {"4x-a": hostile | {"architecture": evil}})
    for words in (["search", "4x"], ["download", "4x-a", "--yes"], ["list"], ["search", "4x", "--json"]):
        result = run(*words)
        assert result.exit_code == 0, result.stderr
        assert "\x1b" not in result.stdout + result.stderr
    assert "\x1b" not in (weights / "4x-a.md").read_text()
    assert downloading.recorded(weights / "4x-a.pth")["license"] == evil
