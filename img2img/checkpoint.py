"""The model file: one .safetensors that needs nothing beside it.

Its metadata holds one entry, `img2img`, with a JSON object::

    format                       1, 2 where it has a range or keeps proportions, 3 where its network takes
                                 more than a picture, 4 where it makes label maps; a larger one is of a newer
                                 img2img
    architecture, arguments      what `models.build` needs
    scale, in_channels, out_channels, input_range, output_range
                                 what the architecture makes of them, for readers that are not img2img
    colour                       "grey", "RGB" or the number of channels of the output
    conditions                   from format 3 on: what the network takes beside the picture, by name:
                                 {"mask": {"kind": "mask"}, "attributes": {"kind": "vector", "size": 5}}
    output, size, fit, origin, range, target_range, attributes, exclusive, adversarial, synthetic
                                 see `ModelInfo`
    labels                       in format 4: the classes that the channels of the output stand for:
                                 {"palette": [[0, 0, 0], ...], "names": ["sky", ...], "ignore": null}
    sha256                       of the weights as they are stored, see `fingerprint`

Weights are stored in fp32, or in bf16 or fp16 for half the size; the network that is opened has fp32 ones.
Buffers, such as the averages of norm layers, keep their precision.

No code runs when it is opened, and everything it says is checked before a network is built from it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from img2img.errors import ConfigError, ModelError, UnknownModelError, display_path
from img2img.fields import Vector, describe
from img2img.files import open_regular, write_bytes
from img2img.image.palette import MOST, MOST_COLOURS, LabelSet
from img2img.models import ArchSpec, Generator, build, generators
from img2img.types import ValueRange

# older versions know neither ranges nor fit (2), conditions (3), labels (4) nor more than 256 classes (5):
# others stay 1
FORMAT = 5
KEY = "img2img"
MAX_HEADER = 16 * 2**20  # RRDBNet-23 has 702 tensors and needs 0.1 MiB

# bits of a number, by the names that safetensors gives its types
_BITS = (
    {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64}
    | {f"{kind}{bits}": bits for kind in "IUF" for bits in (8, 16, 32, 64)}
    | {"BF16": 16, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
)
_LARGEST = 1e30  # what may be white: float32 computes with it
_LONGEST = 200  # characters in the name of a number of a vector
_FEW = 64  # what an argument that counts may be, also in a file of few and small tensors
_WINDOW = 2**16  # what one called window may be: the pixels that a mean is over, which take no weights

Output = Literal["like_input", "own", "labels"]
Fit = Literal["squeeze", "keep"]


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says beside the architecture and its weights.

    Attributes:
        output: "like_input": a grey picture stays grey, as in super-resolution. "own": what leaves the
            network decides, as in translation. "labels": each channel says how likely the class of a pixel
            is, and a label map is made of them, as in segmentation.
        size: (height, width) in pixels that it was trained at and works best with, or None for any; one
            number is a square.
        palette: The colours of the label maps that it was trained on, one input channel for each; None for
            pictures.
        nearest: Whether its inputs must be resized without mixing colours, as label maps must.
        range, target_range: Black and white in the numbers of the pictures that go in and that come out;
            None where they are those of the depth.
        fit: How pictures of other proportions come to `size`: "squeeze" makes exactly that of them, "keep"
            leaves their proportions, with neither side smaller than that.
        attributes: What the numbers of a vector stand for that the network takes, by the name of the
            condition: {"attributes": ("Blond_Hair", "Male")}. Empty where that is not known.
        exclusive: Those among their names of which one at most holds for a picture, in groups:
            (("Black_Hair", "Blond_Hair"),). Of classes they are one group.
        labels: The classes of the label maps that it makes; None for pictures.
        adversarial: Whether it was trained with a discriminator, as a GAN is; None where nobody knows.
        synthetic: Whether its results say in their files that a network made them: they are other pictures
            than its inputs, or hold detail that a GAN made up.
        origin: Where it comes from, for people: {"layout": "ESRGAN, old", "file": "4x_foo.pth"}.
    """

    output: Output = "like_input"
    size: tuple[int, int] | None = None
    origin: Mapping[str, str] = field(default_factory=dict)
    palette: tuple[tuple[int, ...], ...] | None = None
    nearest: bool = False
    range: ValueRange | None = None
    target_range: ValueRange | None = None
    fit: Fit = "squeeze"
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclusive: tuple[tuple[str, ...], ...] = ()
    labels: LabelSet | None = None
    adversarial: bool | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        """Makes one side length a pair."""
        given: object = self.size
        if isinstance(given, int):
            object.__setattr__(self, "size", (given, given))


