"""ONNX Runtime: sessions over ONNX graphs, on the device that torch computes on.

It is an extra: `pip install img2img[onnx]`. The module imports it when a session is opened.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from img2img.errors import ConfigError, ProcessingError

LEAST = (1, 24)  # older ones let a file have its data read from anywhere
_FATAL = 4  # of its log levels: what goes wrong is raised, too


class OnnxError(Exception):
    """ONNX Runtime cannot open or run a graph; the text is its reason in one line."""


class Session:
    """A graph that is ready; threads may share it.

    Args:
        model: An ONNX file, or its bytes.
        device: Where it should run: on "cuda" by TensorRT or CUDA where this ONNX Runtime has them, else on
            the CPU.

    Attributes:
        device: Where it runs.
        metadata: What the file says of itself, by name.
        inputs, outputs: Of the graph, with `name`, `type` and `shape`.

    Raises:
        OnnxError: It cannot be opened.
        ConfigError: ONNX Runtime is not installed, or too old.
    """

    def __init__(self, model: Path | bytes, device: torch.device | None = None) -> None:
        require()
        runtime = importlib.import_module("onnxruntime")
        device = device or torch.device("cpu")
        chosen = providers(device, runtime.get_available_providers())
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = _FATAL
        # decoding and encoding run beside it
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            given = model if isinstance(model, bytes) else str(model)
            # its own way back to the CPU is told on stdout, where results are
            self._session = runtime.InferenceSession(given, options, providers=chosen, enable_fallback=0)
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
            self.inputs, self.outputs = list(self._session.get_inputs()), list(self._session.get_outputs())
        except Exception as error:  # its classes have no other base; and UnicodeDecodeError
            raise OnnxError(first_line(error)) from error
        on_gpu = any(name.startswith("CUDA") for name in self._session.get_providers())
        self.device = device if on_gpu else torch.device("cpu")

    def __call__(self, given: Mapping[str, Tensor]) -> Tensor:
        """Returns what the first output becomes of the inputs by name, in fp32, on the device of the first.

        Raises:
            MemoryError: There is too little memory.
            ProcessingError: It fails for another reason.
        """
        arrays = {name: value.detach().cpu().contiguous().numpy() for name, value in given.items()}
        options = importlib.import_module("onnxruntime").RunOptions()
        options.log_severity_level = _FATAL
        try:
            result = self._session.run([self.outputs[0].name], arrays, options)[0]
        except Exception as error:  # its classes have no other base
            reason = first_line(error)
            if "allocate" in reason or "bad_alloc" in reason:
                raise MemoryError(reason) from error
            raise ProcessingError(f"ONNX Runtime cannot run the model on this ({reason}).") from error
        device = next(iter(given.values())).device
        return torch.from_numpy(result).to(device, torch.float32)


def require(*packages: str) -> None:
    """Makes sure that ONNX Runtime is installed, and `packages` of the extra beside it.

    Raises:
        ConfigError: One is missing, or ONNX Runtime is too old.
    """
    for package in ("onnxruntime", *packages):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"ONNX needs the package {package}, which is not installed; `pip install 'img2img[onnx]'` "
                "does that."
            )
    version: str = importlib.import_module("onnxruntime").__version__
    if tuple(map(int, version.split(".")[:2])) < LEAST:
        raise ConfigError(
            f"ONNX Runtime {version} is too old; {'.'.join(map(str, LEAST))} is needed, "
            "`pip install -U 'img2img[onnx]'` installs it."
        )


def providers(device: torch.device, available: list[str]) -> list[str | tuple[str, dict[str, str]]]:
    """Returns what is to compute a graph on `device`, the first choice first, of what is `available`.

    TensorRT, which builds an engine for minutes, is taken where its own package is installed as well.
    """
    chosen: list[str | tuple[str, dict[str, str]]] = []
    if device.type == "cuda":
        place = {"device_id": str(device.index or 0)}
        if "TensorrtExecutionProvider" in available and importlib.util.find_spec("tensorrt") is not None:
            chosen.append(("TensorrtExecutionProvider", place))
        if "CUDAExecutionProvider" in available:
            chosen.append(("CUDAExecutionProvider", place))
    return [*chosen, "CPUExecutionProvider"]


def first_line(error: BaseException) -> str:
    """Returns the reason that an error of ONNX Runtime or of an exporter gives, on one short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text.removeprefix("[ONNXRuntimeError] : ").rstrip(".")[:200]
