"""A `.pth` is data of a stranger: extras are skipped, nothing runs, and cost is bounded by the file."""

from __future__ import annotations

import argparse
import datetime
import enum
import io
import os
import pathlib
import pickle
import random
import shutil
import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from img2img.errors import ModelError, UnknownModelError, UnsafeCheckpointError
from img2img.interop import open_checkpoint
from img2img.interop.pickle_machine import Foreign
from img2img.interop.pickled import read_pickled
from img2img.models import Compact


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    return Compact(features=4, convs=1, scale=2).state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.pth"


def opens(path, state):
    opened, _ = open_checkpoint(path)
    return all(torch.equal(value, state[name]) for name, value in opened.state_dict().items())


class Colour(enum.Enum):
    RED = "red"


class Loss:
    """Somebody's own class; its constructor must never be called."""

    def __init__(self) -> None:
        raise AssertionError("it was built")

    def __setstate__(self, value: object) -> None:
        raise AssertionError("it was filled")


class Settings(dict):
    pass


def loss() -> Loss:
    made = Loss.__new__(Loss)
    made.__dict__["weight"] = 3
    return made


EXTRAS = {
    "numpy scalars": {"loss": np.float64(0.5), "step": np.int64(7), "flag": np.bool_(True)},
    "numpy arrays": {"mean": np.zeros(3), "names": np.array(["a", "b"]), "any": np.array([{}], object)},
    "numpy dtype and state": {"dtype": np.dtype("float32"), "random": np.random.RandomState(0).get_state()},
    "random state": {"random": random.getstate()},
    "namespace": argparse.Namespace(lr=1e-4, inner=argparse.Namespace(x=1)),
    "collections": [defaultdict(list, a=[1]), OrderedDict(a=1), Counter("ab"), deque([1, 2])],
    "paths and dates": [pathlib.PurePosixPath("/a"), datetime.datetime(2026, 1, 1), datetime.timedelta(1)],
    "torch's own": [torch.Size([1, 2]), torch.float16, torch.device("cuda", 1), torch.strided],
    "sets and numbers": [
        {1, 2},
        frozenset("a"),
        1 + 2j,
        10**40,
        b"bytes",
        bytearray(b"x"),
        slice(1),
        range(3),
    ],
    "enumeration": Colour.RED,
    "own class": loss(),
    "own dictionary": Settings(a=1),
    "functions": [torch.relu, os.path.join, len, getattr],
    "optimizer": torch.optim.Adam([nn.Parameter(torch.zeros(2))]).state_dict(),
    "parameter": nn.Parameter(torch.zeros(2)),
    "tuple keys": {(1, 2): torch.zeros(2), 3.5: 1, None: 2},
}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.sampled(8)
def test_what_lies_beside_the_weights_is_skipped(path, state, extra, options):
    torch.save({"hyper": EXTRAS[extra], "state_dict": state, "more": [EXTRAS[extra]]}, path, **options)
    assert opens(path, state)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.made = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.made


def attacks(mark: str) -> dict[str, Any]:
    command = f"touch {mark}"
    return {
        "os.system": Call(os.system, command),
        "eval": Call(eval, f"__import__('os').system({command!r})"),
        "exec": Call(exec, f"open({mark!r}, 'w')"),
        "open": Call(open, mark, "w"),
        "rmtree": Call(shutil.rmtree, mark),
        "getattr": Call(getattr, Colour, "RED"),
        "import": Call(__import__, "this"),
        "hub": Call(torch.hub.load, "someone/something", "model"),
        "torch.load": Call(torch.load, mark),
        "numpy": Call(np.save, mark, np.zeros(2)),
        "pathlib": Call(pathlib.Path.touch, pathlib.PurePosixPath(mark)),
        "memory": Call(bytearray, 10**13),
        "tensor": Call(torch.Tensor, 10**13),
        "nested": Call(Counter, Call(map, Call(type, "x", (), {}), [mark])),
    }


@pytest.mark.parametrize("name", attacks(""))
@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_it_runs(tmp_path, path, state, name, new):
    mark = tmp_path / "mark"
    torch.save({"x": attacks(str(mark))[name], "params": state}, path, _use_new_zipfile_serialization=new)
    try:
        assert opens(path, state)
    except UnsafeCheckpointError as error:
        assert "made to run code" in str(error)
    assert not mark.exists()


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 1}, lambda m: {"g": {"x": m}}])
def test_weights_that_need_code_are_refused(path, wrap):
    torch.save(wrap(nn.Conv2d(3, 3, 3)), path)
    with pytest.raises(ModelError, match=r"Conv2d in place of weights|holds no weights"):
        open_checkpoint(path)


def shared(depth: int, pair: Any = lambda value: {"a": value, "b": value}) -> Any:
    """Returns a value of 2^depth parts that takes a few bytes for each doubling."""
    value: Any = {}
    for _ in range(depth):
        value = pair(value)
    return value


