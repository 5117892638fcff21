"""Downloads against a server that breaks off, lies about ranges, has lost the file or sends another one."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from img2img import fetch as module
from img2img.errors import ConfigError, DownloadError
from img2img.fetch import fetch

BODY = bytes(range(256)) * 1024  # 256 KiB: several blocks
DIGEST = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        start = int((self.headers["Range"] or "bytes=0-")[6:-1])
        self.server.asked.append((self.path, start))
        getattr(self, self.path[1:])(start)

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, code: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self, start: int, most: int | None = None) -> None:
        rest = BODY[start:]
        if not rest:
            length = {"Content_Range": f"bytes */{len(BODY)}"}
            return self.answer(416, b"", 0, **length)
        content = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        ranges = {"Content_Range": content} if start else {}
        return self.answer(206 if start else 200, rest[:most], len(rest), **ranges)

    def breaks(self, start: int) -> None:
        self.good(start, 100_000)

    def no_ranges(self, start: int) -> None:
        self.answer(200, BODY, len(BODY))

    def no_length(self, start: int) -> None:
        self.answer(200, BODY)

    def breaks_without_ranges(self, start: int) -> None:
        self.answer(200, BODY[:100_000], len(BODY))

    def no_ranges_with_416(self, start: int) -> None:
        self.answer(416, b"", 0) if start else self.good(0)

    def other_range(self, start: int) -> None:  # says that it starts elsewhere
        if start:
            self.answer(206, BODY[1:], len(BODY) - 1, Content_Range=f"bytes 1-{len(BODY) - 1}/{len(BODY)}")
        else:
            self.good(0)

    def false_range(self, start: int) -> None:  # says that it starts there, and sends the beginning
        rest = len(BODY) - start
        if start:
            self.answer(206, BODY[:rest], rest, Content_Range=f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        else:
            self.good(0)

    def wrong(self, start: int) -> None:
        self.answer(200, BODY[::-1], len(BODY))

    def longer(self, start: int) -> None:
        self.answer(200, BODY + b"!", len(BODY) + 1)

    def longer_without_length(self, start: int) -> None:
        self.answer(200, BODY * 2)

    def lost(self, start: int) -> None:
        self.answer(404, b"not here", 8)

    def tagged(self, start: int) -> None:
        """Has another version now and then, and knows If-Range."""
        body, tag = (BODY, '"2"') if self.server.renewed else (BODY[::-1], '"1"')
        if self.headers["If-Range"] not in (None, tag):
            start = 0
        content = f"bytes {start}-{len(body) - 1}/{len(body)}"
        ranges = {"Content_Range": content} if start else {}
        most = None if self.server.renewed else 100_000
        self.answer(206 if start else 200, body[start:][:most], len(body) - start, ETag=tag, **ranges)
        self.server.conditions.append(self.headers["If-Range"])

    def unconditional(self, start: int) -> None:
        """The same, and does not know If-Range."""
        if self.headers["If-Range"]:
            del self.headers["If-Range"]
        self.tagged(start)

    def escapes(self, start: int) -> None:
        self.wfile.write(b"HTTP/1.1 404 \x1b]0;PWNED\x07\x1b[2J\r\nContent-Length: 0\r\n\r\n")
        self.close_connection = True

    def elsewhere(self, start: int) -> None:
        self.answer(302, b"", 0, Location=self.server.location)

    def endless(self, start: int) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(BODY)

    def drips(self, start: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self._drip()

    def drips_headers(self, start: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self._drip()

    def _drip(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"x")

    def absurd(self, start: int) -> None:
        self.answer(200, b"", 10**14)

    def nonsense(self, start: int) -> None:
        self.wfile.write(b"\x1b[2J\x00\xff\r\n\r\n")
        self.close_connection = True

    def silent(self, start: int) -> None:
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, int]] = []
        self.conditions: list[str | None] = []
        self.location = ""
        self.renewed = False
        self.closing = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hung up


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSE", 0.0)
    monkeypatch.setattr(module, "TIMEOUT", 5.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "file.bin"


def part(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name("file.bin.part")
    file.write_bytes(content)
    return file


def alone(path: Path) -> bool:
    return path.read_bytes() == BODY and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["good", "breaks", "no_ranges", "no_length"])
def test_a_file_arrives_whole(server: Server, path: Path, name: str) -> None:
    seen: list[tuple[int, int | None]] = []
    assert fetch([server.url(name)], path, DIGEST, progress=lambda *state: seen.append(state)) == path
    assert alone(path)
    assert seen[-1] == (len(BODY), None if name == "no_length" else len(BODY))
    assert len(seen) > 3
    assert all(before[0] < after[0] for before, after in itertools.pairwise(seen))
    if name == "breaks":
        assert [start for _, start in server.asked] == [0, 100_000, 200_000]


@pytest.mark.parametrize(
    ("name", "content", "size"),
    [
        ("breaks", b"", None),
        ("good", BODY[:70_000], None),
        ("good", BODY, None),
        ("good", BODY + b"more", None),
        ("no_ranges_with_416", BODY[:70_000], None),
        ("no_length", b"", len(BODY)),
    ],
)
def test_without_a_checksum_the_length_counts(
    server: Server, path: Path, name: str, content: bytes, size: int | None
) -> None:
    part(path, content)
    fetch([server.url("longer") if size else server.url("lost"), server.url(name)], path, None, size)
    assert alone(path)


def test_a_file_at_hand_is_not_asked_for(server: Server, path: Path) -> None:
    fetch([server.url("good")], path, DIGEST[:8], len(BODY))
    fetch([server.url("good")], path, DIGEST.upper())
    assert len(server.asked) == 1
    path.write_bytes(b"mine")
    with pytest.raises(DownloadError, match="another file"):
        fetch([server.url("good")], path, DIGEST)
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "content", "starts"),
    [
        ("good", BODY[:70_000], [70_000]),
        ("good", BODY, [len(BODY)]),  # only the name was missing
        ("good", BODY + b"more", [len(BODY) + 4, 0]),
        ("good", b"something else", [14, 0]),
        ("no_ranges", BODY[:70_000], [70_000]),
        ("no_ranges_with_416", BODY[:70_000], [70_000, 0]),
        ("other_range", BODY[:70_000], [70_000, 0]),
        ("false_range", BODY[:70_000], [70_000, 0]),
    ],
)
def test_what_is_left_of_an_earlier_try(
    server: Server, path: Path, name: str, content: bytes, starts: list[int]
) -> None:
    part(path, content)
    fetch([server.url(name)], path, DIGEST)
    assert alone(path)
    assert [start for _, start in server.asked] == starts


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("lost", None, "answered 404"),
        ("wrong", None, "sent another file"),
        ("longer", len(BODY), "offers a file of 262145 bytes, expected 262144"),
        ("longer_without_length", len(BODY), "more than the expected"),
        ("silent", None, "cannot be reached"),
        ("breaks_without_ranges", None, "broke off"),
    ],
)
def test_the_next_mirror_helps_and_without_one_the_reason_is_told(
    server: Server, path: Path, name: str, size: int | None, reason: str
) -> None:
    with pytest.raises(DownloadError, match=f"file.bin could not be downloaded.*{name} .*{reason}"):
        fetch([server.url(name)], path, DIGEST, size)
    assert not path.exists()
    fetch([server.url(name), server.url("good")], path, DIGEST, size)
    assert alone(path)


def test_a_part_is_kept_for_the_next_try(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match=r"100000 bytes are kept in .*file.bin.part"):
        fetch([server.url("breaks")], path, DIGEST)
    assert [file.name for file in path.parent.iterdir()] == ["file.bin.part"]
    fetch([server.url("lost"), server.url("good")], path, DIGEST)
    assert alone(path)
    assert server.asked[-1] == ("/good", 100_000)


def test_the_last_attempt_is_checked_too(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    part(path, b"something else")
    with pytest.raises(DownloadError, match="another file"):
        fetch([server.url("good")], path, DIGEST)
    assert not path.exists()


def test_nothing_is_left_when_nothing_came(server: Server, path: Path) -> None:
    with pytest.raises(DownloadError, match=r"404.*; .*another file"):
        fetch([server.url("lost"), server.url("wrong")], path, DIGEST)
    assert list(path.parent.iterdir()) == []


def test_several_ask_and_one_downloads(server: Server, path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fetch, [server.url("breaks")], path, DIGEST) for _ in range(4)]
        assert {job.result(timeout=20) for job in jobs} == {path}
    assert alone(path)
    assert len(server.asked) == 3


def test_no_server(path: Path) -> None:
    with Server() as server:
        url = server.url("good")
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch([url], path, DIGEST)


def test_a_place_that_cannot_be_written(tmp_path: Path, server: Server) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="could not be written"):
        fetch([server.url("good")], tmp_path / "file" / "inside.bin", DIGEST)


@pytest.mark.parametrize(
    ("url", "digest"),
    [
        ("file:///etc/hostname", DIGEST),
        ("ftp://host/x", DIGEST),
        ("http://[::1", DIGEST),
        ("http://", DIGEST),
        ("https:///x", DIGEST),
        ("http://host:99999/x", DIGEST),
        ("http://host:x/x", DIGEST),
        ("http://host/a b", DIGEST),
        ("http://host/\x1b]0;x", DIGEST),
        ("http://host/\r\nX: y", DIGEST),
        ("https://host/x", "abc"),
        ("https://host/x", "z" * 64),
    ],
)
def test_malformed_requests(path: Path, url: str, digest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fetch([url], path, digest)
    assert "\x1b" not in str(caught.value)
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["escapes", "nonsense", "elsewhere"])
def test_nothing_of_a_server_controls_the_terminal(server: Server, path: Path, name: str) -> None:
    server.location = "http://127.0.0.1:1/\x1b]0;x\x07"
    with pytest.raises(DownloadError) as caught:
        fetch([server.url(name)], path, DIGEST)
    assert str(caught.value).isprintable()
    if name == "escapes":
        assert r"answered 404 \x1b]0;PWNED\x07\x1b[2J" in str(caught.value)


@pytest.mark.parametrize(
    "target", ["ftp://127.0.0.1/x", "file:///etc/hostname", "data:,x", "http://[::1", "gopher://x/", "//"]
)
def test_redirections_lead_to_http_only(server: Server, path: Path, target: str) -> None:
    server.location = target
    with pytest.raises(DownloadError, match=r"not followed|cannot be reached|answered 302"):
        fetch([server.url("elsewhere")], path, DIGEST)
    assert not path.exists()


def test_redirections_are_followed(server: Server, path: Path) -> None:
    server.location = server.url("good")
    fetch([server.url("elsewhere")], path, DIGEST)
    assert alone(path)
    server.location = server.url("elsewhere")
    path.unlink()
    with pytest.raises(DownloadError, match="infinite loop"):
        fetch([server.url("elsewhere")], path, DIGEST)


@pytest.mark.parametrize("name", ["drips", "drips_headers"])
@pytest.mark.sampled(1)
def test_a_server_that_only_drips_counts_as_silent(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    with pytest.raises(DownloadError, match=r"bytes a second|cannot be reached"):
        fetch([server.url(name)], path, DIGEST)


@pytest.mark.parametrize("name", ["endless", "absurd"])
def test_no_more_comes_than_the_disk_has(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    usage = namedtuple("usage", "total used free")
    room = module._SPARE + 4 * len(BODY)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, room))
    with pytest.raises(DownloadError, match=r"more than the expected|and the disk has"):
        fetch([server.url(name)], path, None)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["tagged", "unconditional"])
def test_two_versions_never_become_one_file(
    server: Server, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without a checksum, what is left of the first version is dropped when the second one comes."""
    with monkeypatch.context() as context:
        context.setattr(module, "ATTEMPTS", 1)
        with pytest.raises(DownloadError, match="100000 bytes are kept"):
            fetch([server.url(name)], path, None)
    server.renewed = True
    fetch([server.url(name)], path, None)
    assert alone(path)
    if name == "tagged":
        assert server.conditions[:2] == [None, '"1"']


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_part_that_nobody_knows_starts_anew_without_a_checksum(
    server: Server, path: Path, size: int | None
) -> None:
    part(path, b"of another file" * 1000)
    fetch([server.url("good")], path, None, size)
    assert alone(path)
    assert server.asked == [("/good", 0)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["file.bin", "file.bin.part"])
def test_pipes_and_links_are_not_written_through(
    server: Server, path: Path, tmp_path: Path, name: str
) -> None:
    path.parent.mkdir()
    os.mkfifo(path.with_name(name))
    with pytest.raises(DownloadError, match="pipe"):
        fetch([server.url("good")], path, DIGEST)
    path.with_name(name).unlink()
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    path.with_name(name).symlink_to(mine)
    with pytest.raises(DownloadError, match=r"in the way|another file"):
        fetch([server.url("good")], path, DIGEST)
    assert mine.read_bytes() == b"mine"
