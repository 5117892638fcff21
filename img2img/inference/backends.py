"""What computes a network: torch as it is, torch.compile, OpenVINO, ONNX Runtime; which is fastest here."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from img2img.checkpoint import fingerprint
from img2img.errors import ConfigError
from img2img.inference import openvino
from img2img.inference.cache import ModelCache, key
from img2img.inference.conditions import typical
from img2img.inference.export import compare
from img2img.inference.precision import DTYPES, in_precision
from img2img.inference.program import ExportError, input_names, obstacle, onnx_of
from img2img.interop.onnx_files import OnnxNetwork
from img2img.interop.onnx_runtime import OnnxError, Session
from img2img.models import Generator
from img2img.models.base import get_norm_stats
from img2img.registry import unknown

BackendChoice = Literal["auto", "eager", "compile", "openvino", "onnxruntime"]

WORTH_CONVERTING = 100_000  # parameters; a smaller network takes no time anyway
GAIN = 1.05  # how much faster OpenVINO must be to be taken
WHOLE_PIXELS = 2**20  # of output: beyond it `Generator.infer`, which works in strips, saves gigabytes
WHOLE_VALUES = 2**26  # of activations: compiled networks and OpenVINO keep more of them than is planned for


class Backend(Protocol):
    """Computes one network in one precision; what it makes depends on the rounding of its kernels alone.

    Attributes:
        name: "eager", "compile", "openvino" or "onnxruntime".
        precision: "fp32", "bf16" or "fp16"; input and output are fp32 in any case.
        seconds: What preparing it took: copying, compiling, converting or reading from the cache.
        note: A sentence for the user when it is not what was asked for, else "".
    """

    name: str
    precision: str
    seconds: float
    note: str

    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) in fp32 to (N, out_channels, H*scale, W*scale) in fp32.

        Args:
            x: In `input_range`.
            **conditions: As the network's `infer` takes them.
        """


class Eager:
    """torch as it is; half precision computes with a copy of the network whose output layers stay in fp32.

    Args:
        generator: In fp32, on its device, in evaluation mode.
        precision: "fp32", "bf16" or "fp16".
        note: See `Backend`.
    """

    name = "eager"

    def __init__(self, generator: Generator, precision: str, note: str = "") -> None:
        started = time.perf_counter()
        self.precision, self.note = precision, note
        self.generator = generator if precision == "fp32" else in_precision(generator, DTYPES[precision])
        self.seconds = time.perf_counter() - started

    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """See `Backend`."""
        return self.generator.infer(x, **conditions).float()


class Compiled:
    """torch.compile: one graph for a single image of any size, and another for several.

    Of a row of equal blocks one is compiled for all of them, and what is around them is left as it is:
    RRDBNet takes a fifth of the time that way. Other networks are compiled whole. Both graphs are made at
    once, so that a machine that cannot compile is found out here, and `seconds` is true.

    Args:
        generator: In fp32, on its device, in evaluation mode.
        precision: "fp32", "bf16" or "fp16".

    Raises:
        RuntimeError, OSError, ImportError: There is no C++ compiler, or it failed.
        ConfigError: The length of a vector that the network takes is not known.
    """

    name, note = "compile", ""

    def __init__(self, generator: Generator, precision: str) -> None:
        started = time.perf_counter()
        self.precision = precision
        self._network = in_precision(generator, DTYPES[precision])
        self._whole: Callable[..., Tensor] | None = None
        blocks = equal_blocks(self._network)
        if not blocks:
            self._whole = torch.compile(self._network, dynamic=True)
        for block in blocks:
            block.compile(dynamic=True)
        for count in (1, 2):
            x = typical_input(generator, count)
            self(x, **typical(generator, x))
        self.seconds = time.perf_counter() - started

    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """See `Backend`; large calls do without a graph of the whole, which would need more memory."""
        with torch.inference_mode():  # a change of the mode would compile again
            if self._whole is None or is_large(x, self._network):
                return self._network.infer(x, **conditions).float()
            return self._whole(x, **conditions).float()


class OnnxRuntime:
    """The network as ONNX Runtime runs it, on a CPU or an NVIDIA GPU.

    Args:
        generator: In fp32, on its device, in evaluation mode.
        precision: "fp32" or "fp16".
        cache: Where the exported network is kept.

    Raises:
        ExportError: It cannot be exported, or computes something else then.
    """

    name, note = "onnxruntime", ""

    def __init__(self, generator: Generator, precision: str, cache: ModelCache | None = None) -> None:
        started = time.perf_counter()
        self.precision, self._generator = precision, generator
        self._names = input_names(generator)
        self._session = _session(generator, precision, cache or ModelCache())
        self._eager: Eager | None = None
        self.seconds = time.perf_counter() - started

    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """See `Backend`; large calls are left to the eager network, which needs less memory."""
        if not is_large(x, self._generator):
            return self._session({self._names[0]: x} | {name: conditions[name] for name in self._names[1:]})
        self._eager = self._eager or Eager(self._generator, self.precision)
        return self._eager(x, **conditions)