def plain_size(size: tuple[int, int] | None) -> int | list[int] | None:
    """Returns (height, width) as JSON has it: one number for a square, as older versions know it."""
    return size[0] if size and size[0] == size[1] else size and list(size)


def save_model(
    path: str | PathLike[str], generator: Generator, info: ModelInfo, dtype: torch.dtype = torch.float32
) -> None:
    """Writes `generator` and everything needed to use it into one file, or nothing at all.

    Args:
        path: The file.
        generator: The network.
        info: What else the file says.
        dtype: What weights are stored as: torch.float32, torch.bfloat16 or torch.float16.

    Raises:
        ModelError: A constructor argument cannot be written as JSON, a weight is too large for `dtype`, names
            are not those of a vector of the network, or the file cannot be stored.
    """
    if generator.spec.name not in generators:
        raise ModelError(
            f"cannot be written: {generator.spec.name!r} is not an architecture of img2img; "
            "use the file that the network came from.",
            path,
        )
    attributes = {name: list(names) for name, names in info.attributes.items()}
    if not _are_attributes(attributes) or _misnamed(attributes, generator):
        raise ModelError(f"cannot be written: {attributes} names no numbers of its network.", path)
    exclusive = [list(names) for names in info.exclusive]
    if not _are_groups(exclusive, attributes):
        raise ModelError(f"cannot be written: {exclusive} are no groups of its attributes.", path)
    if (info.labels is not None) != (info.output == "labels") or _unfit(info.labels, generator):
        raise ModelError(f"cannot be written: its network does not make {info.labels}.", path)
    buffers = {name for name, _ in generator.named_buffers(remove_duplicate=False)}
    state = {
        name: value.detach().cpu().contiguous().clone()
        if name in buffers
        else _stored(value, dtype, name, path)
        for name, value in generator.state_dict().items()
    }
    header = header_of(generator, info, fingerprint(state))
    try:
        text = json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"its arguments do not fit into JSON ({error}): {generator.spec}", path) from None
    data = safetensors.torch.save(state, {KEY: text})
    try:
        write_bytes(data, path)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror or error}", path) from error


def header_of(generator: Generator, info: ModelInfo, sha256: str) -> dict[str, Any]:
    """Returns the JSON object of a model file, see above; `sha256` is that of its weights."""
    plain = info.range is info.target_range is None and info.fit == "squeeze"
    told_apart = len(info.labels) + (info.labels.ignore is not None) if info.labels else 0
    many = max(len(info.palette or ()), told_apart) > MOST_COLOURS
    header = _facts(generator) | {
        "format": 5 if many else 4 if info.labels else 3 if generator.conditions else 1 if plain else 2,
        "output": info.output,
        "size": plain_size(info.size),
        "fit": info.fit,
        "origin": dict(info.origin),
        "palette": info.palette,
        "nearest": info.nearest,
        "range": info.range,
        "target_range": info.target_range,
        "sha256": sha256,
    }
    if generator.conditions:
        header["attributes"] = {name: list(names) for name, names in info.attributes.items()}
        header["exclusive"] = [list(names) for names in info.exclusive]
    else:  # as older versions write it
        del header["conditions"]
    if info.labels is not None:
        header["labels"] = {
            "palette": info.labels.palette,
            "names": info.labels.names,
            "ignore": info.labels.ignore,
        }
    if info.adversarial is not None:
        header["adversarial"] = info.adversarial
    if info.synthetic:
        header["synthetic"] = True
    return header


