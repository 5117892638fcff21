"""The one thread that computes: pictures and folders take turns on the device, first come, first served."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from img2img.batch import Processor, fields_of
from img2img.errors import ProcessingError
from img2img.image import Image

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """Runs what it is given, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "img2img-worker")

    def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what `function` returns, when its turn has come.

        Raises:
            ProcessingError: The program is about to end.
        """
        try:
            return self._thread.submit(function, *args, **kwargs).result()
        except (CancelledError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "shutdown" not in str(error):
                raise
            raise ProcessingError("the program is about to end, and starts nothing new.") from None

    def close(self) -> None:
        """Waits for what is computed just now; what waits for its turn is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class Turns:
    """A batch processor that does its work in the worker's thread, between that of others.

    Args:
        process: What does the work.
        worker: Whose turn it takes with each group of pictures.
    """

    def __init__(self, process: Processor, worker: Worker) -> None:
        self._process, self._worker = process, worker
        self.conditions = fields_of(process)

    def group_key(self, image: Image) -> Hashable:
        """Returns what images must agree in to share a call."""
        return self._process.group_key(image)

    def __call__(self, images: Sequence[Image], **conditions: Any) -> list[Image]:
        """Returns one image for each of `images`, in order."""
        process: Callable[..., list[Image]] = self._process
        return self._worker.do(process, images, **conditions)
