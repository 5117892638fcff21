"""Pictures that do not fit as a whole: the Translator takes them in strips, and the result is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from img2img.checkpoint import ModelInfo
from img2img.errors import ProcessingError
from img2img.image.image import Pixels
from img2img.inference import Translator, runner
from img2img.inference.schemes import schemes
from img2img.models import ArchSpec, build

OWN = ModelInfo(output="own", size=32)


def picture(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def network(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return build(ArchSpec(name, arguments))


@pytest.fixture
def schemes_used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    used = []
    real = runner.in_strips

    def spy(generator: Any, x: Any, scheme: Any) -> Any:
        used.append(scheme.kept)
        return real(generator, x, scheme)

    monkeypatch.setattr(runner, "in_strips", spy)
    return used


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("fastest", [0, 1])
@pytest.mark.slow
def test_rrdbnet_in_strips_equals_whole(schemes_used: list[str], precision: str, fastest: int) -> None:
    generator = network("rrdbnet", features=8, blocks=6, growth=4)
    height = 267 if precision == "fp32" else 131  # bfloat16 is slow where a CPU lacks it
    image = picture(height, 45)
    memory = schemes(generator, height, 45, 40, 4 if precision == "fp32" else 2)[fastest].peak
    whole = Translator(generator, precision=precision)(image)
    assert not schemes_used
    striped = Translator(generator, precision=precision, memory=memory)(image)
    assert schemes_used
    assert striped.shape == (4 * height, 180, 3)
    assert np.abs(striped.astype(int) - whole).max() <= (0 if precision == "fp32" else 2)


@pytest.mark.parametrize("fastest", [0, 1, 2])
@pytest.mark.parametrize("kind", ["resnet", "cut_resnet"])
@pytest.mark.sampled(2)
def test_normalising_networks_in_strips_equal_whole(schemes_used: list[str], kind: str, fastest: int) -> None:
    generator = network(kind, features=8, blocks=2)
    image = picture(301, 93)
    memory = schemes(generator, 304, 96, 40)[fastest].peak
    whole = Translator(generator, OWN, precision="fp32", size="native")(image)
    assert not schemes_used
    striped = Translator(generator, OWN, precision="fp32", size="native", memory=memory)(image)
    assert schemes_used
    assert striped.shape == image.shape
    assert np.abs(striped.astype(int) - whole).max() <= 1


def test_a_network_that_has_no_tiles_goes_in_strips_whatever_the_tile(schemes_used: list[str]) -> None:
    generator = network("resnet", features=8, blocks=2)
    memory = schemes(generator, 304, 96, 40)[0].peak
    Translator(generator, OWN, precision="fp32", size="native", memory=memory, tile=64)(picture(301, 93))
    assert schemes_used


def test_a_u_net_too_large_for_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "free_memory", lambda: 10**6)
    translator = Translator(network("unet", features=4, downs=5), OWN, size="native", memory=10**5)
    with pytest.raises(ProcessingError, match="`size`"):
        translator(picture(128, 128))


def test_overflow_in_half_precision_is_repeated_in_fp32(schemes_used: list[str]) -> None:
    generator = network("rrdbnet", features=8, blocks=6, growth=4)
    with torch.no_grad():
        generator.conv_body.weight.mul_(1e7)
        generator.conv_last.weight.div_(1e7)
    memory = schemes(generator, 267, 45, 40, 2)[0].peak
    translator = Translator(generator, precision="fp16", memory=memory)
    with pytest.warns(RuntimeWarning, match="overflowed"):
        striped = translator(picture(267, 45))
    assert len(schemes_used) == 2
    reference = Translator(generator, precision="fp32")(picture(267, 45))
    assert np.abs(striped.astype(int) - reference).max() <= 1


def test_out_of_memory_in_strips_takes_thinner_ones(
    schemes_used: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = network("resnet", features=8, blocks=1)
    image = picture(160, 64)
    whole = Translator(generator, OWN, precision="fp32", size="native")(image)
    real = nn.Conv2d.forward

    def limited(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] > 100:
            raise torch.OutOfMemoryError
        return real(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", limited)
    striped = Translator(generator, OWN, precision="fp32", size="native", memory=3_000_000)(image)
    assert schemes_used
    assert np.abs(striped.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found_and_a_sum_that_overflows_is_none(
    dtype: torch.dtype, wrong: float
) -> None:
    values = torch.full((1, 3, 8, 8), torch.finfo(dtype).max, dtype=dtype)
    assert runner._is_finite(values) and runner._is_finite(-values)
    values[0, 1, 3, 4] = wrong
    assert not runner._is_finite(values) and not runner._is_finite(values.mul(0))
    values[0, 1, 3, 5] = -wrong
    assert not runner._is_finite(values)