def _stored(weight: Tensor, dtype: torch.dtype, name: str, path: str | PathLike[str]) -> Tensor:
    """Returns a copy of `weight` as it is stored."""
    weight = weight.detach().cpu()
    stored = weight.to(dtype, memory_format=torch.contiguous_format, copy=True)
    if bool((stored.isinf() & weight.isfinite()).any()):
        raise ModelError(
            f"cannot be written in {str(dtype).removeprefix('torch.')}: {name} holds a weight of "
            f"{float(weight.abs().max()):g}, and the largest there is {torch.finfo(dtype).max:g}; take bf16 "
            "or fp32.",
            path,
        )
    return stored


def open_model(path: str | PathLike[str]) -> tuple[Generator, ModelInfo]:
    """Opens a model file: the network in evaluation mode, in fp32 on the CPU, and what the file says of it.

    Raises:
        UnknownModelError: It is a safetensors file of somebody else.
        ModelError: It is damaged, was written by a newer version, or contradicts itself.
    """
    header = read_header(path)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or KEY not in metadata:
        raise UnknownModelError(
            "is a safetensors file without the header of img2img; "
            "`img2img model import` converts it if its layout is known.",
            path,
        )
    facts, info = read_header_of(metadata[KEY], path)
    spec = ArchSpec(facts["architecture"], facts["arguments"])
    # the shapes in the header are compared before the weights are read
    _fit(spec, {name: tuple(entry["shape"]) for name, entry in header.items()}, path)
    state = read_tensors(path)
    if facts["sha256"] != fingerprint(state):
        raise ModelError("is damaged: its weights are not the ones that were saved; copy it again.", path)
    generator = restore(spec, state, path)
    found = _facts(generator)
    # an argument that is younger than the file has its default
    found["arguments"] = {name: found["arguments"][name] for name in facts["arguments"]}
    facts = {"conditions": {}} | facts
    for name, value in found.items():
        if facts[name] != value:
            raise ModelError(
                f"contradicts itself: it says {name} {_short(facts[name])}, its network has {value}.", path
            )
    check_names(info, generator, path)
    return generator, info


def read_header_of(text: Any, path: str | PathLike[str]) -> tuple[dict[str, Any], ModelInfo]:
    """Returns the JSON object that `header_of` made, and what it says beside the network.

    Everything in it is checked, except for what only the network itself can tell.

    Raises:
        ModelError: It is damaged, or was written by a newer version.
    """
    facts = _parse(text, path)
    palette, size = facts.get("palette"), facts.get("size")
    info = ModelInfo(
        facts["output"],
        tuple(size) if isinstance(size, list) else size,
        facts["origin"],
        None if palette is None else tuple(map(tuple, palette)),
        facts.get("nearest") is True,
        **{key: ValueRange(*facts[key]) for key in ("range", "target_range") if facts.get(key)},
        fit=facts.get("fit", "squeeze"),
        attributes={name: tuple(names) for name, names in facts.get("attributes", {}).items()},
        exclusive=tuple(map(tuple, facts.get("exclusive", []))),
        labels=_labels(facts.get("labels")),
        adversarial=facts.get("adversarial"),
        synthetic=facts.get("synthetic", False),
    )
    return facts, info


def check_names(info: ModelInfo, generator: Generator, path: str | PathLike[str]) -> None:
    """Makes sure that a network has what the names in its file are for.

    Raises:
        ModelError: It takes no such vector, or makes another number of classes.
    """
    if wrong := _misnamed(info.attributes, generator):
        raise ModelError(
            f"contradicts itself: its network takes no vector {_short(wrong)} of "
            f"{len(info.attributes[wrong])} numbers.",
            path,
        )
    if _unfit(info.labels, generator):
        raise ModelError(
            f"contradicts itself: it tells {len(info.labels or ())} classes apart, its network makes "
            f"{generator.out_channels} channels.",
            path,
        )


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of names, types, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def restore(
    spec: ArchSpec, state: Mapping[str, Tensor], path: str | PathLike[str] | None = None
) -> Generator:
    """Builds the network of `spec` with the weights `state`, in evaluation mode, in fp32 on the CPU.

    Args:
        spec: The architecture.
        state: Its tensors by their names in the network; weights are floating-point numbers of any precision.
        path: The file they come from, for messages.

    Raises:
        ModelError: Names or shapes do not fit, the architecture refuses its arguments, or a weight is not
            a finite number.
    """
    generator = _fit(spec, {name: tuple(value.shape) for name, value in state.items()}, path)
    expected = generator.state_dict()
    for name, value in state.items():
        if expected[name].is_floating_point() or value.is_complex():
            require_weight(name, value, path)
    ready = {name: value.to(expected[name].dtype, copy=True) for name, value in state.items()}
    for name, value in ready.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"holds values that are not finite numbers, for example in {name}.", path)
    generator.load_state_dict(ready, assign=True)
    if any(buffer.is_meta for buffer in generator.buffers()):  # constants that no state dict holds
        with torch.random.fork_rng(devices=[]):
            generator = build(spec)
        generator.load_state_dict(ready)
    return generator.eval()


