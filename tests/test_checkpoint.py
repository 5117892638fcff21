"""The model file keeps everything, and says in a sentence what is wrong with one that is not right."""

from __future__ import annotations

import json
import struct
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from companions import Companions
from torch.utils._python_dispatch import TorchDispatchMode

from img2img.checkpoint import KEY, MAX_HEADER, ModelInfo, fingerprint, open_model, read_header, save_model
from img2img.errors import ModelError, UnknownModelError
from img2img.fields import Mask, Vector
from img2img.inference import load_model
from img2img.interop import open_checkpoint
from img2img.models import Compact, RRDBNet, SRResNet, generators
from img2img.types import ValueRange

NAMES = ("Blond_Hair", "Male", "Young")


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Compact(features=4, convs=1, scale=2)


@pytest.fixture
def path(generator, tmp_path):
    file = tmp_path / "model.safetensors"
    save_model(file, generator, ModelInfo("like_input", None, {"layout": "test"}))
    return file


def rewrite(path, **changes):
    """Stores the same tensors with another header; a value of None removes the entry."""
    facts = json.loads(read_header(path)["__metadata__"][KEY])
    facts = {name: value for name, value in (facts | changes).items() if value is not ...}
    state = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save(state, {KEY: json.dumps(facts)}))


def test_the_header_tells_other_programs_what_it_is(path):
    facts = json.loads(read_header(path)["__metadata__"][KEY])
    assert facts["format"] == 1
    assert facts["architecture"] == "compact"
    assert facts["arguments"]["features"] == 4 and facts["arguments"]["activation"] == "prelu"
    assert (facts["scale"], facts["in_channels"], facts["out_channels"], facts["colour"]) == (2, 3, 3, "RGB")
    assert facts["input_range"] == facts["output_range"] == [0.0, 1.0]
    assert (facts["output"], facts["size"], facts["origin"]) == ("like_input", None, {"layout": "test"})


@pytest.mark.parametrize(
    ("given", "stored", "read"),
    [(None, None, None), (32, 32, (32, 32)), ((32, 32), 32, (32, 32)), ((64, 96), [64, 96], (64, 96))],
)
def test_the_trained_size_is_a_pair_and_one_number_of_a_square(tmp_path, generator, given, stored, read):
    save_model(tmp_path / "m.safetensors", generator, ModelInfo("own", given))
    assert json.loads(read_header(tmp_path / "m.safetensors")["__metadata__"][KEY])["size"] == stored
    assert open_checkpoint(tmp_path / "m.safetensors")[1].size == read


@pytest.mark.parametrize("size", [0, [64], [64, 0], [64, 96, 3], [64.0, 96], True, "64", [[64], 96]])
def test_a_size_that_is_none_is_a_damaged_header(path, size):
    rewrite(path, size=size)
    with pytest.raises(ModelError, match="size missing or wrong"):
        open_checkpoint(path)


@pytest.mark.parametrize("adversarial", [None, False, True])
def test_whether_it_is_of_a_gan_is_said_where_it_is_known(path, generator, adversarial):
    before = path.read_bytes()
    save_model(path, generator, ModelInfo(origin={"layout": "test"}, adversarial=adversarial))
    assert open_model(path)[1].adversarial is adversarial
    assert (path.read_bytes() == before) == (adversarial is None)
    rewrite(path, adversarial="yes", synthetic=1)
    with pytest.raises(ModelError, match="damaged header: adversarial, synthetic"):
        open_model(path)


def test_other_programs_open_the_weights(path, generator):
    state = safetensors.torch.load_file(path)
    assert all(torch.equal(value, generator.state_dict()[name]) for name, value in state.items())


def test_saving_replaces_completely_or_not_at_all(path, generator):
    before = path.read_bytes()
    broken = RRDBNet(blocks=1, features=4, growth=2)
    broken.spec.arguments["scale"] = object()
    with pytest.raises(ModelError, match="JSON"):
        save_model(path, broken, ModelInfo())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]


def test_saving_into_nowhere_is_a_sentence(tmp_path, generator):
    with pytest.raises(ModelError, match="cannot be written"):
        save_model(tmp_path / "none" / "m.safetensors", generator, ModelInfo())


def test_half_precision_weights_are_opened_as_fp32(path, generator):
    state = {name: value.half() for name, value in safetensors.torch.load_file(path).items()}
    facts = json.loads(read_header(path)["__metadata__"][KEY]) | {"sha256": fingerprint(state)}
    path.write_bytes(safetensors.torch.save(state, {KEY: json.dumps(facts)}))
    opened, _ = open_model(path)
    assert {p.dtype for p in opened.parameters()} == {torch.float32}


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 0.5, 0.999])
def test_truncated(path, keep):
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ModelError, match=r"truncated|cannot be read"):
        open_model(path)


