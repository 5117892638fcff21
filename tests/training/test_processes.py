"""Several processes: the same as one, agreed in everything, and an end in words when one of them dies."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import programs
import pytest
import torch
from click.testing import CliRunner
from drawings import draw_pairs, draw_photos
from ranks import BUSY, CALM, SETS, STEPS, Notes

from img2img.cli.main import cli
from img2img.data import batches, open_data
from img2img.errors import ConfigError
from img2img.fields import UNPAIRED
from img2img.training import Runtime, read_experiment, train
from img2img.training.processes import Children, Places
from img2img.types import ValueRange

HERE = Path(__file__).parent
PATIENCE = 300  # seconds, on a machine that is busy with something else
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("SLURM_", "TORCHELASTIC_", "MASTER_")) and name not in ("LOCAL_RANK", "NODE_RANK")
} | {"OMP_NUM_THREADS": "1"}


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


# --- scenarios of two processes, in one pair of them


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of the scenarios in ranks.py."""
    folder = tmp_path_factory.mktemp("together")
    draw_photos(folder / "a", 5, 36)
    draw_photos(folder / "b", 7, 36)
    small = ["log_every=2", "sample_every=0", "save_every=3", "precision=fp32", "threads=1"]
    train(source(folder, "steps=6", *small), folder / "grown")
    both(folder, "all", 7)
    return folder


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the scenarios with ADA."""
    folder = tmp_path_factory.mktemp("adaptive")
    draw_photos(folder / "a", 5, 36)
    draw_photos(folder / "b", 7, 36)
    both(folder, "adaptive", 4)
    return folder


def both(folder: Path, what: str, ports: int) -> None:
    """Runs ranks.py in two processes."""
    command = [HERE / "ranks.py", what]
    places = free_ports(ports)
    ranks = [
        programs.start([*command, rank, folder, *places], env=ENVIRONMENT, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    try:
        errors = [rank.communicate(timeout=PATIENCE)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
            rank.stderr.close()
    assert [rank.returncode for rank in ranks] == [0, 0], errors


def source(folder: Path, *sets: str):
    return read_experiment(
        "smoke_cyclegan", list(sets), source={"unpaired": [str(folder / "a"), str(folder / "b")]}
    )


def results(folder: Path, name: str) -> list[dict]:
    return [json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(2)]


def state(folder: Path, step: int) -> dict:
    return torch.load(folder / "states" / f"state_{step:08}.pt", weights_only=True)


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):  # free places of a pool are NaN
        return torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
    return a == b


def losses(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line.get(key) for key in ("step", "samples", "losses")} for line in found]


# --- the same numbers


@pytest.fixture(scope="module")
def tool():
    """tools/processes.py, which the processes that it starts can import, too."""
    path = HERE.parents[1] / "tools" / "processes.py"
    spec = importlib.util.spec_from_file_location("processes", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["processes"] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(path.parent))
    del sys.modules["processes"]


@pytest.mark.parametrize(
    "case", ["pix2pix, instance norm", "pix2pix, batch norm over all", "cyclegan, no pool", "discogan"]
)
def test_two_processes_compute_what_one_does(together: Path, tool: ModuleType, case: str) -> None:
    """Some steps in float64."""
    ranks = [torch.load(together / f"{rank}.pt", weights_only=True)[case] for rank in range(2)]
    found = tool.differences(case, STEPS, ranks, Runtime("cpu", precision="fp32"))
    assert found["weights"] < 1e-10 and found["between_ranks"] == 0
    assert found["idle_biases"] < 1e-8 and found["way_from_the_start"] > 4e-4


@pytest.mark.slow
def test_the_tool_prints_how_far_processes_are_apart(tool: ModuleType) -> None:
    result = CliRunner().invoke(tool.compare, ["--processes=3", "--steps=2", "--case=cyclegan, no pool"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.output)
    assert report["processes"] == 3 and report["largest_difference"]["cyclegan, no pool"]["weights"] < 1e-10


# --- the same decisions


def test_the_first_process_alone_talks(together: Path) -> None:
    first, second = results(together, "straight")
    assert (first["step"], second["step"]) == (8, 8)
    assert first["said"][0] == "2 processes; a step takes 2 samples."
    assert second["said"] == [] and second["warned"] == []
    assert first["random"] != second["random"]


def test_no_sample_is_seen_twice_in_an_epoch(together: Path) -> None:
    """What two processes see is what one sees with twice the batch."""
    found = [result["keys"] for result in results(together, "straight")]
    experiment = source(together, "steps=8")
    data = open_data(experiment.data, fields=UNPAIRED, seed=experiment.seed)
    unit = ValueRange(0.0, 1.0)
    alone = batches(data.train, batch_size=2, seed=experiment.seed, ranges={"source": unit, "target": unit})
    for number, batch in zip(range(8), alone, strict=False):
        assert [key for rank in found for key in rank[number]] == list(batch.keys)
    length = len(data.train)
    epoch = [key for pair in zip(*found, strict=True) for keys in pair for key in keys][:length]
    assert len(set(epoch)) == length


def test_a_stop_that_one_process_wants_stops_all_and_resumes_exactly(together: Path) -> None:
    assert [result["step"] for result in results(together, "stopped")] == [5, 5]
    assert all(result["stopped"] for result in results(together, "stopped"))
    assert [result["step"] for result in results(together, "resumed")] == [8, 8]
    straight, resumed = state(together / "straight", 8), state(together / "stopped", 8)
    assert same(straight, resumed)
    assert losses(together / "straight") == losses(together / "stopped")
    for before, after in zip(results(together, "straight"), results(together, "resumed"), strict=True):
        assert before["random"] == after["random"]


def test_a_state_holds_the_pool_and_the_random_numbers_of_every_process(together: Path) -> None:
    one, other = state(together / "straight", 8)["ranks"]
    assert not torch.equal(one["random"]["cpu"], other["random"]["cpu"])
    for side in ("pool_a.images", "pool_b.images"):
        assert one["buffers"][side].isfinite().all()  # full
        assert not torch.equal(one["buffers"][side], other["buffers"][side])


def test_more_processes_continue_at_the_same_sample(together: Path) -> None:
    first, second = results(together, "grown")
    assert first["step"] == second["step"] == 8 and second["warned"] == []
    assert any("processes 1 is now 2" in text for text in first["warned"])
    assert any(
        "a step now takes 2 samples instead of 1; the run is counted on from step 3." in text
        for text in first["warned"]
    )
    assert state(together / "grown", 8)["samples"] == 16
    assert len(state(together / "grown", 8)["ranks"]) == 2


def test_fewer_processes_continue_at_the_same_sample(together: Path, tmp_path: Path) -> None:
    shutil.copytree(together / "straight", tmp_path / "run")
    notes = Notes()
    experiment = source(together, "steps=18", "sample_every=0", "precision=fp32", "threads=1")
    summary = train(experiment, tmp_path / "run", resume=True, watch=notes)
    assert summary.step == 18 and state(tmp_path / "run", 18)["samples"] == 18
    assert any("processes 2 is now 1" in text for text in notes.warned)
    assert any("counted on from step 16" in text for text in notes.warned)


def test_what_is_not_finite_in_one_process_is_skipped_in_all(together: Path) -> None:
    first, second = results(together, "poisoned")
    assert first["step"] == second["step"] == 3
    guilty = second["keys"][1]
    assert first["warned"] == [
        "step 1: a loss, gradient or running average was not a finite number; its update was skipped. "
        f"Samples: {', '.join(guilty)}."
    ]
    assert not set(guilty) & set(first["keys"][1])
    last = state(together / "poisoned", 3)["trainer"]
    assert all(value.isfinite().all() for name, value in last["method"].items() if "pool" not in name)
    assert next(iter(last["optimizers"]["generator"]["state"].values()))["step"] == 2


def test_all_give_up_at_the_same_step_and_one_says_so(together: Path) -> None:
    first, second = results(together, "hopeless")
    assert first["error"] == "TrainingError" and "of 2 steps in a row" in first["text"]
    assert (second["error"], second["text"], second["warned"]) == ("SystemExit", "1", [])


def controller(folder: Path, step: int) -> dict[str, torch.Tensor]:
    """Returns what the controllers of ADA hold, of both discriminators."""
    method = state(folder, step)["trainer"]["method"]
    return {
        name: value for name, value in method.items() if name.rpartition(".")[2] in ("p", "seen", "calls")
    }


@pytest.mark.slow
def test_the_controller_of_two_processes_is_that_of_one(adaptive: Path, tmp_path: Path) -> None:
    """It counts the pictures of both, and how sure the discriminator is of them."""
    sets = ["batch_size=2", "steps=5", "method.pool=0", f"method.ada={json.dumps(CALM)}"]
    train(source(adaptive, *sets, *SETS[:-1]), tmp_path / "alone")
    alone, two = controller(tmp_path / "alone", 5), controller(adaptive / "calm", 5)
    assert len(two) == 6 and two.keys() == alone.keys()
    correction = 4 / (1000 * CALM["kimg"])  # two steps of two pictures
    for name, value in two.items():
        torch.testing.assert_close(value, alone[name], rtol=1e-6, atol=0)
        kind = name.rpartition(".")[2]
        if kind == "p":
            assert abs(float(value) - CALM["p"]) / correction == pytest.approx(2, abs=0.01)
        elif kind == "seen":
            assert value[1] == 2 and 0 < abs(value[0]) <= 2, "the last step has pictures of both processes"
        else:
            assert value == 1


@pytest.mark.slow
def test_two_processes_resume_exactly_between_two_corrections(adaptive: Path) -> None:
    assert [result["step"] for result in results(adaptive, "stopped")] == [3, 3]
    assert all(
        float(value) == 1 for name, value in controller(adaptive / "stopped", 3).items() if "calls" in name
    )
    assert [result["step"] for result in results(adaptive, "resumed")] == [7, 7]
    assert same(state(adaptive / "straight", 7), state(adaptive / "stopped", 7))
    assert losses(adaptive / "straight") == losses(adaptive / "stopped")
    moved = [value for name, value in controller(adaptive / "stopped", 7).items() if name.endswith(".p")]
    assert all(0 <= value <= 1 and value != BUSY["p"] for value in moved)
    for before, after in zip(results(adaptive, "straight"), results(adaptive, "resumed"), strict=True):
        assert before["random"] == after["random"]


@pytest.mark.slow
def test_one_process_resumes_exactly_with_a_full_pool(together: Path, tmp_path: Path) -> None:
    small = ["steps=8", "log_every=2", "sample_every=0", "save_every=8", "precision=fp32", "threads=1"]
    train(source(together, *small), tmp_path / "straight")
    questions = iter(range(99))
    summary = train(source(together, *small), tmp_path / "run", stop=lambda: next(questions) == 6)
    assert summary.step == 6
    pool = state(tmp_path / "run", 6)["trainer"]["method"]["pool_a.images"]
    assert len(pool) == 4 and pool.isfinite().all()
    torch.manual_seed(9)
    train(source(together, *small), tmp_path / "run", resume=True)
    assert same(state(tmp_path / "run", 8), state(tmp_path / "straight", 8))
    assert losses(tmp_path / "run") == losses(tmp_path / "straight")
    for name in ("a2b_last", "b2a_last"):
        one, other = (tmp_path / run / f"{name}.safetensors" for run in ("run", "straight"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_process_that_never_starts_ends_the_run(tmp_path: Path) -> None:
    """The first process waits for it in a call that nothing interrupts; so it runs apart here."""
    draw_pairs(tmp_path / "pairs", 2)
    code = (
        "import sys; from img2img.training import *; from ranks import STEPS, Notes\n"
        "e = read_experiment('smoke_pix2pix', ['devices=2'], source={'aligned': sys.argv[1]})\n"
        "class Watch(Notes):\n  def warn(self, text): print(text, flush=True)\n"
        "train(e, sys.argv[2], watch=Watch(), command=[sys.executable, '-S', '-c', 'raise SystemExit(3)'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pairs"), str(tmp_path / "run")],
        env=ENVIRONMENT | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 1
    assert result.stdout == (
        "process 1 of 2 has ended with the code 3; the run has ended before its first step. Start it again.\n"
    )


# --- the command


class Command:
    """A run of two processes that was started by the command line, and has saved a state."""

    def __init__(self, folder: Path, program: list[str], *more: str) -> None:
        draw_pairs(folder / "pairs", 6)
        self.folder, self.log = folder / "run", folder / "log"
        sets = ["steps=100000", "save_every=5", "log_every=0", "sample_every=0", "validate_every=0"]
        options = [f"--set={key}" for key in sets]
        arguments = ["train", "smoke_pix2pix", "--aligned", str(folder / "pairs"), "-o", str(self.folder)]
        with self.log.open("w") as log:
            command = [*program, *arguments, "--precision=fp32", *options, *more]
            self.process = programs.start(command, env=ENVIRONMENT, stderr=log, stdout=log)
        end = time.monotonic() + PATIENCE
        while not list(self.folder.glob("states/*.pt")):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(self.log.read_text())
            time.sleep(0.05)

    def children(self) -> list[int]:
        import psutil

        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def end(self) -> tuple[int, str]:
        """Returns the exit code and what was said."""
        code = self.process.wait(timeout=PATIENCE)
        return code, self.log.read_text()

    def resumes(self) -> bool:
        """Returns whether one process goes on; what was a step of two is two of its steps."""
        steps = 2 * max(int(path.stem[6:]) for path in self.folder.glob("states/*.pt")) + 2
        experiment = read_experiment(self.folder / "config.yaml", [f"steps={steps}", "devices=1"])
        return train(experiment, self.folder, resume=True).step == steps


MODULE = ["-m", "img2img"]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Starts a `Command` in the folder of the test; nothing of it outlives the test."""
    started: list[Command] = []

    def start(program: list[str], *more: str) -> Command:
        started.append(Command(tmp_path, program, *more))
        return started[-1]

    yield start
    for run in started:
        with suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