def require_weight(name: str, value: Tensor, path: str | PathLike[str] | None = None) -> None:
    """Makes sure that a tensor holds weights, which are no whole numbers.

    Raises:
        ModelError: It holds something else.
    """
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise ModelError(
            f"holds {kind} numbers where weights belong, for example in {_short(name)}; weights are "
            "fp32, fp64, bf16, fp16 or fp8. Of a quantized model take the one that was quantized.",
            path,
        )


def read_header(path: str | PathLike[str]) -> dict[str, Any]:
    """Returns the header of any safetensors file: tensors by name, and `__metadata__` if it has one.

    Nothing but the header is read, and its size is checked before.

    Raises:
        ModelError: The file cannot be read, is truncated, or is not a safetensors file.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise ModelError(
                    f"is truncated or not a safetensors file: its header should take {length} bytes, "
                    f"the file has {size}.",
                    path,
                )
            if length > MAX_HEADER:
                raise ModelError(
                    f"has a header of {length} bytes; more than {MAX_HEADER} is no model's.", path
                )
            text = file.read(length)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", path) from error
    try:
        header = json.loads(text)
        ends = [_end(name, entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ModelError(
            "is not a safetensors file: its header is not the JSON that it should be.", path
        ) from None
    except ModelError as error:
        raise ModelError(error.reason, path) from None
    if 8 + length + max(ends, default=0) > size:
        missing = 8 + length + max(ends) - size
        raise ModelError(f"is truncated: {missing} bytes are missing at its end; copy it again.", path)
    return dict(header)


def read_tensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Returns the tensors of any safetensors file.

    Raises:
        ModelError: The file cannot be read or is damaged.
    """
    read_header(path)
    try:
        with open_regular(path) as file:
            return safetensors.torch.load(file.read())
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", path) from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"is damaged: {error}.", path) from error


def _end(name: str, entry: Mapping[str, Any]) -> int:
    """Returns where the data of a header entry ends.

    Raises:
        ModelError: Its shape takes another number of bytes than it says, or its type is not read.
        TypeError, KeyError, ValueError: It is nonsense.
    """
    start, end = entry["data_offsets"]
    bits, shape = _BITS.get(entry["dtype"]), entry["shape"]
    if not all(type(n) is int and 0 <= n < 2**63 for n in (start, end, *shape)) or len(shape) > 64:
        raise ValueError
    if bits is None:
        raise ModelError(f"holds tensors of the type {_short(entry['dtype'])}, for example {_short(name)}.")
    count = 1
    for n in shape:
        count = min(count * n, 2**63)  # however long the shape is, the number stays short
    if count * bits != 8 * (end - start):
        raise ModelError(
            f"is damaged: {_short(name)} is said to be {_short(str(tuple(shape)))} and to take "
            f"{end - start} bytes; both cannot be."
        )
    return int(end)


def _short(text: Any) -> str:
    """Returns a name out of a file for a message."""
    text = display_path(str(text))
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _facts(generator: Generator) -> dict[str, Any]:
    """Returns what the header says of the network itself, as JSON reads it back."""
    colours: dict[int, str | int] = {1: "grey", 3: "RGB"}
    facts = {
        "architecture": generator.spec.name,
        "arguments": generator.spec.arguments,
        "scale": generator.scale,
        "in_channels": generator.in_channels,
        "out_channels": generator.out_channels,
        "input_range": list(generator.input_range),
        "output_range": list(generator.output_range),
        "colour": colours.get(generator.out_channels, generator.out_channels),
        "conditions": describe(generator.conditions),
    }
    return facts