def test_a_changed_weight(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        open_model(path)


def test_somebody_elses_safetensors_gets_a_hint(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(UnknownModelError, match="model import"):
        open_model(path)


def test_a_file_from_before_an_argument_existed_opens_with_its_default(path, generator):
    older = {name: value for name, value in generator.spec.arguments.items() if name != "in_channels"}
    rewrite(path, arguments=older)
    opened, _ = open_model(path)
    assert opened.spec == generator.spec


def test_a_newer_format(path):
    rewrite(path, format=6)
    with pytest.raises(ModelError, match=r"newer img2img \(format 6.*upgrade"):
        open_model(path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"arguments": {"features": 8, "convs": 1, "scale": 2}},
            r"body\.0\.weight is \(4, 3, 3, 3\), not \(8,",
        ),
        ({"arguments": {"features": 4, "convs": 2, "scale": 2}}, "missing"),
        ({"arguments": {"features": 4, "convs": 0, "scale": 2}}, "no place for"),
        ({"arguments": {"features": 4, "convs": 10**9}}, "cannot fill"),
        ({"arguments": {"features": float("nan")}}, "cannot fill"),
        ({"arguments": {"features": "many"}}, "do not fit compact"),
        ({"arguments": {"wings": 2}}, "wings"),
        ({"architecture": "compcat"}, "did you mean 'compact'"),
        ({"architecture": 7}, "architecture"),
        ({"scale": 4}, "it says scale 4, its network has 2"),
        ({"input_range": [-1, 1]}, "input_range"),
        ({"output": "maybe"}, "output"),
        ({"size": -1}, "size"),
        ({"origin": {"a": 1}}, "origin"),
        ({"format": "1"}, "format"),
        ({"sha256": ...}, "sha256"),
    ],
)
def test_a_header_that_lies(path, changes, match):
    rewrite(path, **changes)
    with pytest.raises(ModelError, match=match):
        open_model(path)


@pytest.fixture
def conditional(tmp_path, monkeypatch):
    """A model file of a network that takes a mask and a vector."""
    monkeypatch.setitem(generators._entries, "companions", Companions)
    torch.manual_seed(0)
    path = tmp_path / "conditional.safetensors"
    save_model(path, Companions("mask attributes"), ModelInfo("own", attributes={"attributes": NAMES}))
    return path


def test_conditions_and_their_names_are_in_the_file(conditional):
    facts = json.loads(read_header(conditional)["__metadata__"][KEY])
    assert facts["format"] == 3, "older versions must not open it"
    assert facts["conditions"] == {"mask": {"kind": "mask"}, "attributes": {"kind": "vector", "size": 3}}
    generator, info = open_checkpoint(conditional)
    assert generator.conditions == Companions("mask attributes").conditions
    assert info.attributes == {"attributes": NAMES}
    assert load_model(conditional, device="cpu").conditions == {
        "mask": Mask(),
        "attributes": Vector(size=3, names=NAMES),
    }


def test_a_vector_of_any_name_and_length_comes_back(tmp_path, monkeypatch):
    class Landmarks(Companions):
        def __init__(self, landmarks: int = 136):
            super().__init__("mask")
            self.conditions = {"landmarks": Vector(size=landmarks)}
            self.embedding = torch.nn.Linear(landmarks, 3)

    monkeypatch.setitem(generators._entries, "landmarks", Landmarks)
    Landmarks.name = "landmarks"
    save_model(tmp_path / "landmarks.safetensors", Landmarks(), ModelInfo("own"))
    assert open_model(tmp_path / "landmarks.safetensors")[0].conditions["landmarks"].size == 136


