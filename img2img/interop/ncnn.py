"""Models of ncnn, as Upscayl and its like use them, as what their layers do.

Names in a graph say nothing: what a layer is follows from what it takes. So a graph is a set of equations,
each found by its operation and its inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from img2img.errors import ModelError, UnknownModelError, display_path
from img2img.interop.ncnn_files import Layer, Line, read_layers

Key = tuple[object, ...]


class Value(NamedTuple):
    """What a layer makes, and the index of the layer."""

    layer: int
    place: int = 0


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
        self._values: dict[str, Value] = {}
        try:
            for line in read_layers(path):
                self._add(line)
        except ModelError as error:
            raise type(error)(error.reason, path) from None

    def _add(self, line: Line) -> None:
        layer, index = line.layer, len(self.layers)
        unmade = next((blob for blob in line.takes if blob not in self._values), None)
        if unmade is not None:
            raise ModelError(
                f"is damaged: the layer {layer} takes {display_path(unmade)[:60]!r}, which no layer before "
                "it makes."
            )
        sources = [self._values[blob] for blob in line.takes]
        self.layers.append(layer)
        if layer.kind in ("Split", "Noop", "Dropout") and sources:  # all its results are its input
            self._used.add(index)
            result = sources[0]
        else:
            result = self._file(layer, index, sources)
        self._values |= dict.fromkeys(line.makes, result)
        if line.makes:
            self.output = result

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
            side = layer.number(1)
            activation = int(layer.number(9))
            if not side % 2 or layer.number(4) != side // 2 or not _is_plain(layer, int(side)):
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
        case "BinaryOp", [x, y] if not layer.number(1):
            name = {0: "add", 1: "subtract", 2: "mul"}.get(int(layer.number(0)))
            if name:
                yield name, x, y
        case "Eltwise", [x, y] if layer.number(0) == 1:
            coefficients = layer.settings.get(1) or [1, 1]
            if not isinstance(coefficients, list) or len(coefficients) != 2:
                return
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
        case "Interp", [x] if (
            layer.number(0) == 1
            and _is_whole(layer.number(1))
            and layer.number(1) == layer.number(2)
            and not (layer.number(3) or layer.number(4))
        ):
            yield "nearest", x, int(layer.number(1))
        case "PixelShuffle", [x] if layer.number(1) == 0 and _is_whole(layer.number(0)):
            yield "shuffle", x, int(layer.number(0))
        case "Reorg", [x] if layer.number(1) == 0 and _is_whole(layer.number(0)):
            yield "unshuffle", x, int(layer.number(0))


def _is_whole(number: float) -> bool:
    return float(number).is_integer()


def _is_plain(layer: Layer, side: int) -> bool:
    """Returns whether a convolution by a square kernel of `side` is one that keeps the size, over zeros.

    Of each pair of settings the second, for the other direction, is the first where it is not given.
    """
    pairs = ((1, 11, side), (2, 12, 1), (3, 13, 1), (4, 14, side // 2), (15, 16, side // 2))
    return (
        all(
            layer.number(a, usual) == layer.number(b, layer.number(a, usual)) == usual
            for a, b, usual in pairs
        )
        and not layer.number(18)  # what lies around the picture
        and not layer.number(19)  # weights that another layer makes
    )
