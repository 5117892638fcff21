"""What `torch.save` writes, read as data: nothing is unpickled, imported or called.

The pickle in it runs on a machine of our own (`img2img.interop.pickle_machine`). What lies beside the weights
(numpy scalars, namespaces, dates, classes of somebody's project) is skipped, and a file whose weights
themselves need such code is told by what is left.

Time and memory are bounded by the file: instructions are counted, a tensor lies inside its storage, and a
storage inside the file. The checksum of every record of a zip file is compared; the older files have none.

torch.load(weights_only=True) reads the same files, but refuses them whole for one foreign scalar, allocates
whatever sizes they state, and checks no checksums.
"""

from __future__ import annotations

import errno
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from img2img.errors import ModelError, UnknownModelError, display_path
from img2img.files import open_regular
from img2img.interop.pickle_machine import Machine
from img2img.interop.storages import Storages

_MOST_INFLATION = 20  # weights hardly compress: more than this is a file that was made to fill the memory
_SMALL = 2**26  # bytes that any zip file may unpack to
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the files that torch wrote before 1.6
_BLOCK = 1 << 20
_BIG_ENDIAN = "was written on a big-endian machine, which is not read; save it on another."


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
        "is neither a PyTorch checkpoint nor a safetensors file, nor a .param of ncnn or a .bin with its "
        ".param beside it, nor an ONNX file; models in other formats (TensorFlow, OpenVINO) are not read.",
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

        storages = Storages(reserve)
        machine = Machine(storages, size)
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

    storages = Storages(reserve)
    machine = Machine(storages, size)
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
