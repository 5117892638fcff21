"""Files from the network: whole and checked under their name, or not there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

import img2img
from img2img.errors import ConfigError, DownloadError, display_path
from img2img.files import file_digest, file_lock, read_regular

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where known, the bytes of the whole file."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as silent."""
PAUSE = 1.0
"""Seconds before a transfer that broke off is continued."""
ATTEMPTS = 50
"""How often one transfer may break off, as long as each attempt brings something."""
SLOWEST = 256
"""Bytes per second, on average over `TIMEOUT`, below which a server counts as silent."""
_BLOCK = 1 << 16
_SPARE = 64 * 2**20  # bytes that stay free on the disk
_LARGEST_NOTE = 2**12  # bytes


class _RefusedError(Exception):
    """What a server did instead of sending the file: the end of a sentence that begins with its address."""


class _OtherFileError(_RefusedError):
    """The bytes cannot be those of the file: all of them are dropped."""


class _StatusError(_RefusedError):
    """The server answered with a code that says no."""

    def __init__(self, error: HTTPError) -> None:
        wait = str(error.headers.get("Retry-After", ""))
        later = f", and asks to wait {wait} seconds" if wait.isdecimal() else ""
        super().__init__(f"answered {error.code} {error.reason}{later}")
        self.code, self.range = error.code, error.headers.get("Content-Range", "")


@dataclass(frozen=True)
class Answer:
    """A small file of a server.

    Attributes:
        body: Its bytes.
        etag, date: What the server said of this version, for the next time; empty where it said nothing.
    """

    body: bytes
    etag: str
    date: str


