"""Networks written for programs without img2img, and compared first: ONNX, OpenVINO, torch.export.

Each file says in its metadata, under `img2img`, in a JSON object, what a model file says, and beside it what
a program must know to use it::

    inputs                  names of the inputs: the picture, what goes with it, noise
    layout                  "NCHW", channels in the order of `colour`
    multiple_of, minimum_size
                            what sides must be multiples of, and not smaller than: pad, and crop the result
    tiling, receptive_field "local": tiles with so many pixels around them equal the whole;
                            "global_statistics", "none": a picture goes in as a whole
    live_features           values alive at once per input pixel, for a guess of the memory
    noise                   channels of normally distributed noise that it takes, 0 for none
    precision               "fp32" or "fp16", inside; inputs and output are fp32
    name, license, source, img2img
                            of the model, as far as known, and the version that wrote it
    check                   shapes that it was compared on, and the largest difference found
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.export import ExportedProgram

from img2img import __version__
from img2img.checkpoint import KEY, ModelInfo, fingerprint, header_of
from img2img.errors import ConfigError, ModelError, ProcessingError, display_path
from img2img.files import replacing, write_bytes
from img2img.inference import openvino
from img2img.inference.program import (
    PACKAGES,
    ExportError,
    input_names,
    obstacle,
    onnx_of,
    program_of,
    sample,
    sizes,
)
from img2img.interop.onnx_runtime import OnnxError, Session, first_line, require
from img2img.models import Generator
from img2img.registry import unknown

ExportFormat = Literal["onnx", "openvino", "pt2"]
SUFFIXES: Mapping[str, str] = {"onnx": ".onnx", "openvino": ".xml", "pt2": ".pt2"}
PRECISIONS = ("fp32", "fp16")
TOLERANCE = {"fp32": 5e-4, "fp16": 2e-2}
"""What may differ, as a share of the network's range: 1e-3 in [-1, 1]. fp16 has 11 bits, and many layers."""

Compute = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Agreement:
    """How an exported network compares with the one that it was made of.

    Attributes:
        shapes: (N, C, H, W) of the pictures that both were run on.
        difference: The largest absolute one found, in the numbers of the output.
        allowed: What would have been too much.
    """

    shapes: list[tuple[int, ...]]
    difference: float
    allowed: float


def export_model(
    generator: Generator,
    info: ModelInfo,
    path: Path,
    format: ExportFormat | None = None,
    precision: str = "fp32",
    *,
    name: str = "",
    license: str = "",
    source: str = "",
    overwrite: bool = False,
) -> Agreement:
    """Writes a network for programs without img2img, or nothing.

    It takes any number of pictures of any size that it ever takes. What is written is read again and compared
    with the network first, on three shapes that it was not exported with. A network that learned in several
    branches is written as the plain one that it is. Dropout is off. Noise is an input where it has a value of
    its own at every place, and that of seed 0 otherwise.

    Args:
        generator: In fp32, in evaluation mode.
        info: What its file says.
        path: NAME.onnx, NAME.xml (with NAME.bin beside it) or NAME.pt2.
        format: "onnx", "openvino" or "pt2"; None goes by the name.
        precision: "fp32", or "fp16": half as large. ONNX and pt2 then compute in it but for the output
            layers, OpenVINO stores weights in it and computes in what the device has.
        name, license, source: Of the model, for the metadata.
        overwrite: Whether a file that is there is replaced.

    Returns:
        The comparison.

    Raises:
        ConfigError: There is no such format or precision, the name does not fit it, a file is there, or the
            network cannot be exported.
        ModelError: The result differs from the network, or could not be stored.
    """
    format = check_request(path, format, precision, overwrite)
    generator = generator.exported().to("cpu").eval()
    if reason := obstacle(generator):
        raise ConfigError(f"the model cannot be exported: {reason}")
    if precision == "fp16" and not generator.half_precision:
        raise ConfigError(
            f"{generator.spec.name} does not compute well in half precision; export it in fp32."
        )
    facts = facts_of(generator, info, precision) | {"name": name, "license": license, "source": source}
    try:
        return _WRITERS[format](generator, path, precision, facts)
    except ExportError as error:
        raise ConfigError(f"the model cannot be exported: {error}") from error
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror or error}", path) from error