class OpenVino:
    """The network as OpenVINO runs it on a CPU; see `img2img.inference.openvino`.

    Args:
        generator: In fp32, on the CPU, in evaluation mode.
        precision: "fp32" or "bf16".
        cache: Where the converted network is kept.

    Raises:
        openvino.ConversionError: It cannot be converted, or computes something else then.
    """

    name, note = "openvino", ""

    def __init__(self, generator: Generator, precision: str, cache: ModelCache | None = None) -> None:
        started = time.perf_counter()
        self.precision, self._generator = precision, generator
        self._network = openvino.open_network(generator, precision, cache or ModelCache())
        self._eager: Eager | None = None
        self.seconds = time.perf_counter() - started

    def __call__(self, x: Tensor, **conditions: Tensor) -> Tensor:
        """See `Backend`; it is for networks without conditions, and leaves large calls to the eager one."""
        if not is_large(x, self._generator):
            return self._network(x)
        self._eager = self._eager or Eager(self._generator, self.precision)
        return self._eager(x)


def require_precision(generator: Generator, precision: str, backend: str) -> None:
    """Makes sure that ONNX Runtime can compute in `precision`, which needs no picture.

    Raises:
        ConfigError: It cannot.
    """
    if isinstance(generator, OnnxNetwork) and precision != "fp32":
        raise ConfigError(
            f"an ONNX file computes in what it was exported in, not in {precision}; leave `precision` out."
        )
    if backend == "onnxruntime" and precision == "bf16":
        raise ConfigError("ONNX Runtime computes in fp32 or fp16, not in bf16.")


def choose_backend(
    generator: Generator,
    precision: str,
    backend: str = "auto",
    batch_pixels: int = 0,
    cache: ModelCache | None = None,
) -> Backend:
    """Returns what computes `generator`.

    Args:
        generator: In fp32, on its device, in evaluation mode; its weights and settings must stay as they are.
        precision: "fp32", "bf16" or "fp16".
        backend: "eager", "compile", "openvino" or "onnxruntime"; "auto" takes OpenVINO where it is installed,
            fits and is faster on a typical tile, else "eager". The comparison is remembered, so that a busy
            machine does not choose differently the next time. If compiling fails, or OpenVINO is asked for
            and the network takes more than a picture, `note` says why it is "eager". An ONNX file is always
            computed by ONNX Runtime.
        batch_pixels: How many input pixels calls will have; up to four typical tiles are compared at once,
            because a U-Net reads its weights once for all of them.
        cache: Where converted networks and comparisons are kept; None takes the user's.

    Raises:
        ConfigError: There is no such backend, or the one that was asked for cannot be used.
    """
    if backend not in get_args(BackendChoice):
        raise ConfigError(unknown("backend", backend, get_args(BackendChoice)))
    require_precision(generator, precision, backend)
    if isinstance(generator, OnnxNetwork):
        return _of_onnx_file(generator, precision, backend)
    if backend == "onnxruntime":
        try:
            return OnnxRuntime(generator, precision, cache)
        except ExportError as error:
            raise ConfigError(f"ONNX Runtime cannot run this model: {error}") from error
    if backend == "compile" and generator.steps is not None:
        note = "torch.compile is left out: the model goes to its result in steps, whose number may change."
        return Eager(generator, precision, note)
    if backend == "compile":
        return _compiled(generator, precision)
    if backend == "openvino" and generator.conditions:
        needs = ", ".join(generator.conditions)
        note = f"OpenVINO is left out: it is used for networks that take a picture alone, not {needs} too."
        return Eager(generator, precision, note)
    if backend == "openvino":
        if reason := openvino.obstacle(generator, precision):
            raise ConfigError(f"OpenVINO cannot run this model: {reason}")
        try:
            return OpenVino(generator, precision, cache)
        except openvino.ConversionError as error:
            raise ConfigError(f"OpenVINO cannot run this model: {error}") from error
    eager = Eager(generator, precision)
    parameters = sum(weight.numel() for weight in generator.parameters())
    if backend == "auto" and parameters >= WORTH_CONVERTING and not openvino.obstacle(generator, precision):
        return _faster(eager, generator, batch_pixels, cache or ModelCache())
    return eager


def seconds_each(backends: Sequence[Backend], x: Tensor, rounds: int = 4, limit: float = 4.0) -> list[float]:
    """Returns the seconds of the fastest call of each on `x`; they take turns, after one call not counted.

    Args:
        backends: What is compared.
        x: (N, C, H, W).
        rounds: How often each is called.
        limit: Seconds after which no further round starts; one is always made.
    """
    best = [math.inf] * len(backends)
    end = time.perf_counter() + limit
    with torch.inference_mode():
        for round_ in range(rounds + 1):
            if round_ > 1 and time.perf_counter() > end:
                break
            for index, backend in enumerate(backends):
                started = time.perf_counter()
                backend(x)
                if x.is_cuda:
                    torch.cuda.synchronize(x.device)
                if round_:
                    best[index] = min(best[index], time.perf_counter() - started)
    return best


