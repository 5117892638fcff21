"""Fixtures that every test may use."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import logging
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest
import rewriting
import workers

# The networks of the tests are tiny: a second thread only makes the first one wait. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
# Dozens of interpreters are started, and each would compile the package and its tests for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A file made and removed in memory takes a fifth of what it does on a disk; not where there is little of it.
if "TMPDIR" not in os.environ and Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 2**32:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")
# What is written need not outlast a power cut: waiting for the disk is most of what a small file costs.
os.fsync = lambda descriptor: None
# Each Fabric looks through all that is installed.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
# What collection imports and makes stays: nothing of it is worth a search for rubbish.
gc.disable()

CORES = pytest.StashKey[int]()
ROOT = Path(__file__).resolve().parent.parent


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Folders take a process for each core, eight at most; files, slow and GPU tests this process alone."""
    if any(".py" in argument for argument in config.args) or config.option.markexpr != "not slow and not gpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = min(cores or 1, 8)
    if sys.platform != "linux":
        return cores
    config.stash[CORES] = cores
    return 0  # of pytest-xdist


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Has the assertions of a fresh checkout rewritten beside, where there is a core for that."""
    several = session.config.stash.get(CORES, 1) > 1
    child = rewriting.start(session.config, ROOT / "tests") if several else None
    try:
        return (yield)
    finally:
        if child is not None:
            os.waitpid(child, 0)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves to each test marked `sampled(count)` so many of its cases: the first, the last, some drawn ones.

    The others are slow; which are drawn depends on the name of the test and the number of its cases alone.
    Who names tests (`-k`, `FILE::TEST`) gets all of their cases.
    """
    if config.option.keyword or any("::" in argument for argument in config.args):
        return
    grids: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            grids.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, cases in grids.items():
        (count,) = cases[0].get_closest_marker("sampled").args  # type: ignore[union-attr]
        corners = (cases[0], cases[-1])[:count]
        inner = cases[1:-1]
        drawn = random.Random(name).sample(inner, min(max(count - 2, 0), len(inner)))
        for case in cases:
            if case not in corners and case not in drawn:
                case.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Makes the process that programs are forked from and the workers, once all is imported."""
    config = session.config
    gc.enable()
    gc.set_threshold(20_000, 50, 50)  # little of what tests make is in circles
    if config.option.collectonly or config.option.dist != "no" or session.testsfailed:
        return None
    if len(session.items) > 1000:  # what many of them, and of the programs that they start, would import
        import albumentations  # noqa: F401
    torch = sys.modules.get("torch")
    if torch is not None and not torch.cuda.is_available():  # nor will it be; to ask the driver takes long
        torch.cuda.device_count = lambda: 0
        for device in (torch.cuda, torch.cuda.random, torch.xpu, torch.xpu.random, torch.mtia):
            device._lazy_call = lambda call, **options: None  # keeps each seed, and the stack, for a device
    programs.prepare()
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("torch") and isinstance(logger, logging.Logger):
            logger.propagate = True  # pytest visits each of the sixty that does not, three times a test
    cores = config.stash.get(CORES, 1)
    if cores == 1:
        gc.freeze()  # what is imported stays
        return None
    workers.run(session, cores)
    return True


def pytest_unconfigure() -> None:
    """Ends it."""
    programs.end()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with large test data, or a skip with the reason."""
    folder = os.environ.get("IMG2IMG_TEST_DATA")
    if not folder:
        pytest.skip("IMG2IMG_TEST_DATA is not set: tests on large data are left out")
    return Path(folder)


@pytest.fixture
def sample() -> Path:
    """The folder of photographs that ship with the package."""
    return ROOT / "datasets" / "sample"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps converted networks and measurements of the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
