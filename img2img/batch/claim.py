"""The output folder before the work: it can be written, and no other run is at work in it."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from img2img.batch.manifest import STATE_FOLDER, Manifest
from img2img.batch.remote_manifest import RemoteManifest
from img2img.batch.shard import Shard
from img2img.batch.work import Plan
from img2img.errors import PlanError, display_path
from img2img.files import LockedError, file_lock, lock_holder, part_beside
from img2img.remote import RemotePath

_LOCK = "lock"


@contextmanager
def claim(plan: Plan) -> Iterator[None]:
    """Keeps the output of `plan` for this run, and makes sure before any work that it can be written.

    Runs with different shards of one count may share a folder. In a store nothing keeps two runs apart: both
    do the work, and what is stored last stays. What a killed run leaves behind does not stand
    in the way. What was made here and stayed empty is removed in the end.

    Raises:
        PlanError: A folder, the file, or the memory of earlier runs cannot be written, or another run is at
            work in the folder.
    """
    if not plan.items:
        yield
        return
    place = plan.root or plan.items[0].output.parent
    if isinstance(place, RemotePath):  # a store knows no locks: each run has rows of its own
        RemoteManifest.check_writable(place)
        yield
        return
    _check_folders(plan)
    folder = place / STATE_FOLDER if plan.root else place
    made = []
    for path in (folder, *folder.parents):
        if os.path.lexists(path):
            break
        made.append(path)
    path = folder / _name(plan.shard) if plan.root else part_beside(folder / "lock")
    with ExitStack() as stack:
        stack.callback(_remove, made)
        try:
            if plan.root and folder.is_symlink():
                raise PlanError(
                    f"{display_path(folder)} is a symbolic link, and holds what earlier runs did; it was not "
                    "touched. Remove it, or choose another output folder."
                )
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(path, json.dumps(_self(plan.shard))))
        except LockedError as error:
            raise _busy(place, str(error)) from None
        except OSError as error:
            where = f" ({display_path(error.filename)})" if isinstance(error.filename, str) else ""
            raise PlanError(
                f"the output folder {display_path(place)} cannot be written: "
                f"{error.strerror or error}{where}. Choose another one."
            ) from error
        if plan.root:
            _check_others(plan.root, plan.shard)
            Manifest.check(plan.root, plan.shard)
        yield


def _check_folders(plan: Plan) -> None:
    """Checks the folders of all outputs, as far as they exist.

    Raises:
        PlanError: One cannot be written, or a file stands in its place.
    """
    looked: dict[Path, None] = {}
    for folder in dict.fromkeys(item.output.parent for item in plan.items):
        for path in (folder, *folder.parents):
            if path in looked:
                break
            looked[path] = None
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                if path.is_symlink():
                    raise PlanError(
                        f"the output folder {display_path(path)} is a symbolic link that leads nowhere."
                    ) from None
                continue
            except NotADirectoryError:
                continue  # the file in the way comes next
            except OSError as error:
                raise PlanError(
                    f"the output folder {display_path(path)} cannot be used: {error.strerror or error}."
                ) from error
            if not stat.S_ISDIR(mode):
                raise PlanError(
                    f"results would go into the folder {display_path(path)}, but that is a file. Move it "
                    "away, or choose another output folder."
                )
            if not os.access(path, os.W_OK | os.X_OK):
                raise PlanError(
                    f"the output folder {display_path(path)} cannot be written: it is read-only for you. "
                    "Choose another one."
                )
            break


def _check_others(root: Path, shard: Shard | None) -> None:
    """Looks at the locks of runs with other shards.

    Raises:
        PlanError: One is at work that may do the same files.
    """
    for path in sorted((root / STATE_FOLDER).glob(f"{_LOCK}*")):
        other = path.name.removeprefix(_LOCK).removeprefix(".")
        shares = shard is not None and other.endswith(f"-of-{shard.count}")
        if not shares and path.name != _name(shard):
            text = lock_holder(path)
            if text is not None:
                raise _busy(root, text)


def _name(shard: Shard | None) -> str:
    return _LOCK if shard is None else f"{_LOCK}.{shard.index}-of-{shard.count}"


def _self(shard: Shard | None) -> dict[str, object]:
    facts: dict[str, object] = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    return facts if shard is None else facts | {"shard": str(shard)}


def _busy(place: Path, text: str) -> PlanError:
    who = ""
    with suppress(ValueError, KeyError, TypeError):
        facts = json.loads(text)
        shard = f", shard {facts['shard']}" if "shard" in facts else ""
        who = f" (process {facts['pid']} on {facts['host']}, started {facts['started']}{shard})"
    return PlanError(
        f"another run is at work in {display_path(place)}{display_path(who)}; nothing was started. Wait for "
        "it, choose another output folder, or share the work out with `shard`."
    )


def _remove(made: list[Path]) -> None:
    for path in made:
        with suppress(OSError):  # not empty: it is in use now
            path.rmdir()
