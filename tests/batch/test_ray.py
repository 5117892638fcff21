"""A Ray cluster of this machine: workers that are killed from outside, and a run that is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from folders import fill

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="the extra ray is not installed")

FILES = 160
WORK = ["--op", "resize=long:700", "--op", "clahe"]  # long enough to be interrupted


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("ray") / "in", [f"{i % 5}/{i}.jpg" for i in range(FILES)])
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def expected(source):
    """Returns the exit code, the outputs and the manifest of a run without a cluster."""
    output = source.parent / "one"
    process = start(source, output)
    said = json.loads(process.communicate()[0])
    assert said["done"] == FILES
    return process.returncode, content(output), rows(output)


def start(source, output, *options):
    command = [sys.executable, "-m", "img2img", "process", source, "-o", output, *WORK, "--json", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def content(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and ".img2img" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def rows(folder):
    """Returns the outputs that the only file of the memory has rows of, in their order."""
    (path,) = (folder / ".img2img").iterdir()
    lines = map(json.loads, path.read_text().splitlines())
    return sorted(name for line in lines for name in line.items() if name[0] in ("begin", "done"))


def noted(output):
    """Returns how many lines workers have written so far, and how many workers."""
    files = list((output / ".img2img").glob("manifest*.jsonl")) if output.exists() else []
    return sum(path.read_bytes().count(b"\n") for path in files), len(files)


def wait_for(done, process, seconds=240.0):
    end = time.monotonic() + seconds
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def workers(process):
    """Returns those that are at work."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.cmdline()[:1] == ["ray::ClusterWorker.do"]:
                found.append(child)
        except psutil.Error:
            pass
    return found


def test_workers_killed_from_outside_lose_nothing(source, expected, tmp_path):
    """Files, memory, exit code and the summary on stdout are those of a run without a cluster."""
    process = start(source, tmp_path / "out", "--cluster", "ray", "--workers", "2")
    killed = set()
    for lines in (10, 60):
        wait_for(lambda: noted(tmp_path / "out")[0] >= lines and workers(process), process)  # noqa: B023
        worker = next(each for each in workers(process) if each.pid not in killed)
        os.kill(worker.pid, signal.SIGKILL)
        killed.add(worker.pid)
    said, complaints = process.communicate()
    assert len(killed) == 2
    summary = json.loads(said)
    assert (summary["done"], summary["failed"], summary["skipped"]) == (FILES, 1, 0), complaints
    assert "bad.png" in complaints and "Traceback" not in complaints
    assert process.returncode == expected[0] == 1
    assert content(tmp_path / "out") == expected[1]
    assert sorted(set(rows(tmp_path / "out"))) == expected[2]


def test_ctrl_c_finishes_what_is_in_flight_and_the_same_command_goes_on(source, expected, tmp_path):
    """As a terminal sends it: to all processes of the command, workers and those of Ray among them."""
    process = start(source, tmp_path / "out", "--cluster", "ray", "--workers", "2")
    wait_for(lambda: noted(tmp_path / "out")[0] >= 10, process)
    os.killpg(process.pid, signal.SIGINT)
    said, complaints = process.communicate()
    assert process.returncode == 130, complaints
    done = json.loads(said)["done"]
    assert 0 < done < FILES and len(content(tmp_path / "out")) == done
    process = start(source, tmp_path / "out")  # without a cluster: the memory is one
    summary = json.loads(process.communicate()[0])
    assert (summary["done"], summary["skipped"]) == (FILES - done, done)
    assert content(tmp_path / "out") == expected[1]


def test_everything_killed_at_once_is_gone_on_with(source, expected, tmp_path):
    process = start(source, tmp_path / "out", "--cluster", "ray", "--workers", "2")
    wait_for(lambda: noted(tmp_path / "out")[0] >= 10, process)
    crew = workers(process)
    process.kill()
    process.communicate()
    psutil.wait_procs(crew, timeout=60)
    stored = content(tmp_path / "out")
    assert all(expected[1][name] == data for name, data in stored.items()), "complete or absent"
    process = start(source, tmp_path / "out")
    summary = json.loads(process.communicate()[0])
    assert summary["skipped"] == len(stored) and summary["done"] == FILES - len(stored)
    assert content(tmp_path / "out") == expected[1]


def test_a_full_cluster_is_waited_for_in_words(tmp_path):
    """An actor of somebody else holds the only core, and lets go of it when that was said."""
    program = """
import sys, threading
import img2img.batch.cluster as cluster
from img2img.batch import claim, plan
from img2img.batch.ray_workers import ray_workers
from img2img.processors import parse_operations
from img2img.remote import place
import ray

cluster._PATIENCE = 3.0
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
holder = ray.remote(num_cpus=1)(type("Holder", (), {"here": lambda self: None})).remote()
ray.get(holder.here.remote())

def load():
    return parse_operations(["flip"]), {}

def say(text):
    print(text)
    ray.kill(holder)

import img2img.batch.ray_workers as workers
workers._connect = lambda *_: None
work = plan([place(sys.argv[1])], place(sys.argv[2]))
with claim(work), ray_workers("local", 1) as crew:
    job = cluster.ClusterJob.of(work, load, 1, {})
    results = list(cluster.share_out(work, lambda n: crew.hire(n, job), 1, say=say, waits=crew.waits))
print(len(results), {result.status for result in results})
"""
    source = fill(tmp_path / "in", ["1.png", "2.png"])
    done = subprocess.run(
        [sys.executable, "-c", program, source, tmp_path / "out"], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "No worker is ready yet: none runs in the cluster. Each needs 1 core on one machine, and 0 of 1 are "
        "free (one that is being started holds its own). Where others hold them, the work begins when they "
        "make room, or machines join; Ctrl-C ends the waiting.",
        "2 {'done'}",
    ], done.stderr


def test_the_benchmark_shares_tiny_pictures_out(tmp_path):
    """In a process of its own, as it is meant: Ray leaves threads and files behind."""
    tool = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"
    command = [
        sys.executable,
        tool,
        "cluster",
        "--files",
        "40",
        "--workers",
        "2",
        "--minimum",
        "0.001",
        "--json",
    ]
    done = subprocess.run([*command, "--folder", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 40
    assert not list(tmp_path.iterdir())