def _parse(text: Any, path: str | PathLike[str]) -> dict[str, Any]:
    """Checks our JSON object, except for what only the network itself can tell."""
    try:
        facts = json.loads(text)
        version = facts["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ModelError("has a header that img2img did not write; it is damaged.", path) from None
    if type(version) is int and version > FORMAT:
        raise ModelError(
            f"was written by a newer img2img (format {version}, this one reads up to {FORMAT}); "
            "upgrade with `pip install -U img2img`.",
            path,
        )
    right = {
        "format": type(version) is int and 1 <= version <= FORMAT,
        "architecture": isinstance(facts.get("architecture"), str),
        "arguments": isinstance(facts.get("arguments"), dict),
        "output": facts.get("output") in get_args(Output),
        "size": _is_size(facts.get("size")),
        "fit": facts.get("fit", "squeeze") in get_args(Fit),
        "origin": isinstance(facts.get("origin"), dict)
        and all(isinstance(value, str) for value in facts["origin"].values()),
        "sha256": isinstance(facts.get("sha256"), str),
        "palette": _is_palette(facts.get("palette")),
        "adversarial": isinstance(facts.get("adversarial"), bool | None),
        "synthetic": isinstance(facts.get("synthetic", False), bool),
        "range": _is_range(facts.get("range")),
        "target_range": _is_range(facts.get("target_range")),
        "conditions": isinstance(facts.get("conditions", {}), dict)
        and (version in (4, 5) or bool(facts.get("conditions")) == (version == 3)),
        "attributes": _are_attributes(facts.get("attributes", {})),
        "exclusive": _are_groups(facts.get("exclusive", []), facts.get("attributes", {})),
        "labels": _is_label_set(facts.get("labels"))
        and (facts.get("output") == "labels") == (facts.get("labels") is not None)
        and (version == 5 or (version == 4) == (facts.get("output") == "labels")),
    } | {
        name: name in facts
        for name in ("scale", "in_channels", "out_channels", "input_range", "output_range", "colour")
    }
    if wrong := [name for name, is_right in right.items() if not is_right]:
        raise ModelError(f"has a damaged header: {', '.join(wrong)} missing or wrong.", path)
    return dict(facts)


def _is_size(value: Any) -> bool:
    """Returns whether `value` is None, a side length, or a height and a width."""
    sides = value if isinstance(value, list) else [value] * 2
    return value is None or (len(sides) == 2 and all(type(side) is int and side > 0 for side in sides))


def _is_range(value: Any) -> bool:
    """Returns whether `value` is None or two finite numbers, the smaller one first."""
    if value is None:
        return True
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(number) in (int, float) and abs(number) < _LARGEST for number in value)
        and value[0] < value[1]
    )


def _are_attributes(value: Any) -> bool:
    """Returns whether `value` maps names to lists of different names, all of them short and visible."""
    if not isinstance(value, dict):
        return False
    for key, names in value.items():
        if not isinstance(key, str) or not isinstance(names, list) or not names:
            return False
        if not all(
            isinstance(name, str) and 0 < len(name) <= _LONGEST and name.isprintable() for name in names
        ):
            return False
        if len(set(names)) < len(names):
            return False
    return True


def _are_groups(value: Any, attributes: Any) -> bool:
    """Returns whether `value` is a list of groups of two names or more of one vector in `attributes` each."""
    if value == []:
        return True
    return (
        isinstance(value, list)
        and _are_attributes(attributes)
        and all(
            isinstance(group, list)
            and len(group) > 1
            and all(isinstance(name, str) for name in group)
            and any(set(group) <= set(names) for names in attributes.values())
            for group in value
        )
    )


def _misnamed(attributes: Mapping[str, Sequence[str]], generator: Generator) -> str | None:
    """Returns a name in `attributes` that is no vector of the network, or one of another length."""
    for name, names in attributes.items():
        known = generator.conditions.get(name)
        if not isinstance(known, Vector) or known.size not in (None, len(names)):
            return name
    return None


