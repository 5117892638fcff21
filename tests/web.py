"""A small web server on this machine: what it answers is a dictionary, what was asked is a list."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """What a path answers.

    Attributes:
        body: The whole file.
        status: Of the answer.
        headers: Beside Content-Length.
        most: Bytes after which the connection breaks off; None for none.
        ranges: Whether parts of it are sent.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None
    ranges: bool = True


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.command, path, headers, body))
        pages = self.server.pages
        page = pages.get(f"{self.command} {path}") or pages.get(path) or Page(status=404)
        if not isinstance(page, Page):
            page = page(self.server.asked[-1])
        sent = {name.lower(): value for name, value in page.headers.items()}
        tag, status, rest = sent.get("etag"), page.status, page.body
        if tag and headers.get("if-none-match") == tag:
            status, rest = 304, b""
        asked = headers.get("range")
        if asked and page.ranges and status == 200 and headers.get("if-range") in (None, tag):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            status, rest = 206, page.body[start:]
            sent["content-range"] = f"bytes {start}-{len(page.body) - 1}/{len(page.body)}"
        self.send_response(status)
        for name, value in sent.items():
            self.send_header(name, value)
        if "content-length" not in sent:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(rest[: page.most])

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815  # as the base class calls them

    def log_message(self, *args: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """The server.

    Attributes:
        pages: What each path answers, or a function that makes that of what is asked, by "PATH" or "METHOD
            PATH"; others are not found.
        asked: What came, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page | Callable[[Asked], Page]] = {}
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def paths(self, method: str = "GET") -> list[str]:
        return [each.path for each in self.asked if each.method == method]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hung up


@contextmanager
def serving() -> Iterator[Site]:
    """Runs one until the end; `shutdown()` and `server_close()` before that take it off the network."""
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.shutdown()
        thread.join()
