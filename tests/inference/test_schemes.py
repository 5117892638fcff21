"""Pictures in strips equal whole ones, and take the memory that was promised."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from img2img.errors import ProcessingError
from img2img.inference.schemes import Scheme, choose_scheme, in_strips, no_tiles, schemes
from img2img.models import AdaIN, Compact, CutResnet, Generator, Resnet, RRDBNet, StyleResnet, UNet, build
from img2img.models.base import set_norm_stats
from img2img.models.dropout import set_dropout
from img2img.models.norm import InstanceNorm, merged_statistics
from img2img.models.strips import Kept, reach, step, steps, strips

RESNETS: list[tuple[type[Generator], dict[str, Any]]] = [
    (Resnet, {"blocks": 2}),
    (Resnet, {"norm": "batch"}),
    (Resnet, {"norm": "none", "dropout": True}),
    (Resnet, {"upsample": "resize"}),
    (Resnet, {"downs": 1}),
    (Resnet, {"downs": 3, "blocks": 0}),
    (CutResnet, {}),
    (CutResnet, {"blur_down": False, "norm": "batch"}),
    (CutResnet, {"blur_up": False}),
]


def resnet(cls: type[Generator], arguments: dict[str, Any]) -> Generator:
    torch.manual_seed(0)
    generator = cls(**{**cls.tiny, **arguments}).eval()
    for layer in generator.modules():  # a norm with weights that do something
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -1, 1)
    return generator


def picture(generator: Generator, height: int, width: int, dtype: torch.dtype) -> Tensor:
    low, high = generator.input_range
    smooth = torch.rand(1, generator.in_channels, 4, 4, generator=torch.Generator().manual_seed(1))
    smooth = nn.functional.interpolate(smooth, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * (high - low) + low).to(dtype)


def whole(generator: Generator, x: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = generator(x)
    return result


def joined(found: Iterator[tuple[int, Tensor]]) -> Tensor:
    parts, height = [], 0
    for start, part in found:
        assert start == height
        parts.append(part)
        height += part.shape[2]
    return torch.cat(parts, 2)


@pytest.mark.parametrize("kept", ["two maps", "one map", "nothing"])
@pytest.mark.parametrize(("cls", "arguments"), RESNETS, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.sampled(5)
def test_normalising_networks_equal_whole(
    cls: type[Generator], arguments: dict[str, Any], kept: Kept
) -> None:
    generator = resnet(cls, arguments).double()
    x = picture(generator, 40, 24, torch.float64)
    expected = whole(generator, x)
    for rows in (3, 16, 1000):
        torch.testing.assert_close(
            joined(in_strips(generator, x, Scheme(kept, rows, 0))), expected, rtol=0, atol=1e-9
        )


@pytest.mark.parametrize("kept", ["two maps", "one map", "nothing"])
def test_one_row_at_a_time_in_fp32(kept: Kept) -> None:
    generator = resnet(Resnet, {})
    x = picture(generator, 16, 8, torch.float32)
    found = joined(in_strips(generator, x, Scheme(kept, 1, 0)))
    torch.testing.assert_close(found, whole(generator, x), rtol=0, atol=2e-5)


def test_running_statistics_are_used_as_they_are() -> None:
    generator = resnet(Resnet, {"norm": "batch"}).double()
    set_norm_stats(generator, "running")
    x = picture(generator, 24, 8, torch.float64)
    for kept in ("two maps", "nothing"):
        found = joined(in_strips(generator, x, Scheme(kept, 8, 0)))
        torch.testing.assert_close(found, whole(generator, x), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("scale", "unshuffle"), [(1, 1), (2, 1), (4, 1), (8, 1), (1, 4), (2, 2)])
@pytest.mark.sampled(3)
def test_rrdbnet_equals_whole(scale: int, unshuffle: int) -> None:
    torch.manual_seed(0)
    arguments = {**RRDBNet.tiny, "scale": scale, "unshuffle": unshuffle}
    generator = RRDBNet(**arguments).eval().double()
    x = picture(generator, 23 * unshuffle, 5 * unshuffle, torch.float64)
    expected = whole(generator, x)
    for kept in ("trunk", "one map"):
        for rows in (1, 10, 1000):
            found = joined(in_strips(generator, x, Scheme(kept, rows * unshuffle, 0)))
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("dtype", "height", "width", "rows"),
    [(torch.float32, 40, 32, 16), (torch.bfloat16, 10, 8, 4)],  # bfloat16 is slow where a CPU lacks it
)
@pytest.mark.sampled(1)
def test_the_tail_of_rrdbnet_is_bit_equal_at_its_published_width(
    dtype: torch.dtype, height: int, width: int, rows: int
) -> None:
    torch.manual_seed(0)
    generator = RRDBNet(blocks=1).eval().to(dtype)
    x = picture(generator, height, width, dtype)
    assert torch.equal(joined(in_strips(generator, x, Scheme("trunk", rows, 0))), whole(generator, x))


def test_statistics_survive_a_mean_far_from_zero() -> None:
    x = torch.randn(1, 3, 50, 40, generator=torch.Generator().manual_seed(0)) * 0.01 + 1000
    x[:, 2] = 7
    found = merged_statistics(x.split(7, 2))
    variance, mean = torch.var_mean(x.double(), (2, 3), correction=0)
    torch.testing.assert_close(found.mean.double(), mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.variance.double(), variance, rtol=1e-2, atol=1e-12)


def test_the_generator_is_as_before() -> None:
    generator = resnet(Resnet, {})
    x = picture(generator, 16, 8, torch.float32)
    before = whole(generator, x)
    found = in_strips(generator, x, Scheme("one map", 4, 0))
    next(found)
    assert any(layer.statistics for layer in generator.modules() if isinstance(layer, InstanceNorm))
    found.close()  # as when writing fails half way
    assert torch.equal(whole(generator, x), before)


def test_the_reach_is_the_true_one() -> None:
    generator = resnet(CutResnet, {"norm": "none"}).double()
    chain = [*steps(generator.head), *steps(generator.tail)]
    x = torch.zeros(1, 3, 120, 8, dtype=torch.float64)
    x[:, :, 60] = 1
    with torch.no_grad():
        whole_rows = joined(strips(chain, x, 120)) - joined(strips(chain, torch.zeros_like(x), 120))
    touched = whole_rows.abs().amax((0, 1, 3)).nonzero()
    assert 60 - int(touched.min()) <= reach(chain)
    assert int(touched.max()) - 60 <= reach(chain)


class Memory(TorchDispatchMode):
    """Counts the bytes that live tensors hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.largest = 0
        self.sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("meta")  # from where nothing can be copied to the CPU
        result = func(*args, **kwargs)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (key := tensor.untyped_storage()._cdata) not in self.sizes:
                self.sizes[key] = size = tensor.untyped_storage().nbytes()
                self.now += size
                self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)
                weakref.finalize(tensor.untyped_storage(), self.freed, key)
        return result

    def freed(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def memory(generator: Generator, height: int, width: int, scheme: Scheme) -> Memory:
    """Runs a scheme on tensors without contents."""
    x = torch.empty(1, generator.in_channels, height, width, device="meta")
    with Memory() as counted:
        assert sum(part.shape[2] for _, part in in_strips(generator, x, scheme)) == height * generator.scale
    return counted


@pytest.mark.parametrize(
    ("cls", "arguments"),
    [
        (Resnet, {"blocks": 1}),
        (Resnet, {"blocks": 1, "upsample": "resize"}),
        (CutResnet, {"blocks": 1}),
        (RRDBNet, {"blocks": 1}),
        (RRDBNet, {"blocks": 1, "scale": 8}),
        (AdaIN, {}),
        (AdaIN, {"encoder": "vgg16", "transfer": False}),
    ],
    ids=lambda v: getattr(v, "__name__", str(v)),
)
@pytest.mark.sampled(2)
def test_memory_is_what_was_promised(cls: type[Generator], arguments: dict[str, Any]) -> None:
    with torch.device("meta"):
        generator = cls(**arguments).eval()
    for scheme in schemes(generator, 128, 96, 48):
        peak = memory(generator, 128, 96, scheme).peak
        assert peak <= scheme.peak <= 2.8 * peak, scheme


@pytest.mark.slow
@pytest.mark.parametrize("cls", [AdaIN, StyleResnet])
def test_styles_paint_12_megapixels_within_a_gibibyte(cls: type[Generator]) -> None:
    """Of all tensors together but the weights and the finished picture."""
    with torch.device("meta"):
        generator = cls().eval()
    scheme = choose_scheme(generator, 3000, 4000, 2**30)
    assert scheme is not None and memory(generator, 3000, 4000, scheme).peak <= 2**30


@pytest.mark.parametrize("kept", ["two maps", "one map", "nothing"])
@pytest.mark.sampled(1)
def test_no_map_is_larger_than_the_low_resolution(kept: Kept) -> None:
    """256 channels at a sixteenth of the pixels are 16 values for each; at full resolution it would be 64."""
    with torch.device("meta"):
        generator = Resnet(blocks=1).eval()
    assert memory(generator, 512, 16, Scheme(kept, 64, 0)).largest <= 4 * 16 * 512 * 16


def test_the_fastest_scheme_that_fits_is_chosen() -> None:
    generator = Resnet().eval()
    offers = schemes(generator, 3000, 4000, 64)
    assert [offer.kept for offer in offers] == ["two maps", "one map", "nothing"]
    assert sorted(offers, key=lambda offer: -offer.peak) == offers
    for offer in offers:
        chosen = choose_scheme(generator, 3000, 4000, offer.peak)
        assert chosen is not None
        assert chosen.peak <= offer.peak
    assert (choose_scheme(generator, 3000, 4000, 2**40) or offers[1]).kept == "two maps"
    assert choose_scheme(generator, 3000, 4000, 10**6) is None
    half = choose_scheme(generator, 3000, 4000, offers[1].peak, element_size=2)
    assert half is not None and half.kept == "two maps"


def test_a_tensor_beyond_32_bit_indices_is_not_made() -> None:
    generator = RRDBNet().eval()
    assert [offer.kept for offer in schemes(generator, 3000, 3000, 64)] == ["trunk", "one map"]
    assert [offer.kept for offer in schemes(generator, 4000, 4000, 64)] == ["one map"]


def test_networks_without_a_scheme() -> None:
    assert schemes(Compact(**Compact.tiny), 64, 64, 8) == []
    unet = build(UNet(**UNet.tiny).spec)
    assert schemes(unet, 64, 64, 8) == []
    assert "`size`" in (no_tiles(unet) or "")
    assert no_tiles(resnet(Resnet, {})) is None
    with pytest.raises(TypeError, match="UNet"):
        next(in_strips(unet.eval(), torch.zeros(1, 3, 8, 8), Scheme("one map", 4, 0)))
    with pytest.raises(TypeError, match="as_step"):
        step(nn.LPPool2d(2, 2))


def test_what_cannot_be_cut_is_refused() -> None:
    generator = resnet(Resnet, {"dropout": True})
    x = picture(generator, 16, 8, torch.float32)
    assert set_dropout(generator, seed=1)
    with pytest.raises(ProcessingError, match="dropout"):
        next(in_strips(generator, x, Scheme("two maps", 8, 0)))
    set_dropout(generator, None)
    with pytest.raises(ValueError, match="eval"):
        next(in_strips(generator.train(), x, Scheme("two maps", 8, 0)))
