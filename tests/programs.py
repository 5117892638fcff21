"""Programs that import torch, without the seconds that it takes: each is a fork of a process that has it.

The process of the tests has imported everything once they are collected. A fork of it, made before the first
test, waits without threads and tensors, and forks again for each program: `start(["-m", "img2img", ...])` is
`subprocess.Popen([sys.executable, "-m", "img2img", ...])` in a session of its own, with its own memory,
folder, environment, streams, signals and end. What it imports and its memory only a fresh process shows.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn

_server: tuple[int, socket.socket] | None = None


def prepare() -> None:
    """Makes the fork that all programs come from; to be called before any thread is started."""
    global _server
    if sys.platform != "linux":
        return
    if "img2img.training.runtime" in sys.modules:  # it would be imported by each program that trains
        import lightning_fabric  # noqa: F401
        import torch._dynamo  # noqa: F401  the first optimizer of a process needs its 900 modules
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = os.fork()
    if child == 0:
        try:
            its = socket.socket(fileno=os.dup2(its.fileno(), 3))
            os.closerange(4, 2**16)
            _serve(its)
        finally:
            os._exit(0)
    its.close()
    _server = child, ours


def end() -> None:
    """Ends the process that `prepare` started."""
    global _server
    if _server is not None:
        child, ours = _server
        _server = None
        ours.close()
        os.waitpid(child, 0)


def start(
    arguments: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[Any] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
    text: bool = True,
) -> Program | subprocess.Popen[Any]:
    """Starts what `python ARGUMENTS` would: `-m MODULE`, `-c CODE` or a file, and what they are given.

    Its pipes hold text, or bytes without a buffer.
    """
    words, environment = [str(argument) for argument in arguments], dict(os.environ if env is None else env)
    if _server is None:
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        kind = {"text": True} if text else {"bufsize": 0}
        return subprocess.Popen(
            [sys.executable, *words], cwd=cwd, env=environment, start_new_session=True, **streams, **kind
        )
    return Program(words, cwd or Path.cwd(), environment, (stdin, stdout, stderr), text)


def run(
    arguments: Sequence[object], *, timeout: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; what it writes is kept where nothing else is said."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    with start(arguments, **options) as program:
        out, err = program.communicate(timeout=timeout)
    return subprocess.CompletedProcess(list(arguments), program.returncode, out, err)


class Program:
    """A child of another process, with what `subprocess.Popen` offers for one's own."""

    def __init__(
        self,
        words: list[str],
        cwd: Path,
        environment: dict[str, str],
        streams: tuple[int | IO[Any] | None, ...],
        text: bool,
    ) -> None:
        assert _server is not None
        self.args, self.returncode, self._lock = words, None, threading.Lock()
        status, told = os.pipe()
        handles, pipes, ours = [told], [told], []
        for number, stream in enumerate(streams):
            if stream == subprocess.PIPE:
                reader, writer = os.pipe()
                mine, its = (writer, reader) if number == 0 else (reader, writer)
                pipes.append(its)
                mode = "w" if number == 0 else "r"
                ours.append(
                    os.fdopen(mine, mode, encoding="utf-8") if text else os.fdopen(mine, f"{mode}b", 0)
                )
            else:
                if stream == subprocess.DEVNULL:
                    stream = os.open(os.devnull, os.O_RDWR)
                    pipes.append(stream)
                its = number if stream is None else stream if isinstance(stream, int) else stream.fileno()
                ours.append(None)
            handles.append(its)
        self.stdin, self.stdout, self.stderr = ours
        request = json.dumps([words, str(cwd), environment]).encode()
        socket.send_fds(_server[1], [request], handles)
        for pipe in pipes:
            os.close(pipe)
        self._status = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Returns the exit code, less than zero for a signal, or None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._status], [], [], 0)[0]:
                self.returncode = int(self._status.readline())
                self._status.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code when there is one."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        """Returns all that it writes, when it has ended."""
        if self.stdin is not None:
            self.stdin.close()
        with ThreadPoolExecutor(2) as pool:
            found = [stream and pool.submit(stream.read) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                raise
        self._close()
        return tuple(text and text.result() for text in found)

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended; its end may not have been told yet."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.wait()

    def _close(self) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()


# --- in the process that waits, and in its children


def _serve(control: socket.socket) -> None:
    os.setsid()  # Ctrl-C is for the tests
    faulthandler.disable()
    gc.freeze()
    keepers: list[int] = []
    while True:
        message, handles, _, _ = socket.recv_fds(control, 2**20, 4)
        keepers = [keeper for keeper in keepers if os.waitpid(keeper, os.WNOHANG)[0] == 0]
        if not message:
            return
        keepers.append(os.fork())
        if keepers[-1] == 0:
            control.close()
            _keep(*json.loads(message), *handles)
        for handle in handles:
            os.close(handle)


def _keep(words: list[str], cwd: str, environment: dict[str, str], told: int, *streams: int) -> NoReturn:
    """Starts the program and tells its number and then its exit code."""
    child = os.fork()
    if child == 0:
        os.close(told)
        _run(words, cwd, environment, streams)
    for stream in range(3):  # of the waiting process, and no one else's
        os.close(stream)
    for stream in streams:
        os.close(stream)
    os.write(told, b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


class _Fork(subprocess.Popen[str]):
    """What a program starts by this interpreter, with its own streams: a fork, too, and its real child."""

    def __init__(self, args: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any) -> None:
        if options or args[0] != sys.executable:
            super().__init__(args, env=env, **options)
            return
        self.args, self.returncode, self.stdin, self.stdout, self.stderr = args, None, None, None, None
        self._child_created, self._waitpid_lock = True, threading.Lock()
        self.pid = os.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            atexit._clear()
            os.closerange(3, 2**16)
            _run([str(word) for word in args[1:]], os.getcwd(), dict(env or os.environ))  # noqa: PTH109


def _run(
    words: list[str], cwd: str, environment: dict[str, str], streams: Sequence[int] | None = None
) -> NoReturn:
    code: object = 1
    subprocess.Popen = _Fork  # type: ignore[misc]
    try:
        if streams is not None:
            os.setsid()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)
        _execute(words)
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001  it is shown as the interpreter would
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:  # as the interpreter ends
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 120
        os._exit(int(code) & 0xFF)  # type: ignore[call-overload]


def _execute(words: list[str]) -> None:
    option, *rest = words
    if option == "-m":
        sys.argv = rest
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = ModuleType("__main__")
        exec(rest[0], main.__dict__)  # noqa: S102
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(option).parent))
        runpy.run_path(option, run_name="__main__")
