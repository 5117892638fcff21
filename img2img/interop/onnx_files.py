"""ONNX files as networks: those that img2img exported, and others whose interface leaves no question.

A file of img2img says in its metadata, under `img2img`, what a model file says, and `INTERFACE` beside it. Of
another one the graph must tell: one picture goes in and one comes out, and a run of it finds out the rest.
Nothing in an ONNX file is code that runs, and ONNX Runtime reads no data for it from outside its folder.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from img2img.checkpoint import KEY, ModelInfo, check_names, read_header_of
from img2img.errors import ConfigError, ModelError, ProcessingError, UnknownModelError
from img2img.fields import read_fields
from img2img.files import file_digest, open_regular
from img2img.interop.onnx_runtime import OnnxError, Session, require
from img2img.models import ArchSpec, Generator
from img2img.models.base import Tiling
from img2img.models.noise import NoiseField
from img2img.types import ValueRange

INTERFACE = ("inputs", "multiple_of", "minimum_size", "receptive_field", "tiling", "live_features", "noise")
"""What the metadata holds beside the facts of a model file, for whom the graph alone is too little."""

_UNKNOWN_RADIUS = 10**6  # tiles then overlap and are blended
_UNKNOWN_FEATURES = 1024  # values alive at once per input pixel: more than most networks for pictures hold
_LEAST = 32  # sides that any network is taken to accept
_MOST = 2**12  # what counts in metadata may be, but for those that only say how tiles are laid
_WHOLE = {"InstanceNormalization", "GroupNormalization"}  # they see a picture as a whole
_UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_KINDS = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_FIRST_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"  # what may follow the version in a file


@dataclass(frozen=True)
class Interface:
    """How a graph takes pictures.

    Attributes:
        inputs: Names in the graph: of the picture, then of what goes with it.
        channels_last: Whether pictures are (N, H, W, C).
        single: Whether it takes one at a time.
        dtype: Of the picture.
    """

    inputs: tuple[str, ...]
    channels_last: bool = False
    single: bool = False
    dtype: torch.dtype = torch.float32


class OnnxNetwork(Generator):
    """A graph behind the contract of a generator; ONNX Runtime computes it.

    Args:
        path: The file.
        session: Opened of it, on the CPU.
        interface: How it takes pictures.
        noise: Channels of noise that it takes beside the picture, 0 for none.

    Attributes:
        assumed: A sentence about what the file does not say and was taken for granted, else "".
        digest: SHA-256 of it, and of the files beside it that its weights lie in; in place of weights.
    """

    half_precision = False
    assumed = ""
    digest: Tensor

    def __init__(self, path: Path, session: Session, interface: Interface, noise: int = 0) -> None:
        super().__init__()
        self.path, self.interface = path, interface
        self._session, self._moved = session, False
        self.noise = NoiseField(noise)
        sha256 = b"".join(bytes.fromhex(file_digest(file)) for file in (path, *data_files(path)))
        self.register_buffer("digest", torch.frombuffer(bytearray(sha256), dtype=torch.uint8))

    def placed(self, top: int, left: int, height: int, width: int) -> dict[str, Tensor]:
        """The noise of that place."""
        return {"noise": self.noise.at(top, left, height, width)} if self.noise.size else {}

    def forward(self, x: Tensor, **given: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H*scale, W*scale)."""
        if self.noise.size and "noise" not in given:
            given["noise"] = self.noise(x)
        if self.interface.single and x.shape[0] > 1:
            parts = [{name: value[i : i + 1] for name, value in given.items()} for i in range(x.shape[0])]
            return torch.cat([self(x[i : i + 1], **part) for i, part in enumerate(parts)])
        session = self._on(x.device)
        how = self.interface
        picture = (x.permute(0, 2, 3, 1) if how.channels_last else x).to(how.dtype)
        result = session({how.inputs[0]: picture} | {name: given[name] for name in how.inputs[1:]})
        return result.permute(0, 3, 1, 2) if how.channels_last else result

    def infer(self, x: Tensor, **given: Tensor) -> Tensor:
        """Does what `forward` does, and makes sure of the shape, which the file alone promises.

        Raises:
            ProcessingError: It is another one, or ONNX Runtime fails.
        """
        result: Tensor = self(x, **given)
        expected = (x.shape[0], self.out_channels, x.shape[2] * self.scale, x.shape[3] * self.scale)
        if tuple(result.shape) != expected:
            raise ProcessingError(
                f"the ONNX file makes {tuple(result.shape)} of {tuple(x.shape)}, and not {expected} as it "
                "says, or as it made of smaller pictures."
            )
        return result

    def _on(self, device: torch.device) -> Session:
        """Returns a session that computes on `device` where ONNX Runtime can; it is opened once."""
        if device.type == "cuda" and not self._moved:
            self._moved = True
            with suppress(OnnxError):  # then the CPU computes
                self._session = Session(self.path, device)
        return self._session


