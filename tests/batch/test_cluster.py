"""One folder over many workers: nothing is lost with a worker, and the result is that of one machine."""

import json
import re
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner
from folders import Fake, convert, fill, picture, statuses

from img2img.batch import Rules, Shard, claim, plan, run
from img2img.batch.cluster import ClusterJob, ClusterWorker, Opened, WorkerLostError, share_out
from img2img.batch.manifest import Manifest
from img2img.batch.ray_workers import _waited_for, _why
from img2img.batch.work import DEFAULT_RULES
from img2img.cli.main import cli
from img2img.errors import ProcessingError, UsageError
from img2img.image import Image, encode
from img2img.remote import RemotePath, place


def invert(image: Image) -> Image:
    return image.replace(pixels=255 - image.pixels)


class Local:
    """A worker in a thread, which can be lost with what it has done so far."""

    def __init__(self, number: int, job: ClusterJob, lose=lambda number, piece: False) -> None:
        self._worker, self._number, self._lose = ClusterWorker(number, job), number, lose
        self._pool = ThreadPoolExecutor(1)
        self.pieces: list[int] = []

    def open(self) -> Future:
        return self._pool.submit(self._worker.open)

    def do(self, piece) -> Future:
        self.pieces.append(len(piece.items))
        return self._pool.submit(self._do, piece)

    def _do(self, piece):
        results = self._worker.do(piece)
        if self._lose(self._number, piece):
            raise WorkerLostError("its process was killed or crashed")
        return results

    def stop(self) -> None:
        self._worker.stop()

    def end(self) -> None:
        self._pool.shutdown()


def over_workers(
    source: Path, output: Path, workers=3, process=None, lose=None, rules=DEFAULT_RULES, **options
):
    """Returns the results of a folder by name, and the workers."""
    hired: list[Local] = []
    planned = plan([source], output, rules)
    run_options = {key: options.pop(key) for key in ("overwrite", "checksum") if key in options}

    def hire(number: int) -> Local:
        hired.append(Local(number, job, lose or (lambda number, piece: False)))
        return hired[-1]

    with claim(planned):
        job = ClusterJob.of(planned, lambda: (process or Fake(invert), {}), 1, run_options)
        results = list(share_out(planned, hire, workers, **options))
    by_name: dict[str, list] = {}
    for result in results:
        by_name.setdefault(result.source.name, []).append(result)
    assert all(len(each) == 1 for each in by_name.values()), "one result a file"
    return {name: each[0] for name, each in by_name.items()}, hired


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".img2img" not in path.parts
    }


def rows(folder: Path) -> list[dict]:
    """Returns what the one manifest of a folder says, without times."""
    (path,) = (folder / ".img2img").iterdir()
    assert path.name == "manifest.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()]
    timed = ("time_ns", "mtime_ns")
    return sorted(({k: v for k, v in row.items() if k not in timed} for row in found), key=json.dumps)


NAMES = [f"{i % 3}/{i}.png" for i in range(40)]


