"""One command as several processes: each has a device and a shard of the folder."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO

from img2img.batch.shard import Shard
from img2img.errors import UsageError

NOTHING_MATCHED, FAILED, STOPPED, USAGE = 4, 1, 3, 2
_GRAVITY = (0, FAILED, STOPPED, USAGE)  # from harmless to grave; what a signal ended is graver still


def per_device(command: Sequence[str], devices: Sequence[str], shard: Shard | None = None) -> list[list[str]]:
    """Returns `command` once for each device, with that device and a share of the files.

    `--device` and `--shard` are added at the end of the options, where they overrule what stands before.

    Args:
        command: What the user started, from the program on.
        devices: "cuda:0", "cuda:1", ...; naming one twice lets two processes share it.
        shard: The share of this machine when the folder is divided over several. Each of them must have
            the same number of devices.

    Raises:
        UsageError: There is no device, or one without a name.
    """
    if not devices or not all(device.strip() for device in devices):
        raise UsageError(f"devices are named like cuda:0,cuda:1; found: {','.join(devices) or 'nothing'}.")
    shard = shard or Shard(1, 1)
    end = command.index("--") if "--" in command else len(command)
    commands = []
    for number, device in enumerate(devices):
        part = Shard((shard.index - 1) * len(devices) + number + 1, shard.count * len(devices))
        added = ["--device", device.strip(), "--shard", str(part)]
        commands.append([*command[:end], *added, *command[end:]])
    return commands


def launch(
    commands: Sequence[Sequence[str]], labels: Sequence[str], say: Callable[[str], None] | None = None
) -> int:
    """Runs all commands at once and waits for them.

    What they write to stderr is passed on line by line with the label in front; stdout is shared. An
    interrupt from the keyboard reaches the processes by itself and is left to them; SIGTERM is handed on.

    Args:
        commands: From `per_device`.
        labels: One for each, for people: the devices.
        say: Receives the lines; None writes to stderr.

    Returns:
        The worst exit code: one after a signal (128 + its number), then 2, 3, 1, 0. Shards without files
        (4) only count when all are so. If one cannot even start, the others are ended.

    Raises:
        UsageError: A command cannot be started.
    """
    say = say or _to_stderr
    processes: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    before = _hand_on_sigterm(processes)
    try:
        for command, label in zip(commands, labels, strict=True):
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
            )
            processes.append(process)
            assert process.stderr is not None  # it is a pipe
            readers.append(threading.Thread(target=_relay, args=(process.stderr, label, say), daemon=True))
            readers[-1].start()
        codes = [_wait(process) for process in processes]
    except OSError as error:
        raise UsageError(f"{shlex.join(command)} cannot be started: {error.strerror}.") from error
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
        for reader in readers:
            reader.join()
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    return worst(codes)


def worst(codes: Sequence[int]) -> int:
    """Returns the exit code that stands for all of `codes`; negative ones name the signal that ended it."""
    killed = [128 - code if code < 0 else code for code in codes if code < 0 or code not in (*_GRAVITY, 4)]
    if killed:
        return max(killed)
    if codes and all(code == NOTHING_MATCHED for code in codes):
        return NOTHING_MATCHED
    return max((code for code in codes if code != NOTHING_MATCHED), key=_GRAVITY.index, default=0)


def _wait(process: subprocess.Popen[str]) -> int:
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the process got it too, and ends in good order


def _relay(stream: IO[str], label: str, say: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            say(f"[{label}] {line.rstrip()}")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _hand_on_sigterm(
    processes: Sequence[subprocess.Popen[str]],
) -> Callable[..., object] | int | None:
    """Lets SIGTERM end `processes`; returns what handled it before, None outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def hand_on(number: int, frame: object) -> None:
        for process in processes:
            if process.poll() is None:
                process.terminate()

    return signal.signal(signal.SIGTERM, hand_on)
