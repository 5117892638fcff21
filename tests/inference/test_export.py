"""Exported networks compute what the network does, in programs that know nothing of img2img."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import Tensor, nn

from img2img.checkpoint import ModelInfo, save_model
from img2img.cli.main import cli
from img2img.errors import ConfigError, ModelError
from img2img.inference import load_model, openvino
from img2img.inference.backends import OnnxRuntime, choose_backend
from img2img.inference.cache import ModelCache
from img2img.inference.conditions import typical
from img2img.inference.export import export_model
from img2img.models import ArchSpec, Generator, build, generators

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))),
    reason="the extra `onnx` is not installed",
)
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
NETWORKS = {
    "unet": {"downs": 5},
    "resnet": {"blocks": 9},
    "rrdbnet": {"scale": 4},
    "compact": {"scale": 2},
    "span": {"scale": 4},
    "nafnet": {},
    "stargan": {},
}


def network(name: str, **arguments: Any) -> Generator:
    torch.manual_seed(3)
    return build(ArchSpec(name, {**generators[name].tiny, **arguments})).eval()


def picture(generator: Generator, count: int, height: int, width: int) -> dict[str, Tensor]:
    """Returns noise of that size, each side rounded up as the network needs it, and conditions."""
    unit = generator.multiple_of
    height, width = (max(-(-side // unit) * unit, generator.minimum_size) for side in (height, width))
    low, high = generator.input_range
    random = torch.Generator().manual_seed(height)
    x = torch.rand(count, generator.in_channels, height, width, generator=random) * (high - low) + low
    return {"input": x} | typical(generator, x)


def expected(generator: Generator, given: dict[str, Tensor]) -> np.ndarray[Any, Any]:
    conditions = {name: value for name, value in given.items() if name != "input"}
    with torch.inference_mode():
        return generator(given["input"], **conditions).numpy()


SHAPES = [(1, 33, 70), (1, 100, 47), (4, 50, 50), (2, 7, 9)]  # none of those that it is exported with


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_the_network_on_any_shape(tmp_path: Path, name: str) -> None:
    import onnxruntime

    generator = network(name, **NETWORKS[name])
    found = export_model(generator, ModelInfo(), tmp_path / "m.onnx")
    assert len(found.shapes) == 3
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        given = picture(generator, *shape)
        made = session.run(["output"], {name: value.numpy() for name, value in given.items()})[0]
        assert np.abs(made - expected(generator, given)).max() < 1e-3
    facts = json.loads(session.get_modelmeta().custom_metadata_map["img2img"])
    assert facts["inputs"] == [entry.name for entry in session.get_inputs()]
    for fact in ("scale", "multiple_of", "minimum_size", "tiling", "receptive_field"):
        assert facts[fact] == getattr(generator, fact)
    assert facts["input_range"] == list(generator.input_range)
    assert facts["colour"] == "RGB"
    assert facts["check"]["largest_difference"] == found.difference


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["unet", "compact", "stargan"])
def test_openvino_computes_the_network_on_any_shape(tmp_path: Path, name: str, precision: str) -> None:
    import openvino

    generator = network(name, **NETWORKS[name])
    export_model(generator, ModelInfo(), tmp_path / "m.xml", precision=precision)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    core = openvino.Core()
    model = core.read_model(tmp_path / "m.xml")
    facts = json.loads(model.get_rt_info("img2img").astype(str))
    assert (facts["architecture"], facts["precision"]) == (name, precision)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in SHAPES:
        given = picture(generator, *shape)
        made = compiled({name: value.numpy() for name, value in given.items()})["output"]
        assert np.abs(made - expected(generator, given)).max() < (1e-3 if precision == "fp32" else 4e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "compact", "stargan"])
def test_torch_alone_computes_the_network_on_any_shape(tmp_path: Path, name: str) -> None:
    generator = network(name, **NETWORKS[name])
    export_model(generator, ModelInfo(), tmp_path / "m.pt2")
    further = {"img2img.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=further)
    module = program.module(check_guards=False)
    assert json.loads(further["img2img.json"])["architecture"] == name
    for shape in SHAPES:
        given = picture(generator, *shape)
        made = module(*given.values()).detach().numpy()
        assert np.abs(made - expected(generator, given)).max() < 1e-3


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["compact", "unet"])
def test_half_precision_is_half_as_large(tmp_path: Path, name: str) -> None:
    generator = network(name, features=32)
    for precision in ("fp32", "fp16"):
        export_model(generator, ModelInfo(), tmp_path / f"{precision}.onnx", precision=precision)
    sizes = [(tmp_path / f"{precision}.onnx").stat().st_size for precision in ("fp32", "fp16")]
    assert sizes[1] < 0.7 * sizes[0]


class Stubborn(Generator):
    """Adds what only its Python code knows: how often it was called."""

    in_channels = out_channels = 3
    receptive_field, live_features = 1, 6
    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = self.layer(x) + self.calls
        return result


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.onnx", "m.pt2", pytest.param("m.xml", marks=needs_openvino)])
def test_what_differs_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"it is .* away from the network, .* nothing was written"):
        export_model(Stubborn().eval(), ModelInfo(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "format", "precision", "sentence"),
    [
        ("m.tflite", None, "fp32", r"which format is meant .* \.onnx, \.xml, \.pt2"),
        ("m.onnx", "pt2", "fp32", r"is called NAME\.pt2, not 'm\.onnx'"),
        ("m.onnx", "onx", "fp32", "onnx"),
        ("m.pt2", None, "bf16", "fp16"),
        ("no/such/m.pt2", None, "fp32", "does not exist"),
        ("there.pt2", None, "fp32", "is there already"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    tmp_path: Path, name: str, format: Any, precision: str, sentence: str
) -> None:
    (tmp_path / "there.pt2").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=sentence):
        export_model(network("compact"), ModelInfo(), tmp_path / name, format, precision)
    assert (tmp_path / "there.pt2").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes a pair of files as OpenVINO does, with a number of its own in both."""
    numbers = iter(range(1, 100))

    def save(model: Generator, path: Path, half: bool, metadata: Any) -> None:
        number = str(next(numbers))
        path.write_text(number)
        path.with_suffix(".bin").write_text(number)

    made = network("compact")
    monkeypatch.setattr(openvino, "version", lambda: "2026.1")
    monkeypatch.setattr(openvino, "model_of", lambda program, names: made)
    monkeypatch.setattr(openvino, "save", save)
    monkeypatch.setattr(openvino, "reader", lambda path: lambda given: made(**{"x": given["input"]}))


