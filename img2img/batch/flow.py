"""Who does what next: the order of work between the threads of a run, and the limits on what is in flight.

Codec threads ask for the next task (encoding first, because it frees memory), one processor thread asks for
the next group of images. Nobody waits while holding something that another one needs, so nothing can lock up:
what does not fit now is simply not handed out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from img2img.batch.fingerprint import Fingerprint
from img2img.batch.report import Result
from img2img.batch.work import Item
from img2img.image import Image

if TYPE_CHECKING:
    from img2img.batch.clips import OpenClip

Condition = Image | tuple[float, ...]
"""What a processor gets beside the picture."""
_UNREAD_RESULTS = 1000  # a caller that does not fetch them stops the work, not the memory


@dataclass(eq=False)
class Task:
    """One file between its stages.

    Attributes:
        item: From the plan.
        cost: Bytes that it is counted with: estimated while it is decoded, then those of its picture.
        image: The picture: the source, after processing the result; None before and after.
        companions: What the source is processed with, by name; empty before and after.
        fingerprint: What the source file was.
        warnings: So far.
        ms: Milliseconds by stage.
        pixels: Height times width of the source.
        found: What was to be found out of the source.
        made_by: Of the result, see `Image`.
        clip: The video that it is; `image` is one of its frames then.
    """

    item: Item
    cost: int = 0
    image: Image | None = None
    companions: Mapping[str, Condition] = field(default_factory=dict)
    fingerprint: Fingerprint | None = None
    warnings: tuple[str, ...] = ()
    ms: dict[str, float] = field(default_factory=dict)
    pixels: int = 0
    found: Mapping[str, Any] = field(default_factory=dict)
    made_by: str = ""
    clip: OpenClip | None = None

    def hold(self, image: Image | None, companions: Mapping[str, Condition] | None = None) -> None:
        """Replaces the pictures, and the cost with them."""
        self.image = image
        self.companions = {} if companions is None else companions
        self.cost = sum(
            size_of(each) for each in (image, *self.companions.values()) if isinstance(each, Image)
        )


def size_of(image: Image) -> int:
    """Returns the bytes of an image in memory."""
    return int(image.pixels.nbytes) + (0 if image.alpha is None else int(image.alpha.nbytes))


class Flow:
    """The state that the threads of one run share.

    Args:
        items: What to do, in the order in which it is started.
        memory: Bytes of pictures in flight. One that is larger still passes, alone.
        window: Images that may be decoded and unprocessed.
        batch_size: Largest number of images in a group.
        group_bytes: A group that has so many is not joined by more.
        max_failures: After that many, nothing new is started.
        stop: Set from outside: nothing new is started.
    """

    def __init__(
        self,
        items: Sequence[Item],
        memory: int,
        window: int,
        batch_size: int,
        group_bytes: int,
        max_failures: int | None,
        stop: threading.Event,
    ) -> None:
        self._items = items
        self._memory = memory
        self._window = window
        self._batch_size = batch_size
        self._group_bytes = group_bytes
        self._max_failures = max_failures
        self._stop = stop

        self._changed = threading.Condition()
        self._position = 0  # in items
        self._parked: deque[Task] = deque()  # known to be too large for what is free now
        self._decoding = 0
        self._arrived: deque[Task] = deque()  # decoded, not yet in a group
        self._groups: dict[Hashable, list[Task]] = {}  # waiting for company, oldest group first
        self._full: deque[list[Task]] = deque()
        self._unprocessed = 0  # arrived, in a group or being processed
        self._outgoing: deque[Task] = deque()
        self._used = 0  # bytes, of all stages
        self._used_by_results = 0  # the part of it that waits for its encoder
        self._results: deque[Result] = deque()
        self._failures = 0
        self._cancelled = False
        self._threads = 0
        self._fatal: BaseException | None = None

    def start(self, loops: Sequence[Callable[[], None]]) -> list[threading.Thread]:
        """Runs each of `loops` in a thread of its own; `results` ends when all have returned."""

        def guarded(loop: Callable[[], None]) -> None:
            try:
                loop()
            except BaseException as error:  # noqa: BLE001  it is raised again, in the thread of the caller
                self._fatal = error
                self.cancel()
            finally:
                with self._changed:
                    self._threads -= 1
                    self._changed.notify_all()

        self._threads = len(loops)
        threads = [
            threading.Thread(target=guarded, args=(loop,), name=f"img2img-{i}", daemon=True)
            for i, loop in enumerate(loops)
        ]
        for thread in threads:
            thread.start()
        return threads

    def cancel(self) -> None:
        """Lets every thread return as soon as it has finished what it does now."""
        with self._changed:
            self._cancelled = True
            self._changed.notify_all()

    def results(self) -> Iterator[Result]:
        """Yields results as they come, until everything is done.

        Raises:
            BaseException: What ended a thread against all expectation.
        """
        while True:
            with self._changed:
                while not self._results and self._threads:
                    self._changed.wait(1.0)  # with a limit: signals wake no lock on Windows
                ready = list(self._results)
                self._results.clear()
                self._changed.notify_all()
            if not ready:
                break
            yield from ready
        if self._fatal is not None:
            raise self._fatal

    def is_stopped(self) -> bool:
        """Returns whether long work has to be left off in the middle."""
        return self._cancelled or self._stop.is_set()

    def emit(self, result: Result) -> None:
        """Adds a result."""
        with self._changed:
            self._failures += result.status == "failed"
            self._results.append(result)
            self._changed.notify_all()

    # --- codec threads

    def next_task(self) -> tuple[Task, bool] | None:
        """Returns (task, whether to encode it rather than to decode it), or None at the end."""
        with self._changed:
            while not self._cancelled:
                if self._outgoing:
                    return self._outgoing.popleft(), True
                if self._may_decode():
                    self._decoding += 1
                    if self._parked:
                        task = self._parked.popleft()
                        self._used += task.cost
                        return task, False
                    self._position += 1
                    return Task(self._items[self._position - 1]), False
                if self._is_drained():
                    break
                self._changed.wait()
            return None

    def reserve(self, task: Task, cost: int) -> bool:
        """Counts `cost` bytes for a picture about to be decoded; without room for it, parks it: False."""
        with self._changed:
            if task.cost:  # it was parked, and let in again when there was room
                return True
            task.cost = cost
            if self._fits(cost):
                self._used += cost
                return True
            self._parked.append(task)
            self._decoding -= 1
            self._changed.notify_all()
            return False

    def decoded(self, task: Task, image: Image | None, companions: Mapping[str, Condition]) -> None:
        """Takes a decoded image with its companions, or notes that there is none."""
        with self._changed:
            self._decoding -= 1
            self._used -= task.cost
            task.hold(image, None if image is None else companions)  # nobody lets go of those of no picture
            self._used += task.cost
            if image is not None:
                self._arrived.append(task)
                self._unprocessed += 1
            self._changed.notify_all()

    def encoded(self, task: Task) -> None:
        """Lets go of a picture whose bytes are all that is needed now."""
        with self._changed:
            self._used -= task.cost
            self._used_by_results -= task.cost
            task.hold(None)
            self._changed.notify_all()

    # --- processor thread

    def next_images(self) -> tuple[list[Task], bool] | None:
        """Returns (a group, True) to process, (one image, False) to find a group for, or None at the end."""
        with self._changed:
            while not self._cancelled:
                if self._is_halted():
                    self._drop_unprocessed()
                if self._arrived:
                    return [self._arrived.popleft()], False
                if self._used_by_results <= self._memory // 2:
                    group = self._pop_group()
                    if group is not None:
                        return group, True
                if not self._unprocessed and self._is_drained():
                    break
                self._changed.wait()
            return None

    def join_group(self, task: Task, key: Hashable) -> None:
        """Puts an image beside those with the same key; None keeps it alone."""
        with self._changed:
            group = [] if key is None else self._groups.setdefault(key, [])
            group.append(task)
            large = sum(task.cost for task in group) >= self._group_bytes
            if key is None or large or len(group) >= self._batch_size:
                self._full.append(group)
                if key is not None:
                    del self._groups[key]

    def processed(self, tasks: Sequence[Task], images: Sequence[Image | None]) -> None:
        """Takes the results of a group; None where a file has failed."""
        with self._changed:
            for task, image in zip(tasks, images, strict=True):
                self._unprocessed -= 1
                self._used -= task.cost
                task.hold(image)
                self._used += task.cost
                self._used_by_results += task.cost
                if image is not None:
                    self._outgoing.append(task)
            self._changed.notify_all()

    # --- all of these with the lock held

    def _is_halted(self) -> bool:
        enough = self._max_failures is not None and self._failures >= self._max_failures
        return enough or self._stop.is_set()

    def _fits(self, cost: int) -> bool:
        return self._used == 0 or self._used + cost <= self._memory

    def _may_decode(self) -> bool:
        if self._is_halted() or len(self._results) >= _UNREAD_RESULTS:
            return False
        if self._unprocessed + self._decoding >= self._window:
            return False
        if self._parked:
            return self._fits(self._parked[0].cost)
        return self._position < len(self._items) and self._fits(0)

    def _is_drained(self) -> bool:
        """Whether nothing is or will be on its way to the encoders."""
        if self._decoding or self._unprocessed or self._outgoing:
            return False
        return self._is_halted() or not (self._parked or self._position < len(self._items))

    def _pop_group(self) -> list[Task] | None:
        if self._full:
            return self._full.popleft()
        # Company may still come while something is decoded or could be; then a small group waits.
        if not self._groups or self._decoding or self._may_decode():
            return None
        return self._groups.pop(next(iter(self._groups)))

    def _drop_unprocessed(self) -> None:
        dropped = [*self._arrived, *(task for group in self._groups.values() for task in group)]
        dropped += [task for group in self._full for task in group]
        for task in dropped:
            self._used -= task.cost
            task.hold(None)
        self._unprocessed -= len(dropped)
        self._arrived.clear()
        self._groups.clear()
        self._full.clear()
        if dropped:
            self._changed.notify_all()
