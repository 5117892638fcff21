"""A network as a graph for any number of pictures of any size: a program of torch.export, and ONNX.

The older exporter of torch.onnx, which traces, is not used: it cannot write the instance norms, and a trace
holds the sizes of its example wherever a network computes with them.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from img2img.errors import ConfigError
from img2img.inference.conditions import typical
from img2img.inference.precision import DTYPES, in_precision
from img2img.interop.onnx_files import OnnxNetwork
from img2img.interop.onnx_runtime import first_line, require
from img2img.models import Generator
from img2img.models.dropout import Dropout
from img2img.models.norm import BatchNorm, InstanceNorm

PICTURE, RESULT = "input", "output"
PACKAGES = ("onnx", "onnxscript")  # what writes ONNX, beside ONNX Runtime, which checks it
OPSET = 20
MOST_BYTES = 2**31 - 2**24  # an ONNX file is one message of protobuf, which counts to 2 GiB
_SIDE = 32  # of the pictures that a network is tried on, where it takes any


class ExportError(Exception):
    """The network cannot be exported; the text is a sentence."""


class _Positional(nn.Module):
    """A network whose conditions come in order, and whose result is fp32."""

    def __init__(self, generator: Generator, names: tuple[str, ...]) -> None:
        super().__init__()
        self.network, self.names = generator, names

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        result: Tensor = self.network(x, **dict(zip(self.names, given, strict=True)))
        return result.float()


def input_names(generator: Generator) -> tuple[str, ...]:
    """Returns the names of all inputs of the exported network: picture, conditions, noise."""
    return (PICTURE, *generator.conditions, *generator.placed(0, 0, 1, 1))


def obstacle(generator: Generator) -> str | None:
    """Returns a sentence about why `generator` cannot be exported as it is, or None."""
    if isinstance(generator, OnnxNetwork):
        return "it is an ONNX file already."
    if {PICTURE, RESULT} & set(generator.conditions):
        return f"a condition of it has the name of {PICTURE} or {RESULT}."
    return bound_to_a_picture(generator)


def bound_to_a_picture(generator: Generator) -> str | None:
    """Returns a sentence about what holds `generator` to the picture that it has seen last, or None."""
    for layer in generator.modules():
        if isinstance(layer, Dropout) and layer.seed is not None:
            return "dropout is on, and its mask depends on the size of the picture."
        if isinstance(layer, InstanceNorm | BatchNorm) and layer.statistics is not None:
            return "the statistics of its norms are frozen for one picture."
    return None


def program_of(generator: Generator, precision: str = "fp32") -> ExportedProgram:
    """Returns the network as torch.export sees it, for any batch, height and width.

    Args:
        generator: In fp32, on the CPU, in evaluation mode.
        precision: "fp32", or "fp16" for a network that computes in it but for its output layers; input and
            output are fp32 in any case.

    Raises:
        ExportError: It cannot be exported.
    """
    network = generator if precision == "fp32" else in_precision(generator, DTYPES[precision])
    names = input_names(generator)
    unit = generator.multiple_of
    least = max(1, math.ceil(generator.minimum_size / unit))
    batch, rows, columns = Dim("batch", min=1), Dim("rows", min=least), Dim("columns", min=least)
    height, width = (unit * rows, unit * columns) if unit > 1 else (rows, columns)
    # sizes of 1 would be taken for constants
    units = max(2, least, math.ceil(_SIDE / unit))
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        given = sample(generator, 2, units * unit, (units + 1) * unit)
        dynamic = [{0: batch, 2: height, 3: width} if value.ndim == 4 else {0: batch} for value in given]
        shapes = (dynamic[0], tuple(dynamic[1:])) if given[1:] else (dynamic[0],)
        try:
            return torch.export.export(
                _Positional(network, names[1:]).eval(), tuple(given), dynamic_shapes=shapes, strict=False
            )
        except Exception as error:  # whatever a network does that has no place in a graph
            raise ExportError(
                f"torch.export cannot follow {generator.spec.name} ({first_line(error)})."
            ) from error


def onnx_of(generator: Generator, precision: str = "fp32") -> Any:
    """Returns the network as the `onnx.ModelProto` that a file of opset `OPSET` holds.

    Args:
        generator: See `program_of`.
        precision: See `program_of`.

    Raises:
        ExportError: It cannot be exported.
        ConfigError: The extra `onnx` is not installed.
    """
    require(*PACKAGES)
    size = sum(weight.numel() for weight in generator.parameters()) * DTYPES[precision].itemsize
    if size > MOST_BYTES:
        raise ExportError(
            f"its weights take {size / 2**30:.1f} GiB, and an ONNX file holds 2 GiB; export it in fp16, or "
            "for another format."
        )
    program = program_of(generator, precision)
    names = input_names(generator)
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        try:
            exported = torch.onnx.export(
                program, (), input_names=names, output_names=[RESULT], dynamo=True, opset_version=OPSET,
                verbose=False,
            )  # fmt: skip
        except Exception as error:  # whatever has no place in ONNX
            raise ExportError(
                f"{generator.spec.name} cannot be written as ONNX ({first_line(error)})."
            ) from error
        assert exported is not None
        model: Any = exported.model_proto
    _name_axes(model.graph, generator)
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        del node.metadata_props[:]  # lines of source code and their paths
    del model.graph.value_info[:]  # ONNX Runtime finds sizes by itself
    del model.metadata_props[:]
    return model


def sample(generator: Generator, count: int, height: int, width: int, seed: int = 0) -> list[Tensor]:
    """Returns noise for all inputs of the exported network, in the order of `input_names`."""
    random = torch.Generator().manual_seed(seed)
    low, high = generator.input_range
    x = torch.rand(count, generator.in_channels, height, width, generator=random) * (high - low) + low
    try:
        given = [x, *typical(generator, x).values()]
    except ConfigError as error:
        raise ExportError(str(error)) from error
    for plane in generator.placed(0, 0, height, width).values():
        given.append(torch.randn(count, *plane.shape, generator=random))
    return [value.contiguous() for value in given]


def sizes(generator: Generator) -> list[tuple[int, int, int]]:
    """Returns three small shapes (count, height, width) to compare on, none of which was exported with."""
    unit = generator.multiple_of
    units = math.ceil(max(_SIDE, generator.minimum_size) / unit)
    return [
        (1, (units + 1) * unit, units * unit),
        (1, units * unit, (units + 2) * unit),
        (3, units * unit, units * unit),
    ]


def _name_axes(graph: Any, generator: Generator) -> None:
    """Gives the axes of inputs and output the names that people know in place of numbered symbols."""
    scale = "" if generator.scale == 1 else f"{generator.scale}*"
    names = {True: ("batch", "", "height", "width"), False: ("batch", "", f"{scale}height", f"{scale}width")}
    for place, entry in [(True, e) for e in graph.input] + [(False, e) for e in graph.output]:
        for axis, name in zip(entry.type.tensor_type.shape.dim, names[place], strict=False):
            if axis.dim_param and name:
                axis.dim_param = name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what exporters say of their own parts: what they get wrong, a comparison finds."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