def test_a_file_without_conditions_is_as_it_was(path, generator, tmp_path):
    facts = json.loads(read_header(path)["__metadata__"][KEY])
    assert facts["format"] == 1 and not {"conditions", "attributes"} & set(facts)
    ranged = tmp_path / "ranged.safetensors"
    save_model(ranged, generator, ModelInfo(range=ValueRange(0, 4095)))
    facts = json.loads(read_header(ranged)["__metadata__"][KEY])
    assert facts["format"] == 2 and not {"conditions", "attributes"} & set(facts)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": 1}, "conditions missing or wrong"),
        ({"conditions": ...}, "conditions missing or wrong"),
        ({"conditions": {}}, "conditions missing or wrong"),
        ({"conditions": ["mask"]}, "conditions missing or wrong"),
        ({"conditions": {"mask": {"kind": "mask"}}}, "contradicts itself: it says conditions"),
        ({"conditions": {"mask": {"kind": "ids"}}}, "contradicts itself"),
        ({"conditions": {"mask": "mask"}}, "contradicts itself"),
        ({"conditions": {"x\x1b]0;" * 10_000: {}}}, "contradicts itself"),
        ({"arguments": {"names": "mask"}}, "contradicts itself"),
        ({"attributes": {"attributes": ["a", "b"]}}, "takes no vector attributes of 2 numbers"),
        ({"attributes": {"mask": ["a", "b", "c"]}}, "takes no vector mask"),
        ({"attributes": {"y\x1b" * 10_000: ["a", "b", "c"]}}, "takes no vector"),
        ({"attributes": ["a"]}, "attributes missing or wrong"),
        ({"attributes": {"attributes": "abc"}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": []}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": ["a", "a", "b"]}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": ["a", "b", 3]}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": ["a", "b", ["c"]]}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": ["a", "b", "\x1b[2J"]}}, "attributes missing or wrong"),
        ({"attributes": {"attributes": ["a", "b", "c" * 1000]}}, "attributes missing or wrong"),
        ({"exclusive": [["a", "z"]], "attributes": {"attributes": ["a", "b", "c"]}}, "exclusive missing or"),
        ({"exclusive": [["a"]], "attributes": {"attributes": ["a", "b", "c"]}}, "exclusive missing or wrong"),
        (
            {"exclusive": [["a", ["b"]]], "attributes": {"attributes": ["a", "b", "c"]}},
            "exclusive missing or",
        ),
        ({"exclusive": {"a": "b"}}, "exclusive missing or wrong"),
        ({"exclusive": [["a", "b"]], "attributes": {}}, "exclusive missing or wrong"),
    ],
)
@pytest.mark.sampled(10)
def test_a_header_that_lies_about_conditions(conditional, changes, match):
    rewrite(conditional, **changes)
    with pytest.raises(ModelError, match=match) as caught:
        open_model(conditional)
    assert len(str(caught.value)) < 2000 and "\x1b" not in str(caught.value)


def test_conditions_of_a_network_that_takes_none(path):
    rewrite(path, format=3, conditions={"mask": {"kind": "mask"}})
    with pytest.raises(ModelError, match="contradicts itself: it says conditions"):
        open_model(path)


def test_names_of_numbers_that_a_network_does_not_take_are_not_written(tmp_path, generator):
    for attributes in ({"attributes": ("a",)}, {"mask": ("a",)}):
        with pytest.raises(ModelError, match="names no numbers of its network"):
            save_model(tmp_path / "m.safetensors", generator, ModelInfo(attributes=attributes))
    assert not list(tmp_path.iterdir())


def test_a_header_may_leave_the_size_out(path):
    rewrite(path, size=...)
    assert open_model(path)[1].size is None


@pytest.mark.parametrize("text", ["", "[]", "{", "7", "[" * 100_000])
def test_our_entry_is_not_the_object_it_should_be(path, text):
    state = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save(state, {KEY: text}))
    with pytest.raises(ModelError, match="damaged"):
        open_model(path)


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[1, 2]",
        b'{"a": 3}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}',
        b'{"a":' * 60_000,
    ],
)
def test_a_header_of_nonsense(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 64)
    with pytest.raises(ModelError, match="not a safetensors file"):
        open_model(path)


def test_a_huge_header_is_not_read(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER + 1))
        file.truncate(MAX_HEADER + 100)
    with pytest.raises(ModelError, match="no model's"):
        open_model(path)


def test_weights_that_are_not_finite(tmp_path, generator):
    with torch.no_grad():
        generator.body[0].bias[0] = float("nan")
    save_model(tmp_path / "m.safetensors", generator, ModelInfo())
    with pytest.raises(ModelError, match=r"not finite numbers, for example in body\.0\.bias"):
        open_model(tmp_path / "m.safetensors")


def test_no_file_is_a_sentence(tmp_path):
    with pytest.raises(ModelError, match=r"none\.safetensors: cannot be read"):
        open_model(tmp_path / "none.safetensors")


def test_the_fingerprint_tells_weights_apart(generator):
    state = generator.state_dict()
    first = fingerprint(state)
    assert first == fingerprint(dict(reversed(state.items())))
    with torch.no_grad():
        generator.body[0].bias[0] += 1
    assert fingerprint(generator.state_dict()) != first