@POSIX
def test_a_process_that_is_killed_ends_the_run_with_a_sentence(command) -> None:
    run = command(MODULE, "--devices=2")
    (child,) = run.children()
    os.kill(child, signal.SIGKILL)
    code, said = run.end()
    assert code == 1
    (error,) = [line for line in said.splitlines() if line.startswith("Error")]
    assert "process 1 of 2 was killed (SIGKILL" in error and "goes on from step" in error
    assert "Traceback" not in said
    assert not (run.folder / ".lock").exists()
    assert run.resumes()


@POSIX
@pytest.mark.slow
def test_the_first_process_may_be_killed_too(command) -> None:
    run = command(MODULE, "--devices=2")
    (child,) = run.children()
    run.process.kill()
    assert run.end()[0] == -signal.SIGKILL
    import psutil

    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=PATIENCE)
    assert not psutil.pid_exists(child)
    said = run.log.read_text()
    assert "Error: the first of 2 processes has died; the run has ended." in said
    assert run.resumes()


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["first", "group"])
def test_a_signal_stops_and_saves_once(command, number: signal.Signals, group: bool) -> None:
    run = command(MODULE, "--devices=2")
    if group:
        os.killpg(run.process.pid, number)
    else:
        run.process.send_signal(number)
    code, said = run.end()
    assert code == 128 + number
    assert said.count("finishing what is in flight") == 1 and said.count("the state is saved") == 1
    assert "Traceback" not in said and run.resumes()


