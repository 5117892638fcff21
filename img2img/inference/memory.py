"""How much memory this process may still take.

On the CPU running out of memory is a kill and not an exception, so the limit has to be known before: the
machine's, each control group's above the process (versions 1 and 2), and the process's own.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

CGROUP_ROOT = Path("/sys/fs/cgroup")
# Of mallopt() in the GNU C library: the numbers of two parameters, and the most that each takes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = (-1, 2**31 - 1), (-3, 2**30)
CPU_CAP = 512 * 2**20  # more makes nothing faster: the cache prefers small tiles


class Budget(NamedTuple):
    """How many bytes a network may use at once, as found by one look at the machine."""

    usual: int
    most: int  # for networks that are slower the less they may use


def budget(device: torch.device, memory: int | None = None) -> Budget:
    """Returns how many bytes a network may use at once on `device`.

    Looking costs about as much as a small picture does, so it is done once for all that a call decides.

    Args:
        device: Where it runs.
        memory: What the user allows, in bytes; taken as it is. By default half of what is free on the CPU,
            usually at most 512 MiB, and four fifths of what is free on a GPU.
    """
    if memory is not None:
        return Budget(memory, memory)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        share = int(0.8 * (free + cached))
        return Budget(share, share)
    half = free_memory() // 2
    return Budget(min(CPU_CAP, half), half)


def free_memory() -> int:
    """Returns how many bytes this process can still take before something stops it."""
    limits = [psutil.virtual_memory().available, *_cgroups(), *_process()]
    return max(0, min(limits))


def keep_freed_memory() -> None:
    """Lets the GNU C library keep for the next call of a network what one frees; elsewhere nothing happens.

    Large blocks go back to the system otherwise and come again page by page, zeroed: a quarter of the time of
    pix2pix' U-Net on two cores, an eighth of that of x4, and 35,000 page faults in each training step of the
    compact network. The price is what lies unused between blocks: x4 held 1,174 MiB instead of 885 at its
    most for a picture of 900x700.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(*_M_MMAP_THRESHOLD)
        mallopt(*_M_TRIM_THRESHOLD)


def _process() -> Iterator[int]:
    """Yields what the limits of the process leave (ulimit -v and -d)."""
    if sys.platform == "win32":
        return
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft - psutil.Process().memory_info().vms


def _cgroups(root: Path = CGROUP_ROOT, membership: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Yields what each control group of the process leaves; a group is limited by those above it as well."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mounts, names = (root, root / "unified"), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            mounts = (root / "memory", root / controllers)
        else:
            continue
        for mount in mounts:
            group = mount / path.lstrip("/")
            for folder in (group, *group.parents):
                if not folder.is_relative_to(mount):
                    break
                if (left := _left(folder, *names)) is not None:
                    yield left


def _left(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    """Returns what one control group leaves, or None when it sets no limit."""
    try:
        limit = int((folder / limit_name).read_text())  # "max" in version 2: a ValueError
        usage = int((folder / usage_name).read_text())
    except (OSError, ValueError):
        return None
    cache = 0  # of files, which the kernel gives back before it kills
    try:
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == cache_name:
                cache = int(value)
    except (OSError, ValueError):
        pass
    return limit - usage + min(cache, usage)
