"""The assertions of a fresh checkout, rewritten by a second process while the first one imports torch.

pytest rewrites the `assert`s of each test file before it imports it, eight seconds for all of them, and keeps
what it has made. Here a fork does so from the last file on, until it meets those that collection, from the
first one on, has done. It goes by what pytest calls its own: where that has changed, nothing is gained.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from _pytest.assertion import rewrite


def start(config: pytest.Config, folder: Path) -> int | None:
    """Starts the fork, before any thread is; returns its number, or None when there is nothing to do."""
    try:
        files = [path for path in folder.rglob("test_*.py") if not _kept(path).exists()]
    except (AttributeError, TypeError, OSError):  # of another pytest
        return None
    if len(files) < 20:
        return None
    child = os.fork()
    if child == 0:
        try:
            with contextlib.suppress(Exception):
                _rewrite(config, sorted(files, reverse=True))
        finally:
            os._exit(0)
    return child


def _kept(path: Path) -> Path:
    return rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)


def _rewrite(config: pytest.Config, files: list[Path]) -> None:
    for path in files:
        kept = _kept(path)
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            source, code = rewrite._rewrite_test(path, config)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, source, kept)