def check_request(path: Path, format: str | None, precision: str, overwrite: bool) -> ExportFormat:
    """Returns the format; makes sure that what is asked for makes sense, before anything is loaded.

    Raises:
        ConfigError: See `export_model`.
    """
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    format = format or by_suffix.get(path.suffix.lower())
    if format is None:
        raise ConfigError(
            f"which format is meant by {str(path)!r}? Names end in {', '.join(by_suffix)} "
            f"for {', '.join(SUFFIXES)}."
        )
    if format not in SUFFIXES:
        raise ConfigError(unknown("format", format, get_args(ExportFormat)))
    if path.suffix.lower() != SUFFIXES[format]:
        raise ConfigError(
            f"a file of the format {format} is called NAME{SUFFIXES[format]}, not {path.name!r}."
        )
    if precision not in PRECISIONS:
        raise ConfigError(unknown("precision", precision, PRECISIONS))
    if not path.parent.is_dir():
        raise ConfigError(f"the folder of {path} does not exist.")
    for file in files_of(path, format):
        if file.is_dir():
            raise ConfigError(f"{file} is a folder; name a file that does not exist.")
        if file.exists() and not overwrite:
            raise ConfigError(f"{file} is there already. `overwrite` replaces it.")
    if format == "onnx":
        require(*PACKAGES)
    if format == "openvino" and openvino.version() is None:
        raise ConfigError("OpenVINO is not installed; `pip install 'img2img[openvino]'` does that.")
    return format  # type: ignore[return-value]


def facts_of(generator: Generator, info: ModelInfo, precision: str) -> dict[str, Any]:
    """Returns what the metadata says, see the module."""
    return header_of(generator, info, fingerprint(generator.state_dict())) | {
        "inputs": list(input_names(generator)),
        "layout": "NCHW",
        "multiple_of": generator.multiple_of,
        "minimum_size": generator.minimum_size,
        "tiling": generator.tiling,
        "receptive_field": generator.receptive_field,
        "live_features": generator.live_features,
        "noise": sum(plane.shape[0] for plane in generator.placed(0, 0, 1, 1).values()),
        "precision": precision,
        "img2img": __version__,
    }


def compare(generator: Generator, compute: Compute, precision: str) -> Agreement:
    """Compares an exported network with the one that it was made of.

    Raises:
        ExportError: They differ by more than `TOLERANCE`, or in what they make of a shape.
    """
    low, high = generator.output_range
    shapes, worst, allowed = [], 0.0, 0.0
    for seed, shape in enumerate(sizes(generator), 1):
        given = sample(generator, *shape, seed)
        by_name = dict(zip(input_names(generator), given, strict=True))
        with torch.inference_mode():
            expected = generator(given[0], **dict(list(by_name.items())[1:]))
            try:
                found = compute(by_name)
            except (RuntimeError, ProcessingError) as error:
                where = "x".join(map(str, given[0].shape))
                raise ExportError(f"what was made of it fails on {where} ({first_line(error)}).") from error
        if found.shape != expected.shape:
            raise ExportError(
                f"of {tuple(given[0].shape)} it makes {tuple(found.shape)}, and the network "
                f"{tuple(expected.shape)}; nothing was written."
            )
        limit = TOLERANCE[precision] * max(high - low, float(expected.abs().max()))
        difference = float((found - expected).abs().max())
        if not difference <= limit:
            raise ExportError(
                f"on {tuple(given[0].shape)} it is {difference:.1e} away from the network, more than "
                f"{limit:.1e}; nothing was written."
            )
        shapes.append(tuple(given[0].shape))
        worst, allowed = max(worst, difference), max(allowed, limit)
    return Agreement(shapes, worst, allowed)


