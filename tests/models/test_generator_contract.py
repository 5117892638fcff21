"""What every registered generator promises; a new architecture is tested by being registered."""

from __future__ import annotations

import ast
import weakref
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

import img2img.models
from img2img.checkpoint import ModelInfo, open_model, save_model
from img2img.errors import ConfigError
from img2img.inference import Translator
from img2img.inference.precision import in_precision
from img2img.inference.schemes import Scheme, in_strips
from img2img.models import ArchSpec, Generator, build, generators

NAMES = list(generators)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=NAMES)
def generator(request: pytest.FixtureRequest) -> Generator:
    return build(ArchSpec(request.param, dict(generators[request.param].tiny))).eval()


def noise(generator: Generator, side: int, batch: int = 1) -> torch.Tensor:
    side = -(-max(side, generator.minimum_size) // generator.multiple_of) * generator.multiple_of
    low, high = generator.input_range
    return low + (high - low) * torch.rand(batch, generator.in_channels, side, side + generator.multiple_of)


def conditions(generator: Generator, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns what `generator` needs beside `x`; each kind of field has its line here."""
    made = {
        "picture": lambda field: torch.rand_like(x),
        "mask": lambda field: (torch.rand_like(x[:, :1]) > 0.8).to(x.dtype),
        "ids": lambda field: torch.randint(0, 9, x[:, :1].shape, dtype=torch.int32),
        "vector": lambda field: torch.rand(len(x), field.size),
    }
    return {name: made[field.kind](field) for name, field in generator.conditions.items()}


def companions(generator: Generator, height: int, width: int) -> dict[str, np.ndarray]:
    """Returns the same for the translator, as arrays."""
    rng = np.random.default_rng(1)
    made = {
        "picture": lambda field: rng.random((height, width, generator.in_channels), np.float32),
        "mask": lambda field: rng.random((height, width)) > 0.8,
        "ids": lambda field: rng.integers(0, 9, (height, width)),
        "vector": lambda field: rng.random(field.size),
    }
    return {name: made[field.kind](field) for name, field in generator.conditions.items()}


def test_every_file_that_registers_is_imported():
    folder = Path(img2img.models.__file__).parent
    registering = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any("generators.register" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    imported = {
        node.module.rpartition(".")[2]
        for node in ast.walk(ast.parse((folder / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert registering, "no file registers anything: this test looks in the wrong place"
    assert registering <= imported


def test_shape_scale_range_and_finiteness(generator):
    x = noise(generator, 24, batch=2)
    with torch.inference_mode():
        y = generator(x, **conditions(generator, x))
    n, _, height, width = x.shape
    assert y.shape == (n, generator.out_channels, height * generator.scale, width * generator.scale)
    assert y.isfinite().all()
    low, high = generator.output_range
    centre, spread = (low + high) / 2, high - low
    assert (y - centre).abs().max() < 4 * spread, "fresh weights leave the output range by far"


def test_images_of_a_batch_do_not_meet(generator):
    x = noise(generator, 24, batch=2)
    with torch.inference_mode():
        more = conditions(generator, x)
        first = {name: value[:1] for name, value in more.items()}
        torch.testing.assert_close(generator(x, **more)[:1], generator(x[:1], **first), rtol=1e-4, atol=1e-5)


def test_infer_equals_forward(generator):
    x = noise(generator, 40)
    more = conditions(generator, x)
    with torch.inference_mode():
        torch.testing.assert_close(generator.infer(x, **more), generator(x, **more), rtol=0, atol=1e-5)


def test_gradient_reaches_every_parameter_and_the_input(generator):
    x = noise(generator, 24, batch=2).requires_grad_()
    generator.train()(x, **conditions(generator, x)).square().mean().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
    without = [
        name
        for name, p in generator.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())
    ]
    assert not without
    learning = [p for p in generator.parameters() if p.requires_grad]
    moved = sum(bool(p.grad.abs().sum() > 0) for p in learning)
    # biases in front of a normalisation have a true gradient of zero
    assert moved >= 0.6 * len(learning)


@pytest.mark.sampled(6)
def test_spec_rebuilds_it(generator):
    again = build(generator.spec)
    assert again.spec == generator.spec
    again.load_state_dict(generator.state_dict())
    x = noise(generator, 16)
    more = conditions(generator, x)
    with torch.inference_mode():
        assert torch.equal(again.eval()(x, **more), generator(x, **more))


def test_model_file_round_trip_is_bit_exact(generator, tmp_path):
    path = tmp_path / "model.safetensors"
    info = ModelInfo("own", 256, {"run": "test"})
    save_model(path, generator, info)
    again, read = open_model(path)
    assert read == info and again.spec == generator.spec and not again.training
    x = noise(generator, 16)
    more = conditions(generator, x)
    with torch.inference_mode():
        assert torch.equal(again(x, **more), generator(x, **more))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 3), (17, 30)])
@pytest.mark.sampled(26)
def test_any_size_goes_through_the_translator(generator, height, width):
    translator = Translator(generator, ModelInfo("own"), device="cpu", precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, generator.in_channels), np.uint8)
    result = translator(pixels, **companions(generator, height, width))
    assert result.shape == (height * generator.scale, width * generator.scale, generator.out_channels)
    assert result.dtype == np.uint8


@pytest.mark.sampled(9)
def test_in_half_precision_it_computes_the_same_and_ends_in_full(generator):
    x = noise(generator, 24)
    more = conditions(generator, x)
    with torch.inference_mode():
        whole = generator.infer(x, **more)
        found = in_precision(generator, torch.bfloat16).infer(x, **more)
    assert found.dtype == (torch.float32 if generator.output_layers else torch.bfloat16)
    assert (found.float() - whole).abs().mean() < 0.05 * max(1, float(whole.abs().max()))


def test_tiled_equals_whole_where_tiling_is_local(generator):
    if generator.tiling != "local":
        pytest.skip(f"tiling is {generator.tiling}")
    pixels = np.random.default_rng(0).random((90, 75, generator.in_channels), np.float32)
    info, more = ModelInfo("own"), companions(generator, 90, 75)
    whole = Translator(generator, info, device="cpu", tile=10_000)(pixels, **more)
    tiled = Translator(generator, info, device="cpu", tile=16)(pixels, **more)
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=2e-5)


def test_strips_equal_the_whole(generator):
    """Every way through a network for large pictures gives what `forward` gives."""
    if generator.conditions:
        pytest.skip("strips carry no conditions: such a network is run as a whole")
    x = noise(generator.double(), 40).double()
    height, width = x.shape[2:]
    costs = generator.strip_costs(height, width, 8)
    with torch.inference_mode():
        whole = generator(x)
    for cost, next_cost in pairwise(costs):
        assert cost.fixed >= next_cost.fixed, "they stand from the fastest to the one that needs least"
    for cost in costs:
        found = list(in_strips(generator, x, Scheme(cost.kept, 2 * generator.multiple_of, 0)))
        assert [start for start, _ in found] == list(
            accumulate((part.shape[2] for _, part in found[:-1]), initial=0)
        )
        torch.testing.assert_close(torch.cat([part for _, part in found], 2), whole, rtol=0, atol=1e-9)
    if not costs:
        with pytest.raises(TypeError):
            next(iter(in_strips(generator, x, Scheme("one map", 8, 0))))


def test_weights_keep_what_the_arguments_promise(generator):
    generator.check_state()
    arguments = generator.fine_tuning_arguments()
    assert {k for k, v in generator.spec.arguments.items() if arguments[k] != v} <= set(
        generator.training_arguments
    )
    again = build(ArchSpec(generator.spec.name, arguments)).eval()
    again.load_state_dict(generator.state_dict())
    again.check_state()
    x = noise(generator, 16)
    more = conditions(generator, x)
    with torch.inference_mode():
        expected = generator(x, **more)
        torch.testing.assert_close(again(x, **more), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(generator.exported()(x, **more), expected, rtol=1e-4, atol=1e-5)


def test_receptive_field_is_exact(generator):
    """One cell of the input changes; how far away the output changes is the radius, no more and no less."""
    if generator.tiling != "local":
        pytest.skip(f"tiling is {generator.tiling}")
    unit, scale, radius = generator.multiple_of, generator.scale, generator.receptive_field
    generator.double()
    for weight in generator.parameters():
        if weight.ndim > 1:  # fresh residual branches are so weak that their changes would be rounded away
            torch.nn.init.normal_(weight, std=2 / weight[0].numel() ** 0.5)
    side = unit * (2 * (-(-radius // unit)) + 5)
    middle = side // 2 // unit * unit
    x = torch.rand(1, generator.in_channels, side, side, dtype=torch.float64)
    other = x.clone()
    other[:, :, middle : middle + unit, middle : middle + unit] += 1
    more = conditions(generator, x)
    with torch.inference_mode():
        changed = (generator(x, **more) != generator(other, **more)).any(1)[0]
    for axis in (0, 1):
        touched = changed.any(axis).nonzero()[:, 0]
        before = middle - int(touched.min()) // scale
        after = int(touched.max()) // scale - (middle + unit - 1)
        reach = max(before, after)
        assert radius - unit < reach <= radius, (before, after, radius)


class LiveBytes(TorchDispatchMode):
    """Watches how many bytes of tensor storage are alive at once."""

    def __init__(self, *already: torch.Tensor) -> None:
        super().__init__()
        self.alive: WeakIdKeyDictionary = WeakIdKeyDictionary(ref_type=weakref.ref)
        self.peak = 0
        self.watch(already)

    def watch(self, values) -> None:
        for tensor in tree_leaves(values):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.alive[storage] = storage.nbytes()
        self.peak = max(self.peak, sum(self.alive.values()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.watch(result)
        return result


@pytest.mark.parametrize("side", [64, 96])
@pytest.mark.sampled(20)
def test_live_features_is_not_below_the_measured_peak(generator, side):
    x = noise(generator, side)
    x = x.contiguous(memory_format=torch.channels_last)
    generator.to(memory_format=torch.channels_last)
    more = conditions(generator, x)
    with torch.no_grad(), LiveBytes(x, *more.values()) as live:
        result = generator.infer(x, **more)
    measured = live.peak / 4 / (x.shape[2] * x.shape[3])
    assert result.isfinite().all()
    assert measured <= generator.live_features, "tiles would need more memory than they are given"
    assert generator.live_features <= 3 * measured + 64, "tiles would be needlessly small"


def test_the_measurement_sees_what_is_alive():
    with LiveBytes() as live:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b + 1
        del b
    assert live.peak == 8000 and c.numel() == 1000


def test_an_unknown_architecture_offers_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'compact'"):
        build(ArchSpec("compcat"))


def test_wrong_arguments_are_a_sentence():
    with pytest.raises(ConfigError, match=r"'compact'.*unexpected.*its arguments are: in_channels"):
        build(ArchSpec("compact", {"widht": 3}))
