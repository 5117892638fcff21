"""The cache: the same pixels as without, complete or absent, shared, and gone when it should be."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import programs
import pytest
import torch
from worlds import noise, pairs

from img2img.data import DataConfig, batches, open_data
from img2img.data.cache import Cache, PrivateCache, entry_name
from img2img.fields import PAIRED
from img2img.types import UNIT, Batch

ARRAYS = (noise(1), noise(2, 5, 7, 1, "uint16"), noise(3, 4, 4, 5).astype(np.float32))


def equal(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> bool:
    return len(a) == len(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True)
    )


def never() -> tuple[np.ndarray, ...]:
    raise AssertionError("it should have been in the cache")


def run(tmp_path: Path, workers: int = 0, **config: object) -> list[Batch]:
    data = open_data(
        DataConfig(paired=(tmp_path / "A", tmp_path / "B"), load_size=14, crop_size=8, **config),  # type: ignore[arg-type]
        fields=PAIRED,
    )
    stream = batches(
        data.train, batch_size=3, seed=0, workers=workers, ranges={"source": UNIT, "target": UNIT}
    )
    return list(islice(stream, 8))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.sampled(1)
def test_batches_are_the_same_with_and_without(tmp_path: Path, dtype: str) -> None:
    pairs(tmp_path, 6, dtype=dtype)
    plain = run(tmp_path, cache="none")
    folder = tmp_path / "cache"
    for kept in ({"cache": "memory"}, *[{"cache": "disk", "cache_folder": folder}] * 2):
        for workers in (0, 2):
            for a, b in zip(plain, run(tmp_path, workers, **kept), strict=True):
                assert a.keys == b.keys
                assert torch.equal(a.source, b.source) and torch.equal(a.target, b.target)
    assert len(list(folder.rglob("*.npy"))) == len({key for batch in plain for key in batch.keys})


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert equal(cache.get("some", lambda: ARRAYS), ARRAYS)
    for again in (cache, Cache(tmp_path), pickle.loads(pickle.dumps(cache))):  # noqa: S301
        arrays = again.get("some", never)
        assert equal(arrays, ARRAYS)
        assert not any(array.flags.writeable for array in arrays)


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    Cache(tmp_path).get("some", lambda: ARRAYS)
    (path,) = tmp_path.rglob("*.npy")
    whole = path.read_bytes()
    for damaged in (b"", whole[:40], whole[:-3], b"nonsense" * 50):
        path.write_bytes(damaged)
        assert equal(Cache(tmp_path).get("some", lambda: ARRAYS), ARRAYS)
        assert path.read_bytes() == whole


def test_another_file_or_another_recipe_is_another_entry(tmp_path: Path) -> None:
    a, _ = pairs(tmp_path, 2)
    names = {entry_name([a / "0.png"], "x"), entry_name([a / "1.png"], "x"), entry_name([a / "0.png"], "y")}
    os.utime(a / "0.png", ns=(1, 1))
    names.add(entry_name([a / "0.png"], "x"))
    assert len(names) == 4


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    pairs(tmp_path, 2)
    kept = {"cache": "disk", "cache_folder": tmp_path / "cache", "validation_fraction": 0}
    before = run(tmp_path, **kept)
    pairs(tmp_path, 2, height=13)
    after = run(tmp_path, **kept)
    assert not torch.equal(before[0].source, after[0].source)
    assert torch.equal(after[0].source, run(tmp_path, cache="none", validation_fraction=0)[0].source)


def test_many_writers_at_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    results: list[bool] = []

    def work() -> None:
        cache = Cache(tmp_path)
        barrier.wait()
        for i in range(20):
            made = (noise(i),)
            results.append(equal(cache.get(f"{i:02}", lambda made=made: made), made))  # type: ignore[misc]

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 20, "no part file is left"


def test_more_entries_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("img2img.data.cache._MOST_OPEN", 3)
    cache = Cache(tmp_path)
    for _ in range(2):
        for i in range(10):
            assert equal(cache.get(f"{i:02}", lambda i=i: (noise(i),)), (noise(i),))  # type: ignore[misc]
    assert len(cache._open) == 3


def test_a_full_disk_is_told_once_and_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("img2img.data.cache._SPARE", 2**60)
    cache = Cache(tmp_path)
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            assert equal(cache.get(f"{i:02}", lambda i=i: (noise(i),)), (noise(i),))  # type: ignore[misc]
    assert len(caplog.records) == 1
    assert "takes no more" in caplog.text and "would stay free" in caplog.text
    assert not list(tmp_path.rglob("*.npy"))


def test_a_private_cache_goes_with_its_owner(tmp_path: Path) -> None:
    cache = PrivateCache(tmp_path)
    folder = cache.folder
    assert folder is not None and folder.is_dir()
    copy = pickle.loads(pickle.dumps(cache))  # noqa: S301
    copy.get("some", lambda: ARRAYS)
    del copy
    assert equal(cache.get("some", never), ARRAYS)
    del cache
    assert not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from img2img.data.cache import PrivateCache\n"
        "cache = PrivateCache(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert programs.run(["-c", script, tmp_path]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    living = PrivateCache(tmp_path)
    other = PrivateCache(tmp_path)
    assert not left.exists()
    assert living.folder is not None and living.folder.exists()
    assert other.folder is not None and other.folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs process groups")
def test_workers_outlive_signals_to_the_group_and_end_with_the_process(tmp_path: Path) -> None:
    pairs(tmp_path, 4)
    script = """
import os, signal, sys
from pathlib import Path
from img2img.data import DataConfig, batches, open_data
from img2img.fields import PAIRED
from img2img.types import UNIT
signals = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: signals.append(number))
root = Path(sys.argv[1])
config = DataConfig(paired=(root / "A", root / "B"), load_size=14, crop_size=8, cache_folder=root)
data = open_data(config, fields=PAIRED)
stream = batches(data.train, batch_size=2, seed=0, workers=2, ranges={"source": UNIT, "target": UNIT})
next(stream)
os.killpg(0, signal.SIGINT)
os.killpg(0, signal.SIGTERM)
for _ in range(50):
    next(stream)
print(len(signals), flush=True)
"""
    run = programs.run(["-c", script, tmp_path])
    assert (run.stdout, run.stderr, run.returncode) == ("2\n", "", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A", "B"], "the private cache is gone"
