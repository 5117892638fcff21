"""Networks converted for OpenVINO, on the CPU.

OpenVINO is an extra: `pip install img2img[openvino]`. Its package reports every import and conversion to its
makers unless the user has opted out; img2img imports it so that it reports nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import math
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from img2img.checkpoint import fingerprint
from img2img.inference.cache import ModelCache, key
from img2img.inference.program import bound_to_a_picture
from img2img.models import Generator
from img2img.models.base import get_norm_stats

HINTS = {"fp32": "f32", "bf16": "bf16"}
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}  # of the output's norm; bf16 has 8 bits and many layers


class ConversionError(Exception):
    """The network cannot be converted, or computes something else afterwards; the text is a sentence."""


class OpenVinoNetwork:
    """A converted network; one call at a time runs, others wait.

    Args:
        compiled: What OpenVINO compiled.
    """

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, x: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) in fp32 to (N, out_channels, H*scale, W*scale) in fp32."""
        with self._lock:
            results = self._request.infer([x.detach().contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(results[0])


def version() -> str | None:
    """Returns the version of OpenVINO, or None if it is not installed; imports nothing."""
    if importlib.util.find_spec("openvino") is None:
        return None
    try:
        return importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return None


def obstacle(generator: Generator, precision: str) -> str | None:
    """Returns a sentence about why `generator` cannot run in OpenVINO, or None."""
    if version() is None:
        return "it is not installed; `pip install img2img[openvino]` does that."
    device = next(generator.parameters()).device
    if device.type != "cpu":
        return f"it is used for the CPU alone, and the model is on {device}."
    if precision not in HINTS:
        return f"it is used with {' or '.join(HINTS)}, not {precision}."
    if generator.conditions:
        return f"the model needs more than a picture ({', '.join(generator.conditions)})."
    if generator.steps is not None:
        return "it goes to its result in steps, from noise that depends on the size of the picture."
    return bound_to_a_picture(generator)


def open_network(generator: Generator, precision: str, cache: ModelCache) -> OpenVinoNetwork:
    """Returns `generator` for OpenVINO, from the cache if it was converted before.

    Args:
        generator: In fp32, on the CPU, in evaluation mode; `obstacle` must have none.
        precision: "fp32" or "bf16".
        cache: Where converted networks are kept.

    Raises:
        ConversionError: See there.
    """
    name = key(
        weights=fingerprint({**generator.state_dict(), **dict(generator.named_buffers())}),
        architecture=generator.spec.name,
        arguments=generator.spec.arguments,
        norm_stats=get_norm_stats(generator),
        style=getattr(generator, "style_number", None),
        precision=precision,
        openvino=version(),
    )
    ov = _import()
    core = ov.Core()
    if (stored := cache.load(f"{name}.openvino")) is not None:
        try:
            return OpenVinoNetwork(core.import_model(stored, "CPU", _settings(ov, precision)))
        except RuntimeError:
            pass  # of another build after all: convert again
    try:
        compiled = core.compile_model(_convert(ov, generator), "CPU", _settings(ov, precision))
    except RuntimeError as error:
        raise ConversionError(f"the conversion failed ({_first_line(error)}).") from error
    network = OpenVinoNetwork(compiled)
    _check(network, generator, precision)
    cache.store(f"{name}.openvino", compiled.export_model().getvalue())
    return network


def _import() -> Any:
    """Imports OpenVINO without its telemetry, for which it has a replacement that does nothing."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("openvino.properties.hint")
        return importlib.import_module("openvino")


def _settings(ov: Any, precision: str) -> dict[Any, Any]:
    return {
        ov.properties.inference_num_threads(): torch.get_num_threads(),
        ov.properties.hint.enable_cpu_pinning(): False,  # decoding and encoding run beside it
        ov.properties.num_streams(): 1,
        ov.properties.hint.performance_mode(): ov.properties.hint.PerformanceMode.LATENCY,
        ov.properties.hint.inference_precision(): HINTS[precision],
    }


def _convert(ov: Any, generator: Generator) -> Any:
    """Returns the network as an OpenVINO model for any batch size, height and width.

    Freezing first makes the weights constants of one flat graph; without it the conversion takes a minute.
    """
    shape = ov.PartialShape([-1, generator.in_channels, -1, -1])
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing warns of, the check finds
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            generator, _example(generator, 2, 0), check_trace=False
        )
        return ov.convert_model(torch.jit.freeze(traced), input=[shape])


def model_of(program: ExportedProgram, names: Sequence[str]) -> Any:
    """Returns a program of torch.export as an OpenVINO model, its inputs called `names`.

    Raises:
        RuntimeError: It cannot be converted.
    """
    ov = _import()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ov.convert_model(program)
    for entry, name in zip(model.inputs, names, strict=True):
        entry.get_tensor().set_names({name})
    model.outputs[0].get_tensor().set_names({"output"})
    return model


def save(model: Any, path: Path, half: bool, metadata: Mapping[str, str]) -> None:
    """Writes NAME.xml and NAME.bin; `half` stores weights in fp16."""
    for name, text in metadata.items():
        model.set_rt_info(text, name)
    _import().save_model(model, str(path), compress_to_fp16=half)


def reader(path: Path) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Returns what computes the saved NAME.xml on the CPU, in fp32: inputs by name to the output."""
    ov = _import()
    core = ov.Core()
    compiled = core.compile_model(core.read_model(str(path)), "CPU", _settings(ov, "fp32"))

    def compute(given: Mapping[str, Tensor]) -> Tensor:
        result = compiled({name: value.contiguous().numpy() for name, value in given.items()})
        return torch.from_numpy(result[0].copy())

    return compute


def _check(network: OpenVinoNetwork, generator: Generator, precision: str) -> None:
    """Compares both on another batch size and shape than the traced one."""
    x = _example(generator, 1, 1)
    with torch.inference_mode():
        expected, found = generator(x), network(x)
    if found.shape != expected.shape:
        raise ConversionError(
            f"the converted network makes {tuple(found.shape)} where torch makes {tuple(expected.shape)}."
        )
    error = float((found - expected).norm() / expected.norm().clamp_min(1e-12))
    if not error <= TOLERANCE[precision]:
        raise ConversionError(
            f"the converted network is {error:.1e} from torch, more than {TOLERANCE[precision]:g}."
        )


def _example(generator: Generator, count: int, wider: int) -> Tensor:
    """Returns noise of about the smallest size that the network takes, `wider` units wider than high."""
    unit = generator.multiple_of
    units = math.ceil(max(32, generator.minimum_size) / unit)
    low, high = generator.input_range
    random = torch.Generator().manual_seed(1)
    x = torch.rand(count, generator.in_channels, units * unit, (units + wider) * unit, generator=random)
    return x * (high - low) + low


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