@POSIX
@pytest.mark.slow
def test_torchrun(command) -> None:
    program = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = command([*program, "-m", "img2img"])
    run.process.terminate()
    code, said = run.end()
    assert code != 0 and said.count("2 processes; a step takes 4 samples.") == 1
    assert said.count("the state is saved") == 1 and run.resumes()


def test_what_goes_wrong_before_the_start_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    draw_pairs(tmp_path / "pairs", 2)
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(SystemExit) as caught:
        arguments = ["train", "smoke_pix2pix", "--aligned", str(tmp_path / "pairs")]
        cli.main([*arguments, "-o", str(tmp_path / "run"), "--devices=2"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert said.count("is not empty") == 1 and said.count("\n") == 1


# --- who is who


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch):
    for name in set(os.environ) - set(ENVIRONMENT):
        monkeypatch.delenv(name)

    def give(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return give


def test_alone(variables) -> None:
    assert Places.find() == Places(1, 1, "", 0) and not Places.find().starts_others
    variables(LOCAL_RANK=3)  # left over from something else
    assert Places.find().is_first


def test_this_machine(variables) -> None:
    first = Places.find(devices=3)
    assert first.starts_others and first.is_first and first.world == 3
    variables(LOCAL_RANK=2)
    assert Places.find(devices=3) == Places(3, 1, "environment", 2)


def test_machines_by_hand(variables) -> None:
    with pytest.raises(ConfigError, match=r"nodes is 2, and NODE_RANK, MASTER_ADDR, MASTER_PORT is not set"):
        Places.find(devices=2, nodes=2)
    variables(NODE_RANK=1, MASTER_ADDR="first", MASTER_PORT=29500)
    leader = Places.find(devices=2, nodes=2)
    assert leader.starts_others and leader.rank == 2 and not leader.is_first


def test_torchrun_overrules(variables) -> None:
    variables(TORCHELASTIC_RUN_ID="x", WORLD_SIZE=4, LOCAL_WORLD_SIZE=2, RANK=3, LOCAL_RANK=1)
    assert Places.find(devices=8) == Places(2, 2, "torchrun", 3)


def test_slurm(variables) -> None:
    variables(SLURM_NTASKS=4, SLURM_PROCID=2, SLURM_LOCALID=0, SLURM_NODEID=1, SLURM_NNODES=2)
    assert Places.find() == Places(2, 2, "SLURM", 2)
    variables(SLURM_JOB_ID=7)
    assert Places.find() == Places(1, 1, "", 0)  # a batch script: srun would number its tasks
    variables(SLURM_STEP_ID=0)
    assert Places.find() == Places(2, 2, "SLURM", 2)
    variables(SLURM_JOB_NAME="bash")
    assert Places.find() == Places(1, 1, "", 0)
    variables(SLURM_JOB_NAME="train", SLURM_NNODES=3)
    with pytest.raises(ConfigError, match="4 tasks on 3 machines"):
        Places.find()


def test_a_program_starts_its_processes_once(monkeypatch: pytest.MonkeyPatch, variables) -> None:
    variables(NODE_RANK=0)
    monkeypatch.setattr(Children, "_started", False)
    children = Children(Places(2, 1), [sys.executable, "-c", ""], print)
    assert os.environ["LOCAL_RANK"] == "0"
    children.close()
    assert "LOCAL_RANK" not in os.environ and os.environ["NODE_RANK"] == "0"
    assert "MASTER_PORT" not in os.environ
    with pytest.raises(ConfigError, match="can do so once"):
        Children(Places(2, 1), [sys.executable, "-c", ""], print)


def test_a_program_without_a_file_cannot_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_pairs(tmp_path / "pairs", 2)
    experiment = read_experiment("smoke_pix2pix", ["devices=2"], source={"aligned": str(tmp_path / "pairs")})
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["-c"])
    with pytest.raises(ConfigError, match="use `img2img train`, or put it into a file"):
        train(experiment, tmp_path / "run")
    assert not (tmp_path / "run").exists()