def itself() -> Any:
    one: dict[str, Any] = {}
    one["params"] = one["state_dict"] = one
    return one


def cycle() -> Any:
    one, other = {}, {}
    one["model"], other["net"] = other, one
    return one


@pytest.mark.parametrize(
    "made",
    [
        lambda: shared(60),
        lambda: {"params": shared(60)},
        lambda: {"params": shared(60, lambda value: [value, value])},
        itself,
        cycle,
        lambda: shared(400, lambda value: {"params": value}),
    ],
    ids=["bomb", "wrapped bomb", "bomb of lists", "itself", "cycle", "deep"],
)
def test_references_that_multiply_or_return(path, state, made):
    torch.save(made(), path)
    with pytest.raises(UnknownModelError, match="holds no weights"):
        open_checkpoint(path)
    torch.save({"more": made(), "state_dict": state}, path)
    assert opens(path, state)


def store(path, pickled: bytes, records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes what torch.save writes, with any pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("m/data.pkl", pickled)
        for name, data in records.items():
            archive.writestr(f"m/data/{name}", data)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x0c" + value.to_bytes(12, "little", signed=True)


def tensor(key: str, numel: int, offset: int, size: list[int], stride: list[int]) -> bytes:
    """Returns the instructions that make a tensor of fp32 in a storage."""
    place = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(numel) + b"tQ"
    )
    shape = b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + number(offset) + shape + b"\x89}tR"


