"""The two files of an ncnn model: layers as lines of text (`.param`), their numbers in a row (`.bin`)."""

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

from img2img.errors import ModelError, display_path
from img2img.files import open_regular, read_regular

MAGIC = b"7767517"
_LARGEST = 16 * 2**20  # bytes of text: x4plus has 116 thousand
_HALF, _FLOAT, _INT8 = 0x01306B47, 0x0002C056, 0x000D4B38  # what stands before weights; 0 is float, too
_ARRAY = -23300
_WHOLE = re.compile(r"-?\d{1,10}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


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


class Line(NamedTuple):
    """A layer with the names of what it takes and of what it makes."""

    layer: Layer
    takes: list[str]
    makes: list[str]


def beside(path: Path, suffix: str) -> Path:
    """Returns the file that is called as `path` but with another suffix, in the case that is there."""
    name = path.with_suffix(suffix)
    upper = path.with_suffix(suffix.upper())
    return upper if upper.exists() and not name.exists() else name


def read_layers(path: Path) -> Iterator[Line]:
    """Yields the layers of the graph `path`, each with its weights from the `.bin` beside it.

    Raises:
        ModelError: A file is damaged, they do not fit each other, or the `.bin` is missing. The message
            speaks of the graph, without its name.
    """
    try:
        lines = read_regular(path, _LARGEST).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}.") from None
    rows = [(place, line.split()) for place, line in enumerate(lines, 1) if line.strip()]
    _require_head(rows)
    numbers = beside(path, ".bin")
    shown = display_path(numbers.name)
    try:
        with open_regular(numbers) as file:
            binary = _Binary(file)
            for place, row in rows[2:]:
                line = _line(row, place)
                line.layer.weights.extend(binary.of(line.layer))
                yield line
            binary.finish()
    except FileNotFoundError:
        raise ModelError(f"is the graph of an ncnn model; {shown} is not beside it.") from None
    except OSError as error:
        raise ModelError(f"needs {shown}, which cannot be read: {error.strerror or error}.") from None


def _require_head(rows: list[tuple[int, list[str]]]) -> None:
    """Makes sure that a graph begins as one, and has as many layers as it says."""
    if not rows or rows[0][1] != [MAGIC.decode()]:
        raise ModelError(f"is no graph of ncnn, whose first line is {MAGIC.decode()} and no more.")
    head = rows[1][1] if len(rows) > 1 else []
    if len(head) != 2 or not all(map(_WHOLE.fullmatch, head)):
        found = f"is {_short(' '.join(head))}" if head else "is missing"
        raise ModelError(f"is damaged: its second line counts layers and values, and {found}.")
    if int(head[0]) != len(rows) - 2:
        raise ModelError(f"is damaged: it announces {int(head[0])} layers and has {len(rows) - 2}.")


def _line(row: list[str], place: int) -> Line:
    """Reads `ReLU relu_1 1 1 x y 0=0.2`: kind, name, how many it takes and makes, which, settings."""
    counts = [int(word) for word in row[2:4] if _WHOLE.fullmatch(word)]
    if len(counts) < 2 or min(counts) < 0:
        raise ModelError(
            f"is damaged: line {place} is no layer, which begins with its kind, its name, and how many "
            f"values it takes and makes: {_short(' '.join(row))}."
        )
    kind, name, middle, end = row[0], row[1], 4 + counts[0], 4 + sum(counts)
    if len(row) < end:
        raise ModelError(
            f"is damaged: the layer {_short(name)} in line {place} takes {counts[0]} values and makes "
            f"{counts[1]}, and names {len(row) - 4} in all."
        )
    settings = dict(_setting(text, name, place) for text in row[end:])
    return Line(Layer(kind, name, settings), row[4:middle], row[middle:end])


def _setting(text: str, name: str, place: int) -> tuple[int, float | list[float]]:
    """Reads `6=1728`, `2=2.5e-01` or a list, `-23310=1,2.0e-01`."""
    key, _, value = text.partition("=")
    parts = value.split(",")
    if not _WHOLE.fullmatch(key) or not all(map(_is_number, parts)):
        raise _no_setting(text, name, place)
    number = int(key)
    if number <= _ARRAY:
        if float(parts[0]) != len(parts) - 1:
            raise _no_setting(text, name, place)
        return _ARRAY - number, [float(part) for part in parts[1:]]
    if len(parts) > 1:
        raise _no_setting(text, name, place)
    return number, int(value) if _WHOLE.fullmatch(value) else float(value)


def _is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and math.isfinite(float(text))


def _no_setting(text: str, name: str, place: int) -> ModelError:
    return ModelError(
        f"is damaged: {_short(text)} of the layer {_short(name)} in line {place} is no setting, which is a "
        "number and its value, as 0=64, or a list behind its length, as -23301=2,0.2,1."
    )


def _short(text: str) -> str:
    return repr(display_path(text[:60]))


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
                count, side, size = (_count(layer, key) for key in (0, 1, 6))
                if layer.number(8):
                    raise _eight_bits(layer)
                if size % (count * side**2):
                    raise ModelError(
                        f"is damaged in the layer {layer}: {size} weights are not those of {count} channels "
                        f"by kernels of {side} x {side}."
                    )
                yield self._flagged(size, layer).view(count, -1, side, side)
                yield self._plain(count, layer) if layer.number(5) else torch.zeros(count)
            case "PReLU":
                yield self._plain(_count(layer, 0), layer)
            case "MemoryData":
                sides = [_count(layer, key) for key in (0, 1, 11, 2) if layer.number(key)]
                yield self._plain(math.prod(sides), layer)

    def finish(self) -> None:
        """Raises ModelError if there is more than the layers need."""
        if self._left:
            raise ModelError(f"does not fit its .bin, which has {self._left} bytes more than it needs.")

    def _take(self, size: int, layer: Layer) -> bytes:
        if size > self._left:
            raise ModelError(
                f"does not fit its .bin, which ends in the layer {layer}: {size:,} bytes are needed there "
                f"and {self._left:,} are left; they are of two models, or one of them is damaged."
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
            raise _eight_bits(layer)
        table = self._plain(256, layer)  # each weight is the number of an entry
        return table[
            torch.from_numpy(
                np.frombuffer(self._take(-(-count // 4) * 4, layer), np.uint8)[:count].copy()
            ).long()
        ]


_COUNTS = {
    ("Convolution", 0): "channels",
    ("Convolution", 1): "pixels along its kernel",
    ("Convolution", 6): "weights",
    ("PReLU", 0): "slopes",
}


def _count(layer: Layer, key: int) -> int:
    """Returns a setting that counts."""
    number = layer.number(key)
    if number < 1 or number != int(number):
        what = _COUNTS.get((layer.kind, key), "values along a side")
        raise ModelError(f"is damaged in the layer {layer}: {number:,} {what} cannot be; they are 1 or more.")
    return int(number)


def _eight_bits(layer: Layer) -> ModelError:
    return ModelError(f"holds weights of 8 bits, in {layer}; take the model in fp16 or fp32.")