def pair_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("fails", [None, 1, 2, 3, 4])
def test_a_pair_of_files_is_the_old_or_the_new_one_at_any_moment(
    tmp_path: Path, converter: None, monkeypatch: pytest.MonkeyPatch, fails: int | None
) -> None:
    """Stands for a full disk, or a kill between two names; the .xml is what readers begin with."""
    generator, path = network("compact"), tmp_path / "m.xml"
    export_model(generator, ModelInfo(), path)
    old = pair_in(tmp_path)
    assert set(old) == {"m.xml", "m.bin"}
    replace, moves = Path.replace, 0

    def look() -> None:
        found = pair_in(tmp_path)
        assert "m.xml" not in found or found["m.xml"] == found.get("m.bin")

    def move(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == fails:
            raise OSError(28, "No space left on device")
        result = replace(self, target)
        look()
        return result

    monkeypatch.setattr(Path, "replace", move)
    if fails is None:
        export_model(generator, ModelInfo(), path, overwrite=True)
        assert moves == 4 and set(pair_in(tmp_path)) == set(old) and pair_in(tmp_path) != old
    else:
        with pytest.raises(ModelError, match="No space left"):
            export_model(generator, ModelInfo(), path, overwrite=True)
        assert pair_in(tmp_path) == old
    assert len(list(tmp_path.iterdir())) == 2  # and no folder


def test_a_pair_of_before_that_cannot_be_put_back_is_kept_and_named(
    tmp_path: Path, converter: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, path = network("compact"), tmp_path / "m.xml"
    export_model(generator, ModelInfo(), path)
    old, replace, moves = pair_in(tmp_path), Path.replace, 0

    def move(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves > 2:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", move)
    with pytest.raises(ModelError, match=r"Input/output error.*it lies in \S+before\. Move it back"):
        export_model(generator, ModelInfo(), path, overwrite=True)
    (kept,) = tmp_path.glob("*/before")
    assert pair_in(kept) == old and not pair_in(tmp_path)


def img2img(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("source", "output"), [("m.pt2", "m.pt2"), pytest.param("m.bin", "m.xml", marks=needs_openvino)]
)
def test_the_input_is_never_replaced(tmp_path: Path, source: str, output: str) -> None:
    save_model(tmp_path / source, network("compact"), ModelInfo())
    before = (tmp_path / source).read_bytes()
    result = img2img("model", "export", tmp_path / source, "-o", tmp_path / output, "--overwrite")
    assert result.exit_code == 2
    assert "is the input" in result.output
    assert (tmp_path / source).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@needs_onnx
@pytest.mark.slow
def test_the_command_and_the_file_as_a_model(tmp_path: Path) -> None:
    """A model of a range of its own, [-1, 1], exported by the command: used as the model itself is."""
    source, made = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    save_model(source, network("resnet"), ModelInfo("own", 48, {"source": "tests"}))
    (tmp_path / "m.md").write_text("---\npurpose: tests\nscale: 1\nlicense: MIT\ntraining_data: none\n---\n")
    result = img2img("model", "export", source, "-o", made)
    assert result.exit_code == 0, result.output
    assert "differs by" in result.output
    again = img2img("model", "export", source, "-o", made)
    assert again.exit_code == 2
    assert "--overwrite" in again.output
    assert img2img("model", "export", source, "-o", made, "--overwrite").exit_code == 0
    shown = img2img("model", "info", "--json", made)
    facts = json.loads(shown.stdout)
    assert (facts["trained_size"], facts["origin"]["source"]) == (48, "tests")
    random = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        pixels = random.integers(0, np.iinfo(dtype).max, (61, 50, 3), dtype)
        ours = load_model(source, backend="eager", precision="fp32")(pixels)
        with pytest.warns(RuntimeWarning, match="eager is left out"):
            theirs = load_model(made, backend="eager")(pixels)
        difference = np.abs(ours.astype(int) - theirs.astype(int)).max()
        assert difference <= max(1, np.iinfo(dtype).max * 1e-3)  # a half may round either way


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("name", ["compact", "stargan", "flow_unet"])
def test_the_backend_agrees_and_is_exported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    generator = network(name)
    cache = ModelCache(tmp_path)
    first = choose_backend(generator, "fp32", "onnxruntime", cache=cache)
    assert (first.name, first.note) == ("onnxruntime", "")
    monkeypatch.setattr("img2img.inference.backends.onnx_of", None)  # a second export would fail
    second = OnnxRuntime(generator, "fp32", cache)
    for shape in SHAPES:
        given = picture(generator, *shape)
        x = given.pop("input")
        given |= {key: value[None].expand(len(x), -1, -1, -1) for key, value in placed(generator, x).items()}
        with torch.inference_mode():
            reference = generator.infer(x, **given)
        for backend in (first, second):
            torch.testing.assert_close(backend(x, **given), reference, atol=1e-3, rtol=0)


def placed(generator: Generator, x: Tensor) -> dict[str, Tensor]:
    return generator.placed(0, 0, x.shape[2], x.shape[3])


@needs_onnx
@pytest.mark.slow
def test_a_damaged_file_in_the_cache_is_made_again(tmp_path: Path) -> None:
    generator = network("compact")
    OnnxRuntime(generator, "fp32", ModelCache(tmp_path))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(file.read_bytes()[:100])
    x = torch.rand(1, 3, 20, 20)
    made = OnnxRuntime(generator, "fp32", ModelCache(tmp_path))(x)
    torch.testing.assert_close(made, generator(x), atol=1e-3, rtol=0)


@needs_onnx
@pytest.mark.slow
def test_what_no_graph_can_hold_is_a_sentence(tmp_path: Path) -> None:
    for name in ("autoencoder", "dtn"):
        with pytest.raises(ConfigError, match="the model cannot be exported"):
            export_model(network(name), ModelInfo(), tmp_path / "m.onnx")
        with pytest.raises(ConfigError, match="ONNX Runtime cannot run this model"):
            choose_backend(network(name), "fp32", "onnxruntime", cache=ModelCache(tmp_path))
    assert list(tmp_path.iterdir()) == []


@needs_onnx
@pytest.mark.slow
def test_the_example_of_the_page_makes_what_img2img_makes(tmp_path: Path) -> None:
    """In a process without this package; with a model of [-1, 1] whose sides must be multiples of 32."""
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "use.py").write_text(code)
    pixels = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    for name, arguments in (("unet", {"downs": 5}), ("compact", {"scale": 2})):
        generator = network(name, **arguments)
        save_model(tmp_path / "m.safetensors", generator, ModelInfo())
        export_model(generator, ModelInfo(), tmp_path / "m.onnx", overwrite=True)
        command = [sys.executable, "-W", "error", "use.py", "m.onnx", "in.png", "out.png"]
        subprocess.run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, check=True)
        theirs = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
        ours = load_model(tmp_path / "m.safetensors", backend="eager")(pixels).astype(int)
        assert theirs.shape == ours.shape
        assert np.abs(theirs - ours).max() <= 1
        assert not np.array_equal(theirs, theirs[:1].repeat(len(theirs), 0))