def _labels(value: Any) -> LabelSet | None:
    """Returns the classes that a checked header names."""
    if value is None:
        return None
    ignore = value["ignore"]
    palette = tuple(map(tuple, value["palette"]))
    return LabelSet(palette, tuple(value["names"]), None if ignore is None else tuple(ignore))


def _unfit(labels: LabelSet | None, generator: Generator) -> bool:
    """Returns whether there are classes, and not as many as the network has channels."""
    return labels is not None and len(labels) != generator.out_channels


def _is_label_set(value: Any) -> bool:
    """Returns whether `value` is None or names classes by colours of 1 or 3 levels, with or without names."""
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != {"palette", "names", "ignore"}:
        return False
    palette, names, ignore = value["palette"], value["names"], value["ignore"]
    if not isinstance(palette, list) or not isinstance(names, list):
        return False
    if not _is_palette([*palette, *([] if ignore is None else [ignore])]) or len(palette[0]) not in (1, 3):
        return False
    distinct = len({tuple(colour) for colour in palette}) == len(palette)
    return distinct and (not names or (len(names) == len(palette) and _are_attributes({"names": names})))


def _is_palette(value: Any) -> bool:
    """Returns whether `value` is None or up to 65,536 colours of equally many integers."""
    if value is None:
        return True
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST
        and all(isinstance(colour, list) and 0 < len(colour) == len(value[0]) for colour in value)
        and all(type(level) is int and 0 <= level < 65536 for colour in value for level in colour)
    )


class _Frugal(TorchFunctionMode):
    """Leaves weights unfilled, and stops a network that becomes larger than the file it is built for.

    Filling is pointless on the meta device, and torch takes 150 MiB and seconds for it. The device spares the
    memory of the weights, but not that of the layers: a file of a few bytes may ask for millions of them.

    Args:
        tensors: How many tensors may be made.
    """

    def __init__(self, tensors: int) -> None:
        super().__init__()
        self._left = tensors

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.normal_ or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in _FACTORIES:
            self._left -= 1
            if self._left < 0:
                raise _TooLargeError
        return func(*args, **kwargs)


_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.tensor)


class _TooLargeError(Exception):
    """A network has more tensors than the file."""


def _fit(
    spec: ArchSpec, shapes: Mapping[str, tuple[int, ...]], path: str | PathLike[str] | None
) -> Generator:
    """Builds the network of `spec` without memory (on the meta device) and compares `shapes` with it."""
    refused = ModelError(f"asks for a network that its weights cannot fill: {_short(spec)}.", path)
    # a hostile header may ask for a billion blocks or channels: nothing that is counted is more than the
    # tensors are or than one is wide, and no more tensors are made than there are
    most = max([_FEW, len(shapes), *(n for shape in shapes.values() if 0 not in shape for n in shape)])
    for name, value in spec.arguments.items():
        if isinstance(value, list | tuple | dict):
            raise ModelError(f"has arguments that do not fit {_short(spec.name)}: {_short(name)}.", path)
        limit = _WINDOW if name == "window" else most
        if isinstance(value, int | float) and not 0 <= value <= limit:
            raise refused
    try:
        with torch.device("meta"), _Frugal(2 * len(shapes) + _FEW):
            generator = build(spec)
    except _TooLargeError:
        raise refused from None
    except ConfigError as error:
        raise ModelError(f"describes a network that this img2img cannot build: {error}", path) from error
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ModelError(f"has arguments that do not fit {spec.name}: {_short(error)}.", path) from error
    expected = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    where = f"does not fit {spec.name} {spec.arguments if len(str(spec.arguments)) < 400 else ''}".rstrip()
    if missing := [name for name in expected if name not in shapes]:
        raise ModelError(f"{where}: {_some(missing)} missing.", path)
    if extra := [name for name in shapes if name not in expected]:
        raise ModelError(f"{where}: it has no place for {_some(extra)}.", path)
    for name, shape in expected.items():
        if shape != shapes[name]:
            raise ModelError(f"{where}: {name} is {shapes[name]}, not {shape}.", path)
    return generator


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(_short, names[:3])) + rest
