"""Files from the network: whole and checked under their name, or not there."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import img2img
from img2img.errors import ConfigError, DownloadError, display_path

if sys.platform != "win32":
    import fcntl

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where known, the bytes of the whole file."""

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as silent."""
PAUSE = 1.0
"""Seconds before a transfer that broke off is continued."""
ATTEMPTS = 50
"""How often one transfer may break off, as long as each attempt brings something."""
_BLOCK = 1 << 16


class _RefusedError(Exception):
    """What a server did instead of sending the file: the end of a sentence that begins with its address."""


class _OtherFileError(_RefusedError):
    """The bytes cannot be those of the file: all of them are dropped."""


def fetch(
    urls: Sequence[str],
    path: str | os.PathLike[str],
    sha256: str | None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Downloads a file unless it is already there, and returns its path.

    The mirrors are tried in order. What has arrived lies in `path` + ".part" and is continued, also by the
    next call and from another mirror; the checksum decides, and only then does the file get its name. Several
    processes of one machine may ask for the same file: one downloads, the others wait for it.

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
        if not re.match("https?://", url):
            raise ConfigError(f"{url!r} is not an address to download from: it must begin with https://.")
    part = path.with_name(f"{path.name}.part")
    try:
        if path.exists():
            return _at_hand(path, sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if path.exists():  # another process was faster
                return _at_hand(path, sha256)
            _fill(part, urls, sha256, size, progress or (lambda done, total: None))
            part.replace(path)
    except OSError as error:
        raise DownloadError(
            f"{display_path(path)} could not be written: {error.strerror or error}."
        ) from error
    return path


def _at_hand(path: Path, sha256: str) -> Path:
    found = _checksum(path)
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
            reasons.append(f"{url} {reason}")
    have = _length(part)
    kept = f" {have} bytes are kept in {display_path(part)}; the next try continues there." if have else ""
    if not have:
        part.unlink(missing_ok=True)
    name = display_path(part.with_suffix(""))
    raise DownloadError(
        f"{name} could not be downloaded: {'; '.join(reasons) or 'no address is given'}.{kept} Check the "
        "connection and try again, or put the file there yourself."
    )


def _from_mirror(url: str, part: Path, sha256: str, size: int | None, progress: Progress) -> None:
    """Completes `part` from one mirror, continuing as long as every attempt brings something."""
    for attempt in range(1, ATTEMPTS + 1):
        have = _length(part)
        try:
            _transfer(url, part, have, size, progress)
            found = _checksum(part)
            if found.startswith(sha256) and size in (None, _length(part)):
                return
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


def _transfer(url: str, part: Path, have: int, size: int | None, progress: Progress) -> None:
    """Asks once for everything after the first `have` bytes of `part`, and writes what comes."""
    response = _ask(url, have)
    if response is None:
        return
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else size
        if size is not None and total != size:
            raise _RefusedError(f"offers a file of {total} bytes, expected {size}")
        done = start
        with part.open("ab") as file:
            file.truncate(start)
            while block := _read(response):
                file.write(block)
                done += len(block)
                if size is not None and done > size:  # without an announced length
                    raise _OtherFileError(f"sends more than the expected {size} bytes")
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _RefusedError(f"broke off after {done} of {total} bytes")


def _ask(url: str, have: int) -> HTTPResponse | None:
    """Returns the answer of the server, or None if the file has just the first `have` bytes."""
    headers = {"User-Agent": f"img2img/{img2img.__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
        return response
    except HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range") == f"bytes */{have}":
                    return None
                raise _OtherFileError(f"has nothing after {have} bytes and does not say why") from error
            raise _RefusedError(f"answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise _RefusedError(f"cannot be reached ({getattr(error, 'reason', None) or error})") from error


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


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, HTTPException) as error:
        raise _RefusedError(f"broke off ({error or type(error).__name__})") from error


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Waits until no other process of this machine writes `part`."""
    if sys.platform == "win32":
        yield
    else:
        with part.open("ab") as file:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