def fetch(
    urls: Sequence[str],
    path: str | os.PathLike[str],
    sha256: str | None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Downloads a file unless it is already there, and returns its path.

    The mirrors are tried in order. What has arrived lies in `path` + ".part" and is continued, also by the
    next call and from another mirror; the checksum decides, and only then does the file get its name. Without
    a checksum, the next call continues only what the server says is still the same file (its ETag or date,
    kept in `path` + ".part.json"). Several processes of one machine may ask for the same file: one downloads,
    the others wait for it.

    Args:
        urls: Addresses of the same file, http or https.
        path: Where it belongs; missing folders are made.
        sha256: Its checksum in hexadecimal digits, or the beginning of it, 8 at least. None, where nobody has
            published one, takes what the first mirror sends as long as nothing is missing.
        size: Its bytes, where known: another file is then refused before it is transferred.
        progress: Called while bytes arrive.

    Raises:
        ConfigError: The checksum or an address is malformed.
        DownloadError: No mirror sent the file, or another file already has its name.
    """
    path, known, sha256 = Path(path), sha256 is not None, (sha256 or "").lower()  # all begin with ""
    if known and not re.fullmatch("[0-9a-f]{8,64}", sha256):
        raise ConfigError(f"{sha256!r} is no sha256 checksum: 64 hexadecimal digits, or the first 8 or more.")
    for url in urls:
        _require(url)
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists():
            return _at_hand(path, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(part.with_name(f"{part.name}.lock"), wait=True):
            if path.exists():  # another process was faster
                return _at_hand(path, sha256)
            if os.path.lexists(part) and not stat.S_ISREG(part.lstat().st_mode):
                raise OSError(f"{display_path(part)} is a link, folder, pipe or device, and in the way")
            part.touch()
            _fill(part, urls, sha256, size, progress or (lambda done, total: None))
            part.replace(path)
            _note(part).unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(
            f"{display_path(path)} could not be written: {error.strerror or error}."
        ) from error
    return path


def read_url(url: str, largest: int, etag: str = "", date: str = "") -> Answer | None:
    """Returns a small file of a server, or None if it is still the version that `etag` or `date` name.

    Raises:
        ConfigError: The address is malformed.
        DownloadError: The server cannot be reached, refuses, breaks off, or has more than `largest` bytes.
    """
    _require(url)
    headers = {"If-None-Match": etag} if etag else {"If-Modified-Since": date} if date else {}
    try:
        with _open(url, headers) as response:
            length = response.headers.get("Content-Length", "")
            body = bytearray()
            for block in _blocks(response):
                body += block
                if len(body) > largest:
                    raise _RefusedError(f"sends more than {largest} bytes")
            if re.fullmatch("[0-9]{1,15}", length) and len(body) < int(length):
                raise _RefusedError(f"broke off after {len(body)} of {length} bytes")
            return Answer(
                bytes(body), response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
            )
    except _StatusError as error:
        if error.code == 304 and headers:
            return None
        raise DownloadError(_told(url, error)) from error
    except _RefusedError as error:
        raise DownloadError(_told(url, error)) from error


def _told(url: str, reason: _RefusedError) -> str:
    """Returns what happened in words that may be the server's, and do nothing to a terminal."""
    return display_path(" ".join(f"{url} {reason}".split()))[:500]


def _require(url: str) -> None:
    try:
        require_address(url)
    except ValueError as error:
        raise ConfigError(f"{error}.") from None


def require_address(url: str) -> None:
    """Raises ValueError, with a sentence, for what is no address that files are downloaded from."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without a partner, a port that is no number
        good = False
    if not good or not url.isprintable() or " " in url:
        raise ValueError(
            f"{display_path(url)[:200]!r} is not an address to download from: it must begin with https:// "
            "and the name of a host"
        )


def _at_hand(path: Path, sha256: str) -> Path:
    found = file_digest(path)
    if not found.startswith(sha256):
        raise DownloadError(
            f"{display_path(path)} exists and is another file: its sha256 begins with {found[:16]}, that of "
            f"the file to download with {sha256[:16]}; move it away and try again."
        )
    return path


def _fill(part: Path, urls: Sequence[str], sha256: str, size: int | None, progress: Progress) -> None:
    """Completes `part` from the first mirror that can."""
    reasons = []
    for url in urls:
        try:
            return _from_mirror(url, part, sha256, size, progress)
        except _RefusedError as reason:
            reasons.append(_told(url, reason))
    have = _length(part)
    kept = f" {have} bytes are kept in {display_path(part)}; the next try continues there." if have else ""
    if not have:
        part.unlink(missing_ok=True)
        _note(part).unlink(missing_ok=True)
    name = display_path(part.with_suffix(""))
    raise DownloadError(
        f"{name} could not be downloaded: {'; '.join(reasons) or 'no address is given'}.{kept} Check the "
        "connection and try again, or put the file there yourself."
    )


def _from_mirror(url: str, part: Path, sha256: str, size: int | None, progress: Progress) -> None:
    """Completes `part` from one mirror, continuing as long as every attempt brings something."""
    if not sha256 and _length(part):
        known = _remembered(part)
        if known.get("url") != _digest(url) or not (known.get("etag") or known.get("date")):
            os.truncate(part, 0)  # nobody could tell a mixture of two files from one
    for attempt in range(1, ATTEMPTS + 1):
        have = _length(part)
        try:
            _transfer(url, part, size, progress, check=not sha256)
            found = file_digest(part)
            if found.startswith(sha256) and size in (None, _length(part)) and (sha256 or not _is_page(part)):
                return
            if _is_page(part):
                raise _OtherFileError("sends a web page in place of the file")
            expected = f"{sha256[:16]}..." if sha256 else f"{size} bytes"
            raise _OtherFileError(f"sent another file (sha256 {found[:16]}..., expected {expected})")
        except _OtherFileError:
            os.truncate(part, 0)
            if not have or attempt == ATTEMPTS:  # else an earlier try may have brought the wrong ones
                raise
        except _RefusedError:
            if _length(part) <= have or attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _is_page(part: Path) -> bool:
    """Returns whether a file is one of those pages that say where to log in, wait or click."""
    with part.open("rb") as file:
        start = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def _transfer(url: str, part: Path, size: int | None, progress: Progress, check: bool) -> None:
    """Asks once for everything after what `part` holds, and writes what comes.

    Args:
        check: There is no checksum: what the server says of the file must be what it said the first time.
    """
    have = _length(part)
    known = _remembered(part) if have else {}
    validator = str(known.get("etag") or known.get("date") or "") if known.get("url") == _digest(url) else ""
    response = _rest(url, have, "" if validator.startswith("W/") else validator)
    if response is None:
        return
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if re.fullmatch("[0-9]{1,15}", length) else size
        if size is not None and total != size and response.headers.get_content_type() == "text/html":
            raise _RefusedError("sends a web page in place of the file")
        if size is not None and total != size:
            raise _RefusedError(f"offers a file of {total} bytes, expected {size}")
        room = shutil.disk_usage(part.parent).free - _SPARE
        if total is not None and total - start > room:
            raise _RefusedError(f"offers a file of {total} bytes, and the disk has {max(0, room)} free")
        facts = {
            "url": _digest(url),
            "etag": response.headers.get("ETag", ""),
            "date": response.headers.get("Last-Modified", ""),
            "size": total,
        }
        if start and check and facts != known:
            raise _OtherFileError("has another file by now")
        if not start and (check or facts["etag"] or facts["date"]):
            _note(part).write_text(json.dumps(facts), "utf-8")
        done = start
        most = size if size is not None else total if total is not None else start + room
        with part.open("ab") as file:
            file.truncate(start)
            for block in _blocks(response):
                file.write(block)
                done += len(block)
                if done > most:  # without an announced length
                    raise _OtherFileError(f"sends more than the expected {most} bytes")
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _RefusedError(f"broke off after {done} of {total} bytes")


def _digest(url: str) -> str:
    """Returns what an address is known by on the disk: itself it may hold a signature."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _note(part: Path) -> Path:
    """Returns the file that says what `part` is the beginning of."""
    return part.with_name(f"{part.name}.json")


def _remembered(part: Path) -> dict[str, Any]:
    """Returns what the server said of the file that `part` is the beginning of."""
    try:
        facts = json.loads(read_regular(_note(part), _LARGEST_NOTE))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _rest(url: str, have: int, validator: str) -> HTTPResponse | None:
    """Returns the answer of the server, or None if the file has just the first `have` bytes."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and validator:
        headers["If-Range"] = validator
    try:
        return _open(url, headers)
    except _StatusError as error:
        if error.code != 416 or not have:
            raise
        if error.range == f"bytes */{have}":
            return None
        raise _OtherFileError(f"has nothing after {have} bytes and does not say why") from error


def _open(url: str, headers: Mapping[str, str]) -> HTTPResponse:
    """Returns the answer of a server that has what is asked for."""
    request = Request(url, headers={"User-Agent": f"img2img/{img2img.__version__}", **headers})
    try:
        response: HTTPResponse = _opener().open(request, timeout=TIMEOUT)
        return response
    except HTTPError as error:
        with error:
            raise _StatusError(error) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _RefusedError(f"cannot be reached ({getattr(error, 'reason', None) or error})") from error


def _opener() -> OpenerDirector:
    """Returns what opens http and https, and nothing else that a redirection may lead to."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        _Http(),
        _Https(),
        HTTPDefaultErrorHandler(),
        _Redirect(),
        HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirect(HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        """Follows to http and https only; the parent would follow to ftp, too."""
        try:
            require_address(newurl)
        except ValueError:
            raise _RefusedError(f"leads to {newurl[:200]!r}, which is not followed") from None
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme == "http":
            raise _RefusedError("leads from https to http, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Patient:
    """Gives a server `TIMEOUT` for its whole answer before the file, not for each byte of it."""

    sock: Any
    _hung_up = False

    def getresponse(self) -> Any:
        watch = threading.Timer(TIMEOUT, self._hang_up)
        watch.daemon = True
        watch.start()
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            watch.cancel()
        if self._hung_up:  # the end of the line looks like the end of the headers
            raise TimeoutError(f"no answer for {TIMEOUT:.0f} seconds")
        return response

    def _hang_up(self) -> None:
        self._hung_up = True
        with suppress(OSError, AttributeError):
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _PatientHttp(_Patient, HTTPConnection):
    pass


class _PatientHttps(_Patient, HTTPSConnection):
    pass


class _Http(HTTPHandler):
    def http_open(self, req: Request) -> Any:
        return self.do_open(_PatientHttp, req)


class _Https(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(_PatientHttps, req)


def _start(response: HTTPResponse, have: int) -> int:
    """Returns which byte of the file the answer begins with: `have`, or 0 where ranges are not served."""
    if response.status != 206:
        return 0
    content = response.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", content)
    if not match or int(match[1]) != have:
        raise _OtherFileError(
            f"answered a request for the bytes from {have} with {content or 'an unnamed part'!r}"
        )
    return have


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """Yields what comes, as it comes, as long as it comes fast enough."""
    since, came = time.monotonic(), 0
    while True:
        try:
            block = response.read1(_BLOCK)
        except (OSError, HTTPException, ValueError) as error:
            raise _RefusedError(f"broke off ({error or type(error).__name__})") from error
        if not block:
            return
        yield block
        came += len(block)
        if (passed := time.monotonic() - since) > TIMEOUT:
            if came < SLOWEST * passed:
                raise _RefusedError(f"broke off: it sends {came / passed:.0f} bytes a second")
            since, came = time.monotonic(), 0