def _text(facts: dict[str, Any], found: Agreement | None) -> str:
    check = None if found is None else {"shapes": found.shapes, "largest_difference": found.difference}
    return json.dumps(facts | {"check": check}, allow_nan=False)


def _write_onnx(generator: Generator, path: Path, precision: str, facts: dict[str, Any]) -> Agreement:
    model = onnx_of(generator, precision)
    try:
        session = Session(model.SerializeToString())
    except OnnxError as error:
        raise ExportError(f"ONNX Runtime refuses it ({error}).") from error
    found = compare(generator, session, precision)
    model.metadata_props.add(key=KEY, value=_text(facts, found))
    write_bytes(model.SerializeToString(), path)
    return found


def _write_program(generator: Generator, path: Path, precision: str, facts: dict[str, Any]) -> Agreement:
    program = program_of(generator, precision)
    found = compare(generator, _computes(_reloaded(program)), precision)
    with replacing(path) as file:
        torch.export.save(program, file, extra_files={f"{KEY}.json": _text(facts, found)})
    return found


def _reloaded(program: ExportedProgram) -> ExportedProgram:
    """Returns what a reader gets."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer)


def _computes(program: ExportedProgram) -> Compute:
    module = program.module(check_guards=False)  # they refuse sizes that kernels were not looked up for

    def compute(given: Mapping[str, Tensor]) -> Tensor:
        result: Tensor = module(*given.values())
        return result

    return compute


def _write_openvino(generator: Generator, path: Path, precision: str, facts: dict[str, Any]) -> Agreement:
    program = program_of(generator)
    folder = Path(tempfile.mkdtemp(prefix=".img2img-", dir=path.parent))
    try:
        graph = folder / path.name
        model = openvino.model_of(program, input_names(generator))
        openvino.save(model, graph, precision == "fp16", {})
        found = compare(generator, openvino.reader(graph), precision)
        openvino.save(model, graph, precision == "fp16", {KEY: _text(facts, found)})
        _exchange(folder, [path.with_suffix(".bin"), path])
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot convert it ({first_line(error)}).") from error
    finally:
        if not (folder / "before").exists():  # else it holds what could not be put back
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _exchange(folder: Path, files: Sequence[Path]) -> None:
    """Gives new files that belong together, in `folder`, their final names in the place of those of before.

    No two names are given in one step: the last of them, with which readers begin, is free until all others
    are given, so that nobody opens a file of before with one of now. After a failure those of before are
    back. Until they are, or are not needed any more, they lie in a folder "before" in `folder`.

    Raises:
        OSError: Those of before are there, unchanged.
        ModelError: Those of before could not be put back; the message says where they are.
    """
    for file in files:
        with (folder / file.name).open("rb+") as made:  # whole on the disk before anything is taken away
            os.fsync(made.fileno())
    before = folder / "before"
    before.mkdir()
    try:
        for file in reversed(files):
            if os.path.lexists(file):
                file.replace(before / file.name)
        for file in files:
            (folder / file.name).replace(file)
    except BaseException:
        try:
            for file in reversed(files):
                if not (folder / file.name).exists():
                    file.unlink(missing_ok=True)
            for file in files:
                if os.path.lexists(before / file.name):
                    (before / file.name).replace(file)
            before.rmdir()
        except OSError as error:
            raise ModelError(
                f"could not be replaced, and what was there not be put back ({error.strerror or error}): it "
                f"lies in {display_path(before)}. Move it back from there.",
                files[-1],
            ) from error
        raise
    shutil.rmtree(before, ignore_errors=True)


def files_of(path: Path, format: str) -> list[Path]:
    """Returns the files that an export to `path` writes."""
    return [path, path.with_suffix(".bin")] if format == "openvino" else [path]


_WRITERS: Mapping[str, Callable[[Generator, Path, str, dict[str, Any]], Agreement]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "pt2": _write_program,
}
