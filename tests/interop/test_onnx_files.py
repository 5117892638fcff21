"""ONNX files of others: opened where the graph leaves no question, refused by a sentence where it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2img.checkpoint import fingerprint
from img2img.errors import ConfigError, ModelError, ProcessingError, UnknownModelError
from img2img.inference import load_model
from img2img.inference.backends import choose_backend
from img2img.interop import open_checkpoint
from img2img.interop.onnx_runtime import OnnxError, providers
from img2img.models import Compact
from img2img.models.interpolation import interpolate
from img2img.training.initial import architecture, load_initial

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxruntime"))), reason="the extra `onnx` is not installed"
)
FLOAT, HALF, INT64 = 1, 10, 7
Shape = Sequence[Any]


def graph(
    path: Path,
    nodes: list[tuple[Any, ...]],
    given: Shape = ("n", 3, "h", "w"),
    made: Shape | None = None,
    numbers: dict[str, Any] | None = None,
    kind: int = FLOAT,
    metadata: dict[str, str] | None = None,
    further: Sequence[str] = (),
    kind_made: int | None = None,
) -> Path:
    """Writes a graph from `x` to `y`; a node is (kind, inputs, output, attributes)."""
    from onnx import helper, numpy_helper

    inputs = [helper.make_tensor_value_info("x", kind, given)]
    inputs += [helper.make_tensor_value_info(name, FLOAT, [1]) for name in further]
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node(kind_, list(taken), [output], **(rest[0] if rest else {}))
                for kind_, taken, output, *rest in nodes
            ],
            "g",
            inputs,
            [helper.make_tensor_value_info("y", kind_made or kind, made or [None] * len(given))],
            [numpy_helper.from_array(value, name) for name, value in (numbers or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def doubling(channels: int = 3) -> dict[str, Any]:
    """Returns what enlarges to twice the size without a change of values."""
    weights = np.zeros((4 * channels, channels, 1, 1), np.float32)
    for channel in range(channels):
        weights[4 * channel : 4 * channel + 4, channel] = 1
    return {
        "nodes": [
            ("Conv", ("x", "w"), "c"),
            ("DepthToSpace", ("c",), "y", {"blocksize": 2, "mode": "CRD"}),
        ],
        "numbers": {"w": weights},
    }


PICTURE = np.random.default_rng(0).integers(0, 256, (37, 41, 3), np.uint8)


def test_an_enlarging_network_of_others(tmp_path: Path) -> None:
    path = graph(tmp_path / "x2.onnx", **doubling())
    with pytest.warns(RuntimeWarning, match=r"x2\.onnx does not say .* RGB from 0 to 1 is assumed"):
        model = load_model(path)
        result = model(PICTURE)
    assert model.generator.scale == 2
    np.testing.assert_array_equal(result, PICTURE.repeat(2, 0).repeat(2, 1))


def test_a_name_says_nothing_and_tiles_fit(tmp_path: Path) -> None:
    """Found by content; and for a picture of many pixels there are tiles, with a deep colour."""
    path = graph(tmp_path / "model.pth", **doubling(1), given=("n", 1, "h", "w"))
    picture = np.random.default_rng(1).integers(0, 2**16, (150, 130), np.uint16)
    with pytest.warns(RuntimeWarning, match="grey from 0 to 1"):
        result = load_model(path, tile=64)(picture)
    np.testing.assert_array_equal(result, picture.repeat(2, 0).repeat(2, 1))


def transposed(multiple: int) -> list[tuple[Any, ...]]:
    """Returns what needs sides that are multiples of `multiple` and changes nothing."""
    return [
        ("SpaceToDepth", ("x",), "d", {"blocksize": multiple}),
        ("DepthToSpace", ("d",), "y", {"blocksize": multiple}),
    ]


@pytest.mark.parametrize("multiple", [1, 4, 64])
def test_what_sides_must_be_multiples_of(tmp_path: Path, multiple: int) -> None:
    model, _ = open_checkpoint(graph(tmp_path / "m.onnx", transposed(multiple)))
    assert (model.scale, model.multiple_of) == (1, multiple)
    with pytest.warns(RuntimeWarning, match="is assumed"):
        result = load_model(tmp_path / "m.onnx")(PICTURE)
    np.testing.assert_array_equal(result, PICTURE)


@pytest.mark.parametrize("count", ["n", 1])
def test_channels_last_one_at_a_time(tmp_path: Path, count: object) -> None:
    path = graph(tmp_path / "m.onnx", [("Identity", ("x",), "y")], (count, "h", "w", 3))
    with pytest.warns(RuntimeWarning, match="is assumed"):
        model = load_model(path)
        results = [model(PICTURE), *model.generator(model_input(3)).numpy()]
    np.testing.assert_array_equal(results[0], PICTURE)
    assert len(results) == 4


def model_input(count: int) -> Any:
    import torch

    return torch.rand(count, 3, 32, 40)


def test_instance_norms_see_a_picture_as_a_whole(tmp_path: Path) -> None:
    one, zero = np.full(3, 0.1, np.float32), np.full(3, 0.5, np.float32)
    nodes = [("InstanceNormalization", ("x", "s", "b"), "y")]
    model, _ = open_checkpoint(graph(tmp_path / "m.onnx", nodes, numbers={"s": one, "b": zero}))
    assert model.tiling == "global_statistics"


SAME = [("Identity", ("x",), "y")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"nodes": [("Add", ("x", "strength"), "y")], "further": ["strength"]}, r"2 inputs \(x, strength\)"),
        ({"nodes": SAME, "given": ("n", 3, 256, 224)}, "for pictures of 224x256 alone"),
        ({"nodes": SAME, "given": ("n", "c", "h", "w")}, "which of its axes are the channels"),
        ({"nodes": SAME, "given": (4, 3, "h", "w")}, "for 4 pictures at once"),
        ({"nodes": SAME, "given": ("n", 3, "w")}, r"a picture is \(N, C, H, W\)"),
        ({"nodes": SAME, "kind": INT64}, "both must be float"),
        (
            {"nodes": [("Mul", ("x", "k"), "y")], "numbers": {"k": np.float32([255])}},
            "does not say which numbers are black and white",
        ),
        (
            {"nodes": [("Concat", ("x", "x", "x"), "y", {"axis": 1})]},
            "makes 9 channels of a picture",
        ),
        (
            {"nodes": [("AveragePool", ("x",), "y", {"kernel_shape": [2, 2], "strides": [2, 2]})]},
            "by a whole factor",
        ),
    ],
)
def test_a_question_left_open_is_a_sentence(tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UnknownModelError, match=sentence):
        open_checkpoint(graph(tmp_path / "m.onnx", **arguments))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"hello, this is text\n" * 9, "is no ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x08\x08\x12", "is no ONNX file"),
    ],
)
def test_what_is_called_onnx_and_is_not(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        open_checkpoint(path)


def test_words_that_are_no_utf_8_are_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = graph(tmp_path / "m.onnx", [("Identity", ("x",), "y")], metadata=own())
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"architecture", b"\xaarchitecture", 1))
    with pytest.raises(ModelError, match="damaged"):
        open_checkpoint(path)
    assert capsys.readouterr().out == "", "stdout is for results"


def test_a_device_that_onnx_runtime_does_not_have_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = open_checkpoint(graph(tmp_path / "m.onnx", **doubling(), metadata=own()))
    tried: list[str] = []

    def refuses(path: Path, device: torch.device) -> None:
        tried.append(device.type)
        raise OnnxError("no such device")

    monkeypatch.setattr("img2img.interop.onnx_files.Session", refuses)
    sessions = {model._on(torch.device("cuda")) for _ in range(3)}
    assert tried == ["cuda"] and sessions == {model._session}


@pytest.mark.slow
def test_a_file_cut_short_and_flipped(tmp_path: Path) -> None:
    whole = graph(tmp_path / "m.onnx", **doubling()).read_bytes()
    random = np.random.default_rng(5)
    for index in range(60):
        data = bytearray(whole[: random.integers(3, len(whole))] if index % 2 else whole)
        data[random.integers(0, len(data))] ^= 1 << random.integers(0, 8)
        path = tmp_path / f"{index}.onnx"
        path.write_bytes(data)
        try:
            open_checkpoint(path)
        except ModelError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("place", ["../secret", "link", "absolute", "missing"])
def test_data_from_outside_of_the_folder_is_not_read(tmp_path: Path, place: str) -> None:
    import onnx

    arguments = doubling()
    data = arguments["numbers"]["w"].tobytes()
    (tmp_path / "secret").write_bytes(data)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "beside").write_bytes(data)
    (folder / "link").symlink_to("../secret")
    path = graph(folder / "m.onnx", **arguments)

    def moved(location: str) -> None:
        model = onnx.load_model(path, load_external_data=False)
        (weights,) = model.graph.initializer
        weights.ClearField("raw_data")
        weights.data_location = onnx.TensorProto.EXTERNAL
        del weights.external_data[:]
        for key, value in (("location", location), ("length", str(len(data)))):
            weights.external_data.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())

    moved("beside")
    model, _ = open_checkpoint(path)
    assert model.scale == 2
    (folder / "beside").write_bytes((arguments["numbers"]["w"] / 2).tobytes())
    other, _ = open_checkpoint(path)
    assert fingerprint(model.state_dict()) != fingerprint(other.state_dict()), (
        "a folder would not be done again"
    )
    moved(str(tmp_path / "secret") if place == "absolute" else place)
    with pytest.raises(ModelError, match="no ONNX file, or a damaged one"):
        open_checkpoint(path)


def own(**changed: Any) -> dict[str, str]:
    """Returns the metadata of an exported model that enlarges, with changes; None leaves a fact out."""
    facts = {
        "format": 1, "architecture": "compact", "arguments": {}, "scale": 2, "colour": "RGB",
        "in_channels": 3, "out_channels": 3, "input_range": [0, 1], "output_range": [0, 1], "size": None,
        "fit": "squeeze", "output": "like_input", "origin": {}, "palette": None, "nearest": False,
        "range": None, "target_range": None,
        "sha256": "0" * 64, "inputs": ["x"], "layout": "NCHW", "multiple_of": 1, "minimum_size": 1,
        "tiling": "local", "receptive_field": 1, "live_features": 64, "noise": 0, "precision": "fp32",
    }  # fmt: skip
    facts |= changed
    return {"img2img": json.dumps({name: value for name, value in facts.items() if value is not None})}


def test_the_licence_in_the_metadata_is_told(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", **doubling(), metadata=own(license="Apache-2.0", source=""))
    _, info = open_checkpoint(path)
    assert info.origin == {"layout": "ONNX, exported by img2img", "license": "Apache-2.0"}


def test_metadata_of_ours_is_believed(tmp_path: Path) -> None:
    model = load_model(graph(tmp_path / "m.onnx", **doubling(), metadata=own(), made=("n", 3, "a", "b")))
    np.testing.assert_array_equal(model(PICTURE), PICTURE.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(
    "changed",
    [
        {"multiple_of": 2**31 - 1}, {"minimum_size": 10**6}, {"noise": 10**9}, {"scale": -2}, {"scale": 2.0},
        {"inputs": ["z"]}, {"inputs": None}, {"inputs": []}, {"tiling": "no"}, {"input_range": [1, 0]},
        {"output_range": None}, {"conditions": {"mask": {"kind": "mask"}}}, {"conditions": 3}, {"noise": 1},
        {"attributes": {"attributes": ["Male"]}},
        {"format": 4, "output": "labels", "labels": {"palette": [[0], [1]], "names": [], "ignore": None}},
    ],
)  # fmt: skip
def test_metadata_that_is_wrong_is_a_sentence(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = graph(tmp_path / "m.onnx", **doubling(), metadata=own(**changed))
    with pytest.raises(ModelError):
        open_checkpoint(path)


def test_a_graph_that_makes_no_numbers_is_a_sentence(tmp_path: Path) -> None:
    nodes = [("Shape", ("x",), "y")]
    path = graph(tmp_path / "m.onnx", nodes, metadata=own(), made=[None], kind_made=INT64)
    with pytest.raises(ModelError, match="contradicts itself"):
        open_checkpoint(path)


@pytest.mark.parametrize("changed", [{"scale": 3}, {"out_channels": 1}])
def test_metadata_that_lies_fails_the_picture(tmp_path: Path, changed: dict[str, Any]) -> None:
    model = load_model(graph(tmp_path / "m.onnx", **doubling(), metadata=own(**changed)))
    with pytest.raises(ProcessingError, match="the ONNX file makes"):
        model(PICTURE)


def test_other_backends_and_precisions_are_answered(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", **doubling(), metadata=own())
    with pytest.warns(RuntimeWarning, match="compile is left out: ONNX Runtime runs ONNX files"):
        load_model(path, backend="compile")(PICTURE)
    with pytest.raises(ConfigError, match="leave `precision` out"):
        load_model(path, precision="bf16")  # not first when a folder of pictures is under way


def test_weights_of_an_onnx_file_are_neither_trained_nor_blended(tmp_path: Path) -> None:
    path = graph(tmp_path / "m.onnx", **doubling(), metadata=own())
    network = Compact(features=4, convs=1, scale=2)
    for start in (lambda: architecture(path), lambda: load_initial(network, path)):
        with pytest.raises(ModelError, match="is an ONNX file, which cannot be trained"):
            start()
    model, _ = open_checkpoint(path)
    with pytest.raises(ConfigError, match="cannot be blended: an ONNX file"):
        interpolate(model, model, 0.5)


def test_without_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = graph(tmp_path / "m.onnx", **doubling())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"img2img\[onnx\]"):
        open_checkpoint(path)
    with pytest.raises(ConfigError, match=r"img2img\[onnx\]"):
        choose_backend(Compact(features=4, convs=1), "fp32", "onnxruntime")


def test_providers_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    import torch

    every = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers(torch.device("cpu"), every) == ["CPUExecutionProvider"]
    place = {"device_id": "1"}
    assert providers(torch.device("cuda", 1), every) == [
        ("CUDAExecutionProvider", place),
        "CPUExecutionProvider",
    ]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert [first for first, _ in providers(torch.device("cuda", 1), every)[:2]] == every[:2]
