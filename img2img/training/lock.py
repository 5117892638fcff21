"""One run in one folder: a lock that goes with the process that holds it, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from img2img.errors import ConfigError, display_path
from img2img.files import LockedError, file_lock
from img2img.report.run import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps `folder` for this process; it is made if it is not there, and removed if nothing came into it.

    Raises:
        ConfigError: Another process works in it.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with file_lock(folder / LOCK, str(os.getpid())):
            yield
    except LockedError as error:
        process = f" (process {error})" if str(error).isdigit() else ""
        raise ConfigError(
            f"another run is at work in {display_path(folder)}{process}; wait for it or stop it, or give "
            "another folder."
        ) from None
    finally:
        for made in missing:
            with suppress(OSError):  # not empty: it is in use now
                made.rmdir()
