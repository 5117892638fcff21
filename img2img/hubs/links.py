"""Which addresses give a file, and which only a page about it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from img2img.fetch import require_address

# where files are behind a button, a wait or a script
_PAGES = frozenset(
    [
        "1drv.ms",
        "1fichier.com",
        "anonfiles.com",
        "disk.yandex.ru",
        "drive.google.com",
        "drive.proton.me",
        "dropbox.com",
        "gofile.io",
        "icedrive.net",
        "lbry.tv",
        "mediafire.com",
        "mega.co.nz",
        "mega.nz",
        "odysee.com",
        "onedrive.live.com",
        "pan.baidu.com",
        "pcloud.link",
        "pixeldrain.com",
        "wetransfer.com",
        "zippyshare.com",
    ]
)
_ARCHIVE = re.compile(r"\.(?:zip|7z|rar|tar\.\w+|(?<!\.pth\.)tar)$", re.IGNORECASE)


def direct(url: str) -> str | None:
    """Returns the address that gives the file itself, or None where a page or an archive is in between.

    What GitHub and Hugging Face show of a file (`/blob/`) becomes what they send of it.
    """
    try:
        require_address(url)
    except ValueError:
        return None
    parts = urlsplit(url)
    host, path = (parts.hostname or "").lower().removeprefix("www."), parts.path
    if any(host == page or host.endswith(f".{page}") for page in _PAGES) or _ARCHIVE.search(path):
        return None
    if host == "github.com":
        if re.fullmatch(r"/[^/]+/[^/]+/blob/.+", path):
            return parts._replace(path=path.replace("/blob/", "/raw/", 1), fragment="").geturl()
        sends = re.fullmatch(r"/[^/]+/[^/]+/(?:releases/(?:latest/)?download|raw)/.+", path)
        return parts._replace(fragment="").geturl() if sends else None
    if host == "huggingface.co":
        if re.fullmatch(r"/[^/]+/[^/]+/blob/.+", path):
            return parts._replace(path=path.replace("/blob/", "/resolve/", 1), fragment="").geturl()
        return url if re.fullmatch(r"/[^/]+/[^/]+/resolve/.+", path) else None
    return parts._replace(fragment="").geturl() if path.strip("/") else None
