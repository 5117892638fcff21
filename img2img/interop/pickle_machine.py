"""The stack machine that pickles are programs for, without their powers: nothing is imported or called.

It builds dictionaries, lists, tuples, texts, numbers and tensors by itself. Every other class or function
that a pickle names becomes a `Foreign`, which knows its name and does nothing. Instructions are counted.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

from img2img.errors import ModelError, UnsafeCheckpointError, display_path
from img2img.interop.storages import DTYPES, KINDS, TENSORS, StorageKind, Storages

_TENSOR_COSTS = 10  # instructions; so long does it take to make one
_BYTES_PER_INSTRUCTION = 16  # of larger files
_INSTRUCTIONS = 500_000  # of any pickle; RRDBNet with its optimizer has 50,000
# nothing that is saved by an honest program starts others; the file was made to run code
_HOSTILE = {"os", "posix", "nt", "subprocess", "pty", "runpy", "shutil", "socket", "importlib", "commands"}
_HOSTILE_BUILTINS = {"eval", "exec", "compile", "__import__", "open", "input", "execfile", "breakpoint"}


class Foreign:
    """Stands for a class or function that is not known here, and for whatever it would make."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


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


class Machine:
    """Follows the instructions of pickles, of protocol 2 and later.

    Args:
        storages: What persistent names stand for.
        size: Bytes of the file, for the number of instructions that it may have.
    """

    def __init__(self, storages: Storages, size: int) -> None:
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
            kind = KINDS.get(attribute.removesuffix("Storage"))
            return Foreign(name) if kind is None else StorageKind(kind)
        if module == "torch" and attribute in DTYPES:
            return DTYPES[attribute]
        if name in TENSORS or name in _MAPPINGS or name == _SUBCLASS:
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
        if not isinstance(function, str) or function not in TENSORS:
            return Foreign(str(function) if isinstance(function, str) else type(function).__name__)
        self._spend(_TENSOR_COSTS)
        return TENSORS[function](*arguments)


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