def typical_input(generator: Generator, count: int = 1) -> Tensor:
    """Returns noise (count, in_channels, H, W) of the size that this network mostly sees, on its device."""
    side = 64 if generator.scale > 1 else 256
    unit = generator.multiple_of
    side = math.ceil(max(side, generator.minimum_size) / unit) * unit
    low, high = generator.input_range
    random = torch.Generator().manual_seed(0)
    x = torch.rand(count, generator.in_channels, side, side, generator=random) * (high - low) + low
    device = next(generator.parameters()).device
    return x.to(device).contiguous(memory_format=torch.channels_last)


def is_large(x: Tensor, generator: Generator) -> bool:
    """Returns whether `x` is so large that a CPU should leave it to the eager network, which needs less."""
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    large = pixels * generator.scale**2 > WHOLE_PIXELS or pixels * generator.live_features > WHOLE_VALUES
    return x.device.type == "cpu" and large


def equal_blocks(generator: Generator) -> list[nn.Module]:
    """Returns the longest row of four or more blocks of one kind that run one after the other."""
    rows = [list(row) for row in generator.modules() if isinstance(row, nn.Sequential) and len(row) >= 4]
    equal = [row for row in rows if len({type(block) for block in row}) == 1 and list(row[0].children())]
    return max(equal, key=len, default=[])


def _of_onnx_file(generator: OnnxNetwork, precision: str, backend: str) -> Backend:
    left_out = (
        "" if backend in ("auto", "onnxruntime") else f"{backend} is left out: ONNX Runtime runs ONNX files."
    )
    found = Eager(generator, precision, " ".join(filter(None, (left_out, generator.assumed))))
    found.name = OnnxRuntime.name
    return found


def _session(generator: Generator, precision: str, cache: ModelCache) -> Session:
    """Returns `generator` for ONNX Runtime, exported and compared now or earlier.

    Raises:
        ExportError: It cannot be exported or run, or computes something else then.
    """
    if reason := obstacle(generator):
        raise ExportError(reason)
    device = next(generator.parameters()).device
    facts = {
        "weights": fingerprint({**generator.state_dict(), **dict(generator.named_buffers())}),
        "architecture": generator.spec.name,
        "arguments": generator.spec.arguments,
        "norm_stats": get_norm_stats(generator),
        "style": getattr(generator, "style_number", None),
        "steps": generator.steps,
        "precision": precision,
    }
    name = f"{key(**facts)}.onnx"
    try:
        if (content := cache.load(name)) is None:
            here = generator if device.type == "cpu" else copy.deepcopy(generator).cpu()
            content = onnx_of(here, precision).SerializeToString()
            compare(here, Session(content), precision)
            cache.store(name, content)
        session = Session(content, device)
    except OnnxError as error:
        raise ExportError(f"it cannot be opened ({error}).") from error
    if device.type == "cuda" and session.device.type != "cuda":
        raise ExportError("the model is on a GPU, and this ONNX Runtime has none; install onnxruntime-gpu.")
    return session


def _compiled(generator: Generator, precision: str) -> Backend:
    try:
        return Compiled(generator, precision)
    except ConfigError as error:
        return Eager(generator, precision, f"torch.compile is left out: {error}")
    except (RuntimeError, OSError, ImportError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        note = f"torch.compile does not work here and is left out ({reason}); it needs a C++ compiler."
        return Eager(generator, precision, note)


def _faster(eager: Eager, generator: Generator, batch_pixels: int, cache: ModelCache) -> Backend:
    """Returns OpenVINO or `eager`, as a comparison on this machine found or finds now."""
    tile = typical_input(generator)
    count = max(1, min(4, batch_pixels // (tile.shape[2] * tile.shape[3])))
    facts = {
        "count": count,
        "architecture": generator.spec.name,
        "arguments": generator.spec.arguments,
        "norm_stats": get_norm_stats(generator),
        "precision": eager.precision,
        "openvino": openvino.version(),
        "threads": torch.get_num_threads(),
    }
    name = f"{key(**facts)}.seconds"
    known = cache.load(name)
    if known is not None and not _wins(json.loads(known)):
        return eager
    try:
        converted = OpenVino(generator, eager.precision, cache)
    except openvino.ConversionError as error:
        eager.note = f"OpenVINO is left out: {error}"
        return eager
    if known is None:
        times = seconds_each([eager, converted], tile.repeat(count, 1, 1, 1))
        seconds = dict(zip(("eager", "openvino"), times, strict=True))
        cache.store(name, json.dumps(seconds).encode())
        if not _wins(seconds):
            return eager
    return converted


def _wins(seconds: dict[str, float]) -> bool:
    return seconds["openvino"] * GAIN < seconds["eager"]
