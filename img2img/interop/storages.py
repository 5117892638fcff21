"""The tensors of a pickle: views of storages, whose bytes are reserved first and filled later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_MOST_DIMENSIONS = 64


class Unusable:
    """Stands for a tensor that is none of numbers lying in order: quantized, sparse, without values."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


class StorageKind(NamedTuple):
    """What a storage holds."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    values: Tensor  # (N,)


KINDS = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexDouble": torch.complex128,
    "ComplexFloat": torch.complex64,
    "QUInt8": torch.uint8,
    "QInt8": torch.int8,
    "QInt32": torch.int32,
    "QUInt4x2": torch.uint8,
    "QUInt2x4": torch.uint8,
    "Untyped": torch.uint8,
}
DTYPES = {name: value for name in dir(torch) if isinstance(value := getattr(torch, name), torch.dtype)}


class Storages:
    """The bytes of the tensors, reserved while the pickle is read and filled after it.

    Args:
        reserve: Called with the key and the bytes of each new storage; raises ModelError for one that the
            file cannot hold.
    """

    def __init__(self, reserve: Callable[[str, int], None]) -> None:
        self._reserve = reserve
        self._bytes: dict[str, Tensor] = {}
        self.total = 0

    def items(self) -> Iterable[tuple[str, Tensor]]:
        """Returns the keys and the bytes (N,)."""
        return self._bytes.items()

    def find(self, name: Any) -> Any:
        """Returns what a persistent name of a pickle stands for."""
        if not isinstance(name, tuple) or len(name) < 5 or name[0] != "storage":
            if isinstance(name, tuple) and name[:1] == ("module",) and isinstance(name[1:2], tuple):
                return name[1]  # a class with its source code, as the first versions wrote it
            raise ValueError("it names something else than a storage")
        kind, key, numel = name[1], str(name[2]), name[4]
        if not isinstance(kind, StorageKind) or type(numel) is not int or numel < 0:
            raise ValueError("it names a storage of an unknown kind")
        size = numel * kind.dtype.itemsize
        if key not in self._bytes:
            self._reserve(key, size)
            self.total += size
            self._bytes[key] = torch.zeros(size, dtype=torch.uint8)
        if len(self._bytes[key]) != size:
            raise ValueError("a storage has two lengths")
        values = self._bytes[key].view(kind.dtype)
        view = name[5] if len(name) > 5 else None
        if isinstance(view, tuple) and len(view) == 3:
            _, start, length = view
            if not _counts((start, length)) or start + length > numel:
                raise ValueError("a view lies outside of its storage")
            values = values[start : start + length]
        return _Storage(values)


def _counts(values: Any) -> bool:
    """Returns whether `values` is a tuple of whole numbers of 0 or more, for a shape."""
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor lies in something else than a storage")
    values = storage.values
    if not (_counts((offset,)) and _counts(size) and _counts(stride)) or len(size) != len(stride):
        raise ValueError("a tensor has an impossible shape")
    if 0 in size:
        return torch.empty(size, dtype=values.dtype) if max(size) < 2**31 else Unusable("empty")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= len(values):
        raise ValueError("a tensor lies outside of its storage")
    count = 1
    for length in size:
        count *= length
        if count > len(values):
            return Unusable("expanded")
    return values.as_strided(size, stride, offset)


def _typed(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    dtype = next((value for value in rest if isinstance(value, torch.dtype)), None)
    if isinstance(storage, _Storage) and dtype is not None:
        storage = _Storage(storage.values.view(torch.uint8).view(dtype))
    return _tensor(storage, offset, size, stride)


def _first(value: Any, *_: Any) -> Any:
    return value


def _unusable(kind: str) -> Callable[..., Unusable]:
    return lambda *_: Unusable(kind)


TENSORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.nn.parameter.Buffer": _first,
    "torch.Size": _first,
    "torch._utils._rebuild_qtensor": _unusable("quantized"),
    "torch._utils._rebuild_sparse_tensor": _unusable("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _unusable("sparse"),
    "torch._utils._rebuild_meta_tensor_no_storage": _unusable("meta (shapes without values)"),
    "torch._utils._rebuild_nested_tensor": _unusable("nested"),
    "torch._utils._rebuild_wrapper_subclass": _unusable("wrapped"),
    "torch._utils._rebuild_device_tensor_from_numpy": _unusable("device"),
    "torch.nested._internal.nested_tensor._rebuild_njt": _unusable("nested"),
}