def entries(**tensors: bytes) -> bytes:
    """Returns the pickle of a dictionary."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in tensors.items()) + b"u."


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (tensor("0", 1, 0, [20_000, 20_000], [0, 0]), "expanded"),
        (tensor("0", 4, 0, [4, 4], [1, 0]), "expanded"),
        (tensor("0", 4, 0, [3, 2], [1, 1]), "expanded"),
        (tensor("0", 4, 1, [4], [1]), "outside of its storage"),
        (tensor("0", 4, 0, [2], [2**40]), "outside of its storage"),
        (tensor("0", 4, 0, [4], [-1]), "impossible shape"),
        (tensor("0", 4, -1, [4], [1]), "impossible shape"),
        (tensor("0", 4, 0, [4, 1], [1]), "impossible shape"),
        (tensor("0", 10**12, 0, [10**12], [1]), "and not of 4000000000000"),
        (tensor("9", 4, 0, [4], [1]), "is missing"),
        (tensor("0", 4, 0, [0, 10**18], [1, 1]), "empty"),
        (tensor("0", 4, 0, [1] * 100, [1] * 100), "impossible shape"),
    ],
)
def test_tensors_that_are_larger_than_what_is_stored(path, made, words):
    numel = 1 if b"\x01" + bytes(11) + b"tQ" in made else 4
    store(path, entries(weight=made), {"0": bytes(4 * numel)})
    with pytest.raises(ModelError, match=words):
        open_checkpoint(path)


def test_many_layers_on_one_storage(path):
    whole = tensor("0", 9 * 2**10, 0, [32, 32, 3, 3], [288, 9, 3, 1])
    store(path, entries(**{f"body.{2 * i}.weight": whole for i in range(500)}), {"0": bytes(36 * 2**10)})
    with pytest.raises(ModelError, match="overlap"):
        open_checkpoint(path)


@pytest.mark.parametrize("numel", [10**6, 10**15])
def test_the_older_format_reserves_no_more_than_the_file_has(path, state, numel):
    torch.save(state, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    keys = pickle.dumps([], 2)
    heads = b"".join(
        pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    assert data.startswith(heads[:20])
    path.write_bytes(heads + entries(weight=tensor("0", numel, 0, [numel], [1])) + keys)
    with pytest.raises(ModelError, match="is truncated"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02" + b"}" * 1_000_000 + b"0" * 999_999 + b".",
        b"\x80\x02" + b"N" + b"2" * 1_000_000 + b".",
        b"\x80\x02" + b"(" * 1_000_000 + b".",
    ],
    ids=["dictionaries", "copies", "marks"],
)
@pytest.mark.sampled(1)
def test_instructions_without_end(path, pickled):
    store(path, pickled, {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="more instructions"):
        open_checkpoint(path)


def test_keys_that_take_for_ever_to_hash(path, state):
    bomb = b"N" + b"q\x01h\x01\x86" * 60
    colliding = b"".join(number(i * (2**61 - 1)) + b"N" for i in range(20_000))
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in records if name.endswith("data.pkl"))
    weights = records[name].removeprefix(b"\x80\x02").removesuffix(b".")
    own = b"}(" + bomb + b"N" + b"u" + b"}(" + colliding + b"u"
    records[name] = b"\x80\x02}(" + text("x") + own + b"\x86" + text("params") + weights + b"u."
    with zipfile.ZipFile(path, "w") as archive:
        for each, data in records.items():
            archive.writestr(each, data)
    assert opens(path, state)


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02N" + b"r\xff\xff\xff\xff" + b"0j\x01\0\0\0.",
        b"\x80\x02Np99999999999999999999\n.",
        b"\x80\x02K\x01K\x02R.",
        b"\x80\x02}K\x01Q.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02.",
        b"\x80\x02t.",
        b"\x80\x02\xff.",
        b"\x80\x02",
        b"",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nNNNtR.",
        b"\x80\x02(lp0\n.",
    ],
)
def test_pickles_of_nonsense(path, pickled):
    store(path, pickled, {})
    with pytest.raises(ModelError, match=r"m\.pth: "):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", ["sparse", "meta", "quantized", "complex64", "bool", "int8", "int64"])
def test_weights_of_another_kind_are_named(path, state, kind):
    make = {
        "sparse": lambda value: value.to_sparse(),
        "meta": lambda value: value.to("meta"),
        "quantized": lambda value: value,
    }.get(kind, lambda value: value.to(getattr(torch, kind)))
    weights = {name: make(value) for name, value in state.items()}
    torch.save(weights, path)
    if kind == "quantized":  # made by hand: torch warns of its own
        with zipfile.ZipFile(path) as archive:
            records = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in records.items():
                archive.writestr(name, data.replace(b"_rebuild_tensor_v2", b"_rebuild_qtensor"))
    with pytest.raises(ModelError, match=f"m.pth: holds {kind}.* for example (in )?body"):
        open_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats_become_fp32(path, state, dtype):
    torch.save({name: value.to(dtype) for name, value in state.items()}, path)
    opened, _ = open_checkpoint(path)
    for name, value in opened.state_dict().items():
        assert torch.equal(value, state[name].to(dtype).float())


def test_flipped_bits_are_noticed(path, state):
    """A flip either fails the file, or hits what is no content: what opens is right to the last bit."""
    torch.save(state, path)
    data, dice, refused = path.read_bytes(), random.Random(7), 0
    for _ in range(60):
        bad = bytearray(data)
        bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        path.write_bytes(bad)
        try:
            assert opens(path, state)
        except ModelError:
            refused += 1
    assert refused > 20
    where = data.index(state["body.0.weight"].numpy().tobytes())
    path.write_bytes(data[: where + 5] + bytes([data[where + 5] ^ 4]) + data[where + 6 :])
    with pytest.raises(ModelError, match=r"data/0 does not match its checksum; copy it again"):
        open_checkpoint(path)


def test_a_record_that_no_tensor_needs_is_checked_too(path, state):
    torch.save({"params": state, "optimizer": torch.arange(1000.0)}, path)
    data = path.read_bytes()
    where = data.index(torch.arange(1000.0).numpy().tobytes())
    path.write_bytes(data[:where] + b"\1" + data[where + 1 :])
    with pytest.raises(ModelError, match="checksum"):
        open_checkpoint(path)


def test_two_records_of_one_name(path, state):
    torch.save(state, path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        archive.writestr(name, archive.read(name))
    with pytest.raises(ModelError, match="one name"):
        open_checkpoint(path)


def test_it_reads_what_torch_reads(path):
    """Views, strides, offsets, shared storages, empty tensors and scalars, bit for bit."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    content = {
        "whole": base,
        "turned": base.permute(2, 0, 1),
        "part": base[1, 1:, ::2],
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 3),
        "channels last": torch.rand(1, 3, 4, 4).to(memory_format=torch.channels_last),
        "half": base.half(),
        "flags": base > 3,
        "list": [base, (base, 1.5, None, True, "ä")],
    }
    for new in (True, False):
        torch.save(content, path, _use_new_zipfile_serialization=new)
        read, expected = read_pickled(path).content, torch.load(path, weights_only=True)
        for name, value in expected.items():
            pairs = [(value, read[name])] if name != "list" else zip(value[:1], read[name][:1], strict=True)
            for one, other in pairs:
                assert one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
        assert read["list"][1][1:] == expected["list"][1][1:]


def test_skipped_names_are_known(path):
    torch.save({"a": np.float64(1), "b": argparse.Namespace()}, path)
    held = read_pickled(path)
    assert "argparse.Namespace" in held.foreign
    assert isinstance(held.content["b"], Foreign)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_block(path):
    os.mkfifo(path)
    with pytest.raises(ModelError, match="pipe, socket or device"):
        open_checkpoint(path)


def test_damage_anywhere_is_a_sentence(path, state):
    """A small fuzz run over both formats: no error but ours."""
    dice = random.Random(11)
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save(
            {"params": state, "x": argparse.Namespace(a=1)}, buffer, _use_new_zipfile_serialization=new
        )
        data = buffer.getvalue()
        head = data[:1500]
        for _ in range(60):
            bad = bytearray(head)
            for _ in range(dice.randrange(1, 6)):
                bad[dice.randrange(len(bad))] = dice.randrange(256)
            path.write_bytes(bytes(bad) + data[1500:])
            try:
                open_checkpoint(path)
            except ModelError as error:
                assert str(error).startswith(str(path))
