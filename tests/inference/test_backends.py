"""Backends agree with plain fp32 torch, and survive a damaged cache, a missing compiler, a busy machine."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from img2img.errors import ConfigError
from img2img.inference import Translator, backends, openvino
from img2img.inference.backends import (
    Compiled,
    Eager,
    choose_backend,
    equal_blocks,
    is_large,
    seconds_each,
    typical_input,
)
from img2img.inference.cache import ModelCache
from img2img.inference.conditions import typical
from img2img.models import ArchSpec, Generator, build, generators
from img2img.models.base import set_norm_stats
from img2img.models.dropout import set_dropout
from img2img.models.norm import Statistics

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is an extra and not installed"
)


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def network(name: str, **arguments: object) -> Generator:
    torch.manual_seed(3)
    return build(ArchSpec(name, {**generators[name].tiny, **arguments})).eval()


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


class Timed:
    """A backend that is called so many seconds."""

    name, precision, seconds, note = "timed", "fp32", 0.0, ""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x


@pytest.mark.parametrize("name", list(generators))
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("bf16", 0.04)])
@pytest.mark.sampled(4)
def test_eager_computes_what_the_network_does(name, precision, tolerance):
    generator = network(name)
    backend = choose_backend(generator, precision, "eager")
    x = typical_input(generator, 2)
    with torch.inference_mode():
        more = typical(generator, x)
        found, expected = backend(x, **more), generator(x, **more)
    assert (backend.name, backend.precision, backend.note) == ("eager", precision, "")
    assert found.dtype == torch.float32 and relative(found, expected) < tolerance
    assert next(generator.parameters()).dtype == torch.float32, "the network itself is not changed"


@needs_openvino
@pytest.mark.parametrize("name", [name for name in generators if not network(name).conditions])
def test_openvino_computes_what_the_network_does(name, cache):
    generator = network(name)
    unit, low = generator.multiple_of, max(32, generator.minimum_size)
    with torch.inference_mode():
        backend = choose_backend(generator, "fp32", "openvino", cache=cache)
        for count, height, width in [(1, 1, 2), (3, 2, 1)]:
            shape = (height * -(-low // unit) * unit, width * -(-low // unit) * unit)
            x = torch.rand(count, generator.in_channels, *shape)
            x = x.contiguous(memory_format=torch.channels_last)
            assert relative(backend(x), generator(x)) < 1e-4


@needs_openvino
def test_openvino_in_bf16_is_as_close_as_torch_in_bf16(cache):
    generator = network("srresnet", features=16)
    x = typical_input(generator)
    with torch.inference_mode():
        expected = generator(x)
        ours = relative(choose_backend(generator, "bf16", "eager")(x), expected)
        theirs = relative(choose_backend(generator, "bf16", "openvino", cache=cache)(x), expected)
    assert 0 < theirs < 2 * ours


@needs_openvino
def test_openvino_takes_the_norm_statistics_that_are_set(cache):
    generator = network("unet", dropout=False)
    for layer in generator.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    x = typical_input(generator)
    results = []
    for stats in ("image", "running"):
        set_norm_stats(generator, stats)
        with torch.inference_mode():
            results.append(choose_backend(generator, "fp32", "openvino", cache=cache)(x))
            assert relative(results[-1], generator(x)) < 1e-4
    assert relative(*results) > 0.01


@needs_openvino
def test_a_converted_network_is_read_from_the_cache(cache, monkeypatch):
    generator = network("compact")
    x = typical_input(generator)
    first = choose_backend(generator, "fp32", "openvino", cache=cache)(x)

    def refuse(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino, "_convert", refuse)
    assert torch.equal(choose_backend(generator, "fp32", "openvino", cache=cache)(x), first)
    with pytest.raises(AssertionError, match="converted again"):
        choose_backend(generator, "bf16", "openvino", cache=cache)
    with torch.no_grad():
        next(generator.parameters()).add_(0.1)
    with pytest.raises(AssertionError, match="converted again"):
        choose_backend(generator, "fp32", "openvino", cache=cache)


@needs_openvino
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_cache_is_replaced(damage, cache):
    generator = network("compact")
    x = typical_input(generator)
    first = choose_backend(generator, "fp32", "openvino", cache=cache)(x)
    (path,) = cache.folder.glob("*.openvino")
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        data = data[:-100]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "empty":
        data = bytearray()
    if damage == "foreign":  # intact for the cache, nonsense for OpenVINO
        cache.store(path.name, b"not a network")
    else:
        path.write_bytes(data)
    assert torch.equal(choose_backend(generator, "fp32", "openvino", cache=cache)(x), first)
    assert cache.load(path.name) is not None and len(cache.load(path.name) or b"") > 1000


@needs_openvino
def test_a_conversion_that_computes_something_else_is_refused(cache, monkeypatch):
    generator, other = network("compact"), network("compact")
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(0.3)
    convert = openvino._convert
    monkeypatch.setattr(openvino, "_convert", lambda ov, _: convert(ov, other))
    with pytest.raises(ConfigError, match="from torch"):
        choose_backend(generator, "fp32", "openvino", cache=cache)
    assert not cache.folder.exists() or not list(cache.folder.iterdir())


@needs_openvino
def test_openvino_reports_nothing_to_its_makers(cache):
    choose_backend(network("compact"), "fp32", "openvino", cache=cache)
    assert "openvino.tools.ovc" in sys.modules, "the part that would report has been loaded"
    assert sys.modules["openvino_telemetry"] is None
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]


def test_obstacles_are_sentences(monkeypatch):
    monkeypatch.setattr(openvino, "version", lambda: "1")
    generator = network("resnet", dropout=True)
    assert openvino.obstacle(generator, "fp32") is None
    assert "fp16" in str(openvino.obstacle(generator, "fp16"))
    set_dropout(generator, 1)
    assert "dropout" in str(openvino.obstacle(generator, "fp32"))
    set_dropout(generator, None)
    generator.head[0].norm.statistics = Statistics(torch.zeros(1, 4), torch.ones(1, 4))
    assert "frozen" in str(openvino.obstacle(generator, "fp32"))
    assert "meta" in str(openvino.obstacle(network("compact").to("meta"), "fp32"))
    monkeypatch.setattr(openvino, "version", lambda: None)
    assert "pip install img2img[openvino]" in str(openvino.obstacle(network("compact"), "fp32"))
    with pytest.raises(ConfigError, match="not installed"):
        choose_backend(network("compact"), "fp32", "openvino")


def test_an_unknown_backend_is_named_before_the_first_picture():
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        Translator(network("compact"), device="cpu", backend="openvno")


@pytest.fixture
def rivals(monkeypatch):
    """Lets a test say how fast eager and OpenVINO are; counts conversions and comparisons."""
    log: list[str] = []
    speed = {"eager": 1.0, "openvino": 1.0}

    class Fake(Timed):
        name = "openvino"

        def __init__(self, generator, precision, cache) -> None:
            super().__init__()
            log.append("converted")

    def measure(rivals, x, **_):
        log.append(f"compared {x.shape[0]}")
        return [speed[rival.name] for rival in rivals]

    monkeypatch.setattr(openvino, "version", lambda: "1")
    monkeypatch.setattr(backends, "OpenVino", Fake)
    monkeypatch.setattr(backends, "seconds_each", measure)
    monkeypatch.setattr(backends, "WORTH_CONVERTING", 10)
    return speed, log


@pytest.mark.parametrize(("seconds", "winner"), [(0.5, "openvino"), (0.98, "eager"), (2.0, "eager")])
def test_the_faster_one_is_chosen_and_remembered(seconds, winner, rivals, cache):
    speed, log = rivals
    speed["openvino"] = seconds
    generator = network("compact")
    assert choose_backend(generator, "fp32", cache=cache).name == winner
    assert log == ["converted", "compared 1"]
    (path,) = cache.folder.iterdir()
    assert json.loads(cache.load(path.name) or b"") == speed
    speed["openvino"] = 1 / seconds  # a busy machine would find the opposite
    assert choose_backend(generator, "fp32", cache=cache).name == winner
    assert log[2:] == (["converted"] if winner == "openvino" else [])


def test_the_comparison_depends_on_precision_and_batch(rivals, cache):
    _, log = rivals
    generator = network("compact")
    for precision, pixels in [("fp32", 0), ("bf16", 0), ("fp32", 64 * 64 * 2), ("fp32", 10**9)]:
        choose_backend(generator, precision, batch_pixels=pixels, cache=cache)
    assert [entry for entry in log if "compared" in entry] == [
        "compared 1",
        "compared 1",
        "compared 2",
        "compared 4",
    ]


def test_small_networks_are_not_worth_a_conversion(rivals, cache, monkeypatch):
    speed, log = rivals
    speed["openvino"] = 0.1
    monkeypatch.setattr(backends, "WORTH_CONVERTING", 100_000)
    assert choose_backend(network("compact"), "fp32", cache=cache).name == "eager" and not log


def test_a_failed_conversion_is_said_once_and_done_without(rivals, monkeypatch):
    class Broken:
        def __init__(self, *_: object) -> None:
            raise openvino.ConversionError("the conversion failed (no such operation).")

    monkeypatch.setattr(backends, "OpenVino", Broken)
    translator = Translator(network("compact"), device="cpu", precision="fp32")
    pixels = np.zeros((8, 8, 3), np.uint8)
    with pytest.warns(RuntimeWarning, match="OpenVINO is left out: the conversion failed"):
        first = translator(pixels)
    assert np.array_equal(translator(pixels), first)  # and no second warning, which would be an error


def test_without_a_compiler_the_network_runs_eagerly(monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found in g++\nand more")

    monkeypatch.setattr(torch, "compile", broken)
    generator = network("compact")
    backend = choose_backend(generator, "fp32", "compile")
    assert backend.name == "eager" and "No working C++ compiler found in g++" in backend.note
    x = typical_input(generator)
    assert torch.equal(backend(x), generator(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns about itself
@pytest.mark.parametrize(("name", "arguments"), [("compact", {}), ("resnet", {"blocks": 4})])
def test_compiled_computes_what_the_network_does(name, arguments):
    generator = network(name, **arguments)
    backend = Compiled(generator, "fp32")
    assert backend.name == "compile" and backend.seconds > 0
    assert bool(equal_blocks(generator)) == (name == "resnet")
    for count, side in [(1, 32), (3, 64)]:
        x = torch.rand(count, generator.in_channels, side, 2 * side)
        with torch.inference_mode():
            assert relative(backend(x), generator(x)) < 1e-5


def test_large_calls_are_run_by_the_network_in_strips(monkeypatch):
    generator = network("compact")
    monkeypatch.setattr(torch, "compile", lambda module, **_: lambda x: torch.zeros(()))
    backend = Compiled(generator, "fp32")
    small, large = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 512, 513)
    assert not is_large(small, generator) and is_large(large, generator)
    assert backend(small).ndim == 0
    with torch.inference_mode():
        assert torch.equal(backend(large), generator.infer(large))


def test_equal_blocks_are_those_in_a_row():
    assert len(equal_blocks(build(ArchSpec("rrdbnet", {"features": 8, "growth": 4})))) == 23
    assert len(equal_blocks(network("resnet", blocks=9))) == 9
    assert not equal_blocks(network("unet")) and not equal_blocks(network("compact", convs=20))


def test_rivals_take_turns_and_a_limit_ends_them():
    one, two = Timed(), Timed()
    assert len(seconds_each([one, two], torch.zeros(1), rounds=3)) == 2
    assert (one.calls, two.calls) == (4, 4)
    seconds = seconds_each([one], torch.zeros(1), rounds=3, limit=0)
    assert one.calls == 6 and 0 < seconds[0] < 1


def test_the_cache_forgets_what_was_not_used_for_longest(cache, monkeypatch):
    monkeypatch.setattr("img2img.inference.cache.MOST_BYTES", 3 * 132)
    for age, name in enumerate("abcd"):
        assert cache.store(name, bytes(100))
        os.utime(cache.folder / name, (1000 + age, 1000 + age))
    cache.store("e", bytes(100))
    assert sorted(path.name for path in cache.folder.iterdir()) == ["c", "d", "e"]
    assert cache.load("c") == bytes(100) and cache.load("a") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ModelCache(tmp_path / "file" / "cache")
    assert not cache.store("name", b"content") and cache.load("name") is None


def test_fp32_needs_no_copy_of_the_network():
    generator = network("compact")
    assert Eager(generator, "fp32").generator is generator