@pytest.fixture(autouse=True)
def threads_are_settled(monkeypatch):
    """A worker settles them for its process, which here is that of the tests."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def source(tmp_path):
    fill(tmp_path / "in", NAMES)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    return tmp_path / "in"


def test_many_workers_leave_what_one_run_leaves(source, tmp_path):
    one = {r.source.name: r for r in run(plan([source], tmp_path / "one"), Fake(invert), settings={})}
    many, hired = over_workers(source, tmp_path / "many")
    assert statuses(many) == statuses(one) and len(many) == 41
    assert many["bad.png"].reason == one["bad.png"].reason
    assert content(tmp_path / "many") == content(tmp_path / "one")
    assert rows(tmp_path / "many") == rows(tmp_path / "one")
    assert len(hired) == 3 and sum(map(sum, (worker.pieces for worker in hired))) == 41
    assert not (tmp_path / "many" / ".img2img" / "lock").exists()

    again, _ = over_workers(source, tmp_path / "many")
    assert set(statuses(again).values()) == {"skipped", "failed"}
    alone = run(plan([source], tmp_path / "many"), Fake(invert), settings={})
    assert {r.status for r in alone} == {"skipped", "failed"}


def test_lost_workers_lose_nothing(source, tmp_path):
    lost = []

    def lose(number, piece):
        if len(lost) < 2 and number > 1:
            lost.append(number)
            return True
        return False

    many, hired = over_workers(source, tmp_path / "out", lose=lose)
    assert len(lost) == 2 and len(hired) == 5, "each has a successor"
    assert list(statuses(many).values()).count("done") == 40, "what a lost worker had done is done"
    assert sorted(content(tmp_path / "out")) == sorted(NAMES)
    assert len(rows(tmp_path / "out")) == 2 * 40, "nothing was done twice"


def test_one_file_that_ends_its_workers_fails_alone(source, tmp_path):
    def lose(number, piece):
        return any(item.source.name == "7.png" for item in piece.items)

    class Stubborn(Fake):
        """Never gets as far as storing that file."""

        def __call__(self, images):
            if any(image.name.endswith("/7") for image in images):
                raise RuntimeError("crash")
            return super().__call__(images)

    many, _ = over_workers(source, tmp_path / "out", process=Stubborn(invert), lose=lose)
    failed = {name for name, result in many.items() if result.status == "failed"}
    assert failed == {"bad.png", "7.png"}
    assert "lost every time, because its process was killed" in many["7.png"].reason
    assert len(content(tmp_path / "out")) == 39


def test_all_workers_lost_is_an_end(source, tmp_path):
    with pytest.raises(Exception, match=r"24 workers were lost one after the other.*same command goes on"):
        over_workers(source, tmp_path / "out", lose=lambda number, piece: True, process=Broken())


class Waiting(Local):
    """A worker for which the cluster has no room."""

    def open(self) -> Future:
        return super().open() if self._number == 1 else Future()


def test_a_worker_without_room_is_not_waited_for(source, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "Local", Waiting)
    found, hired = over_workers(source, tmp_path / "out")
    assert len(found) == 41 and len(hired) == 3 and not hired[1].pieces


def test_what_is_waited_for_is_said_once_while_there_is_no_worker(source, tmp_path, monkeypatch):
    """Stands for a cluster that is full: the workers have no place until others have done their work."""
    monkeypatch.setattr("img2img.batch.cluster._PATIENCE", 0.3)
    said, waiting = [], threading.Event()

    def say(text):
        said.append(text)
        waiting.set()

    class Full(Local):
        def open(self) -> Future:
            return self._pool.submit(lambda: (waiting.wait(20), time.sleep(0.5), self._worker.open())[-1])

    monkeypatch.setattr(sys.modules[__name__], "Local", Full)
    found, _ = over_workers(source, tmp_path / "out", say=say, waits=lambda: "all cores are taken")
    assert len(found) == 41 and said == ["No worker is ready yet: all cores are taken."]


def test_workers_that_are_ready_soon_are_not_waited_for_in_words(source, tmp_path):
    said = []
    over_workers(source, tmp_path / "out", say=said.append)
    assert said == []


def test_what_a_full_cluster_lacks_is_named():
    there = {"CPU": 8.0, "GPU": 2.0}
    ray = SimpleNamespace(cluster_resources=lambda: there, available_resources=lambda: {"GPU": 1.0})
    worker = SimpleNamespace(has_a_place=lambda: False)
    text = _waited_for(ray, [worker], {"CPU": 4, "GPU": 1.0})
    assert "Each needs 4 cores and 1 GPU on one machine, and 0 of 8 and 1 of 2 are free (" in text
    assert "Each needs 1 core on one machine, and 0 of 8 are free (" in _waited_for(
        ray, [worker], {"CPU": 1, "GPU": 0.0}
    )
    assert _waited_for(ray, [worker], {"CPU": 0, "GPU": 0.0}) == "they are being started"
    placed = SimpleNamespace(has_a_place=lambda: True)
    assert "open the model" in _waited_for(ray, [worker, placed], {"CPU": 4, "GPU": 0})


def test_errors_without_a_text_lose_a_worker():
    kinds = {
        name: type(name, (Exception,), {}) for name in ("OutOfMemoryError", "RayTaskError", "RayActorError")
    }
    error = kinds["RayTaskError"]("Traceback")
    ray = SimpleNamespace(exceptions=SimpleNamespace(**kinds))
    for error.cause, said in ((MemoryError(), "of MemoryError"), (OSError("a\nb"), "of OSError: b")):
        assert _why(ray, error) == said


class Broken(Fake):
    def __call__(self, images):
        raise RuntimeError("crash")


def test_what_a_killed_run_left_in_files_of_workers_is_known(source, tmp_path):
    output = tmp_path / "out"
    over_workers(source, output)
    state = output / ".img2img"
    lines = (state / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (state / "manifest.jsonl").write_bytes(b"".join(lines[:20]))
    (state / "manifest.worker-2.jsonl").write_bytes(b"".join(lines[20:]) + b'{"begin": "0/')  # torn
    alone = run(plan([source], output), Fake(invert), settings={})
    assert {r.status for r in alone} == {"skipped", "failed"}
    many, _ = over_workers(source, output)
    assert set(statuses(many).values()) == {"skipped", "failed"}
    assert [path.name for path in state.iterdir()] == ["manifest.jsonl"]


def test_stop_finishes_what_is_in_flight(source, tmp_path):
    stop = threading.Event()

    class Stops(Fake):
        def __call__(self, images):
            stop.set()
            return super().__call__(images)

    many, _ = over_workers(source, tmp_path / "out", process=Stops(invert), stop=stop)
    assert 0 < len(many) < 41
    done = {name for name, result in many.items() if result.status == "done"}
    assert {Path(name).name for name in content(tmp_path / "out")} == done
    rest, _ = over_workers(source, tmp_path / "out")
    assert len(rest) == 41 and list(statuses(rest).values()).count("skipped") == len(done)


def test_enough_failures_end_it(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for i in range(60):
        (source / f"{i}.png").write_bytes(b"no picture")
    many, _ = over_workers(source, tmp_path / "out", workers=1, max_failures=5)
    assert 5 <= len(many) < 60


def test_shards_of_clusters_share_a_folder(source, tmp_path):
    for index in (1, 2):
        over_workers(source, tmp_path / "out", rules=Rules(shard=Shard(index, 2)))
    state = tmp_path / "out" / ".img2img"
    assert sorted(path.name for path in state.iterdir()) == ["manifest.1-of-2.jsonl", "manifest.2-of-2.jsonl"]
    assert sorted(content(tmp_path / "out")) == sorted(NAMES)


def test_foreign_and_fallback_names_are_those_of_the_whole_plan(tmp_path):
    source = fill(tmp_path / "in", [*(f"{i}.jpg" for i in range(8)), "3.jpg.png"])
    fill(tmp_path / "out", ["5.jpg"])
    with_alpha = Fake(lambda image: image.replace(alpha=image.pixels[..., 0]))
    many, _ = over_workers(source, tmp_path / "out", process=with_alpha)
    failed = {name: result.reason for name, result in many.items() if result.status == "failed"}
    assert failed.keys() == {"3.jpg", "5.jpg"}
    assert "3.jpg.png is already that of another file" in failed["3.jpg"]


def test_a_store_is_shared_out_as_a_folder_is(tmp_path, monkeypatch):
    """Also where workers have no folder in common with the run, and one is lost with rows that it kept."""
    fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
    files = fsspec.filesystem("memory", use_listings_cache=False)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for i, name in enumerate(NAMES):
        files.pipe_file(f"/in/{name}", encode(picture(seed=i), ".png"))
    lost = []

    def lose(number, piece):
        if number == 2 and not lost:
            lost.append(number)
            for name in files.find("/out/.img2img"):
                if "worker-2." in name:
                    files.rm_file(name)
            return True
        return False

    source, output = place("memory://in"), place("memory://out")
    many, hired = over_workers(source, output, lose=lose)
    assert lost and len(hired) == 4 and set(statuses(many).values()) == {"done"} and len(many) == len(NAMES)
    monkeypatch.setattr(ClusterJob, "of", of_nowhere(ClusterJob.of))
    again, _ = over_workers(source, output)
    assert set(statuses(again).values()) == {"skipped"}
    for name in NAMES:
        files.get_file(f"/in/{name}", str(tmp_path / "in" / name))
    convert(tmp_path / "in", tmp_path / "out", Fake(invert))
    assert {name: files.cat_file(f"/out/{name}") for name in NAMES} == content(tmp_path / "out")
    assert [name.rpartition("/")[2].partition(".")[0] for name in files.find("/out/.img2img")] == ["manifest"]


@pytest.fixture
def store():
    """A store with 12 pictures in /in."""
    fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
    files = fsspec.filesystem("memory", use_listings_cache=False)
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for i in range(12):
        files.pipe_file(f"/in/{i}.png", encode(picture(seed=i), ".png"))
    yield files
    files.store.clear()


def test_what_lost_workers_put_into_a_store_is_not_foreign_to_the_next_run(store):
    for i in range(12, 24):
        store.pipe_file(f"/in/{i}.png", encode(picture(seed=i), ".png"))
    store.pipe_file("/out/5.png", b"of somebody else")

    def lose(number, piece):
        for name in store.find("/out/.img2img"):
            if "worker-" in name:
                store.rm_file(name)
        return True

    source, output = place("memory://in"), place("memory://out")
    with pytest.raises(ProcessingError, match="the same command goes on"):
        over_workers(source, output, workers=2, lose=lose)
    assert len(store.find("/out")) > 2
    again, _ = over_workers(source, output)
    assert [name for name, status in statuses(again).items() if status == "failed"] == ["5.png"]
    assert store.cat_file("/out/5.png") == b"of somebody else"


def fail_at(monkeypatch, method, start, times=1):
    """Lets the first calls of a method of `RemotePath` fail, for places whose names begin so."""
    real, failed = getattr(RemotePath, method), []

    def call(path, *arguments):
        if str(path).startswith(start) and len(failed) < times:
            failed.append(path)
            raise OSError("503 Slow Down")
        return real(path, *arguments)

    monkeypatch.setattr(RemotePath, method, call)


@pytest.mark.parametrize("workers", [True, False], ids=["again by workers", "again by one"])
def test_what_a_worker_could_not_look_at_any_more_is_known_to_the_next_run(store, monkeypatch, workers):
    """Its PUT went well and its HEAD did not: the object is there, and has no row."""
    source, output = place("memory://in"), place("memory://out")
    with monkeypatch.context() as patch:
        fail_at(patch, "lookup", "memory://out/5")
        first, _ = over_workers(source, output)
    assert {name for name, result in first.items() if result.status == "failed"} == {"5.png"}
    assert "503" in first["5.png"].reason and store.exists("/out/5.png")
    asked = []
    read = RemotePath.read_bytes
    monkeypatch.setattr(RemotePath, "read_bytes", lambda path: asked.append(str(path)) or read(path))
    if workers:
        again, _ = over_workers(source, output)
    else:
        alone = run(plan([source], output), Fake(invert), settings={})
        again = {result.source.name: result for result in alone}
    assert set(statuses(again).values()) == {"skipped"}, statuses(again)
    assert asked.count("memory://out/5.png") == 1 and "memory://out/4.png" not in asked
    store.pipe_file("/out/5.png", store.cat_file("/out/5.png")[:-1] + b"!")  # by somebody else
    third, _ = over_workers(source, output)
    assert {name for name, result in third.items() if result.status == "failed"} == {"5.png"}
    assert "did not write stands" in third["5.png"].reason


@pytest.mark.parametrize("times", [1, 1000])
def test_a_worker_that_cannot_put_its_rows_is_lost_and_nothing_becomes_foreign(store, monkeypatch, times):
    source, output = place("memory://in"), place("memory://out")
    with monkeypatch.context() as patch:
        fail_at(patch, "write_whole", "memory://out/.img2img/manifest.worker-", times)
        if times == 1:
            first, hired = over_workers(source, output, workers=1)
            assert set(statuses(first).values()) == {"done"} and len(first) == 12 and len(hired) == 2
        else:
            with pytest.raises(ProcessingError, match="the same command goes on"):
                over_workers(source, output, workers=1)
    assert store.exists("/out/0.png")
    again, _ = over_workers(source, output)
    assert set(statuses(again).values()) == {"skipped" if times == 1 else "done"}


def of_nowhere(of):
    return lambda *arguments: replace(of(*arguments), folder=Path("/nowhere"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda job: {"version": "0.0"}, r"it has img2img .*, and 0.0 started it"),
        (lambda job: {"folder": Path("/nowhere")}, r"the folder /nowhere is not there. Workers find"),
        (lambda job: {"example": Path("/elsewhere/1.png")}, r"the folder /elsewhere is not there"),
        (lambda job: {"load": lambda: 1 / 0}, r"the worker on .*: ZeroDivisionError: division by zero"),
    ],
)
def test_a_worker_that_cannot_work_says_so(source, tmp_path, change, said):
    planned = plan([source], tmp_path / "out")
    with claim(planned):
        job = ClusterJob.of(planned, lambda: (Fake(), {}), 1, {})
        job = replace(job, **change(job))
        with pytest.raises(UsageError, match=said):
            list(share_out(planned, lambda number: Local(number, job), 2))


def test_what_opening_a_model_says_is_told_once(source, tmp_path):
    heard = []

    def load():
        print("the model is open", file=sys.stderr)
        return Fake(), {}

    planned = plan([source], tmp_path / "out")
    with claim(planned):
        job = ClusterJob.of(planned, load, 1, {})
        list(share_out(planned, lambda number: Local(number, job), 1, say=heard.append))
    assert heard == ["the model is open"]
    assert isinstance(Opened(), Opened) and Manifest(tmp_path / "out").about(tmp_path / "out" / "0" / "0.png")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "{out}", "--cluster", "ray"], r"a cluster needs Ray, .* pip install 'img2img\[ray\]'"),
        (["-o", "{out}", "--workers", "2"], r"--workers are those of a cluster; --cluster ray starts one"),
        (["-o", "-", "--cluster", "ray"], r"-o - writes one picture; a cluster shares out many"),
        (["-o", "{out}/x.png", "--cluster", "ray"], r"-o names one picture; a cluster shares out many"),
    ],
)
def test_what_cannot_be_shared_out_is_a_sentence(source, tmp_path, monkeypatch, options, said):
    monkeypatch.setitem(sys.modules, "ray", None)
    picture = source if options[1] == "{out}" else source / "0" / "0.png"
    given = [option.format(out=tmp_path / "out") for option in options]
    result = CliRunner().invoke(cli, ["process", str(picture), "--op", "grayscale", *given])
    assert result.exit_code == 2
    assert re.search(said, " ".join(result.output.split())), result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{closed}", r"nothing answers at 127\.0\.0\.1:\d+ \(Connection refused\), where the head"),
        ("no-such-host.invalid:6379", r"nothing answers at no-such-host\.invalid:6379"),
        ("nonsense", r"'nonsense' is no Ray cluster: --cluster is ray, auto or HOST:PORT"),
        ("10.0.0.5", r"'10\.0\.0\.5' is no Ray cluster"),
        ("10.0.0.5:99999", r"'10\.0\.0\.5:99999' is no Ray cluster"),
        ("", r"'' is no Ray cluster"),
    ],
)
def test_a_wrong_address_is_told_at_once(source, tmp_path, monkeypatch, address, said):
    """Ray itself tries for minutes."""
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = address.format(closed=f"127.0.0.1:{taken.getsockname()[1]}")
        given = ["-o", str(tmp_path / "out"), "--op", "grayscale", "--cluster", address]
        result = CliRunner().invoke(cli, ["process", str(source), *given])
    assert result.exit_code == 2
    assert re.search(said, " ".join(result.output.split())), result.output
