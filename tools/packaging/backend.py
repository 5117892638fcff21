"""The build backend: setuptools, and archives that depend on nothing but the contents of the files.

The same sources give the same wheel and the same source archive, byte for byte, whenever, wherever and by
whomever they are checked out, with one version of setuptools and one of zlib.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
TIME = 1_577_836_800  # of every file, unless SOURCE_DATE_EPOCH says otherwise: 2020-01-01; zip begins in 1980
MODE = 0o644


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Builds the wheel in a folder of its own, so that nothing of an earlier build gets into it."""
    with tempfile.TemporaryDirectory() as base:
        settings = {**(config_settings or {}), "--global-option": ["build", "--build-base", base]}
        name = build_meta.build_wheel(wheel_directory, settings, metadata_directory)
    path = Path(wheel_directory, name)
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as built, zipfile.ZipFile(packed, "w") as archive:
        for entry in built.infolist():
            info = zipfile.ZipInfo(entry.filename, time.gmtime(_time())[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, so that the mode counts
            info.external_attr = (0o100000 | MODE) << 16
            archive.writestr(info, built.read(entry))
    path.write_bytes(packed.getvalue())
    return name


def build_sdist(sdist_directory: str, config_settings: dict[str, Any] | None = None) -> str:
    """Builds the source archive."""
    name = build_meta.build_sdist(sdist_directory, config_settings)
    path = Path(sdist_directory, name)
    packed = io.BytesIO()
    with (
        tarfile.open(path) as built,
        gzip.GzipFile("", "wb", fileobj=packed, mtime=_time()) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for entry in sorted(built.getmembers(), key=lambda member: member.name):
            info = tarfile.TarInfo(entry.name)
            info.type, info.size, info.mtime = entry.type, entry.size, _time()
            info.mode = 0o755 if entry.isdir() else MODE
            archive.addfile(info, built.extractfile(entry))
    path.write_bytes(packed.getvalue())
    return name


def _time() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", TIME))
