"""The tests of one collection in several processes, each a fork of the one that has imported everything.

A worker of pytest-xdist imports and collects for itself, which takes longer than thousands of the tests do.
Here the files are read once; then forks take the tests, some of one file at a time, and the process that made
them shows their reports. A fork that dies fails the run, and so does a test that nobody reports.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import struct
import traceback
from collections.abc import Iterator, Sequence
from itertools import groupby
from multiprocessing import connection
from pathlib import Path
from typing import Any, NoReturn

import pytest

_AT_ONCE = 40  # tests; fewer, and what a file prepares for its tests is prepared more often
_NUMBER = struct.Struct("I")


def run(session: pytest.Session, count: int) -> None:
    """Runs the tests of `session` in `count` forks of this process and shows what they report.

    Raises:
        session.Failed: A worker has died, or a test was not run.
    """
    files = (list(items) for _, items in groupby(session.items, lambda item: item.path))
    parts = [items[at : at + _AT_ONCE] for items in files for at in range(0, len(items), _AT_ONCE)]
    queue, feed = os.pipe()  # a pipe of numbers is a queue that takes no lock and has an end
    for number in range(len(parts)):
        os.write(feed, _NUMBER.pack(number))
    factory = session.config._tmp_path_factory  # type: ignore[attr-defined]
    base = factory.getbasetemp()
    gc.freeze()  # no worker looks through the modules again, or copies their pages for that
    workers: dict[connection.Connection, int] = {}
    for number in range(count):
        ours, its = connection.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            os.close(feed)
            for other in (ours, *workers):
                other.close()
            _work(session, parts, queue, its, base / f"worker{number}")
        its.close()
        workers[ours] = child
    os.close(feed)
    try:
        _show(session, queue, dict.fromkeys(workers, ""))
    finally:
        for child in workers.values():
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        os.close(queue)


def _show(session: pytest.Session, queue: int, running: dict[connection.Connection, str]) -> None:
    hook, waiting = session.config.hook, {item.nodeid for item in session.items}
    while running:
        for worker in connection.wait(list(running)):
            assert isinstance(worker, connection.Connection)
            try:
                said = pickle.loads(worker.recv_bytes())  # noqa: S301  it comes from a fork
            except EOFError:
                session.shouldfail = f"a worker has died in {running[worker] or 'its start'}"
                raise session.Failed(session.shouldfail) from None
            for name, arguments in said:
                if name == "end":
                    del running[worker]
                elif name == "logstart":
                    running[worker] = arguments["nodeid"]
                    hook.pytest_runtest_logstart(**arguments)
                elif name == "logfinish":
                    waiting.discard(arguments["nodeid"])
                    hook.pytest_runtest_logfinish(**arguments)
                elif name == "warning":
                    hook.pytest_warning_recorded.call_historic(kwargs=arguments)
                else:
                    report = hook.pytest_report_from_serializable(config=session.config, data=arguments)
                    hook.pytest_runtest_logreport(report=report)
            if session.shouldfail or session.shouldstop:
                while os.read(queue, 2**16):  # the workers end what they have begun
                    pass
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    if waiting and not session.shouldfail:
        session.shouldfail = f"{len(waiting)} tests were not run, {min(waiting)} among them"
    if session.shouldfail:
        raise session.Failed(session.shouldfail)


# --- in a worker


def _work(
    session: pytest.Session,
    parts: Sequence[list[pytest.Item]],
    queue: int,
    results: connection.Connection,
    base: Path,
) -> NoReturn:
    code = 1
    try:
        config = session.config
        config.pluginmanager.unregister(name="terminalreporter")
        capture = config.pluginmanager.getplugin("capturemanager")
        capture.stop_global_capturing()  # its file is that of the other workers, too
        capture.start_global_capturing()
        capture.suspend_global_capture()
        base.mkdir()
        config._tmp_path_factory._basetemp = base  # type: ignore[attr-defined]
        told = _Told(config, results)
        config.pluginmanager.register(told)
        items = _taken(parts, queue)
        item = next(items, None)
        while item is not None:
            following = next(items, None)
            config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            item = following
        told.tell("end", {})
        code = 0
    except KeyboardInterrupt:
        pass
    except BaseException:  # noqa: BLE001  the other end tells that this one has died
        traceback.print_exc()
    finally:
        os._exit(code)


def _taken(parts: Sequence[list[pytest.Item]], queue: int) -> Iterator[pytest.Item]:
    while number := os.read(queue, _NUMBER.size):
        yield from parts[_NUMBER.unpack(number)[0]]


class _Told:
    """A plugin that sends on what a test reports, together with the start of the next one."""

    def __init__(self, config: pytest.Config, results: connection.Connection) -> None:
        self._config, self._results = config, results
        self._said: list[tuple[str, Any]] = []

    def tell(self, name: str, arguments: Any) -> None:
        self._said.append((name, arguments))
        if name in ("logstart", "end"):
            self._results.send_bytes(pickle.dumps(self._said))
            self._said.clear()

    def pytest_runtest_logstart(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self.tell("logstart", {"nodeid": nodeid, "location": location})

    def pytest_runtest_logfinish(self, nodeid: str, location: tuple[str, int | None, str]) -> None:
        self.tell("logfinish", {"nodeid": nodeid, "location": location})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        self.tell("report", hook.pytest_report_to_serializable(config=self._config, report=report))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        warning_message.source = None  # the rest of it is words
        arguments = {"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location}
        self.tell("warning", arguments)
