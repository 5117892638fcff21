"""What `torch.save` writes, read as data: nothing is unpickled, imported or called.

A pickle is a program for a small stack machine. Here that machine builds dictionaries, lists, tuples, texts,
numbers and tensors by itself. Every other class or function that the pickle names becomes a `Foreign`, which
knows its name and does nothing. So what lies beside the weights (numpy scalars, namespaces, dates, classes of
somebody's project) is skipped, and a file whose weights themselves need such code is told by what is left.

Time and memory are bounded by the file: instructions are counted, a tensor lies inside its storage, and a
storage inside the file. The checksum of every record of a zip file is compared; the older files have none.

torch.load(weights_only=True) reads the same files, but refuses them whole for one foreign scalar, allocates
whatever sizes they state, and checks no checksums.
"""

from __future__ import annotations

import errno
import io
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from img2img.errors import ModelError, UnknownModelError, UnsafeCheckpointError, display_path
from img2img.files import open_regular

_MOST_INFLATION = 20  # weights hardly compress: more than this is a file that was made to fill the memory
_SMALL = 2**26  # bytes that any zip file may unpack to
_INSTRUCTIONS = 500_000  # of any pickle; RRDBNet with its optimizer has 50,000
_BYTES_PER_INSTRUCTION = 16  # of larger files
_TENSOR_COSTS = 10  # instructions; so long does it take to make one
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the files that torch wrote before 1.6
_BLOCK = 1 << 20
_MOST_DIMENSIONS = 64
_BIG_ENDIAN = "was written on a big-endian machine, which is not read; save it on another."
# nothing that is saved by an honest program starts others; the file was made to run code
_HOSTILE = {"os", "posix", "nt", "subprocess", "pty", "runpy", "shutil", "socket", "importlib", "commands"}
_HOSTILE_BUILTINS = {"eval", "exec", "compile", "__import__", "open", "input", "execfile", "breakpoint"}


