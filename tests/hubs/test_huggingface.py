"""Hugging Face against a server on this machine that answers as the hub does; files of a few bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from web import Asked, Page, Site, serving

from img2img.cli.main import cli
from img2img.errors import DownloadError, UnknownModelError
from img2img.hubs import huggingface
from img2img.hubs.huggingface import choose, find_file, parse_reference
from img2img.weights import find_model, is_name
from img2img.weights.finder import EXTENSIONS

BODY = bytes(range(256)) * 8
COMMIT, NEWER = "a" * 40, "b" * 40
CARD = b"---\nlicense: cc-by-nc-4.0\n---\n# x\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:a/b", ("a/b", None, None)),
        ("hf://a/b", ("a/b", None, None)),
        ("hf:a/b@v1", ("a/b", "v1", None)),
        ("hf:a/b@refs/pr/1:x/y.pth", ("a/b", "refs/pr/1", "x/y.pth")),
        ("hf:a/b:y.pth", ("a/b", None, "y.pth")),
    ],
)
def test_references(text: str, parts: tuple[str | None, ...]) -> None:
    found = parse_reference(text)
    assert (found.repository, found.revision, found.file) == parts
    assert is_name(text) and is_name(Path(text))


@pytest.mark.parametrize(
    "text",
    [
        *("hf:", "hf:a", "hf:../b", "hf:a/..", "hf:a/b/c", "hf:a/b@../x", "hf:a/b:../x", "hf:a/b:/etc/x"),
        *("hf:a/b:x\\y", "hf:a/b:\x1b", "hf:a/b@", "hf:a/b:", "hf:-a/b", "hf:a b/c"),
    ],
)
def test_what_is_no_reference_or_leads_elsewhere(text: str) -> None:
    with pytest.raises(UnknownModelError, match="write hf:owner/name") as caught:
        find_model(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["README.md", "x.pth", "x.safetensors"], "x.safetensors"),
        (["a/x.safetensors", "x.safetensors"], "x.safetensors"),
        (["x.pth"], "x.pth"),
        (["pytorch_model.bin"], "pytorch_model.bin"),
        (["x.param", "x.bin"], "x.param"),
        (["onnx/x.onnx"], "onnx/x.onnx"),
        (["x.onnx", "x.pth", "x.xml"], "x.pth"),
        (["../x.safetensors", "y.pth"], "y.pth"),
        (["a.safetensors", "b.safetensors"], "holds several models; name one: a.safetensors, b.safetensors"),
        (["README.md", "x.gguf"], "holds no model that opens"),
        ([], "but nothing"),
    ],
)
def test_the_one_model_of_a_repository(files: list[str], found: str) -> None:
    reference = parse_reference("hf:a/b")
    if "." in found and " " not in found:
        assert choose(reference, files, EXTENSIONS) == found
    else:
        with pytest.raises(UnknownModelError, match=found):
            choose(reference, files, EXTENSIONS)


# with the library, which takes a second to import


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    hub = huggingface.library()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serving() as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        publish(site, {"net.pth": BODY, "README.md": CARD})
        yield site


def publish(
    site: Site, files: dict[str, bytes], commit: str = COMMIT, licence: str = "cc-by-nc-4.0", **more: Any
) -> None:
    """Lets the hub have these files in a/b, on main and by the commit."""
    for revision in ("main", commit):
        info = {"id": "a/b", "sha": commit, "siblings": [{"rfilename": name} for name in files]}
        info["cardData"] = {"license": licence}
        site.pages[f"/api/models/a/b/revision/{revision}"] = Page(json.dumps(info).encode())
        for name, body in files.items():
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": commit}
            site.pages[f"/a/b/resolve/{revision}/{name}"] = Page(body, headers=headers, **more)
    site.pages["/api/models/a/b"] = site.pages["/api/models/a/b/revision/main"]


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.slow
def test_a_model_is_downloaded_once_and_found_without_a_network(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = find_model("hf:a/b")
    assert path.read_bytes() == BODY and path.parent.name == COMMIT
    assert find_model("hf:a/b") == path
    assert site.paths().count("/a/b/resolve/main/net.pth") == 1
    asked = len(site.asked)
    assert find_model(f"hf:a/b@{COMMIT}") == path and len(site.asked) == asked
    found = find_file("hf:a/b", EXTENSIONS)
    assert (found.licence, found.commit) == ("cc-by-nc-4.0", COMMIT)
    gone(monkeypatch)
    kept = find_file("hf:a/b", EXTENSIONS)
    assert kept.cached == path and kept.licence == "cc-by-nc-4.0" and "copy on this machine" in str(kept)
    with pytest.raises(DownloadError, match=r"cannot be reached .*not in the cache"):
        find_model("hf:a/other")
    monkeypatch.setattr(huggingface.library().constants, "HF_HUB_OFFLINE", True)
    assert find_model("hf:a/b") == path


@pytest.mark.slow
def test_a_branch_moves_and_a_commit_does_not(site: Site) -> None:
    first = find_model("hf:a/b")
    publish(site, {"net.pth": BODY[::-1], "README.md": CARD}, NEWER)
    assert find_model("hf:a/b").read_bytes() == BODY[::-1]
    assert find_model(f"hf:a/b@{COMMIT}") == first and first.read_bytes() == BODY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repository, or it is private"),
        (401, {}, "no such repository, or it is private"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision"),
        (403, {"X-Error-Code": "GatedRepo"}, "its authors ask for consent first"),
        (403, {}, "access is refused"),
        (429, {}, "answered 429"),
        (500, {}, "answered 500"),
    ],
)
def test_refusals_are_sentences(site: Site, status: int, headers: dict[str, str], reason: str) -> None:
    site.pages["/api/models/a/b"] = Page(b"{}", status, headers)
    with pytest.raises(DownloadError, match=reason):
        find_model("hf:a/b")


@pytest.mark.slow
def test_another_file_than_the_hub_says_is_removed(site: Site, tmp_path: Path) -> None:
    for revision in ("main", COMMIT):
        page = site.pages[f"/a/b/resolve/{revision}/net.pth"]
        site.pages[f"/a/b/resolve/{revision}/net.pth"] = Page(b"?" * len(BODY), headers=page.headers)
    with pytest.raises(DownloadError, match="another file came"):
        find_model("hf:a/b")
    assert not list(tmp_path.rglob("net.pth"))


@pytest.mark.slow
def test_what_broke_off_is_continued(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface.library().constants, "DOWNLOAD_CHUNK_SIZE", 100)  # else 10 MB
    publish(site, {"net.pth": BODY, "README.md": CARD}, most=700)
    assert find_model("hf:a/b").read_bytes() == BODY
    ranges = [each.headers.get("range") for each in site.asked if each.method == "GET"]
    assert "bytes=700-" in ranges


def breaks_off(site: Site, most: int) -> None:
    """Lets the server send so many bytes of the model, once, and nothing after that."""
    whole = site.pages["/a/b/resolve/main/net.pth"]
    sent: list[Asked] = []

    def page(asked: Asked) -> Page:
        sent.append(asked)
        return replace(whole, most=most) if len(sent) == 1 else Page(status=503)

    for revision in ("main", COMMIT):
        site.pages[f"GET /a/b/resolve/{revision}/net.pth"] = page


def mended(site: Site) -> None:
    for revision in ("main", COMMIT):
        del site.pages[f"GET /a/b/resolve/{revision}/net.pth"]


@pytest.mark.slow
def test_the_next_run_continues_what_broke_off(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    breaks_off(site, 700)
    with pytest.raises(DownloadError, match=r"net.pth broke off; 700 of 2,048 bytes are kept"):
        find_model("hf:a/b")
    endpoint = site.url
    gone(monkeypatch)
    with pytest.raises(DownloadError, match="not in the cache"):  # half a file is none
        find_model("hf:a/b")
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    mended(site)
    site.asked.clear()
    assert find_model("hf:a/b").read_bytes() == BODY
    sent = [each.headers.get("range") for each in site.asked if each.path.endswith("net.pth")]
    assert [each for each in sent if each] == ["bytes=700-"]
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.slow
def test_what_broke_off_of_an_older_file_is_not_mixed_with_the_newer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    breaks_off(site, 700)
    with pytest.raises(DownloadError, match="broke off"):
        find_model("hf:a/b")
    mended(site)
    publish(site, {"net.pth": BODY[::-1], "README.md": CARD}, NEWER)
    assert find_model("hf:a/b").read_bytes() == BODY[::-1]


@pytest.mark.slow
def test_a_spoiled_beginning_is_dropped(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    breaks_off(site, 700)
    with pytest.raises(DownloadError, match="broke off"):
        find_model("hf:a/b")
    mended(site)
    (part,) = tmp_path.rglob("*.part")
    part.write_bytes(b"?" * 700)
    assert find_model("hf:a/b").read_bytes() == BODY


@pytest.mark.slow
def test_files_that_lie_elsewhere_are_fetched_there_without_the_token(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As those of the hub do, under an address with a signature."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving() as store:
        place = f"{store.url}/blob?Signature=secret"
        store.pages["/blob"] = Page(BODY, most=700)
        for revision in ("main", COMMIT):
            page = site.pages[f"/a/b/resolve/{revision}/net.pth"]
            linked = {"X-Linked-Etag": page.headers["ETag"], "X-Linked-Size": str(len(BODY))}
            headers = {"X-Repo-Commit": COMMIT, "Location": place, **linked}
            site.pages[f"/a/b/resolve/{revision}/net.pth"] = Page(b"", 302, headers)
        store.pages["/blob"] = lambda asked: (
            Page(BODY, most=700) if len(store.asked) == 1 else Page(status=503)
        )
        with pytest.raises(DownloadError, match="700 of 2,048 bytes are kept") as caught:
            find_model("hf:a/b")
        assert "secret" not in str(caught.value)
        assert not any(b"secret" in each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
        store.pages["/blob"] = Page(BODY)
        assert find_model("hf:a/b").read_bytes() == BODY
        assert [each.headers.get("range") for each in store.asked][-1] == "bytes=700-"
        assert not any("authorization" in each.headers for each in store.asked)


@pytest.mark.slow
def test_a_changed_licence_is_said(site: Site) -> None:
    def stated(licence: str, commit: str) -> None:
        card = f"---\nlicense: {licence}\n---\n".encode()
        publish(site, {"net.pth": BODY + commit.encode(), "README.md": card}, commit, licence=licence)

    stated("mit", COMMIT)
    find_model("hf:a/b")
    assert "Before it was" not in str(find_file("hf:a/b", EXTENSIONS))
    stated("cc-by-nc-4.0", NEWER)
    found = str(find_file("hf:a/b", EXTENSIONS))
    assert "licence: cc-by-nc-4.0, not a free licence" in found
    assert "Before it was: mit, a free licence." in found


@pytest.mark.slow
def test_commands_say_version_and_licence_once(site: Site) -> None:
    publish(site, {"net.pth": b"\x80\x04cos\nsystem\n.", "README.md": CARD})
    result = CliRunner().invoke(cli, ["model", "info", "hf:a/b"])
    text = " ".join(result.stderr.split())
    assert result.exit_code == 2 and "Traceback" not in text
    assert text.count("licence: cc-by-nc-4.0, not a free licence (no commercial use)") == 1 and COMMIT in text