def is_onnx(path: Path) -> bool:
    """Tells by the content, or by the name where that says `.onnx`."""
    with open_regular(path) as file:
        start = file.read(3)
    # field 1, the version of the format, a small number; then a field of the few that there are
    looks = len(start) == 3 and start[0] == 8 and start[1] < 32 and start[2] in _FIRST_FIELDS
    return looks or path.suffix.lower() == ".onnx"


def open_onnx(path: Path) -> tuple[Generator, ModelInfo]:
    """Opens an ONNX file.

    Returns:
        The network, and what is known of it.

    Raises:
        UnknownModelError: How it takes pictures cannot be told; the message says what is missing.
        ModelError: It is damaged, contradicts itself, or wants data from outside its folder.
        ConfigError: ONNX Runtime is not installed.
    """
    require("onnx")
    try:
        session = Session(path)
    except OnnxError as error:
        raise ModelError(f"is no ONNX file, or a damaged one ({error}).", path) from error
    if KEY in session.metadata:
        return _own(path, session)
    return _of_others(path, session)


def _own(path: Path, session: Session) -> tuple[Generator, ModelInfo]:
    """Returns the network of a file that img2img exported."""
    facts, info = read_header_of(session.metadata[KEY], path)
    wrong = [name for name, right in _right(facts).items() if not right]
    if wrong:
        raise ModelError(f"has damaged metadata: {', '.join(wrong)} missing or wrong.", path)
    names = tuple(facts["inputs"])
    kinds = {entry.type for entry in (*session.inputs, *session.outputs)}
    if [entry.name for entry in session.inputs] != list(names) or kinds != {"tensor(float)"}:
        raise ModelError("contradicts itself: its metadata names other inputs than its graph has.", path)
    generator = OnnxNetwork(path, session, Interface(names), facts["noise"])
    for name in ("in_channels", "out_channels", "scale"):
        setattr(generator, name, facts[name])
    for name in ("multiple_of", "minimum_size", "receptive_field", "tiling", "live_features"):
        setattr(generator, name, facts[name])
    generator.input_range = ValueRange(*facts["input_range"])
    generator.output_range = ValueRange(*facts["output_range"])
    try:
        generator.conditions = read_fields(facts.get("conditions", {}))
    except (ConfigError, AttributeError):
        raise ModelError("has damaged metadata: conditions wrong.", path) from None
    if set(names[1:]) != {*generator.conditions, *(["noise"] if facts["noise"] else [])}:
        raise ModelError("contradicts itself: its inputs are not what its conditions say.", path)
    check_names(info, generator, path)
    generator.spec = ArchSpec(f"ONNX {facts['architecture']}", facts["arguments"])
    told = {name: facts[name] for name in ("license", "source") if isinstance(facts.get(name), str)}
    stated = {name: text for name, text in told.items() if text}
    origin = {"layout": "ONNX, exported by img2img", **stated, **info.origin}
    return generator.eval(), replace(info, origin=origin)


def _right(facts: dict[str, Any]) -> dict[str, bool]:
    """Returns which of the facts that only an exported file has are what they should be."""

    def counts(name: str, least: int = 1) -> bool:
        most = _UNKNOWN_RADIUS if name in ("receptive_field", "live_features") else _MOST
        return type(facts.get(name)) is int and least <= facts[name] <= most

    def is_range(name: str) -> bool:
        value = facts.get(name)
        if not isinstance(value, list) or len(value) != 2:
            return False
        return all(type(number) in (int, float) for number in value) and value[0] < value[1]

    inputs = facts.get("inputs")
    right = {name: counts(name) for name in ("in_channels", "out_channels", "scale")}
    right |= {name: counts(name) for name in ("multiple_of", "minimum_size", "live_features")}
    right |= {name: counts(name, 0) for name in ("receptive_field", "noise")}
    right |= {name: is_range(name) for name in ("input_range", "output_range")}
    right["tiling"] = facts.get("tiling") in get_args(Tiling)
    right["inputs"] = isinstance(inputs, list) and bool(inputs) and all(isinstance(n, str) for n in inputs)
    return right


def _of_others(path: Path, session: Session) -> tuple[Generator, ModelInfo]:
    """Returns the network of a file that says nothing of itself, if its graph leaves no question."""
    interface, channels = _interface(path, session)
    generator = OnnxNetwork(path, session, interface)
    generator.in_channels = generator.out_channels = channels
    generator.minimum_size, generator.receptive_field = _LEAST, _UNKNOWN_RADIUS
    generator.live_features = _UNKNOWN_FEATURES
    if _operators(path) & _WHOLE:
        generator.tiling = "global_statistics"
    _try(path, generator.eval())
    generator.spec = ArchSpec("ONNX", {"file": path.name})
    colour = {1: "grey", 3: "RGB"}[channels]
    generator.assumed = (
        f"{path.name} does not say how it takes pictures; {colour} from 0 to 1 is assumed, as for ESRGAN."
    )
    origin = {"layout": "ONNX", "assumed": f"{colour} from 0 to 1", "file": path.name}
    return generator, ModelInfo(origin=origin)