class Foreign:
    """Stands for a class or function that is not known here, and for whatever it would make."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Unusable:
    """Stands for a tensor that is none of numbers lying in order: quantized, sparse, without values."""

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind


@dataclass(frozen=True)
class Pickled:
    """What a file holds.

    Attributes:
        content: Dictionaries with texts and small numbers as keys, lists, tuples, scalars, tensors, and in
            place of everything else `Foreign` and `Unusable`. It may refer to itself.
        foreign: Names of the classes and functions that were skipped, in the order of the file.
        stored: Bytes of all tensors as they are stored.
    """

    content: Any
    foreign: tuple[str, ...]
    stored: int


def read_pickled(path: Path) -> Pickled:
    """Reads a checkpoint that `torch.save` wrote: a zip file, deflated or not, or the older pickle.

    Raises:
        UnsafeCheckpointError: It was made to run code.
        UnknownModelError: It is no such file.
        ModelError: It cannot be read, is truncated or damaged, or was made to fill memory or time.
    """
    try:
        with open_regular(path) as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                return _read_zip(file, path)
            if start[:1] == b"\x80":  # every pickle since protocol 2
                return _read_legacy(file, path)
    except ModelError as error:
        raise type(error)(error.reason, path) from None
    except OSError as error:
        if error.errno == errno.EINVAL and error.filename is None:  # an offset before the start of the file
            raise ModelError(
                "is damaged: the directory of its zip file is wrong; copy it again.", path
            ) from None
        raise ModelError(f"cannot be read: {error.strerror or error}.", path) from None
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = display_path(" ".join(str(error).split())[:200]) or type(error).__name__
        raise ModelError(f"is truncated or damaged and cannot be opened ({reason}).", path) from None
    raise UnknownModelError(
        "is neither a PyTorch checkpoint nor a safetensors file; models in other formats "
        "(ONNX, ncnn, TensorFlow) are not read.",
        path,
    )


def _read_zip(file: BinaryIO, path: Path) -> Pickled:
    try:
        archive = zipfile.ZipFile(file)
    except zipfile.BadZipFile:  # its directory is at its end
        raise ModelError(
            "is truncated: the end of its zip file is missing or damaged; copy it again."
        ) from None
    with archive:
        records = {entry.filename: entry for entry in archive.infolist()}
        root = _root(records)
        size = path.stat().st_size
        inflated = sum(entry.file_size for entry in archive.infolist())
        if inflated > max(_SMALL, _MOST_INFLATION * size):
            raise ModelError(f"would unpack to {inflated} bytes; no weights compress that well.")
        if len(records) < len(archive.infolist()):
            raise ModelError("is damaged or made to deceive: two records of its zip file have one name.")

        def reserve(key: str, size: int) -> None:
            record = records.get(f"{root}data/{key}")
            if record is None or record.file_size != size:
                found = "missing" if record is None else f"of {record.file_size} bytes and not of {size}"
                raise ModelError(
                    f"is damaged: its record data/{display_path(key)} is {found}; copy it again."
                )

        storages = _Storages(reserve)
        machine = _Machine(storages, size)
        content = machine.run(io.BytesIO(b"".join(_blocks(archive, records.pop(f"{root}data.pkl")))))
        for key, storage in storages.items():
            _fill(_blocks(archive, records.pop(f"{root}data/{key}")), storage)
        for name, record in records.items():  # of tensors that the pickle forgot, and of marks
            data = [block for block in _blocks(archive, record) if name == f"{root}byteorder"]
            if data == [b"big"]:
                raise ModelError(_BIG_ENDIAN)
    return Pickled(content, tuple(machine.foreign), storages.total)


def _root(records: Mapping[str, zipfile.ZipInfo]) -> str:
    """Returns what all names of the records begin with."""
    if any(name.rpartition("/")[2] == "constants.pkl" for name in records):
        raise UnknownModelError(
            "is a TorchScript program, not a checkpoint: it holds code. Save its state_dict with torch.save."
        )
    pickles = [name for name in records if name.rpartition("/")[2] == "data.pkl"]
    if not pickles:
        raise UnknownModelError("is a zip file, but not one that torch.save wrote.")
    return min(pickles, key=len).removesuffix("data.pkl")


def _blocks(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yields the content of a record, and raises ModelError if its checksum or its length is another."""
    if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or record.flag_bits & 1:
        raise UnknownModelError("is a zip file, but not one that torch.save wrote.")
    length = 0
    try:
        with archive.open(record) as file:
            while block := file.read(_BLOCK):
                yield block
                length += len(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        length = -1
    if length != record.file_size:
        name = display_path(record.filename)
        raise ModelError(f"is damaged: its record {name} does not match its checksum; copy it again.")


def _read_legacy(file: BinaryIO, path: Path) -> Pickled:
    size = path.stat().st_size
    rest = _Rest(file, size)

    def reserve(key: str, length: int) -> None:
        if storages.total + length > size:
            raise ModelError(
                f"is truncated: its tensors take more than the {size} bytes of the file; copy it again."
            )

    storages = _Storages(reserve)
    machine = _Machine(storages, size)
    if machine.run(rest) != _MAGIC:
        raise UnknownModelError("is a pickle, but not one that torch.save wrote.")
    if machine.run(rest) != _VERSION:
        raise ModelError("is damaged, or was written by a PyTorch that is not known.")
    system = machine.run(rest)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise ModelError(_BIG_ENDIAN)
    content = machine.run(rest)
    keys = machine.run(rest)
    waiting = dict(storages.items())
    for key in keys if isinstance(keys, list) else ():
        storage = waiting.pop(key)
        count = int.from_bytes(file.read(8), "little")
        if storage.numel() % max(count, 1):
            raise ModelError("is damaged: a storage has another length than its tensors; copy it again.")
        _fill([file.read(storage.numel())], storage)
    if waiting:
        raise ModelError("is truncated or damaged: some of its storages are missing; copy it again.")
    return Pickled(content, tuple(machine.foreign), storages.total)


class _Rest:
    """A file that never allocates more than it has for a read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, length: int) -> bytes:
        return self._file.read(min(length, self._size - self._file.tell()))


def _fill(blocks: Iterable[bytes], storage: Tensor) -> None:
    """Puts bytes into a storage (N,), which they fill."""
    target = memoryview(storage.numpy().data)
    for block in blocks:
        target[: len(block)] = block
        target = target[len(block) :]
    if target:
        raise ModelError("is truncated: the bytes of its tensors end too early; copy it again.")


class _StorageKind(NamedTuple):
    """What a storage holds."""

    dtype: torch.dtype


class _Storage(NamedTuple):
    values: Tensor  # (N,)


_KINDS = {
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
_DTYPES = {name: value for name in dir(torch) if isinstance(value := getattr(torch, name), torch.dtype)}


class _Storages:
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
        if not isinstance(kind, _StorageKind) or type(numel) is not int or numel < 0:
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


_TENSORS: dict[str, Callable[..., Any]] = {
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
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"
_MAPPINGS = {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Foreign("builtins.set"),
}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Follows the instructions of pickles, of protocol 2 and later.

    Args:
        storages: What persistent names stand for.
        size: Bytes of the file, for the number of instructions that it may have.
    """

    def __init__(self, storages: _Storages, size: int) -> None:
        self._storages = storages
        self._left = max(_INSTRUCTIONS, size // _BYTES_PER_INSTRUCTION)
        self._names: dict[str, Any] = {}
        self.foreign: dict[str, None] = {}

    def run(self, file: Any) -> Any:
        """Returns what the next pickle in `file` builds.

        Raises:
            ModelError: It has too many instructions, or was made to run code.
            ValueError, IndexError, KeyError, TypeError: It is damaged.
        """
        stack: list[Any] = []
        marks: list[list[Any]] = []
        memo: dict[int, Any] = {}
        argument: Any
        for opcode, argument, _ in pickletools.genops(file):
            self._spend(1)
            name = opcode.name
            if name in _LITERALS:
                stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name]())
            elif name in _TUPLES:
                stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
            elif name == "MARK":
                marks.append(stack)
                stack = []
            elif name in ("TUPLE", "APPENDS", "SETITEMS", "ADDITEMS", "FROZENSET", "POP_MARK"):
                items, stack = stack, marks.pop()
                if name == "TUPLE":
                    stack.append(tuple(items))
                elif name == "APPENDS":
                    _extend(stack[-1], items)
                elif name == "SETITEMS":
                    _update(stack[-1], items)
                elif name == "FROZENSET":
                    stack.append(Foreign("builtins.frozenset"))
            elif name in ("APPEND", "SETITEM"):
                count = 1 if name == "APPEND" else 2
                items = stack[-count:]
                del stack[-count:]
                (_extend if count == 1 else _update)(stack[-1], items)
            elif name == "GLOBAL":
                stack.append(self._find(*argument.split(" ", 1)))
            elif name == "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self._find(module, attribute))
            elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
                if name == "NEWOBJ_EX":
                    stack.pop()
                arguments, function = stack.pop(), stack.pop()
                stack.append(self._made(function, arguments))
            elif name in ("BUILD", "POP"):  # attributes are nothing that weights have
                stack.pop()
            elif name == "DUP":
                stack.append(stack[-1])
            elif name == "BINPERSID":
                stack.append(self._storages.find(stack.pop()))
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                raise ValueError(f"the instruction {name} is none that torch.save writes")
        raise ValueError("its end is missing")

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise ModelError("was made to take for ever: its pickle has more instructions than weights need.")

    def _find(self, module: Any, attribute: Any) -> Any:
        """Returns what stands for a class or function."""
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("it names no class")
        module = "builtins" if module == "__builtin__" else module
        name = f"{module}.{attribute}"
        if name not in self._names:
            self._names[name] = self._stand_in(name, module, attribute)
        return self._names[name]

    def _stand_in(self, name: str, module: str, attribute: str) -> Any:
        if module in ("torch", "torch.cuda", "torch.storage") and attribute.endswith("Storage"):
            kind = _KINDS.get(attribute.removesuffix("Storage"))
            return Foreign(name) if kind is None else _StorageKind(kind)
        if module == "torch" and attribute in _DTYPES:
            return _DTYPES[attribute]
        if name in _TENSORS or name in _MAPPINGS or name == _SUBCLASS:
            return name
        if module.split(".")[0] in _HOSTILE or (module == "builtins" and attribute in _HOSTILE_BUILTINS):
            raise UnsafeCheckpointError(
                f"was not opened: it holds {display_path(name)[:100]}, which weights never need: it was made "
                "to run code. None of it ran here; do not open it with other programs."
            )
        self.foreign[name] = None
        return Foreign(name)

    def _made(self, function: Any, arguments: Any) -> Any:
        """Returns what a call stands for."""
        if isinstance(function, Foreign):
            return function
        if not isinstance(function, str) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is no function")
        if function == _SUBCLASS:  # a plain tensor inside a class of somebody's own
            function, arguments = arguments[0], arguments[2]
        if function in _MAPPINGS:
            made: dict[Any, Any] = {}
            for pairs in arguments:
                if isinstance(pairs, list | dict):
                    self._spend(len(pairs))
                    for pair in pairs.items() if isinstance(pairs, dict) else pairs:
                        if isinstance(pair, list | tuple) and len(pair) == 2:
                            _update(made, list(pair))
            return made
        if not isinstance(function, str) or function not in _TENSORS:
            return Foreign(str(function) if isinstance(function, str) else type(function).__name__)
        self._spend(_TENSOR_COSTS)
        return _TENSORS[function](*arguments)


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif not isinstance(target, Foreign):
        raise TypeError("it appends to something that is no list")


def _update(target: Any, items: list[Any]) -> None:
    """Adds keys and values in turn; keys that could take for ever to hash are left out."""
    if isinstance(target, Foreign):
        return
    if not isinstance(target, dict):
        raise TypeError("it adds entries to something that is no dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if isinstance(key, str) or (type(key) is int and -(2**31) < key < 2**31):
            target[key] = value
