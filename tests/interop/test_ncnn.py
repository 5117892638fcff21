"""Graphs and numbers of ncnn, written here as its converters write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from img2img.errors import ModelError, UnknownModelError
from img2img.inference import load_model
from img2img.interop import open_checkpoint
from img2img.models import SPAN, Compact, Generator, RRDBNet
from img2img.models.span import MEANS

HALF, FLOAT, INT8 = 0x01306B47, 0, 0x000D4B38
DATA = os.environ.get("IMG2IMG_TEST_DATA")


class Writer:
    """Builds a graph line by line; every value that several layers take goes through a Split, as there."""

    def __init__(self, flag: int = HALF, fused: bool = True) -> None:
        self.rows: list[str] = []
        self.numbers = b""
        self.flag, self.fused = flag, fused
        self.add("Input", 0, name="data")

    def add(self, kind: str, *inputs: object, settings: str = "", name: str = "") -> str:
        sources = [str(each) for each in inputs if isinstance(each, str)]
        made = name or f"v{len(self.rows)}"
        self.rows.append(
            f"{kind} {kind}_{len(self.rows)} {len(sources)} 1 {' '.join([*sources, made])} {settings}"
        )
        return made

    def conv(self, x: str, layer: nn.Conv2d, slope: float | None = None) -> str:
        weight, bias = layer.weight.detach(), layer.bias.detach()
        side = weight.shape[2]
        settings = f"0={weight.shape[0]} 1={side} 4={side // 2} 5=1 6={weight.numel()}"
        fused = slope is not None and self.fused
        made = self.add("Convolution", x, settings=settings + (f" 9=2 -23310=1,{slope:e}" if fused else ""))
        self.numbers += self.flag.to_bytes(4, "little")
        half = self.flag == HALF
        data = weight.numpy().astype("<f2" if half else "<f4").tobytes()
        self.numbers += data + b"\0" * (-len(data) % 4) + bias.numpy().astype("<f4").tobytes()
        return made if slope is None or fused else self.add("ReLU", made, settings=f"0={slope:e}")

    def split(self, x: str, count: int) -> list[str]:
        made = [f"{x}_s{i}" for i in range(count)]
        self.rows.append(f"Split split_{len(self.rows)} 1 {count} {x} {' '.join(made)}")
        return made

    def write(self, stem: Path) -> Path:
        text = "\n".join(["7767517", f"{len(self.rows)} {2 * len(self.rows)}", *self.rows])
        stem.with_suffix(".param").write_text(text + "\n")
        stem.with_suffix(".bin").write_bytes(self.numbers)
        return stem.with_suffix(".param")


def compact(network: Compact, writer: Writer) -> Writer:
    x, skip = writer.split("data", 2)
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            x = writer.conv(x, layer)
        elif isinstance(layer, nn.PReLU):
            x = writer.add("PReLU", x, settings=f"0={layer.weight.numel()}")
            writer.numbers += layer.weight.detach().numpy().astype("<f4").tobytes()
        else:
            x = writer.add("ReLU", x, settings="0=0.1" if isinstance(layer, nn.LeakyReLU) else "")
    x = writer.add("PixelShuffle", x, settings=f"0={network.scale}")
    up = writer.add("Interp", skip, settings=f"0=1 1={network.scale:e} 2={network.scale:e}")
    writer.add("BinaryOp", x, up, settings="0=0", name="output")
    return writer


def rrdbnet(network: RRDBNet, writer: Writer) -> Writer:
    def residual(y: str, x: str) -> str:
        if writer.fused:
            return writer.add("Eltwise", y, x, settings="0=1 -23301=2,2.0e-01,1.0e+00")
        return writer.add("BinaryOp", x, writer.add("BinaryOp", y, settings="0=2 1=1 2=2.0e-01"))

    x = "data"
    if network.unshuffle > 1:
        x = writer.add("Reorg", x, settings=f"0={network.unshuffle}")
    first = y = writer.conv(x, network.conv_first)
    for block in network.body:
        start = y
        for part in (block.rdb1, block.rdb2, block.rdb3):
            maps = [y]
            for layer in (part.conv1, part.conv2, part.conv3, part.conv4):
                joined = y if len(maps) == 1 else writer.add("Concat", *maps)
                maps.append(writer.conv(joined, layer, 0.2))
            y = residual(writer.conv(writer.add("Concat", *maps), part.conv5), y)
        y = residual(y, start)
    y = writer.add("BinaryOp", first, writer.conv(y, network.conv_body), settings="0=0")
    for name, layer in network.named_children():
        if name.startswith("conv_up"):
            y = writer.conv(writer.add("Interp", y, settings="0=1 1=2.0e+00 2=2.0e+00"), layer, 0.2)
    writer.conv(writer.conv(y, network.conv_hr, 0.2), network.conv_last)
    return writer


def span(network: SPAN, writer: Writer, factor: float = 255) -> Writer:
    x, mean = "data", network.spec.arguments["mean"]
    if mean != "none":
        constant = writer.add("MemoryData", settings="0=1 1=1 2=3")
        writer.numbers += np.array(MEANS[mean], "<f4").tobytes()
        x = writer.add("BinaryOp", x, constant, settings="0=1")
        if factor != 1:
            x = writer.add("BinaryOp", x, settings=f"0=2 1=1 2={factor:e}")
    first = y = writer.conv(x, network.first)
    below = early = ""
    for block in network.blocks:
        early = writer.add("Swish", writer.conv(y, block.conv1))
        late = writer.conv(writer.add("Swish", writer.conv(early, block.conv2)), block.conv3)
        late, again = writer.split(late, 2)
        weight = writer.add("BinaryOp", writer.add("Sigmoid", again), settings="0=1 1=1 2=5.0e-01")
        y = writer.add("BinaryOp", writer.add("BinaryOp", late, y, settings="0=0"), weight, settings="0=2")
        below = below or y
    joined = writer.add("Concat", first, writer.conv(y, network.after), below, early)
    y = writer.conv(writer.conv(joined, network.join), network.last)
    writer.add("PixelShuffle", y, settings=f"0={network.scale}")
    return writer


NETWORKS = [
    *((compact, Compact, {"features": 4, "convs": 2, "scale": scale}) for scale in (2, 4)),
    *((compact, Compact, {"features": 4, "convs": 1, "activation": kind}) for kind in ("relu", "leakyrelu")),
    *((rrdbnet, RRDBNet, {"features": 8, "growth": 4, "blocks": 2, "scale": scale}) for scale in (1, 2, 4)),
    (rrdbnet, RRDBNet, {"features": 8, "growth": 4, "blocks": 1, "scale": 2, "unshuffle": 2}),
    *((span, SPAN, {"features": 8, "blocks": 2, "scale": 2, "mean": mean}) for mean in (*MEANS, "none")),
]


def network(cls: type[Generator], arguments: dict[str, object]) -> Generator:
    """Returns a network whose weights fp16 holds exactly."""
    torch.manual_seed(0)
    made = cls(**arguments).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            spread = 0.7 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.normal_(0, spread).copy_(parameter.half().float())
    return made


def agrees(path: Path, expected: Generator, tolerance: float = 1e-5) -> None:
    x = torch.rand(1, 3, 8, 12)
    opened, _ = open_checkpoint(path)
    with torch.inference_mode():
        y: Tensor = expected(x)
        torch.testing.assert_close(opened.infer(x), y, rtol=0, atol=tolerance * max(1, float(y.abs().max())))


@pytest.mark.parametrize(
    ("write", "cls", "arguments"), NETWORKS, ids=lambda value: getattr(value, "__name__", str(value))
)
@pytest.mark.parametrize(("flag", "fused"), [(HALF, True), (FLOAT, False)])
@pytest.mark.sampled(4)
def test_it_computes_what_was_written(write, cls, arguments, flag: int, fused: bool, tmp_path: Path):
    original = network(cls, arguments)
    path = write(original, Writer(flag, fused)).write(tmp_path / "x.v1")
    agrees(path, original)
    opened, info = open_checkpoint(path)
    assert opened.spec == original.spec and info.origin["layout"].startswith("ncnn, ")


def test_spans_that_count_otherwise(tmp_path: Path):
    """Some learned without the factor of 255; nothing but the first layer can tell."""
    original = network(SPAN, {"features": 8, "blocks": 1, "scale": 2})
    path = span(original, Writer(FLOAT), factor=1).write(tmp_path / "x")
    with torch.no_grad():
        original.first.weight /= 255
    agrees(path, original)


def test_the_numbers_find_their_graph(tmp_path: Path):
    original = network(Compact, {"features": 4, "convs": 1})
    path = compact(original, Writer()).write(tmp_path / "x")
    assert path.with_suffix(".bin").is_file()
    agrees(path.with_suffix(".bin"), original)
    assert open_checkpoint(path.with_suffix(".bin"))[1].origin["file"] == "x.bin"
    assert load_model(path, device="cpu").scale == 4


def test_weights_by_the_number_of_an_entry(tmp_path: Path):
    """ncnn's older storage: a table of 256, and a byte for each weight."""
    original = network(Compact, {"features": 4, "convs": 0, "scale": 1, "in_channels": 4, "out_channels": 4})
    writer = Writer(FLOAT)
    with torch.no_grad():
        table = torch.linspace(-0.5, 0.5, 256)
        for layer in (original.body[0], original.body[2]):
            layer.weight.copy_(table[torch.randint(0, 256, layer.weight.shape)])
    compact(original, writer)
    count = original.body[0].weight.numel()
    for layer in (original.body[0], original.body[2]):
        plain = bytes(4) + layer.weight.detach().numpy().astype("<f4").tobytes()
        places = (
            (layer.weight.detach().reshape(-1, 1) - table).abs().argmin(1).numpy().astype(np.uint8).tobytes()
        )
        coded = b"\1\0\0\0" + table.numpy().tobytes() + places + b"\0" * (-count % 4)
        assert writer.numbers.count(plain) == 1
        writer.numbers = writer.numbers.replace(plain, coded)
    path = writer.write(tmp_path / "x")
    opened, _ = open_checkpoint(path)
    torch.testing.assert_close(opened.state_dict(), original.state_dict(), rtol=0, atol=1e-6)


