"""A whole training step as one CUDA graph: recorded once for each shape of batch, then replayed.

At small batches a GPU waits for the host to launch its kernels, thousands of them in a step of CycleGAN. A
replay launches all at once. It repeats the recorded kernels on the same memory, so everything that changes
from step to step has to lie on the device: weights, averages, counts, rates and the skipping of bad updates
do, and random numbers come from the device's own generator, whose position a replay moves on as the eager
step does. Hence both compute the same, and a run may change between them at any step.

What was written here follows torch's documentation of graphs; its bookkeeping is tested everywhere, the
graphs themselves by the tests marked `gpu`, which the machine where this was written could not run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from img2img.training.runtime import Runtime
from img2img.training.settings import TrainingSettings
from img2img.types import Batch

_logger = logging.getLogger(__name__)
_EAGER_FIRST = 3  # steps for libraries to choose their kernels and for the optimizers to make their memory
_MOST = 8  # recordings that are kept: each holds the activations of a step

Step = Callable[[Batch], Tensor]
Work = Callable[[], Tensor]


class Recorder(Protocol):
    """What runs and records work on a device."""

    def run(self, work: Work) -> Tensor:
        """Does `work` now and returns its result."""

    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """Records `work` without doing it.

        Returns:
            A tensor, and a function that does the work and leaves the result in that tensor.

        Raises:
            RuntimeError: Something in it cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs; all of one recorder share their memory, since none runs beside another.

    Eager work goes to the stream that will be recorded: what libraries and the autograd engine set up for a
    stream on its first use cannot be set up during a recording.

    Args:
        device: Of the graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def run(self, work: Work) -> Tensor:
        """See `Recorder`."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            result = work()
        usual.wait_stream(self._stream)
        result.record_stream(usual)
        return result

    def record(self, work: Work) -> tuple[Tensor, Callable[[], None]]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that pins the memory of coming batches may go on meanwhile
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            result = work()
        self._pool = graph.pool()
        return result, graph.replay


@dataclass(frozen=True)
class _Recording:
    """A recorded step: what it reads, what it leaves, and how it is done again."""

    batch: Batch
    result: Tensor
    replay: Callable[[], None]


class GraphedStep:
    """Does steps, and replays those whose shape of batch has come up a few times.

    Shapes that come up rarely stay eager, such as the sizes of pictures that nothing crops. If a step cannot
    be recorded, that is said once and all steps stay eager.

    Args:
        step: A whole step. What it returns is handed out as a copy, since a replay writes over it.
        recorder: Where it is done.
    """

    def __init__(self, step: Step, recorder: Recorder) -> None:
        self._step, self._recorder = step, recorder
        self._recordings: dict[Any, _Recording] = {}
        self._seen: dict[Any, int] = {}
        self._gave_up = False

    def __call__(self, batch: Batch) -> Tensor:
        """Does one step on `batch` and returns what `step` returns."""
        shape = _shape(batch)
        recording = self._recordings.get(shape)
        if recording is None:
            recording = self._recorded(shape, batch)
            if recording is None:
                return self._recorder.run(lambda: self._step(batch))
        for name, tensor in batch.fields.items():
            recording.batch[name].copy_(tensor, non_blocking=True)
        recording.replay()
        return recording.result.clone()

    def forget(self) -> None:
        """Drops all recordings: to be called when any tensor that a step uses is replaced by another."""
        self._recordings.clear()
        self._seen.clear()

    def _recorded(self, shape: Any, batch: Batch) -> _Recording | None:
        """Returns a new recording for batches like `batch`, or None if it is not time for one."""
        seen = self._seen[shape] = self._seen.get(shape, 0) + 1
        if self._gave_up or seen <= _EAGER_FIRST or len(self._recordings) == _MOST:
            return None
        own = Batch({name: tensor.clone() for name, tensor in batch.fields.items()})
        try:
            result, replay = self._recorder.record(lambda: self._step(own))
        except RuntimeError as error:
            self._gave_up = True
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            _logger.warning(
                "training.cuda_graphs: a step cannot be recorded (%s); the run goes on without.",
                reason,
            )
            return None
        self._recordings[shape] = _Recording(own, result, replay)
        return self._recordings[shape]


def graphed(step: Step, settings: TrainingSettings, runtime: Runtime, cycle: int = 1) -> GraphedStep | None:
    """Returns `step` with graphs where `settings` want them and they are possible; else None.

    They are not where steps differ: where a method has a `cycle` of several. If they are wanted and not
    possible, the reason is logged as a warning.
    """
    if not settings.cuda_graphs:
        return None
    reason = None
    if runtime.device.type != "cuda":
        reason = f"it is for CUDA devices, and this run computes on {runtime.device.type}"
    elif settings.optimizer == "muon":
        reason = "the optimizer muon looks at values from the host; adam and adamw do not"
    elif runtime.world > 1:
        reason = "it is for one process; the exchange between several is not recorded"
    elif cycle > 1:
        reason = "steps of this method differ: the generator does not learn in each (method.n_critic)"
    if reason is not None:
        _logger.warning("training.cuda_graphs has no effect: %s.", reason)
        return None
    return GraphedStep(step, CudaRecorder(runtime.device))


def _shape(batch: Batch) -> Any:
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in batch.fields.items())
