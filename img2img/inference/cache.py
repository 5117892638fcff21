"""What was found out or made on this machine once: converted networks, and which backend is faster."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

import img2img.models
from img2img import __version__
from img2img.files import user_cache, write_bytes

MOST_BYTES = 4 * 2**30  # a converted U-Net takes 0.2 GiB


class ModelCache:
    """Files that may vanish or be damaged at any time: what is read is what was stored, or nothing.

    Args:
        folder: Where they are; None takes `inference` in the user's cache.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = user_cache() / "inference" if folder is None else folder

    def load(self, name: str) -> bytes | None:
        """Returns what was stored as `name`, or None if there is nothing or it is damaged."""
        path = self.folder / name
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, content = data[:32], data[32:]
        return content if hashlib.sha256(content).digest() == digest else None

    def store(self, name: str, content: bytes) -> bool:
        """Stores `content` as `name`, and removes what was not used for longest beyond 4 GiB in all.

        Returns:
            Whether that was possible; a cache that cannot be written is no reason to stop.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes(hashlib.sha256(content).digest() + content, self.folder / name)
            self._trim()
        except OSError:
            return False
        return True

    def _trim(self) -> None:
        states = [(path, path.stat()) for path in self.folder.iterdir() if path.is_file()]
        total = sum(state.st_size for _, state in states)
        for path, state in sorted(states, key=lambda entry: entry[1].st_mtime):
            if total <= MOST_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= state.st_size


def key(**facts: Any) -> str:
    """Returns a name for what depends on `facts`, on the versions, the code of the networks and the CPU."""
    facts |= {"img2img": __version__, "code": _code(), "torch": torch.__version__, "cpu": cpu_name()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


@functools.cache
def cpu_name() -> str:
    """Returns the model of the CPU as the system calls it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            label, _, name = line.partition(":")
            if label.strip() == "model name":
                return name.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def _code() -> str:
    folder = Path(str(img2img.models.__file__)).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))).hexdigest()