def spoiled(tmp_path: Path, change: str) -> Path:
    path = compact(network(Compact, {"features": 4, "convs": 1}), Writer()).write(tmp_path / "x")
    numbers = path.with_suffix(".bin")
    text, data = path.read_text(), numbers.read_bytes()
    match change:
        case "truncated":
            numbers.write_bytes(data[:-6])
        case "longer":
            numbers.write_bytes(data + b"abcd")
        case "missing":
            numbers.unlink()
        case "int8":
            numbers.write_bytes(INT8.to_bytes(4, "little") + data[4:])
        case "huge":
            path.write_text(re.sub(r"6=108", "6=108000000000", text))
        case "layers":
            path.write_text("\n".join(text.splitlines()[:-1]))
        case "text":
            path.write_text("7767517\nonce upon a time\n")
        case "empty":
            path.write_text("7767517\n")
        case "renamed":
            path.write_text("x" + text)
        case "binary":
            path.write_bytes(b"7767517" + bytes(range(256)))
        case "dangling":
            path.write_text(text.replace(" data_s0 v", " nobody v"))
        case _:
            old, new = change.split(">")
            assert old in text
            path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "truncated",
            r"x\.param: does not fit its \.bin, which ends in the layer Convolution 'Convolution_6'",
        ),
        ("longer", "4 bytes more than it needs"),
        ("missing", r"x\.bin is not beside it"),
        ("int8", "weights of 8 bits, in Convolution 'Convolution_2'"),
        ("huge", "ends in the layer Convolution 'Convolution_2'"),
        ("layers", "announces 10 layers and has 9"),
        ("text", "second line counts layers and values, and is 'once upon a time'"),
        ("empty", "second line counts layers and values, and is missing"),
        *((change, r"no graph of ncnn, whose first line is 7767517") for change in ("binary", "renamed")),
        ("dangling", "Convolution 'Convolution_2' takes 'nobody', which no layer before it makes"),
        ("6=108>6=108,2", r"'6=108,2' of the layer 'Convolution_2' in line 5 is no setting"),
        ("6=108>6=many", r"'6=many' of the layer 'Convolution_2' in line 5 is no setting"),
        ("6=108>6=inf", r"'6=inf' of the layer 'Convolution_2' in line 5 is no setting"),
        ("6=108>-23306=2,108", r"'-23306=2,108' of the layer 'Convolution_2' in line 5 is no setting"),
        ("6=108>108", r"'108' of the layer 'Convolution_2' in line 5 is no setting"),
        ("ReLU_3 1 1>ReLU_3 1", r"line 6 is no layer, .*: 'PReLU PReLU_3 1 v2 v3 0=4'"),
        ("ReLU_3 1 1>ReLU_3 one 1", "line 6 is no layer"),
        ("ReLU_3 1 1>ReLU_3 -1 1", "line 6 is no layer"),
        (
            "ReLU_3 1 1>ReLU_3 1 999999999",
            "'PReLU_3' in line 6 takes 1 values and makes 999999999, and names",
        ),
        ("0=4 1=3>0=999999999 1=3", "108 weights are not those of 999999999 channels by kernels of 3 x 3"),
        ("0=4 1=3>0=-4 1=3", "'Convolution_2': -4 channels cannot be"),
        ("0=4 1=3>0=2.5 1=3", "'Convolution_2': 2.5 channels cannot be"),
        ("0=4 1=3>0=4 1=0", "'Convolution_2': 0 pixels along its kernel cannot be"),
        ("v2 v3 0=4>v2 v3 0=-4", "PReLU 'PReLU_3': -4 slopes cannot be"),
        ("v2 v3 0=4>v2 v3 0=999999999", "3,999,999,996 bytes are needed there and"),
        ("6=108>6=108 8=2", "weights of 8 bits, in Convolution 'Convolution_2'"),
        ("BinaryOp BinaryOp_9>Eltwise BinaryOp_9", "layer that is not known, Eltwise 'BinaryOp_9'"),
        ("PixelShuffle >Softmax ", "a layer that is not known, Softmax 'PixelShuffle_7'"),
        ("0=1 1=4.0>0=2 1=4.0", "not known, Interp 'Interp_8'"),
        ("1=4.000000e+00 2=4.000000e+00>1=4.5 2=4.5", "not known, Interp 'Interp_8'"),
        ("1=4.000000e+00 2=4.000000e+00>1=inf 2=inf", "'Interp_8'|line"),
        ("1=3 4=1>1=3 2=2 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 11=1 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 12=2 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 13=2 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 14=0 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 15=0 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 16=2 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 18=0.5 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 19=1 4=1", "not known, Convolution 'Convolution_2'"),
        ("1=3 4=1>1=3 3=2 4=1", "not known, Convolution 'Convolution_2'"),
        ("Interp >Sigmoid ", "another network: the layer Sigmoid 'Interp_8'"),
        ("0=0>0=2", "another network: the layer BinaryOp 'BinaryOp_9'"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(tmp_path: Path, change: str, says: str):
    with pytest.raises(ModelError, match=says):
        open_checkpoint(spoiled(tmp_path, change))


@pytest.mark.parametrize("named", ["x.param", "X.PARAM"])
def test_half_a_model_says_which_half_is_missing(tmp_path: Path, named: str):
    graph = compact(network(Compact, {"features": 4, "convs": 1}), Writer()).write(tmp_path / "x")
    numbers = graph.with_suffix(".bin")
    graph = graph.rename(tmp_path / named)
    numbers = numbers.rename(graph.with_suffix(".bin" if named.islower() else ".BIN"))
    assert open_checkpoint(numbers)[0].spec == open_checkpoint(graph)[0].spec
    held = graph.read_bytes()
    graph.write_text("a graph of something else")
    with pytest.raises(UnknownModelError, match=rf"{numbers.name}: .* its graph {named} is none of ncnn"):
        open_checkpoint(numbers)
    graph.unlink()
    with pytest.raises(UnknownModelError, match=rf"{numbers.name}: .* its graph is missing: [xX]\.param"):
        open_checkpoint(numbers)
    graph.write_bytes(held)
    numbers.unlink()
    with pytest.raises(ModelError, match=rf"{named}: .*[xX]\.bin is not beside it"):
        open_checkpoint(graph)
    graph.with_suffix(".bin").mkdir()
    with pytest.raises(ModelError, match=r"needs [xX]\.bin, which cannot be read: this is a folder"):
        open_checkpoint(graph)


def test_a_checkpoint_of_pytorch_may_be_called_bin(tmp_path: Path):
    torch.save(Compact(features=4, convs=1).state_dict(), tmp_path / "pytorch_model.bin")
    assert open_checkpoint(tmp_path / "pytorch_model.bin")[0].spec.name == "compact"


def test_a_network_that_resizes_its_result_is_named(tmp_path: Path):
    writer = compact(network(Compact, {"features": 4, "convs": 1}), Writer())
    writer.add("Interp", "output", settings="0=3 1=5.0e-01 2=5.0e-01")
    with pytest.raises(UnknownModelError, match=r"Interp 'Interp_10'\..* at its own scale"):
        open_checkpoint(writer.write(tmp_path / "x"))


def test_another_mean_is_named(tmp_path: Path):
    writer = span(network(SPAN, {"features": 8, "blocks": 1}), Writer())
    writer.numbers = np.array([0.1, 0.2, 0.3], "<f4").tobytes() + writer.numbers[12:]
    with pytest.raises(ModelError, match=r"takes \[0\.1, 0\.2, 0\.3\] off its input"):
        open_checkpoint(writer.write(tmp_path / "x"))


@pytest.mark.skipif(not DATA, reason="IMG2IMG_TEST_DATA is not set")
def test_a_published_model_equals_its_checkpoint():
    """Its converter cut weights off to half precision, the smallest to zero, and kept the rest."""
    folder = Path(DATA or "") / "data" / "weights" / "realesrgan"
    expected, _ = open_checkpoint(folder / "realesr-animevideov3.pth")
    found, _ = open_checkpoint(folder / "ncnn" / "realesr-animevideov3-x4.bin")
    assert found.spec == expected.spec
    for name, value in expected.state_dict().items():
        tolerance = 2**-10 if value.ndim == 4 else 0
        torch.testing.assert_close(found.state_dict()[name], value, rtol=tolerance, atol=2**-14)
    x = torch.linspace(0.1, 0.9, 24).outer(torch.linspace(0.3, 1, 16)).expand(1, 3, 24, 16)
    with torch.inference_mode():
        torch.testing.assert_close(found(x), expected(x), rtol=0, atol=1e-3)