class Written(TorchDispatchMode):
    """Writes down what is computed within it."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def test_opening_fills_no_weights(path):
    random = {"uniform_", "normal_"}
    with Written() as written, torch.device("meta"):
        SRResNet(**SRResNet.tiny)
    assert written.names & random
    with Written() as written:
        open_model(path)
    assert not written.names & random


@pytest.mark.slow
def test_opening_imports_nothing_heavy(path):
    """Filling weights on the meta device would make torch import 900 modules, for 150 MiB."""
    code = (
        "import sys; from img2img.checkpoint import open_model; from pathlib import Path; "
        "before = len(sys.modules); open_model(Path(sys.argv[1])); print(len(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_and_averages_in_full(tmp_path, dtype):
    torch.manual_seed(0)
    network = SRResNet(**SRResNet.tiny)
    network(torch.rand(2, 3, 8, 8))
    save_model(tmp_path / "m.safetensors", network, ModelInfo(), dtype)
    stored = safetensors.torch.load_file(tmp_path / "m.safetensors")
    opened, _ = open_model(tmp_path / "m.safetensors")
    buffers = dict(network.named_buffers())
    assert buffers
    for name, value in network.state_dict().items():
        kept = value if name in buffers else value.to(dtype)
        assert torch.equal(stored[name], kept) and stored[name].dtype == kept.dtype
        assert torch.equal(opened.state_dict()[name], kept.to(value.dtype))
    facts = json.loads(read_header(tmp_path / "m.safetensors")["__metadata__"][KEY])
    assert facts["sha256"] == fingerprint(stored)


def lie(path, header: dict, data: bytes = b"") -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("shape", "offsets", "dtype"),
    [
        ([10**12], [0, 0], "F32"),
        ([10**6, 10**6, 10**6], [0, 64], "F32"),
        ([16], [0, 64], "F64"),
        ([2**62, 4], [0, 0], "U8"),
        ([3], [8, 4], "U8"),
        ([16], [0, 64], "F7"),
        ([16], [0, 64], ["F32"]),
        ([], [0, 0], "F32"),
        ([1] * 1000, [0, 4], "F32"),
    ],
)
def test_a_tensor_that_is_said_to_be_larger_than_its_bytes(tmp_path, shape, offsets, dtype):
    path = tmp_path / "x.safetensors"
    lie(path, {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, bytes(64))
    with pytest.raises(ModelError, match=r"both cannot be|of the type|not a safetensors file"):
        read_header(path)


def test_tensors_that_share_their_bytes(path):
    entry = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    lie(path, {f"body.{i}.weight": entry for i in range(1000)}, bytes(64))
    with pytest.raises(ModelError, match="is damaged"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("compact", {"convs": 30_000}),
        ("compact", {"convs": 4000}),
        ("rrdbnet", {"blocks": 4096, "features": 1, "growth": 1}),
        ("rrdbnet", {"features": 10**9}),
        ("rrdbnet", {"blocks": -1}),
        ("rrdbnet", {"blocks": 1e9}),
        ("rrdbnet", {"scale": 10**400}),
        ("unet", {"downs": 10**6}),
        ("resnet", {"downs": 4000}),
        ("resnet", {"blocks": [1, 2]}),
        ("resnet", {"features": 2.5}),
        ("edsr", {"scale": 2**40}),
        ("srresnet", {"blocks": True, "features": 0}),
    ],
)
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.sampled(10)
def test_arguments_that_the_weights_cannot_fill(path, monkeypatch, architecture, arguments, large):
    """Neither a long tensor nor an empty one of a long shape makes room for more layers."""
    made = []
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: made.append(self))
    state = {"a": torch.zeros(40_000), "b": torch.zeros(0, 10**9)} if large else {"a": torch.zeros(1)}
    rewrite(path, architecture=architecture, arguments=arguments)
    facts = json.loads(read_header(path)["__metadata__"][KEY]) | {"sha256": fingerprint(state)}
    path.write_bytes(safetensors.torch.save(state, {KEY: json.dumps(facts)}))
    with pytest.raises(ModelError, match=r"cannot fill|do not fit|cannot build|does not fit"):
        open_model(path)
    assert len(made) < 100


def test_messages_do_not_repeat_what_a_header_is_full_of(path):
    rewrite(path, origin={}, arguments={"scale\x1b]0;": "x" * 100_000, "features": "y" * 100_000})
    with pytest.raises(ModelError) as caught:
        open_model(path)
    assert len(str(caught.value)) < 2000 and "\x1b" not in str(caught.value)
