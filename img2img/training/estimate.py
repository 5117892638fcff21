"""What a run will take, before it begins."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from img2img.data import Data, open_data
from img2img.errors import ConfigError, PlanError
from img2img.fields import Ids, Picture, Vector, pictures, scale_of
from img2img.methods import Method, methods
from img2img.training.experiment import Experiment, stages
from img2img.training.frozen import frozen_parameters
from img2img.training.initial import start_from
from img2img.training.runtime import Runtime
from img2img.training.validation import Validation
from img2img.types import Batch

GIB = 2**30
_PROGRAM = 0.7 * GIB  # what Python, torch and OpenCV take before anything is built
_SPARE = 1.1  # what the allocator cannot use
_TINY = 3e8  # weights times pixels; what a step of fewer computes is done sooner than pretended


Warn = Callable[[str], None]


class _Unreal(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Sizes without values. Of torch's own, each operation asks the driver for GPUs: a sixth of the time."""

    avoid_device_init = True

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.avoid_device_init = not torch.cuda.is_available()


def estimate(
    experiment: Experiment, warn: Warn = lambda sentence: None, *, resume: bool = False
) -> Iterator[str]:
    """Yields sentences on data, length, parameters and memory; no GPU is needed, and hardly a second.

    Args:
        experiment: What will be trained.
        warn: Called with each sentence that the run would warn with.
        resume: Whether it is a run that goes on: it does not begin with weights of others any more.

    Raises:
        ConfigError: The data, the networks or the weights to start from do not fit the configuration.
        ModelError: These weights cannot be opened.
        PlanError: The data are not there; this comes last, after all that is known without them.
    """
    settings, missing, cls = experiment.training, None, methods[experiment.method.name]
    try:
        data: Data | None = open_data(
            experiment.data,
            experiment.fields,
            seed=experiment.seed,
            any_size=cls.any_size,
        )
    except PlanError as error:
        data, missing = None, error
    if data is not None:
        yield f"Data: {data.description}."
        yield from data.notes
        for sentence in data.warnings:
            warn(sentence)
        world = settings.devices * settings.nodes
        parts = stages(settings, len(data.train), world)
        for idle in filter(None, (part.idleness() for part in parts)):
            warn(idle)
        total = parts[-1].last
        samples = settings.batch_size * world
        epochs = total * samples / len(data.train)
        yield f"Length: {total} steps of {samples} samples, {epochs:.1f} epochs of {len(data.train)}."
    yield from estimate_memory(experiment, None if data is None else data.channels, warn, resume=resume)
    if missing is not None:
        raise missing


def estimate_memory(
    experiment: Experiment,
    channels: Mapping[str, int] | None = None,
    warn: Warn = lambda sentence: None,
    *,
    resume: bool = False,
) -> Iterator[str]:
    """Yields sentences on parameters and memory; one step of each stage is tried.

    A large step is not computed: sizes alone go through the networks.

    Args:
        experiment: Its data need not be there.
        channels: Of each field; None takes those of the configuration, or colour.
        warn, resume: See `estimate`.

    Raises:
        ConfigError: The networks do not fit each other, the weights to start from, or the size of the crop.
        ModelError: These weights cannot be opened.
    """
    settings, channels = experiment.training, channels or usual_channels(experiment)
    if settings.initial and not resume:  # for real, and then forgotten
        with torch.random.fork_rng(devices=[]):
            whole_method = methods[experiment.method.name](experiment.method, channels)
        yield from start_from(whole_method.generators(), settings.initial)
        del whole_method
    runtime = Runtime("cpu", precision="fp32" if settings.precision == "fp32" else "bf16")
    runtime.precision = settings.precision
    if settings.precision == "auto":
        own = "cpu" if settings.device == "auto" and not torch.cuda.is_available() else settings.device
        runtime.precision = Runtime("cpu").precision if own == "cpu" else "bf16"
    with _Unreal():
        method = methods[experiment.method.name](experiment.method, channels)
        groups = {
            name: sum(p.numel() for p in parameters) for name, parameters in method.parameter_groups().items()
        }
        settings.require_groups(groups)
        Validation(method, settings, experiment.fields)
        for part in settings.stages:
            frozen_parameters(method, part.frozen)
        yield from method.notes
        method.begin(stages(settings, 1)[0].name)
        if method.unguided is not None and not settings.initial and not resume:
            warn(method.unguided)
        yield "Parameters: " + ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in groups.items()) + "."
        weights = sum(tensor.numel() for tensor in (*method.parameters(), *method.buffers()))
        learned = sum(groups.values())
        averages = sum(p.numel() for g in method.generators().values() for p in g.parameters())
        state = 4 * (weights + 2 * learned + (averages if settings.ema else 0))
        frozen = sum(4 * p.numel() for network in method.frozen_networks for p in network.parameters())
        fixed = state + frozen
        batch = usual_batch(experiment, channels)
        if batch is None:
            yield (
                f"Memory: {(fixed + 4 * learned) / GIB:.2f} GiB for weights and optimizers; how much a step "
                "needs depends on the sizes of the pictures, which are trained on as they are."
            )
            return
        pixels = max(t.numel() // t.shape[1] for t in batch.fields.values() if t.ndim == 4)
        tiny = weights * pixels < _TINY
        if not tiny:
            peak = max(_peak(method, stage.name, batch, runtime) for stage in stages(settings, 1))
    if tiny:
        with torch.random.fork_rng(devices=[]):
            method = methods[experiment.method.name](experiment.method, channels)
            batch = usual_batch(experiment, channels)
            assert batch is not None
            peak = max(_peak(method, stage.name, batch, runtime) for stage in stages(settings, 1))
    saving = 8 * averages  # a model file is copied once, and once more as bytes
    whole = (fixed + max(peak, saving)) * _SPARE
    on_cpu = settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available())
    yield (
        f"Memory of a process: about {(whole + _PROGRAM * on_cpu) / GIB:.2f} GiB, of which "
        f"{fixed / GIB:.2f} GiB are weights and optimizers and {peak / GIB:.2f} GiB what a step needs in "
        f"{runtime.precision}; cached pictures come on top. A state takes {state / GIB:.2f} GiB on the disk."
    )


