"""A format whose files say what its decoder shall do; as a program it is img2img with it."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

from img2img.image import formats, isolation
from img2img.image.formats.base import Format, Header, Raster

MAGIC = b"HOSTILE "
SERVE = "import hostile as h, img2img.image.worker as w; h.install(); w.serve()"


def decode(data: bytes, header: Header) -> Raster:
    """Does what the file says, and returns a white picture when it can."""
    order, _, argument = data.removeprefix(MAGIC).decode().partition(" ")
    if order == "spin":
        end = time.monotonic() + float(argument)
        while time.monotonic() < end:
            pass
    elif order == "hang":
        Path(argument).write_text(f"{os.getpid()}\n")
        while True:
            pass
    elif order == "sleep":
        time.sleep(float(argument))
    elif order == "abort":
        os.abort()
    elif order == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == "segfault":
        ctypes.string_at(0)
    elif order == "exit":
        os._exit(0)
    elif order == "memory":
        bytearray(int(argument))
    elif order == "print":
        os.write(int(argument), b"Corrupt data: premature end of something\n")
    elif order == "harmless":
        os.write(2, b"note: nothing\n")
    elif order == "flood":
        while os.write(2, b"x" * 2**20):
            pass
    elif order == "raise":
        raise RuntimeError("what the library says")
    elif order == "cut":
        for descriptor in range(3, 20):
            try:
                os.write(descriptor, (1000).to_bytes(8, "big") + b'{"arrays": ')
            except OSError:
                continue
        os._exit(0)
    elif order == "object":
        return Raster(np.full((8, 8, 1), None))
    elif order == "pid":
        header.warnings.append(str(os.getpid()))
    return Raster(np.full((8, 8, 3), 255, np.uint8))


FORMAT = Format(
    name="hostile",
    extensions=(".hostile",),
    matches=lambda data: data.startswith(MAGIC),
    probe=lambda data: Header(8, 8),
    decode=decode,
    isolated=lambda header: True,
    harmless=re.compile("^note:"),
)


def install() -> None:
    """Adds the format to those that are known, here and in workers that start from now on."""
    if FORMAT not in formats.FORMATS:
        formats.FORMATS = (FORMAT, *formats.FORMATS)
    isolation._SERVE = SERVE


if __name__ == "__main__":
    import img2img.image.discovery
    from img2img.cli.main import main

    install()
    img2img.image.discovery.CANDIDATES |= {".hostile"}
    sys.exit(main())
