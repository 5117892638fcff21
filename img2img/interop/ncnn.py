"""Files of ncnn, as Upscayl and its like use them: a graph in text (`.param`), its numbers in a row (`.bin`).

Names in a graph say nothing: what a layer is follows from what it takes. So a graph is a set of equations,
each found by its operation and its inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from img2img.errors import ModelError, UnknownModelError, display_path
from img2img.files import open_regular, read_regular

MAGIC = b"7767517"
_LARGEST = 16 * 2**20  # bytes of text: x4plus has 116 thousand
_HALF, _FLOAT, _INT8 = 0x01306B47, 0x0002C056, 0x000D4B38  # what stands before weights; 0 is float, too
_ARRAY = -23300

Key = tuple[object, ...]


class Value(NamedTuple):
    """What a layer makes, and the index of the layer."""

    layer: int
    place: int = 0


@dataclass(frozen=True)
class Layer:
    """A line of the graph with the numbers that belong to it.

    Attributes:
        kind, name: As written.
        settings: By number; lists where they are lists.
        weights: What the `.bin` holds for it, in its order.
    """

    kind: str
    name: str
    settings: dict[int, float | list[float]] = field(default_factory=dict)
    weights: list[Tensor] = field(default_factory=list)

    def number(self, key: int, default: float = 0) -> float:
        """Returns one setting; of a list the first."""
        value = self.settings.get(key, default)
        return value if isinstance(value, int | float) else (value or [default])[0]

    def __str__(self) -> str:
        return f"{display_path(self.kind)[:40]} {display_path(self.name)[:60]!r}"


class Graph:
    """The layers, found by what they do.

    Args:
        path: The `.param` file.

    Raises:
        UnknownModelError: A layer is of a kind that is not known here.
        ModelError: The files are damaged, do not fit each other, or one of them is missing.
    """

    def __init__(self, path: Path) -> None:
        self.layers: list[Layer] = []
        self.input = self.output = Value(-1)
        self._found: dict[Key, Value] = {}
        self._used: set[int] = set()
        try:
            lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
            with open_regular(path.with_suffix(".bin")) as file:
                self._read(lines, _Binary(file))
        except FileNotFoundError:
            numbers = display_path(path.with_suffix(".bin").name)
            raise ModelError(f"is the graph of an ncnn model; {numbers} is not beside it.", path) from None
        except OSError as error:
            raise ModelError(f"cannot be read, or its .bin: {error.strerror or error}.", path) from None
        except (ValueError, LookupError, OverflowError) as error:
            raise ModelError(f"is no graph of ncnn that can be read ({error}).", path) from None
        except ModelError as error:
            raise type(error)(error.reason, path) from None

    def _read(self, lines: list[str], numbers: _Binary) -> None:
        rows = [line.split() for line in lines if line.strip()]
        if int(rows[1][0]) != len(rows) - 2:
            raise ModelError(f"is damaged: it announces {int(rows[1][0])} layers and has {len(rows) - 2}.")
        values: dict[str, Value] = {}
        for kind, name, inputs, outputs, *rest in rows[2:]:
            taken, made = int(inputs), int(outputs)
            if min(taken, made) < 0 or len(rest) < taken + made:
                raise ModelError(f"is damaged in the layer {display_path(name)[:60]!r}.")
            layer = Layer(kind, name, dict(map(_setting, rest[taken + made :])))
            sources = [values[blob] for blob in rest[:taken]]
            layer.weights.extend(numbers.of(layer))
            index = len(self.layers)
            self.layers.append(layer)
            if kind in ("Split", "Noop", "Dropout"):  # all its results are its input
                self._used.add(index)
                results = sources[:1] * made
            else:
                results = [self._file(layer, index, sources)] * made
            values |= dict(zip(rest[taken : taken + made], results, strict=True))
            if results:
                self.output = results[-1]
        numbers.finish()

    def _file(self, layer: Layer, index: int, sources: list[Value]) -> Value:
        """Enters a layer under what it does; returns its result."""
        if layer.kind == "Input":
            self.input = Value(index)
            self._used.add(index)
            return self.input
        result = None
        for step, key in enumerate(_equations(layer, sources)):
            inputs = tuple(result if part is _BEFORE else part for part in key)
            if key[0] in ("add", "mul"):
                inputs = (key[0], *sorted(inputs[1:]))  # type: ignore[type-var]
            result = Value(index, step)
            self._found[inputs] = result
        if result is None and layer.kind == "Interp" and sources[:1] == [self.output]:
            raise UnknownModelError(
                f"resizes what its network made, by the layer {layer}. Take the file of this model at its "
                "own scale; img2img resizes the result of that to any factor."
            )
        if result is None:
            raise UnknownModelError(
                f"has a layer that is not known, {layer}; of ncnn's models those of RRDBNet (ESRGAN, "
                "Real-ESRGAN), the compact network and SPAN are read."
            )
        return result

    def has(self, kind: str, *inputs: object) -> Value | None:
        """Returns what the layer makes that does this, or None; see `_equations` for the words."""
        inputs = tuple(sorted(inputs)) if kind in ("add", "mul") else inputs  # type: ignore[type-var]
        result = self._found.get((kind, *inputs))
        if result is not None:
            self._used.add(result.layer)
        return result

    def take(self, kind: str, *inputs: object) -> Value:
        """Returns the same of a layer that must be there.

        Raises:
            UnknownModelError: It is not; the first layer that nobody asked for is named.
        """
        result = self.has(kind, *inputs)
        if result is None:
            raise self.unknown()
        return result

    def unknown(self) -> UnknownModelError:
        """Returns the error that names the first layer that was not asked for."""
        left = (layer for index, layer in enumerate(self.layers) if index not in self._used)
        what = f"the layer {layer}" if (layer := next(left, None)) else "its end"
        return UnknownModelError(
            f"is an ncnn model of another network: {what} has no place in RRDBNet (ESRGAN, Real-ESRGAN), the "
            "compact network or SPAN, which are read."
        )

    def weights(self, value: Value) -> list[Tensor]:
        """Returns the numbers of the layer that makes `value`."""
        return self.layers[value.layer].weights

    def finish(self, result: Value) -> None:
        """Raises UnknownModelError unless `result` is the output and every layer was asked for."""
        if result != self.output or len(self._used) < len(self.layers):
            raise self.unknown()


_BEFORE = object()  # stands for the result of the equation before


def _equations(layer: Layer, sources: list[Value]) -> Iterator[Key]:
    """Yields what a layer does, step by step; nothing for one that is not known.

    conv x, leaky x slope, prelu x, silu x, sigmoid x, add x y, mul x y, subtract x y, plus x c, times x c,
    concat x y ..., nearest x n, shuffle x n, unshuffle x n, constant.
    """
    match layer.kind, sources:
        case "Convolution", [x]:
            side, stride, dilation = layer.number(1), layer.number(3, 1), layer.number(2, 1)
            square = layer.number(11, side) == side and layer.number(14, layer.number(4)) == side // 2
            activation = int(layer.number(9))
            if not square or (stride, dilation, layer.number(4)) != (1, 1, side // 2) or not side % 2:
                return
            if activation not in (0, 1, 2):
                return
            yield "conv", x
            if activation:
                yield "leaky", _BEFORE, round(layer.number(10), 4) if activation == 2 else 0.0
        case "PReLU", [x]:
            yield "prelu", x
        case "ReLU", [x]:
            yield "leaky", x, round(layer.number(0), 4)
        case "Swish", [x]:
            yield "silu", x
        case "Sigmoid", [x]:
            yield "sigmoid", x
        case "MemoryData", []:
            yield "constant", layer.name
        case "BinaryOp", [x] if layer.number(1) == 1:
            number = layer.number(2)
            match layer.number(0):
                case 0:
                    yield "plus", x, round(number, 4)
                case 1:
                    yield "plus", x, round(-number, 4)
                case 2:
                    yield "times", x, round(number, 4)
        case "BinaryOp", [x, y]:
            name = {0: "add", 1: "subtract", 2: "mul"}.get(int(layer.number(0)))
            if name:
                yield name, x, y
        case "Eltwise", [x, y] if layer.number(0) == 1:
            coefficients = layer.settings.get(1) or [1, 1]
            assert isinstance(coefficients, list)
            a, b = (round(number, 4) for number in coefficients)
            if a != 1 and b == 1:
                yield "times", x, a
                yield "add", _BEFORE, y
            elif a == 1 and b != 1:
                yield "times", y, b
                yield "add", _BEFORE, x
            elif a == b == 1:
                yield "add", x, y
        case "Concat", [_, _, *_] if layer.number(0) == 0:
            yield "concat", *sources
        case "Interp", [x] if layer.number(0) == 1 and layer.number(1) == layer.number(2):
            yield "nearest", x, int(layer.number(1))
        case "PixelShuffle", [x] if layer.number(1) == 0:
            yield "shuffle", x, int(layer.number(0))
        case "Reorg", [x] if layer.number(1) == 0:
            yield "unshuffle", x, int(layer.number(0))


def _setting(text: str) -> tuple[int, float | list[float]]:
    """Reads `6=1728`, `2=2.5e-01` or a list, `-23310=1,2.0e-01`."""
    key, _, value = text.partition("=")
    number = int(key)
    if number <= _ARRAY:
        return _ARRAY - number, [float(part) for part in value.split(",")[1:]]
    return number, int(value) if re.fullmatch(r"-?\d+", value) else float(value)


class _Binary:
    """Reads the `.bin` in the order of the layers, never more than there is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = file.seek(0, 2)
        file.seek(0)

    def of(self, layer: Layer) -> Iterator[Tensor]:
        """Yields the numbers of a layer in the shapes that torch has."""
        match layer.kind:
            case "Convolution":
                count, side, size = (int(layer.number(key)) for key in (0, 1, 6))
                if min(count, side, size) < 1 or size % (count * side**2) or layer.number(8):
                    raise ModelError(f"has a convolution of a kind that is not read, {layer}.")
                yield self._flagged(size, layer).view(count, -1, side, side)
                yield self._plain(count, layer) if layer.number(5) else torch.zeros(count)
            case "PReLU":
                yield self._plain(int(layer.number(0)), layer)
            case "MemoryData":
                sides = [int(layer.number(key)) for key in (0, 1, 11, 2)]
                yield self._plain(math.prod(side for side in sides if side), layer)

    def finish(self) -> None:
        """Raises ModelError if there is more than the layers need."""
        if self._left:
            raise ModelError(f"does not fit its .bin, which has {self._left} bytes more than it needs.")

    def _take(self, size: int, layer: Layer) -> bytes:
        if size > self._left or size < 0:
            raise ModelError(
                f"does not fit its .bin, which ends in the layer {layer}; they are of two models, or it "
                "is truncated."
            )
        self._left -= size
        return self._file.read(size)

    def _plain(self, count: int, layer: Layer) -> Tensor:
        return torch.from_numpy(np.frombuffer(self._take(4 * count, layer), "<f4").astype(np.float32))

    def _flagged(self, count: int, layer: Layer) -> Tensor:
        """Reads weights behind the word that says how they are stored."""
        flag = int.from_bytes(self._take(4, layer), "little")
        if flag in (0, _FLOAT):
            return self._plain(count, layer)
        if flag == _HALF:
            data = self._take(-(-2 * count // 4) * 4, layer)[: 2 * count]
            return torch.from_numpy(np.frombuffer(data, "<f2").astype(np.float32))
        if flag == _INT8:
            raise ModelError(f"holds weights of 8 bits, in {layer}; take the model in fp16 or fp32.")
        table = self._plain(256, layer)  # each weight is the number of an entry
        return table[
            torch.from_numpy(
                np.frombuffer(self._take(-(-count // 4) * 4, layer), np.uint8)[:count].copy()
            ).long()
        ]
