"""The processes of one run: who starts them, which one is the first, and what happens when one dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from img2img.batch.shard import without_srun
from img2img.errors import ConfigError, Img2ImgError

_GRACE = 8.0  # seconds that the first process has to come to its end by itself when another one has died
_LOOK = 0.1  # seconds between two looks at the others


class LostProcessError(Img2ImgError):
    """Another process of the run does not answer any more."""


@dataclass(frozen=True)
class Places:
    """How many processes a run has, and which one this is.

    Attributes:
        local: Processes on each machine.
        nodes: Machines.
        started_by: "torchrun", "SLURM", or "environment" for one of ours and for launchers that set the same
            variables (LOCAL_RANK, NODE_RANK, MASTER_ADDR, MASTER_PORT); "" if the others are still to be
            started.
        rank: The number of this process, from 0.
    """

    local: int = 1
    nodes: int = 1
    started_by: str = ""
    rank: int = 0

    @property
    def world(self) -> int:
        """The number of processes."""
        return self.local * self.nodes

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    @property
    def starts_others(self) -> bool:
        """Whether the other processes on this machine are left to this one."""
        return self.local > 1 and not self.started_by

    @classmethod
    def find(cls, devices: int = 1, nodes: int = 1) -> Places:
        """Returns what torchrun or SLURM have arranged; where there is neither, what is asked for.

        Args:
            devices: Processes on this machine.
            nodes: Machines.

        Raises:
            ConfigError: Several machines are asked for, and nothing says which one this is.
        """
        given = os.environ
        if "TORCHELASTIC_RUN_ID" in given:
            world, local = int(given["WORLD_SIZE"]), int(given["LOCAL_WORLD_SIZE"])
            return cls(local, world // local, "torchrun", int(given["RANK"]))
        tasks = int(given.get("SLURM_NTASKS", "1"))
        by_hand = given.get("SLURM_JOB_NAME") in ("bash", "interactive")  # a shell that SLURM has opened
        if tasks > 1 and "SLURM_PROCID" in given and not by_hand and not without_srun(given):
            machines = int(given.get("SLURM_NNODES", given.get("SLURM_JOB_NUM_NODES", str(nodes))))
            if tasks % machines:
                raise ConfigError(
                    f"SLURM gives {tasks} tasks on {machines} machines; give each machine as many "
                    "(ntasks-per-node)."
                )
            return cls(tasks // machines, machines, "SLURM", int(given["SLURM_PROCID"]))
        if devices * nodes == 1:
            return cls()
        missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in given]
        if nodes > 1 and missing:
            raise ConfigError(
                f"nodes is {nodes}, and {', '.join(missing)} is not set: on each machine set NODE_RANK (from "
                "0), MASTER_ADDR and MASTER_PORT (of the first one), or start the run with torchrun or srun."
            )
        started = "environment" if "LOCAL_RANK" in given else ""
        rank = int(given.get("NODE_RANK", "0")) * devices + int(given.get("LOCAL_RANK", "0"))
        return cls(devices, nodes, started, rank)


class Children:
    """The other processes on this machine: the same program once more, with variables that number them.

    They get neither Ctrl-C nor SIGTERM: the first process does, and all stop at the same step. When one dies,
    the first one usually learns it at the next thing that it waits for with all others. If it does not get
    there in some seconds, because it is measuring, say, it is ended here.

    Args:
        places: Of this process.
        command: What starts a process; by default the running program once more.
        tell: Called with what has happened before this process is ended: "process 1 of 2 was killed".

    Raises:
        ConfigError: It is not known how this program was started, or it has started its processes before:
            each of them runs all of it, so the second time they would be others than the first time.
    """

    _started: ClassVar[bool] = False

    def __init__(self, places: Places, command: Sequence[str] | None, tell: Callable[[str], None]) -> None:
        if Children._started:
            raise ConfigError(
                "this program has trained in several processes before, and can do so once: train the next "
                "model with devices 1, with `img2img train`, or in a program of its own."
            )
        command = list(command or _this_program())
        Children._started = True
        own = {"LOCAL_RANK": "0", "NODE_RANK": os.environ.get("NODE_RANK", "0")}
        if places.nodes == 1:
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        self._replaced = {name: os.environ.get(name) for name in own}
        os.environ.update(own)
        self._places, self._tell, self._done = places, tell, threading.Event()
        before = _block_signals()
        try:
            # torch's own words about a first process that has gone are a page of addresses
            given = {"TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ}
            self._processes = [
                subprocess.Popen(command, env={**given, "LOCAL_RANK": str(number)})
                for number in range(1, places.local)
            ]
        finally:
            if before is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        threading.Thread(target=self._watch, name="processes", daemon=True).start()

    def dead(self, wait: float = 0.0) -> str | None:
        """Returns which process has died and how, in words; None if none dies in the next `wait` seconds."""
        end = time.monotonic() + wait
        while True:
            for number, process in enumerate(self._processes, 1):
                code = process.poll()
                if code:
                    return f"process {self._places.rank + number} of {self._places.world} {_how(code)}"
            if time.monotonic() >= end:
                return None
            time.sleep(_LOOK)

    def close(self) -> None:
        """Waits for the processes to end; those that do not are killed."""
        self._done.set()
        for name, value in self._replaced.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        end = time.monotonic() + _GRACE
        for process in self._processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while not self._done.wait(_LOOK):
            found = self.dead()
            if found is None:
                continue
            if self._done.wait(_GRACE):
                return
            self._tell(found)
            for process in self._processes:
                with suppress(OSError):
                    process.kill()
            os._exit(1)  # the main thread hangs in a call that nothing interrupts; states are whole or absent


def end_with_parent() -> None:
    """Ends this process some seconds after the one that started it, however it hangs."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        time.sleep(_GRACE)
        os._exit(1)

    if hasattr(signal, "pthread_sigmask"):  # elsewhere the number of the parent never changes
        threading.Thread(target=watch, name="parent", daemon=True).start()


def _this_program() -> list[str]:
    """Returns the command line that started this process."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return [sys.executable, "-m", spec.name, *sys.argv[1:]]
    if not Path(sys.argv[0]).is_file():
        raise ConfigError(
            "several processes are started by running the same program once more, and this one is no script; "
            "use `img2img train`, or put it into a file."
        )
    return [sys.executable, str(Path(sys.argv[0]).resolve()), *sys.argv[1:]]


def _how(code: int) -> str:
    """Returns in words how a process with the exit code `code` ended."""
    if code > 0:
        return f"has ended with the code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed ({name}{'; perhaps the memory was not enough' if name == 'SIGKILL' else ''})"


def _block_signals() -> set[signal.Signals] | None:
    """Blocks what asks to stop, in this thread and in processes that it starts; returns what was blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        return None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    return {signal.Signals(number) for number in before}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
