"""Workers as actors of a Ray cluster: one that runs already, or one that is started on this machine.

Ray is an extra: `pip install img2img[ray]`. It reports to its makers unless the user says otherwise; img2img
starts it so that it reports nothing. What it has to say about lost workers it prints to stdout, where results
are: it has no other setting against this than to let nothing through.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from img2img.batch.cluster import ClusterJob, ClusterWorker, Opened, Piece, Remote, WorkerLostError
from img2img.batch.report import Result
from img2img.batch.run import usable_cpus
from img2img.errors import UsageError, display_path

HERE, RUNNING = "ray", "auto"
"""A cluster of this machine's own, or that of RAY_ADDRESS; the one that runs on this machine."""
_PATIENCE = 10.0  # seconds for the head of a cluster to answer
_CORES = 4  # of a worker where nobody says how many workers there are: more gain little in one process
_WORDS = {"CPU": ("core", "cores"), "GPU": ("GPU", "GPUs")}
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_SILENCE = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}


@dataclass(frozen=True)
class Crew:
    """How many workers there are, and how to start them.

    Attributes:
        size: The number of workers.
        threads: Of each.
        hire: Starts the worker of that number for that job.
        waits: Returns why none of them is ready, in words.
    """

    size: int
    threads: int
    hire: Callable[[int, ClusterJob], Remote]
    waits: Callable[[], str]


@contextmanager
def ray_workers(address: str, workers: int | None = None) -> Iterator[Crew]:
    """Connects to a cluster, and lets go of it in the end.

    Args:
        address: "ray" starts one on this machine, unless RAY_ADDRESS names one; "auto" finds the one that
            `ray start` has started here; else HOST:PORT of its head, from one of its machines.
        workers: How many; None takes one for each GPU of the cluster, else one for every four cores.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """
    os.environ.update({**_SETTINGS, **os.environ, **_SILENCE})
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"a cluster needs Ray, which cannot be imported ({error}): pip install 'img2img[ray]'."
        ) from None
    if address == HERE:
        address = os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        cores = usable_cpus()
        own = {"num_cpus": max(cores, workers or 1), "include_dashboard": False}
    _require_listening(address)
    _connect(ray, address, own)
    try:
        yield _crew(ray, workers)
    finally:
        ray.shutdown()


def _require_listening(address: str) -> None:
    """Makes sure that something answers at HOST:PORT, where Ray itself would try for many minutes.

    Raises:
        UsageError: Nothing does, or it is no address.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(
            f"{display_path(address)!r} is no Ray cluster: `cluster` is {HERE}, {RUNNING} or HOST:PORT."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UsageError(
            f"nothing answers at {display_path(address)} ({reason}), where the head of a Ray cluster should. "
            "See that it runs and can be reached; `cluster` ray starts one for this run alone."
        ) from error


def _connect(ray: Any, address: str, own: dict[str, Any]) -> None:
    """Connects to the cluster at `address`, or starts one with `own` settings.

    Raises:
        UsageError: There is none, or it cannot be started.
    """
    for last in (False, False, True) if own else (True,):  # its parts wait 15 seconds for each other
        try:
            with contextlib.redirect_stdout(None):
                ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
            return
        except Exception as error:
            ray.shutdown()
            if not last:
                continue
            reason = display_path((str(error).strip() or type(error).__name__).splitlines()[0])
            if own:
                text = f"Ray could not be started on this machine, three times: {reason} Has it a free core?"
            else:
                text = (
                    f"there is no Ray cluster to work with at {display_path(address)}: {reason} See that its "
                    "head runs and can be reached; `cluster` ray starts one for this run alone."
                )
            raise UsageError(text) from error


def _crew(ray: Any, workers: int | None) -> Crew:
    """Returns workers that share what the cluster has."""
    resources = ray.cluster_resources()
    cores, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    size = workers or int(gpus) or max(1, cores // _CORES)
    threads = max(1, cores // size)
    needs = {"CPU": min(threads, cores / size), "GPU": min(1.0, gpus / size)}
    actor = ray.remote(ClusterWorker).options(
        num_cpus=needs["CPU"],
        num_gpus=needs["GPU"],
        max_concurrency=2,  # `stop` comes while `do` runs
        scheduling_strategy="SPREAD",
    )
    hired: list[_RayWorker] = []

    def hire(number: int, job: ClusterJob) -> Remote:
        hired.append(_RayWorker(ray, actor.remote(number, job)))
        return hired[-1]

    return Crew(size, threads, hire, lambda: _waited_for(ray, hired, needs))


def _waited_for(ray: Any, hired: Sequence[_RayWorker], needs: Mapping[str, float]) -> str:
    """Returns why none of the workers is ready, in words."""
    if any(worker.has_a_place() for worker in hired):
        return "they have a place in the cluster, and open the model"
    there, free = ray.cluster_resources(), ray.available_resources()
    counts = [
        (f"{need:g} {_WORDS[kind][need != 1]}", f"{free.get(kind, 0):g} of {there.get(kind, 0):g}")
        for kind, need in needs.items()
        if need
    ]
    if not counts:
        return "they are being started"
    each, left = (" and ".join(words) for words in zip(*counts, strict=True))
    return (  # Ray does not tell one that is being started from one that has no place
        f"none runs in the cluster. Each needs {each} on one machine, and {left} are free (one that is being "
        "started holds its own). Where others hold them, the work begins when they make room, or machines "
        "join; Ctrl-C ends the waiting"
    )


class _RayWorker:
    """See `Remote`."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._is_over = False
        self._placed = actor.__ray_ready__.remote().future()

    def has_a_place(self) -> bool:
        """Returns whether its process runs."""
        return not self._is_over and self._placed.done() and self._placed.exception() is None

    def open(self) -> Future[Opened]:
        return self._told(self._actor.open.remote())

    def do(self, piece: Piece) -> Future[list[Result]]:
        return self._told(self._actor.do.remote(piece))

    def stop(self) -> None:
        self._actor.stop.remote()

    def end(self) -> None:
        self._is_over = True
        with contextlib.suppress(Exception):  # it is gone already
            self._ray.kill(self._actor)

    def _told(self, reference: Any) -> Future[Any]:
        """Returns the future of `reference`, whose exception says in words why the worker is lost."""
        own: Future[Any] = Future()

        def hand_on(future: Future[Any]) -> None:
            error = future.exception()
            if error is None:
                own.set_result(future.result())
            else:
                own.set_exception(WorkerLostError(_why(self._ray, error)))

        reference.future().add_done_callback(hand_on)
        return own


def _why(ray: Any, error: BaseException) -> str:
    """Returns why a worker is lost, in words."""
    kinds = ray.exceptions
    if isinstance(error, kinds.OutOfMemoryError):
        return "its machine had no memory left"
    if isinstance(error, kinds.RayTaskError):
        cause = getattr(error, "cause", None) or error
        lines = str(cause).strip().splitlines()  # a MemoryError says nothing
        return f"of {type(cause).__name__}" + (f": {lines[-1]}" if lines else "")
    text = str(error)
    if isinstance(error, kinds.RayActorError) and "process has died" in text:
        return "its process was killed or crashed"
    return (text.strip() or type(error).__name__).splitlines()[0].rstrip(".")