def usual_channels(experiment: Experiment) -> dict[str, int]:
    """Returns the channels of each field where nobody has looked at the files."""
    data, fields = experiment.data, experiment.fields
    known = {name: 1 if field.spatial else 2 for name, field in fields.items()} | {
        name: field.size for name, field in fields.items() if isinstance(field, Vector) and field.size
    }
    source, *others = pictures(fields)
    known |= {source: data.source_channels or 3} | dict.fromkeys(others, data.target_channels or 3)
    one_hot = [name for name in data.labels(fields) if data.palette]
    return known | {name: len(data.palette or ()) for name in one_hot}


def usual_batch(experiment: Experiment, channels: Mapping[str, int]) -> Batch | None:
    """Returns a batch of the size that is trained on; None where pictures are taken whole."""
    sides, fields = experiment.data.crop_size, experiment.fields
    if sides is None:
        return None
    scale = scale_of(fields) or 1
    number = experiment.training.batch_size
    found = {}
    for name, field in fields.items():
        shape = list(sides)
        if isinstance(field, Picture) and field.scale is None:
            shape = [side // scale for side in sides]  # beside one with a scale it is the small one
        dtype = torch.int32 if isinstance(field, Ids) else torch.float32
        found[name] = torch.zeros(number, channels[name], *(shape if field.spatial else []), dtype=dtype)
    return Batch(found)


def _peak(method: Method, stage: str, batch: Batch, runtime: Runtime) -> int:
    """Returns how many bytes one step of the method needs at once besides weights and optimizers."""
    groups = method.parameter_groups()

    def optimize(group: str, losses: Mapping[str, Tensor]) -> None:
        with runtime.full_precision():
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            total.backward(inputs=groups[group])  # type: ignore[no-untyped-call]
            for parameter in groups[group]:
                parameter.grad = None
        torch.clear_autocast_cache()

    method.train()
    method.begin(stage)
    method.check(batch)
    with _PeakMemory() as meter, runtime.autocast():
        try:
            for _ in range(method.cycle):
                method.step(batch, optimize)
        except (RuntimeError, ValueError) as error:
            sides = " x ".join(map(str, max(t.shape for t in batch.fields.values() if t.ndim == 4)[-2:]))
            raise ConfigError(
                f"a step on pictures of {sides} fails: {str(error).splitlines()[0].rstrip('.')}."
            ) from error
    return int(meter.peak)


class _PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors made within it that are alive at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self._alive:
                    self._alive[key] = weakref.ref(storage, partial(self._freed, key, size))
                    self._now += size
        self.peak = max(self.peak, self._now)
        return result

    def _freed(self, key: int, size: int, reference: weakref.ref[Any]) -> None:
        """Is called when the last tensor over a storage is gone, at once: its number may be given again."""
        del self._alive[key]
        self._now -= size