def data_files(path: Path) -> list[Path]:
    """Returns the files beside an ONNX file that its weights lie in, in the order of their names."""
    model = _graph_of(path)
    graphs = (model.graph, *model.functions)
    constants = [attribute.t for graph in graphs for node in graph.node for attribute in node.attribute]
    entries = [entry for each in (*model.graph.initializer, *constants) for entry in each.external_data]
    places = {entry.value for entry in entries if entry.key == "location"}
    return [path.parent / place for place in sorted(places)]


def _graph_of(path: Path) -> Any:
    """Returns what stands in a file, without what lies beside it."""
    return importlib.import_module("onnx").load_model(path, load_external_data=False)


def _operators(path: Path) -> set[str]:
    """Returns the names of all operators in a file."""
    model = _graph_of(path)
    return {node.op_type for graph in (model.graph, *model.functions) for node in graph.node}


def _interface(path: Path, session: Session) -> tuple[Interface, int]:
    """Returns how a graph takes pictures, and of how many channels they are."""
    needs = "a picture must be its only input and a picture its only output"
    if len(session.inputs) != 1 or len(session.outputs) != 1:
        names = ", ".join(entry.name for entry in session.inputs)
        raise UnknownModelError(
            f"is an ONNX file with {len(session.inputs)} inputs ({names[:200]}) and {len(session.outputs)} "
            f"outputs, and does not say what they are for: {needs}.",
            path,
        )
    (entry,), (output,) = session.inputs, session.outputs
    kind, shape = _KINDS.get(entry.type), entry.shape
    if kind is None or output.type not in _KINDS:
        raise UnknownModelError(
            f"is an ONNX file that turns {entry.type} into {output.type}; both must be float, with pictures "
            "from 0 to 1.",
            path,
        )
    if len(shape) != 4 or len(output.shape) != 4:
        raise UnknownModelError(
            f"is an ONNX file whose input is {shape}; a picture is (N, C, H, W) or (N, H, W, C).", path
        )
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        raise UnknownModelError(
            f"is an ONNX file whose input is {shape}: which of its axes are the channels, 1 or 3, is not "
            "said. Export it with a fixed number of channels.",
            path,
        )
    sides = shape[2:] if first else shape[1:3]
    if any(isinstance(side, int) for side in sides):
        raise UnknownModelError(
            f"is an ONNX file for pictures of {sides[1]}x{sides[0]} alone; export it with dynamic_axes for "
            "height and width.",
            path,
        )
    if shape[0] not in (1, None) and not isinstance(shape[0], str):
        raise UnknownModelError(
            f"is an ONNX file for {shape[0]} pictures at once; export it with a dynamic batch.", path
        )
    return Interface((entry.name,), channels_last=last, single=shape[0] == 1, dtype=kind), shape[
        1 if first else 3
    ]


def _try(path: Path, generator: OnnxNetwork) -> None:
    """Finds out by small pictures what a network multiplies sides by, and what they must be multiples of."""
    reason = ""
    for unit in _UNITS:
        units = -(-_LEAST // unit)
        units += units % 2 == 0  # an odd number of units, and another one
        height, width = units * unit, (units + 2) * unit
        ramp = torch.linspace(0.25, 0.75, height * width).reshape(1, 1, height, width)
        try:
            made = generator(ramp.expand(1, generator.in_channels, -1, -1))
        except (ProcessingError, MemoryError) as error:
            reason = str(error)
            continue
        channels, scale = made.shape[1], made.shape[2] // height
        if made.shape[0] != 1 or scale < 1 or made.shape[2:] != (height * scale, width * scale):
            reason = f"{width}x{height} pixels become {made.shape[3]}x{made.shape[2]}"
            continue
        if channels not in (1, 3):
            raise UnknownModelError(
                f"is an ONNX file that makes {channels} channels of a picture, and does not say what they "
                "stand for; 1 or 3 are a picture.",
                path,
            )
        low, high = float(made.min()), float(made.max())
        if not -1 < low <= high < 2:
            raise UnknownModelError(
                f"is an ONNX file that does not say which numbers are black and white, and not 0 and 1: of "
                f"numbers from 0.25 to 0.75 it makes {low:.3g} to {high:.3g}.",
                path,
            )
        generator.out_channels, generator.scale, generator.multiple_of = channels, scale, unit
        return
    raise UnknownModelError(
        f"is an ONNX file that enlarges pictures of no size that was tried by a whole factor ({reason}).",
        path,
    )
